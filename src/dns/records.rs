//! The records that an author domain needs so that its mail is believed, and those of a domain that never sends. Pure.
//!
//! In the order in which they are to be published: first those that change nothing for mail already flowing, then keys, then the policy
//! that counts on both. RFC 7208, RFC 6376, RFC 9989, RFC 8460, RFC 8461.

use super::resolver::reverse_name;
use super::resource::{Data, Resource};
use crate::mail::{Domain, Mailbox};
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

/// A record that should be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The record.
    pub resource: Resource,
    /// How long resolvers may keep it.
    pub ttl: Duration,
    /// What happens without it.
    pub need: Need,
    /// Where it belongs in the order of work.
    pub step: Step,
    /// Who else may have written at its name.
    pub standing: Standing,
    /// What else would do.
    pub accepts: Accepts,
    /// Why it is there, for a person.
    pub why: String,
}

/// How much a record is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Need {
    /// Mail is refused without it.
    Required,
    /// Large receivers or standards ask for it.
    Advised,
    /// It adds something.
    Optional,
}

/// The order of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Who may send: SPF, and the names and addresses behind it.
    Spf,
    /// Signing keys.
    Dkim,
    /// The policy.
    Dmarc,
    /// What may follow.
    Further,
    /// The set of a domain that never sends.
    Parked,
}

/// Whether anybody else writes at a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// It is ours alone: selectors that postseal named.
    Ours,
    /// Others may have written there before us; never replaced unasked.
    Shared,
    /// The owner of the author domain writes it: the alias by which a domain lends us its `_domainkey` names.
    Theirs,
}

/// What a record at the name may say instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Accepts {
    /// The same.
    Exactly,
    /// An SPF record that permits others as well.
    More,
}

/// What the set of one author domain is made of.
#[derive(Debug, Clone)]
pub struct Sender {
    /// The author domain.
    pub domain: Domain,
    /// Where its bounces come to.
    pub bounce_domain: Domain,
    /// The envelope senders at or below the author domain stay as they are.
    pub keeps_reverse_path: bool,
    /// The key records that should stand in the DNS, by selector: those of `keys::Key::record`.
    pub keys: Vec<KeyText>,
    /// The name below which the key records stand, where the author domain's `_domainkey` names are aliases of it.
    pub dkim_target: Option<Domain>,
    /// The DMARC record.
    pub dmarc: Dmarc,
    /// Where TLS reports about mail to the bounce domain go (RFC 8460).
    pub tls_rpt: Option<ReportTo>,
    /// MTA-STS of the bounce domain.
    pub mta_sts: Option<MtaSts>,
    /// The brand's logo.
    pub bimi: Option<Bimi>,
    /// The relay as others see it.
    pub relay: Relay,
    /// How long resolvers may keep the records.
    pub ttl: Duration,
}

/// One key record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyText {
    /// The selector.
    pub selector: String,
    /// The record, joined.
    pub text: String,
    /// What the key does, for a person: "signs", "is retiring" …
    pub state: String,
}

/// The DMARC record (RFC 9989 §4.7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dmarc {
    /// `p=`.
    pub policy: Policy,
    /// `t=y`: apply the next weaker policy.
    pub testing: bool,
    /// `rua=`; `None`: `dmarc@` the domain.
    pub reports: Option<ReportTo>,
}

/// What receivers do with mail that fails (RFC 9989 §4.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Policy {
    /// Only report.
    None,
    /// Treat as suspicious.
    Quarantine,
    /// Treat as refused by its domain.
    Reject,
}

/// Where reports go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportTo(Vec<Mailbox>);

/// MTA-STS (RFC 8461 §3.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MtaSts {
    /// `id=`, changed with the policy: letters and digits.
    pub id: String,
    /// The host that serves the policy over HTTPS; `None`: `mta-sts.` is made otherwise.
    pub host: Option<Domain>,
}

/// BIMI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bimi {
    /// `l=`.
    pub logo: String,
    /// `a=`.
    pub certificate: Option<String>,
}

/// The relay as the world sees it.
#[derive(Debug, Clone)]
pub struct Relay {
    /// The hosts that take bounces, by preference.
    pub bounce_hosts: Vec<Domain>,
    /// The names it gives in EHLO, with the public addresses it sends from under each.
    pub helos: Vec<Helo>,
    /// `-all` rather than `~all` for bounce domains.
    pub spf_fail: bool,
}

/// A name in EHLO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Helo {
    /// The name.
    pub name: Domain,
    /// Public addresses that send under it; none where they are not known.
    pub addresses: Vec<IpAddr>,
}

/// The set of a domain that sends, in the order of work.
#[must_use]
pub fn records(sender: &Sender) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    spf(sender, &mut wanted);
    dkim(sender, &mut wanted);
    dmarc(sender, &mut wanted);
    further(sender, &mut wanted);
    wanted
}

/// The set of a domain that never sends. One that takes mail (`receives`) keeps its MX records; else it says that it takes none, and
/// must then not be named in any address (RFC 7505 §4.2). Without `reports` nobody hears of those who try, unless it takes mail itself.
#[must_use]
pub fn parked(domain: &Domain, reports: Option<&ReportTo>, receives: bool, ttl: Duration) -> Vec<Wanted> {
    let at = |name: &str, data: Data, need: Need, why: &str| Wanted {
        resource: Resource { owner: name.parse().unwrap_or_else(|_| domain.clone().into()), data },
        ttl,
        need,
        step: Step::Parked,
        standing: Standing::Shared,
        accepts: Accepts::Exactly,
        why: why.to_owned(),
    };
    let text = |text: &str| Data::Txt(text.to_owned());
    // Its own dmarc@ takes nothing where the null MX stands.
    let reports = reports.cloned().or_else(|| receives.then(|| ReportTo::standard(domain)));
    let rua = reports.as_ref().map_or_else(String::new, |reports| format!("; rua={reports}"));
    let policy = format!("v=DMARC1; p=reject; sp=reject; np=reject; adkim=s; aspf=s{rua}");
    let mut wanted = vec![
        at(domain.as_str(), text("v=spf1 -all"), Need::Required, "no host may send as this domain"),
        at(&format!("*.{domain}"), text("v=spf1 -all"), Need::Advised, "nor as a name below it that has no records of its own"),
        at(&format!("*._domainkey.{domain}"), text("v=DKIM1; p="), Need::Advised, "every key it might ever have had is revoked (RFC 6376 §3.6.1)"),
        at(&format!("_dmarc.{domain}"), text(&policy), Need::Required, "mail that claims to come from it, or from below it, is refused"),
        at(&format!("default._bimi.{domain}"), text("v=BIMI1; l=; a=;"), Need::Optional, "it has no logo"),
    ];
    if !receives {
        let null_mx = Data::Mx { preference: 0, host: None };
        wanted.push(at(domain.as_str(), null_mx, Need::Advised, "it takes no mail (RFC 7505); leave this out if it does"));
    }
    if let Some(reports) = &reports {
        wanted.extend(report_permissions(domain, reports, ttl, Step::Parked));
    }
    wanted
}

/// Where the record of a key stands: at the author domain's own name, or at the target that its name is an alias of.
#[must_use]
pub fn key_name(selector: &str, domain: &Domain, target: Option<&Domain>) -> Option<Domain> {
    match target {
        Some(target) => target.below(selector).ok(),
        None => domain.below(&format!("{selector}._domainkey")).ok(),
    }
}

/// Whether two texts say the same, though they may be written differently: white space and order of tags, case of SPF terms.
#[must_use]
pub fn equivalent(a: &Data, b: &Data) -> bool {
    match (a, b) {
        (Data::Txt(a), Data::Txt(b)) => a == b || (version(a) == version(b) && version(a).is_some() && meaning(a) == meaning(b)),
        _ => a == b,
    }
}

/// Whether two records at one name exclude each other: those of one kind, of which only one may be there, and texts that begin with the
/// same `v=`. Other texts at the name are somebody else's.
#[must_use]
pub fn same_purpose(a: &Data, b: &Data) -> bool {
    match (a, b) {
        (Data::Txt(a), Data::Txt(b)) => a == b || (version(a).is_some() && version(a) == version(b)),
        _ => a.kind() == b.kind(),
    }
}

impl Wanted {
    /// Whether a record that stands at its name does what it is to do.
    #[must_use]
    pub fn is_met_by(&self, found: &Data) -> bool {
        let wanted = &self.resource.data;
        match (self.accepts, wanted, found) {
            (Accepts::More, Data::Txt(wanted), Data::Txt(found)) => {
                let terms = |text: &str| text.split_ascii_whitespace().map(str::to_ascii_lowercase).collect::<Vec<_>>();
                let found = terms(found);
                terms(wanted).iter().filter(|term| !term.ends_with("all")).all(|term| found.contains(term))
            }
            _ => equivalent(wanted, found),
        }
    }
}

/// Step 1: the bounce domain, and the names and addresses that the relay sends by.
fn spf(sender: &Sender, wanted: &mut Vec<Wanted>) {
    let relay = &sender.relay;
    let ttl = sender.ttl;
    let mut push = |resource: Resource, need: Need, accepts: Accepts, why: &str| {
        wanted.push(Wanted { resource, ttl, need, step: Step::Spf, standing: Standing::Shared, accepts, why: why.to_owned() });
    };
    for (number, host) in (1..).zip(&relay.bounce_hosts) {
        push(
            Resource::mx(sender.bounce_domain.clone(), number * 10, Some(host.clone())),
            Need::Required,
            Accepts::Exactly,
            "bounces come back to the relay; a sender's domain without it does not exist for Yahoo",
        );
    }
    let permit = relay.spf();
    push(
        Resource::txt(sender.bounce_domain.clone(), &permit),
        Need::Required,
        Accepts::Exactly,
        "the relay may send with envelope senders of the bounce domain, which is aligned with the author domain",
    );
    if sender.keeps_reverse_path {
        push(
            Resource::txt(sender.domain.clone(), &permit),
            Need::Required,
            Accepts::More,
            "keep_reverse_path leaves envelope senders of the author domain as they are: its own SPF record must permit the relay, beside whom it permits already",
        );
    }
    for helo in &relay.helos {
        for address in &helo.addresses {
            let data = match address {
                IpAddr::V4(v4) => Data::A(*v4),
                IpAddr::V6(v6) => Data::Aaaa(*v6),
            };
            let why = "the relay's name leads to the address it sends from";
            push(Resource { owner: helo.name.clone().into(), data }, Need::Required, Accepts::Exactly, why);
        }
        let why = "SPF of the name in EHLO, which is what counts for bounces: they have no sender";
        push(Resource::txt(helo.name.clone(), "v=spf1 a -all"), Need::Advised, Accepts::Exactly, why);
        for address in &helo.addresses {
            let resource = Resource { owner: reverse_name(*address).into(), data: Data::Ptr(helo.name.clone()) };
            push(resource, Need::Required, Accepts::Exactly, "the address leads back to the name; whoever gave you the address sets it. Gmail: 550 5.7.25");
        }
    }
}

/// Step 2: keys, before the policy that counts on them.
fn dkim(sender: &Sender, wanted: &mut Vec<Wanted>) {
    for key in &sender.keys {
        let mut push = |resource: Resource, standing: Standing, why: String| {
            wanted.push(Wanted { resource, ttl: sender.ttl, need: Need::Required, step: Step::Dkim, standing, accepts: Accepts::Exactly, why });
        };
        let Some(own) = key_name(&key.selector, &sender.domain, None) else { continue };
        let place = key_name(&key.selector, &sender.domain, sender.dkim_target.as_ref()).unwrap_or_else(|| own.clone());
        if place != own {
            let alias = Resource { owner: own.into(), data: Data::Cname(place.clone()) };
            push(alias, Standing::Theirs, "whoever writes the author domain's zone lends us this name".to_owned());
        }
        push(Resource::txt(place, &key.text), Standing::Ours, format!("the key {}: {}", key.selector, key.state));
    }
}

fn dmarc(sender: &Sender, wanted: &mut Vec<Wanted>) {
    let Dmarc { policy, testing, reports } = &sender.dmarc;
    let reports = reports.clone().unwrap_or_else(|| ReportTo::standard(&sender.domain));
    let testing = if *testing { "; t=y" } else { "" };
    let text = format!("v=DMARC1; p={policy}{testing}; rua={reports}");
    let Ok(name) = sender.domain.below("_dmarc") else { return };
    wanted.push(Wanted {
        resource: Resource::txt(name, text),
        ttl: sender.ttl,
        need: Need::Required,
        step: Step::Dmarc,
        standing: Standing::Shared,
        accepts: Accepts::Exactly,
        why: "what receivers do with mail that fails, and where they report (RFC 9989); Gmail and Yahoo demand it of bulk senders".to_owned(),
    });
    wanted.extend(report_permissions(&sender.domain, &reports, sender.ttl, Step::Dmarc));
}

/// Reports go to another organisation only if it agrees (RFC 9990 §4).
fn report_permissions(domain: &Domain, reports: &ReportTo, ttl: Duration, step: Step) -> Vec<Wanted> {
    let foreign = reports.domains().filter(|there| !there.is_at_or_below(domain) && !domain.is_at_or_below(there));
    let permission = |there: &Domain| {
        let name = there.below(&format!("{domain}._report._dmarc")).ok()?;
        Some(Wanted {
            resource: Resource::txt(name, "v=DMARC1;"),
            ttl,
            need: Need::Advised,
            step,
            standing: Standing::Shared,
            accepts: Accepts::Exactly,
            why: format!("{there} takes reports about {domain}; without it receivers send none there, unless both belong to one organisation"),
        })
    };
    foreign.filter_map(permission).collect()
}

/// What protects bounces on their way in, and the logo.
fn further(sender: &Sender, wanted: &mut Vec<Wanted>) {
    let bounce = &sender.bounce_domain;
    let mut push = |name: Domain, data: Data, why: &str| {
        let resource = Resource { owner: name.into(), data };
        let (ttl, standing, accepts) = (sender.ttl, Standing::Shared, Accepts::Exactly);
        wanted.push(Wanted { resource, ttl, need: Need::Optional, step: Step::Further, standing, accepts, why: why.to_owned() });
    };
    if let (Some(reports), Ok(name)) = (&sender.tls_rpt, bounce.below("_smtp._tls")) {
        push(name, Data::Txt(format!("v=TLSRPTv1; rua={reports}")), "where other servers report failures of TLS on bounces (RFC 8460)");
    }
    if let Some(MtaSts { id, host }) = &sender.mta_sts {
        if let Ok(name) = bounce.below("_mta-sts") {
            push(name, Data::Txt(format!("v=STSv1; id={id};")), "bounces come over verified TLS; change the id with the policy (RFC 8461 §3.1)");
        }
        if let (Some(host), Ok(name)) = (host, bounce.below("mta-sts")) {
            push(name, Data::Cname(host.clone()), "the host that serves the policy over HTTPS (RFC 8461 §3.3)");
        }
    }
    let bimi = sender.bimi.as_ref().filter(|_| sender.dmarc.is_enforced());
    if let (Some(Bimi { logo, certificate }), Ok(name)) = (bimi, sender.domain.below("default._bimi")) {
        let certificate = certificate.as_ref().map_or_else(String::new, |url| format!(" a={url};"));
        push(name, Data::Txt(format!("v=BIMI1; l={logo};{certificate}")), "the logo that some receivers show beside the mail");
    }
}

impl Relay {
    /// The SPF record that permits the relay's addresses; names where addresses are not known, at the price of a lookup each.
    #[must_use]
    pub fn spf(&self) -> String {
        let mut terms: Vec<String> = Vec::new();
        for helo in &self.helos {
            if helo.addresses.is_empty() {
                terms.push(format!("a:{}", helo.name));
            }
            terms.extend(helo.addresses.iter().map(|address| match address {
                IpAddr::V4(v4) => format!("ip4:{v4}"),
                IpAddr::V6(v6) => format!("ip6:{v6}"),
            }));
        }
        let mut once = Vec::new();
        for term in terms {
            if !once.contains(&term) {
                once.push(term);
            }
        }
        format!("v=spf1 {} {}", once.join(" "), if self.spf_fail { "-all" } else { "~all" })
    }
}

impl Dmarc {
    /// Failing mail is not simply delivered: what BIMI asks for.
    #[must_use]
    pub const fn is_enforced(&self) -> bool {
        matches!((self.policy, self.testing), (Policy::Quarantine, false) | (Policy::Reject, _))
    }
}

impl ReportTo {
    /// These mailboxes; `None` of none.
    #[must_use]
    pub fn new(mailboxes: Vec<Mailbox>) -> Option<Self> {
        (!mailboxes.is_empty()).then_some(Self(mailboxes))
    }

    /// `dmarc@` the domain.
    fn standard(domain: &Domain) -> Self {
        Self(format!("dmarc@{domain}").parse().into_iter().collect())
    }

    fn domains(&self) -> impl Iterator<Item = &Domain> {
        self.0.iter().filter_map(Mailbox::domain)
    }
}

/// `mailto:` URIs with commas between (RFC 9989 §4.7, RFC 6068 §2).
impl fmt::Display for ReportTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, mailbox) in self.0.iter().enumerate() {
            f.write_str(if number > 0 { ",mailto:" } else { "mailto:" })?;
            for octet in mailbox.to_string().bytes() {
                match octet {
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'@' | b'+' => write!(f, "{}", char::from(octet))?,
                    _ => write!(f, "%{octet:02X}")?,
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Quarantine => "quarantine",
            Self::Reject => "reject",
        })
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Required => "required",
            Self::Advised => "advised",
            Self::Optional => "optional",
        })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Spf => "Step 1: SPF, and the names and addresses behind it",
            Self::Dkim => "Step 2: DKIM keys; sign only with what every server of the zone shows",
            Self::Dmarc => "Step 2: DMARC, once mail is signed",
            Self::Further => "Further",
            Self::Parked => "A domain that never sends",
        })
    }
}

/// The `v=` that a text begins with, in lower case: `v=spf1`, `v=dmarc1`. Broken records that lack a semicolon have one, too.
fn version(text: &str) -> Option<String> {
    let compact: String = text.trim_start().chars().take_while(|c| *c != ';').collect();
    let mut compact = compact.split_ascii_whitespace().collect::<Vec<_>>().join(" ").replace(" = ", "=").replace("= ", "=").replace(" =", "=");
    compact.truncate(compact.find(' ').unwrap_or(compact.len()));
    let compact = compact.to_ascii_lowercase();
    (compact.starts_with("v=") && compact.len() > 2).then_some(compact)
}

/// What a text says, in one form: terms of SPF in order and lower case, tags of the others sorted, the version first.
fn meaning(text: &str) -> Vec<String> {
    if version(text).as_deref() == Some("v=spf1") {
        return text.split_ascii_whitespace().map(str::to_ascii_lowercase).collect();
    }
    let tag = |part: &str| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let value: String = value.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        let name = name.trim_ascii();
        // Words of DMARC and of these tags mean the same in capitals; addresses, keys and URIs may not.
        let value =
            if ["p", "sp", "np", "adkim", "aspf", "t", "psd", "k", "h", "s"].contains(&name) && version(text).as_deref() != Some("v=dkim1") || name == "v" {
                value.to_ascii_lowercase()
            } else {
                value
            };
        format!("{name}={value}")
    };
    let mut tags: Vec<String> = text.split(';').filter(|part| !part.trim_ascii().is_empty()).map(tag).collect();
    if let Some((_, rest)) = tags.split_first_mut() {
        rest.sort();
    }
    tags
}
