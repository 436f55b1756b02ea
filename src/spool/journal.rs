//! What happened to mail, as numbered events: the journey of a message, and the outbox of the webhooks.
//!
//! An event is written in the transaction that makes it so: there is a `mail.delivered` exactly where a recipient is settled as
//! delivered, whatever crashes. Its number rises by one with each event and is never used again, so that a reader who remembers the
//! last number he saw misses nothing and reads nothing twice. Readers read the table; nobody who is slow or gone holds up the writer.
//!
//! Events are kept for a time and in a number that [`Settings`] bounds; when there are too many, the oldest go first.

use super::{Mail, Spool, SpoolError};
use crate::mail::{Domain, Evidence, MailId, Mailbox, Reason, Suppression, Timestamp};
use crate::seal::{self, Sealed};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::future::Future;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::time::Duration;
use tokio::sync::watch;

/// How much a journal keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Whether events are written at all. Without them there is no journey of a mail, nothing to follow and nothing for webhooks.
    pub enabled: bool,
    /// For how long an event is kept.
    pub keep: Duration,
    /// Events kept at most, some 500 octets each; the oldest go first.
    pub events_max: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { enabled: true, keep: Duration::from_hours(30 * 24), events_max: 1_000_000 }
    }
}

/// Remembers what happened to mail.
///
/// Contract, run on every backend by `tests/spool/journal.rs`: an event is there if and only if what it tells is; numbers rise by one,
/// in the order of the transactions.
pub trait Journal: Spool {
    /// Up to `events_max` events with a number above `after` that the filter lets through, in the order of their numbers. A rare event is
    /// not looked for through the whole journal: a page may hold fewer than it could, or none, while [`Page::more`] says to ask again.
    fn events(&self, after: u64, filter: Filter, events_max: NonZeroUsize) -> impl Future<Output = Result<Page, SpoolError>> + Send;

    /// The mails to an address, by the last event of each, the newest first: those whose last event has a number below `before`. The
    /// case of ASCII letters does not matter.
    fn mails_to(&self, recipient: &Mailbox, before: Option<u64>, mails_max: NonZeroUsize) -> impl Future<Output = Result<Vec<Event>, SpoolError>> + Send;

    /// The number to read on from for everything since `at`: no event behind it is older, but for the order of a few minutes in which
    /// events are written.
    fn number_before(&self, at: Timestamp) -> impl Future<Output = Result<u64, SpoolError>> + Send;

    /// The number of the last event, and news of it: it changes once the transaction is committed.
    fn last(&self) -> watch::Receiver<u64>;

    /// Writes events of what happened outside of the spool (a bounce came home, a complaint), all or none.
    fn tell(&self, news: Vec<News>) -> impl Future<Output = Result<(), SpoolError>> + Send;

    /// The last event that the reader of this name has confirmed; a new name begins at the last event there is.
    fn cursor(&self, name: &str) -> impl Future<Output = Result<u64, SpoolError>> + Send;

    /// The reader of this name has confirmed all events up to `number`. A loss of power may forget it: then some are read again.
    fn confirm(&self, name: &str, number: u64) -> impl Future<Output = Result<(), SpoolError>> + Send;

    /// Forgets readers that are not among these.
    fn forget_cursors_but(&self, names: Vec<String>) -> impl Future<Output = Result<(), SpoolError>> + Send;
}

/// Something that happened, with its place in the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its number, from 1.
    pub number: u64,
    /// What.
    pub news: News,
}

/// Something that happened to a mail, or to one recipient of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// When.
    pub at: Timestamp,
    /// What.
    pub kind: Kind,
    /// To which mail.
    pub mail: MailId,
    /// To which recipient; `None` where it concerns the mail as a whole.
    pub recipient: Option<Mailbox>,
    /// Everything else.
    pub about: About,
}

/// What can happen to a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// It is in the spool and promised: one event a recipient.
    Accepted,
    /// An attempt came to nothing; it is tried again.
    Deferred,
    /// The next hop has it.
    Delivered,
    /// It will never arrive, as a next hop said in the dialogue, time ran out, or a notice that came back says.
    Bounced,
    /// Its recipient complained (RFC 5965).
    Complained,
    /// Something came back to its bounce address: it was passed on to the original sender.
    Returned,
    /// It was not sent: its recipient is on the suppression list.
    Suppressed,
    /// A person holds it back.
    Held,
    /// A person lets it go on.
    Released,
    /// A person called for an attempt now.
    Retried,
    /// A person took it out of the queue.
    Cancelled,
    /// A person sent it another way.
    Rerouted,
    /// It was found damaged and set aside.
    Quarantined,
}

impl Kind {
    /// Every kind, along the journey.
    pub const ALL: [Self; 13] = [
        Self::Accepted,
        Self::Deferred,
        Self::Delivered,
        Self::Bounced,
        Self::Complained,
        Self::Returned,
        Self::Suppressed,
        Self::Held,
        Self::Released,
        Self::Retried,
        Self::Cancelled,
        Self::Rerouted,
        Self::Quarantined,
    ];

    /// As events, webhooks and the log write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "mail.accepted",
            Self::Deferred => "mail.deferred",
            Self::Delivered => "mail.delivered",
            Self::Bounced => "mail.bounced",
            Self::Complained => "mail.complained",
            Self::Returned => "mail.returned",
            Self::Suppressed => "mail.suppressed",
            Self::Held => "mail.held",
            Self::Released => "mail.released",
            Self::Retried => "mail.retried",
            Self::Cancelled => "mail.cancelled",
            Self::Rerouted => "mail.rerouted",
            Self::Quarantined => "mail.quarantined",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no kind of event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is no kind of event; expected one of {}", Kind::ALL.map(Kind::as_str).join(", "))]
pub struct KindError {
    text: String,
}

/// The exact word.
impl FromStr for Kind {
    type Err = KindError;
    fn from_str(text: &str) -> Result<Self, KindError> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| KindError { text: text.chars().take(40).collect() })
    }
}

/// What is known of an event beside its kind; what is not known is absent. Stored as JSON, by these names.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct About {
    /// What the mail is, where it is not a submission.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<Class>,
    /// The Message-ID, as the application wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// `X-Postseal-Track-Id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub track_id: Option<String>,
    /// `ENVID` (RFC 3461 §4.4).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub envid: Option<String>,
    /// `X-Postseal-Tag`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Its stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// Who submitted it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Whose keys sealed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author_domain: Option<String>,
    /// Who stands behind the next hop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The next hop, or the host that a notice names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Enhanced status code (RFC 3463).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// The reply, in the other side's own words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply: Option<String>,
    /// Our words, where there was no reply or it needs some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Why: a word of [`Reason`], or another where a person or a list decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The same mail to the same address would end like this again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permanent: Option<bool>,
    /// Attempts so far, that of this event included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// The connection broke after the final dot: the next hop may have the mail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown_end: Option<bool>,
    /// When it is tried again, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_at: Option<i64>,
    /// How it became known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<When>,
    /// What came back: `bounce`, `auto-reply` …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub came_back: Option<String>,
    /// The returned mail, as the spool numbers it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub returned_id: Option<String>,
    /// The bounce address it came to was made for this recipient alone, and a complaint is signed by a known feedback loop: nobody speaks
    /// for somebody else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proven: Option<bool>,
    /// The address that a notice names, where the mail had been passed on to another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub final_recipient: Option<String>,
    /// For whom the entry of the suppression list counts: an author domain, or one with a stream of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// Since when, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<i64>,
}

/// What a mail is that no application submitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// A notice of ours to a submitter.
    Notice,
    /// A bounce or the like on its way home.
    Returned,
}

/// How the end of a mail became known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum When {
    /// By our own attempt.
    Delivery,
    /// By something that came back later.
    Returned,
}

/// The facts of a mail that stand in each of its events; both types have them under the same names.
macro_rules! facts {
    ($mail:expr) => {
        About {
            class: class(($mail).kind),
            message_id: Some(($mail).message_id.clone()),
            track_id: ($mail).track_id.clone(),
            envid: ($mail).envid.clone(),
            tag: ($mail).tag.clone(),
            stream: Some(($mail).stream.to_string()),
            identity: Some(($mail).identity.to_string()),
            author_domain: Some(($mail).signing_domain.to_string()),
            ..About::default()
        }
    };
}

const fn class(kind: seal::Kind) -> Option<Class> {
    match kind {
        seal::Kind::Submission => None,
        seal::Kind::Notice => Some(Class::Notice),
        seal::Kind::Returned => Some(Class::Returned),
    }
}

impl About {
    /// The facts of a mail in the spool.
    #[must_use]
    pub fn mail(mail: &Mail) -> Self {
        facts!(mail)
    }

    /// The facts of a mail that is being spooled.
    #[must_use]
    pub fn sealed(mail: &Sealed) -> Self {
        facts!(mail)
    }

    /// With how an attempt ended.
    #[must_use]
    pub fn ended(self, evidence: &Evidence, meaning: Option<&Meaning>) -> Self {
        let bounded = |text: &str| (!text.is_empty()).then(|| text.chars().take(WORDS_CHARACTERS_MAX).collect());
        Self {
            provider: meaning.map(|meaning| meaning.provider.to_string()),
            host: evidence.remote.as_ref().map(|remote| remote.host.clone()),
            status: Some(evidence.status.to_string()),
            reply: evidence.reply.as_ref().and_then(|reply| bounded(&reply.to_string())),
            error: bounded(&evidence.text),
            reason: meaning.and_then(|meaning| meaning.reason).map(|reason| reason.as_str().to_owned()),
            permanent: meaning.filter(|meaning| meaning.reason.is_some()).map(|meaning| meaning.permanent),
            unknown_end: evidence.unknown_end.then_some(true),
            when: Some(When::Delivery),
            ..self
        }
    }
}

impl About {
    /// With why its recipient was not written to.
    #[must_use]
    pub fn suppressed(self, entry: &Suppression, evidence: &Evidence) -> Self {
        Self {
            reason: Some(entry.why.to_string()),
            permanent: Some(true),
            scope: Some(entry.scope.to_string()),
            since: Some(entry.since.unix_millis()),
            next_at: None,
            when: None,
            ..self.ended(evidence, None)
        }
    }
}

/// What the end of an attempt means; deliver's finding, which the journal keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meaning {
    /// Who stands behind the next hop.
    pub provider: std::sync::Arc<str>,
    /// Why it did not arrive.
    pub reason: Option<Reason>,
    /// The same mail to the same address would end like this again.
    pub permanent: bool,
}

/// Which events are wanted; a condition that is absent lets all through.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// One of these kinds; empty: any.
    pub kinds: Vec<Kind>,
    /// Of this mail.
    pub mail: Option<MailId>,
    /// To this recipient, whatever the case of its ASCII letters.
    pub recipient: Option<Mailbox>,
    /// Of one of these author domains; empty: any.
    pub author_domains: Vec<Domain>,
    /// With this `X-Postseal-Track-Id`.
    pub track_id: Option<String>,
    /// No older than this.
    pub since: Option<Timestamp>,
    /// Only of what applications submitted: no notices of ours.
    pub submissions: bool,
}

impl Filter {
    /// Whether it lets an event through.
    #[must_use]
    pub fn admits(&self, news: &News) -> bool {
        let is_recipient = |wanted: &Mailbox| news.recipient.as_ref().is_some_and(|recipient| recipient.to_string().eq_ignore_ascii_case(&wanted.to_string()));
        let is_of_domain = || news.about.author_domain.as_deref().is_some_and(|of| self.author_domains.iter().any(|domain| domain.as_str() == of));
        (self.kinds.is_empty() || self.kinds.contains(&news.kind))
            && self.mail.is_none_or(|mail| mail == news.mail)
            && self.recipient.as_ref().is_none_or(is_recipient)
            && (self.author_domains.is_empty() || is_of_domain())
            && self.track_id.as_ref().is_none_or(|wanted| news.about.track_id.as_ref() == Some(wanted))
            && self.since.is_none_or(|since| news.at >= since)
            && !(self.submissions && news.about.class.is_some())
    }
}

/// A page of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// What was found.
    pub events: Vec<Event>,
    /// Up to which number the journal was looked at: where the next page begins.
    pub to: u64,
    /// There is more behind `to`.
    pub more: bool,
    /// Events behind the number asked for that were erased before this page was read; of all kinds, whatever the filter.
    pub erased: u64,
}

/// A next hop's reply may be long.
const WORDS_CHARACTERS_MAX: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_read_as_it_is_written() {
        for kind in Kind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        let fault = "mail.lost".parse::<Kind>().unwrap_err().to_string();
        assert!(fault.starts_with("\"mail.lost\" is no kind of event; expected one of mail.accepted, mail.deferred,"), "{fault}");
    }

    #[test]
    fn what_is_not_known_is_absent() {
        assert_eq!(serde_json::to_string(&About::default()).unwrap(), "{}");
        let about = About { class: Some(Class::Notice), permanent: Some(false), when: Some(When::Returned), ..About::default() };
        let json = serde_json::to_string(&about).unwrap();
        assert_eq!(json, r#"{"class":"notice","permanent":false,"when":"returned"}"#);
        assert_eq!(serde_json::from_str::<About>(&json).unwrap(), about);
    }
}
