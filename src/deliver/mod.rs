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
//! | `counted` | what is counted of sessions and endings | pure |
//! | `attempt` | one lease over one session after another, until each recipient has an outcome | shell |
//! | `lane` | one queue: claims leases, gives them to connections, as many as are good for it | shell |
//! | [`worker`] | which queues, when; start, reload, drain | shell |
//! | [`connection`], [`target`], [`tls`] | one session with a next hop | shell |
//!
//! It does not know how mail was made. What it needs of keys and DSNs it asks through [`Reseal`] and [`Notices`]; `relay.rs` joins them.
//! RFC 5321 §4.5.4, §5; RFC 3461 §5; RFC 7505.

mod attempt;
pub mod classify;
pub mod connection;
mod counted;
pub mod ending;
pub mod failing;
pub mod finding;
mod lane;
pub mod pool;
pub mod provider;
pub mod route;
pub mod schedule;
pub mod settings;
pub mod shaping;
pub mod shaping_file;
pub mod target;
pub mod throttle;
pub mod tls;
pub mod tls_policy;
pub mod way;
pub mod whereabouts;
pub mod worker;

pub use ending::{Action, Told};
pub use provider::{Limits, Providers};
pub use settings::{HostPort, Settings, SmartHost, Source};
pub use worker::{Clock, Delivery, Outside, Tally};

use crate::mail::Timestamp;
use crate::seal::{Seal, Sealed};
use crate::spool::Mail;
use bytes::Bytes;
use std::time::Duration;

/// Writes the notices that tell submitters of failures, delays and successes (RFC 3464). When to tell whom is decided here.
pub trait Notices: Send + Sync + 'static {
    /// The sealed notices about these recipients of a mail: usually one. `message` is the mail below its seal. None where none can be
    /// made (no key, no route home); that is logged by whoever makes them.
    fn notices(&self, mail: &Mail, message: &Bytes, told: &[Told], now: Timestamp) -> Vec<Sealed>;
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
