//! What a person sees of a queue and does with it: list, sum up, show, hold, release, retry, reroute, cancel.
//!
//! Reads go page by page beside the writer; an order is looked up the same way and then carried out in small transactions, each of which
//! looks again before it changes anything. So a queue of a million recipients neither stops the writer nor fills the memory, an order
//! that was cut short has done what it told, and its [`Cursor`] says where to go on.
//!
//! | | waiting | being delivered | held | damaged |
//! |---|---|---|---|---|
//! | hold | held until a person releases it | busy | | never |
//! | release | | | due now | never |
//! | retry | due now, its queue no longer parked | busy | | never |
//! | reroute | in its new queue, due now | busy | in its new queue, still held | never |
//! | cancel | settled | busy | settled | settled, if nobody is to be told |
//!
//! *Busy* is the honest answer while a next hop may be taking the mail: nothing is changed, and the order may be given again when the
//! attempt has ended. Held mail grows older but does not expire: a person's word must not bounce mail in silence. What is too old when
//! it is released gets the one attempt that every mail gets before it is given up, and its submitter is told as always.

use super::{Lease, Mail, Queue, Records, SpoolError};
use crate::mail::{Domain, IdentityName, MailId, Reason, RouteName, Stream, Timestamp};
use std::fmt;
use std::future::Future;
use std::num::NonZeroUsize;
use std::str::FromStr;

/// A queue in the hands of a person.
pub trait Control: Records {
    /// A page of the recipients that have no outcome yet and that `selection` takes, the oldest mail first. At most `rows_max`; fewer, even
    /// none, does not mean that there are no more: [`Listed::next`] does.
    fn list(
        &self,
        selection: &Selection,
        after: Option<Cursor>,
        rows_max: NonZeroUsize,
        now: Timestamp,
    ) -> impl Future<Output = Result<Listed, SpoolError>> + Send;

    /// A page of sums over the same recipients; pages are added up by [`Group::add`].
    fn sum_up(&self, selection: &Selection, by: By, after: Option<Cursor>, now: Timestamp) -> impl Future<Output = Result<Summed, SpoolError>> + Send;

    /// A message that waits or was set aside, with all its recipients; `None` when there is none (any more): see [`Records::history`].
    fn show(&self, id: MailId, now: Timestamp) -> impl Future<Output = Result<Option<Shown>, SpoolError>> + Send;

    /// Carries out an order on a page of recipients, durable when it returns. At most [`ORDER_ROWS_MAX`] at a time.
    ///
    /// Those to be cancelled are held now, and given as leases in [`Changed::leases`]: to be settled with [`How::Cancelled`](super::How)
    /// and the notices that tell of it. Whoever is interrupted between leaves them held, which everybody sees, and may cancel them again.
    ///
    /// # Cancel safety
    /// A dropped future may have changed the page all the same; giving the order again finds it done.
    fn change(
        &self,
        selection: &Selection,
        order: &Order,
        after: Option<Cursor>,
        rows_max: NonZeroUsize,
        now: Timestamp,
    ) -> impl Future<Output = Result<Changed, SpoolError>> + Send;

    /// How many recipients are in each state.
    fn states(&self, now: Timestamp) -> impl Future<Output = Result<States, SpoolError>> + Send;
}

/// Which recipients: those that every field takes. The default takes all that have no outcome yet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    /// Of these messages; empty: of any. At most [`IDS_MAX`].
    pub ids: Vec<MailId>,
    /// Whom the mail is for, as the spool has it, in any case.
    pub recipient: Option<String>,
    /// Their domain.
    pub domain: Option<Domain>,
    /// Who the next hop of the last attempt belongs to; a smart host is known before.
    pub provider: Option<String>,
    /// The name of that next hop.
    pub host: Option<String>,
    /// The route.
    pub route: Option<RouteName>,
    /// The queue.
    pub queue: Option<Queue>,
    /// Whose mail.
    pub sender: Option<SenderIs>,
    /// Domain of the author, or of the forwarder.
    pub author_domain: Option<Domain>,
    /// The stream.
    pub stream: Option<Stream>,
    /// Who submitted it.
    pub identity: Option<IdentityName>,
    /// Why the last attempt failed.
    pub reason: Option<Reason>,
    /// How the status of the last attempt begins.
    pub status: Option<StatusPrefix>,
    /// Accepted before.
    pub accepted_before: Option<Timestamp>,
    /// Accepted then or later.
    pub accepted_since: Option<Timestamp>,
    /// The state.
    pub state: Option<State>,
}

/// The submission's reverse-path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SenderIs {
    /// Null: `<>`.
    Null,
    /// This mailbox, in any case.
    Mailbox(String),
    /// Any of this domain.
    Of(Domain),
}

/// The first one, two or three numbers of an enhanced status code: `4`, `4.7`, `4.7.28`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusPrefix(String);

/// How far a recipient has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// Due, or due later.
    Waiting,
    /// An attempt is under way.
    Leased,
    /// A person holds it.
    Held,
    /// Its message is damaged and was set aside.
    Quarantined,
    /// The next hop has it.
    Delivered,
    /// It will never be delivered.
    Failed,
    /// A person took it out of the queue.
    Cancelled,
}

/// A recipient as it stands, for people to read: of a damaged message it shows what there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its message.
    pub mail: MailId,
    /// Its number in the message, from 0.
    pub index: u32,
    /// Whom the mail is for.
    pub recipient: String,
    /// How far it has come.
    pub state: State,
    /// Where it waits.
    pub queue: Queue,
    /// A person gave it another route than its message has.
    pub rerouted: bool,
    /// When it is due, not before its queue is no longer parked; or its lease ends.
    pub next_at: Timestamp,
    /// Since when a person holds it.
    pub held_at: Option<Timestamp>,
    /// Attempts that ended.
    pub attempts: u32,
    /// Those among them of which the end is unknown.
    pub unknown_ends: u32,
    /// The submitter was told of the delay.
    pub delay_told: bool,
    /// How the last attempt ended.
    pub last: Option<LastWords>,
    /// When the message was accepted.
    pub accepted_at: Timestamp,
    /// After this a deferred recipient is failed.
    pub expires_at: Timestamp,
    /// The submission's reverse-path, empty for null.
    pub sender: String,
    /// Domain of the author, or of the forwarder.
    pub author_domain: String,
    /// The stream.
    pub stream: String,
    /// Who submitted it.
    pub identity: String,
    /// The Message-ID.
    pub message_id: String,
    /// Octets of the message below the seal.
    pub octets: u64,
    /// Why the message was set aside.
    pub damage: Option<String>,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastWords {
    /// When.
    pub at: Timestamp,
    /// Enhanced status code.
    pub status: String,
    /// The next hop's words, or ours.
    pub text: String,
    /// Name and address of the next hop, where one was reached for.
    pub remote: Option<String>,
    /// The name alone.
    pub host: Option<String>,
    /// Who it belongs to.
    pub provider: Option<String>,
    /// Why it did not arrive.
    pub reason: Option<String>,
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// By message and number.
    pub entries: Vec<Entry>,
    /// Where the next page begins; `None`: this was the last.
    pub next: Option<Cursor>,
}

/// What is summed up by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum By {
    /// Who the next hop of the last attempt belongs to.
    Provider,
    /// The recipient's domain.
    Domain,
    /// Where it waits.
    Queue,
    /// Why the last attempt failed.
    Reason,
    /// The stream.
    Stream,
}

/// Recipients that have something in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// What; `None` where it is not known yet: nothing was tried.
    pub key: Option<String>,
    /// Of how many messages; one that reaches from one page into the next counts in both.
    pub mails: u64,
    /// How many recipients.
    pub recipients: u64,
    /// Those of them that are being delivered.
    pub leased: u64,
    /// Those of them that a person holds.
    pub held: u64,
    /// Those of them that were set aside.
    pub quarantined: u64,
    /// When the oldest mail among them was accepted.
    pub oldest: Timestamp,
    /// When the next one is due; `None` where none waits.
    pub next_at: Option<Timestamp>,
    /// The latest words of a next hop, or ours.
    pub last: Option<LastWords>,
}

/// A page of sums.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summed {
    /// In no order.
    pub groups: Vec<Group>,
    /// Where the next page begins; `None`: this was the last.
    pub next: Option<Cursor>,
}

/// Where a walk through the queue stands, and the newest message it goes up to: what comes in later is not part of it, so it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// The last message looked at.
    pub(super) message: i64,
    /// The last recipient of it.
    pub(super) number: i64,
    /// The last message of the walk.
    pub(super) upto: i64,
}

/// A message with its recipients.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    /// Its facts; in words, what of them does not read.
    pub mail: Result<Box<Mail>, String>,
    /// Why it was set aside.
    pub damage: Option<String>,
    /// All of them, settled ones too, in the order of the envelope; at most [`SHOWN_MAX`].
    pub recipients: Vec<Entry>,
}

/// What is to become of recipients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Not to be tried until released.
    Hold,
    /// To be tried again.
    Release,
    /// To be tried now.
    Retry,
    /// To go by another route.
    Reroute(RouteName),
    /// Not to be tried any more.
    Cancel {
        /// Nobody is told. Damaged messages can be cancelled only so.
        silent: bool,
    },
}

/// What an order does to a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// It was, or would be, carried out.
    Done,
    /// It is so already, or the order does not concern it.
    Nothing,
    /// An attempt is under way: nothing was changed.
    Busy,
    /// Its message is damaged: nothing was changed.
    Damaged,
}

/// What came of an order on one page.
#[derive(Debug, Default)]
pub struct Changed {
    /// The recipients of the page as they stand now, and what was done to them.
    pub entries: Vec<(Entry, Effect)>,
    /// Those to be cancelled.
    pub leases: Vec<Lease>,
    /// Where the next page begins; `None`: this was the last.
    pub next: Option<Cursor>,
}

/// Recipients without an outcome, by state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct States {
    /// Due, or due later.
    pub waiting: u64,
    /// Being delivered.
    pub leased: u64,
    /// Held by a person.
    pub held: u64,
    /// Of damaged messages.
    pub quarantined: u64,
}

impl Selection {
    /// Everything that has no outcome yet.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it takes this recipient.
    #[must_use]
    pub fn takes(&self, entry: &Entry) -> bool {
        let last = entry.last.as_ref();
        let last_said = |wanted: &Option<String>, known: fn(&LastWords) -> Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| last.and_then(known).is_some_and(|known| known.eq_ignore_ascii_case(wanted)))
        };
        let is = |wanted: Option<&str>, known: &str| wanted.is_none_or(|wanted| wanted == known);
        (self.ids.is_empty() || self.ids.contains(&entry.mail))
            && self.state.is_none_or(|state| state == entry.state)
            && self.recipient.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(&entry.recipient))
            && is(self.domain.as_ref().map(Domain::as_str), entry.domain())
            && is(self.queue.as_ref().map(Queue::as_str), entry.queue.as_str())
            && is(self.route.as_ref().map(RouteName::as_str), entry.queue.parts().0)
            && self.sender.as_ref().is_none_or(|sender| sender.is(&entry.sender))
            && is(self.author_domain.as_ref().map(Domain::as_str), &entry.author_domain)
            && is(self.stream.as_ref().map(Stream::as_str), &entry.stream)
            && is(self.identity.as_ref().map(IdentityName::as_str), &entry.identity)
            && self.provider.as_deref().is_none_or(|wanted| entry.provider().is_some_and(|known| known.eq_ignore_ascii_case(wanted)))
            && last_said(&self.host, |last| last.host.as_deref())
            && self.reason.is_none_or(|reason| last.and_then(|last| last.reason.as_deref()) == Some(reason.as_str()))
            && self.status.as_ref().is_none_or(|prefix| last.is_some_and(|last| prefix.fits(&last.status)))
            && self.accepted_before.is_none_or(|before| entry.accepted_at < before)
            && self.accepted_since.is_none_or(|since| entry.accepted_at >= since)
    }
}

impl SenderIs {
    fn is(&self, sender: &str) -> bool {
        match self {
            Self::Null => sender.is_empty(),
            Self::Mailbox(mailbox) => mailbox.eq_ignore_ascii_case(sender),
            Self::Of(domain) => domain_of(sender) == domain.as_str(),
        }
    }
}

impl StatusPrefix {
    /// Whether a status begins so, number by number: `4.7` fits `4.7.28` and not `4.71.0`.
    #[must_use]
    pub fn fits(&self, status: &str) -> bool {
        status.strip_prefix(&self.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }
}

/// Why a text is not the beginning of a status.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no status; expected the beginning of an enhanced code that is not a success: 4, 5.7 or 4.7.28")]
pub struct StatusPrefixError(String);

impl FromStr for StatusPrefix {
    type Err = StatusPrefixError;
    fn from_str(text: &str) -> Result<Self, StatusPrefixError> {
        let numbers: Vec<&str> = text.split('.').collect();
        let is_number = |number: &&str| (1..=3).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit());
        if numbers.len() <= 3 && matches!(numbers[0], "4" | "5") && numbers.iter().all(is_number) {
            return Ok(Self(text.to_owned()));
        }
        Err(StatusPrefixError(text.chars().take(40).collect()))
    }
}

impl State {
    /// Those that a list can show.
    pub const IN_THE_QUEUE: [Self; 4] = [Self::Waiting, Self::Leased, Self::Held, Self::Quarantined];

    /// As the API and the command line write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Leased => "leased",
            Self::Held => "held",
            Self::Quarantined => "quarantined",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The word of a state that a list can show; anything else is an error.
impl FromStr for State {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        Self::IN_THE_QUEUE.into_iter().find(|state| state.as_str() == text).ok_or(())
    }
}

impl Entry {
    /// The recipient's domain, or address literal.
    #[must_use]
    pub fn domain(&self) -> &str {
        domain_of(&self.recipient)
    }

    /// Who the next hop of the last attempt belongs to. A smart host is its own provider, whether or not it was tried.
    #[must_use]
    pub fn provider(&self) -> Option<&str> {
        let tried = self.last.as_ref().and_then(|last| last.provider.as_deref());
        let (route, _) = self.queue.parts();
        tried.or_else(|| (!Queue::goes_by_mx(route)).then_some(route))
    }

    /// It has no outcome yet.
    #[must_use]
    pub fn is_queued(&self) -> bool {
        State::IN_THE_QUEUE.contains(&self.state)
    }
}

impl By {
    /// Every one, in the order of the documentation.
    pub const ALL: [Self; 5] = [Self::Provider, Self::Domain, Self::Queue, Self::Reason, Self::Stream];

    /// As the API and the command line write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::Domain => "domain",
            Self::Queue => "queue",
            Self::Reason => "reason",
            Self::Stream => "stream",
        }
    }

    /// What this recipient is summed up under.
    #[must_use]
    pub fn key(self, entry: &Entry) -> Option<&str> {
        let last = entry.last.as_ref();
        match self {
            Self::Provider => entry.provider(),
            Self::Domain => Some(entry.domain()),
            Self::Queue => Some(entry.queue.as_str()),
            Self::Reason => last.and_then(|last| last.reason.as_deref()),
            Self::Stream => Some(&entry.stream),
        }
    }
}

/// The exact word; anything else is an error.
impl FromStr for By {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|by| by.as_str() == text).ok_or(())
    }
}

impl Group {
    /// A group of one.
    #[must_use]
    pub fn of(key: Option<String>, entry: &Entry) -> Self {
        let count = |state| u64::from(entry.state == state);
        Self {
            key,
            mails: 1,
            recipients: 1,
            leased: count(State::Leased),
            held: count(State::Held),
            quarantined: count(State::Quarantined),
            oldest: entry.accepted_at,
            next_at: (entry.state == State::Waiting).then_some(entry.next_at),
            last: entry.last.clone(),
        }
    }

    /// Takes in another group of the same key.
    pub fn add(&mut self, other: Self) {
        self.mails += other.mails;
        self.recipients += other.recipients;
        self.leased += other.leased;
        self.held += other.held;
        self.quarantined += other.quarantined;
        self.oldest = self.oldest.min(other.oldest);
        self.next_at = self.next_at.into_iter().chain(other.next_at).min();
        let said_at = |last: &Option<LastWords>| last.as_ref().map(|last| last.at);
        if said_at(&other.last) > said_at(&self.last) {
            self.last = other.last;
        }
    }
}

impl Order {
    /// What it does to a recipient in this state: the table above.
    #[must_use]
    pub const fn effect(&self, state: State) -> Effect {
        match (self, state) {
            (_, State::Delivered | State::Failed | State::Cancelled)
            | (Self::Hold | Self::Retry, State::Held)
            | (Self::Release, State::Waiting | State::Leased) => Effect::Nothing,
            (_, State::Leased) => Effect::Busy,
            (Self::Cancel { silent: true }, State::Quarantined)
            | (Self::Hold | Self::Retry | Self::Reroute(_) | Self::Cancel { .. }, State::Waiting)
            | (Self::Release | Self::Reroute(_) | Self::Cancel { .. }, State::Held) => Effect::Done,
            (_, State::Quarantined) => Effect::Damaged,
        }
    }
}

/// Three numbers; to be handed back as it is.
impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.message, self.number, self.upto)
    }
}

/// As printed; anything else is an error.
impl FromStr for Cursor {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let numbers: Vec<i64> = text.split('.').map(str::parse).collect::<Result<_, _>>().map_err(|_| ())?;
        match *numbers {
            [message, number, upto] => Ok(Self { message, number, upto }),
            _ => Err(()),
        }
    }
}

/// Behind the last `@`: a quoted local part may hold others.
fn domain_of(mailbox: &str) -> &str {
    mailbox.rsplit_once('@').map_or("", |(_, domain)| domain)
}

/// Messages named in one selection.
pub const IDS_MAX: usize = 1000;
/// Recipients that one transaction changes: commits wait for no more.
pub const ORDER_ROWS_MAX: usize = 500;
/// Recipients of a message that are shown.
pub const SHOWN_MAX: usize = 10_000;
