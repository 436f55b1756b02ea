//! Macro strings: read and expanded (RFC 7208 §7).

use super::fault::Why;
use std::fmt::Write as _;
use std::net::IpAddr;

/// A text with macros, whose syntax is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MacroString {
    text: String,
    parts: Vec<Part>,
}

/// What macros stand for (RFC 7208 §7.2).
#[derive(Debug, Clone, Copy)]
pub struct Values<'a> {
    /// `l`: in front of the `@` of the sender.
    pub local: &'a str,
    /// `o`: behind it.
    pub sender_domain: &'a str,
    /// `d`: whose record is being read.
    pub domain: &'a str,
    /// `i`, `c` and `v`: the client's address.
    pub address: IpAddr,
    /// `p`: its validated name, `unknown` where there is none.
    pub validated: &'a str,
    /// `h`: the name it gave in EHLO.
    pub helo: &'a str,
    /// `r`: the receiving host, `unknown` where it does not say.
    pub receiver: &'a str,
    /// `t`: seconds since 1970.
    pub timestamp: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    /// `%%`, `%_` and `%-`, as what they stand for.
    Escape(&'static str),
    Macro {
        /// In lower case.
        letter: char,
        /// The letter is a capital: what comes out is escaped as in an URL.
        escaped: bool,
        /// Labels kept, from the right; `None` keeps all.
        kept: Option<usize>,
        reversed: bool,
        /// `.` where none is written.
        delimiters: String,
    },
}

/// Where a macro string stands, which decides what may be in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// `domain-spec`: it ends in a top-level domain or a macro.
    Domain,
    /// The value of a modifier nobody knows.
    Modifier,
    /// The text of an explanation, which may hold spaces.
    Explanation,
}

impl MacroString {
    /// The text of an explanation, as a TXT record has it (RFC 7208 §6.2).
    ///
    /// # Errors
    /// It is not ASCII, or a macro is not one.
    pub fn explanation(text: &str) -> Result<Self, Why> {
        Self::read(text, Place::Explanation)
    }

    /// As written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether one of these letters is expanded in it.
    #[must_use]
    pub fn uses(&self, letters: &str) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Macro { letter, .. } if letters.contains(*letter)))
    }

    /// With every macro replaced.
    #[must_use]
    pub fn expand(&self, values: &Values<'_>) -> String {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(text) => out.push_str(text),
                Part::Escape(text) => out.push_str(text),
                Part::Macro { letter, escaped, kept, reversed, delimiters } => {
                    let value = transformed(&values.of(*letter), *kept, *reversed, delimiters);
                    if *escaped { url_escape(&value, &mut out) } else { out.push_str(&value) }
                }
            }
        }
        out
    }

    /// Reads a macro string that stands at `place`.
    pub(super) fn read(text: &str, place: Place) -> Result<Self, Why> {
        let may_stand = |c: char| ('!'..='~').contains(&c) || (c == ' ' && place == Place::Explanation);
        if let Some(odd) = text.chars().find(|c| !may_stand(*c)) {
            return Err(Why::Character(odd));
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((literal, behind)) = rest.split_once('%') {
            push_literal(&mut parts, literal);
            rest = match behind.chars().next() {
                Some('%') => escape(&mut parts, "%", behind),
                Some('_') => escape(&mut parts, " ", behind),
                Some('-') => escape(&mut parts, "%20", behind),
                Some('{') => {
                    let (inside, after) = behind[1..].split_once('}').ok_or_else(|| Why::Macro(format!("%{behind}")))?;
                    parts.push(macro_part(inside, place)?);
                    after
                }
                _ => return Err(Why::Percent),
            };
        }
        push_literal(&mut parts, rest);
        if place == Place::Domain && !ends_as_domain(&parts) {
            return Err(Why::DomainEnd(text.to_owned()));
        }
        Ok(Self { text: text.to_owned(), parts })
    }
}

impl Values<'_> {
    fn of(&self, letter: char) -> String {
        match letter {
            's' => format!("{}@{}", self.local, self.sender_domain),
            'l' => self.local.to_owned(),
            'o' => self.sender_domain.to_owned(),
            'd' => self.domain.to_owned(),
            'i' => dotted(self.address),
            'p' => self.validated.to_owned(),
            'v' => if self.address.is_ipv4() { "in-addr" } else { "ip6" }.to_owned(),
            'h' => self.helo.to_owned(),
            'c' => self.address.to_string(),
            'r' => self.receiver.to_owned(),
            't' => self.timestamp.to_string(),
            _ => String::new(), // `macro_part` lets no other through
        }
    }
}

fn push_literal(parts: &mut Vec<Part>, literal: &str) {
    if !literal.is_empty() {
        parts.push(Part::Literal(literal.to_owned()));
    }
}

fn escape<'a>(parts: &mut Vec<Part>, text: &'static str, behind: &'a str) -> &'a str {
    parts.push(Part::Escape(text));
    &behind[1..]
}

/// What stands between `%{` and `}`: a letter, digits, `r`, delimiters.
fn macro_part(inside: &str, place: Place) -> Result<Part, Why> {
    let fault = || Why::Macro(format!("%{{{inside}}}"));
    let first = inside.chars().next().ok_or_else(fault)?;
    let letter = first.to_ascii_lowercase();
    if !LETTERS.contains(letter) {
        return Err(fault());
    }
    if place == Place::Domain && EXPLANATION_LETTERS.contains(letter) {
        return Err(Why::MacroOfExplanations(format!("%{{{inside}}}")));
    }
    let rest = &inside[1..];
    let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, rest) = rest.split_at(digits);
    let kept = if number.is_empty() { None } else { Some(number.parse().unwrap_or(usize::MAX)) };
    if kept == Some(0) {
        return Err(fault());
    }
    let bare = rest.strip_prefix(['r', 'R']);
    let delimiters = bare.unwrap_or(rest);
    if !delimiters.chars().all(|c| DELIMITERS.contains(c)) {
        return Err(fault());
    }
    let delimiters = if delimiters.is_empty() { "." } else { delimiters }.to_owned();
    Ok(Part::Macro { letter, escaped: first.is_ascii_uppercase(), kept, reversed: bare.is_some(), delimiters })
}

/// RFC 7208 §7.1: `domain-end` is a dot and a top-level domain, or a macro.
fn ends_as_domain(parts: &[Part]) -> bool {
    match parts.last() {
        Some(Part::Macro { .. } | Part::Escape(_)) => true,
        Some(Part::Literal(text)) => text.strip_suffix('.').unwrap_or(text).rsplit_once('.').is_some_and(|(_, top)| is_top_label(top)),
        None => false,
    }
}

fn is_top_label(label: &str) -> bool {
    label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().any(|b| b.is_ascii_alphabetic() || b == b'-')
}

/// RFC 7208 §7.3: split at the delimiters, turned round, cut, joined with dots.
fn transformed(value: &str, kept: Option<usize>, reversed: bool, delimiters: &str) -> String {
    let mut labels: Vec<&str> = value.split(|c| delimiters.contains(c)).collect();
    if reversed {
        labels.reverse();
    }
    let dropped = labels.len().saturating_sub(kept.unwrap_or(usize::MAX));
    labels[dropped..].join(".")
}

/// IPv4 as usual, IPv6 as nibbles (RFC 7208 §7.3).
fn dotted(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let nibbles: Vec<String> = address.octets().iter().flat_map(|octet| [octet >> 4, octet & 15]).map(|nibble| format!("{nibble:x}")).collect();
            nibbles.join(".")
        }
    }
}

/// RFC 3986 §2.3: all but the unreserved.
fn url_escape(value: &str, out: &mut String) {
    for octet in value.bytes() {
        if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
            out.push(char::from(octet));
        } else {
            let _ = write!(out, "%{octet:02X}"); // a String takes all
        }
    }
}

/// RFC 7208 §7.1: `macro-letter`.
const LETTERS: &str = "slodiphvcrt";
/// RFC 7208 §7.2: those only an explanation may have.
const EXPLANATION_LETTERS: &str = "crt";
/// RFC 7208 §7.1: `delimiter`.
const DELIMITERS: &str = ".-+,/_=";

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 7208 §7.4.
    #[test]
    fn expands_the_standards_examples() {
        let values = Values {
            local: "strong-bad",
            sender_domain: "email.example.com",
            domain: "email.example.com",
            address: "192.0.2.3".parse().unwrap(),
            validated: "mx.example.org",
            helo: "mx.example.org",
            receiver: "unknown",
            timestamp: 0,
        };
        let six = Values { address: "2001:db8::cb01".parse().unwrap(), ..values };
        for (text, values, expect) in [
            ("%{s}", values, "strong-bad@email.example.com"),
            ("%{o}", values, "email.example.com"),
            ("%{d4}", values, "email.example.com"),
            ("%{d2}", values, "example.com"),
            ("%{d1}", values, "com"),
            ("%{dr}", values, "com.example.email"),
            ("%{d2r}", values, "example.email"),
            ("%{l-}", values, "strong.bad"),
            ("%{lr-}", values, "bad.strong"),
            ("%{l1r-}", values, "strong"),
            ("%{ir}.%{v}._spf.%{d2}", values, "3.2.0.192.in-addr._spf.example.com"),
            ("%{lr-}.lp._spf.%{d2}", values, "bad.strong.lp._spf.example.com"),
            ("%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}", values, "3.2.0.192.in-addr.strong.lp._spf.example.com"),
            ("%{d2}.trusted-domains.example.net", values, "example.com.trusted-domains.example.net"),
            ("%{ir}.%{v}._spf.%{d2}", six, "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6._spf.example.com"),
            ("%{S}%%%_%-", values, "strong-bad%40email.example.com% %20"),
        ] {
            assert_eq!(MacroString::read(text, Place::Domain).unwrap().expand(&values), expect, "{text}");
        }
    }
}
