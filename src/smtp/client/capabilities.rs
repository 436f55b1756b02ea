//! What a next hop offered in its reply to EHLO (RFC 5321 §4.1.1.1). Forgotten at the next EHLO.

use crate::mail::RemoteReply;
use std::num::NonZeroU32;

/// The extensions a next hop offers; none after HELO.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "one for each extension, as EHLO lists them")]
pub struct Capabilities {
    /// EHLO was taken; otherwise the session was opened by HELO.
    pub esmtp: bool,
    /// It was LHLO that was taken: a delivery agent's, which answers a message once for each recipient (RFC 2033).
    pub lmtp: bool,
    /// The name the next hop gave itself.
    pub name: String,
    /// RFC 2920.
    pub pipelining: bool,
    /// RFC 1870: octets of the largest message; `Some(0)` when `SIZE` is offered and no maximum told.
    pub size: Option<u64>,
    /// RFC 6152.
    pub eight_bit_mime: bool,
    /// RFC 6531.
    pub smtputf8: bool,
    /// RFC 3030: BDAT is taken.
    pub chunking: bool,
    /// RFC 3461.
    pub dsn: bool,
    /// RFC 3207.
    pub starttls: bool,
    /// RFC 2034.
    pub enhanced_status_codes: bool,
    /// RFC 8689.
    pub requiretls: bool,
    /// RFC 4954: the SASL mechanisms, in capitals.
    pub auth: Vec<String>,
    /// RFC 9422.
    pub limits: Limits,
}

/// Limits a next hop announces (RFC 9422 §4). A value that is none counts as not given (§3).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Transactions in one session.
    pub mail_max: Option<NonZeroU32>,
    /// Recipients of one transaction.
    pub rcpt_max: Option<NonZeroU32>,
    /// Recipient domains of one session.
    pub rcpt_domain_max: Option<NonZeroU32>,
}

impl Capabilities {
    /// Reads the positive reply to EHLO.
    #[must_use]
    pub fn of_ehlo(reply: &RemoteReply) -> Self {
        let mut lines = reply.lines.iter();
        let mut offered = Self { esmtp: true, name: first_word(lines.next()), ..Self::default() };
        lines.for_each(|line| offered.note(line));
        offered
    }

    /// Reads the positive reply to HELO.
    #[must_use]
    pub fn of_helo(reply: &RemoteReply) -> Self {
        Self { name: first_word(reply.lines.first()), ..Self::default() }
    }

    fn note(&mut self, line: &str) {
        let mut words = line.split_ascii_whitespace();
        let keyword = words.next().unwrap_or_default().to_ascii_uppercase();
        match keyword.as_str() {
            "PIPELINING" => self.pipelining = true,
            "SIZE" => self.size = Some(words.next().and_then(|max| max.parse().ok()).unwrap_or(0)),
            "8BITMIME" => self.eight_bit_mime = true,
            "SMTPUTF8" => self.smtputf8 = true,
            "CHUNKING" => self.chunking = true,
            "DSN" => self.dsn = true,
            "STARTTLS" => self.starttls = true,
            "ENHANCEDSTATUSCODES" => self.enhanced_status_codes = true,
            "REQUIRETLS" => self.requiretls = true,
            "LIMITS" => self.limits = Limits::parse(words),
            "AUTH" => self.note_mechanisms(words),
            // What came before RFC 2554 and is still sent beside `AUTH`.
            old if old.starts_with("AUTH=") => self.note_mechanisms(old[5..].split(' ').chain(words)),
            _ => {}
        }
    }

    fn note_mechanisms<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        for name in names.map(str::to_ascii_uppercase) {
            if !name.is_empty() && !self.auth.contains(&name) {
                self.auth.push(name);
            }
        }
    }
}

impl Limits {
    fn parse<'a>(words: impl Iterator<Item = &'a str>) -> Self {
        let mut limits = Self::default();
        for (name, value) in words.filter_map(|word| word.split_once('=')) {
            let value = if value.len() <= LIMIT_DIGITS_MAX && value.bytes().all(|b| b.is_ascii_digit()) { value.parse().ok() } else { None };
            match name.to_ascii_uppercase().as_str() {
                "MAILMAX" => limits.mail_max = value,
                "RCPTMAX" => limits.rcpt_max = value,
                "RCPTDOMAINMAX" => limits.rcpt_domain_max = value,
                _ => {}
            }
        }
        limits
    }
}

fn first_word(line: Option<&String>) -> String {
    line.and_then(|line| line.split_ascii_whitespace().next()).unwrap_or_default().to_owned()
}

/// RFC 9422 §3: a value has at most six digits.
const LIMIT_DIGITS_MAX: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(lines: &[&str]) -> Capabilities {
        let lines = ["mx.example at your service"].iter().chain(lines).map(|&line| line.to_owned()).collect();
        Capabilities::of_ehlo(&RemoteReply { code: 250, enhanced: None, lines })
    }

    #[test]
    fn reads_what_large_receivers_offer() {
        let google = offered(&["SIZE 157286400", "8BITMIME", "STARTTLS", "ENHANCEDSTATUSCODES", "PIPELINING", "CHUNKING", "SMTPUTF8"]);
        assert!(google.pipelining && google.eight_bit_mime && google.starttls && google.enhanced_status_codes && google.chunking && google.smtputf8);
        assert_eq!((google.size, google.name.as_str(), google.dsn), (Some(157_286_400), "mx.example", false));

        let other = offered(&["auth LOGIN plain", "AUTH=PLAIN XOAUTH2", "dsn", "REQUIRETLS", "BINARYMIME", "X-WHATEVER"]);
        assert_eq!(other.auth, ["LOGIN", "PLAIN", "XOAUTH2"]);
        assert!(other.dsn && other.requiretls && !other.pipelining);
    }

    #[test]
    fn reads_size_with_and_without_a_maximum() {
        for (line, size) in [("SIZE", Some(0)), ("SIZE 0", Some(0)), ("SIZE 1000", Some(1000)), ("SIZE many", Some(0)), ("SIZER 7", None)] {
            assert_eq!(offered(&[line]).size, size, "{line}");
        }
    }

    #[test]
    fn a_limit_that_is_none_counts_as_not_given() {
        let limits = offered(&["LIMITS RCPTMAX=20 mailmax=5 RCPTDOMAINMAX=1 OTHER=9"]).limits;
        assert_eq!([limits.rcpt_max, limits.mail_max, limits.rcpt_domain_max].map(|limit| limit.map(NonZeroU32::get)), [Some(20), Some(5), Some(1)]);
        for bad in ["RCPTMAX=0", "RCPTMAX=", "RCPTMAX=-1", "RCPTMAX=+1", "RCPTMAX=1x", "RCPTMAX=1000000", "RCPTMAX"] {
            assert_eq!(offered(&[&format!("LIMITS {bad}")]).limits, Limits::default(), "{bad}");
        }
        assert_eq!(offered(&["LIMITS RCPTMAX=999999"]).limits.rcpt_max.map(NonZeroU32::get), Some(999_999));
    }
}
