//! The station *return*: whose a message is that came back, what it says (RFC 3464, RFC 3834, RFC 5965, and those who follow none), and what is
//! done with it.
//!
//! | file | says |
//! |---|---|
//! | [`arrived`] | a message taken apart, within bounds |
//! | [`signs`] | by which marks a bounce, an automatic reply, a challenge or a notice of delay is known |
//! | [`notice`] | delivery status notifications: what each recipient's fields come to |
//! | [`prose`] | bounces written for people only |
//! | [`reply`] | the SMTP reply within a text |
//! | [`judge`] | what replies mean, within bounds |
//! | [`complaint`] | feedback reports |
//! | [`addressee`] | whose address a recipient is: a token, or one of the few that every bounce domain has |
//! | [`homeward`] | what is done with a message, and what it tells of the mail that was sent |
//! | [`circle`] | whether it goes round in circles |
//! | [`sources`] | what each client address has done of late |
//! | [`settings`] | what an operator may say |
//!
//! Pure: octets in, [`Classified`] out. Classification does not know whose message came back, nor whether what is said is true: anybody can
//! write a bounce. What follows from one is decided by the token it was sent to. *Not understood* is an answer; a guess is not. Sockets, the
//! spool and the DNS are the relay's (`relay/returns.rs`).

pub mod addressee;
pub mod arrived;
pub mod circle;
pub mod complaint;
pub mod homeward;
pub mod judge;
pub mod notice;
pub mod prose;
pub mod reply;
pub mod settings;
pub mod signs;
pub mod sources;

pub use addressee::Addressee;
pub use complaint::Complaint;
pub use settings::Settings;

use crate::mail::dsn::Action;
use crate::mail::{EnhancedCode, Headers, Mailbox, Reason};
use crate::reasons::Table;
use arrived::Arrived;
use std::fmt;

/// What a message is, and what it says of whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classified {
    /// What it is.
    pub kind: Kind,
    /// How it was read.
    pub form: Form,
    /// Of whom it tells; none where it does not say so, or is no notice.
    pub recipients: Vec<Returned>,
    /// Who reports, as it names itself.
    pub reporting_mta: Option<String>,
    /// `Original-Envelope-Id` (RFC 3461 §4.4).
    pub envid: Option<String>,
    /// The message it tells of, as far as it came along.
    pub original: Option<Original>,
    /// Of a complaint, what it says.
    pub complaint: Option<Complaint>,
}

/// What came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// At least one recipient did not and will not get it.
    Bounce,
    /// It is still being tried.
    Delayed,
    /// It arrived, or was handed on to where no further notice comes from (RFC 3464 §2.3.3: delivered, relayed, expanded).
    Delivered,
    /// A program answered for a person (RFC 3834), who therefore has it; so does a note that it was read (RFC 8098).
    AutoReply,
    /// The receiver wants the sender to prove to be a person.
    ChallengeResponse,
    /// A recipient calls it unwanted (RFC 5965).
    Complaint,
    /// Anything else: a person's answer, a stranger's mail, a report of another kind.
    Other,
}

/// How it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// The fields of a delivery status notification (RFC 3464).
    Status,
    /// Words for people.
    Prose,
    /// The fields of a feedback report (RFC 5965).
    Feedback,
    /// The header alone.
    Header,
}

/// What is said of one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Returned {
    /// The address as the sender wrote it, where that is told (`Original-Recipient`), else as it ended; bounded, without controls.
    pub recipient: String,
    /// The address it ended at, where it is another.
    pub final_recipient: Option<String>,
    /// What became of it.
    pub action: Action,
    /// The enhanced code that says most.
    pub status: Option<EnhancedCode>,
    /// The SMTP reply, on one line, with its codes; what was said instead where it came to none.
    pub reply: Option<String>,
    /// The host that said it.
    pub remote_mta: Option<String>,
    /// Why; [`Reason::NotUnderstood`] with an action that is no failure.
    pub reason: Reason,
    /// The same mail to the same address would end like this again; only of failures.
    pub permanent: bool,
}

/// What is known of the message that was sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Original {
    /// With its angle brackets.
    pub message_id: Option<String>,
    /// Its header as far as it came back, LF line ends, at most [`arrived::HEADER_OCTETS_MAX`].
    pub header: String,
}

/// Says what a message is. Any octets are a message; line ends may be LF or CR LF, and an mbox line may stand in front.
///
/// Bounds: [`arrived::MESSAGE_OCTETS_MAX`] octets are looked at, [`arrived::PARTS_MAX`] parts, [`arrived::DEPTH_MAX`] levels,
/// [`RECIPIENTS_MAX`] recipients, and of what is said of them so much as [`judge`] tells. The time is linear in what is looked at.
#[must_use]
pub fn classify(message: &[u8], reasons: &Table) -> Classified {
    let Some(arrived) = Arrived::read(message) else { return Classified::new(Kind::Other, Form::Header) };
    let mut found = sorted(&arrived, reasons);
    found.recipients.truncate(RECIPIENTS_MAX);
    found.original = found.original.or_else(|| arrived.original.as_ref().map(arrived::Returnee::original));
    found
}

/// Whether it may be a complaint that names a bounce address, going by its header alone (RFC 5965 §2).
#[must_use]
pub fn may_be_a_complaint(message: &[u8]) -> bool {
    let Ok(headers) = Headers::parse(message) else { return false };
    headers.named("Content-Type").next().is_some_and(|field| {
        let value = field.unfolded().to_ascii_lowercase();
        value.contains("multipart/report") && value.contains("feedback-report")
    })
}

fn sorted(arrived: &Arrived, reasons: &Table) -> Classified {
    if let Some(complaint) = complaint::read(arrived) {
        let kind = if complaint.counts() { Kind::Complaint } else { Kind::Other };
        return Classified { complaint: Some(complaint), ..Classified::new(kind, Form::Feedback) };
    }
    // A service that challenges may do so in the form of a notice of delay.
    if signs::is_of_a_challenger(arrived) {
        return Classified::new(Kind::ChallengeResponse, Form::Header);
    }
    if let Some(found) = notice::read(arrived, reasons) {
        return found;
    }
    if signs::is_disposition(arrived) {
        return notice::rejection(arrived, reasons).unwrap_or(Classified::new(Kind::AutoReply, Form::Header));
    }
    if signs::is_challenge(arrived) {
        return Classified::new(Kind::ChallengeResponse, Form::Header);
    }
    // A person's auto-responder may quote a bounce; a daemon may mark its bounce as an automatic reply (RFC 3834 §5).
    let is_reply = signs::is_automatic_reply(arrived);
    if (is_reply || signs::has_automatic_subject(arrived)) && !signs::is_of_a_daemon(arrived) {
        return Classified::new(if is_reply { Kind::AutoReply } else { Kind::Other }, Form::Header);
    }
    prose::read(arrived, reasons).unwrap_or_else(|| {
        let kind = if is_reply { Kind::AutoReply } else { Kind::Other };
        Classified::new(kind, Form::Header)
    })
}

impl Classified {
    /// What nobody has looked into.
    #[must_use]
    pub const fn unread() -> Self {
        Self::new(Kind::Other, Form::Header)
    }

    const fn new(kind: Kind, form: Form) -> Self {
        Self { kind, form, recipients: Vec::new(), reporting_mta: None, envid: None, original: None, complaint: None }
    }
}

impl Returned {
    /// The address, if it is one.
    #[must_use]
    pub fn mailbox(&self) -> Option<Mailbox> {
        Mailbox::parse(&self.recipient).ok()
    }
}

impl Kind {
    /// As JSON, logs and events write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bounce => "bounce",
            Self::Delayed => "delayed",
            Self::Delivered => "delivered",
            Self::AutoReply => "auto-reply",
            Self::ChallengeResponse => "challenge-response",
            Self::Complaint => "complaint",
            Self::Other => "other",
        }
    }
}

impl Form {
    /// As JSON writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Prose => "prose",
            Self::Feedback => "feedback",
            Self::Header => "header",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One line without controls or marks that turn the reading direction, bounded: what strangers write comes no further otherwise.
fn one_line(text: &str, octets_max: usize) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if out.len() >= octets_max {
            break;
        }
        match c {
            c if c.is_whitespace() || c.is_control() => {
                if !out.ends_with(' ') {
                    out.push(' ');
                }
            }
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => {}
            c => out.push(c),
        }
    }
    out.trim().to_owned()
}

/// Recipients that are told of.
pub const RECIPIENTS_MAX: usize = crate::mail::dsn::RECIPIENTS_MAX;
