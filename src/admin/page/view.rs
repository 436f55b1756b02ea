//! What the page shows, as plain values, and [`Outlook`], by which it asks for them. It knows nothing of how they come about.

use super::matters::Matter;
use crate::events::traffic::{Counts, Series};
use crate::mail::{MailId, Reason, Timestamp};
use std::future::Future;
use std::time::Duration;

/// Gives the page what it shows. The relay implements it; tests have one of their own.
///
/// No more of a list is shown than [`GROUPS_MAX`] and its neighbours say; whoever makes it need not make more, and gives the number of all.
pub trait Outlook: Send + Sync + 'static {
    /// What stands around every page.
    fn frame(&self) -> impl Future<Output = Frame> + Send;

    /// Traffic and what waits.
    ///
    /// # Errors
    /// A sentence for the operator: the spool cannot be asked.
    fn now(&self, span: Span) -> impl Future<Output = Result<Now, Trouble>> + Send;

    /// What waits, by provider.
    ///
    /// # Errors
    /// As [`Outlook::now`].
    fn queue(&self) -> impl Future<Output = Result<QueueView, Trouble>> + Send;

    /// The mail that waits for one provider or domain, the oldest first; `None` when nothing does.
    ///
    /// # Errors
    /// As [`Outlook::now`].
    fn group(&self, name: &str) -> impl Future<Output = Result<Option<GroupView>, Trouble>> + Send;

    /// The author domains of the configuration.
    ///
    /// # Errors
    /// As [`Outlook::now`].
    fn domains(&self) -> impl Future<Output = Result<DomainsView, Trouble>> + Send;

    /// All that is known of one mail; `None` when it is not known, or not any more.
    ///
    /// # Errors
    /// As [`Outlook::now`].
    fn journey(&self, id: MailId) -> impl Future<Output = Result<Option<Journey>, Trouble>> + Send;

    /// The mail to an address, the newest first.
    ///
    /// # Errors
    /// As [`Outlook::now`].
    fn find(&self, recipient: &str) -> impl Future<Output = Result<Vec<Found>, Trouble>> + Send;

    /// What the suppression list says of an address, and how long it is.
    ///
    /// # Errors
    /// As [`Outlook::now`].
    fn suppressed(&self, recipient: &str) -> impl Future<Output = Result<SuppressedView, Trouble>> + Send;

    /// What needs a person, the most urgent first.
    ///
    /// # Errors
    /// As [`Outlook::now`].
    fn matters(&self) -> impl Future<Output = Result<Vec<Matter>, Trouble>> + Send;

    /// Does something to the waiting recipients of one mail; gives how many it was done to.
    ///
    /// # Errors
    /// A sentence for the operator: it could not be done.
    fn act(&self, id: MailId, act: Act) -> impl Future<Output = Result<u64, Trouble>> + Send;

    /// Has doctor look at all domains anew; returns at once.
    fn examine(&self);

    /// Whether a form carries a token that [`Frame::form_token`] gave.
    fn is_own_form(&self, token: &str) -> bool;
}

/// Why something cannot be shown or done: a sentence with its remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble(pub String);

/// What stands around every page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The relay's name.
    pub hostname: String,
    /// The present: what ages are counted from.
    pub at: Timestamp,
    /// Since when it runs.
    pub started_at: Timestamp,
    /// How many matters need a person; those that are good to know are not among them.
    pub matters: usize,
    /// What forms carry, so that no other page's form is taken for one of ours.
    pub form_token: String,
}

/// How far back charts go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Span {
    /// Sixty minutes.
    #[default]
    Hour,
    /// Twenty-four hours.
    Day,
}

/// Traffic and what waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Now {
    /// Recipients of the last sixty seconds.
    pub last_minute: Counts,
    /// The stretches of the span.
    pub series: Series,
    /// How far back that goes.
    pub span: Span,
    /// Mail accepted or refused right now?
    pub standing: Standing,
    /// Recipients that wait.
    pub waiting: u64,
    /// Since when the longest-waiting one does.
    pub oldest: Option<Timestamp>,
    /// The providers with most of them, at most [`GROUPS_SHORT`].
    pub groups: Vec<Group>,
    /// What needs a person, at most [`MATTERS_SHORT`].
    pub matters: Vec<Matter>,
    /// The last endings that were not well, the newest first; at most [`MISHAPS_MAX`].
    pub mishaps: Vec<Mishap>,
}

/// Whether mail is accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It is.
    Accepting,
    /// It is not, for this reason.
    Refusing(String),
    /// It is, but nothing is sent until a person releases the spool.
    Held,
    /// No longer: the relay ends.
    Draining,
}

/// An attempt that did not deliver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mishap {
    /// When.
    pub at: Timestamp,
    /// Which mail.
    pub mail: MailId,
    /// Whose.
    pub recipient: String,
    /// Never, or not now.
    pub failed: bool,
    /// What was said.
    pub words: Words,
}

/// What a receiver said, or what we say where it said nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Words {
    /// Its reply, verbatim; empty when it gave none.
    pub reply: String,
    /// Our words, when there was no reply or to explain one; may be empty.
    pub ours: String,
    /// What it means.
    pub reason: Option<Reason>,
    /// The host that said it; empty when none was reached.
    pub host: String,
}

/// What waits.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QueueView {
    /// By provider, the longest first; at most [`GROUPS_MAX`].
    pub groups: Vec<Group>,
    /// How many providers there are.
    pub groups_all: u64,
    /// Recipients that wait.
    pub recipients: u64,
    /// Messages of which some do.
    pub mails: u64,
    /// Messages set aside as damaged.
    pub quarantined: u64,
    /// Recipients held by a person.
    pub held: u64,
    /// There was more than could be summed up in time: the shares are of a part.
    pub in_part: bool,
}

/// What waits for one provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its name: `google`, or a domain or route that has no provider.
    pub name: String,
    /// Recipients that wait.
    pub recipients: u64,
    /// When the longest-waiting one was accepted.
    pub oldest: Option<Timestamp>,
    /// When the next is tried; `None` when nobody is due by time.
    pub next_at: Option<Timestamp>,
    /// Until when the provider has a pause.
    pub paused_until: Option<Timestamp>,
    /// Connections open to it now.
    pub connections: u32,
    /// The last thing that was said.
    pub words: Option<Words>,
    /// When it was said.
    pub words_at: Option<Timestamp>,
    /// Recipient domains in it, at most [`DOMAINS_OF_GROUP_MAX`], with how many wait for each.
    pub domains: Vec<(String, u64)>,
}

/// The mail that waits for one provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupView {
    /// Which.
    pub group: Group,
    /// Its recipients, at most [`WAITING_MAX`].
    pub waiting: Vec<Waiting>,
}

/// A recipient that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Which mail.
    pub mail: MailId,
    /// Whom.
    pub recipient: String,
    /// From whom; empty for the null reverse-path.
    pub from: String,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// When it is tried; `None` while it is not for that time to decide.
    pub next_at: Option<Timestamp>,
    /// How far it has come.
    pub state: crate::spool::control::State,
    /// Attempts so far.
    pub attempts: u32,
    /// The last thing that was said.
    pub words: Option<Words>,
}

/// The author domains.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DomainsView {
    /// At most [`DOMAINS_MAX`].
    pub domains: Vec<DomainView>,
    /// How many there are.
    pub all: usize,
    /// What doctor said of the relay itself.
    pub relay: Option<Examination>,
    /// Doctor is at work.
    pub examining: bool,
}

/// One author domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainView {
    /// Its name.
    pub name: String,
    /// Whether it can send.
    pub standing: DomainStanding,
    /// Where its bounces go.
    pub bounce_domain: String,
    /// Its keys, those in use first.
    pub keys: Vec<KeyView>,
    /// The stage of DMARC as configured.
    pub dmarc: Stage,
    /// When a key last began to sign in the place of another.
    pub rotated_at: Option<Timestamp>,
    /// How often that is to be; `None`: when somebody asks.
    pub rotate_every: Option<Duration>,
    /// What doctor said; `None` before its first visit.
    pub examination: Option<Examination>,
}

/// Whether a domain can send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DomainStanding {
    /// A key signs, and its record is there as far as was seen.
    Signing,
    /// A key signs, but something is wrong with its record.
    Doubted(String),
    /// Its mail waits, for this reason.
    Held(String),
    /// It has no active key.
    NoKey,
    /// It never sends.
    Parked,
}

/// A key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyView {
    /// Its selector.
    pub selector: String,
    /// `rsa` or `ed25519`.
    pub algorithm: String,
    /// Where it stands: `active` and the like.
    pub state: String,
    /// Since when.
    pub since: Timestamp,
    /// When it was made.
    pub born: Timestamp,
    /// What the DNS shows of it, and whether that is as it should be; `None` when nobody has looked.
    pub dns: Option<(bool, String)>,
    /// What comes next, or what it waits for.
    pub next: String,
}

/// A stage of DMARC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Only reports.
    None,
    /// Mail that fails is suspect.
    Quarantine,
    /// Mail that fails is refused.
    Reject,
}

/// What doctor said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Examination {
    /// When.
    pub at: Timestamp,
    /// Of each provider, its name, how it stands and in a few words.
    pub providers: Vec<(String, Grade, String)>,
    /// What is not well, the worst first.
    pub findings: Vec<FindingView>,
    /// How many rules are met.
    pub met: usize,
}

/// How well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// As it should be.
    Good,
    /// It should be known or bettered.
    Warning,
    /// It cannot be said.
    Open,
    /// To be mended.
    Bad,
}

/// Something doctor found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FindingView {
    /// The rule's name.
    pub rule: String,
    /// How bad.
    pub grade: Grade,
    /// What it is about.
    pub about: String,
    /// What was seen.
    pub seen: String,
    /// Why it matters.
    pub why: String,
    /// What to do.
    pub remedy: String,
    /// Records to paste.
    pub records: Vec<String>,
}

/// All that is known of one mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journey {
    /// Which.
    pub id: MailId,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// After this a deferred recipient is failed; `None` when it is not known any more.
    pub expires_at: Option<Timestamp>,
    /// The submission's reverse-path; empty for the null reverse-path.
    pub from: String,
    /// Facts in the order in which they are shown: name and value.
    pub facts: Vec<(&'static str, String)>,
    /// What concerns all recipients, the oldest first.
    pub steps: Vec<Step>,
    /// Each recipient, at most [`RECIPIENTS_MAX`].
    pub recipients: Vec<Trip>,
    /// How many there are.
    pub recipients_all: usize,
    /// What can be done to it.
    pub acts: Vec<Act>,
}

/// The way of one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trip {
    /// Whom.
    pub recipient: String,
    /// How far it has come.
    pub state: TripState,
    /// What happened, the oldest first; at most [`STEPS_MAX`].
    pub steps: Vec<Step>,
    /// When it is tried next.
    pub next_at: Option<Timestamp>,
}

/// How far a recipient has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TripState {
    /// It waits.
    Waiting,
    /// A person holds it.
    Held,
    /// It was set aside as damaged.
    Quarantined,
    /// The next hop has it.
    Delivered,
    /// It will never be delivered.
    Failed,
    /// A person took it back.
    Cancelled,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// When.
    pub at: Timestamp,
    /// How that is to be taken.
    pub grade: Grade,
    /// In a few words: `Accepted`, `Deferred`.
    pub title: String,
    /// In a sentence, where there is more to say; may be empty.
    pub text: String,
    /// What was said.
    pub words: Option<Words>,
    /// Particulars: name and value.
    pub facts: Vec<(&'static str, String)>,
}

/// A mail that was looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Which.
    pub mail: MailId,
    /// To whom.
    pub recipient: String,
    /// The last that is known of it: when, and the event's name.
    pub at: Timestamp,
    /// What that was, in a word.
    pub title: String,
    /// How that is to be taken.
    pub grade: Grade,
}

/// What the suppression list says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SuppressedView {
    /// Entries in all.
    pub entries: u64,
    /// Those of one address; at most [`SUPPRESSED_MAX`].
    pub of_address: Vec<SuppressedEntry>,
}

/// An entry of the suppression list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuppressedEntry {
    /// For whose mail.
    pub scope: String,
    /// Why, in plain words.
    pub why: String,
    /// Since when.
    pub since: Timestamp,
    /// Until when; `None`: until it is lifted.
    pub until: Option<Timestamp>,
    /// What the receiver or a person said.
    pub said: String,
    /// The command that lifts it.
    pub command: String,
}

/// What can be done to a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Its waiting recipients are due now.
    Retry,
    /// They wait until they are released.
    Hold,
    /// They go on.
    Release,
    /// They are taken back: never sent, and the sender is told.
    Cancel,
}

impl Act {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Retry, Self::Hold, Self::Release, Self::Cancel];

    /// Its name in forms and addresses.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Hold => "hold",
            Self::Release => "release",
            Self::Cancel => "cancel",
        }
    }

    /// By its name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|act| act.name() == name)
    }
}

impl Trouble {
    /// From whatever can be said.
    #[must_use]
    pub fn of(error: &impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

/// Providers shown at once.
pub const GROUPS_MAX: usize = 100;
/// Providers shown on the first page.
pub const GROUPS_SHORT: usize = 5;
/// Domains named of one provider.
pub const DOMAINS_OF_GROUP_MAX: usize = 12;
/// Recipients listed of one provider.
pub const WAITING_MAX: usize = 100;
/// Author domains shown.
pub const DOMAINS_MAX: usize = 200;
/// Recipients of one mail shown.
pub const RECIPIENTS_MAX: usize = 100;
/// Steps of one recipient shown.
pub const STEPS_MAX: usize = 60;
/// Mail found by one recipient.
pub const FOUND_MAX: usize = 50;
/// Entries of the suppression list that are shown of one address.
pub const SUPPRESSED_MAX: usize = 20;
/// Mishaps on the first page.
pub const MISHAPS_MAX: usize = 6;
/// Matters shown.
pub const MATTERS_MAX: usize = 100;
/// Matters on the first page.
pub const MATTERS_SHORT: usize = 3;
