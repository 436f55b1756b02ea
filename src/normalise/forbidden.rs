//! What a message must not have: faults are refused with their remedy, fields that must not travel are removed.
//!
//! RFC 5322 §3.6 (how often a field may occur), §2.2 (characters), §2.1.1 (line length), RFC 6532 §3 (UTF-8), RFC 6854 (groups),
//! RFC 5321 §2.3.8 (line ends), §6.3 (loops), and the limits of Gmail.

use super::{Edits, LINE_OCTETS_MAX, Limits, Mode, malformed, placed, too_big};
use crate::mail::author::{author, foreign_author, has_encoded_address};
use crate::mail::{EnhancedCode, Field, Headers, Refusal};

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

/// Everything that can be told from the header alone: the first fault.
pub(super) fn check(headers: &Headers<'_>, smtputf8: bool, mode: Mode, limits: &Limits) -> Result<(), Refusal> {
    faults(headers, smtputf8, mode, limits).next().map_or(Ok(()), Err)
}

/// All faults of a header, found one by one as they are asked for.
pub(super) fn faults<'h>(headers: &'h Headers<'_>, smtputf8: bool, mode: Mode, limits: &'h Limits) -> impl Iterator<Item = Refusal> + 'h {
    let of_fields = headers.iter().flat_map(move |field| [characters(&field, smtputf8).err(), field_size(&field, limits).err()].into_iter().flatten());
    let several = ONCE.iter().filter(|name| headers.named(name).nth(1).is_some());
    let encoded = ADDRESSES.iter().flat_map(|name| headers.named(name)).filter_map(|field| addresses_are_plain(&field).err());
    let author = std::iter::once_with(move || match mode {
        Mode::Author => author(headers),
        Mode::Forward => foreign_author(headers),
    });
    std::iter::once_with(move || size(headers, limits).err())
        .flatten()
        .chain(of_fields)
        .chain(several.map(|name| malformed(&format!("the message has several {name} fields; send exactly one"))))
        .chain(std::iter::once_with(move || loops(headers, limits).err()).flatten())
        .chain(encoded)
        .chain(author.filter_map(|author| author.err().map(|fault| fault.refusal()))) // Gmail takes one From field with one address
}

fn loops(headers: &Headers<'_>, limits: &Limits) -> Result<(), Refusal> {
    let hops = headers.named("Received").count();
    if hops >= limits.received_hops_max {
        return Err(Refusal::submitter(554, EnhancedCode::new(5, 4, 6), format!("the message has {hops} Received fields; it is in a mail loop")));
    }
    Ok(())
}

/// Removes what must not travel: postseal's control fields, the trace of the application and Return-Path always, hidden recipients where the author is ours.
pub(super) fn remove(headers: &Headers<'_>, mode: Mode, edits: &mut Edits) {
    for (range, field) in placed(headers) {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        let control = field.name.get(..CONTROL.len()).is_some_and(|start| start.eq_ignore_ascii_case(CONTROL));
        let traced = is("traceparent") || is("tracestate");
        let hidden = mode == Mode::Author && (is("Bcc") || is("Resent-Bcc"));
        if control || traced || hidden || is("Return-Path") {
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

/// An encoded word may stand for a name, never within an address (RFC 2047 §5).
fn addresses_are_plain(field: &Field<'_>) -> Result<(), Refusal> {
    if has_encoded_address(field.value) {
        return Err(malformed(&format!("the field {} has an encoded word within an address; encode names only (RFC 2047 5)", field.name)));
    }
    Ok(())
}

/// A name fit for a reply.
fn shown<'a>(field: &Field<'a>) -> &'a str {
    field.name.get(..NAME_SHOWN_OCTETS_MAX).unwrap_or(field.name)
}

/// At most once by RFC 5322 §3.6, and the two that decide what the body is: readers differ about which of several counts.
const ONCE: [&str; 12] =
    ["Date", "From", "Sender", "Reply-To", "To", "Cc", "Message-ID", "In-Reply-To", "References", "Subject", "Content-Type", "Content-Transfer-Encoding"];
const ADDRESSES: [&str; 5] = ["From", "Sender", "Reply-To", "To", "Cc"];
const CONTROL: &str = "X-Postseal-";
const NAME_SHOWN_OCTETS_MAX: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

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
