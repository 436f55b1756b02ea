//! What is decided in the dialogue, before there is a message: at MAIL and at RCPT.

use super::{Mode, Settings, Usage, reverse_path, route};
use crate::ingress::Allowance;
use crate::mail::{Domain, EnhancedCode, ForwardPath, Host, IdentityName, Mailbox, Refusal, ReversePath, Stream, Timestamp};
use std::collections::BTreeSet;

/// At MAIL: may `name` begin a transaction with this sender and this `SIZE=` (octets)? Counts the message.
///
/// # Errors
/// The reply to give. The only place where a rate refuses.
pub fn begin(settings: &Settings, usage: &mut Usage, name: &IdentityName, from: &ReversePath, size: Option<u64>, now: Timestamp) -> Result<Allowance, Refusal> {
    let identity = settings.identity(name)?;
    let limit = identity.size_octets_max;
    if let Some(size) = size.filter(|size| *size > limit) {
        return Err(Refusal::submitter(552, EnhancedCode::new(5, 3, 4), format!("a message of {size} octets is too large; at most {limit} are allowed")));
    }
    reverse_path::reverse_path(from, name, identity, settings)?;
    usage.take_message(name, identity.rate, now).map_err(|wait| {
        let seconds = wait.as_millis().div_ceil(1000);
        Refusal::submitter(450, EnhancedCode::new(4, 7, 0), format!("client \"{name}\" sends more than its ceiling allows; try again in {seconds} s"))
    })?;
    Ok(Allowance { size_octets_max: limit, recipients_max: identity.recipients_max })
}

/// At RCPT: the mailbox that stands for `to`, asked as the number `taken` + 1 of its transaction. Tell [`Usage::took_recipients`] of those taken.
///
/// # Errors
/// The reply to give.
pub fn recipient(settings: &Settings, name: &IdentityName, to: &ForwardPath, taken: usize) -> Result<Mailbox, Refusal> {
    let identity = settings.identity(name)?;
    if taken >= identity.recipients_max {
        let text = format!("too many recipients; at most {} in one transaction, send the others in another", identity.recipients_max);
        return Err(Refusal::submitter(452, EnhancedCode::new(4, 5, 3), text));
    }
    let mailbox = match to {
        ForwardPath::Postmaster => return Ok(settings.postmaster.clone()),
        ForwardPath::Mailbox(mailbox) => mailbox,
    };
    if route::route(mailbox, settings).as_str() == route::MX {
        let fault = match &mailbox.host {
            Host::Literal(_) if !settings.address_literals => Some("is at an address literal, which this relay does not deliver to; use a domain"),
            Host::Domain(domain) if !domain.is_fully_qualified() => Some("is at a host without a domain, which has no MX; complete the domain"),
            _ => None,
        };
        if let Some(fault) = fault {
            return Err(Refusal::submitter(550, EnhancedCode::new(5, 1, 2), format!("{mailbox} {fault}")));
        }
    }
    Ok(mailbox.clone())
}

/// Whose mail an identity may send, before there is a message that says so: every author domain that its mail can be signed by, with every
/// stream that it can be in. Where any stream is allowed, a stream without a name stands for them all, which no entry of the suppression
/// list names. `None`: they cannot be counted.
#[must_use]
pub fn senders(settings: &Settings, name: &IdentityName) -> Option<BTreeSet<(Domain, Stream)>> {
    let identity = settings.identity(name).ok()?;
    let mut domains = BTreeSet::new();
    match &identity.mode {
        Mode::Forward { domain } => _ = domains.insert(domain.clone()),
        Mode::Author => {
            for pattern in &identity.author_domains {
                let governing = settings.signing_domain(pattern.domain());
                if !pattern.is_exact() {
                    settings.domains.get(governing)?; // else each name below signs for itself
                    domains.extend(settings.domains.keys().filter(|known| known.is_at_or_below(pattern.domain())).cloned());
                }
                domains.insert(governing.clone());
            }
        }
    }
    let streams: BTreeSet<Stream> = match (&identity.mode, &identity.streams) {
        // The streams that others name are no instructions to us.
        (Mode::Forward { .. }, _) => [identity.stream.clone()].into(),
        (Mode::Author, Some(streams)) => streams.iter().chain([&identity.stream]).cloned().collect(),
        (Mode::Author, None) => [Stream::new("")].into(),
    };
    Some(domains.into_iter().flat_map(|domain| streams.iter().map(move |stream| (domain.clone(), stream.clone())).collect::<Vec<_>>()).collect())
}
