//! The station *spool*: keeps accepted mail until every recipient has an outcome.
//!
//! It keeps mail safe and says what is due; when a deferred recipient is tried again is the scheduler's decision.
//!
//! Every state of a queued mail, and what a crash (of the process, or of the machine's power) does in it:
//!
//! | state | where it is | left by | a crash here |
//! |---|---|---|---|
//! | received | memory of its session | [`Spool::commit`] | loses it; no `250` was given, the client still has it |
//! | body written (large bodies only) | a file that no row names | the row's commit | leaves an orphan; it is removed at the next start |
//! | gathered | memory of the writer, with others | the commit's fsync | as *received*; or the rows are durable and the `250` was not given: the client sends it again |
//! | **committed** | rows in the database (and its body's file) | its lane's standing claim, in the same transaction, or [`Spool::claim`] | **from here on nothing is lost** |
//! | waiting | recipient row, `next_at` in the future | time | changes nothing |
//! | due | recipient row, `next_at` past | [`Spool::claim`] | changes nothing |
//! | leased | recipient row with a fence, `next_at` = end of the lease | [`Spool::settle`], or time | falls back to due; the attempt counts as one of unknown end, for the next hop may have the mail |
//! | held | recipient row of a person who said so; never due | [`Control`], by a person | changes nothing |
//! | kept | held, of returned mail that is not passed on: a stranger's, or one that nobody took | [`Control`], by a person; [`Records::sweep`], at its age | changes nothing |
//! | settled | recipient row with its outcome | the last settle of the message | after `settle` returned: changes nothing; before: as *leased* |
//! | closed | a row of history; message and body gone | [`Records::sweep`], after the history's days | a body file may outlive its row; it is removed at the next start |
//! | held since a restore | as it was, but held | [`Restored::release_restored`] | changes nothing |
//! | quarantined | as it was, but held and reported | a person | changes nothing |
//!
//! The parts: [`journal`] is what happened, event by event, [`homecoming`] is what comes back, [`suppressions`] whom is not written to any more,
//! [`sqlite`] is the embedded engine, `row` what every engine stores and checks, `schema` the tables.

use crate::mail::{
    Domain, Evidence, IdentityName, KeyId, MailId, Mailbox, Notify, OriginalRecipient, Receipt, Ret, ReversePath, RouteName, Stream, Suppression, Timestamp,
    TraceContext,
};
use crate::seal::{Kind, Needs, Seal, Sealed, SealedRecipient};
use bytes::Bytes;
use std::fmt;
use std::future::Future;
use std::num::NonZeroUsize;
use std::sync::Arc;

pub mod control;
pub mod depth;
pub mod homecoming;
pub mod journal;
pub mod restored;
mod row;
mod schema;
pub mod sqlite;
pub mod standing;
pub mod suppressions;

pub use control::Control;
pub use depth::Depth;
pub use homecoming::{CameHome, Homebound, Homecoming, Homecomings, Spent, Tidings};
pub use journal::{Journal, Meaning};
pub use restored::{HeldSince, Restored};
pub use sqlite::{RecoveryReport, Settings, SqliteSpool};
pub use standing::StandingClaim;
pub use suppressions::Suppressions;

/// Keeps accepted mail until every recipient has an outcome.
///
/// Contract, run on every backend by `tests/spool/contract.rs`: once `commit` returns, the mail survives power loss. A recipient is
/// due, leased or settled. A lease not settled in time falls back to due, so a mail may arrive twice but is never lost.
pub trait Spool: Send + Sync + 'static {
    /// Mail is on its way: a client may send it now. Whoever commits meanwhile may wait for it for a moment, and share the fsync.
    fn expect(&self) -> Coming {
        Coming::default()
    }

    /// Makes the messages of one submission durable, all or none. The instant of commitment.
    ///
    /// # Errors
    /// [`SpoolError::IdTaken`] and [`SpoolError::SenderTaken`] ask for another preparation; [`SpoolError::Full`] is the operator's.
    ///
    /// # Cancel safety
    /// A dropped future may still have committed; nothing may be promised then.
    fn commit(&self, mails: Vec<Sealed>) -> impl Future<Output = Result<Receipt, SpoolError>> + Send;

    /// Up to `queues_max` queues with a recipient due at `now`, the longest-waiting first.
    fn due(&self, now: Timestamp, queues_max: NonZeroUsize) -> impl Future<Output = Result<Vec<Due>, SpoolError>> + Send;

    /// When the next recipient of any queue becomes due; `None` when nothing waits.
    fn next_due_at(&self) -> impl Future<Output = Result<Option<Timestamp>, SpoolError>> + Send;

    /// Leases up to `recipients_max` due recipients of one queue until `until`, one lease a message and reverse-path.
    /// A message found damaged is quarantined and reported in [`Claimed::quarantined`], never leased.
    ///
    /// # Cancel safety
    /// A dropped future may have leased all the same: those recipients are due again at `until`.
    fn claim(&self, queue: &Queue, recipients_max: NonZeroUsize, now: Timestamp, until: Timestamp) -> impl Future<Output = Result<Claimed, SpoolError>> + Send;

    /// A claim on mail that will be committed to this queue and is due at once, see [`StandingClaim::allow`]: it is leased in the transaction
    /// that commits it, a message's recipients of the queue together. One at a time for a queue.
    fn stand(&self, queue: &Queue) -> StandingClaim {
        StandingClaim::none(queue)
    }

    /// Prolongs a lease.
    ///
    /// # Errors
    /// [`SpoolError::LeaseLost`] when it ran out and somebody else may have it: nothing may be sent under it any more.
    fn renew(&self, lease: &mut Lease, until: Timestamp) -> impl Future<Output = Result<(), SpoolError>> + Send;

    /// The message below the seal, checked against its checksum.
    ///
    /// # Errors
    /// [`SpoolError::Damaged`]: it was quarantined.
    fn message(&self, id: MailId) -> impl Future<Output = Result<Bytes, SpoolError>> + Send;

    /// Ends a lease: an ending for every recipient of it, and the notices that tell of them, all in one commit.
    /// Takes the lease by value: nothing is settled twice. A lease that ran out can still be settled as long as nobody else has claimed its
    /// recipients. A notice registers no sender, and gets the next free id when its own is taken. On a disk without any room it waits for some.
    ///
    /// # Errors
    /// [`SpoolError::LeaseLost`]: nothing of it was kept, no notice either.
    ///
    /// # Panics
    /// When `endings` are not one for each recipient of the lease: our own invariant.
    fn settle(&self, lease: Lease, endings: Vec<Ending>, notices: Vec<Sealed>) -> impl Future<Output = Result<(), SpoolError>> + Send;

    /// Replaces the seal of a waiting message.
    fn reseal(&self, id: MailId, seal: Seal) -> impl Future<Output = Result<(), SpoolError>> + Send;

    /// No recipient of `queue` is due before `until` (a paused provider, an unreachable host), nor any that is committed to it meanwhile.
    /// The last word counts: an earlier time lets the queue go sooner.
    fn park(&self, queue: &Queue, until: Timestamp) -> impl Future<Output = Result<(), SpoolError>> + Send;

    /// How much waits.
    fn counts(&self) -> impl Future<Output = Result<Counts, SpoolError>> + Send;

    /// Whether mail can be accepted, and what becomes of it be written down.
    fn health(&self) -> Health;

    /// Finishes what was begun and closes; further calls fail with [`SpoolError::Closed`].
    fn close(&self) -> impl Future<Output = ()> + Send;
}

/// A message that somebody is about to commit; over when dropped, which is before it is handed to [`Spool::commit`]. A hint: nothing is promised
/// by it, and a spool need not care.
#[derive(Default)]
pub struct Coming {
    _until_dropped: Option<Box<dyn Send>>,
}

impl Coming {
    /// For engines: keeps this until it is over.
    #[must_use]
    pub fn with(until_dropped: impl Send + 'static) -> Self {
        Self { _until_dropped: Some(Box::new(until_dropped)) }
    }
}

/// What a spool remembers beside the mail that waits: who stands behind a sender id, what became of a message.
pub trait Records: Spool {
    /// The mailbox behind a sender id of a bounce token; `None` when it was never registered, was swept, or is damaged.
    fn sender(&self, id: u64) -> impl Future<Output = Result<Option<Mailbox>, SpoolError>> + Send;

    /// What became of a message, or has become of it so far; `None` when it is not known (any more).
    fn history(&self, id: MailId) -> impl Future<Output = Result<Option<History>, SpoolError>> + Send;

    /// Up to `queues_max` queues by name, those after `after`: page by page, all of them.
    fn queues(&self, after: Option<Queue>, queues_max: NonZeroUsize) -> impl Future<Output = Result<Vec<QueueState>, SpoolError>> + Send;

    /// How many messages that wait have a seal by this key: those of which a receiver will ask the DNS for its record. Read page by
    /// page beside the writer; a message that comes or goes meanwhile may be counted or not. Quarantined ones are not: they are not
    /// sent as they are.
    fn mentions(&self, key: &KeyId) -> impl Future<Output = Result<u64, SpoolError>> + Send;

    /// Forgets what is older than it has to be (history, unused senders, marks of parked queues that are empty, events,
    /// ended suppressions), and looks for mail that damage
    /// has hidden from the schedule. To be called at start and about once an hour.
    fn sweep(&self, now: Timestamp) -> impl Future<Output = Result<Swept, SpoolError>> + Send;

    /// When the mail that waits longest was accepted, to within the second of its id; `None` when nothing waits.
    fn oldest(&self) -> impl Future<Output = Result<Option<Timestamp>, SpoolError>> + Send;
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// Which.
    pub id: MailId,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// When the last recipient was settled; `None` while some wait.
    pub closed_at: Option<Timestamp>,
    /// Its stream.
    pub stream: Stream,
    /// The submission's reverse-path.
    pub original_reverse_path: ReversePath,
    /// The Message-ID.
    pub message_id: String,
    /// `X-Postseal-Track-Id`.
    pub track_id: Option<String>,
    /// `X-Postseal-Tag`.
    pub tag: Option<String>,
    /// `ENVID`.
    pub envid: Option<String>,
    /// Whose keys sealed it; unknown of what an older program closed.
    pub signing_domain: Option<Domain>,
    /// Who submitted it; likewise.
    pub identity: Option<IdentityName>,
    /// In the order of the envelope.
    pub recipients: Vec<RecipientHistory>,
}

/// One recipient of a [`History`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipientHistory {
    /// Whom it was for.
    pub mailbox: Mailbox,
    /// Whether it has an outcome, and which.
    pub outcome: SoFar,
    /// Enhanced status code of the last attempt, if there was one.
    pub status: Option<String>,
    /// The words of the next hop at the last attempt, or ours.
    pub text: Option<String>,
    /// Name and address of the next hop, where one was reached for.
    pub remote: Option<String>,
    /// Who it belongs to.
    pub provider: Option<String>,
    /// Why it did not arrive, as [`Reason`](crate::mail::Reason) prints.
    pub reason: Option<String>,
    /// When the last attempt ended.
    pub at: Option<Timestamp>,
}

/// How far a recipient has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SoFar {
    /// No outcome yet.
    Waiting,
    /// The next hop has it.
    Delivered,
    /// It will never be delivered.
    Failed,
    /// A person took it out of the queue.
    Cancelled,
}

/// A queue as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueState {
    /// Which.
    pub queue: Queue,
    /// When its next recipient is due; `None` when nobody waits.
    pub next_at: Option<Timestamp>,
    /// Until when it is parked; in the past when it is not.
    pub parked_until: Timestamp,
    /// Recipients that wait in it, leased ones included.
    pub recipients: u64,
}

/// What [`Records::sweep`] removed and found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Swept {
    /// Rows of history.
    pub history: u64,
    /// Senders not used for longer than a token lives.
    pub senders: u64,
    /// Marks of parked queues.
    pub queues: u64,
    /// Events that were too old.
    pub events: u64,
    /// Counts of what came back to bounce addresses that lead nowhere any more.
    pub homecomings: u64,
    /// Returned mail that was kept for as long as it is.
    pub kept: Vec<MailId>,
    /// Entries of the suppression list whose time was over.
    pub suppressions: u64,
    /// Recipients and queues that damage had hidden from the schedule, and that are due again.
    pub rescheduled: u64,
    /// Messages found damaged and set aside.
    pub quarantined: Vec<Quarantined>,
}

/// Whether a spool can accept mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It can.
    Working,
    /// Less than the reserve is free on its disk: what is queued is worked on, nothing is accepted.
    Full {
        /// Octets free.
        free: u64,
        /// Octets that must stay free.
        reserve: u64,
    },
    /// A write failed: nothing is accepted or settled until it is opened again.
    Failed(String),
    /// It was closed.
    Closed,
}

/// What waits together: a recipient domain on its way to its MX, or a smart host.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Queue(Arc<str>);

impl Queue {
    /// The queue of a recipient on a route: its domain for `mx`, else the route itself. Printed `mx/example.com`, `ses/`.
    #[must_use]
    pub fn of(route: &RouteName, recipient: &Mailbox) -> Self {
        if Self::goes_by_mx(route.as_str()) { Self(format!("{route}/{}", recipient.host).into()) } else { Self(format!("{route}/").into()) }
    }

    /// A queue by its printed form, as the spool stores it.
    #[must_use]
    pub fn stored(text: &str) -> Self {
        Self(text.into())
    }

    /// `route/host`, the host empty for a smart host.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Route and recipient host (a domain or an address literal).
    #[must_use]
    pub fn parts(&self) -> (&str, &str) {
        self.0.split_once('/').unwrap_or((&self.0, ""))
    }

    /// Whether a route goes by MX records: `mx`, or `mx:POOL` from the addresses of a pool.
    #[must_use]
    pub fn goes_by_mx(route: &str) -> bool {
        route == Self::MX || Self::pool(route).is_some()
    }

    /// The pool whose addresses a route by MX records leaves from.
    #[must_use]
    pub fn pool(route: &str) -> Option<&str> {
        route.strip_prefix(Self::MX)?.strip_prefix(':')
    }

    /// The route by MX records.
    pub const MX: &'static str = "mx";
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A queue with something due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Which.
    pub queue: Queue,
    /// Since when its longest-waiting recipient is due.
    pub since: Timestamp,
}

/// What [`Spool::claim`] found.
#[derive(Debug, Default)]
pub struct Claimed {
    /// To be worked on.
    pub leases: Vec<Lease>,
    /// Messages found damaged and set aside.
    pub quarantined: Vec<Quarantined>,
}

/// A message set aside because its checksum does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// Which.
    pub id: MailId,
    /// What was found.
    pub why: String,
}

/// The right to try these recipients of a message until a certain time. Not `Clone`: settled once.
#[derive(Debug)]
pub struct Lease {
    /// The message's facts.
    pub mail: Arc<Mail>,
    /// The `MAIL FROM` of the transaction.
    pub reverse_path: ReversePath,
    /// Whom to try.
    pub recipients: Vec<Leased>,
    /// When it runs out.
    pub until: Timestamp,
    /// Which claim this is; a later claim of the same recipients has another (fencing).
    pub(crate) fence: u64,
}

impl Lease {
    /// What a claim grants; for engines alone. `fence` tells this claim from any other of the same recipients.
    #[must_use]
    pub const fn granted(mail: Arc<Mail>, reverse_path: ReversePath, recipients: Vec<Leased>, until: Timestamp, fence: u64) -> Self {
        Self { mail, reverse_path, recipients, until, fence }
    }

    /// Which claim this is.
    #[must_use]
    pub const fn fence(&self) -> u64 {
        self.fence
    }
}

/// A spooled message without its octets.
#[derive(Debug, Clone, PartialEq)]
pub struct Mail {
    /// Its number.
    pub id: MailId,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// After this a deferred recipient is failed.
    pub expires_at: Timestamp,
    /// Who submitted it.
    pub identity: IdentityName,
    /// A submission or a notice.
    pub kind: Kind,
    /// Whose keys sealed it.
    pub signing_domain: Domain,
    /// Its stream.
    pub stream: Stream,
    /// Its route.
    pub route: RouteName,
    /// A person gave these recipients this route: the seal was made for another one.
    pub rerouted: bool,
    /// Whom to tell of failures.
    pub original_reverse_path: ReversePath,
    /// `ENVID`.
    pub envid: Option<String>,
    /// `RET`.
    pub ret: Option<Ret>,
    /// What a next hop must offer.
    pub needs: Needs,
    /// The Message-ID.
    pub message_id: String,
    /// `X-Postseal-Track-Id`.
    pub track_id: Option<String>,
    /// `X-Postseal-Tag`.
    pub tag: Option<String>,
    /// The span that attempts belong to.
    pub trace: Option<TraceContext>,
    /// The fields to put in front.
    pub seal: Seal,
    /// Octets of the message below the seal.
    pub message_octets: u64,
}

impl Mail {
    /// What a message is remembered by, when it is committed.
    #[must_use]
    pub fn of(sealed: &Sealed) -> Self {
        Self {
            id: sealed.id,
            accepted_at: sealed.accepted_at,
            expires_at: sealed.expires_at,
            identity: sealed.identity.clone(),
            kind: sealed.kind,
            signing_domain: sealed.signing_domain.clone(),
            stream: sealed.stream.clone(),
            route: sealed.route.clone(),
            rerouted: false,
            original_reverse_path: sealed.original_reverse_path.clone(),
            envid: sealed.envid.clone(),
            ret: sealed.ret,
            needs: sealed.needs,
            message_id: sealed.message_id.clone(),
            track_id: sealed.track_id.clone(),
            tag: sealed.tag.clone(),
            trace: sealed.trace.clone(),
            seal: sealed.seal.clone(),
            message_octets: sealed.message.octets().len() as u64,
        }
    }
}

/// A recipient under lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leased {
    /// Its number in the message, from 0.
    pub index: u32,
    /// Whom.
    pub mailbox: Mailbox,
    /// `NOTIFY`.
    pub notify: Notify,
    /// `ORCPT`.
    pub orcpt: Option<OriginalRecipient>,
    /// Attempts that ended before this one.
    pub attempts: u32,
    /// Attempts among them of which the end is unknown (the mail may have arrived).
    pub unknown_ends: u32,
    /// The submitter was told of the delay.
    pub delay_told: bool,
}

impl Leased {
    /// A recipient that nobody has tried yet.
    #[must_use]
    pub fn fresh(index: u32, recipient: &SealedRecipient) -> Self {
        let (mailbox, notify, orcpt) = (recipient.mailbox.clone(), recipient.notify, recipient.orcpt.clone());
        Self { index, mailbox, notify, orcpt, attempts: 0, unknown_ends: 0, delay_told: false }
    }
}

/// How a leased recipient leaves its lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// [`Leased::index`].
    pub index: u32,
    /// How.
    pub how: How,
    /// What it means, for the journal; `None` where no attempt was made.
    pub meaning: Option<Meaning>,
    /// The entry of the suppression list that follows from it, written with it.
    pub suppression: Option<Box<Suppression>>,
}

impl Ending {
    /// One of which nobody has said what it means.
    #[must_use]
    pub const fn of(index: u32, how: How) -> Self {
        Self { index, how, meaning: None, suppression: None }
    }
}

/// See [`Ending`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum How {
    /// Settled: the next hop has it.
    Delivered(Evidence),
    /// Settled: it will never be delivered.
    Failed(Evidence),
    /// Due again at `next_at`, after an attempt.
    Deferred {
        /// Why.
        evidence: Evidence,
        /// When to try again.
        next_at: Timestamp,
        /// The submitter has now been told of the delay.
        delay_told: bool,
    },
    /// Settled: a person took it out of the queue. No attempt was made; the evidence says who ended it and why.
    Cancelled(Evidence),
    /// Held from now on, after an attempt that came to nothing for good: for a person to see, and forgotten at `until`. The ending of
    /// returned mail that nobody takes, which is answered to nobody.
    Kept {
        /// Why.
        evidence: Evidence,
        /// When it is forgotten.
        until: Timestamp,
    },
    /// Due again at `next_at`; no attempt was made.
    Released {
        /// When to try.
        next_at: Timestamp,
    },
}

impl How {
    /// How the attempt ended; none where none was made.
    #[must_use]
    pub const fn evidence(&self) -> Option<&Evidence> {
        row::evidence(self)
    }
}

/// How much a spool holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Messages with a recipient that is not settled.
    pub mails: u64,
    /// Recipients due now or later, leased ones and those that a person holds included.
    pub recipients: u64,
    /// Messages set aside as damaged.
    pub quarantined: u64,
}

/// Why the spool could not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SpoolError {
    /// Less than the reserve is free on the disk; nothing is accepted until there is room.
    #[error("the spool's disk has {free} octets free, less than the reserve of {reserve}; make room or move the spool")]
    Full {
        /// Octets free.
        free: u64,
        /// Octets that must stay free.
        reserve: u64,
    },
    /// A message id is in use; prepare again with another.
    #[error("mail id {0} is taken")]
    IdTaken(MailId),
    /// A sender id stands for another mailbox; prepare again with the next counter.
    #[error("sender id {0:010x} stands for another mailbox")]
    SenderTaken(u64),
    /// The suppression list is full.
    #[error("the suppression list holds its maximum of {0}; raise suppression.entries_max, or see what fills it with \"postseal suppression list\"")]
    SuppressionsFull(u64),
    /// The table of senders is full.
    #[error("the table of senders holds its maximum of {0}; raise spool.senders_max or see who invents senders")]
    SendersFull(u64),
    /// More has come back to a bounce address than may.
    #[error("{count} messages of {octets} octets have come back to one bounce address; more are not taken")]
    HomeFull {
        /// How many so far.
        count: u64,
        /// Their octets.
        octets: u64,
    },
    /// The lease ran out before it was settled or renewed.
    #[error("the lease on mail {0} ran out")]
    LeaseLost(MailId),
    /// The message's octets do not fit their checksum; it was set aside.
    #[error("mail {0} is damaged: {1}; it was quarantined")]
    Damaged(MailId, String),
    /// No such message.
    #[error("there is no mail {0}")]
    Unknown(MailId),
    /// The store failed; the spool accepts nothing more until it is opened again.
    #[error("the spool failed: {0}; nothing more is accepted until postseal is restarted on a working disk")]
    Failed(String),
    /// Not now: a lock that somebody else holds, too few file descriptors or too little memory. Nothing was changed, nothing is damaged.
    #[error("the spool cannot be asked right now: {0}")]
    Busy(String),
    /// The spool is locked by another process.
    #[error("the spool {0} is in use by another process; one process may use a spool")]
    Locked(String),
    /// The spool cannot be opened as it is.
    #[error("the spool {path} cannot be used: {why}")]
    Unusable {
        /// Its directory.
        path: String,
        /// The reason and remedy.
        why: String,
    },
    /// It was closed.
    #[error("the spool is closed")]
    Closed,
}
