//! What a server says (RFC 5321 §4.2), with enhanced status codes (RFC 2034).

use crate::mail::{EnhancedCode, Receipt, Refusal};
use std::fmt;

/// One reply: a code, an enhanced code where RFC 2034 wants one, and a line of text or more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    code: u16,
    enhanced: Option<EnhancedCode>,
    lines: Vec<String>,
}

impl Reply {
    /// The `250` of a message. It takes a [`Receipt`], which only a commit gives out: no other function makes this reply.
    #[must_use]
    pub fn accepted(receipt: &Receipt) -> Self {
        Self::new(250, (2, 0, 0), format!("accepted as {}", receipt.id()))
    }

    /// A reply of one line.
    #[must_use]
    pub(super) fn new(code: u16, (class, subject, detail): (u8, u16, u16), text: impl Into<String>) -> Self {
        Self { code, enhanced: Some(EnhancedCode::new(class, subject, detail)), lines: vec![text.into()] }
    }

    /// A reply without enhanced code: greeting, EHLO, `334` and `354` have none (RFC 2034 §4, RFC 4954 §4).
    #[must_use]
    pub(super) fn plain(code: u16, lines: Vec<String>) -> Self {
        Self { code, enhanced: None, lines }
    }

    /// 200..=599.
    #[must_use]
    pub const fn code(&self) -> u16 {
        self.code
    }

    /// The enhanced code, if there is one.
    #[must_use]
    pub const fn enhanced(&self) -> Option<EnhancedCode> {
        self.enhanced
    }

    /// Appends the reply as it goes over the wire, every line ended by CR LF and all but the last marked `-`.
    pub fn write_to(&self, wire: &mut Vec<u8>) {
        wire.extend_from_slice(self.to_string().as_bytes());
    }
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Self {
        Self { code: refusal.code, enhanced: Some(refusal.enhanced), lines: vec![refusal.text] }
    }
}

/// The wire form.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, line) in self.lines.iter().enumerate() {
            let mark = if number + 1 == self.lines.len() { ' ' } else { '-' };
            write!(f, "{}{mark}", self.code)?;
            if let Some(enhanced) = self.enhanced {
                write!(f, "{enhanced} ")?;
            }
            write!(f, "{line}\r\n")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_one_line_and_several() {
        let mut wire = Vec::new();
        Reply::new(250, (2, 1, 0), "ok").write_to(&mut wire);
        Reply::plain(250, vec!["mx.example".into(), "SIZE 10".into(), "DSN".into()]).write_to(&mut wire);
        Reply::from(Refusal::submitter(550, EnhancedCode::new(5, 7, 1), "no")).write_to(&mut wire);
        assert_eq!(wire, b"250 2.1.0 ok\r\n250-mx.example\r\n250-SIZE 10\r\n250 DSN\r\n550 5.7.1 no\r\n");
    }
}
