//! The proof that a message is safe: what a `250` is made of.

use super::MailId;

/// Given out by a spool's `commit`, when the message it names survives power loss, and in `through` mode by `deliver/through.rs`, when the next
/// hop has taken it; by nothing else (`tests/tidy.rs` looks).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    id: MailId,
}

impl Receipt {
    /// For the spool alone, once the message is durable.
    pub(crate) const fn committed(id: MailId) -> Self {
        Self { id }
    }

    /// For `through` mode alone, once the next hop has answered 250.
    pub(crate) const fn relayed(id: MailId) -> Self {
        Self { id }
    }

    /// For tests of what comes behind a commit, which have no spool: nothing under `src/` calls it (`tests/tidy.rs` looks).
    #[doc(hidden)]
    #[must_use]
    pub const fn rehearsed(id: MailId) -> Self {
        Self { id }
    }

    /// The id of the (first) message that was committed, or of the one that was relayed; the reply and every log line name it.
    #[must_use]
    pub const fn id(&self) -> MailId {
        self.id
    }
}
