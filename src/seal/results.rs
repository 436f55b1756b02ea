//! Authentication-Results: read, printed, and forged ones taken out (RFC 8601). Pure.
//!
//! Every such field was written by somebody; only those of hosts that the operator names are believed.

use crate::mail::{Field, HeaderFault, Headers, Message};
use bytes::{Bytes, BytesMut};
use std::fmt;

/// The payload of a field: who judged, and what (RFC 8601 §2.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Results {
    /// The authserv-id.
    pub authserv_id: String,
    /// Empty for `none`.
    pub results: Vec<MethodResult>,
}

/// One `method=result` with what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MethodResult {
    /// `dkim`, `spf`, `dmarc`, `arc`, `auth` … in lower case.
    pub method: String,
    /// `pass`, `fail`, `none` … in lower case.
    pub result: String,
    /// `reason=`.
    pub reason: Option<String>,
    /// In order.
    pub properties: Vec<Property>,
}

/// `ptype.property=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    /// `smtp`, `header`, `body`, `policy`, in lower case.
    pub ptype: String,
    /// Its name, in lower case.
    pub name: String,
    /// Its value, without quotes.
    pub value: String,
}

/// Why a field's value is not of RFC 8601's form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ResultsFault {
    /// Not UTF-8.
    #[error("it is not UTF-8")]
    NotText,
    /// Longer than [`FIELD_OCTETS_MAX`].
    #[error("it has more than {FIELD_OCTETS_MAX} octets")]
    TooLong,
    /// The grammar is broken.
    #[error("expected {0}")]
    Expected(&'static str),
    /// More than [`RESULTS_MAX`] results or [`PROPERTIES_MAX`] properties of one, or comments nested deeper than [`COMMENT_DEPTH_MAX`].
    #[error("it has too many parts")]
    TooMany,
}

impl Results {
    /// Reads what follows the colon of an Authentication-Results field.
    ///
    /// # Errors
    /// What is not of the form of RFC 8601 §2.2 or beyond the bounds of this file.
    pub fn parse(value: &[u8]) -> Result<Self, ResultsFault> {
        if value.len() > FIELD_OCTETS_MAX {
            return Err(ResultsFault::TooLong);
        }
        let text = std::str::from_utf8(value).map_err(|_| ResultsFault::NotText)?;
        let mut cursor = Cursor { rest: text };
        let authserv_id = cursor.authserv_id()?;
        cursor.space()?;
        if cursor.rest.starts_with(|c: char| c.is_ascii_digit()) {
            cursor.keyword("a version")?;
            cursor.space()?;
        }
        let mut results = Vec::new();
        while !cursor.rest.is_empty() {
            cursor.expect(';', "\";\" between results")?;
            cursor.space()?;
            if cursor.rest.is_empty() {
                break; // a closing ";" is common though not in the grammar
            }
            if results.len() == RESULTS_MAX {
                return Err(ResultsFault::TooMany);
            }
            results.extend(cursor.method_result()?);
        }
        Ok(Self { authserv_id, results })
    }
}

/// Whether a field's value claims to come from `own_id`. One that cannot be read does so when the name stands in it.
#[must_use]
pub fn claims(value: &[u8], own_id: &str) -> bool {
    let text = String::from_utf8_lossy(value);
    match (Cursor { rest: &text }).authserv_id() {
        Ok(id) => id.eq_ignore_ascii_case(own_id),
        Err(_) => text.to_ascii_lowercase().contains(&own_id.to_ascii_lowercase()),
    }
}

/// The Authentication-Results fields that claim to be ours and are not: we write none (RFC 8601 §5).
pub fn forged<'h>(headers: &'h Headers<'_>, own_id: &'h str) -> impl Iterator<Item = Field<'h>> + 'h {
    headers.named(FIELD_NAME).filter(move |field| claims(field.value, own_id))
}

/// The message without the fields that [`forged`] names, octet for octet otherwise; the same octets when there are none. To be done
/// before anything is signed. Where a host inside our own boundary writes our id, name it in `trusted` and nothing is removed.
///
/// # Errors
/// Never for a message that parsed; removing a whole field leaves a header that parses.
pub fn strip_own(message: &Message, own_id: &str, trusted: &[String]) -> Result<Message, HeaderFault> {
    let headers = message.headers();
    if trusted.iter().any(|id| id.eq_ignore_ascii_case(own_id)) || forged(&headers, own_id).next().is_none() {
        return Ok(message.clone());
    }
    let mut kept = BytesMut::with_capacity(message.octets().len());
    for field in headers.iter().filter(|field| !(field.name.eq_ignore_ascii_case(FIELD_NAME) && claims(field.value, own_id))) {
        kept.extend_from_slice(field.raw);
    }
    let fields: usize = headers.iter().map(|field| field.raw.len()).sum();
    kept.extend_from_slice(&message.octets()[fields..]); // the empty line and the body
    Message::parse(Bytes::from(kept))
}

/// The results in fields of the hosts named in `trusted`, top to bottom, those that no header line holds left out.
#[must_use]
pub fn believed(headers: &Headers<'_>, trusted: &[String]) -> Vec<MethodResult> {
    let fields = headers.named(FIELD_NAME).filter_map(|field| Results::parse(field.value).ok());
    let ours = fields.filter(|results| trusted.iter().any(|id| id.eq_ignore_ascii_case(&results.authserv_id)));
    ours.flat_map(|results| results.results).filter(MethodResult::fits_a_line).take(RESULTS_MAX).collect()
}

impl MethodResult {
    /// A bare `method=result`.
    #[must_use]
    pub fn new(method: &str, result: &str) -> Self {
        Self { method: method.to_owned(), result: result.to_owned(), reason: None, properties: Vec::new() }
    }

    /// Whether a header line holds it: ASCII, and not longer than [`RESULT_OCTETS_MAX`] even if it cannot be folded.
    #[must_use]
    pub fn fits_a_line(&self) -> bool {
        let text = self.to_string();
        text.is_ascii() && text.len() <= RESULT_OCTETS_MAX
    }

    /// With one more property.
    #[must_use]
    pub fn with(mut self, ptype: &str, name: &str, value: &str) -> Self {
        self.properties.push(Property { ptype: ptype.to_owned(), name: name.to_owned(), value: value.to_owned() });
        self
    }
}

/// On one line; `id; none` when there are no results.
impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_value(f, &self.authserv_id, false)?;
        if self.results.is_empty() {
            return f.write_str("; none");
        }
        for result in &self.results {
            write!(f, "; {result}")?;
        }
        Ok(())
    }
}

impl fmt::Display for MethodResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.method, self.result)?;
        if let Some(reason) = &self.reason {
            f.write_str(" reason=")?;
            write_value(f, reason, false)?;
        }
        for Property { ptype, name, value } in &self.properties {
            write!(f, " {ptype}.{name}=")?;
            write_value(f, value, true)?;
        }
        Ok(())
    }
}

/// A `value` of RFC 2045 §5.1: a token as it is, anything else quoted. A `pvalue` may hold an address too. What could end a line is
/// replaced: a domain's text must not become a field of its own.
fn write_value(f: &mut fmt::Formatter<'_>, value: &str, address: bool) -> fmt::Result {
    if !value.is_empty() && value.chars().all(|c| is_token(c) || (address && matches!(c, '@' | '/'))) {
        return f.write_str(value);
    }
    f.write_str("\"")?;
    for c in value.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            c if c.is_control() => f.write_str("?")?,
            c => write!(f, "{c}")?,
        }
    }
    f.write_str("\"")
}

/// What is left to read.
struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    fn authserv_id(&mut self) -> Result<String, ResultsFault> {
        self.space()?;
        self.value("an authserv-id")
    }

    /// `none` gives nothing.
    fn method_result(&mut self) -> Result<Option<MethodResult>, ResultsFault> {
        let method = self.keyword("a method")?;
        self.space()?;
        if method == "none" && (self.rest.is_empty() || self.rest.starts_with(';')) {
            return Ok(None);
        }
        if self.skip('/') {
            self.space()?;
            self.keyword("a method's version")?;
            self.space()?;
        }
        self.expect('=', "\"=\" behind the method")?;
        self.space()?;
        let mut found = MethodResult { method, result: self.keyword("a result")?, reason: None, properties: Vec::new() };
        loop {
            self.space()?;
            if self.rest.is_empty() || self.rest.starts_with(';') {
                return Ok(Some(found));
            }
            let word = self.keyword("a property")?;
            self.space()?;
            if word == "reason" && self.skip('=') {
                self.space()?;
                found.reason = Some(self.value("a reason")?);
                continue;
            }
            self.expect('.', "\".\" behind a property type")?;
            self.space()?;
            let name = self.keyword("a property's name")?;
            self.space()?;
            self.expect('=', "\"=\" behind a property")?;
            self.space()?;
            if found.properties.len() == PROPERTIES_MAX {
                return Err(ResultsFault::TooMany);
            }
            found.properties.push(Property { ptype: word, name, value: self.property_value()? });
        }
    }

    /// A value, or an address, whose local part may be quoted.
    fn property_value(&mut self) -> Result<String, ResultsFault> {
        let quoted = self.rest.starts_with('"');
        let mut value = if quoted { self.quoted()? } else { String::new() };
        if !quoted || self.rest.starts_with('@') {
            let tail = self.run(|c| is_token(c) || matches!(c, '@' | '/' | '=' | ':' | '[' | ']' | '?'));
            value.push_str(tail);
            if !quoted && tail.is_empty() && !(self.rest.is_empty() || self.rest.starts_with([';', ' ', '\t', '\r', '('])) {
                return Err(ResultsFault::Expected("a property's value"));
            }
        }
        Ok(value)
    }

    fn value(&mut self, what: &'static str) -> Result<String, ResultsFault> {
        if self.rest.starts_with('"') {
            return self.quoted();
        }
        match self.run(|c| is_token(c) || c == '/') {
            "" => Err(ResultsFault::Expected(what)),
            value => Ok(value.to_owned()),
        }
    }

    /// RFC 5321's Keyword: letters, digits, hyphens; an underscore is seen in the wild. In lower case.
    fn keyword(&mut self, what: &'static str) -> Result<String, ResultsFault> {
        match self.run(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')) {
            "" => Err(ResultsFault::Expected(what)),
            word => Ok(word.to_ascii_lowercase()),
        }
    }

    fn quoted(&mut self) -> Result<String, ResultsFault> {
        let mut value = String::new();
        let mut chars = self.rest[1..].char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.rest = &self.rest[at + 2..];
                    return Ok(value);
                }
                '\\' => value.extend(chars.next().map(|(_, c)| c)),
                '\r' | '\n' => {} // a fold
                c => value.push(c),
            }
        }
        Err(ResultsFault::Expected("a closing quote"))
    }

    /// White space, folds and comments.
    fn space(&mut self) -> Result<(), ResultsFault> {
        loop {
            self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
            if !self.rest.starts_with('(') {
                return Ok(());
            }
            let mut depth = 0usize;
            let mut escaped = false;
            let end = self.rest.char_indices().find_map(|(at, c)| {
                match c {
                    _ if escaped => escaped = false,
                    '\\' => escaped = true,
                    '(' => depth += 1,
                    ')' => depth -= 1,
                    _ => {}
                }
                (depth == 0 || depth > COMMENT_DEPTH_MAX).then_some(at)
            });
            if depth > COMMENT_DEPTH_MAX {
                return Err(ResultsFault::TooMany);
            }
            self.rest = &self.rest[end.ok_or(ResultsFault::Expected("the end of a comment"))? + 1..];
        }
    }

    fn run(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !belongs(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    fn skip(&mut self, c: char) -> bool {
        self.rest.strip_prefix(c).map(|rest| self.rest = rest).is_some()
    }

    fn expect(&mut self, c: char, what: &'static str) -> Result<(), ResultsFault> {
        if self.skip(c) { Ok(()) } else { Err(ResultsFault::Expected(what)) }
    }
}

/// RFC 2045 §5.1 `token`, with the UTF-8 of RFC 6532.
fn is_token(c: char) -> bool {
    !c.is_whitespace() && !c.is_control() && !"()<>@,;:\\\"/[]?=".contains(c)
}

const FIELD_NAME: &str = "Authentication-Results";
/// Octets of one field that are read.
pub const FIELD_OCTETS_MAX: usize = 16 * 1024;
/// Octets of one result that is passed on; a line has at most 998 (RFC 5322 §2.1.1).
pub const RESULT_OCTETS_MAX: usize = 900;
/// Results of one field.
pub const RESULTS_MAX: usize = 64;
/// Properties of one result.
pub const PROPERTIES_MAX: usize = 32;
/// How deep comments may nest.
pub const COMMENT_DEPTH_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(value: &str) -> Result<String, ResultsFault> {
        Results::parse(value.as_bytes()).map(|results| results.to_string())
    }

    /// The examples of RFC 8601 appendix B, and what big receivers write.
    #[test]
    fn reads_what_others_write() {
        for (value, expected) in [
            (" example.org 1; none\r\n", "example.org; none"),
            (" example.com;\r\n        spf=pass smtp.mailfrom=example.net\r\n", "example.com; spf=pass smtp.mailfrom=example.net"),
            (
                " example.com;\r\n  auth=pass (cram-md5) smtp.auth=sender@example.net;\r\n  spf=fail smtp.mailfrom=example.net\r\n",
                "example.com; auth=pass smtp.auth=sender@example.net; spf=fail smtp.mailfrom=example.net",
            ),
            (
                " example.com; dkim=pass reason=\"good signature\" header.i=@mail-router.example.net; dkim=fail reason=\"bad signature\" header.i=@newyork.example.com",
                "example.com; dkim=pass reason=\"good signature\" header.i=@mail-router.example.net; dkim=fail reason=\"bad signature\" header.i=@newyork.example.com",
            ),
            (
                " foo.example.net (foobar) 1 (baz);\r\n dkim (Because I like it) / 1 (One yay) = (wait for it) fail\r\n policy (A dot can go here) . (like that) expired\r\n (this surprised me) = (as I wasn't expecting it) 1362471462",
                "foo.example.net; dkim=fail policy.expired=1362471462",
            ),
            (
                " mx.google.com;\r\n dkim=pass header.i=@example.com header.s=s1 header.b=\"a/B+c=\";\r\n dmarc=pass (p=REJECT sp=REJECT dis=NONE) header.from=example.com",
                "mx.google.com; dkim=pass header.i=@example.com header.s=s1 header.b=\"a/B+c=\"; dmarc=pass header.from=example.com",
            ),
            (" x; spf=none smtp.mailfrom=", "x; spf=none smtp.mailfrom=\"\""),
            (" x; spf=pass smtp.mailfrom=\"a b\"@example.com", "x; spf=pass smtp.mailfrom=\"a b@example.com\""),
        ] {
            assert_eq!(read(value).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn refuses_what_is_not_of_the_form_or_beyond_bounds() {
        for value in ["", ";", "x; spf", "x; spf=", "x spf=pass", "x; spf=pass smtp=1", "x; spf=pass (", "x; spf=pass reason=\"", "x; =pass"] {
            assert!(matches!(read(value), Err(ResultsFault::Expected(_))), "{value}: {:?}", read(value));
        }
        let many = |count: usize| format!("x{}", "; a=b".repeat(count));
        assert!(read(&many(RESULTS_MAX)).is_ok());
        assert_eq!(read(&many(RESULTS_MAX + 1)), Err(ResultsFault::TooMany));
        let properties = |count: usize| format!("x; a=b{}", " p.q=r".repeat(count));
        assert!(read(&properties(PROPERTIES_MAX)).is_ok());
        assert_eq!(read(&properties(PROPERTIES_MAX + 1)), Err(ResultsFault::TooMany));
        let nested = |depth: usize| format!("{}{} x", "(".repeat(depth), ")".repeat(depth));
        assert!(read(&nested(COMMENT_DEPTH_MAX)).is_ok());
        assert_eq!(read(&nested(COMMENT_DEPTH_MAX + 1)), Err(ResultsFault::TooMany));
        let long = |octets: usize| format!("x{}", " ".repeat(octets - 1));
        assert!(read(&long(FIELD_OCTETS_MAX)).is_ok());
        assert_eq!(read(&long(FIELD_OCTETS_MAX + 1)), Err(ResultsFault::TooLong));
    }

    #[test]
    fn a_value_cannot_break_out_of_its_field() {
        let results = Results { authserv_id: "mx".into(), results: vec![MethodResult::new("dkim", "pass").with("header", "d", "a\r\nSubject: \"x")] };
        assert_eq!(results.to_string(), "mx; dkim=pass header.d=\"a??Subject: \\\"x\"");
    }

    #[test]
    fn results_in_our_name_are_taken_out_and_nothing_else_changes() {
        let text = "Received: r\r\nAuthentication-Results: (x) MX.example.com; spf=pass\r\nauthentication-results: other.example; spf=pass\r\n\
                    Authentication-Results: mx.example.com.evil; spf=pass\r\nAuthentication-Results: (unclosed mx.example.com\r\nFrom: a\r\n\r\nbody\r\n";
        let message = Message::parse(Bytes::from(text)).unwrap();
        let stripped = strip_own(&message, "mx.example.com", &[]).unwrap();
        assert_eq!(
            stripped.octets(),
            "Received: r\r\nauthentication-results: other.example; spf=pass\r\nAuthentication-Results: mx.example.com.evil; spf=pass\r\nFrom: a\r\n\r\nbody\r\n"
        );
        assert_eq!(strip_own(&message, "nobody.example", &[]).unwrap(), message);
        assert_eq!(strip_own(&message, "mx.example.com", &["mx.example.com".into()]).unwrap(), message, "named as trusted");
    }

    #[test]
    fn only_named_hosts_are_believed() {
        let text = "Authentication-Results: mx.example; spf=pass\r\nAuthentication-Results: evil.example; dmarc=pass\r\n\
                    Authentication-Results: mx.example; dkim=pass header.d=b\u{fc}cher.example; dmarc=fail\r\n\r\n";
        let headers = Headers::parse(text.as_bytes()).unwrap();
        let found: Vec<_> = believed(&headers, &["MX.example".into()]).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["spf=pass", "dmarc=fail"]);
    }

    proptest! {
        #[test]
        fn reading_never_panics(value in prop::collection::vec(any::<u8>(), 0..200), id in "[a-z.]{1,10}") {
            let _ = Results::parse(&value);
            let _ = claims(&value, &id);
        }

        #[test]
        fn near_misses_never_panic(value in "[a-z;=.()\"\\\\ /0-9é]{0,80}") {
            let _ = Results::parse(value.as_bytes());
        }

        #[test]
        fn what_is_printed_reads_back(id in "[a-z.]{1,20}", method in "[a-z][a-z-]{0,8}", result in "[a-z]{1,8}", reason in "\\PC{0,20}", value in "[ -~]{0,20}") {
            prop_assume!(method != "none");
            let mut one = MethodResult::new(&method, &result).with("header", "d", &value);
            one.reason = Some(reason);
            let results = Results { authserv_id: id, results: vec![one] };
            prop_assert_eq!(Results::parse(results.to_string().as_bytes()), Ok(results));
        }
    }
}
