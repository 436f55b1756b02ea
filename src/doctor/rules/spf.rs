//! SPF records: of the envelope sender's domain, of the author domain, and of the EHLO name, which stands for null senders (RFC 7208).

use super::super::facts::{DomainFacts, Leaves, SourceFacts};
use super::super::rule::{Demand, Finding, Provider, Remedy, Rule, When};
use super::relay::has;
use super::{listed, quoted, unanswered};
use crate::dns::Resource;
use crate::mail::Domain;
use crate::verdict::Check;
use crate::verdict::spf::{Remark, Selected};
use crate::verdict::spf_walk::{LOOKUPS_MAX, VOIDS_MAX, Walk};
use std::net::IpAddr;

pub(super) const RULES: &[&Rule] = &[&BOUNCE, &AUTHOR, &HELO];

static BOUNCE: Rule =
    Rule { id: "spf-bounce", why: "SPF is checked for the domain of the envelope sender, and must pass for the address that sends", demands: DEMANDS };

/// Where the bounce domain is not known, or the author domain itself: then it is what SPF is checked for.
static SENDER: Rule =
    Rule { id: "spf-author", why: "SPF is checked for the domain of the envelope sender, and must pass for the address that sends", demands: DEMANDS };

/// Where mail bears the bounce domain.
static AUTHOR: Rule = Rule {
    id: "spf-author",
    why: "our mail bears the bounce domain in its envelope, but whatever else sends as this domain is judged by this record",
    demands: &[],
};

static HELO: Rule = Rule {
    id: "spf-helo",
    why: "failure notices have a null sender; SPF is then checked for the EHLO name (RFC 7208 §2.4)",
    demands: &[
        Demand { by: Provider::Gmail, of: When::Bulk, codes: &["421 4.7.27", "550 5.7.27"] },
        Demand { by: Provider::Yahoo, of: When::Bulk, codes: &["554"] },
    ],
};

const DEMANDS: &[Demand] = &[
    Demand { by: Provider::Gmail, of: When::Always, codes: &["421 4.7.27", "550 5.7.27", "451 4.7.24", "550 5.7.24", "550 5.7.26"] },
    Demand { by: Provider::Yahoo, of: When::Always, codes: &["554"] },
    Demand { by: Provider::Microsoft, of: When::Bulk, codes: &["550 5.7.515"] },
    Demand { by: Provider::Apple, of: When::Bulk, codes: &[] },
];

/// Of the author domain and its bounce domain.
pub(super) fn findings(facts: &DomainFacts) -> Vec<Finding> {
    let leaves = &facts.subject.leaves;
    match facts.bounce.as_ref().filter(|bounce| bounce.domain != facts.subject.domain) {
        None => vec![judge(&SENDER, &facts.spf, leaves, Missing::Fails)],
        Some(bounce) => vec![judge(&BOUNCE, &bounce.spf, leaves, Missing::Fails), judge(&AUTHOR, &facts.spf, &Leaves::default(), Missing::IsUnwise)],
    }
}

/// Of an EHLO name.
pub(super) fn helo(source: &SourceFacts) -> Option<Finding> {
    let walk = source.spf.as_ref()?;
    let leaves = Leaves { addresses: source.addresses.iter().map(|found| found.address).collect(), presumed: source.presumed, smart_host: None };
    let finding = judge(&HELO, walk, &leaves, Missing::IsUnwise);
    // Nothing else sends under this name, so that its own addresses are all there is to say, where they are those that send.
    let own = source.ehlo.as_ref().and_then(|found| found.as_ref().ok()).is_some_and(|own| leaves.addresses.iter().all(|address| has(own, *address)));
    let is_missing = matches!(walk.pages.first().map(|page| &page.found), Some(Ok(Selected::None(_))));
    if !is_missing || !own || leaves.addresses.is_empty() {
        return Some(finding);
    }
    let remedy = Remedy::records("publish", vec![Resource::txt(walk.domain.clone(), HELO_ALONE)]);
    Some(Finding { remedy: Some(remedy), ..finding })
}

/// What SPF comes to for mail from these addresses.
pub(super) fn result(walk: &Walk) -> Check {
    match walk.pages.first().map(|page| &page.found) {
        Some(Err(_)) => return Check::TempError,
        Some(Ok(Selected::None(_))) | None => return Check::None,
        Some(Ok(_)) => {}
    }
    if !walk.problems.is_empty() {
        return Check::PermError;
    }
    if !walk.unknown.is_empty() {
        return Check::TempError;
    }
    walk.covered.iter().map(|covered| covered.result).find(|result| *result != Check::Pass).unwrap_or(Check::Pass)
}

/// What it means that there is no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    Fails,
    IsUnwise,
}

fn judge(rule: &'static Rule, walk: &Walk, leaves: &Leaves, missing: Missing) -> Finding {
    let domain = &walk.domain;
    let text = match walk.pages.first().map(|page| &page.found) {
        Some(Err(fault)) => return unanswered(rule, domain, fault),
        Some(Ok(Selected::Record(record))) => record.text.clone(),
        Some(Ok(Selected::Faulty { text, .. })) => text.clone(),
        Some(Ok(Selected::Several(texts))) => texts.join("\" and \""),
        Some(Ok(Selected::None(near))) => {
            let seen = near.first().map_or_else(|| "there is no SPF record".to_owned(), |miss| format!("{}: {}", quoted(&miss.text), miss.why));
            let what = if leaves.addresses.is_empty() { OTHERS_FIRST } else { "publish" };
            let remedy = Remedy::records(what, vec![Resource::txt(domain.clone(), fresh(&leaves.addresses))]);
            return if missing == Missing::Fails { rule.fail(domain, seen, remedy) } else { rule.warn(domain, seen, remedy) };
        }
        None => return rule.unknown(domain, "nobody was asked", None),
    };
    if !walk.problems.is_empty() {
        let problems: Vec<String> = walk.problems.iter().map(ToString::to_string).collect();
        return rule.fail(
            domain,
            format!("receivers get a permanent error from {}: {}", quoted(&text), problems.join("; ")),
            Remedy::of(mend(domain, &text, walk)),
        );
    }
    if let Some(fault) = walk.unknown.first() {
        return rule.unknown(domain, format!("{}, but not all it names could be asked: {fault}", quoted(&text)), None);
    }
    if let Some(finding) = uncovered(rule, walk, leaves, &text) {
        return finding;
    }
    let everybody = walk.remarks.iter().find(|remarked| matches!(remarked.remark, Remark::PassesEverybody(_)));
    if let Some(remarked) = everybody {
        return rule.fail(
            domain,
            format!("{}: {}{}", quoted(&text), of_whom(&remarked.record, domain), remarked.remark),
            Remedy::of("name the addresses that send, and end with ~all"),
        );
    }
    if !walk.remarks.is_empty() {
        let remarks: Vec<String> = walk.remarks.iter().map(|remarked| format!("{}{}", of_whom(&remarked.record, domain), remarked.remark)).collect();
        return rule.warn(domain, format!("{}: {}", quoted(&text), remarks.join("; ")), Remedy::of(format!("write the TXT record at {domain} anew")));
    }
    let counts = format!("{} of {LOOKUPS_MAX} lookups, {} of {VOIDS_MAX} void", walk.lookups, walk.voids);
    rule.ok(domain, format!("{}: {counts}{}", quoted(&text), covers(leaves)))
}

/// An address of ours that the record does not let in.
fn uncovered(rule: &'static Rule, walk: &Walk, leaves: &Leaves, text: &str) -> Option<Finding> {
    let domain = &walk.domain;
    let out: Vec<_> = walk.covered.iter().filter(|covered| covered.result != Check::Pass).collect();
    let first = out.first()?;
    if out.iter().any(|covered| covered.result == Check::TempError) {
        return Some(rule.unknown(domain, format!("{}, but whether it lets in {} could not be asked: {}", quoted(text), first.address, first.why), None));
    }
    let addresses: Vec<IpAddr> = out.iter().map(|covered| covered.address).collect();
    let seen = format!("{} does not let in {} (result: {})", quoted(text), listed(&addresses), first.result);
    let remedy = Remedy::records("let the record name the addresses that send", vec![Resource::txt(domain.clone(), with(text, &addresses))]);
    Some(if leaves.presumed {
        let seen = format!("{seen}, which the EHLO name points to; whether mail leaves from there is not configured");
        rule.unknown(
            domain,
            seen,
            Some(Remedy {
                text: "if so, let the record name it; if not, name the address with --address or in [deliver] source_v4 and source_v6".to_owned(),
                ..remedy
            }),
        )
    } else {
        rule.fail(domain, seen, remedy)
    })
}

fn of_whom(record: &str, domain: &Domain) -> String {
    if record == domain.as_str() { String::new() } else { format!("in the record of {record}, ") }
}

fn covers(leaves: &Leaves) -> String {
    match (leaves.addresses.as_slice(), &leaves.smart_host) {
        ([], None) => String::new(),
        ([], Some(host)) => format!("; whether it lets in the addresses of {host}, its operator knows"),
        (addresses, _) => format!("; it lets in {}", listed(addresses)),
    }
}

/// A record that lets in these addresses and nobody else.
fn fresh(addresses: &[IpAddr]) -> String {
    with("v=spf1 ~all", addresses)
}

/// The record with these addresses let in first.
fn with(text: &str, addresses: &[IpAddr]) -> String {
    let rest = text.get("v=spf1".len()..).unwrap_or_default();
    let terms: Vec<String> = addresses.iter().map(|address| term(*address)).collect();
    format!("v=spf1 {} {}", terms.join(" "), rest.trim_start()).replace("  ", " ").trim_end().to_owned()
}

fn term(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => format!("ip4:{address}"),
        IpAddr::V6(address) => format!("ip6:{address}"),
    }
}

/// What to do about a record that cannot be evaluated; the terms that cost most are named where it costs too much.
fn mend(domain: &Domain, text: &str, walk: &Walk) -> String {
    let mut dear: Vec<_> = walk.costs.iter().filter(|cost| cost.depth == 0 && cost.lookups > 1).collect();
    dear.sort_by_key(|cost| std::cmp::Reverse(cost.lookups));
    if walk.lookups <= LOOKUPS_MAX || dear.is_empty() {
        return format!("write the TXT record at {domain} anew; it begins {}", quoted(text.split(' ').next().unwrap_or_default()));
    }
    let shown = listed(dear.iter().take(TERMS_SHOWN_MAX).map(|cost| format!("{} ({})", cost.term, cost.lookups)));
    format!("take out of the TXT record at {domain} what no longer sends; most lookups are those of {shown}")
}

/// What `dns records` has for an EHLO name.
const HELO_ALONE: &str = "v=spf1 a -all";
/// What others send would soft-fail by a record that does not name them.
const OTHERS_FIRST: &str = "publish, with whatever else sends as this domain named before ~all (mx, ip4:…, include:…)";
const TERMS_SHOWN_MAX: usize = 4;
