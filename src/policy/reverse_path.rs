//! The envelope sender: kept, mapped to a mailbox that exists, or refused.

use super::{Foreign, Identity, Mode, Settings};
use crate::mail::{Domain, EnhancedCode, Host, IdentityName, Mailbox, Refusal, ReversePath};

/// Whether mail to this address can arrive from the outside: not at an address literal, a host without a domain, or a name that
/// public DNS never has (RFC 6761 §6.3, §6.4; RFC 6762 §3 and appendix G; RFC 8375; ICANN's `internal`; the `localdomain` of many a
/// Unix host).
#[must_use]
pub fn can_receive(mailbox: &Mailbox) -> bool {
    match &mailbox.host {
        Host::Literal(_) => false,
        Host::Domain(domain) => domain.is_fully_qualified() && !NEVER_PUBLIC.iter().any(|private| is_below(domain, private)),
    }
}

/// The reverse-path failures are told to.
pub(super) fn decide(from: &ReversePath, name: &IdentityName, identity: &Identity, settings: &Settings) -> Result<ReversePath, Refusal> {
    let Some(mailbox) = from.mailbox() else { return Ok(ReversePath::Null) };
    let rule = &identity.reverse_path;
    let kept = |domain: &Domain| {
        let own = matches!(&identity.mode, Mode::Forward { domain: own } if domain.is_at_or_below(own));
        own || rule.kept.iter().chain(&identity.author_domains).any(|pattern| pattern.matches(domain))
    };
    let mapped = || ReversePath::Mailbox(rule.bounces_to.as_ref().unwrap_or(&settings.postmaster).clone());
    if mailbox.domain().is_some_and(kept) {
        return Ok(from.clone());
    }
    if !can_receive(mailbox) {
        return Ok(mapped());
    }
    match rule.foreign {
        Foreign::Keep => Ok(from.clone()),
        Foreign::Map => Ok(mapped()),
        Foreign::Refuse => {
            let text = format!("client \"{name}\" may not use the envelope sender {from}; use one at its own domains, or add the domain to reverse_path.kept");
            Err(Refusal::submitter(550, EnhancedCode::new(5, 7, 1), text))
        }
    }
}

fn is_below(domain: &Domain, top: &str) -> bool {
    domain.as_str().strip_suffix(top).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Names no mail ever comes back from.
const NEVER_PUBLIC: [&str; 11] = ["local", "internal", "invalid", "localhost", "home.arpa", "localdomain", "intranet", "private", "corp", "home", "lan"];
