//! Which header fields a signature covers (RFC 6376 §5.4, RFC 8058 §4): one table.
//!
//! What is not in the table is never signed: trace fields and whatever later hops add or remove (Received, Return-Path,
//! Authentication-Results, every `X-` field, Bcc, DKIM-Signature, ARC-*, and those of DKIM2, Message-Instance and DKIM2-Signature).
//! An `l=` tag is never made (RFC 6376 §8.2).

use crate::mail::Field;

/// How a field of the table is covered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cover {
    /// Every one there is and one more: neither a first nor a further one can be added.
    Oversigned,
    /// Every one there is and one more, when there is one; while there is none, a later hop may add it.
    OversignedIfPresent,
    /// Every one there is; more may be put above.
    Present,
}

/// The table. Kept in this order in `h=`, so that a seal is the same for the same input.
///
/// Oversigned are the fields that a reader sees or that decide how the body is read: a replayed copy (RFC 6376 §8.6, §8.15) gets
/// neither a second Subject nor a Reply-To or Content-Type of its own. List fields, if the author wrote them, cannot be doubled
/// either; but a mailing list that only adds its own to a message without them leaves the author's signature whole. Resent fields
/// are put in front block by block (RFC 5322 §3.6.6), so further ones are allowed. Cc and Reply-To follow rspamd's default.
pub const COVERED: &[(&str, Cover)] = &[
    ("from", Cover::Oversigned),
    ("to", Cover::Oversigned),
    ("cc", Cover::Oversigned),
    ("subject", Cover::Oversigned),
    ("date", Cover::Oversigned),
    ("message-id", Cover::Oversigned),
    ("reply-to", Cover::Oversigned),
    ("mime-version", Cover::Oversigned),
    ("content-type", Cover::Oversigned),
    ("content-transfer-encoding", Cover::Oversigned),
    ("sender", Cover::OversignedIfPresent),
    ("in-reply-to", Cover::OversignedIfPresent),
    ("references", Cover::OversignedIfPresent),
    ("content-id", Cover::OversignedIfPresent),
    ("content-description", Cover::OversignedIfPresent),
    ("content-disposition", Cover::OversignedIfPresent),
    ("content-language", Cover::OversignedIfPresent),
    ("content-location", Cover::OversignedIfPresent),
    ("content-duration", Cover::OversignedIfPresent),
    ("list-id", Cover::OversignedIfPresent),
    ("list-help", Cover::OversignedIfPresent),
    ("list-subscribe", Cover::OversignedIfPresent),
    ("list-unsubscribe", Cover::OversignedIfPresent),
    ("list-unsubscribe-post", Cover::OversignedIfPresent),
    ("list-owner", Cover::OversignedIfPresent),
    ("list-post", Cover::OversignedIfPresent),
    ("list-archive", Cover::OversignedIfPresent),
    ("feedback-id", Cover::OversignedIfPresent),
    ("bimi-selector", Cover::OversignedIfPresent),
    ("autocrypt", Cover::OversignedIfPresent),
    ("openpgp", Cover::OversignedIfPresent),
    ("auto-submitted", Cover::OversignedIfPresent),
    ("tls-report-domain", Cover::OversignedIfPresent),
    ("tls-report-submitter", Cover::OversignedIfPresent),
    ("resent-date", Cover::Present),
    ("resent-from", Cover::Present),
    ("resent-sender", Cover::Present),
    ("resent-to", Cover::Present),
    ("resent-cc", Cover::Present),
    ("resent-message-id", Cover::Present),
];

/// The names of `h=` for a message with these fields: the table's, less those in `unsigned` (lower case). From is always there
/// (RFC 6376 §5.4).
#[must_use]
pub fn covered(fields: &[Field<'_>], unsigned: &[String]) -> Vec<&'static str> {
    let mut names = Vec::new();
    for (name, cover) in COVERED {
        if *name != "from" && unsigned.iter().any(|left_out| left_out == name) {
            continue;
        }
        let there = fields.iter().filter(|field| field.name.eq_ignore_ascii_case(name)).count();
        let times = match cover {
            Cover::Oversigned => there + 1,
            Cover::OversignedIfPresent if there > 0 => there + 1,
            Cover::OversignedIfPresent | Cover::Present => there,
        };
        names.extend(std::iter::repeat_n(*name, times));
    }
    names
}

/// The names of `h=` of an ARC-Message-Signature: as [`covered`], and `dkim-signature` exactly as often as there is such a field
/// among those below (RFC 8617 §4.1.2). Not once more: a DKIM-Signature put on top later, or left out there, changes nothing.
#[must_use]
pub fn covered_by_arc(fields: &[Field<'_>], unsigned: &[String]) -> Vec<&'static str> {
    let mut names = covered(fields, unsigned);
    let signatures = fields.iter().filter(|field| field.name.eq_ignore_ascii_case("dkim-signature")).count();
    names.extend(std::iter::repeat_n("dkim-signature", signatures));
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::Headers;

    fn names(header: &str, unsigned: &[&str]) -> Vec<&'static str> {
        let headers = Headers::parse(header.as_bytes()).unwrap();
        let unsigned: Vec<String> = unsigned.iter().map(|name| (*name).to_owned()).collect();
        covered(&headers.iter().collect::<Vec<_>>(), &unsigned)
    }

    #[test]
    fn covers_what_is_there_and_once_more_where_nothing_may_be_added() {
        let there = names("From: a\r\nSubject: s\r\nReceived: x\r\nX-Mailer: y\r\nReferences: z\r\nResent-To: r\r\nList-Id: l\r\n", &[]);
        let times = |name: &str| there.iter().filter(|known| **known == name).count();
        for (name, expected) in [("from", 2), ("subject", 2), ("cc", 1), ("references", 2), ("list-id", 2), ("resent-to", 1), ("in-reply-to", 0)] {
            assert_eq!(times(name), expected, "{name}");
        }
        for never in ["received", "return-path", "x-mailer", "dkim-signature", "arc-seal", "authentication-results", "bcc", "dkim2-signature"] {
            assert_eq!(times(never), 0, "{never}");
        }
    }

    #[test]
    fn fields_that_a_smart_host_rewrites_are_left_out_but_never_from() {
        let there = names("From: a\r\nDate: d\r\nMessage-ID: m\r\n", &["date", "message-id", "from"]);
        assert!(!there.contains(&"date") && !there.contains(&"message-id"));
        assert_eq!(there.iter().filter(|name| **name == "from").count(), 2);
    }
}
