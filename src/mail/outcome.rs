//! How things end, whose fault it is, and whether waiting helps: the one place where that becomes a reply code.

use super::{TlsSession, timestamp::Timestamp};
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

/// Whose fault a failure is; reply, log level and addressee follow from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Blame {
    /// Told to the client in the dialogue; logged as info.
    Submitter,
    /// Retried, or told by DSN with the server's own words; logged as info.
    NextHop,
    /// DNS, key, certificate, disk: 4xx, logged as a warning with the remedy.
    Operator,
    /// A defect of ours: 451 4.3.0, logged as an error.
    Ourselves,
}

/// An enhanced mail system status code (RFC 3463): `5.7.1`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EnhancedCode {
    class: u8,
    subject: u16,
    detail: u16,
}

/// A negative answer to a client, complete: it says what is wrong and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code} {enhanced} {text}")]
pub struct Refusal {
    /// 400..=599.
    pub code: u16,
    /// Of the same class as `code`.
    pub enhanced: EnhancedCode,
    /// One line of ASCII, without controls, ending in the remedy where there is one.
    pub text: String,
    /// Whose fault it is.
    pub blame: Blame,
}

/// How one recipient of one attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The next hop took responsibility.
    Delivered(Evidence),
    /// Not now; waiting may help.
    Deferred(Evidence),
    /// Never.
    Failed(Evidence),
}

/// What is known of an ending: enough for a log line and a DSN (RFC 3464).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The status for DSN and log; our own where the next hop gave none.
    pub status: EnhancedCode,
    /// The next hop's reply, verbatim, when it came to one.
    pub reply: Option<RemoteReply>,
    /// Our words, when there was no reply, or to explain one.
    pub text: String,
    /// Name and address of the next hop, when one was reached for.
    pub remote: Option<Remote>,
    /// TLS of the connection, if it had it.
    pub tls: Option<TlsSession>,
    /// The connection ended after the final dot and before its reply: the mail may have arrived (RFC 5321 §6.1).
    pub unknown_end: bool,
    /// When.
    pub at: Timestamp,
}

/// A next hop as it was tried.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Remote {
    /// The MX or smart-host name.
    pub host: String,
    /// The address and port.
    pub address: SocketAddr,
}

/// A reply of a next hop (RFC 5321 §4.2), its lines without codes and line ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteReply {
    /// 200..=599.
    pub code: u16,
    /// Its enhanced code, if it gave one that belongs to `code` (RFC 2034).
    pub enhanced: Option<EnhancedCode>,
    /// The text of each line, enhanced code removed, controls replaced; bounded by the reader.
    pub lines: Vec<String>,
}

impl EnhancedCode {
    /// `class.subject.detail`; class is 2, 4 or 5, the others have at most three digits (RFC 3463 §2).
    #[must_use]
    pub const fn new(class: u8, subject: u16, detail: u16) -> Self {
        Self { class, subject, detail }
    }

    /// 2, 4 or 5.
    #[must_use]
    pub const fn class(self) -> u8 {
        self.class
    }

    /// The middle and last number.
    #[must_use]
    pub const fn subject_and_detail(self) -> (u16, u16) {
        (self.subject, self.detail)
    }
}

impl Refusal {
    /// The client did something that waiting does not mend: 5xx.
    #[must_use]
    pub fn submitter(code: u16, enhanced: EnhancedCode, text: impl Into<String>) -> Self {
        Self { code, enhanced, text: one_line(&text.into()), blame: Blame::Submitter }
    }

    /// Something the operator has to mend: 4xx.
    #[must_use]
    pub fn operator(code: u16, enhanced: EnhancedCode, text: impl Into<String>) -> Self {
        Self { code, enhanced, text: one_line(&text.into()), blame: Blame::Operator }
    }

    /// What the next hop said or did, passed on while the client waits: 4xx or 5xx.
    #[must_use]
    pub fn next_hop(code: u16, enhanced: EnhancedCode, text: impl Into<String>) -> Self {
        Self { code, enhanced, text: one_line(&text.into()), blame: Blame::NextHop }
    }

    /// A failure of our own, details only in the log.
    #[must_use]
    pub fn ourselves() -> Self {
        Self { code: 451, enhanced: EnhancedCode::new(4, 3, 0), text: "local error, please try again later".to_owned(), blame: Blame::Ourselves }
    }
}

impl RemoteReply {
    /// All lines joined by a space.
    #[must_use]
    pub fn text(&self) -> String {
        self.lines.join(" ")
    }
}

/// `550 5.1.1 no such user`, as in a DSN's Diagnostic-Code.
impl fmt::Display for RemoteReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some(enhanced) = self.enhanced {
            write!(f, " {enhanced}")?;
        }
        write!(f, " {}", self.text())
    }
}

impl Outcome {
    /// What is known of it.
    #[must_use]
    pub const fn evidence(&self) -> &Evidence {
        match self {
            Self::Delivered(evidence) | Self::Deferred(evidence) | Self::Failed(evidence) => evidence,
        }
    }
}

impl fmt::Display for EnhancedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

impl fmt::Debug for EnhancedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// RFC 3463 §2; anything else is an error.
impl FromStr for EnhancedCode {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('.');
        let mut number = |digits: usize| -> Result<u16, ()> {
            let part = parts.next().ok_or(())?;
            if part.is_empty() || part.len() > digits || !part.bytes().all(|b| b.is_ascii_digit()) {
                return Err(());
            }
            part.parse().map_err(|_| ())
        };
        let (class, subject, detail) = (number(1)?, number(3)?, number(3)?);
        if parts.next().is_some() || !matches!(class, 2 | 4 | 5) {
            return Err(());
        }
        Ok(Self { class: u8::try_from(class).map_err(|_| ())?, subject, detail })
    }
}

/// A reply is one line of printable ASCII: whatever a client slipped into a quoted value cannot break out of it.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if (' '..='~').contains(&c) { c } else { '?' }).take(REPLY_TEXT_OCTETS_MAX).collect()
}

/// RFC 5321 §4.5.3.1.5 allows 512 octets for a reply line; code, enhanced code and line end need room.
const REPLY_TEXT_OCTETS_MAX: usize = 480;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enhanced_codes_read_strictly() {
        assert_eq!("5.7.26".parse(), Ok(EnhancedCode::new(5, 7, 26)));
        for text in ["3.0.0", "5.7", "5.7.1.1", "5..1", "5.7.1234", "five", "5.7.+1"] {
            assert_eq!(text.parse::<EnhancedCode>(), Err(()), "{text}");
        }
    }

    #[test]
    fn a_refusal_stays_on_its_line() {
        let refusal = Refusal::submitter(550, EnhancedCode::new(5, 7, 1), "no \"a\r\n250 ok\u{e9}\"");
        assert_eq!(refusal.to_string(), "550 5.7.1 no \"a??250 ok?\"");
    }
}
