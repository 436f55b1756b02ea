//! Why a mail did not arrive: one closed vocabulary for a next hop's replies and for notices that come back.
//!
//! What a reply or a notice means is decided in the room `reasons`; here are only the words.

use std::fmt;
use std::str::FromStr;

/// Why a mail was not delivered, or not yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// No such address: unknown, misspelt, or an address that nobody can have.
    UserUnknown,
    /// The mailbox has no room.
    MailboxFull,
    /// The recipient domain does not exist or takes no mail (RFC 7505).
    DomainNotFound,
    /// The mail or the sending host did not prove who it is: SPF, DKIM, DMARC, alignment, reverse DNS.
    Authentication,
    /// Our address or domain is not trusted: blocklists, low reputation, complaints.
    Reputation,
    /// Too much, too fast, or too many recipients; greylisting too: later is well.
    RateLimited,
    /// A rule of the receiver that is none of the others: who may write to whom, TLS, closed groups, senders it does not accept.
    Policy,
    /// What the message is: malformed, taken for spam, a virus, an attachment that is not allowed.
    Content,
    /// The message, its header or an attachment is too large.
    TooLarge,
    /// It was tried for as long as it is tried, and no better cause is known.
    Expired,
    /// Between the hosts: DNS trouble, no connection, a broken dialogue, a loop, or the next hop's system in disorder.
    Network,
    /// The next hop does not relay for us, or asks for credentials.
    RelayDenied,
    /// The recipient's account is disabled, inactive, or moved away.
    Suspended,
    /// The words say nothing that is known. Better than a guess.
    NotUnderstood,
}

impl Reason {
    /// Every reason, in the order of the documentation.
    pub const ALL: [Self; 14] = [
        Self::UserUnknown,
        Self::MailboxFull,
        Self::DomainNotFound,
        Self::Authentication,
        Self::Reputation,
        Self::RateLimited,
        Self::Policy,
        Self::Content,
        Self::TooLarge,
        Self::Expired,
        Self::Network,
        Self::RelayDenied,
        Self::Suspended,
        Self::NotUnderstood,
    ];

    /// As logs, notices, events and `config/reasons.toml` write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UserUnknown => "user-unknown",
            Self::MailboxFull => "mailbox-full",
            Self::DomainNotFound => "domain-not-found",
            Self::Authentication => "authentication",
            Self::Reputation => "reputation",
            Self::RateLimited => "rate-limited",
            Self::Policy => "policy",
            Self::Content => "content",
            Self::TooLarge => "too-large",
            Self::Expired => "expired",
            Self::Network => "network",
            Self::RelayDenied => "relay-denied",
            Self::Suspended => "suspended",
            Self::NotUnderstood => "not-understood",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The exact word; anything else is an error.
impl FromStr for Reason {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_read_as_it_is_written() {
        for reason in Reason::ALL {
            assert_eq!(reason.to_string().parse(), Ok(reason));
        }
        assert_eq!("unknown".parse::<Reason>(), Err(()));
    }
}
