//! What a message must not have: faults are refused with their remedy, fields that must not travel are removed.
//!
//! RFC 5322 §3.6 (how often a field may occur), §2.2 (characters), §2.1.1 (line length), RFC 6532 §3 (UTF-8), RFC 6854 (groups),
//! RFC 5321 §2.3.8 (line ends), §6.3 (loops), and the limits of Gmail.

use super::{Edits, LINE_OCTETS_MAX, Limits, Mode, malformed, placed, too_big};
use crate::mail::{EnhancedCode, Field, Headers, Mailbox, Refusal};

/// A line ends in CR LF and nothing else (RFC 5321 §2.3.8); so does the message.
pub(super) fn line_ends(message: &[u8]) -> Result<(), Refusal> {
    let mut at = 0;
    let mut strict = message.is_empty() || message.ends_with(b"\r\n");
    while let Some(found) = memchr::memchr2(b'\r', b'\n', &message[at..]).filter(|_| strict) {
        strict = message[at + found..].starts_with(b"\r\n");
        at += found + 2;
    }
    if strict { Ok(()) } else { Err(malformed("the message has a bare CR or LF; end every line with CR LF")) }
}

/// Everything that can be told from the header alone.
pub(super) fn check(headers: &Headers<'_>, smtputf8: bool, limits: &Limits) -> Result<(), Refusal> {
    size(headers, limits)?;
    for field in headers.iter() {
        characters(&field, smtputf8)?;
        field_size(&field, limits)?;
    }
    for name in ONCE {
        if headers.named(name).nth(1).is_some() {
            return Err(malformed(&format!("the message has several {name} fields; send exactly one")));
        }
    }
    let hops = headers.named("Received").count();
    if hops >= limits.received_hops_max {
        return Err(Refusal::submitter(554, EnhancedCode::new(5, 4, 6), format!("the message has {hops} Received fields; it is in a mail loop")));
    }
    one_author(headers)?;
    ADDRESSES.iter().flat_map(|name| headers.named(name)).try_for_each(|field| addresses_are_plain(&field))
}

/// Removes what must not travel: postseal's control fields and Return-Path always, hidden recipients where the author is ours.
pub(super) fn remove(headers: &Headers<'_>, mode: Mode, edits: &mut Edits) {
    for (range, field) in placed(headers) {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        let control = field.name.get(..CONTROL.len()).is_some_and(|start| start.eq_ignore_ascii_case(CONTROL));
        let hidden = mode == Mode::Author && (is("Bcc") || is("Resent-Bcc"));
        if control || hidden || is("Return-Path") {
            edits.remove(range);
        }
    }
}

fn size(headers: &Headers<'_>, limits: &Limits) -> Result<(), Refusal> {
    let octets = headers.body_start();
    if octets > limits.header_octets_max {
        return Err(too_big(&format!("the header has {octets} octets; at most {} are allowed", limits.header_octets_max)));
    }
    if headers.len() > limits.header_fields_max {
        return Err(too_big(&format!("the header has {} fields; at most {} are allowed", headers.len(), limits.header_fields_max)));
    }
    Ok(())
}

fn field_size(field: &Field<'_>, limits: &Limits) -> Result<(), Refusal> {
    let is = |name: &str| field.name.eq_ignore_ascii_case(name);
    let shown = shown(field);
    let over = |unit: &str, found: usize, max: usize| Err(too_big(&format!("the field {shown} has {found} {unit}; at most {max} are allowed")));
    let characters = || field.unfolded().chars().count();
    if field.name.len() > limits.field_name_octets_max {
        return over("octets in its name", field.name.len(), limits.field_name_octets_max);
    }
    if field.value.len() > limits.field_value_octets_max && !["To", "Cc", "References"].into_iter().any(is) {
        return over("octets", field.value.len(), limits.field_value_octets_max);
    }
    if is("Message-ID") && characters() > limits.message_id_characters_max {
        return over("characters", characters(), limits.message_id_characters_max);
    }
    if is("Subject") && characters() > limits.subject_characters_max {
        return over("characters", characters(), limits.subject_characters_max);
    }
    Ok(())
}

fn characters(field: &Field<'_>, smtputf8: bool) -> Result<(), Refusal> {
    let name = shown(field);
    if field.value.iter().any(|b| b.is_ascii_control() && !matches!(b, b'\t' | b'\r' | b'\n')) {
        return Err(malformed(&format!("the field {name} holds a control character; remove it, or encode the text (RFC 2047)")));
    }
    if !field.value.is_ascii() && !smtputf8 {
        return Err(malformed(&format!("the field {name} holds octets over 127; encode the text (RFC 2047), or use SMTPUTF8 (RFC 6531)")));
    }
    if std::str::from_utf8(field.value).is_err() {
        return Err(malformed(&format!("the field {name} is not UTF-8, which SMTPUTF8 asks for; encode the text (RFC 2047)")));
    }
    if field.raw.split(|b| *b == b'\n').any(|line| line.len() > LINE_OCTETS_MAX + 1) {
        return Err(malformed(&format!("the field {name} has a line longer than 998 octets; fold it (RFC 5322 2.2.3)")));
    }
    Ok(())
}

/// Gmail takes exactly one From field with exactly one address.
fn one_author(headers: &Headers<'_>) -> Result<(), Refusal> {
    let Some(from) = headers.named("From").next() else {
        return Err(malformed("the message has no From field; send exactly one, with one address"));
    };
    match authors(from.value) {
        Authors::One(address) => match Mailbox::parse(&address) {
            Ok(_) => Ok(()),
            Err(fault) => Err(malformed(&format!("the From field cannot be read: {fault}"))),
        },
        Authors::None => Err(malformed("the From field holds no address; send exactly one")),
        Authors::Several => Err(malformed("the From field holds several addresses; send exactly one")),
        Authors::Group => Err(malformed("the From field holds a group (RFC 6854); send exactly one address")),
        Authors::Broken(why) => Err(malformed(&format!("the From field cannot be read: {why}; write it as Name <user@example.com>"))),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Authors {
    None,
    One(String),
    Several,
    Group,
    Broken(&'static str),
}

/// Who is named by a From field (RFC 5322 §3.4).
fn authors(value: &[u8]) -> Authors {
    let mut found = Authors::None;
    let (mut bare, mut angle) = (String::new(), None);
    let text = String::from_utf8_lossy(value);
    let mut pieces = Pieces::of(&text);
    loop {
        let piece = pieces.next();
        match piece {
            Some(Piece::Broken) => return Authors::Broken("a quote, comment or bracket is not closed or not opened"),
            Some(Piece::Angle(inner)) if angle.is_none() => angle = Some(inner),
            Some(Piece::Angle(_)) => return Authors::Broken("it has two addresses in angle brackets without a comma between them"),
            Some(Piece::Text(_)) if angle.is_some() => return Authors::Broken("something follows the address in angle brackets"),
            Some(Piece::Text(text)) => join(&mut bare, text),
            Some(Piece::Colon) => return Authors::Group,
            Some(Piece::Comma) | None => {
                let address = angle.take().unwrap_or_else(|| std::mem::take(&mut bare));
                bare.clear();
                match (&found, address.is_empty()) {
                    (_, true) => {} // an empty element of a list is obsolete, not wrong (RFC 5322 §4.4)
                    (Authors::None, false) => found = Authors::One(address),
                    _ => return Authors::Several,
                }
                if piece.is_none() {
                    return found;
                }
            }
        }
    }
}

/// Puts the pieces of an address together; white space may stand only around its dots and its `@` (RFC 5322 §4.4).
fn join(address: &mut String, piece: &str) {
    let touches = address.is_empty() || address.ends_with(['.', '@']) || piece.starts_with(['.', '@']);
    if !touches {
        address.push(' ');
    }
    address.push_str(piece);
}

/// An encoded word may stand for a name, never within an address (RFC 2047 §5).
fn addresses_are_plain(field: &Field<'_>) -> Result<(), Refusal> {
    let text = String::from_utf8_lossy(field.value);
    let found = Pieces::of(&text).any(|piece| match piece {
        Piece::Angle(address) => address.contains("=?") && address.contains("?="),
        Piece::Text(text) => text.starts_with("=?") && text.contains("?=@"),
        Piece::Comma | Piece::Colon | Piece::Broken => false,
    });
    if found {
        return Err(malformed(&format!("the field {} has an encoded word within an address; encode names only (RFC 2047 5)", field.name)));
    }
    Ok(())
}

/// An address list cut into what matters for counting; comments and white space are gone.
struct Pieces<'a> {
    rest: &'a str,
}

#[derive(Debug, PartialEq, Eq)]
enum Piece<'a> {
    /// An atom, a quoted string or a domain literal, quotes included.
    Text(&'a str),
    /// What stands in angle brackets, without white space.
    Angle(String),
    Comma,
    Colon,
    /// A quote, comment or bracket that is not closed or not opened; nothing follows.
    Broken,
}

impl<'a> Pieces<'a> {
    const fn of(rest: &'a str) -> Self {
        Self { rest }
    }

    fn cut(&mut self, length: usize) -> &'a str {
        let (piece, rest) = self.rest.split_at(length);
        self.rest = rest;
        piece
    }

    /// The end of a run that begins with an opening character: quoted string, domain literal.
    fn closed(&mut self, close: u8) -> Option<&'a str> {
        let mut escaped = false;
        let end = self.rest.bytes().skip(1).position(|b| {
            let ends = b == close && !escaped;
            escaped = b == b'\\' && !escaped;
            ends
        });
        end.map(|end| self.cut(end + 2))
    }

    fn skip_comment(&mut self) -> bool {
        let (mut depth, mut escaped) = (0usize, false);
        let end = self.rest.bytes().position(|b| {
            match b {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'(' => depth += 1,
                b')' => depth -= 1,
                _ => {}
            }
            depth == 0
        });
        end.map(|end| self.cut(end + 1)).is_some()
    }

    /// White space and comments; `false` when a comment is not closed.
    fn skip_cfws(&mut self) -> bool {
        loop {
            self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
            if !self.rest.starts_with('(') {
                return true;
            }
            if !self.skip_comment() {
                return false;
            }
        }
    }

    /// A quoted string, a domain literal or an atom with its dots and `@`.
    fn word(&mut self) -> Option<&'a str> {
        match self.rest.bytes().next()? {
            b'"' => self.closed(b'"'),
            b'[' => self.closed(b']'),
            _ => {
                let end = self.rest.find(NOT_IN_WORDS).unwrap_or(self.rest.len());
                (end > 0).then(|| self.cut(end))
            }
        }
    }

    /// The address between angle brackets, of which the first is already read.
    fn angle(&mut self) -> Option<String> {
        let mut address = String::new();
        while self.skip_cfws() {
            match self.rest.bytes().next()? {
                b'>' => {
                    self.cut(1);
                    return Some(address);
                }
                b':' => {
                    self.cut(1);
                    address.clear(); // a source route (RFC 5322 §4.4), to be ignored
                }
                b',' => {
                    self.cut(1);
                }
                _ => join(&mut address, self.word()?),
            }
        }
        None
    }

    fn piece(&mut self, first: u8) -> Option<Piece<'a>> {
        let mark = |pieces: &mut Self, piece| {
            pieces.cut(1);
            Some(piece)
        };
        match first {
            b',' | b';' => mark(self, Piece::Comma),
            b':' => mark(self, Piece::Colon),
            b'<' => {
                self.cut(1);
                self.angle().map(Piece::Angle)
            }
            _ => self.word().map(Piece::Text),
        }
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        let piece = if self.skip_cfws() {
            let first = self.rest.bytes().next()?;
            self.piece(first)
        } else {
            None
        };
        piece.or_else(|| {
            self.rest = "";
            Some(Piece::Broken)
        })
    }
}

/// A name fit for a reply.
fn shown<'a>(field: &Field<'a>) -> &'a str {
    field.name.get(..NAME_SHOWN_OCTETS_MAX).unwrap_or(field.name)
}

/// At most once by RFC 5322 §3.6, and the two that decide what the body is: readers differ about which of several counts.
const ONCE: [&str; 12] =
    ["Date", "From", "Sender", "Reply-To", "To", "Cc", "Message-ID", "In-Reply-To", "References", "Subject", "Content-Type", "Content-Transfer-Encoding"];
const ADDRESSES: [&str; 5] = ["From", "Sender", "Reply-To", "To", "Cc"];
const NOT_IN_WORDS: [char; 13] = [' ', '\t', '\r', '\n', '(', ')', '"', '[', '<', '>', ',', ';', ':'];
const CONTROL: &str = "X-Postseal-";
const NAME_SHOWN_OCTETS_MAX: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_authors_as_a_reader_would() {
        let one = |address: &str| Authors::One(address.to_owned());
        for (value, expect) in [
            ("a@x.example", one("a@x.example")),
            (" Name <a@x.example>\r\n", one("a@x.example")),
            ("\"Last, First\" <a@x.example>", one("a@x.example")),
            ("\"a@b.example\" <c@d.example>", one("c@d.example")),
            ("=?utf-8?B?44GC?= <a@x.example> (c, d@x.example)", one("a@x.example")),
            ("(c) a (d) @ x . example", one("a@x.example")),
            ("<@relay.example:a@x.example>", one("a@x.example")),
            ("\"q u\"@x.example", one("\"q u\"@x.example")),
            ("a@[192.0.2.1]", one("a@[192.0.2.1]")),
            ("a@x.example,", one("a@x.example")),
            ("John a@x.example", one("John a@x.example")),
            ("a@x.example, b@x.example", Authors::Several),
            ("A <a@x.example>, B <b@x.example>", Authors::Several),
            ("Group: a@x.example;", Authors::Group),
            ("undisclosed:;", Authors::Group),
            ("", Authors::None),
            ("(comment only)", Authors::None),
            ("<>", Authors::None),
        ] {
            assert_eq!(authors(value.as_bytes()), expect, "{value}");
        }
        for value in ["\"open", "(open", "<open", "a@x.example>", "<a@x.example> more", "<a@x.example> <b@x.example>", "a@[1.2"] {
            assert!(matches!(authors(value.as_bytes()), Authors::Broken(_)), "{value}");
        }
    }

    #[test]
    fn brackets_within_brackets_cost_no_stack() {
        for unit in ["<", "<(c)", "(", "<(", "\"<", ":<", ",<>"] {
            let value = unit.repeat(200_000);
            assert!(!matches!(authors(value.as_bytes()), Authors::One(_)), "{unit}");
        }
    }

    #[test]
    fn knows_a_line_end() {
        for good in [&b""[..], b"\r\n", b"a\r\n\r\nb\r\n"] {
            assert!(line_ends(good).is_ok());
        }
        for bad in [&b"a"[..], b"a\n", b"a\r", b"a\rb\r\n", b"a\nb\r\n", b"\r\r\n", b"\r\n\n\r\n"] {
            assert!(line_ends(bad).is_err(), "{bad:?}");
        }
    }
}
