//! What is decided in the dialogue, before there is a message: at MAIL and at RCPT.

use super::{Settings, Usage, reverse_path, route};
use crate::ingress::Allowance;
use crate::mail::{EnhancedCode, ForwardPath, Host, IdentityName, Mailbox, Refusal, ReversePath, Timestamp};

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
