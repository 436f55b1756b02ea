//! The two paths of an SMTP transaction (RFC 5321 §4.1.1.2, §4.1.1.3).

use super::Mailbox;
use std::fmt;

/// Where failure notices go: the argument of `MAIL FROM`. `Null` marks mail that must never be answered.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum ReversePath {
    /// `<>`: notices and automatic answers.
    Null,
    /// The address that hears of failures.
    Mailbox(Mailbox),
}

/// Whom the mail is for: the argument of `RCPT TO`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum ForwardPath {
    /// `<Postmaster>` without a domain: this host's own (RFC 5321 §4.5.1).
    Postmaster,
    /// Somebody somewhere.
    Mailbox(Mailbox),
}

impl ReversePath {
    /// The mailbox, if there is one.
    #[must_use]
    pub const fn mailbox(&self) -> Option<&Mailbox> {
        match self {
            Self::Null => None,
            Self::Mailbox(mailbox) => Some(mailbox),
        }
    }
}

impl From<Mailbox> for ReversePath {
    fn from(mailbox: Mailbox) -> Self {
        Self::Mailbox(mailbox)
    }
}

/// In angle brackets, as on the wire.
impl fmt::Display for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("<>"),
            Self::Mailbox(mailbox) => write!(f, "<{mailbox}>"),
        }
    }
}

/// In angle brackets, as on the wire.
impl fmt::Display for ForwardPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Postmaster => f.write_str("<Postmaster>"),
            Self::Mailbox(mailbox) => write!(f, "<{mailbox}>"),
        }
    }
}
