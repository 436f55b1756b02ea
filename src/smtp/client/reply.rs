//! Replies of a next hop, read from octets that may be cut or glued anywhere (RFC 5321 §4.2, RFC 2034 §4).
//!
//! One reader lives as long as its connection, so a second reply in the same read is kept for the next question. It is strict in form
//! (three digits, one code in all lines, bounded) and tolerant in text: 8-bit is taken as UTF-8, controls are replaced.

use crate::mail::{EnhancedCode, RemoteReply};
use std::str::FromStr;

/// The unread octets of one connection and what of them are whole replies.
#[derive(Debug, Default)]
pub struct ReplyReader {
    unread: Vec<u8>,
    lines: Vec<String>,
    code: u16,
    enhanced: Option<EnhancedCode>,
}

/// Octets that are no reply. Nothing after them can be trusted to answer anything, so the connection has to end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplyFault {
    /// No three digits, or neither space nor hyphen after them.
    #[error("the server sent \"{0}\", which is no SMTP reply")]
    Syntax(String),
    /// A line has another code than the first (RFC 5321 §4.2.1).
    #[error("the server sent a reply that begins with {first} and goes on with {then}")]
    CodeChanged {
        /// Of the first line.
        first: u16,
        /// Of the odd one.
        then: u16,
    },
    /// A line of more than 2,048 octets.
    #[error("the server sent a reply line of more than {REPLY_LINE_OCTETS_MAX} octets")]
    LineTooLong,
    /// A reply of more than 100 lines.
    #[error("the server sent a reply of more than {REPLY_LINES_MAX} lines")]
    TooManyLines,
}

impl ReplyReader {
    /// Keeps what was read.
    pub fn feed(&mut self, octets: &[u8]) {
        self.unread.extend_from_slice(octets);
    }

    /// The next whole reply; `None` until more is fed.
    ///
    /// # Errors
    /// What is there can never become a reply.
    pub fn next_reply(&mut self) -> Result<Option<RemoteReply>, ReplyFault> {
        while let Some(line) = self.take_line()? {
            let (code, last, text) = split_line(&line)?;
            if self.lines.is_empty() {
                self.code = code;
            } else if code != self.code {
                return Err(ReplyFault::CodeChanged { first: self.code, then: code });
            }
            if self.lines.len() == REPLY_LINES_MAX {
                return Err(ReplyFault::TooManyLines);
            }
            let (enhanced, text) = split_enhanced(code, text);
            self.enhanced = self.enhanced.or(enhanced);
            self.lines.push(printable(text));
            if last {
                return Ok(Some(RemoteReply { code, enhanced: self.enhanced.take(), lines: std::mem::take(&mut self.lines) }));
            }
        }
        Ok(None)
    }

    /// Nothing is left, not even a part of a reply: what comes next answers what is sent next.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.unread.is_empty() && self.lines.is_empty()
    }

    /// Octets kept that are not yet part of a reply line handed out.
    #[must_use]
    pub fn unread_octets(&self) -> usize {
        self.unread.len()
    }

    /// Takes octets out again, up to the end of one line and at most `octets_max`: for somebody else who reads line by line.
    pub fn take_raw(&mut self, octets_max: usize) -> Vec<u8> {
        let line_end = memchr::memchr(b'\n', &self.unread).map_or(0, |at| at + 1);
        self.unread.drain(..line_end.min(octets_max)).collect()
    }

    /// One line without its line end. A line may end in LF alone: nothing hangs on it here, and some servers do it.
    fn take_line(&mut self) -> Result<Option<Vec<u8>>, ReplyFault> {
        let end = memchr::memchr(b'\n', &self.unread);
        if end.unwrap_or(self.unread.len()) > REPLY_LINE_OCTETS_MAX {
            return Err(ReplyFault::LineTooLong);
        }
        let Some(end) = end else { return Ok(None) };
        let mut line: Vec<u8> = self.unread.drain(..=end).collect();
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(Some(line))
    }
}

/// Code, whether it is the last line, text. A bare code without text ends a reply (RFC 5321 §4.2 asks clients to take it).
fn split_line(line: &[u8]) -> Result<(u16, bool, &[u8]), ReplyFault> {
    let fault = || ReplyFault::Syntax(printable(&line[..line.len().min(80)]));
    let (digits, rest) = line.split_at_checked(3).ok_or_else(fault)?;
    if !digits.iter().all(u8::is_ascii_digit) || !(b'2'..=b'5').contains(&digits[0]) {
        return Err(fault());
    }
    let code = digits.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    match rest {
        [] => Ok((code, true, rest)),
        [b' ', text @ ..] => Ok((code, true, text)),
        [b'-', text @ ..] => Ok((code, false, text)),
        _ => Err(fault()),
    }
}

/// An enhanced code counts only when it is of the class of the reply (RFC 2034 §4); otherwise it is text.
fn split_enhanced(code: u16, text: &[u8]) -> (Option<EnhancedCode>, &[u8]) {
    let end = memchr::memchr(b' ', text).unwrap_or(text.len());
    let enhanced = std::str::from_utf8(&text[..end]).ok().and_then(|word| EnhancedCode::from_str(word).ok());
    match enhanced.filter(|enhanced| u16::from(enhanced.class()) == code / 100) {
        Some(enhanced) => (Some(enhanced), text.get(end + 1..).unwrap_or_default()),
        None => (None, text),
    }
}

/// Text safe for a log line and a DSN.
fn printable(text: &[u8]) -> String {
    String::from_utf8_lossy(text).chars().map(|c| if c == '\t' { ' ' } else { c }).map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// Octets of one reply line, its line end not counted. RFC 5321 §4.5.3.1.5 says 512; servers exceed that.
const REPLY_LINE_OCTETS_MAX: usize = 2048;
/// Lines of one reply.
const REPLY_LINES_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn all(octets: &[u8]) -> Result<Vec<String>, ReplyFault> {
        let mut reader = ReplyReader::default();
        reader.feed(octets);
        let mut replies = Vec::new();
        while let Some(reply) = reader.next_reply()? {
            replies.push(reply.to_string());
        }
        Ok(replies)
    }

    #[test]
    fn reads_the_forms_of_replies() {
        for (octets, expect) in [
            ("250 2.1.0 ok\r\n", "250 2.1.0 ok"),
            ("250\r\n", "250 "),
            ("250 \r\n", "250 "),
            ("250 lf only\n", "250 lf only"),
            ("250-2.1.5 one\r\n250-2.1.5 two\r\n250 2.1.5 three\r\n", "250 2.1.5 one two three"),
            ("550 2.1.0 wrong class\r\n", "550 2.1.0 wrong class"),
            ("550 5.7.26\r\n", "550 5.7.26 "),
            ("550 5.7.1.2 no code\r\n", "550 5.7.1.2 no code"),
            ("354 2.0.0 send it\r\n", "354 2.0.0 send it"),
            ("550 a\rb\x07c\td\r\n", "550 a?b?c d"),
            ("550 Postfach gesperrt: für\r\n", "550 Postfach gesperrt: für"),
        ] {
            assert_eq!(all(octets.as_bytes()).unwrap(), [expect], "{octets:?}");
        }
        assert_eq!(all(b"550 \xff\xe9\r\n").unwrap(), ["550 \u{fffd}\u{fffd}"]);
    }

    #[test]
    fn two_replies_in_one_read_are_not_lost() {
        assert_eq!(all(b"250 one\r\n354 two\r\n25").unwrap(), ["250 one", "354 two"]);
    }

    #[test]
    fn what_is_no_reply_is_a_fault() {
        for octets in ["hello\r\n", "25 ok\r\n", "2500 ok\r\n", "150 ok\r\n", "650 ok\r\n", "250_ok\r\n", "\r\n", "250-a\r\nb\r\n", "2\u{b2}0 ok\r\n"] {
            assert!(matches!(all(octets.as_bytes()), Err(ReplyFault::Syntax(_))), "{octets:?}");
        }
        assert_eq!(all(b"250-a\r\n251 b\r\n"), Err(ReplyFault::CodeChanged { first: 250, then: 251 }));
    }

    #[test]
    fn replies_are_bounded() {
        let line = |octets: usize| format!("250 {}", "x".repeat(octets - 4)).into_bytes();
        assert_eq!(all(&[line(REPLY_LINE_OCTETS_MAX - 1), b"\r\n".to_vec()].concat()).unwrap().len(), 1);
        assert_eq!(all(&line(REPLY_LINE_OCTETS_MAX)), Ok(Vec::new()));
        assert_eq!(all(&line(REPLY_LINE_OCTETS_MAX + 1)), Err(ReplyFault::LineTooLong));
        assert_eq!(all(&[line(REPLY_LINE_OCTETS_MAX + 1), b"\r\n".to_vec()].concat()), Err(ReplyFault::LineTooLong));

        let lines = |count: usize| ["250-x\r\n".repeat(count - 1), "250 x\r\n".to_owned()].concat();
        assert_eq!(all(lines(REPLY_LINES_MAX).as_bytes()).unwrap().len(), 1);
        assert_eq!(all(lines(REPLY_LINES_MAX + 1).as_bytes()), Err(ReplyFault::TooManyLines));
    }

    proptest::proptest! {
        /// However the octets are cut, the same replies come out.
        #[test]
        fn cutting_changes_nothing(cuts in proptest::collection::vec(0_usize..120, 0..12)) {
            let octets = b"220 mx ESMTP\r\n250-mx\r\n250-SIZE 1000\r\n250 PIPELINING\r\n550-5.1.1 no\r\n550 5.1.1 such\r\n354 go\r\n250 2.0.0 queued\r\n";
            let whole = all(octets).unwrap();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(octets.len())).chain([0, octets.len()]).collect();
            cuts.sort_unstable();
            let mut reader = ReplyReader::default();
            let mut replies = Vec::new();
            for piece in cuts.windows(2) {
                reader.feed(&octets[piece[0]..piece[1]]);
                while let Some(reply) = reader.next_reply().unwrap() {
                    replies.push(reply.to_string());
                }
            }
            proptest::prop_assert_eq!(replies, whole);
            proptest::prop_assert!(reader.is_empty());
        }

        /// Whatever a server sends, nothing panics and nothing unprintable comes out.
        #[test]
        fn any_octets_are_survived(octets in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
            if let Ok(replies) = all(&octets) {
                proptest::prop_assert!(replies.iter().all(|reply| !reply.chars().any(char::is_control)));
            }
        }
    }
}
