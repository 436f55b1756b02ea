//! Canonicalization: the octets that are hashed (RFC 6376 §3.4). Works on slices, copies no body.
//!
//! White space is what RFC 6376 §2.8 calls WSP, space and tab, and a line ends in CR LF; any other octet is itself.

use crate::mail::Field;
use aws_lc_rs::digest;

/// The two ways to forgive what transport does to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Canonicalization {
    /// Almost nothing is forgiven (RFC 6376 §3.4.1, §3.4.3).
    Simple,
    /// White space and the case of field names may change (RFC 6376 §3.4.2, §3.4.4). What we sign with.
    Relaxed,
}

/// SHA-256 of a canonical body: made once, used by every signature of a seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyHash([u8; 32]);

impl BodyHash {
    /// Hashes a whole body.
    #[must_use]
    pub fn of(body: &[u8], how: Canonicalization) -> Self {
        let mut hasher = Hasher { context: digest::Context::new(&digest::SHA256), gathered: Vec::with_capacity(GATHERED_OCTETS) };
        how.body(body, &mut |octets| hasher.take(octets));
        Self(sha256_octets(&hasher.finish()))
    }

    /// Its octets, as `bh=` carries them in base64.
    #[must_use]
    pub const fn octets(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Hashes what comes in pieces: to hash a few octets at a time costs more than to gather them.
struct Hasher {
    context: digest::Context,
    gathered: Vec<u8>,
}

impl Hasher {
    fn take(&mut self, octets: &[u8]) {
        if self.gathered.len() + octets.len() > GATHERED_OCTETS {
            self.context.update(&self.gathered);
            self.gathered.clear();
        }
        if octets.len() >= CLEAN_OCTETS {
            self.context.update(&self.gathered);
            self.gathered.clear();
            self.context.update(octets);
        } else {
            self.gathered.extend_from_slice(octets);
        }
    }

    fn finish(mut self) -> digest::Digest {
        self.context.update(&self.gathered);
        self.context.finish()
    }
}

/// SHA-256 of octets in memory.
#[must_use]
pub fn sha256(octets: &[u8]) -> [u8; 32] {
    sha256_octets(&digest::digest(&digest::SHA256, octets))
}

fn sha256_octets(digest: &digest::Digest) -> [u8; 32] {
    let mut octets = [0; 32];
    octets.copy_from_slice(digest.as_ref()); // a SHA-256 digest has 32 octets
    octets
}

impl Canonicalization {
    /// Feeds the canonical form of a body to `sink`, in order and in pieces.
    pub fn body(self, body: &[u8], sink: &mut impl FnMut(&[u8])) {
        match self {
            Self::Simple => {
                let text = without_end(body, false);
                if !text.is_empty() {
                    sink(text);
                }
                sink(CRLF); // RFC 6376 §3.4.3: an empty body is one CR LF, too
            }
            Self::Relaxed => {
                let text = without_end(body, true);
                if !text.is_empty() {
                    relaxed_lines(text, sink);
                    sink(CRLF); // RFC 6376 §3.4.4: an empty body stays empty
                }
            }
        }
    }

    /// Appends the canonical form of a field, its CR LF included.
    pub fn field(self, field: &Field<'_>, out: &mut Vec<u8>) {
        self.field_parts(field.name, field.value, out);
    }

    /// Appends the canonical form of a field given by name and by what follows its colon.
    pub fn field_parts(self, name: &str, value: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Simple => {
                out.extend_from_slice(name.as_bytes());
                out.push(b':');
                out.extend_from_slice(value);
            }
            Self::Relaxed => {
                out.extend(name.bytes().map(|b| b.to_ascii_lowercase()));
                out.push(b':');
                relaxed_value(value, out);
                out.extend_from_slice(CRLF);
            }
        }
    }

    /// As `c=` names it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Simple => "simple",
            Self::Relaxed => "relaxed",
        }
    }
}

/// The fields that `names` selects, in its order: each further mention of a name takes the next field of that name from the bottom
/// up, and none when they are used up (RFC 6376 §5.4.2).
pub fn select<'a>(fields: &[Field<'a>], names: &[&str]) -> Vec<Field<'a>> {
    let mut left: Vec<(&str, Vec<Field<'a>>)> = Vec::new(); // of each name what is not yet taken, the next one last
    let mut chosen = Vec::with_capacity(names.len());
    for name in names {
        let slot = left.iter().position(|(known, _)| known.eq_ignore_ascii_case(name)).unwrap_or_else(|| {
            left.push((name, fields.iter().filter(|field| field.name.eq_ignore_ascii_case(name)).copied().collect()));
            left.len() - 1
        });
        chosen.extend(left[slot].1.pop());
    }
    chosen
}

/// A body without the line ends that close it, and, relaxed, the white space before them.
fn without_end(body: &[u8], relaxed: bool) -> &[u8] {
    let mut text = body;
    loop {
        if relaxed {
            text = trim_wsp_end(text);
        }
        match text.strip_suffix(CRLF) {
            Some(shorter) => text = shorter,
            None => return text,
        }
    }
}

/// The lines of a text that does not end in white space. Most stretches of most texts are canonical as they stand: these are looked for
/// many octets at a time and passed on whole, the others line by line.
fn relaxed_lines(text: &[u8], sink: &mut impl FnMut(&[u8])) {
    let (mut clean_from, mut at) = (0, 0);
    while at < text.len() {
        let end = text.len().min(at + CLEAN_OCTETS);
        if is_clean(&text[at..text.len().min(end + 1)]) {
            at = end;
            continue;
        }
        if clean_from < at {
            sink(&text[clean_from..at]);
        }
        // What was passed on ends in no white space that goes on here, so it may end within a line.
        let end = memchr::memmem::find(&text[end - 1..], CRLF).map_or(text.len(), |found| end - 1 + found + 2);
        let mut rest = &text[at..end];
        while !rest.is_empty() {
            let (line, after) = rest.split_at(memchr::memchr(b'\n', rest).map_or(rest.len(), |lf| lf + 1));
            match line.strip_suffix(CRLF) {
                Some(line) => {
                    squeeze(trim_wsp_end(line), sink);
                    sink(CRLF);
                }
                None => squeeze(line, sink), // up to a bare LF, or the last
            }
            rest = after;
        }
        (clean_from, at) = (end, end);
    }
    if clean_from < text.len() {
        sink(&text[clean_from..]);
    }
}

/// Whether no white space in a stretch of text is to be changed; its last octet is looked at only as what follows.
fn is_clean(stretch: &[u8]) -> bool {
    // Without a branch in the loop, so that the compiler looks at many octets at once.
    let followed = stretch.iter().zip(stretch.get(1..).unwrap_or_default());
    let spaces = followed.fold(0u8, |seen, (&octet, &next)| seen | (u8::from(octet == b' ') & (u8::from(next == b' ') | u8::from(next == b'\r'))));
    let tabs = stretch.iter().fold(0u8, |seen, &octet| seen | u8::from(octet == b'\t'));
    spaces | tabs == 0
}

/// Every run of white space as one space. Octet by octet and without a branch for each: most lines of text have a space every few octets.
fn squeeze(text: &[u8], sink: &mut impl FnMut(&[u8])) {
    if is_clean(text) {
        return sink(text);
    }
    let mut after_wsp = 0;
    for piece in text.chunks(SQUEEZED_OCTETS) {
        let (mut squeezed, mut count) = ([0; SQUEEZED_OCTETS], 0);
        for &octet in piece {
            let wsp = u8::from(octet == b' ') | u8::from(octet == b'\t');
            // A space in its place by arithmetic: a branch here is one that the processor cannot foresee.
            squeezed[count % SQUEEZED_OCTETS] = octet ^ ((octet ^ b' ') & 0u8.wrapping_sub(wsp));
            count += usize::from(1 - (wsp & after_wsp));
            after_wsp = wsp;
        }
        sink(&squeezed[..count]);
    }
}

/// RFC 6376 §3.4.2: unfolded, runs of white space as one space, none at either end.
fn relaxed_value(value: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    let mut gap = false;
    for (at, &octet) in value.iter().enumerate() {
        let line_end = (octet == b'\r' && value.get(at + 1) == Some(&b'\n')) || (octet == b'\n' && at > 0 && value[at - 1] == b'\r');
        if line_end {
            continue; // the white space that a fold leaves stands after it
        }
        if is_wsp(octet) {
            gap = true;
            continue;
        }
        if gap && out.len() > start {
            out.push(b' ');
        }
        gap = false;
        out.push(octet);
    }
}

fn trim_wsp_end(line: &[u8]) -> &[u8] {
    let end = line.iter().rposition(|b| !is_wsp(*b)).map_or(0, |last| last + 1);
    &line[..end]
}

const fn is_wsp(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t')
}

const CRLF: &[u8] = b"\r\n";
/// Octets of a canonical body that are gathered before they are hashed.
const GATHERED_OCTETS: usize = 8 * 1024;
/// Octets that are looked at together for white space to be changed.
const CLEAN_OCTETS: usize = 512;
/// Octets of a line that are squeezed at once.
const SQUEEZED_OCTETS: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::Headers;
    use proptest::prelude::*;

    /// RFC 6376 §3.4.4 word for word: first all of (a), then all of (b).
    fn relaxed_by_the_letter(text: &[u8]) -> Vec<u8> {
        let mut lines: Vec<Vec<u8>> = vec![Vec::new()];
        let mut rest = text;
        while let Some((&octet, after)) = rest.split_first() {
            if let Some(after) = rest.strip_prefix(CRLF) {
                lines.push(Vec::new());
                rest = after;
                continue;
            }
            lines.last_mut().unwrap().push(octet);
            rest = after;
        }
        for line in &mut lines {
            while line.last().copied().is_some_and(is_wsp) {
                line.pop();
            }
            line.iter_mut().filter(|octet| is_wsp(**octet)).for_each(|octet| *octet = b' ');
            line.dedup_by(|next, before| *next == b' ' && *before == b' ');
        }
        while lines.last().is_some_and(Vec::is_empty) {
            lines.pop();
        }
        lines.iter().flat_map(|line| [line.as_slice(), CRLF].concat()).collect()
    }

    proptest! {
        /// Pieces long enough that a stretch is looked at whole, and that its borders fall everywhere.
        #[test]
        fn whole_stretches_come_to_what_the_letter_says(pieces in prop::collection::vec("[ab]{0,300}|[ \\t]{0,3}|\r\n|\r|\n| \r\n|a b", 0..40)) {
            let text = pieces.concat().into_bytes();
            prop_assert_eq!(body(Canonicalization::Relaxed, &text), relaxed_by_the_letter(&text));
        }
    }

    fn body(how: Canonicalization, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        how.body(text, &mut |octets| out.extend_from_slice(octets));
        out
    }

    /// RFC 6376 §3.4.5, and the corner cases its prose names.
    #[test]
    fn bodies_as_the_rfc_has_them() {
        use Canonicalization::{Relaxed, Simple};
        for (text, relaxed, simple) in [
            (&b" C \r\nD \t E\r\n\r\n\r\n"[..], &b" C\r\nD E\r\n"[..], &b" C \r\nD \t E\r\n"[..]),
            (b"", b"", b"\r\n"),
            (b"\r\n\r\n", b"", b"\r\n"),
            (b"a", b"a\r\n", b"a\r\n"),
            (b" \t\r\n \r\n", b"", b" \t\r\n \r\n"),
            (b"a\r\n\r\n \r\nb  c", b"a\r\n\r\n\r\nb c\r\n", b"a\r\n\r\n \r\nb  c\r\n"),
            (b"\ta\t\r\n", b" a\r\n", b"\ta\t\r\n"),
            (b"caf\xc3\xa9 \x0c\r\n", b"caf\xc3\xa9 \x0c\r\n", b"caf\xc3\xa9 \x0c\r\n"),
        ] {
            assert_eq!(body(Relaxed, text), relaxed, "{text:?}");
            assert_eq!(body(Simple, text), simple, "{text:?}");
        }
    }

    #[test]
    fn fields_as_the_rfc_has_them() {
        let headers = Headers::parse(b"A: X\r\nB: Y\t\r\n\tZ  \r\nEmpty:\r\n").unwrap();
        let (mut relaxed, mut simple) = (Vec::new(), Vec::new());
        for field in headers.iter() {
            Canonicalization::Relaxed.field(&field, &mut relaxed);
            Canonicalization::Simple.field(&field, &mut simple);
        }
        assert_eq!(relaxed, b"a:X\r\nb:Y Z\r\nempty:\r\n");
        assert_eq!(simple, b"A: X\r\nB: Y\t\r\n\tZ  \r\nEmpty:\r\n");
    }

    #[test]
    fn repeated_names_are_taken_from_the_bottom_up() {
        let headers = Headers::parse(b"X: 1\r\nA: a\r\nX: 2\r\n").unwrap();
        let fields: Vec<_> = headers.iter().collect();
        let values = |names: &[&str]| select(&fields, names).iter().map(Field::unfolded).collect::<Vec<_>>();
        assert_eq!(values(&["x", "a", "X", "x"]), ["2", "a", "1"]);
        assert_eq!(values(&["b"]), Vec::<String>::new());
    }
}
