//! Command lines out of a stream of octets. Only CR LF ends a line (RFC 5321 §2.3.8); every line is bounded (§4.5.3.1.4).

use memchr::memchr;

/// What is done with a line ended by LF alone, in commands and in messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BareLf {
    /// It is refused. A command that has one ends the connection: what follows can no longer be told apart.
    #[default]
    Reject,
    /// It is read as CR LF, for old applications in the house; never as a part of the end of a message.
    Repair,
    /// In messages as [`Self::Repair`], and what else must not go on becomes a space (a CR without LF, a NUL): for mail of strangers that
    /// is wanted whatever it looks like. In commands as [`Self::Reject`].
    Mend,
}

/// Why a line is no line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineFault {
    /// More octets than allowed, the end of the line included.
    TooLong,
    /// It ends in LF alone.
    BareLf,
    /// It holds a CR that no LF follows.
    BareCr,
}

/// Gathers octets until a line is whole; holds no more than its limit.
#[derive(Debug)]
pub struct LineReader {
    octets: Vec<u8>,
    octets_max: usize,
    overlong: bool,
    ends_in_cr: bool,
    bare_lf: BareLf,
}

impl LineReader {
    /// `octets_max` counts the line end.
    #[must_use]
    pub const fn new(octets_max: usize, bare_lf: BareLf) -> Self {
        Self { octets: Vec::new(), octets_max, overlong: false, ends_in_cr: false, bare_lf }
    }

    /// Is the reader between two lines?
    #[must_use]
    pub const fn is_at_start(&self) -> bool {
        self.octets.is_empty() && !self.overlong
    }

    /// Takes octets up to the first line end: how many, and the line without its end once it is whole.
    pub fn read(&mut self, input: &[u8]) -> (usize, Option<Result<Vec<u8>, LineFault>>) {
        let end = memchr(b'\n', input);
        let piece = &input[..end.map_or(input.len(), |at| at + 1)];
        let before_lf = piece.len() - usize::from(end.is_some());
        let ended_by_cr_lf = if before_lf > 0 { piece[before_lf - 1] == b'\r' } else { self.ends_in_cr };
        self.keep(piece);
        (piece.len(), end.map(|_| self.finish(ended_by_cr_lf)))
    }

    fn keep(&mut self, piece: &[u8]) {
        self.ends_in_cr = piece.last().map_or(self.ends_in_cr, |last| *last == b'\r');
        let room = self.octets_max - self.octets.len();
        self.overlong |= piece.len() > room;
        self.octets.extend_from_slice(&piece[..piece.len().min(room)]);
    }

    fn finish(&mut self, ended_by_cr_lf: bool) -> Result<Vec<u8>, LineFault> {
        let mut line = std::mem::take(&mut self.octets);
        let overlong = std::mem::take(&mut self.overlong);
        self.ends_in_cr = false;
        if !ended_by_cr_lf && self.bare_lf != BareLf::Repair {
            return Err(LineFault::BareLf);
        }
        if overlong {
            return Err(LineFault::TooLong);
        }
        line.truncate(line.len() - if ended_by_cr_lf { 2 } else { 1 });
        if memchr(b'\r', &line).is_some() { Err(LineFault::BareCr) } else { Ok(line) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All lines of `input` fed in pieces of `step` octets.
    fn lines(input: &[u8], step: usize, octets_max: usize, bare_lf: BareLf) -> Vec<Result<Vec<u8>, LineFault>> {
        let mut reader = LineReader::new(octets_max, bare_lf);
        let mut found = Vec::new();
        for mut piece in input.chunks(step) {
            while !piece.is_empty() {
                let (taken, line) = reader.read(piece);
                piece = &piece[taken..];
                found.extend(line);
            }
        }
        found
    }

    #[test]
    fn only_cr_lf_ends_a_line_however_it_arrives() {
        let input = b"A\r\n\r\nB\rC\r\nD\nE\r\r\nF\r\n";
        for step in 1..=input.len() {
            let found = lines(input, step, 10, BareLf::Reject);
            let expect = [Ok(b"A".to_vec()), Ok(vec![]), Err(LineFault::BareCr), Err(LineFault::BareLf), Err(LineFault::BareCr), Ok(b"F".to_vec())];
            assert_eq!(found, expect, "step {step}");
            assert_eq!(lines(input, step, 10, BareLf::Repair)[3], Ok(b"D".to_vec()));
        }
    }

    #[test]
    fn a_line_at_its_limit_passes_and_one_above_does_not() {
        for step in 1..=13 {
            assert_eq!(lines(b"12345678\r\nA\r\n", step, 10, BareLf::Reject), [Ok(b"12345678".to_vec()), Ok(b"A".to_vec())]);
            assert_eq!(lines(b"123456789\r\nA\r\n", step, 10, BareLf::Reject), [Err(LineFault::TooLong), Ok(b"A".to_vec())]);
        }
    }

    #[test]
    fn an_endless_line_takes_no_memory() {
        let mut reader = LineReader::new(10, BareLf::Reject);
        for _ in 0..1000 {
            assert_eq!(reader.read(&[b'a'; 100]), (100, None));
        }
        assert!(reader.octets.capacity() < 100 && !reader.is_at_start());
    }
}
