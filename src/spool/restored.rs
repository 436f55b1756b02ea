//! A spool that came out of a backup: its mail is held until a person lets it go, for some of it was sent after the backup was made.
//!
//! Only what was restored is held. Mail that is accepted from then on flows, and what a person had held before stays held.

use super::{Records, SpoolError};
use crate::mail::Timestamp;
use std::future::Future;

/// What a restored spool adds.
pub trait Restored: Records {
    /// Whether restored mail is held, since when and how much; `None` for a spool that was not restored, or was let go.
    fn restored(&self) -> impl Future<Output = Result<Option<HeldSince>, SpoolError>> + Send;

    /// Lets restored mail go: it is due now. Gives the number of recipients.
    ///
    /// # Cancel safety
    /// A dropped future may have let go a part; asking again lets go the rest.
    fn release_restored(&self, now: Timestamp) -> impl Future<Output = Result<u64, SpoolError>> + Send;
}

/// Restored mail that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldSince {
    /// When it was restored.
    pub at: Timestamp,
    /// How many recipients wait for a person's word.
    pub recipients: u64,
}
