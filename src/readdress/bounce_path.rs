//! Which reverse-path each recipient's transaction gets.

use super::token::{Ring, TokenContents};
use super::{BounceRule, Keep, Settings, TokenPer};
use crate::mail::{Domain, Host, MailId, Mailbox, Recipient, ReversePath, Timestamp};
use std::collections::HashMap;

/// One message to readdress; its recipients share a route.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The submission's reverse-path, mapped to one that can receive mail where it could not.
    pub original: &'a ReversePath,
    /// To whom the message goes.
    pub recipients: &'a [Recipient],
    /// The author domain; in `forward` mode the forwarder's.
    pub signing_domain: &'a Domain,
    /// The message's number.
    pub id: MailId,
    /// 0; one more each time the spool answers that the sender id stands for another.
    pub sender_counter: u8,
    /// What the route's profile says.
    pub rewrite: RewriteReversePath,
    /// The submitter is a postseal whose tokens are ours: one that opens is kept.
    pub trusted_upstream: bool,
}

/// A route's `reverse_path` profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RewriteReversePath {
    /// Ours, as everywhere.
    #[default]
    Rewrite,
    /// The smart host replaces it or demands the original (Amazon SES): left as it is.
    Keep,
}

/// The reverse-paths of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readdressed {
    /// The row for the table of senders that the tokens need: sender id and mailbox. `None` when no token was made.
    pub sender: Option<(u64, Mailbox)>,
    /// One for each recipient, in their order. Equal ones may share a transaction.
    pub reverse_paths: Vec<ReversePath>,
}

/// Why a message could not be readdressed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReaddressFault {
    /// Nobody said where this domain's bounces go: the operator's fault.
    #[error("no bounce domain is configured for \"{0}\"; name one below it, such as \"b.{0}\"")]
    NoBounceDomain(Domain),
}

/// Gives every recipient its reverse-path: see the table of [the room](super).
///
/// With [`TokenPer::Message`], recipients are grouped by host, as delivery groups them into transactions. The only recipient at
/// its host gets a token that carries its check (VERP without asking); several at one host share a token without.
/// With [`TokenPer::SenderAndDay`] all share one token that carries nothing but the sender, the same all day.
///
/// # Errors
/// The signing domain has no bounce domain.
pub fn readdress(request: &Request<'_>, settings: &Settings, ring: &Ring, now: Timestamp) -> Result<Readdressed, ReaddressFault> {
    let ReversePath::Mailbox(original) = request.original else { return Ok(unchanged(request)) };
    if request.rewrite == RewriteReversePath::Keep || (request.trusted_upstream && is_our_token(original, settings, ring, now)) {
        return Ok(unchanged(request));
    }
    let rule = settings.domains.get(request.signing_domain).ok_or_else(|| ReaddressFault::NoBounceDomain(request.signing_domain.clone()))?;
    if rule.keep == Keep::Aligned && original.domain().is_some_and(|domain| domain.is_at_or_below(request.signing_domain)) {
        return Ok(unchanged(request));
    }
    let sender_id = ring.sender_id(original, request.sender_counter);
    let reverse_paths = tokens(request, rule, sender_id, ring)
        .into_iter()
        .map(|contents| Mailbox::new(ring.make(&contents, &rule.bounce_domain, now), rule.bounce_domain.clone()).into())
        .collect();
    Ok(Readdressed { sender: Some((sender_id, original.clone())), reverse_paths })
}

fn unchanged(request: &Request<'_>) -> Readdressed {
    Readdressed { sender: None, reverse_paths: vec![request.original.clone(); request.recipients.len()] }
}

/// At one of our bounce domains, and it opens.
fn is_our_token(original: &Mailbox, settings: &Settings, ring: &Ring, now: Timestamp) -> bool {
    let Some(domain) = original.domain() else { return false };
    settings.domains.values().any(|rule| rule.bounce_domain == *domain) && ring.open(&original.local, domain, now).is_ok()
}

/// What each recipient's token carries.
fn tokens(request: &Request<'_>, rule: &BounceRule, sender_id: u64, ring: &Ring) -> Vec<TokenContents> {
    let mut at_host: HashMap<&Host, usize> = HashMap::new();
    for recipient in request.recipients {
        *at_host.entry(&recipient.mailbox.host).or_default() += 1;
    }
    let contents = |recipient: &Recipient| match rule.token_per {
        TokenPer::SenderAndDay => TokenContents { sender_id, message: None, recipient_check: None },
        TokenPer::Message => {
            let alone = at_host[&recipient.mailbox.host] == 1;
            TokenContents { sender_id, message: Some(request.id), recipient_check: alone.then(|| ring.recipient_check(&recipient.mailbox)) }
        }
    };
    request.recipients.iter().map(contents).collect()
}
