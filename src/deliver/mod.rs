//! The station *deliver*: due mail goes to its next hop, and every recipient gets an ending.
//!
//! | file | says | kind |
//! |---|---|---|
//! | [`route`], [`way`] | which hosts and addresses, in which order, on which terms | pure |
//! | [`provider`], [`shaping`], [`throttle`] | who stands behind a host; how much, how fast; what replies change about it | pure |
//! | [`tls_policy`] | what is asked of TLS | pure |
//! | [`schedule`], [`ending`], [`classify`] | retry, give up, tell the submitter; what an ending means | pure |
//! | [`whereabouts`], [`failing`] | which provider a queue goes to; when all of a provider is out of reach | pure |
//! | [`finding`] | asks the DNS for hosts and addresses | shell |
//! | [`pool`] | connections that are open, admitted, idle | shell |
//! | [`cancel`] | takes mail out of the queue for a person, and tells its submitter | shell |
//! | `counted` | what is counted of sessions and endings | pure |
//! | `attempt` | one lease over one session after another, until each recipient has an outcome | shell |
//! | `lane` | one queue: claims leases, gives them to connections, as many as are good for it | shell |
//! | [`worker`] | which queues, when; start, reload, drain | shell |
//! | [`connection`], [`target`], [`tls`], [`network`] | one session with a next hop | shell |
//! | [`passage`] | one message to a smart host while somebody waits | shell |
//! | [`through`] | `through` mode: the client hears what the next hop says, nothing is spooled | shell |
//! | [`handover`] | at the end, the queue goes to an upstream postseal | shell |
//!
//! It does not know how mail was made. What it needs of keys and DSNs it asks through [`Reseal`] and [`Notices`]; `relay.rs` joins them.
//! RFC 5321 §4.5.4, §5; RFC 3461 §5; RFC 7505.

mod attempt;
pub mod cancel;
pub mod classify;
pub mod connection;
mod counted;
pub mod ending;
pub mod failing;
pub mod finding;
pub mod handover;
mod lane;
pub mod network;
pub mod passage;
pub mod pool;
pub mod provider;
pub mod route;
pub mod schedule;
pub mod settings;
pub mod shaping;
pub mod shaping_file;
pub mod target;
pub mod throttle;
pub mod through;
pub mod tls;
pub mod tls_policy;
pub mod way;
pub mod whereabouts;
pub mod worker;

pub use crate::clock::Clock;
pub use ending::{Action, Told};
pub use network::{Network, Tcp};
pub use provider::{Limits, Providers};
pub use settings::{HostPort, Settings, SmartHost, Source};
pub use worker::{Chance, Delivery, Outside, Tally};

use crate::mail::{Mailbox, Timestamp};
use crate::seal::{Seal, Sealed};
use crate::spool::{How, Mail, Queue};
use bytes::Bytes;
use std::time::Duration;

/// Writes the notices that tell submitters of failures, delays and successes (RFC 3464). When to tell whom is decided here.
pub trait Notices: Send + Sync + 'static {
    /// The sealed notices about these recipients of a mail: usually one. `message` is the mail below its seal. None where none can be
    /// made (no key, no route home); that is logged by whoever makes them.
    fn notices(&self, mail: &Mail, message: &Bytes, told: &[Told], now: Timestamp) -> Vec<Sealed>;

    /// Is told of an attempt once its endings are written down. To be quick: the connection waits.
    fn attempted(&self, _: &Attempted<'_>) {}
}

/// An attempt that has ended, for whoever follows mail across programs.
#[derive(Debug, Clone, Copy)]
pub struct Attempted<'a> {
    /// The mail.
    pub mail: &'a Mail,
    /// Where it waited.
    pub queue: &'a Queue,
    /// When it was taken from there.
    pub began_at: Timestamp,
    /// When its endings were written down.
    pub ended_at: Timestamp,
    /// Each recipient that was tried.
    pub recipients: &'a [Tried<'a>],
}

/// A recipient of an [`Attempted`].
#[derive(Debug, Clone, Copy)]
pub struct Tried<'a> {
    /// Whom.
    pub recipient: &'a Mailbox,
    /// The how-manieth time.
    pub attempts: u32,
    /// As logs name it.
    pub provider: &'a str,
    /// What came of it.
    pub how: &'a How,
}

/// Why a mail waits though it is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// What is told of it.
    pub why: String,
    /// How long until it is asked again.
    pub pause: Duration,
}

/// Seals again what has waited too long, and holds back what nobody could verify.
pub trait Reseal: Send + Sync + 'static {
    /// Whether this mail is not to be sent for now; asked before anything else is done for it.
    fn held(&self, mail: &Mail) -> Option<Held>;

    /// A new seal, where a key of the mail's seal is no longer in use or its `x=` is near; `None` where the old one is good. Asked
    /// before each transaction, so that a key that is revoked meanwhile signs nothing that goes out.
    ///
    /// # Errors
    /// The old one is not good and none can be made now.
    fn fresh(&self, mail: &Mail, message: &Bytes, now: Timestamp) -> Result<Option<Seal>, Held>;
}
