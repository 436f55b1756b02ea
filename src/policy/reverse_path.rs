//! The envelope sender: kept, mapped to a mailbox that exists, or refused.

use super::{DomainPattern, Foreign, Identity, Mode, Settings};
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

/// What decided about an envelope sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReversePathReason {
    /// It is null and stays null.
    Null,
    /// It is at one of the identity's own domains, or the forwarder's.
    Own,
    /// Its domain is one of those to be kept.
    Kept,
    /// It can receive nothing ([`can_receive`]), so another stands in for it.
    Unreachable,
    /// It is at a foreign domain, and [`Foreign`] says what becomes of it.
    Foreign,
}

/// The reverse-path failures are told to, and why that one.
///
/// # Errors
/// The reply to MAIL.
pub fn reverse_path(from: &ReversePath, name: &IdentityName, identity: &Identity, settings: &Settings) -> Result<(ReversePath, ReversePathReason), Refusal> {
    let Some(mailbox) = from.mailbox() else { return Ok((ReversePath::Null, ReversePathReason::Null)) };
    if let Some(domain) = mailbox.domain() {
        super::refuse_parked(domain, "use another envelope sender", settings)?;
    }
    let rule = &identity.reverse_path;
    let mapped = || ReversePath::Mailbox(rule.bounces_to.as_ref().unwrap_or(&settings.postmaster).clone());
    let is_one = |patterns: &[DomainPattern]| mailbox.domain().is_some_and(|domain| patterns.iter().any(|pattern| pattern.matches(domain)));
    let is_forwarders = matches!((&identity.mode, mailbox.domain()), (Mode::Forward { domain: own }, Some(domain)) if domain.is_at_or_below(own));
    if is_forwarders || is_one(&identity.author_domains) {
        return Ok((from.clone(), ReversePathReason::Own));
    }
    if is_one(&rule.kept) {
        return Ok((from.clone(), ReversePathReason::Kept));
    }
    if !can_receive(mailbox) {
        return Ok((mapped(), ReversePathReason::Unreachable));
    }
    match rule.foreign {
        Foreign::Keep => Ok((from.clone(), ReversePathReason::Foreign)),
        Foreign::Map => Ok((mapped(), ReversePathReason::Foreign)),
        Foreign::Refuse => {
            let text = format!(
                "client \"{name}\" may not use the envelope sender {from}; use one at its own domains, or add the domain to reverse_path_kept of identity \"{name}\""
            );
            Err(Refusal::submitter(550, EnhancedCode::new(5, 7, 1), text))
        }
    }
}

fn is_below(domain: &Domain, top: &str) -> bool {
    domain.as_str().strip_suffix(top).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Names no mail ever comes back from.
const NEVER_PUBLIC: [&str; 11] = ["local", "internal", "invalid", "localhost", "home.arpa", "localdomain", "intranet", "private", "corp", "home", "lan"];
