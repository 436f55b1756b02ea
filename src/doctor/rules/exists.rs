//! Names that exist: Yahoo asks for the SOA of the domains of MAIL FROM and From before it looks at anything else.

use super::super::facts::{BounceFacts, DomainFacts, Use};
use super::super::rule::{Demand, Finding, Provider, Remedy, Rule, When};
use super::{listed, unanswered};
use crate::dns::Resource;
use crate::mail::Domain;

pub(super) const RULES: &[&Rule] = &[&EXISTS];

static EXISTS: Rule = Rule {
    id: "soa-exists",
    why: "receivers refuse senders in domains that do not exist; Yahoo asks for the SOA of the envelope sender's and the author's domain",
    demands: &[Demand { by: Provider::Gmail, of: When::Always, codes: &[] }, Demand { by: Provider::Yahoo, of: When::Always, codes: &["451", "554"] }],
};

/// Of the author domain.
pub(super) fn domain(facts: &DomainFacts) -> Finding {
    let name = &facts.subject.domain;
    match &facts.exists {
        Ok(true) => EXISTS.ok(name, "the name exists"),
        Ok(false) => EXISTS.fail(name, "there is no such name in the DNS (NXDOMAIN)", Remedy::of(misspelt(name, facts.subject.purpose))),
        Err(fault) => {
            let silent = facts.said_nothing();
            let remedy = silent.then(|| Remedy::of("see that the name server can be reached, or name another one with --resolver ADDRESS[:PORT]"));
            EXISTS.unknown(name, if silent { format!("{fault}, and nothing else of the domain could be asked either") } else { fault.to_string() }, remedy)
        }
    }
}

/// Of the bounce domain.
pub(super) fn bounce_domain(bounce: &BounceFacts, host: Option<&Domain>) -> Finding {
    match &bounce.exists {
        Ok(true) => EXISTS.ok(&bounce.domain, "the name exists"),
        Ok(false) => {
            let records = host.map(|host| Resource::mx(bounce.domain.clone(), 10, Some(host.clone()))).into_iter().collect();
            let remedy = Remedy::records("give the bounce domain its records, the MX first", records);
            EXISTS.fail(&bounce.domain, "there is no such name in the DNS (NXDOMAIN)", remedy)
        }
        Err(fault) => unanswered(&EXISTS, &bounce.domain, fault),
    }
}

fn misspelt(name: &Domain, purpose: Use) -> String {
    let above: Vec<&str> = name.as_str().split('.').collect();
    let zone = above.get(above.len().saturating_sub(2)..).map(|labels| labels.join(".")).unwrap_or_default();
    let place = if purpose == Use::Unsaid { "the spelling" } else { "the spelling in the configuration" };
    format!("check {place}, the registration of {}, and its delegation", listed([zone]))
}
