//! The message on its way out: looked at before anything is sent, then streamed with its dots doubled (RFC 5321 §4.5.2) or cut into
//! chunks (RFC 3030). It is never copied as a whole.

/// What matters of a message for its transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Octets as `SIZE=` counts them (RFC 1870 §5): doubled dots and the final dot left out.
    pub octets: u64,
    /// An octet over 127 somewhere.
    pub eight_bit: bool,
    /// An octet over 127 in the header.
    pub eight_bit_header: bool,
}

/// What must never go on the wire (RFC 5321 §2.3.8, §4.5.3.1.6). A sound spool holds no such message: it is our own fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyFault {
    /// A CR that no LF follows.
    #[error("the message holds a CR without LF")]
    BareCr,
    /// An LF that no CR precedes.
    #[error("the message holds an LF without CR")]
    BareLf,
    /// A line of more than 998 octets.
    #[error("the message holds a line of more than {LINE_OCTETS_MAX} octets")]
    LineTooLong,
    /// The fields to put in front do not end in CR LF.
    #[error("the seal does not end in CR LF")]
    OpenSeal,
}

impl Shape {
    /// Looks at the seal and the message below it.
    ///
    /// # Errors
    /// It cannot be sent as it is.
    pub fn of(seal: &[u8], message: &[u8]) -> Result<Self, BodyFault> {
        Self::with_lines_of(seal, message, LINE_OCTETS_MAX)
    }

    /// As [`Self::of`], for a message that is passed on as a stranger wrote it: its lines may be of any length.
    ///
    /// # Errors
    /// It cannot be sent as it is.
    pub fn of_any(seal: &[u8], message: &[u8]) -> Result<Self, BodyFault> {
        Self::with_lines_of(seal, message, usize::MAX)
    }

    fn with_lines_of(seal: &[u8], message: &[u8], line_octets_max: usize) -> Result<Self, BodyFault> {
        if !seal.is_empty() && !seal.ends_with(b"\r\n") {
            return Err(BodyFault::OpenSeal);
        }
        check_lines(seal, LINE_OCTETS_MAX)?;
        check_lines(message, line_octets_max)?;
        let seal_is_ascii = seal.is_ascii();
        let header = memchr::memmem::find(message, b"\r\n\r\n").map_or(message, |end| &message[..end]);
        Ok(Self {
            octets: seal.len() as u64 + message.len() as u64,
            eight_bit: !(seal_is_ascii && message.is_ascii()),
            eight_bit_header: !(seal_is_ascii && header.is_ascii()),
        })
    }
}

fn check_lines(mut rest: &[u8], line_octets_max: usize) -> Result<(), BodyFault> {
    while !rest.is_empty() {
        let (line, ended) = match memchr::memchr(b'\n', rest) {
            Some(end) => (rest[..end].strip_suffix(b"\r").ok_or(BodyFault::BareLf)?, end + 1),
            None => (rest, rest.len()),
        };
        if memchr::memchr(b'\r', line).is_some() {
            return Err(BodyFault::BareCr);
        }
        if line.len() > line_octets_max {
            return Err(BodyFault::LineTooLong);
        }
        rest = &rest[ended..];
    }
    Ok(())
}

/// Seal and message as one run of octets, handed out in pieces.
#[derive(Debug)]
pub(super) struct Source<'a> {
    parts: [&'a [u8]; 2],
    at_line_start: bool,
}

impl<'a> Source<'a> {
    pub(super) fn new(seal: &'a [u8], message: &'a [u8]) -> Self {
        Self { parts: [seal, message], at_line_start: true }
    }

    pub(super) fn octets_left(&self) -> usize {
        self.parts.iter().map(|part| part.len()).sum()
    }

    /// Adds octets as they are until `out` holds `octets_max`.
    pub(super) fn copy(&mut self, out: &mut Vec<u8>, octets_max: usize) {
        for part in &mut self.parts {
            let room = octets_max.saturating_sub(out.len());
            let (now, later) = part.split_at(room.min(part.len()));
            out.extend_from_slice(now);
            *part = later;
        }
    }

    /// Adds octets with dots at the beginning of lines doubled, until `out` holds about `octets_max`.
    pub(super) fn stuff(&mut self, out: &mut Vec<u8>, octets_max: usize) {
        for part in &mut self.parts {
            while !part.is_empty() && out.len() < octets_max {
                if self.at_line_start && part[0] == b'.' {
                    out.push(b'.');
                }
                let window = &part[..part.len().min(octets_max - out.len() + 1)];
                let run = memchr::memmem::find(window, b"\n.").map_or(window.len(), |at| at + 1);
                out.extend_from_slice(&part[..run]);
                self.at_line_start = part[run - 1] == b'\n';
                *part = &part[run..];
            }
        }
    }

    /// What ends the stuffed octets: the dot on a line of its own.
    pub(super) const fn final_dot(&self) -> &'static [u8] {
        if self.at_line_start { b".\r\n" } else { b"\r\n.\r\n" }
    }
}

/// RFC 5321 §4.5.3.1.6: 1,000 with the line end.
const LINE_OCTETS_MAX: usize = 998;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stuffed(seal: &[u8], message: &[u8], octets_max: usize) -> Vec<u8> {
        let mut source = Source::new(seal, message);
        let mut all = Vec::new();
        while source.octets_left() > 0 {
            let mut piece = Vec::new();
            source.stuff(&mut piece, octets_max);
            assert!(!piece.is_empty() && piece.len() <= octets_max + 2, "{} of {octets_max}", piece.len());
            all.extend(piece);
        }
        all.extend_from_slice(source.final_dot());
        all
    }

    /// What a receiver makes of DATA: line by line, a leading dot taken away, until the dot alone.
    fn received(mut wire: &[u8]) -> Vec<u8> {
        let mut message = Vec::new();
        loop {
            let end = memchr::memmem::find(wire, b"\r\n").expect("a final dot") + 2;
            match &wire[..end] {
                b".\r\n" => {
                    assert_eq!(wire.len(), end, "something follows the final dot");
                    return message;
                }
                line => message.extend_from_slice(line.strip_prefix(b".").unwrap_or(line)),
            }
            wire = &wire[end..];
        }
    }

    #[test]
    fn dots_are_doubled_at_the_beginning_of_lines_only() {
        for (seal, message, expect) in [
            ("", "", ".\r\n"),
            ("", ".\r\n", "..\r\n.\r\n"),
            ("", "..\r\n.a\r\na.\r\n", "...\r\n..a\r\na.\r\n.\r\n"),
            ("A: b\r\n", ".c\r\n", "A: b\r\n..c\r\n.\r\n"),
            ("", "no end", "no end\r\n.\r\n"),
            ("", "x\r\n.", "x\r\n..\r\n.\r\n"),
        ] {
            for octets_max in [1, 2, 3, 4, 5, 64] {
                assert_eq!(stuffed(seal.as_bytes(), message.as_bytes(), octets_max), expect.as_bytes(), "{message:?} by {octets_max}");
            }
        }
    }

    #[test]
    fn what_must_not_be_sent_is_found_first() {
        for (message, expect) in [
            (&b"a\r\n.\r\nb"[..], Ok(())),
            (b"a\nb", Err(BodyFault::BareLf)),
            (b"\n", Err(BodyFault::BareLf)),
            (b"a\rb\r\n", Err(BodyFault::BareCr)),
            (b"a\r", Err(BodyFault::BareCr)),
            (b"a\r\r\n", Err(BodyFault::BareCr)),
            (b"a\r\n\r", Err(BodyFault::BareCr)),
        ] {
            assert_eq!(Shape::of(b"", message).map(|_| ()), expect, "{message:?}");
        }
        assert_eq!(Shape::of(b"A: b", b"\r\n"), Err(BodyFault::OpenSeal));
        let line = |octets| [vec![b'x'; octets], b"\r\n".to_vec()].concat();
        assert!(Shape::of(b"", &line(LINE_OCTETS_MAX)).is_ok());
        assert_eq!(Shape::of(b"", &line(LINE_OCTETS_MAX + 1)), Err(BodyFault::LineTooLong));
        assert!(Shape::of_any(b"", &line(LINE_OCTETS_MAX + 1)).is_ok());
        assert_eq!(Shape::of_any(b"", b"a\nb"), Err(BodyFault::BareLf), "no line end but CR LF, whoever wrote it");
    }

    #[test]
    fn eight_bit_is_known_by_place() {
        for (seal, message, eight_bit, eight_bit_header) in [
            ("A: b\r\n", "S: x\r\n\r\ny\r\n", false, false),
            ("A: b\r\n", "S: x\r\n\r\nü\r\n", true, false),
            ("A: b\r\n", "S: ü\r\n\r\ny\r\n", true, true),
            ("A: ü\r\n", "S: x\r\n\r\ny\r\n", true, true),
        ] {
            let octets = (seal.len() + message.len()) as u64;
            assert_eq!(Shape::of(seal.as_bytes(), message.as_bytes()), Ok(Shape { octets, eight_bit, eight_bit_header }), "{message:?}");
        }
    }

    proptest! {
        #[test]
        fn stuffing_is_undone_by_any_receiver(
            seal in proptest::collection::vec("[.a]{0,3}", 0..4), lines in proptest::collection::vec("[.ab]{0,4}", 0..20), octets_max in 1_usize..40
        ) {
            let whole = |lines: &[String]| lines.iter().flat_map(|line| [line.as_bytes(), b"\r\n"].concat()).collect::<Vec<u8>>();
            let (seal, message) = (whole(&seal), whole(&lines));
            prop_assert_eq!(received(&stuffed(&seal, &message, octets_max)), [seal, message].concat());
        }

        #[test]
        fn any_octets_are_judged_without_panic(message in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'.'), any::<u8>()], 0..60)) {
            let sound = Shape::of(b"", &message).is_ok();
            let text: Vec<u8> = message.iter().copied().filter(|b| !matches!(b, b'\r' | b'\n')).collect();
            let pairs = memchr::memmem::find_iter(&message, b"\r\n").count();
            prop_assert_eq!(sound, text.len() + 2 * pairs == message.len());
        }
    }
}
