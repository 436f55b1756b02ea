//! The station *policy*: may this identity send this, as this author, this much, and where does each recipient's copy go?
//!
//! Pure: the counters ([`Usage`]) and the time are arguments. It knows neither keys nor DNS; whether the signing domain has a key is
//! asked by *seal*. Three questions, in the order in which a client gives cause for them: [`begin`] at MAIL, [`recipient`] at RCPT,
//! [`permit`] at the final dot.
//!
//! | refused with | because |
//! |---|---|
//! | 550 5.6.0 | no single author, or a control header that cannot be understood |
//! | 550 5.7.1 | the author's domain is not the identity's, or it or the sender's never sends; a stream that is not the identity's; a foreign reverse-path |
//! | 550 5.1.2 | a recipient at an address literal or a host without a domain, on the route by MX |
//! | 552 5.3.4 | the size announced is over the identity's limit |
//! | 452 4.5.3 | more recipients than a transaction may have |
//! | 450 4.7.0 | above the hard ceiling of the identity's rate; only at MAIL |
//! | 451 4.3.5 | the identity was taken out of the configuration while the client was connected |

mod admission;
mod control;
mod pattern;
mod reverse_path;
mod route;
mod settings;
mod usage;

pub use admission::{begin, recipient, senders};
pub use pattern::{DomainPattern, DomainPatternError};
pub use reverse_path::{ReversePathReason, can_receive, reverse_path};
pub use route::{route, rule as route_rule};
pub use settings::{AuthorDomain, Foreign, Identity, Mode, Rate, ReversePathRule, RouteRule, Settings, Suppressed};
pub use usage::Usage;

use crate::mail::{Domain, EnhancedCode, Headers, IdentityName, Mailbox, Recipient, Refusal, ReversePath, RouteName, Stream, Submission, Timestamp, author};

/// What policy decided about a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permit {
    /// Who submits.
    pub identity: IdentityName,
    /// As author, or as forwarder of what others wrote.
    pub mode: Mode,
    /// The one author (RFC 5322 §3.6.2). `None` only in `forward` mode, where a From field that names no single author is not ours to judge.
    pub author: Option<Mailbox>,
    /// Whose keys sign. In `author` mode the longest domain of [`Settings::domains`] at or above the author's domain (itself when there
    /// is none): DMARC aligns a parent's signature in its relaxed mode, and a subdomain with keys of its own gets those. In `forward`
    /// mode the forwarder's domain.
    pub signing_domain: Domain,
    /// Who hears of failures: as submitted, or the mailbox that stands for a sender that can receive nothing.
    pub reverse_path: ReversePath,
    /// The submitter is a postseal whose tokens are ours.
    pub trusted_upstream: bool,
    /// Schedule and reputation class.
    pub stream: Stream,
    /// `X-Postseal-Track-Id`.
    pub track_id: Option<String>,
    /// `X-Postseal-Tag`.
    pub tag: Option<String>,
    /// `X-Postseal-Deliver-After`, when it lies in the future.
    pub deliver_after: Option<Timestamp>,
    /// The recipients by route, in the order in which the routes first occur; at least one, none empty.
    pub parts: Vec<Part>,
}

/// The recipients of a submission that share a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The way.
    pub route: RouteName,
    /// At least one.
    pub recipients: Vec<Recipient>,
}

/// Judges a whole submission; `header` is its message's.
///
/// # Errors
/// The reply to give; see the table at the head of this file.
pub fn permit(submission: &Submission, header: &Headers<'_>, settings: &Settings, now: Timestamp) -> Result<Permit, Refusal> {
    let name = &submission.client.identity;
    let identity = settings.identity(name)?;
    let (author, signing_domain) = match &identity.mode {
        Mode::Author => {
            let author = author::author(header).map_err(|fault| fault.refusal())?.mailbox;
            let domain = authorise(&author, name, identity)?;
            (Some(author.clone()), settings.signing_domain(domain).clone())
        }
        Mode::Forward { domain } => (author::foreign_author(header).ok().map(|author| author.mailbox), domain.clone()),
    };
    if let Some(domain) = author.as_ref().and_then(Mailbox::domain) {
        refuse_parked(domain, "change From", settings)?;
    }
    // What passes through was written by a stranger: its control headers are not instructions to us.
    let wishes = match identity.mode {
        Mode::Author => control::read(header, name, identity, settings, now)?,
        Mode::Forward { .. } => control::Wishes::default(),
    };
    let stream = wishes.stream.unwrap_or_else(|| identity.stream.clone());
    Ok(Permit {
        identity: name.clone(),
        mode: identity.mode.clone(),
        author,
        signing_domain,
        reverse_path: reverse_path(&submission.envelope.reverse_path, name, identity, settings)?.0,
        trusted_upstream: identity.trusted_upstream,
        track_id: wishes.track_id,
        tag: wishes.tag,
        deliver_after: wishes.deliver_after,
        parts: route::parts(&submission.envelope.recipients, &stream, settings),
        stream,
    })
}

/// The author's domain, which must be one of the identity's.
fn authorise<'a>(author: &'a Mailbox, name: &IdentityName, identity: &Identity) -> Result<&'a Domain, Refusal> {
    let domain = author.domain().ok_or_else(|| {
        let text = format!("the author {author} has no domain; write From with an address at one of: {}", list(&identity.author_domains));
        Refusal::submitter(550, EnhancedCode::new(5, 7, 1), text)
    })?;
    if !identity.author_domains.iter().any(|pattern| pattern.matches(domain)) {
        let allowed = list(&identity.author_domains);
        let text =
            format!("client \"{name}\" may not send as {domain}, only as: {allowed}; change From, or add {domain} to author_domains of identity \"{name}\"");
        return Err(Refusal::submitter(550, EnhancedCode::new(5, 7, 1), text));
    }
    Ok(domain)
}

/// A domain published as one that never sends is rejected everywhere (RFC 9989); better to say so here, in forwarded mail too. Names
/// below it are as it is, unless one between has an entry of its own. `remedy` is what the client may change.
fn refuse_parked(domain: &Domain, remedy: &str, settings: &Settings) -> Result<(), Refusal> {
    let governing = settings.signing_domain(domain);
    if settings.domains.get(governing).is_some_and(|known| known.parked) {
        let whose = if governing == domain { "is".to_owned() } else { format!("is below {governing}, which is") };
        let text = format!("{domain} {whose} configured as a domain that never sends; {remedy}, or take parked off domain {governing}");
        return Err(Refusal::submitter(550, EnhancedCode::new(5, 7, 1), text));
    }
    Ok(())
}

/// At most eight of them, for a reply line.
fn list<T: std::fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    let mut shown: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    if shown.is_empty() {
        return "none".to_owned();
    }
    let more = shown.len().saturating_sub(LISTED_MAX);
    shown.truncate(LISTED_MAX);
    if more > 0 {
        shown.push(format!("and {more} more"));
    }
    shown.join(", ")
}

/// How many names a reply lists.
const LISTED_MAX: usize = 8;
