//! The client's half of SMTP as values: what to send next, given what was read. It owns no socket, no clock and no TLS.
//!
//! | part | turns | into |
//! |---|---|---|
//! | [`ReplyReader`] | octets, however they were cut | whole replies, in order, none lost (RFC 5321 §4.2) |
//! | [`Opening`] | greeting, EHLO, STARTTLS replies | [`Capabilities`], or why there is no session (RFC 5321 §3.1, RFC 3207) |
//! | [`Dialogue`] | replies to MAIL, RCPT, DATA or BDAT | how every recipient ended (RFC 5321 §3.3, RFC 2920, RFC 3030) |
//!
//! The shell around it is `deliver/connection.rs`: it writes what it is told to, reads one reply when told to, and keeps the time of the
//! [`Stage`] it was told.

mod body;
mod capabilities;
mod dialogue;
mod ending;
mod opening;
mod parameters;
mod reply;

pub use body::{BodyFault, Shape};
pub use capabilities::{Capabilities, Limits};
pub use dialogue::{Dialogue, Next, Transaction, TransactionRecipient};
pub use ending::{ConnectionEnd, Peer, RecipientEnd, TransactionEnd};
pub use opening::{Opening, OpeningFault, Step};
pub use reply::{ReplyFault, ReplyReader};

use crate::mail::{EnhancedCode, RemoteReply};
use std::fmt;

/// Where a session stands; each has a time of its own (RFC 5321 §4.5.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The TCP connection is being made.
    Connect,
    /// Waiting for the 220.
    Greeting,
    /// EHLO or HELO.
    Ehlo,
    /// STARTTLS and the handshake.
    StartTls,
    /// AUTH.
    Auth,
    /// MAIL, RSET and NOOP.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA, until the 354.
    DataInit,
    /// A piece of the message on its way, or the reply to a BDAT that is not the last.
    DataBlock,
    /// The final dot or BDAT LAST, until its reply.
    DataDone,
    /// QUIT.
    Quit,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connecting",
            Self::Greeting => "the greeting",
            Self::Ehlo => "EHLO",
            Self::StartTls => "STARTTLS",
            Self::Auth => "AUTH",
            Self::Mail => "MAIL",
            Self::Rcpt => "RCPT",
            Self::DataInit => "DATA",
            Self::DataBlock => "sending the message",
            Self::DataDone => "the final dot",
            Self::Quit => "QUIT",
        })
    }
}

/// The status for a reply: its own, else `class.0.0` of its code.
#[must_use]
pub fn status_of(reply: &RemoteReply) -> EnhancedCode {
    reply.enhanced.unwrap_or_else(|| EnhancedCode::new(class_of(reply), 0, 0))
}

/// 2, 4 or 5; a reply out of place (354 to MAIL) counts as 4: something is wrong, and waiting may help.
const fn class_of(reply: &RemoteReply) -> u8 {
    match reply.code {
        200..=299 => 2,
        500..=599 => 5,
        _ => 4,
    }
}

const fn is_positive(reply: &RemoteReply) -> bool {
    matches!(reply.code, 200..=299)
}

/// 421: the server closes whatever it was asked (RFC 5321 §3.8).
const fn is_closing(reply: &RemoteReply) -> bool {
    reply.code == 421
}
