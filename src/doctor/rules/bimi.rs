//! BIMI: a logo beside the mail. Optional; what is published must be right (draft-brand-indicators-for-message-identification).

use super::super::facts::DomainFacts;
use super::super::rule::{Finding, Remedy, Rule};
use super::dmarc::Walk;
use super::{below, quoted, unanswered};
use crate::verdict::dmarc::Policy;

pub(super) const RULES: &[&Rule] = &[&BIMI];

static BIMI: Rule =
    Rule { id: "bimi", why: "receivers that show logos take the one named here, from domains whose DMARC policy is quarantine or reject", demands: &[] };

pub(super) fn findings(facts: &DomainFacts) -> Vec<Finding> {
    let author = &facts.subject.domain;
    let name = below("default._bimi", author);
    let texts = match &facts.bimi {
        Ok(texts) => texts,
        Err(fault) => return vec![unanswered(&BIMI, name, fault)],
    };
    let Some(text) = texts.iter().find(|text| text.contains("BIMI1")) else { return Vec::new() };
    let Some(record) = BimiRecord::parse(text) else {
        let remedy = Remedy::of("write \"v=BIMI1; l=https://…/logo.svg; a=https://…/certificate.pem\"; to decline, \"v=BIMI1; l=; a=;\"");
        return vec![BIMI.warn(name, format!("{} is no record of BIMI", quoted(text)), remedy)];
    };
    if record.declines() {
        return vec![BIMI.ok(name, "the domain declines to show a logo")];
    }
    let walk = Walk::of(&facts.dmarc);
    let Some((at, dmarc, _)) = walk.applicable(author) else {
        return vec![BIMI.warn(
            name,
            "there is a logo but no DMARC record, so nobody shows it",
            Remedy::of("publish DMARC with p=quarantine or p=reject first"),
        )];
    };
    let is_enforced = |policy: Option<Policy>| policy.is_some_and(|policy| policy != Policy::None);
    if !is_enforced(dmarc.policy(at, author, true)) || !is_enforced(dmarc.policy(at, at, true)) {
        return vec![BIMI.warn(
            name,
            "there is a logo, but the DMARC policy comes to none, so nobody shows it",
            Remedy::of("raise the policy to quarantine or reject, without t=y and sp=none"),
        )];
    }
    if !record.evidence.starts_with("https://") {
        return vec![BIMI.warn(
            name,
            format!("{}: without a= Yahoo may show the logo, Gmail does not", quoted(text)),
            Remedy::of("name a mark certificate (VMC or CMC) in a="),
        )];
    }
    vec![BIMI.ok(name, quoted(text))]
}

/// `v=BIMI1; l=…; a=…`.
struct BimiRecord<'a> {
    logo: &'a str,
    evidence: &'a str,
}

impl<'a> BimiRecord<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut tags =
            text.split(';').map(str::trim).filter(|tag| !tag.is_empty()).map(|tag| tag.split_once('=').map(|(name, value)| (name.trim(), value.trim())));
        if tags.next()?? != ("v", "BIMI1") {
            return None;
        }
        let mut record = Self { logo: "", evidence: "" };
        let mut has_logo = false;
        for tag in tags {
            match tag? {
                ("l", value) => (record.logo, has_logo) = (value, true),
                ("a", value) => record.evidence = value,
                _ => {}
            }
        }
        let is_place = |place: &str| place.is_empty() || place.starts_with("https://");
        (has_logo && is_place(record.logo) && is_place(record.evidence)).then_some(record)
    }

    const fn declines(&self) -> bool {
        self.logo.is_empty() && self.evidence.is_empty()
    }
}

/// Whether a record declines to show a logo.
pub(super) fn declines(texts: &[String]) -> bool {
    texts.iter().any(|text| BimiRecord::parse(text).is_some_and(|record| record.declines()))
}
