//! What travels beside a message: the envelope of RFC 5321 with the parameters of RFC 3461, 6152 and 6531.

use super::{Mailbox, ReversePath};

/// A whole SMTP envelope, as a client gave it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Envelope {
    /// Who hears of failures.
    pub reverse_path: ReversePath,
    /// At least one.
    pub recipients: Vec<Recipient>,
    /// `BODY=` (RFC 6152, RFC 3030).
    pub body: BodyType,
    /// `SMTPUTF8` was given (RFC 6531 §3.4).
    pub smtputf8: bool,
    /// `RET=` (RFC 3461 §4.3).
    pub ret: Option<Ret>,
    /// `ENVID=`, decoded from xtext, at most 100 octets (RFC 3461 §4.4).
    pub envid: Option<String>,
}

/// One recipient with what its sender wants to hear of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recipient {
    /// Whom the mail is for.
    pub mailbox: Mailbox,
    /// `NOTIFY=` (RFC 3461 §4.1).
    pub notify: Notify,
    /// `ORCPT=` (RFC 3461 §4.2).
    pub orcpt: Option<OriginalRecipient>,
}

/// `ORCPT=addr-type;address`, the address decoded from xtext (RFC 3461 §4.2).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OriginalRecipient {
    /// Usually `rfc822`.
    pub address_type: String,
    /// The address as it was meant, not encoded.
    pub address: String,
}

/// On which events a DSN is wanted (RFC 3461 §4.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Notify {
    /// No `NOTIFY` was given: failures, and delays at the relay's discretion.
    #[default]
    Unspecified,
    /// `NEVER`.
    Never,
    /// Any of `SUCCESS`, `FAILURE`, `DELAY`.
    On {
        /// Tell when delivered or relayed to where no DSN comes from.
        success: bool,
        /// Tell when failed.
        failure: bool,
        /// Tell when late.
        delay: bool,
    },
}

/// How much of the message a failure DSN returns (RFC 3461 §4.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ret {
    /// The whole message.
    Full,
    /// The header only.
    Headers,
}

/// `BODY=` (RFC 6152 §2, RFC 3030 §3).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum BodyType {
    /// `7BIT`, the default.
    #[default]
    SevenBit,
    /// `8BITMIME`.
    EightBitMime,
}

impl Notify {
    /// Whether a failure is to be told.
    #[must_use]
    pub const fn on_failure(self) -> bool {
        matches!(self, Self::Unspecified | Self::On { failure: true, .. })
    }

    /// Whether a delay is to be told; without `NOTIFY` it is (RFC 3461 §4.1 leaves it to us).
    #[must_use]
    pub const fn on_delay(self) -> bool {
        matches!(self, Self::Unspecified | Self::On { delay: true, .. })
    }

    /// Whether success is to be told: only when asked.
    #[must_use]
    pub const fn on_success(self) -> bool {
        matches!(self, Self::On { success: true, .. })
    }

    /// The parameter's value, `None` where the parameter is left away.
    #[must_use]
    pub fn wire(self) -> Option<String> {
        match self {
            Self::Unspecified => None,
            Self::Never => Some("NEVER".to_owned()),
            Self::On { success, failure, delay } => {
                let words = [(success, "SUCCESS"), (failure, "FAILURE"), (delay, "DELAY")];
                Some(words.iter().filter(|(on, _)| *on).map(|(_, word)| *word).collect::<Vec<_>>().join(","))
            }
        }
    }
}
