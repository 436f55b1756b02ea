//! The proof that a message is safe: what a `250` is made of.

use super::MailId;

/// Given out by a spool's `commit`, when the message it names survives power loss, and in `through` mode by `deliver/through.rs`, when the next
/// hop has taken it; by nothing else (`tests/tidy.rs` looks).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    id: MailId,
    is_taken_on: bool,
}

impl Receipt {
    /// For the spool alone, once the message is durable. `is_taken_on`: all its recipients are under lease.
    pub(crate) const fn committed(id: MailId, is_taken_on: bool) -> Self {
        Self { id, is_taken_on }
    }

    /// For `through` mode alone, once the next hop has answered 250.
    pub(crate) const fn relayed(id: MailId) -> Self {
        Self { id, is_taken_on: true }
    }

    /// For tests of what comes behind a commit, which have no spool: nothing under `src/` calls it (`tests/tidy.rs` looks).
    #[doc(hidden)]
    #[must_use]
    pub const fn rehearsed(id: MailId) -> Self {
        Self { id, is_taken_on: false }
    }

    /// The id of the (first) message that was committed, or of the one that was relayed; the reply and every log line name it.
    #[must_use]
    pub const fn id(&self) -> MailId {
        self.id
    }

    /// Somebody delivers it already: nobody need look for what is due.
    #[must_use]
    pub const fn is_taken_on(&self) -> bool {
        self.is_taken_on
    }
}
