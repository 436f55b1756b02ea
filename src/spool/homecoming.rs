//! What comes back to bounce addresses, as one commit: the mail on its way home, what it uses up of its bounce address, what it tells.
//!
//! Nobody hears a `250` before all of it is durable, and all of it is durable or nothing: there is no bounce without its event, no event
//! without its bounce, and whoever sends the same again after a crash finds the counts of one.

use super::{Records, SpoolError, journal::News};
use crate::mail::{MailId, Receipt, Suppression, Timestamp};
use crate::seal::Sealed;
use std::future::Future;

/// Takes in what comes home.
///
/// Contract, run on every backend by `tests/spool/homecoming.rs`.
pub trait Homecomings: Records {
    /// Makes a homecoming durable, all of it or nothing. What it tells `once` of a recipient of a message is told once in the life of the
    /// message's bounce address, however often it comes.
    ///
    /// # Errors
    /// [`SpoolError::HomeFull`]: its bounce address has had its fill. [`SpoolError::IdTaken`] asks for other ids, [`SpoolError::Full`] is the
    /// operator's: more has to be free than for a submission, so that what strangers send is never what keeps submissions out.
    ///
    /// # Cancel safety
    /// A dropped future may still have committed; nothing may be promised then.
    fn come_home(&self, homecoming: Homecoming) -> impl Future<Output = Result<CameHome, SpoolError>> + Send;
}

/// One message that came back.
#[derive(Debug, Clone)]
pub struct Homecoming {
    /// Its number: that of the first of [`Self::mails`], if there is one.
    pub id: MailId,
    /// When it came.
    pub at: Timestamp,
    /// Octets of the message.
    pub octets: u64,
    /// What is to be passed on or kept: one for each place it goes to; none where nobody is to have it.
    pub mails: Vec<Homebound>,
    /// The addresses it came to.
    pub spent: Vec<Spent>,
    /// What it tells, in this order.
    pub tidings: Vec<Tidings>,
}

/// A returned mail to spool.
#[derive(Debug, Clone)]
pub struct Homebound {
    /// The mail; of kind [`Returned`](crate::seal::Kind::Returned).
    pub mail: Sealed,
    /// It is not passed on, for this reason, but held for a person until then.
    pub kept: Option<(String, Timestamp)>,
}

/// A bounce address, or one of every domain on one day, that something came to, and how much may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    /// The number of its token, or of the address and the day.
    pub token: u64,
    /// Messages that may come to it.
    pub messages_max: u64,
    /// Octets of all of them.
    pub octets_max: u64,
}

/// An event, whether it is news each time, and what follows from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tidings {
    /// What is told.
    pub news: News,
    /// Told once of this recipient of this mail, by its kind; and once more when it is [proven](super::journal::About::proven) and was not.
    pub once: bool,
    /// The entry of the suppression list that follows, written if it is news: what comes again prolongs nothing.
    pub suppression: Option<Suppression>,
}

/// What became of a [`Homecoming`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CameHome {
    /// The proof.
    pub receipt: Receipt,
    /// Of each of [`Homecoming::tidings`], whether it was news.
    pub told: Vec<bool>,
}
