//! The octets of a message as they come behind `DATA` (RFC 5321 §4.1.1.4, §4.5.2), and the rules that hold for `BDAT` as well.
//!
//! Only CR LF `.` CR LF ends a message. Whatever else has been taken for that end elsewhere (LF `.` LF, LF `.` CR LF, CR `.` CR;
//! CVE-2023-51764 and its siblings) is content here, and content with a bare CR, a bare LF or a NUL is refused once it is all read:
//! what follows is then known to be commands again.

use super::line::BareLf;
use super::memory::{Share, no_room};
use crate::mail::{EnhancedCode, Refusal};
use bytes::Bytes;
use memchr::{memchr, memchr3};

/// What a message may be like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentRules {
    /// Octets of the whole message, dots unstuffed.
    pub message_octets_max: u64,
    /// Octets of a line without its end. What is longer than 998 is the next station's to judge or mend.
    pub line_octets_max: usize,
    /// Lines that end in LF alone.
    pub bare_lf: BareLf,
}

/// The octets of one message, gathered under [`ContentRules`]. After the first fault it reads on and keeps nothing.
#[derive(Debug)]
pub struct Content {
    rules: ContentRules,
    share: Share,
    octets: Vec<u8>,
    size: u64,
    fault: Option<Fault>,
    at: LineStart,
    after_cr: bool,
    line_octets: usize,
    lines: u64,
}

/// Reads what follows a `354`, up to and including the final dot.
#[derive(Debug)]
pub struct DataReader {
    content: Content,
    dot: Dot,
}

/// Where the next octet stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LineStart {
    /// Behind CR LF, or at the very beginning: behind the CR LF of the command.
    AfterCrLf,
    /// Behind a bare LF: a dot here is stuffing, never the end.
    AfterBareLf,
    /// Inside a line.
    Inside,
}

/// A dot at the start of a line, of which nothing is known yet; the line start it stood at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dot {
    None,
    Read(LineStart),
    ThenCr(LineStart),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    TooLarge,
    NoRoom,
    BareCr { line: u64 },
    BareLf { line: u64 },
    Nul { line: u64 },
    LongLine { line: u64 },
}

impl DataReader {
    /// For the message behind a `354`.
    #[must_use]
    pub const fn new(rules: ContentRules, share: Share) -> Self {
        Self { content: Content::new(rules, share), dot: Dot::None }
    }

    /// Takes octets up to the end of the message: how many, and whether it is whole.
    pub fn read(&mut self, input: &[u8]) -> (usize, bool) {
        let mut taken = 0;
        while taken < input.len() {
            let rest = &input[taken..];
            let (used, ended) = self.step(rest);
            taken += used;
            if ended {
                return (taken, true);
            }
        }
        (taken, false)
    }

    /// The message, its dots unstuffed.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn finish(self) -> Result<Bytes, Refusal> {
        self.content.finish()
    }

    /// One octet in the neighbourhood of a dot, else all up to the next line.
    fn step(&mut self, rest: &[u8]) -> (usize, bool) {
        let start = self.content.at;
        match (self.dot, rest[0]) {
            (Dot::None, b'.') if start != LineStart::Inside => self.dot = Dot::Read(start),
            (Dot::None, _) => {
                let line = memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
                self.content.read(&rest[..line]);
                return (line, false);
            }
            (Dot::Read(start), b'\r') => self.dot = Dot::ThenCr(start),
            (Dot::ThenCr(LineStart::AfterCrLf), b'\n') => return (1, true),
            // A line of a single dot that is not the end: nothing else stands on it, so the dot is kept (RFC 5321 §4.5.2).
            (Dot::Read(_), b'\n') => self.keep_dot(b".\n"),
            (Dot::ThenCr(_), b'\n') => self.keep_dot(b".\r\n"),
            // Stuffing: the dot goes, what stands behind it is read again as content.
            (Dot::Read(_), _) => {
                self.unstuff();
                return (0, false);
            }
            (Dot::ThenCr(_), _) => {
                self.unstuff();
                self.content.read(b"\r");
                return (0, false);
            }
        }
        (1, false)
    }

    fn keep_dot(&mut self, line: &[u8]) {
        self.dot = Dot::None;
        self.content.read(line);
    }

    fn unstuff(&mut self) {
        self.dot = Dot::None;
        self.content.at = LineStart::Inside;
    }
}

impl Content {
    /// Nothing yet.
    #[must_use]
    pub const fn new(rules: ContentRules, share: Share) -> Self {
        Self { rules, share, octets: Vec::new(), size: 0, fault: None, at: LineStart::AfterCrLf, after_cr: false, line_octets: 0, lines: 0 }
    }

    /// Octets so far, whether kept or not.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Octets that may still follow.
    #[must_use]
    pub const fn room(&self) -> u64 {
        self.rules.message_octets_max.saturating_sub(self.size)
    }

    /// Is it already known that the message is refused, and why?
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        self.fault.map(|fault| fault.refusal(self.rules))
    }

    /// Takes octets of the message.
    pub fn read(&mut self, mut input: &[u8]) {
        if self.is_sound_line(input) {
            self.at = LineStart::AfterCrLf;
            self.line_octets = 0;
            self.lines += 1;
            self.keep(input);
            return;
        }
        while let Some(&first) = input.first() {
            if self.after_cr {
                self.after_cr = false;
                if first == b'\n' {
                    self.end_line(LineStart::AfterCrLf);
                    input = &input[1..];
                } else if self.mends() {
                    self.push(b" ");
                } else {
                    self.blame(Fault::BareCr { line: self.line() });
                    self.push(b"\r");
                }
                continue;
            }
            let text = memchr3(b'\r', b'\n', 0, input).unwrap_or(input.len());
            self.text(&input[..text]);
            match input.get(text) {
                None => return,
                Some(b'\r') => {
                    self.after_cr = true;
                    self.at = LineStart::Inside;
                }
                Some(b'\n') => self.bare_lf(),
                Some(_) if self.mends() => self.push(b" "),
                Some(_) => {
                    self.blame(Fault::Nul { line: self.line() });
                    self.push(&[0]);
                }
            }
            input = &input[text + 1..];
        }
    }

    /// The whole message. One that lacks its last CR LF (only `BDAT` can do that) is given it: every way onward would add it, and
    /// here it comes before the seal.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn finish(mut self) -> Result<Bytes, Refusal> {
        if std::mem::take(&mut self.after_cr) {
            if self.mends() {
                self.end_line(LineStart::AfterCrLf);
            } else {
                self.blame(Fault::BareCr { line: self.line() });
            }
        } else if self.at == LineStart::Inside {
            self.end_line(LineStart::AfterCrLf);
        }
        match self.refusal() {
            None => Ok(self.share.hold(self.octets)),
            Some(refusal) => Err(refusal),
        }
    }

    fn mends(&self) -> bool {
        self.rules.bare_lf == BareLf::Mend
    }

    /// As nearly all lines are: whole, from its first octet to its CR LF, with nothing in it to look at twice.
    fn is_sound_line(&self, input: &[u8]) -> bool {
        let Some(text) = input.strip_suffix(b"\r\n") else { return false };
        let is_fresh = self.at == LineStart::AfterCrLf && !self.after_cr && self.line_octets == 0;
        is_fresh && text.len() <= self.rules.line_octets_max && memchr3(b'\r', b'\n', 0, text).is_none()
    }

    fn text(&mut self, text: &[u8]) {
        self.line_octets += text.len();
        if self.line_octets > self.rules.line_octets_max {
            self.blame(Fault::LongLine { line: self.line() });
        }
        self.push(text);
    }

    fn bare_lf(&mut self) {
        if self.rules.bare_lf == BareLf::Reject {
            self.blame(Fault::BareLf { line: self.line() });
        }
        self.end_line(LineStart::AfterBareLf);
    }

    fn end_line(&mut self, next: LineStart) {
        self.push(b"\r\n");
        self.at = next;
        self.line_octets = 0;
        self.lines += 1;
    }

    fn push(&mut self, octets: &[u8]) {
        if octets.is_empty() {
            return;
        }
        self.at = LineStart::Inside;
        self.keep(octets);
    }

    fn keep(&mut self, octets: &[u8]) {
        self.size = self.size.saturating_add(octets.len() as u64);
        if self.size > self.rules.message_octets_max {
            self.blame(Fault::TooLarge);
        }
        if self.fault.is_none() && !self.share.grow(octets.len() as u64) {
            self.blame(Fault::NoRoom);
        }
        if self.fault.is_none() {
            self.octets.extend_from_slice(octets);
        }
    }

    /// The first fault counts and frees what was kept; the size outranks the rest.
    fn blame(&mut self, fault: Fault) {
        self.octets = Vec::new();
        self.share.give_back();
        if self.fault.is_none() || fault == Fault::TooLarge {
            self.fault = Some(fault);
        }
    }

    const fn line(&self) -> u64 {
        self.lines + 1
    }
}

impl Fault {
    fn refusal(self, rules: ContentRules) -> Refusal {
        let unfit = |text: String| Refusal::submitter(550, EnhancedCode::new(5, 6, 0), text);
        match self {
            Self::TooLarge => too_large(rules.message_octets_max),
            Self::NoRoom => no_room(),
            Self::BareCr { line } => unfit(format!("line {line} of the message holds a CR without LF; lines end in CR LF (RFC 5321 2.3.8)")),
            Self::BareLf { line } => unfit(format!("line {line} of the message ends in LF without CR; lines end in CR LF (RFC 5321 2.3.8)")),
            Self::Nul { line } => unfit(format!("line {line} of the message holds a NUL; encode binary data as base64")),
            Self::LongLine { line } => unfit(format!("line {line} of the message is longer than {} octets; wrap or encode it", rules.line_octets_max)),
        }
    }
}

/// The refusal of a message that is larger than allowed (RFC 1870 §6).
#[must_use]
pub fn too_large(message_octets_max: u64) -> Refusal {
    Refusal::submitter(552, EnhancedCode::new(5, 3, 4), format!("the message is larger than the {message_octets_max} octets allowed here"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: ContentRules = ContentRules { message_octets_max: 100, line_octets_max: 20, bare_lf: BareLf::Reject };

    /// The message in `input`, fed in pieces of `step`, and what remained unread.
    fn read(input: &[u8], step: usize, rules: ContentRules) -> Option<(Result<Bytes, String>, usize)> {
        let mut reader = DataReader::new(rules, Share::default());
        let mut total = 0;
        for piece in input.chunks(step) {
            let (taken, ended) = reader.read(piece);
            total += taken;
            if ended {
                return Some((reader.finish().map_err(|refusal| refusal.to_string()), input.len() - total));
            }
            assert_eq!(taken, piece.len());
        }
        None
    }

    #[track_caller]
    fn check(input: &[u8], rules: ContentRules, expect: Option<(Result<&[u8], &str>, usize)>) {
        for step in 1..=input.len() {
            let found = read(input, step, rules);
            match (&found, &expect) {
                (None, None) => {}
                (Some((Ok(message), left)), Some((Ok(wanted), wanted_left))) => assert_eq!((&message[..], left), (*wanted, wanted_left), "step {step}"),
                (Some((Err(text), left)), Some((Err(wanted), wanted_left))) => {
                    assert!(text.starts_with(wanted), "step {step}: {text}");
                    assert_eq!(left, wanted_left, "step {step}");
                }
                _ => panic!("step {step}: {found:?}, expected {expect:?}"),
            }
        }
    }

    #[test]
    fn dots_are_unstuffed_from_the_first_line_on() {
        check(b".\r\nQUIT\r\n", RULES, Some((Ok(b""), 6)));
        check(b"..\r\n.\r\n", RULES, Some((Ok(b".\r\n"), 0)));
        check(b"a\r\n..b\r\n.c\r\n...\r\n.\r\n", RULES, Some((Ok(b"a\r\n.b\r\nc\r\n..\r\n"), 0)));
        check(b"a.\r\n.\r\n", RULES, Some((Ok(b"a.\r\n"), 0)));
    }

    #[test]
    fn no_other_end_of_data_is_known() {
        for smuggled in
            [&b"\n.\n"[..], b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\r.\r\n", b"\r\n\0.\r\n", b"\r\r\n.\r\r\n", b"\r\n\r.\r\n", b"\n\r.\r\n"]
        {
            let input = [b"a", smuggled, b"MAIL FROM:<>\r\n"].concat();
            check(&input, RULES, None);
            check(&input, ContentRules { bare_lf: BareLf::Repair, ..RULES }, None);
            let ended = [&input[..], b".\r\nNOOP\r\n"].concat();
            check(&ended, RULES, Some((Err("550 5.6.0 line "), 6)));
        }
    }

    #[test]
    fn repair_reads_lf_as_a_line_end_but_never_as_the_messages() {
        let repair = ContentRules { bare_lf: BareLf::Repair, ..RULES };
        check(b"a\nb\n\n..c\n.\nd\n.\r\ne\r\n.\nf\n\r\n.\r\n", repair, Some((Ok(b"a\r\nb\r\n\r\n.c\r\n.\r\nd\r\n.\r\ne\r\n.\r\nf\r\n\r\n"), 0)));
        check(b"a\rb\n\r\n.\r\n", repair, Some((Err("550 5.6.0 line 1 of the message holds a CR"), 0)));
        check(b"a\n\0\n\r\n.\r\n", repair, Some((Err("550 5.6.0 line 2 of the message holds a NUL"), 0)));
    }

    #[test]
    fn what_is_mended_holds_nothing_that_could_end_a_message_elsewhere() {
        let mend = ContentRules { bare_lf: BareLf::Mend, ..RULES };
        check(b"a\rb\0c\nd\r\n.\r\n", mend, Some((Ok(b"a b c\r\nd\r\n"), 0)));
        check(b"\r\r\n\r\n.\r\n", mend, Some((Ok(b" \r\n\r\n"), 0)));
        for smuggled in [&b"\n.\n"[..], b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\r.\r\n", b"\r\n\0.\r\n", b"\r\r\n.\r\r\n", b"\n\r.\r\n"] {
            let input = [b"a", smuggled, b"MAIL FROM:<>\r\n.\r\nNOOP\r\n"].concat();
            let (message, left) = read(&input, 3, mend).unwrap();
            let message = message.unwrap();
            assert_eq!(left, 6, "{smuggled:?}");
            let bare = message.windows(2).any(|pair| pair[1] == b'\n' && pair[0] != b'\r' || pair[0] == b'\r' && pair[1] != b'\n');
            assert!(!bare && !message.contains(&0), "{message:?}");
        }
    }

    #[test]
    fn limits_hold_from_both_sides() {
        let line = |n: usize| [&vec![b'x'; n][..], b"\r\n.\r\nQ"].concat();
        check(&line(20), RULES, Some((Ok(b"xxxxxxxxxxxxxxxxxxxx\r\n"), 1)));
        check(&line(21), RULES, Some((Err("550 5.6.0 line 1 of the message is longer than 20"), 1)));
        let lines = |n: usize, rest: &[u8]| [&b"12345678\r\n".repeat(n)[..], rest, b".\r\n"].concat();
        check(&lines(10, b""), RULES, Some((Ok(&b"12345678\r\n".repeat(10)), 0)));
        check(&lines(10, b"\r\n"), RULES, Some((Err("552 5.3.4"), 0)));
    }

    #[test]
    fn what_is_refused_is_not_kept() {
        let mut reader = DataReader::new(RULES, Share::default());
        for _ in 0..1000 {
            reader.read(b"12345678\r\n");
        }
        assert_eq!(reader.content.octets.capacity(), 0);
        assert_eq!(reader.content.size(), 10_000);
    }
}
