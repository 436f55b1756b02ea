//! The DMARC record: found by the walk of the tree, readable, reported, and fit for the bounce domain (RFC 9989, RFC 9990 §4).

use super::super::facts::{DomainFacts, ReportHost, Step};
use super::super::rule::{Demand, Finding, Provider, Remedy, Rule, When};
use super::{below, quoted, unanswered};
use crate::dns::{DnsFault, Resource};
use crate::mail::Domain;
use crate::verdict::dmarc::{Alignment, DmarcFault, DmarcRecord, Policy, Psd, applicable, dmarc_record, only_record, organizational_domain};

pub(super) const RULES: &[&Rule] = &[&DMARC, &TAGS, &POLICY, &REPORTS, &STRICT, &METHODS];

static DMARC: Rule = Rule {
    id: "dmarc",
    why: "bulk mail is refused without a DMARC record of the From domain; p=none is enough",
    demands: &[
        Demand { by: Provider::Gmail, of: When::Bulk, codes: &["421 4.7.31", "421 4.7.40", "550 5.7.40"] },
        Demand { by: Provider::Yahoo, of: When::Bulk, codes: &["554"] },
        Demand { by: Provider::Microsoft, of: When::Bulk, codes: &["550 5.7.515"] },
        Demand { by: Provider::Apple, of: When::Bulk, codes: &[] },
    ],
};

static TAGS: Rule =
    Rule { id: "dmarc-tags", why: "receivers pass over what they do not know, so the record may not ask for what it seems to ask for", demands: &[] };

static POLICY: Rule = Rule { id: "dmarc-policy", why: "it tells receivers what to do with mail that only pretends to be of this domain", demands: &[] };

static REPORTS: Rule = Rule {
    id: "dmarc-reports",
    why: "without reports nobody learns who sends under this name, nor what a stricter policy would break",
    demands: &[Demand { by: Provider::Yahoo, of: When::Bulk, codes: &[] }],
};

static STRICT: Rule =
    Rule { id: "dmarc-strict", why: "strict alignment takes only the From domain itself: what bears a domain below it does not count for DMARC", demands: &[] };

static METHODS: Rule = Rule {
    id: "dmarc-methods",
    why: "receivers that still go by the Public Suffix List (RFC 7489) and those that walk the tree (RFC 9989 §4.10) can disagree on alignment",
    demands: &[],
};

/// What a walk found, as far as it was answered.
pub(super) struct Walk {
    /// The names that have a record, longest first; the walk ends at psd=y or psd=n.
    pub found: Vec<(Domain, DmarcRecord)>,
    /// The texts of those records.
    texts: Vec<String>,
    /// What tried to be a record and is none: where, the text, and why.
    ignored: Option<(Domain, String, DmarcFault)>,
    /// A name that nobody could say anything about.
    pub unknown: Option<DnsFault>,
}

impl Walk {
    pub(super) fn of(steps: &[Step]) -> Self {
        let mut walk = Self { found: Vec::new(), texts: Vec::new(), ignored: None, unknown: None };
        for Step { name, texts } in steps {
            let texts = match texts {
                Ok(texts) => texts,
                Err(fault) => {
                    walk.unknown.get_or_insert_with(|| fault.clone());
                    continue;
                }
            };
            match only_record(texts) {
                Ok(Some(record)) => {
                    let ends = record.psd != Psd::Unknown;
                    let text = texts.iter().find(|text| dmarc_record(text).is_ok()).cloned().unwrap_or_default();
                    walk.found.push((name.clone(), record));
                    walk.texts.push(text);
                    if ends {
                        break;
                    }
                }
                Ok(None) => {}
                Err((text, fault)) => {
                    walk.ignored.get_or_insert_with(|| (name.clone(), text, fault));
                }
            }
        }
        walk
    }

    /// The record that applies, with where it stands and its text.
    pub(super) fn applicable(&self, author: &Domain) -> Option<(&Domain, &DmarcRecord, &str)> {
        let (at, record) = applicable(author, &self.found)?;
        let place = self.found.iter().position(|(name, _)| name == at)?;
        Some((at, record, self.texts.get(place)?))
    }

    /// The organisational domain (RFC 9989 §4.10.2).
    pub(super) fn organization(&self, start: &Domain) -> Domain {
        organizational_domain(start, &self.found)
    }
}

pub(super) fn findings(facts: &DomainFacts, bulk: bool) -> Vec<Finding> {
    let author = &facts.subject.domain;
    let walk = Walk::of(&facts.dmarc);
    let mut findings = vec![record(author, &facts.dmarc, &walk, bulk)];
    if let Some((at, found, text)) = walk.applicable(author).filter(|(_, found, _)| found.p.is_some()) {
        findings.extend(tags(at, found, text));
        findings.push(policy(at, found, author));
        findings.extend(reports(at, found, text, &facts.reports));
        findings.extend(strict(facts, at, found, text));
    }
    findings.extend(methods(facts, &walk));
    findings
}

/// Whether there is one.
fn record(author: &Domain, steps: &[Step], walk: &Walk, bulk: bool) -> Finding {
    let own_is_unknown = steps.first().is_some_and(|step| step.texts.is_err());
    let name = below("_dmarc", author);
    if let (Some(fault), true) = (&walk.unknown, own_is_unknown || walk.found.is_empty()) {
        return unanswered(&DMARC, name, fault);
    }
    if let Some((at, found, text)) = walk.applicable(author) {
        let place = below("_dmarc", at);
        let inherited = if at == author { String::new() } else { format!(", which stands above {author} and speaks for it") };
        return match found.p {
            Some(_) => DMARC.ok(&place, format!("{}{inherited}", quoted(text))),
            None => DMARC.fail(
                &place,
                format!("{}: {}", quoted(text), DmarcFault::NoPolicy),
                Remedy::records("give it a policy", vec![Resource::txt(place.clone(), mended(text, at))]),
            ),
        };
    }
    if let Some((at, text, fault)) = &walk.ignored {
        let place = below("_dmarc", at);
        let record = Resource::txt(place.clone(), mended(text, at));
        return DMARC.fail(&place, format!("receivers ignore {}: {}", quoted(text), explained(fault)), Remedy::records("publish instead", vec![record]));
    }
    let record = Resource::txt(name.clone(), format!("v=DMARC1; p=none; rua=mailto:dmarc@{author}"));
    let remedy = Remedy::records("publish one that changes nothing yet but asks for reports", vec![record]);
    let seen = format!("neither {author} nor a domain above it has a record");
    if bulk { DMARC.fail(&name, seen, remedy) } else { DMARC.warn(&name, format!("{seen}; only bulk senders must have one"), remedy) }
}

/// The fault in a few words; its own carry the mended text, which the remedy shows.
fn explained(fault: &DmarcFault) -> String {
    match fault {
        DmarcFault::NoSemicolon(_) => "there is no \";\" behind \"v=DMARC1\", so all of it is read as the version".to_owned(),
        other => other.to_string(),
    }
}

/// What the record says that nobody heeds.
fn tags(at: &Domain, found: &DmarcRecord, text: &str) -> Option<Finding> {
    if found.ignored.is_empty() {
        return None;
    }
    let notes: Vec<String> = found.ignored.iter().map(|piece| passed_over(piece)).collect();
    let place = below("_dmarc", at);
    let remedy = Remedy::records("write it without them", vec![Resource::txt(place.clone(), mended(text, at))]);
    Some(TAGS.warn(place, notes.join("; "), remedy))
}

/// Why a piece does not count.
fn passed_over(piece: &str) -> String {
    let shown = quoted(piece);
    let Some((name, value)) = piece.split_once('=').map(|(name, value)| (name.trim(), value.trim())) else {
        return format!("{shown} is no tag; a \";\" may be missing before it");
    };
    match (name, value) {
        ("pct", "100") => format!("{shown} was removed in RFC 9989 and says nothing"),
        ("pct", "0") => format!("{shown} was removed in RFC 9989; t=y has taken its place"),
        ("pct", _) => format!("{shown} was removed in RFC 9989: receivers now apply the policy to all mail, and t=y lowers it by one level instead"),
        ("rf" | "ri", _) => format!("{shown} was removed in RFC 9989; older receivers may still heed it"),
        ("p" | "sp" | "np", _) if value.contains(char::is_whitespace) => format!("{shown} is no policy; a \";\" is missing behind it"),
        ("p" | "sp" | "np", _) => format!("{shown} is no policy, or comes twice; there are none, quarantine and reject"),
        ("adkim" | "aspf", _) => format!("{shown} is neither r nor s"),
        ("rua" | "ruf", _) => format!("{shown} holds no valid address; they are written mailto:dmarc@example.com, with commas between"),
        _ => format!("{shown} is no tag of DMARC, or comes twice"),
    }
}

/// What it asks for.
fn policy(at: &Domain, found: &DmarcRecord, author: &Domain) -> Finding {
    let place = below("_dmarc", at);
    let effective = found.policy(at, author, true).unwrap_or(Policy::None);
    let p = found.p.unwrap_or(Policy::None);
    let mut seen = vec![format!("p={p}")];
    seen.extend(found.sp.filter(|sp| *sp != p).map(|sp| format!("sp={sp} for the domains below")));
    seen.extend(found.np.filter(|np| *np != found.sp.unwrap_or(p)).map(|np| format!("np={np} for those that do not exist")));
    if found.testing {
        seen.push(format!("t=y, so that it counts as {effective}"));
    }
    let seen = seen.join("; ");
    let weaker = [("sp", found.sp, "a domain below it"), ("np", found.np, "a name below it that does not exist")];
    if let Some((tag, Some(policy), whom)) = weaker.into_iter().find(|(_, policy, _)| policy.is_some_and(|policy| policy < p)) {
        let seen = format!("{seen}: whoever pretends to be {whom} meets {tag}={policy} only");
        return POLICY.warn(place, seen, Remedy::of(format!("raise {tag}= to p=, or leave it out, once the reports show that no mail of yours fails there")));
    }
    let next = match (p, found.testing) {
        (Policy::None, _) => {
            ": mail of others under this name is only reported; the next step is \"p=quarantine; t=y\", when the reports show that all mail of yours passes"
        }
        (_, true) => "; take t=y out when the reports stay clean",
        (Policy::Quarantine, false) => ": the next step is \"p=reject; t=y\"",
        (Policy::Reject, false) => "",
    };
    POLICY.ok(place, format!("{seen}{next}"))
}

/// Where its reports go.
fn reports(at: &Domain, found: &DmarcRecord, text: &str, hosts: &[ReportHost]) -> Vec<Finding> {
    let place = below("_dmarc", at);
    if found.rua.is_empty() {
        let record = Resource::txt(place.clone(), mended(text, at));
        return vec![REPORTS.warn(place, "there is no rua=, so nobody reports who sends under this name", Remedy::records("ask for reports", vec![record]))];
    }
    let mut findings = Vec::new();
    for uri in found.rua.iter().filter(|uri| !uri.starts_with("mailto:")) {
        findings.push(REPORTS.warn(
            &place,
            format!("{uri} is not a mailto: address; receivers send reports by mail only"),
            Remedy::of("use a mailto: address"),
        ));
    }
    for host in hosts {
        findings.push(report_host(at, host));
    }
    if let Some(foreign) = found.ruf.first().filter(|_| findings.iter().all(|finding| finding.remedy.is_none())) {
        findings.push(REPORTS.ok(place, format!("ruf={foreign} asks for single failing messages too; Gmail, Yahoo and Microsoft send none")));
    }
    findings
}

fn report_host(at: &Domain, host: &ReportHost) -> Finding {
    let (uri, name) = (&host.uri, &host.host);
    match &host.takes_mail {
        Err(fault) => return unanswered(&REPORTS, uri, fault),
        Ok(false) => {
            return REPORTS.fail(
                uri,
                format!("{name} takes no mail: it has neither MX nor address records, or a null MX"),
                Remedy::of("check the spelling of the domain"),
            );
        }
        Ok(true) => {}
    }
    match &host.consent {
        None => REPORTS.ok(uri, "reports go to a domain of the same organisation"),
        Some((asked, Err(fault))) => unanswered(&REPORTS, asked, fault),
        Some((_, Ok(texts))) if texts.iter().any(|text| dmarc_record(text).is_ok()) => {
            REPORTS.ok(uri, format!("reports go to {name}, which agrees to take them"))
        }
        Some((asked, Ok(_))) => {
            let record = Resource::txt(asked.clone(), "v=DMARC1");
            let seen = format!("{name} is another organisation's and does not say that it takes reports about {at}, so receivers send it none");
            REPORTS.fail(uri, seen, Remedy::records(format!("let the operator of {name} publish"), vec![record]))
        }
    }
}

/// Strict alignment against the domains that mail really bears.
fn strict(facts: &DomainFacts, at: &Domain, found: &DmarcRecord, text: &str) -> Vec<Finding> {
    let author = &facts.subject.domain;
    let place = below("_dmarc", at);
    let relaxed = |tag: &str| Remedy::records(format!("leave {tag} out"), vec![Resource::txt(place.clone(), without(text, tag))]);
    let mut findings = Vec::new();
    if let (Alignment::Strict, Some(bounce)) = (found.aspf, facts.subject.bounce_domain.as_ref().filter(|bounce| *bounce != author)) {
        findings.push(STRICT.fail(&place, format!("aspf=s, but the envelope sender bears {bounce}, not {author}: SPF never aligns"), relaxed("aspf")));
    }
    let others: Vec<&Domain> = facts.keys.iter().map(|key| &key.expected.id.domain).filter(|domain| *domain != author && domain.is_at_or_below(at)).collect();
    if let (Alignment::Strict, Some(other)) = (found.adkim, others.first()) {
        findings.push(STRICT.warn(&place, format!("adkim=s, so signatures of {other} do not align with {author}"), relaxed("adkim")));
    }
    findings
}

/// Whether the walk of the tree and the Public Suffix List would say the same of the bounce domain.
fn methods(facts: &DomainFacts, author_walk: &Walk) -> Option<Finding> {
    let author = &facts.subject.domain;
    let bounce = facts.bounce.as_ref()?;
    let bounce_walk = Walk::of(&bounce.dmarc);
    if author_walk.found.is_empty() || author_walk.unknown.is_some() || bounce_walk.unknown.is_some() {
        return None; // without a record there is no alignment to speak of
    }
    let by_walk = author_walk.organization(author) == bounce_walk.organization(&bounce.domain);
    let by_suffix = likely_same_registration(author, &bounce.domain);
    let (old, new) = match (by_walk, by_suffix) {
        (true, true) | (false, false) => return None,
        (false, true) => ("aligned", "not aligned"),
        (true, false) => ("not aligned", "aligned"),
    };
    let seen = format!(
        "{} is {new} with {author} by the walk of the tree (their organisational domains are {} and {}), but probably {old} by the Public Suffix List",
        bounce.domain,
        bounce_walk.organization(&bounce.domain),
        author_walk.organization(author)
    );
    let advice = format!("use a bounce domain below {author}, such as b.{author}, and let no record with psd= stand on it");
    Some(METHODS.warn(&bounce.domain, seen, Remedy::of(advice)))
}

/// Two labels or more in common at the end; three where the last two are both short, as in co.uk. The list itself is not asked: it
/// changes daily, and this decides a warning only.
fn likely_same_registration(a: &Domain, b: &Domain) -> bool {
    let (a, b): (Vec<&str>, Vec<&str>) = (a.as_str().rsplit('.').collect(), b.as_str().rsplit('.').collect());
    let common = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let suffix_of_two = a.len() > 2 && a[0].len() == 2 && a[1].len() <= 3;
    common >= if suffix_of_two { 3 } else { 2 }
}

/// The record as it should be: with its semicolons, without what was removed or means nothing, with `rua=`.
pub(super) fn mended(text: &str, at: &Domain) -> String {
    let text = match dmarc_record(text) {
        Err(DmarcFault::NoSemicolon(better)) => better,
        _ => text.to_owned(),
    };
    let mut tags: Vec<(String, String)> = Vec::new();
    let mut testing = false;
    for (name, value) in text.split(';').filter_map(|piece| piece.split_once('=')).map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim())) {
        match name.as_str() {
            "v" | "rf" | "ri" => {}
            "pct" => testing = value.parse::<u8>().is_ok_and(|percent| percent < 100),
            _ if tags.iter().any(|(known, _)| *known == name) => {}
            "p" | "sp" | "np" => tags.extend(policy_word(value).map(|word| (name, word))),
            "rua" | "ruf" | "fo" | "adkim" | "aspf" | "t" | "psd" => {
                let alone = dmarc_record(&format!("v=DMARC1; p=none; {name}={value}")).is_ok_and(|record| record.ignored.is_empty());
                tags.extend(alone.then(|| (name, value.to_owned())));
            }
            _ => {}
        }
    }
    if !tags.iter().any(|(name, _)| name == "p") {
        tags.insert(0, ("p".to_owned(), "none".to_owned()));
    }
    if testing && !tags.iter().any(|(name, _)| name == "t") && !tags.iter().any(|(name, value)| name == "p" && value == "none") {
        tags.insert(1, ("t".to_owned(), "y".to_owned()));
    }
    if !tags.iter().any(|(name, _)| name == "rua") {
        tags.push(("rua".to_owned(), format!("mailto:dmarc@{at}")));
    }
    let pieces: Vec<String> = std::iter::once("v=DMARC1".to_owned()).chain(tags.into_iter().map(|(name, value)| format!("{name}={value}"))).collect();
    pieces.join("; ")
}

/// A policy, though a `;` be missing behind it.
fn policy_word(value: &str) -> Option<String> {
    let word = value.split_whitespace().next()?.to_ascii_lowercase();
    ["none", "quarantine", "reject"].contains(&word.as_str()).then_some(word)
}

/// The record without a tag.
fn without(text: &str, tag: &str) -> String {
    let kept = text.split(';').map(str::trim).filter(|piece| !piece.is_empty() && piece.split('=').next().is_none_or(|name| name.trim() != tag));
    kept.collect::<Vec<_>>().join("; ")
}
