//! `check_host()` (RFC 7208 §4): may this address send mail of this domain?

use super::{EVALUATION_MAX, LOOKUPS_MAX, MX_NAMES_MAX, PTR_NAMES_MAX, Questions, VOIDS_MAX, mx_hosts, texts};
use crate::clock;
use crate::dns::{Data, DnsFault, Kind, reverse_name};
use crate::verdict::Check;
use crate::verdict::spf::{MacroString, Mechanism, Prefixes, Qualifier, Selected, SpfRecord, Values, select};
use ipnet::{Ipv4Net, Ipv6Net};
use std::net::IpAddr;
use std::pin::Pin;

/// Who sends (RFC 7208 §2.4): the reverse-path, or `postmaster` at the EHLO name where that is null.
#[derive(Debug, Clone, Copy)]
pub struct Sender<'a> {
    /// In front of the `@`; an empty one counts as `postmaster` (RFC 7208 §4.3).
    pub local: &'a str,
    /// Behind it: whose record is asked for first.
    pub domain: &'a str,
    /// The name given in EHLO.
    pub helo: &'a str,
}

/// What it came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// RFC 7208 §2.6.
    pub result: Check,
    /// The record and the term that decided, from the domain asked for down to the one that matched; empty where none did.
    pub by: Vec<(String, String)>,
    /// Why there is no better result; empty where a term decided.
    pub why: String,
    /// The text for whoever is refused (RFC 7208 §6.2); `None` unless the result is `fail`.
    pub explanation: Option<String>,
    /// Terms that asked the DNS.
    pub lookups: usize,
    /// Questions that found nothing.
    pub voids: usize,
}

/// Evaluates the record of the sender's domain for a client's address.
pub async fn check_host(questions: &impl Questions, address: IpAddr, sender: Sender<'_>) -> Outcome {
    let sender = Sender { local: if sender.local.is_empty() { "postmaster" } else { sender.local }, ..sender };
    let mut evaluation = Evaluation { questions, address: address.to_canonical(), sender, lookups: 0, voids: 0, validated: None };
    let found = tokio::time::timeout(EVALUATION_MAX, evaluation.outcome()).await;
    let (end, explanation) = found.unwrap_or_else(|_| (End::error(Check::TempError, format!("it took longer than {} s", EVALUATION_MAX.as_secs())), None));
    Outcome { result: end.result, by: end.by, why: end.why, explanation, lookups: evaluation.lookups, voids: evaluation.voids }
}

/// One message's evaluation, with its counters.
struct Evaluation<'a, Q> {
    questions: &'a Q,
    address: IpAddr,
    sender: Sender<'a>,
    lookups: usize,
    voids: usize,
    /// The client's validated names, once they were asked for.
    validated: Option<Vec<String>>,
}

/// How the evaluation of one record ended.
struct End {
    result: Check,
    by: Vec<(String, String)>,
    why: String,
    /// Where the text of a refusal stands, and whose record says so.
    explanation: Option<(MacroString, String)>,
}

/// No result but permerror or temperror can come of it.
struct Stop(Check, String);

type Found<'f, T> = Pin<Box<dyn Future<Output = T> + Send + 'f>>;

impl<Q: Questions> Evaluation<'_, Q> {
    async fn outcome(&mut self) -> (End, Option<String>) {
        let domain = self.sender.domain.strip_suffix('.').unwrap_or(self.sender.domain);
        // RFC 7208 §4.3.
        if !is_name(domain) || !domain.contains('.') {
            return (End::error(Check::None, format!("\"{domain}\" is no domain name of several labels")), None);
        }
        let end = self.record_of(domain, true).await;
        let explanation = match &end.explanation {
            Some((target, domain)) if end.result == Check::Fail => self.explanation(target, domain).await,
            _ => None,
        };
        (end, explanation)
    }

    /// The result of a domain's record. Boxed: records include records.
    fn record_of<'f>(&'f mut self, domain: &'f str, first: bool) -> Found<'f, End> {
        Box::pin(async move {
            let texts = match texts(self.questions, domain).await {
                Ok(texts) => texts,
                Err(fault) => return End::error(Check::TempError, fault.to_string()),
            };
            if texts.is_empty()
                && !first
                && let Err(Stop(result, why)) = self.count_void(domain)
            {
                return End::error(result, why);
            }
            match select(&texts) {
                Selected::None(_) => End::error(Check::None, format!("{domain} has no SPF record")),
                Selected::Several(records) => End::error(Check::PermError, format!("{domain} has {} SPF records", records.len())),
                Selected::Faulty { faults, .. } => {
                    End::error(Check::PermError, faults.first().map_or_else(String::new, |fault| format!("the record of {domain}: {fault}")))
                }
                Selected::Record(record) => match self.evaluate(&record, domain).await {
                    Ok(end) => end,
                    Err(Stop(result, why)) => End::error(result, why),
                },
            }
        })
    }

    async fn evaluate(&mut self, record: &SpfRecord, domain: &str) -> Result<End, Stop> {
        let explanation = record.explanation().map(|target| (target.clone(), domain.to_owned()));
        for (term, qualifier, mechanism) in record.directives() {
            if let Some(mut by) = self.matches(mechanism, domain, &term.text).await? {
                by.insert(0, (domain.to_owned(), term.text.clone()));
                return Ok(End { result: of(qualifier), by, why: String::new(), explanation });
            }
        }
        let Some((term, target)) = record.redirect() else {
            return Ok(End::error(Check::Neutral, format!("no term of the record of {domain} matches, and it has no \"all\"")));
        };
        // RFC 7208 §6.1.
        self.count_lookup(domain, &term.text)?;
        let target = self.target(Some(target), domain).await?;
        if !is_name(&target) {
            return Err(Stop(Check::PermError, format!("\"{}\" in the record of {domain} leads to no domain name", term.text)));
        }
        let mut end = self.record_of(&target, false).await;
        if end.result == Check::None {
            return Err(Stop(Check::PermError, format!("\"{}\" in the record of {domain}: {}", term.text, end.why)));
        }
        end.by.insert(0, (domain.to_owned(), term.text.clone()));
        Ok(end)
    }

    /// Whether a mechanism matches; what matched inside of an included record.
    async fn matches(&mut self, mechanism: &Mechanism, domain: &str, term: &str) -> Result<Option<Vec<(String, String)>>, Stop> {
        if mechanism.costs_a_lookup() {
            self.count_lookup(domain, term)?;
        }
        let matches = match mechanism {
            Mechanism::All => true,
            Mechanism::Ip4(network) => matches!(self.address, IpAddr::V4(address) if network.contains(&address)),
            Mechanism::Ip6(network) => matches!(self.address, IpAddr::V6(address) if network.contains(&address)),
            Mechanism::Include(target) => {
                let target = self.target(Some(target), domain).await?;
                if !is_name(&target) {
                    return Err(Stop(Check::PermError, format!("\"{term}\" in the record of {domain} leads to no domain name")));
                }
                let inner = self.record_of(&target, false).await;
                return match inner.result {
                    // RFC 7208 §5.2: the table.
                    Check::Pass => Ok(Some(inner.by)),
                    Check::Fail | Check::SoftFail | Check::Neutral => Ok(None),
                    Check::TempError => Err(Stop(Check::TempError, inner.why)),
                    Check::PermError | Check::None | Check::Policy => {
                        Err(Stop(Check::PermError, format!("\"{term}\" in the record of {domain}: {}", inner.why)))
                    }
                };
            }
            Mechanism::A(target, prefixes) => {
                let target = self.target(target.as_ref(), domain).await?;
                self.host_matches(&target, *prefixes).await?
            }
            Mechanism::Mx(target, prefixes) => {
                let target = self.target(target.as_ref(), domain).await?;
                let hosts = mx_hosts(self.ask(&target, Kind::Mx).await?);
                if hosts.len() > MX_NAMES_MAX {
                    return Err(Stop(Check::PermError, format!("\"{term}\" in the record of {domain}: {target} has more than {MX_NAMES_MAX} MX records")));
                }
                let mut found = false;
                for host in hosts {
                    found = self.host_matches(&host, *prefixes).await?;
                    if found {
                        break;
                    }
                }
                found
            }
            Mechanism::Ptr(target) => {
                let target = self.target(target.as_ref(), domain).await?;
                self.validated_names().await.iter().any(|name| is_at_or_below(name, &target))
            }
            Mechanism::Exists(target) => {
                let target = self.target(Some(target), domain).await?;
                // RFC 7208 §5.7: A records, whatever the client's address is.
                !self.ask(&target, Kind::A).await?.is_empty()
            }
        };
        Ok(matches.then(Vec::new))
    }

    async fn host_matches(&mut self, host: &str, prefixes: Prefixes) -> Result<bool, Stop> {
        let found = self.ask(host, self.family()).await?;
        Ok(found.into_iter().any(|data| match (data, self.address) {
            (Data::A(at), IpAddr::V4(client)) => Ipv4Net::new(at, prefixes.v4).is_ok_and(|network| network.contains(&client)),
            (Data::Aaaa(at), IpAddr::V6(client)) => Ipv6Net::new(at, prefixes.v6).is_ok_and(|network| network.contains(&client)),
            _ => false,
        }))
    }

    /// The records of a name; none of a text that is no name (RFC 7208 §4.8, §4.3).
    async fn ask(&mut self, name: &str, kind: Kind) -> Result<Vec<Data>, Stop> {
        if !is_name(name) {
            return Ok(Vec::new());
        }
        let found = self.questions.ask(name, kind).await.map_err(|fault: DnsFault| Stop(Check::TempError, fault.to_string()))?;
        if found.is_empty() {
            self.count_void(name)?;
        }
        Ok(found)
    }

    /// The name a term is about: its own, or whose record it stands in (RFC 7208 §4.8).
    async fn target(&mut self, spec: Option<&MacroString>, domain: &str) -> Result<String, Stop> {
        let Some(spec) = spec else { return Ok(domain.to_owned()) };
        if spec.uses("p") && self.validated.is_none() {
            // RFC 7208 §4.6.4 counts the PTR question of the macro, too.
            self.count_lookup(domain, spec.as_str())?;
        }
        Ok(fitting(&self.expand(spec, domain).await).to_ascii_lowercase())
    }

    async fn expand(&mut self, spec: &MacroString, domain: &str) -> String {
        let validated = if spec.uses("p") { self.validated_for(domain).await } else { UNKNOWN.to_owned() };
        spec.expand(&Values {
            local: self.sender.local,
            sender_domain: self.sender.domain,
            domain,
            address: self.address,
            validated: &validated,
            helo: self.sender.helo,
            receiver: UNKNOWN,
            timestamp: u64::try_from(clock::now().unix_seconds()).unwrap_or_default(),
        })
    }

    /// RFC 7208 §7.3: the name that is the domain itself, else one below it, else any.
    async fn validated_for(&mut self, domain: &str) -> String {
        let names = self.validated_names().await;
        let own = names.iter().find(|name| *name == domain);
        let best = own.or_else(|| names.iter().find(|name| is_at_or_below(name, domain))).or_else(|| names.first());
        best.cloned().unwrap_or_else(|| UNKNOWN.to_owned())
    }

    /// The names of the client that lead back to it (RFC 7208 §5.5). DNS trouble is as if there were none.
    async fn validated_names(&mut self) -> Vec<String> {
        if let Some(names) = &self.validated {
            return names.clone();
        }
        let reverse = reverse_name(self.address);
        let found = self.questions.ask(reverse.as_str(), Kind::Ptr).await.unwrap_or_default();
        let names: Vec<String> =
            found.into_iter().filter_map(|data| if let Data::Ptr(name) = data { Some(name.to_string()) } else { None }).take(PTR_NAMES_MAX).collect();
        let mut validated = Vec::new();
        for name in names {
            let addresses = self.questions.ask(&name, self.family()).await.unwrap_or_default();
            let is_client = |data: &Data| match data {
                Data::A(address) => IpAddr::V4(*address) == self.address,
                Data::Aaaa(address) => IpAddr::V6(*address) == self.address,
                _ => false,
            };
            if addresses.iter().any(is_client) {
                validated.push(name);
            }
        }
        self.validated.insert(validated).clone()
    }

    /// The text for whoever is refused; none where anything about it is wrong (RFC 7208 §6.2).
    async fn explanation(&mut self, target: &MacroString, domain: &str) -> Option<String> {
        let expanded = self.expand(target, domain).await;
        let name = fitting(&expanded);
        if !is_name(name) {
            return None;
        }
        let texts = texts(self.questions, name).await.ok()?;
        let [text] = texts.as_slice() else { return None };
        let text = MacroString::explanation(text).ok()?;
        Some(self.expand(&text, domain).await)
    }

    const fn family(&self) -> Kind {
        if self.address.is_ipv4() { Kind::A } else { Kind::Aaaa }
    }

    fn count_lookup(&mut self, domain: &str, term: &str) -> Result<(), Stop> {
        self.lookups += 1;
        if self.lookups <= LOOKUPS_MAX {
            return Ok(());
        }
        Err(Stop(Check::PermError, format!("\"{term}\" in the record of {domain} is the {}th lookup; {LOOKUPS_MAX} are allowed", self.lookups)))
    }

    fn count_void(&mut self, name: &str) -> Result<(), Stop> {
        self.voids += 1;
        if self.voids <= VOIDS_MAX {
            return Ok(());
        }
        Err(Stop(Check::PermError, format!("{name} is the {}rd name without records; {VOIDS_MAX} are allowed", self.voids)))
    }
}

impl End {
    const fn error(result: Check, why: String) -> Self {
        Self { result, by: Vec::new(), why, explanation: None }
    }
}

const fn of(qualifier: Qualifier) -> Check {
    match qualifier {
        Qualifier::Pass => Check::Pass,
        Qualifier::Fail => Check::Fail,
        Qualifier::SoftFail => Check::SoftFail,
        Qualifier::Neutral => Check::Neutral,
    }
}

/// Whether the DNS can hold it: labels of 1 to 63 octets, 253 altogether (RFC 1035 §2.3.4).
pub(super) fn is_name(text: &str) -> bool {
    let bare = text.strip_suffix('.').unwrap_or(text);
    !bare.is_empty() && bare.len() <= NAME_OCTETS_MAX && bare.split('.').all(|label| (1..=LABEL_OCTETS_MAX).contains(&label.len()))
}

/// As long as a name may be: labels are cut from the left (RFC 7208 §7.3).
fn fitting(expanded: &str) -> &str {
    let mut name = expanded.strip_suffix('.').unwrap_or(expanded);
    while name.len() > NAME_OCTETS_MAX {
        let Some((_, rest)) = name.split_once('.') else { break };
        name = rest;
    }
    name
}

fn is_at_or_below(name: &str, domain: &str) -> bool {
    let (name, domain) = (name.to_ascii_lowercase(), domain.to_ascii_lowercase());
    name.strip_suffix(&domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// RFC 7208 §7.2, §7.3: what stands for what is not known.
const UNKNOWN: &str = "unknown";
/// RFC 1035 §2.3.4, without the root's dot.
const NAME_OCTETS_MAX: usize = 253;
const LABEL_OCTETS_MAX: usize = 63;
