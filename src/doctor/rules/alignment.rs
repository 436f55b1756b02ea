//! What SPF and DKIM come to together: the verdict that *verdict* would give on mail that leaves as configured.

use super::super::facts::DomainFacts;
use super::super::rule::{Demand, Finding, Provider, Remedy, Rule, When};
use super::dmarc::Walk;
use super::{dkim, spf};
use crate::verdict::{self, Check, DkimAxis, DkimFact, DmarcFact, Identity, SpfAxis, SpfFact};
use std::collections::HashMap;

pub(super) const RULES: &[&Rule] = &[&ALIGNMENT];

static ALIGNMENT: Rule = Rule {
    id: "alignment",
    why: "From must be aligned with the domain that SPF or DKIM proves; Gmail says that it will probably demand both one day",
    demands: &[
        Demand { by: Provider::Gmail, of: When::Bulk, codes: &["421 4.7.32", "550 5.7.32", "550 5.7.26"] },
        Demand { by: Provider::Yahoo, of: When::Bulk, codes: &["554"] },
        Demand { by: Provider::Microsoft, of: When::Bulk, codes: &["550 5.7.515"] },
        Demand { by: Provider::Apple, of: When::Bulk, codes: &[] },
    ],
};

/// One: both aligned, one of them, or none.
pub(super) fn finding(facts: &DomainFacts, bulk: bool) -> Finding {
    let author = &facts.subject.domain;
    if let Some((bounce, platform)) = facts.subject.bounce_domain.as_ref().and_then(|bounce| Some((bounce, dkim::shared_signer(bounce)?))) {
        let remedy = Remedy::of(format!("use an envelope sender below {author}, such as b.{author}"));
        return ALIGNMENT.warn(
            author,
            format!("the envelope sender bears {bounce}, the shared domain of {platform}, which is aligned with nobody's From"),
            remedy,
        );
    }
    let judged = verdict::judge(&judged_facts(facts, bulk));
    let why = judged.why.trim_end_matches('.').to_owned();
    let fix = || Remedy::of(within(judged.fix_first.as_deref().unwrap_or_default()));
    if judged.both_aligned {
        return ALIGNMENT.ok(author, format!("both aligned: {why}"));
    }
    if facts.subject.bounce_domain.is_none() {
        let remedy =
            Remedy::of("name the domain of MAIL FROM with --bounce-domain (Return-Path of a delivered message shows it), and the selectors with --selector");
        return ALIGNMENT.unknown(author, "the domain of the envelope sender is not known, so nothing can be said of both together", Some(remedy));
    }
    let open = spf_result(facts) == Check::TempError || dkim::author_signature(facts).is_none();
    if open {
        return ALIGNMENT.unknown(author, format!("not all of it could be asked: {why}"), None);
    }
    if judged.spf_axis == SpfAxis::Aligned || judged.dkim_axis == DkimAxis::Author {
        return ALIGNMENT.warn(author, format!("one of the two is aligned: {why}"), fix());
    }
    ALIGNMENT.fail(author, why, fix())
}

/// A sentence without its capital and its full stop.
fn within(sentence: &str) -> String {
    let mut characters = sentence.trim_end_matches('.').chars();
    characters.next().map(|first| first.to_lowercase().chain(characters).collect()).unwrap_or_default()
}

/// Mail as it would leave, for the judge of single messages.
fn judged_facts(facts: &DomainFacts, bulk: bool) -> verdict::Facts {
    let author = facts.subject.domain.clone();
    let walk = Walk::of(&facts.dmarc);
    let mut organizations = HashMap::from([(author.clone(), walk.organization(&author))]);
    if let Some(bounce) = &facts.bounce {
        organizations.insert(bounce.domain.clone(), Walk::of(&bounce.dmarc).organization(&bounce.domain));
    }
    let dmarc = match walk.applicable(&author) {
        Some((at, record, _)) => DmarcFact::Record { record: record.clone(), at: at.clone(), author_exists: true },
        None if walk.unknown.is_some() => DmarcFact::Unknown,
        None => DmarcFact::Missing,
    };
    let signatures = facts.keys.iter().filter(|found| dkim::signs(found)).map(|found| {
        let (result, why) = dkim::signature(found);
        let domain = found.expected.id.domain.clone();
        DkimFact { result, domain: Some(domain), selector: found.expected.id.selector.to_string(), algorithm: String::new(), why }
    });
    let spf = SpfFact { result: spf_result(facts), domain: facts.subject.bounce_domain.clone(), identity: Identity::MailFrom };
    verdict::Facts { author, spf, dkim: signatures.collect(), dmarc, organizations, bulk }
}

fn spf_result(facts: &DomainFacts) -> Check {
    facts.bounce.as_ref().map_or(Check::None, |bounce| spf::result(&bounce.spf))
}
