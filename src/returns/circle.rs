//! Whether a message goes round in circles: counted in its `Received` fields (RFC 5321 §6.3), whatever the rest of its header looks like.

use crate::mail::Domain;

/// How often a message was handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hops {
    /// `Received` fields.
    pub all: usize,
    /// Those that we wrote: they say `by` our name.
    pub own: usize,
}

/// Counts the fields above the first empty line; at most [`LINES_MAX`] lines are looked at. `own` is the relay's name.
#[must_use]
pub fn hops(message: &[u8], own: &Domain) -> Hops {
    let mut hops = Hops::default();
    let mut field = String::new();
    for line in message.split(|octet| *octet == b'\n').take(LINES_MAX) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            break;
        }
        if line[0] == b' ' || line[0] == b'\t' {
            if !field.is_empty() && field.len() < FIELD_OCTETS_MAX {
                field.push_str(&String::from_utf8_lossy(line));
            }
            continue;
        }
        note(&mut hops, &std::mem::take(&mut field), own);
        if line.get(..RECEIVED.len()).is_some_and(|name| name.eq_ignore_ascii_case(RECEIVED)) {
            field = String::from_utf8_lossy(line).into_owned();
        }
    }
    note(&mut hops, &field, own);
    hops
}

fn note(hops: &mut Hops, field: &str, own: &Domain) {
    if field.is_empty() {
        return;
    }
    hops.all += 1;
    let mut words = field[RECEIVED.len()..].split_ascii_whitespace();
    // A host may call itself anything: what follows "from" is its word, not the field's.
    let by = loop {
        match words.next() {
            Some(word) if word.eq_ignore_ascii_case("from") => drop(words.next()),
            Some(word) if word.eq_ignore_ascii_case("by") => break words.next(),
            Some(_) => {}
            None => break None,
        }
    };
    hops.own += usize::from(by.is_some_and(|name| name.trim_end_matches([';', '.']).eq_ignore_ascii_case(own.as_str())));
}

const RECEIVED: &[u8] = b"received:";
/// Lines of a header that are looked at.
pub const LINES_MAX: usize = 10_000;
const FIELD_OCTETS_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hops_are_counted_in_whatever_header() {
        let own = Domain::parse("relay.example.com").unwrap();
        for (message, all, ours) in [
            ("", 0, 0),
            ("Received: from a by relay.example.com with ESMTP id 1;\r\n\tday\r\n\r\nReceived: by relay.example.com\r\n", 1, 1),
            ("RECEIVED: from by\r\n\tby Relay.Example.COM. with SMTP\r\nno field\r\n x\r\nReceived: by other.example\r\n", 2, 1),
            ("Received: from relay.example.com by other.example\r\n", 1, 0),
            ("X-Received: by relay.example.com\r\nReceived:\r\n", 1, 0),
            ("Received: by relay.example.com.evil.example\n", 1, 0),
        ] {
            assert_eq!(hops(message.as_bytes(), &own), Hops { all, own: ours }, "{message}");
        }
    }
}
