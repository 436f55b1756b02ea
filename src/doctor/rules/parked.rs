//! Domains that never send: the records that say so, and what is missing of them.
//!
//! | name | record |
//! |---|---|
//! | the domain, `*` | `v=spf1 -all` |
//! | `*._domainkey` | `v=DKIM1; p=` |
//! | `_dmarc` | `v=DMARC1; p=reject; sp=reject; np=reject` |
//! | `default._bimi` | `v=BIMI1; l=; a=;` |
//! | the domain | `MX 0 .`, where it takes no mail either |

use super::super::facts::{DomainFacts, Use};
use super::super::rule::{Finding, Remedy, Rule, Status};
use super::dmarc::Walk;
use super::{below, bimi, listed, quoted, unanswered};
use crate::dns::{DnsFault, MxAnswer, Owner, Resource};
use crate::keys::Record;
use crate::mail::Domain;
use crate::verdict::dmarc::Policy;

pub(super) const RULES: &[&Rule] = &[&PARKED, &SPF, &DKIM, &DMARC, &BIMI, &MX, &SENDS];

static PARKED: Rule = Rule {
    id: "parked",
    why: "a domain that never sends should say so in every record that receivers look at, or its name is free for the taking",
    demands: &[],
};
static SPF: Rule =
    Rule { id: "parked-spf", why: "\"v=spf1 -all\" says that nobody sends with it in the envelope, for it and all names below it", demands: &[] };
static DKIM: Rule = Rule { id: "parked-dkim", why: "an empty key at every selector says that no signature of it holds", demands: &[] };
static DMARC: Rule = Rule { id: "parked-dmarc", why: "p=reject asks receivers to refuse all mail that claims to come from it", demands: &[] };
static BIMI: Rule = Rule { id: "parked-bimi", why: "a declination says that no logo is to be shown", demands: &[] };
static MX: Rule = Rule { id: "parked-mx", why: "a null MX says that it takes no mail either (RFC 7505)", demands: &[] };
static SENDS: Rule = Rule { id: "parked-sends", why: "what is published as never sending is refused everywhere", demands: &[] };

/// Whether the records are those of a domain that never sends, though perhaps not all of them.
pub(super) fn is_recognised(facts: &DomainFacts) -> bool {
    let spf = facts.txt.as_ref().is_ok_and(|texts| only_all(texts));
    let keys = facts.wildcard_key.as_ref().is_ok_and(|texts| only_revoked(texts));
    let mx = facts.mx == Ok(MxAnswer::Null);
    spf && (keys || mx)
}

/// All of them, the sum first.
pub(super) fn findings(facts: &DomainFacts) -> Vec<Finding> {
    let parts = [spf(facts), wildcard_spf(facts), dkim(facts), dmarc(facts), bimi(facts), mx(facts)];
    let of = |status: Status| parts.iter().filter(|part| part.status == status).map(|part| part.rule.id).collect::<std::collections::BTreeSet<_>>();
    let domain = &facts.subject.domain;
    let said = if facts.subject.purpose == Use::Parked { "configured as parked" } else { "recognised as parked" };
    let missing: Vec<&str> = of(Status::Fail).union(&of(Status::Warn)).copied().collect();
    let sum = if missing.is_empty() {
        if of(Status::Unknown).is_empty() {
            PARKED.ok(domain, format!("{said}, complete"))
        } else {
            PARKED.unknown(domain, format!("{said}; not all could be asked"), None)
        }
    } else {
        let seen = format!("{said}, not complete: see {}", listed(&missing));
        let remedy = Remedy::of(format!("publish what is missing; `postseal dns records {domain} --parked` prints the whole set"));
        PARKED.warn(domain, seen, remedy)
    };
    std::iter::once(sum).chain(parts).collect()
}

/// Published as parked, and configured to send.
pub(super) fn contradiction(facts: &DomainFacts) -> Option<Finding> {
    (facts.subject.purpose == Use::Sends && is_recognised(facts)).then(|| {
        let domain = &facts.subject.domain;
        let remedy = Remedy::of(format!("set parked = true in [domains.\"{domain}\"], or publish what `postseal dns records {domain}` prints"));
        SENDS.fail(domain, "the configuration lets it send, but its records are those of a domain that never does", remedy)
    })
}

fn spf(facts: &DomainFacts) -> Finding {
    let domain = &facts.subject.domain;
    let record = Resource::txt(domain.clone(), SPF_NOBODY);
    match &facts.txt {
        Err(fault) => unanswered(&SPF, domain, fault),
        Ok(texts) if only_all(texts) => SPF.ok(domain, quoted(SPF_NOBODY)),
        Ok(texts) => match texts.iter().find(|text| is_spf(text)) {
            Some(text) => SPF.fail(domain, format!("{} does not say that nobody sends", quoted(text)), Remedy::records("publish instead", vec![record])),
            None => SPF.fail(domain, "there is no SPF record", Remedy::records("publish", vec![record])),
        },
    }
}

fn wildcard_spf(facts: &DomainFacts) -> Finding {
    let domain = &facts.subject.domain;
    let about = format!("*.{domain}");
    match &facts.wildcard {
        Err(fault) => unanswered(&SPF, about, fault),
        Ok(texts) if only_all(texts) => SPF.ok(about, quoted(SPF_NOBODY)),
        Ok(_) => SPF.warn(about, "names below it have no such record", Remedy::records("publish", vec![wildcard(domain.clone(), SPF_NOBODY)])),
    }
}

fn dkim(facts: &DomainFacts) -> Finding {
    let name = below("_domainkey", &facts.subject.domain);
    let about = format!("*.{name}");
    match &facts.wildcard_key {
        Err(fault) => unanswered(&DKIM, about, fault),
        Ok(texts) if only_revoked(texts) => DKIM.ok(about, "every selector is revoked"),
        Ok(_) => DKIM.warn(about, "selectors are not revoked", Remedy::records("publish", vec![wildcard(name, DKIM_NOBODY)])),
    }
}

fn dmarc(facts: &DomainFacts) -> Finding {
    let domain = &facts.subject.domain;
    let walk = Walk::of(&facts.dmarc);
    let name = below("_dmarc", domain);
    // Under a null MX its own address takes no reports.
    let rua = if facts.mx == Ok(MxAnswer::Null) { String::new() } else { format!("; rua=mailto:dmarc@{domain}") };
    let record = Resource::txt(name.clone(), format!("v=DMARC1; p=reject; sp=reject; np=reject; adkim=s; aspf=s{rua}"));
    let unknown: Option<&DnsFault> = walk.unknown.as_ref().filter(|_| walk.found.is_empty());
    if let Some(fault) = unknown {
        return unanswered(&DMARC, name, fault);
    }
    let Some((at, found, text)) = walk.applicable(domain) else {
        return DMARC.fail(name, "there is no DMARC record", Remedy::records("publish, with rua= if an address elsewhere takes its reports", vec![record]));
    };
    let all = |policy: Option<Policy>| policy == Some(Policy::Reject);
    let everywhere = all(found.policy(at, domain, true)) && all(found.policy(at, &below("x", at), true)) && all(found.policy(at, &below("x", at), false));
    if everywhere {
        return DMARC.ok(below("_dmarc", at), quoted(text));
    }
    let remedy = Remedy::records("publish instead, with rua= if an address elsewhere takes its reports", vec![record]);
    DMARC.fail(below("_dmarc", at), format!("{} does not ask to reject everything", quoted(text)), remedy)
}

fn bimi(facts: &DomainFacts) -> Finding {
    let name = below("default._bimi", &facts.subject.domain);
    match &facts.bimi {
        Err(fault) => unanswered(&BIMI, name, fault),
        Ok(texts) if bimi::declines(texts) => BIMI.ok(name, "the domain declines to show a logo"),
        Ok(_) => BIMI.warn(&name, "there is no declination", Remedy::records("publish", vec![Resource::txt(name.clone(), BIMI_NOTHING)])),
    }
}

fn mx(facts: &DomainFacts) -> Finding {
    let domain = &facts.subject.domain;
    match &facts.mx {
        Err(fault) => unanswered(&MX, domain, fault),
        Ok(MxAnswer::Null) => MX.ok(domain, "a null MX: it takes no mail either"),
        Ok(MxAnswer::Hosts(hosts)) if !hosts.is_empty() => MX.ok(domain, format!("it takes mail, at {}", listed(hosts.iter().map(|host| &host.name)))),
        Ok(_) => MX.warn(
            domain,
            "it has no MX record, so senders try its own address",
            Remedy::records("publish, if it takes no mail", vec![Resource::mx(domain.clone(), 0, None)]),
        ),
    }
}

fn wildcard(name: Domain, text: &str) -> Resource {
    let bare = Resource::txt(name.clone(), text);
    Resource { owner: Owner { wildcard: true, name }, ..bare }
}

fn is_spf(text: &str) -> bool {
    text.get(..6).is_some_and(|version| version.eq_ignore_ascii_case("v=spf1"))
}

/// The one SPF record lets nobody in.
fn only_all(texts: &[String]) -> bool {
    let mut records = texts.iter().filter(|text| is_spf(text));
    records.next().is_some_and(|text| text.split_whitespace().skip(1).eq(["-all"])) && records.next().is_none()
}

/// The one key record holds no key.
fn only_revoked(texts: &[String]) -> bool {
    matches!(texts, [text] if Record::parse(text).is_ok_and(|record| record.public.is_none()))
}

const SPF_NOBODY: &str = "v=spf1 -all";
const DKIM_NOBODY: &str = "v=DKIM1; p=";
const BIMI_NOTHING: &str = "v=BIMI1; l=; a=;";
