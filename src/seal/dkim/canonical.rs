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
        let mut context = digest::Context::new(&digest::SHA256);
        how.body(body, &mut |octets| context.update(octets));
        Self(sha256_octets(&context.finish()))
    }

    /// Its octets, as `bh=` carries them in base64.
    #[must_use]
    pub const fn octets(&self) -> &[u8; 32] {
        &self.0
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
        let mut empty_lines = 0usize;
        let mut wrote = false;
        for line in lines(body) {
            let text = match self {
                Self::Simple => line,
                Self::Relaxed => trim_wsp_end(line),
            };
            if text.is_empty() {
                empty_lines += 1; // written only when something follows
                continue;
            }
            for _ in 0..empty_lines {
                sink(CRLF);
            }
            empty_lines = 0;
            match self {
                Self::Simple => sink(text),
                Self::Relaxed => squeeze(text, sink),
            }
            sink(CRLF);
            wrote = true;
        }
        if self == Self::Simple && !wrote {
            sink(CRLF); // RFC 6376 §3.4.3: an empty body is one CR LF; relaxed keeps it empty
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

/// The lines of a body without their CR LF; a last line need not have one.
fn lines(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = body;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = memchr::memmem::find(rest, CRLF);
        let line = &rest[..end.unwrap_or(rest.len())];
        rest = end.map_or(&[][..], |end| &rest[end + 2..]);
        Some(line)
    })
}

/// Every run of white space as one space, in as few pieces as possible.
fn squeeze(text: &[u8], sink: &mut impl FnMut(&[u8])) {
    let mut from = 0; // what is not yet fed
    let mut at = 0;
    while let Some(wsp) = memchr::memchr2(b' ', b'\t', &text[at..]).map(|found| at + found) {
        let end = text[wsp..].iter().position(|b| !is_wsp(*b)).map_or(text.len(), |run| wsp + run);
        if &text[wsp..end] != b" " {
            sink(&text[from..wsp]);
            sink(b" ");
            from = end;
        }
        at = end;
    }
    sink(&text[from..]);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::Headers;

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
