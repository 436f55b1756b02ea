//! What a message must have: Date and Message-ID (RFC 5322 §3.6, RFC 6409 §8.2, §8.3), MIME-Version (RFC 2045 §4).
//!
//! For our own authors they are supplied where they are missing or cannot be read, and address fields with nothing in them are
//! dropped (`To:` alone is not allowed, RFC 5322 §3.6.3). What somebody else wrote, or signed, is not completed: without a
//! Message-ID, which Gmail asks for, it is refused.

use super::{Edits, Facts, Mode, Settings, malformed, placed};
use crate::mail::{Headers, Refusal, Timestamp};
use jiff::fmt::rfc2822::DateTimeParser;

/// Collects the edits that complete a header, and tells the Message-ID. `speaks_mime`: the body was encoded.
pub(super) fn supply(
    headers: &Headers<'_>,
    mode: Mode,
    encoded: bool,
    settings: &Settings,
    facts: &Facts,
    now: Timestamp,
    edits: &mut Edits,
) -> Result<String, Refusal> {
    let ours = mode == Mode::Author;
    let may_change = ours && !facts.foreign_signature_verifies;
    let mut top = String::new();

    let message_id = match message_id(headers) {
        Some(known) => known,
        None if may_change || (ours && !has(headers, "Message-ID")) => {
            let fresh = format!("<{}.{:x}@{}>", facts.id, now.unix_millis(), settings.hostname);
            put(headers, "Message-ID", &fresh, &mut top, edits);
            fresh
        }
        None => return Err(malformed("the message lacks a valid Message-ID, and it is not ours to give it one; send <unique@your.domain>")),
    };
    let dated = headers.named("Date").any(|field| date(&field.unfolded()).is_some());
    if !dated && (may_change || (ours && !has(headers, "Date"))) {
        put(headers, "Date", &now.to_rfc5322(), &mut top, edits);
    }
    let speaks_mime = has(headers, "Content-Type") || has(headers, "Content-Transfer-Encoding");
    if (encoded || (may_change && speaks_mime)) && !has(headers, "MIME-Version") {
        top.push_str("MIME-Version: 1.0\r\n");
    }
    if may_change {
        for (range, field) in placed(headers) {
            if field.value.trim_ascii().is_empty() && NOT_EMPTY.iter().any(|name| field.name.eq_ignore_ascii_case(name)) {
                edits.remove(range);
            }
        }
    }
    if !top.is_empty() {
        edits.put_on_top(top);
    }
    Ok(message_id)
}

/// A field in place of the one that is there, or on top.
fn put(headers: &Headers<'_>, name: &str, value: &str, top: &mut String, edits: &mut Edits) {
    let field = format!("{name}: {value}\r\n");
    match placed(headers).find(|(_, field)| field.name.eq_ignore_ascii_case(name)) {
        Some((range, _)) => edits.replace(range, field),
        None => top.push_str(&field),
    }
}

/// The Message-ID with its angle brackets, if there is one that can be told from others: `<left@right>` without white space. What
/// stands left and right is read generously (RFC 5322 §3.6.4 is stricter): other mail may refer to it already.
pub(super) fn message_id(headers: &Headers<'_>) -> Option<String> {
    let text = headers.named("Message-ID").next()?.unfolded();
    let inner = text.strip_prefix('<')?.strip_suffix('>')?;
    let (left, right) = inner.rsplit_once('@')?;
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '<' | '>');
    (!left.is_empty() && !right.is_empty() && inner.chars().all(plain)).then(|| text.clone())
}

/// RFC 5322 §3.3 with the obsolete forms of §4.3, `None` when it is neither; the day of the week is not checked against the date.
pub(super) fn date(text: &str) -> Option<Timestamp> {
    DateTimeParser::new().relaxed_weekday(true).parse_timestamp(text).ok().map(|time| Timestamp::from_unix_seconds(time.as_second()))
}

fn has(headers: &Headers<'_>, name: &str) -> bool {
    headers.named(name).next().is_some()
}

/// Lists of at least one element (RFC 5322 §3.6.2, §3.6.3, §3.6.4).
const NOT_EMPTY: [&str; 6] = ["To", "Cc", "Reply-To", "Sender", "In-Reply-To", "References"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_a_message_id_that_names_one_message() {
        for (value, valid) in [
            ("<a@b>", true),
            ("\r\n <a.b@[192.0.2.1]>", true),
            ("<a@b@c>", true),
            ("a@b", false),
            ("<a@b> <c@d>", false),
            ("<ab>", false),
            ("<@b>", false),
            ("<a@>", false),
            ("<a b@c>", false),
            ("", false),
        ] {
            let header = format!("Message-ID: {value}\r\n");
            assert_eq!(message_id(&Headers::parse(header.as_bytes()).unwrap()).is_some(), valid, "{value}");
        }
    }

    #[test]
    fn takes_dates_as_they_are_written() {
        for (text, valid) in [
            ("Sun, 22 Nov 2026 01:18:45 +0000", true),
            ("Mon, 22 Nov 2026 01:18:45 +0900 (JST)", true),
            ("22 Nov 2026 01:18 GMT", true),
            ("2026-11-22T01:18:45Z", false),
            ("Sun, 31 Feb 2026 01:18:45 +0000", false),
            ("", false),
        ] {
            assert_eq!(date(text).is_some(), valid, "{text}");
        }
    }
}
