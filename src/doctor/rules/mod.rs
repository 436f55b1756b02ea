//! From facts to findings: one file a family of rules. Pure.

mod bimi;
mod bounce;
mod dkim;
mod dmarc;
mod exists;
mod parked;
mod relay;
mod transport;

use super::facts::{DomainFacts, RelayFacts, Use};
use super::rule::{Finding, Rule};
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
    findings.extend(dkim::findings(facts));
    findings.extend(dmarc::findings(facts, bulk));
    findings.extend(bounce::findings(facts));
    findings.extend(transport::findings(facts));
    findings.extend(bimi::findings(facts));
    findings.extend(parked::contradiction(facts));
    findings
}

/// Everything there is to say of the relay itself, at this time.
#[must_use]
pub fn examine_relay(facts: &RelayFacts, now: Timestamp) -> Vec<Finding> {
    relay::findings(facts, now)
}

/// Every rule there is, for the schema and the documentation.
#[must_use]
pub fn all() -> Vec<&'static Rule> {
    [exists::RULES, dkim::RULES, dmarc::RULES, bounce::RULES, transport::RULES, bimi::RULES, parked::RULES, relay::RULES].concat()
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
