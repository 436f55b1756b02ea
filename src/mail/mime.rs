//! The structure of a MIME message as spans of its octets (RFC 2045 §5, RFC 2046 §5): where each entity's header and body lie.
//!
//! Nothing is decoded and nothing is judged here. One pass over the octets, one table look-up for each line that begins with `--`,
//! so the cost is linear in the message whatever its boundaries look like. Where nested multiparts disagree, the outer one is
//! right: its boundary ends everything inside (RFC 2046 §5.1.2).

use super::Headers;
use std::collections::BTreeMap;
use std::ops::Range;

/// The entities of a message, in the order they begin. The first is the message itself.
#[derive(Debug, Clone)]
pub struct Structure {
    parts: Vec<Part>,
}

/// One entity: the message, a body part, or the message inside a message/rfc822 part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The entity around it, as an index; `None` for the message itself.
    pub parent: Option<usize>,
    /// How many entities are around it.
    pub depth: usize,
    /// Its header fields and the empty line after them.
    pub header: Range<usize>,
    /// Everything after the empty line; the line end before a delimiter belongs to the delimiter.
    pub body: Range<usize>,
    /// What the body is made of.
    pub kind: Kind,
    /// `type/subtype` in lower case; the default where the header names none (RFC 2045 §5.2, RFC 2046 §5.1.5).
    pub media: String,
    /// Whether the header has a Content-Type field.
    pub is_typed: bool,
    /// What Content-Transfer-Encoding says (RFC 2045 §6).
    pub encoding: TransferEncoding,
}

/// What the body of a [`Part`] is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Content.
    Leaf,
    /// Body parts, listed in the structure with this one as parent.
    Multipart {
        /// From the body's beginning to the first delimiter line.
        preamble: Range<usize>,
        /// What follows the close delimiter line; empty where that is missing.
        epilogue: Range<usize>,
    },
    /// A message, the next entity of the structure.
    Message,
    /// Its header does not parse or says two things at once, or it is a multipart without a usable boundary: not to be relied on.
    Unclear,
}

/// How content is encoded for transfer (RFC 2045 §6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransferEncoding {
    /// `7bit`, `8bit`, `binary`, or nothing said.
    Identity,
    /// `quoted-printable`.
    QuotedPrintable,
    /// `base64`.
    Base64,
    /// Something else; nobody can tell what the content is (RFC 2045 §6.4).
    Unknown,
}

/// How far a message is taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Entities around an entity; at most [`DEPTH_CEILING`] whatever is asked.
    pub depth_max: usize,
    /// Entities in all.
    pub parts_max: usize,
}

/// Why a message was not taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MimeFault {
    /// Entities inside entities, more than [`Bounds::depth_max`] around one.
    #[error("its MIME parts are nested more than {0} deep")]
    TooDeep(usize),
    /// More entities than [`Bounds::parts_max`].
    #[error("it has more than {0} MIME parts")]
    TooManyParts(usize),
}

/// A Content-Type field, as far as structure depends on it (RFC 2045 §5.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentType {
    /// `type/subtype`, lower case.
    pub media: String,
    /// The `boundary` parameter; `None` where it is missing, empty, given twice or split up (RFC 2231 §3).
    pub boundary: Option<Vec<u8>>,
}

impl Structure {
    /// Takes a message with CR LF line ends apart.
    ///
    /// # Errors
    /// It exceeds `bounds`. Anything else has some structure.
    pub fn parse(octets: &[u8], bounds: Bounds) -> Result<Self, MimeFault> {
        let mut walk = Walk { octets, bounds, parts: Vec::new(), open: Vec::new(), boundaries: BTreeMap::new() };
        walk.begin(0, TEXT)?;
        let mut at = 0;
        while at < octets.len() {
            let next = memchr::memchr(b'\n', &octets[at..]).map_or(octets.len(), |lf| at + lf + 1);
            walk.line(at, next)?;
            at = next;
        }
        if walk.phase() == Phase::Header {
            walk.end_header(octets.len())?; // a message may consist of its header
        }
        walk.end_from(0, octets.len(), octets.len());
        Ok(Self { parts: walk.parts })
    }

    /// All entities, each after the one around it.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }
}

/// The parse under way.
struct Walk<'a> {
    octets: &'a [u8],
    bounds: Bounds,
    parts: Vec<Part>,
    /// The entities not yet ended, outermost first.
    open: Vec<Open>,
    /// The boundaries in force, each with its multipart's place in `open`.
    boundaries: BTreeMap<Vec<u8>, usize>,
}

struct Open {
    index: usize,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Header,
    Content,
    Preamble,
    BodyParts,
    Epilogue,
}

impl Walk<'_> {
    fn line(&mut self, at: usize, next: usize) -> Result<(), MimeFault> {
        let line = &self.octets[at..next];
        if let Some((place, closes)) = self.delimiter(line) {
            self.end_from(place + 1, at, at.saturating_sub(2));
            let multipart = &mut self.open[place];
            let Part { kind: Kind::Multipart { preamble, epilogue }, media, .. } = &mut self.parts[multipart.index] else { return Ok(()) };
            if multipart.phase == Phase::Preamble {
                preamble.end = at;
            }
            if closes {
                *epilogue = next..next;
                multipart.phase = Phase::Epilogue;
                self.boundaries.retain(|_, owner| *owner != place);
            } else {
                multipart.phase = Phase::BodyParts;
                let default = if media == DIGEST { MESSAGE } else { TEXT };
                self.begin(next, default)?;
            }
        } else if line == b"\r\n" && self.phase() == Phase::Header {
            self.end_header(next)?;
        }
        Ok(())
    }

    /// The multipart this line delimits, by its place in `open`, and whether it closes it (RFC 2046 §5.1.1). White space after the
    /// boundary is padding.
    fn delimiter(&self, line: &[u8]) -> Option<(usize, bool)> {
        let text = line.strip_prefix(b"--")?.trim_ascii_end();
        let found = |text: &[u8]| self.boundaries.get(text).copied();
        found(text).map(|place| (place, false)).or_else(|| Some((found(text.strip_suffix(b"--")?)?, true)))
    }

    fn begin(&mut self, at: usize, default: &str) -> Result<(), MimeFault> {
        let depth_max = self.bounds.depth_max.min(DEPTH_CEILING);
        if self.open.len() > depth_max {
            return Err(MimeFault::TooDeep(depth_max));
        }
        if self.parts.len() >= self.bounds.parts_max {
            return Err(MimeFault::TooManyParts(self.bounds.parts_max));
        }
        self.parts.push(Part {
            parent: self.open.last().map(|above| above.index),
            depth: self.open.len(),
            header: at..at,
            body: at..at,
            kind: Kind::Leaf,
            media: default.to_owned(),
            is_typed: false,
            encoding: TransferEncoding::Identity,
        });
        self.open.push(Open { index: self.parts.len() - 1, phase: Phase::Header });
        Ok(())
    }

    /// The header of the innermost open entity ends before `at`; what it says decides what its body is.
    fn end_header(&mut self, at: usize) -> Result<(), MimeFault> {
        let place = self.open.len() - 1;
        let Open { index, phase } = &mut self.open[place];
        *phase = Phase::Content;
        let part = &mut self.parts[*index];
        (part.header.end, part.body) = (at, at..at);
        let Some(said) = Headers::parse(&self.octets[part.header.clone()]).ok().and_then(|headers| Said::read(&headers)) else {
            part.kind = Kind::Unclear;
            return Ok(());
        };
        part.encoding = said.encoding;
        part.is_typed = said.content_type.is_some();
        let mut boundary = None;
        if let Some(content_type) = said.content_type {
            (part.media, boundary) = (content_type.media, content_type.boundary);
        }
        if part.media.starts_with("multipart/") {
            let Some(boundary) = boundary else {
                part.kind = Kind::Unclear;
                return Ok(());
            };
            part.kind = Kind::Multipart { preamble: at..at, epilogue: at..at };
            *phase = Phase::Preamble;
            self.boundaries.entry(boundary).or_insert(place);
        } else if part.media == MESSAGE && part.encoding == TransferEncoding::Identity {
            part.kind = Kind::Message;
            self.begin(at, TEXT)?;
        }
        Ok(())
    }

    /// Ends the open entities from this place on: their octets end at `end`, a header that is still open at `line`.
    fn end_from(&mut self, place: usize, line: usize, end: usize) {
        for Open { index, phase } in self.open.drain(place..) {
            let part = &mut self.parts[index];
            if phase == Phase::Header {
                (part.header.end, part.body) = (line, line..line);
            }
            part.body.end = end.max(part.body.start);
            if let Kind::Multipart { preamble, epilogue } = &mut part.kind {
                match phase {
                    Phase::Preamble => preamble.end = part.body.end,
                    Phase::Epilogue => epilogue.end = end.max(epilogue.start),
                    Phase::Header | Phase::Content | Phase::BodyParts => {}
                }
            }
        }
        self.boundaries.retain(|_, owner| *owner < place);
    }

    fn phase(&self) -> Phase {
        self.open.last().map_or(Phase::Content, |open| open.phase)
    }
}

/// What the fields of an entity say of its body.
struct Said {
    content_type: Option<ContentType>,
    encoding: TransferEncoding,
}

impl Said {
    /// `None` when a field is there twice: readers would differ.
    fn read(headers: &Headers<'_>) -> Option<Self> {
        let mut types = headers.named("Content-Type");
        let mut encodings = headers.named("Content-Transfer-Encoding");
        let content_type = types.next().map(|field| ContentType::parse(field.value));
        let encoding = encodings.next().map_or(TransferEncoding::Identity, |field| TransferEncoding::parse(field.value));
        (types.next().is_none() && encodings.next().is_none()).then_some(Self { content_type, encoding })
    }
}

impl TransferEncoding {
    /// Reads the value of a Content-Transfer-Encoding field.
    #[must_use]
    pub fn parse(value: &[u8]) -> Self {
        let mut rest = value;
        match token(&mut rest).to_ascii_lowercase().as_slice() {
            b"7bit" | b"8bit" | b"binary" => Self::Identity,
            b"quoted-printable" => Self::QuotedPrintable,
            b"base64" => Self::Base64,
            _ => Self::Unknown,
        }
    }
}

impl ContentType {
    /// Reads the value of a Content-Type field. What cannot be read is application/octet-stream: there is content, of no known type.
    #[must_use]
    pub fn parse(value: &[u8]) -> Self {
        let mut rest = value;
        let major = token(&mut rest);
        let slash = take(&mut rest, b'/');
        let minor = token(&mut rest);
        if major.is_empty() || !slash || minor.is_empty() {
            return Self { media: "application/octet-stream".to_owned(), boundary: None };
        }
        let media = format!("{}/{}", String::from_utf8_lossy(major), String::from_utf8_lossy(minor)).to_ascii_lowercase();
        Self { media, boundary: boundary(rest) }
    }
}

/// The `boundary` among the parameters that follow a media type.
fn boundary(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut found = None;
    while !rest.is_empty() {
        if !take(&mut rest, b';') {
            rest = rest.get(1..).unwrap_or_default(); // what is no parameter is passed over
            continue;
        }
        let name = token(&mut rest);
        if !take(&mut rest, b'=') {
            continue;
        }
        let value = match rest.trim_ascii_start() {
            [b'"', ..] => quoted(&mut rest),
            _ => loose_value(&mut rest),
        };
        if name.eq_ignore_ascii_case(b"boundary") {
            if found.is_some() {
                return None;
            }
            found = Some(value);
        }
    }
    found.map(|value| value.trim_ascii_end().to_vec()).filter(|value| !value.is_empty())
}

/// A token (RFC 2045 §5.1) after white space and comments; empty when there is none.
fn token<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    skip_cfws(rest);
    let length = rest.iter().take_while(|b| b.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(b)).count();
    let (token, after) = rest.split_at(length);
    *rest = after;
    token
}

/// This octet after white space and comments, if it is there.
fn take(rest: &mut &[u8], wanted: u8) -> bool {
    skip_cfws(rest);
    let found = rest.first() == Some(&wanted);
    if found {
        *rest = &rest[1..];
    }
    found
}

/// A value that ought to have been quoted is read up to white space or the next parameter: boundaries with `=` or `/` are common.
fn loose_value(rest: &mut &[u8]) -> Vec<u8> {
    skip_cfws(rest);
    let length = rest.iter().take_while(|b| !b.is_ascii_whitespace() && **b != b';').count();
    let (value, after) = rest.split_at(length);
    *rest = after;
    value.to_vec()
}

/// The meaning of a quoted string (RFC 5322 §3.2.4).
fn quoted(rest: &mut &[u8]) -> Vec<u8> {
    let text = rest.trim_ascii_start();
    let mut meaning = Vec::new();
    let mut at = 1;
    while let Some(&octet) = text.get(at) {
        at += 1;
        match octet {
            b'"' => break,
            b'\\' => {
                meaning.extend(text.get(at));
                at += 1;
            }
            b'\r' | b'\n' => {} // folding
            octet => meaning.push(octet),
        }
    }
    *rest = text.get(at..).unwrap_or_default();
    meaning
}

/// White space, line ends and comments, which may nest (RFC 5322 §3.2.2).
fn skip_cfws(rest: &mut &[u8]) {
    let (mut at, mut depth) = (0, 0usize);
    while let Some(&octet) = rest.get(at) {
        match octet {
            b'(' => depth += 1,
            b')' if depth > 0 => depth -= 1,
            b'\\' if depth > 0 => at += 1,
            _ if depth > 0 || octet.is_ascii_whitespace() => {}
            _ => break,
        }
        at += 1;
    }
    *rest = rest.get(at..).unwrap_or_default();
}

/// Deeper than any mail that a person wrote; keeps the parse's bookkeeping small whatever a configuration says.
pub const DEPTH_CEILING: usize = 200;
const TEXT: &str = "text/plain";
const MESSAGE: &str = "message/rfc822";
const DIGEST: &str = "multipart/digest";

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { depth_max: 20, parts_max: 100 };

    /// One line an entity: indent by depth, media type, body.
    fn shape(message: &str) -> String {
        let message = message.replace('\n', "\r\n");
        let structure = Structure::parse(message.as_bytes(), BOUNDS).unwrap();
        let describe = |part: &Part| {
            let content = match &part.kind {
                Kind::Leaf => format!(" {:?}", &message[part.body.clone()]),
                Kind::Multipart { preamble, epilogue } => format!(" {:?} {:?}", &message[preamble.clone()], &message[epilogue.clone()]),
                Kind::Message => String::new(),
                Kind::Unclear => " unclear".to_owned(),
            };
            format!("{}{}{content}\n", "  ".repeat(part.depth), part.media)
        };
        structure.parts().iter().map(describe).collect()
    }

    #[test]
    fn finds_parts_preamble_and_epilogue() {
        let found = shape("Content-Type: multipart/mixed; boundary=b\n\npre\n--b\n\none\n--b  \nContent-Type: image/png\n\ntwo\n\n--b-- \nafter\n");
        assert_eq!(found, "multipart/mixed \"pre\\r\\n\" \"after\\r\\n\"\n  text/plain \"one\"\n  image/png \"two\\r\\n\"\n");
    }

    #[test]
    fn the_outer_boundary_ends_all_inside() {
        let found = shape(
            "Content-Type: multipart/mixed; boundary=out\n\n--out\nContent-Type: multipart/alternative; boundary=in\n\n--in\n\nx\n--out\n\ny\n--in\nz\n--out--\n",
        );
        assert_eq!(found, "multipart/mixed \"\" \"\"\n  multipart/alternative \"\" \"\"\n    text/plain \"x\"\n  text/plain \"y\\r\\n--in\\r\\nz\"\n");
    }

    #[test]
    fn a_boundary_is_compared_whole() {
        let found = shape("Content-Type: multipart/mixed; boundary=b\n\n--bb\n--b\n\n--bc\n--b-\n--b--");
        assert_eq!(found, "multipart/mixed \"--bb\\r\\n\" \"\"\n  text/plain \"--bc\\r\\n--b-\"\n");
    }

    #[test]
    fn a_boundary_used_twice_belongs_to_the_outer_multipart() {
        let found = shape("Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n--b--\n--b--\n");
        assert_eq!(found, "multipart/mixed \"\" \"--b--\\r\\n\"\n  multipart/mixed \"\" \"\"\n  text/plain \"x\"\n");
    }

    #[test]
    fn messages_nest_and_digests_default_to_them() {
        let found = shape(
            "Content-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: s\n\nhello\n--b\nContent-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nQQ==\n--b--\n",
        );
        assert_eq!(found, "multipart/digest \"\" \"\"\n  message/rfc822\n    text/plain \"hello\"\n  message/rfc822 \"QQ==\"\n");
    }

    #[test]
    fn parts_may_be_cut_short_anywhere() {
        let head = "Content-Type: multipart/mixed; boundary=b\n\n";
        for (body, expect) in [
            ("", "multipart/mixed \"\" \"\"\n"),
            ("--b", "multipart/mixed \"\" \"\"\n  text/plain \"\"\n"),
            ("--b\n--b--", "multipart/mixed \"\" \"\"\n  text/plain \"\"\n"),
            ("--b\nA: b\n--b--\n", "multipart/mixed \"\" \"\"\n  text/plain \"\"\n"),
            ("--b\n\n--b--\n", "multipart/mixed \"\" \"\"\n  text/plain \"\"\n"),
            ("--b\nno field\n\nx\n--b--\n", "multipart/mixed \"\" \"\"\n  text/plain unclear\n"),
            ("--b\n\nx\n", "multipart/mixed \"\" \"\"\n  text/plain \"x\\r\\n\"\n"),
        ] {
            assert_eq!(shape(&format!("{head}{body}")), expect, "{body:?}");
        }
        assert_eq!(shape(""), "text/plain \"\"\n");
        assert_eq!(shape("Content-Type: multipart/mixed\n\nx\n"), "multipart/mixed unclear\n");
    }

    #[test]
    fn reads_content_types_as_they_are_written() {
        let parse = |value: &str| ContentType::parse(value.as_bytes());
        for (value, media, boundary) in [
            (" text/plain\r\n", "text/plain", None),
            (" Multipart/Mixed; Boundary=\"a b\\\"c\"\r\n", "multipart/mixed", Some("a b\"c")),
            (" multipart/mixed;\r\n\tboundary = (x;boundary=no) --=_1/2;charset=x\r\n", "multipart/mixed", Some("--=_1/2")),
            (" multipart (c) / (d(e)) mixed; x=\"boundary=no\"; boundary=yes", "multipart/mixed", Some("yes")),
            (" multipart/mixed; boundary=\"\"", "multipart/mixed", None),
            (" multipart/mixed; boundary=a; boundary=b", "multipart/mixed", None),
            (" multipart/mixed; boundary*0=a; boundary*1=b", "multipart/mixed", None),
            (" multipart/mixed; boundary=\"open", "multipart/mixed", Some("open")),
            (" text", "application/octet-stream", None),
            ("", "application/octet-stream", None),
            (" (open", "application/octet-stream", None),
        ] {
            assert_eq!(parse(value), ContentType { media: media.to_owned(), boundary: boundary.map(|b| b.as_bytes().to_vec()) }, "{value:?}");
        }
        assert_eq!(TransferEncoding::parse(b" (c) Base64 (d)\r\n"), TransferEncoding::Base64);
        assert_eq!(TransferEncoding::parse(b" utf-8\r\n"), TransferEncoding::Unknown);
    }

    #[test]
    fn bounds_hold_on_both_sides() {
        let nested = |depth: usize| (0..depth).map(|_| "Content-Type: message/rfc822\r\n\r\n").collect::<String>();
        let at = Bounds { depth_max: 3, parts_max: 100 };
        assert_eq!(Structure::parse(nested(3).as_bytes(), at).unwrap().parts().len(), 4);
        assert_eq!(Structure::parse(nested(4).as_bytes(), at).unwrap_err(), MimeFault::TooDeep(3));
        let wide = |parts: usize| format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{}--b--\r\n", "--b\r\n\r\nx\r\n".repeat(parts));
        let at = Bounds { depth_max: 3, parts_max: 5 };
        assert_eq!(Structure::parse(wide(4).as_bytes(), at).unwrap().parts().len(), 5);
        assert_eq!(Structure::parse(wide(5).as_bytes(), at).unwrap_err(), MimeFault::TooManyParts(5));
        let ceiling = Bounds { depth_max: usize::MAX, parts_max: usize::MAX };
        assert_eq!(Structure::parse(nested(DEPTH_CEILING + 1).as_bytes(), ceiling).unwrap_err(), MimeFault::TooDeep(DEPTH_CEILING));
    }
}
