//! Delivery status notifications (RFC 3464 in the multipart/report of RFC 6522; RFC 3461 says when, RFC 6533 how in UTF-8).
//!
//! [`Dsn::print`] writes the notices that go to submitters; [`Report::parse`] reads those that come back from elsewhere. Both are
//! pure: the number and the time of a notice are given, nothing is asked of a clock or of chance. Whether a notice is due at all,
//! and to whom it goes, is not known here.

mod parse;
mod print;
#[cfg(test)]
mod tests;

pub use parse::{PARTS_MAX, RECIPIENTS_MAX, Report, ReportFault, ReportedRecipient, STATUS_OCTETS_MAX, TypedText};

use super::{Domain, Evidence, MailId, Mailbox, OriginalRecipient, Reason, Ret, Timestamp};
use std::fmt;
use std::str::FromStr;

/// A notice to write: what became of some recipients of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dsn {
    /// The notice's own number: its Message-ID and MIME boundary are made of it.
    pub id: MailId,
    /// When it is written.
    pub at: Timestamp,
    /// Who tried to deliver: our EHLO name.
    pub reporting_mta: Domain,
    /// Who writes: `mailer-daemon@` the author domain, so that the notice itself can be sealed and aligned.
    pub from: Mailbox,
    /// The original reverse-path, in envelope and header both (RFC 3464 §2).
    pub to: Mailbox,
    /// The Message-ID of the message, with its angle brackets.
    pub message_id: Option<String>,
    /// `ENVID=`, decoded from xtext.
    pub envid: Option<String>,
    /// `RET=`: how much of the message a failure returns. Other notices return its header (RFC 3461 §4.3).
    pub ret: Option<Ret>,
    /// When the message was accepted.
    pub arrived_at: Timestamp,
    /// At least one.
    pub recipients: Vec<DsnRecipient>,
}

/// What became of one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DsnRecipient {
    /// Whom the message was for, as we tried it.
    pub mailbox: Mailbox,
    /// `ORCPT=`.
    pub orcpt: Option<OriginalRecipient>,
    /// What was done.
    pub action: Action,
    /// What the last attempt showed.
    pub evidence: Evidence,
    /// Why it did not arrive; the field `X-Postseal-Reason`, for programs that need not read what servers say.
    pub reason: Option<Reason>,
    /// How many attempts there were; 0 when none was made.
    pub attempts: u32,
    /// Until when it is tried again; only with [`Action::Delayed`] (RFC 3464 §2.3.9).
    pub retry_until: Option<Timestamp>,
}

/// RFC 3464 §2.3.3. The order is that of importance to a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// Given up.
    Failed,
    /// Not yet; it is tried again.
    Delayed,
    /// Handed to a host that sends no notices of success.
    Relayed,
    /// Arrived.
    Delivered,
    /// Arrived, and went on to several others.
    Expanded,
}

/// How much of a message may come back with its notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReturnLimits {
    /// Octets of a message that is returned whole; of a larger one only the header comes back.
    pub message_octets_max: usize,
    /// Octets of a returned header; the fields that exceed it are left out.
    pub header_octets_max: usize,
}

/// 50,000 octets of message (Postfix returns as much), 16 KiB of header.
impl Default for ReturnLimits {
    fn default() -> Self {
        Self { message_octets_max: 50_000, header_octets_max: 16 * 1024 }
    }
}

impl Action {
    /// As in the `Action` field.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Delayed => "delayed",
            Self::Relayed => "relayed",
            Self::Delivered => "delivered",
            Self::Expanded => "expanded",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Without regard to case.
impl FromStr for Action {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let all = [Self::Failed, Self::Delayed, Self::Relayed, Self::Delivered, Self::Expanded];
        all.into_iter().find(|action| action.as_str().eq_ignore_ascii_case(text)).ok_or(())
    }
}
