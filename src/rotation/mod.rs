//! The room *rotation*: leads the keys of a domain through their life, one step at a time.
//!
//! [`keys::lifecycle`](crate::keys::lifecycle) decides, this does: [`Rotation::drive`] takes the lock of a domain's ledger, fetches the facts that the
//! decision asks for, writes each step with its time and reason before the next is begun, and says what the keys wait for. It may be
//! killed between any two of its acts: each is done again without harm, and the ledger never says more than is true.
//!
//! | act | killed right after it | then |
//! |---|---|---|
//! | a key is made | `created`, unpublished; it does not sign | it is published |
//! | a record is written | `created`, published | the same record is written again: nothing changes |
//! | a look is remembered | nothing is lost but a look | |
//! | the next key is active, the old one retires | both at once, or neither: one file is replaced | the relay reads it |
//! | `p=` is written | `retiring`, revoked in the DNS; nothing signed by it is left anywhere | `p=` is written again |
//! | the record is withdrawn, the private key deleted | `revoked` | both again; nothing is there |
//!
//! What it needs of the world it asks through [`World`]: the relay and the command line have one each, and tests a simulated one. It
//! knows neither the spool nor a publisher.

mod drive;
mod evidence;
mod holder;

pub use drive::{KeyProgress, Preview, Progress, Rotation, RotationFault, Taken};
pub use evidence::seen;

use crate::keys::lifecycle::{self, Evidence, Mentions, Sight, Wanted};
use crate::keys::{Algorithm, Record, SelectorTemplate};
use crate::mail::{KeyId, Timestamp};
use std::future::Future;
use std::time::Duration;

/// `[rotation]`: how keys come and go, of domains that say nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How old an active key becomes; `None`: until somebody rotates.
    pub rotate_every: Option<Duration>,
    /// What counts as seen.
    pub evidence: Evidence,
    /// The least soak.
    pub soak_min: Duration,
    /// How long a silent server is waited for.
    pub unreachable_max: Duration,
    /// The least time that a key stays published after it stopped signing.
    pub retire_min: Duration,
    /// How long `p=` stays published.
    pub removal_after: Duration,
    /// How long between two looks at a record.
    pub check_every: Duration,
    /// Names of new keys.
    pub selector: SelectorTemplate,
}

/// What one domain wants of its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainPlan {
    /// When a key takes its next step.
    pub lifecycle: lifecycle::Settings,
    /// The kinds of keys it signs with.
    pub algorithms: Vec<Algorithm>,
    /// Names of new keys.
    pub selector: SelectorTemplate,
}

/// What the keys of a domain need of the world.
pub trait World: Send + Sync {
    /// The present.
    fn now(&self) -> Timestamp;

    /// What the DNS shows at a key's name, held against this record. Bounded in time by whoever implements it.
    fn look(&self, key: &KeyId, record: &Record, evidence: Evidence) -> impl Future<Output = Sight> + Send;

    /// Changes the record of a key. What is done already is no fault. `Ok` is how it was done, for the history: "by …".
    fn write(&self, change: &Change) -> impl Future<Output = Result<String, String>> + Send;

    /// How many queued messages have a seal by the key.
    fn mentions(&self, key: &KeyId) -> impl Future<Output = Mentions> + Send;
}

/// A record to be changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Whose.
    pub key: KeyId,
    /// To what.
    pub wanted: Wanted,
    /// The record; `None` when there is to be none.
    pub record: Option<Record>,
    /// Every record of this key that may stand there now and is ours to replace.
    pub ours: Vec<Record>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            rotate_every: None,
            evidence: Evidence::Authoritative,
            soak_min: Duration::from_hours(1),
            unreachable_max: Duration::from_hours(24),
            retire_min: Duration::from_hours(7 * 24),
            removal_after: Duration::from_hours(30 * 24),
            check_every: Duration::from_mins(1),
            selector: SelectorTemplate::default(),
        }
    }
}
