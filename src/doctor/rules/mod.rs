//! From facts to findings: one file a family of rules. Pure.

mod alignment;
mod bimi;
mod bounce;
mod dkim;
mod dmarc;
mod exists;
mod parked;
pub(super) mod relay;
mod spf;
mod transport;

use super::facts::{DomainFacts, RelayFacts, Use};
use super::rule::{Finding, Rule, Status};
use crate::dns::DnsFault;
use crate::mail::{Domain, Timestamp};

/// Everything there is to say of a domain. `bulk`: it counts as a bulk sender.
#[must_use]
pub fn examine(facts: &DomainFacts, bulk: bool) -> Vec<Finding> {
    let existence = exists::domain(facts);
    if !matches!(facts.exists, Ok(true)) && facts.said_nothing() {
        return vec![existence]; // no such domain, or no answer at all: the rest would say the same twenty times
    }
    if facts.subject.purpose == Use::Parked || (facts.subject.purpose == Use::Unsaid && parked::is_recognised(facts)) {
        return parked::findings(facts);
    }
    let mut findings = vec![existence];
    findings.extend(spf::findings(facts));
    findings.extend(dkim::findings(facts));
    findings.extend(dmarc::findings(facts, bulk));
    findings.push(alignment::finding(facts, bulk));
    findings.extend(bounce::findings(facts));
    findings.extend(transport::findings(facts));
    findings.extend(bimi::findings(facts));
    findings.extend(parked::contradiction(facts));
    if bulk { findings } else { one_is_enough(findings) }
}

/// Everything there is to say of the relay itself, at this time.
#[must_use]
pub fn examine_relay(facts: &RelayFacts, now: Timestamp) -> Vec<Finding> {
    relay::findings(facts, now)
}

/// Below the bulk threshold SPF or DKIM is enough: where one passes, what is wrong with the other only warns.
fn one_is_enough(mut findings: Vec<Finding>) -> Vec<Finding> {
    let is_spf = |finding: &Finding| finding.rule.id == "spf-bounce" || (finding.rule.id == "spf-author" && !finding.rule.demands.is_empty());
    let is_dkim = |finding: &Finding| finding.rule.id == "dkim-author";
    let passes = |which: &dyn Fn(&Finding) -> bool| findings.iter().any(|finding| which(finding) && matches!(finding.status, Status::Ok | Status::Warn));
    let (spf, dkim) = (passes(&is_spf), passes(&is_dkim));
    let soften = |finding: &Finding| finding.status == Status::Fail && ((is_spf(finding) && dkim) || (finding.rule.id.starts_with("dkim") && spf));
    for finding in findings.iter_mut().filter(|finding| soften(finding)) {
        finding.status = Status::Warn;
        finding.seen.push_str("; a sender below the bulk threshold needs only one of SPF and DKIM");
    }
    findings
}

/// Every rule there is, for the schema and the documentation.
#[must_use]
pub fn all() -> Vec<&'static Rule> {
    [exists::RULES, spf::RULES, dkim::RULES, dmarc::RULES, alignment::RULES, bounce::RULES, transport::RULES, bimi::RULES, parked::RULES, relay::RULES].concat()
}

/// What somebody else wrote, in quotation marks and cut where it is endless.
fn quoted(text: &str) -> String {
    let shown: String = text.chars().take(QUOTED_CHARACTERS_MAX).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    let dots = if text.chars().nth(QUOTED_CHARACTERS_MAX).is_some() { "…" } else { "" };
    format!("\"{shown}{dots}\"")
}

/// `a, b and c`.
fn listed<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let mut items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    match items.pop() {
        None => String::new(),
        Some(last) if items.is_empty() => last,
        Some(last) => format!("{} and {last}", items.join(", ")),
    }
}

/// A name below another one; where that is too long for the DNS, the other one itself.
fn below(labels: &str, name: &Domain) -> Domain {
    name.below(labels).unwrap_or_else(|_| name.clone())
}

/// What nobody could say, with what may help.
fn unanswered(rule: &'static Rule, about: impl std::fmt::Display, fault: &DnsFault) -> Finding {
    rule.unknown(about, fault, None)
}

const QUOTED_CHARACTERS_MAX: usize = 300;
