//! A header block cut into its fields, octet for octet (RFC 5322 §2.2). Nothing is decoded and nothing is lost.

use std::ops::Range;

/// The fields of a message's header, in order, as slices of the message.
#[derive(Debug, Clone)]
pub struct Headers<'a> {
    octets: &'a [u8],
    fields: Vec<Span>,
    body_start: usize,
}

#[derive(Debug, Clone)]
struct Span {
    whole: Range<usize>,
    colon: usize,
}

/// One header field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// The name as written, ASCII, without the colon.
    pub name: &'a str,
    /// Everything after the colon, folding included, with the closing CR LF.
    pub value: &'a [u8],
    /// The whole field, from its name to its CR LF.
    pub raw: &'a [u8],
}

/// Why a block is not a header (RFC 5322 §2.2, §3.6.8).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderFault {
    /// A line that begins no field and continues none.
    #[error("header line {line} has no colon: \"{text}\"; expected \"Name: value\"")]
    NoColon {
        /// Counted from 1.
        line: usize,
        /// Its beginning.
        text: String,
    },
    /// A field name with characters outside printable ASCII, or white space before the colon.
    #[error("header line {line} has a field name that is not allowed: \"{text}\"")]
    BadName {
        /// Counted from 1.
        line: usize,
        /// Its beginning.
        text: String,
    },
    /// The first line is a continuation.
    #[error("the header begins with a continuation line")]
    LeadingFold,
    /// A line end that is not CR LF.
    #[error("header line {line} does not end in CR LF")]
    BareLineEnd {
        /// Counted from 1.
        line: usize,
    },
}

impl<'a> Headers<'a> {
    /// Cuts the header block off `octets`: fields up to the first empty line, or to the end when there is none.
    ///
    /// # Errors
    /// A line that is no field, in the place it has.
    pub fn parse(octets: &'a [u8]) -> Result<Self, HeaderFault> {
        let mut fields: Vec<Span> = Vec::new();
        let (mut at, mut line) = (0, 0);
        let mut body_start = octets.len();
        while at < octets.len() {
            line += 1;
            let end = memchr::memchr(b'\n', &octets[at..]).map_or(octets.len(), |lf| at + lf + 1);
            let text = octets[at..end].strip_suffix(b"\r\n").filter(|text| !text.contains(&b'\r')).ok_or(HeaderFault::BareLineEnd { line })?;
            if text.is_empty() {
                body_start = end;
                break;
            }
            if matches!(text[0], b' ' | b'\t') {
                fields.last_mut().ok_or(HeaderFault::LeadingFold)?.whole.end = end;
            } else {
                let shown = || String::from_utf8_lossy(&text[..text.len().min(60)]).into_owned();
                let colon = memchr::memchr(b':', text).ok_or_else(|| HeaderFault::NoColon { line, text: shown() })?;
                if colon == 0 || !text[..colon].iter().all(|b| (b'!'..=b'~').contains(b)) {
                    return Err(HeaderFault::BadName { line, text: shown() });
                }
                fields.push(Span { whole: at..end, colon: at + colon });
            }
            at = end;
        }
        Ok(Self { octets, fields, body_start })
    }

    /// As [`Self::parse`], for a header that a stranger wrote: lines that are no field, and continue none, are left out.
    #[must_use]
    pub fn parse_any(octets: &'a [u8]) -> Self {
        let mut fields: Vec<Span> = Vec::new();
        let (mut at, mut body_start, mut in_field) = (0, octets.len(), false);
        while at < octets.len() {
            let end = memchr::memchr(b'\n', &octets[at..]).map_or(octets.len(), |lf| at + lf + 1);
            let line = &octets[at..end];
            if line == b"\r\n" || line == b"\n" {
                body_start = end;
                break;
            }
            let colon = memchr::memchr(b':', line).filter(|colon| *colon > 0 && line[..*colon].iter().all(|b| (b'!'..=b'~').contains(b)));
            match (matches!(line[0], b' ' | b'\t'), colon) {
                (true, _) if in_field => {
                    if let Some(last) = fields.last_mut() {
                        last.whole.end = end;
                    }
                }
                (false, Some(colon)) => {
                    in_field = true;
                    fields.push(Span { whole: at..end, colon: at + colon });
                }
                (true | false, _) => in_field = false,
            }
            at = end;
        }
        Self { octets, fields, body_start }
    }

    /// Where the body begins in the octets given: after the empty line, or at the end.
    #[must_use]
    pub const fn body_start(&self) -> usize {
        self.body_start
    }

    /// The fields, top to bottom.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Field<'a>> + ExactSizeIterator + '_ {
        self.fields.iter().map(|span| self.field(span))
    }

    /// The fields of this name, top to bottom; case does not matter.
    pub fn named<'s>(&'s self, name: &'s str) -> impl DoubleEndedIterator<Item = Field<'a>> + 's {
        self.iter().filter(move |field| field.name.eq_ignore_ascii_case(name))
    }

    /// How many fields there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    fn field(&self, span: &Span) -> Field<'a> {
        let name = std::str::from_utf8(&self.octets[span.whole.start..span.colon]).unwrap_or_default(); // checked to be ASCII by parse
        Field { name, value: &self.octets[span.colon + 1..span.whole.end], raw: &self.octets[span.whole.clone()] }
    }
}

impl Field<'_> {
    /// The value unfolded (RFC 5322 §2.2.3: each CR LF before white space goes away) and trimmed, octets that are not UTF-8 replaced.
    #[must_use]
    pub fn unfolded(&self) -> String {
        String::from_utf8_lossy(self.value).replace("\r\n", "").trim().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_fields_where_they_begin() {
        let octets = b"From: a\r\nSubject: one\r\n two\r\nX:\r\n\r\nbody\r\n";
        let headers = Headers::parse(octets).unwrap();
        let fields: Vec<_> = headers.iter().map(|f| (f.name, f.unfolded())).collect();
        assert_eq!(fields, [("From", "a".into()), ("Subject", "one two".into()), ("X", String::new())]);
        assert_eq!(&octets[headers.body_start()..], b"body\r\n");
        assert_eq!(headers.named("SUBJECT").next().unwrap().raw, b"Subject: one\r\n two\r\n");
        assert_eq!(Headers::parse(b"A: b\r\n").unwrap().body_start(), 6);
    }

    #[test]
    fn of_a_stranger_s_header_what_is_a_field_is_read() {
        let octets = b" fold\r\nA: 1\r\n 2\r\nno field\r\n of it\r\nB : 3\r\nC: 4\nD: 5\r\n\r\nE: 6\r\n";
        let headers = Headers::parse_any(octets);
        let fields: Vec<_> = headers.iter().map(|field| (field.name, field.unfolded())).collect();
        assert_eq!(fields, [("A", "1 2".into()), ("C", "4".into()), ("D", "5".into())]);
        assert_eq!(&octets[headers.body_start()..], b"E: 6\r\n");
        for good in [&b"From: a\r\nSubject: one\r\n two\r\nX:\r\n\r\nbody\r\n"[..], b"", b"\r\n", b"A: b\r\n"] {
            let (strict, any) = (Headers::parse(good).unwrap(), Headers::parse_any(good));
            assert!(strict.iter().eq(any.iter()) && strict.body_start() == any.body_start(), "{good:?}");
        }
    }

    #[test]
    fn names_the_line_at_fault() {
        for (octets, fault) in [
            (&b"A: b\r\nnonsense\r\n\r\n"[..], HeaderFault::NoColon { line: 2, text: "nonsense".into() }),
            (b"Subject : x\r\n", HeaderFault::BadName { line: 1, text: "Subject : x".into() }),
            (b" x\r\n", HeaderFault::LeadingFold),
            (b"A: b\n", HeaderFault::BareLineEnd { line: 1 }),
            (b"A: b\rc\r\n", HeaderFault::BareLineEnd { line: 1 }),
            (b"A: b", HeaderFault::BareLineEnd { line: 1 }),
        ] {
            assert_eq!(Headers::parse(octets).unwrap_err(), fault);
        }
    }
}
