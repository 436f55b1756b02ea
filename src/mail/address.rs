//! Mailboxes (RFC 5321 §4.1.2, RFC 6531 §3.3): kept by meaning, quoted again whenever they are printed.

use super::{Domain, DomainError};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// `local-part@host`, at most 254 octets.
#[derive(Clone, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Mailbox {
    /// What the host alone interprets; its case matters to nobody else.
    pub local: LocalPart,
    /// The domain or address literal after the `@`.
    pub host: Host,
}

/// A local part by its meaning: the text between the quotes, should there have been any. 1 to 64 octets of UTF-8 without controls.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LocalPart(Box<str>);

/// What stands behind the `@`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Host {
    /// A domain name.
    Domain(Domain),
    /// An address literal (RFC 5321 §4.1.3): `[192.0.2.1]` or `[IPv6:2001:db8::1]`.
    Literal(IpAddr),
}

/// Why a text is not a mailbox.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// No `@` outside quotes.
    #[error("\"{0}\" is not an address: there is no \"@\"; expected user@example.com")]
    NoAt(String),
    /// The local part breaks RFC 5321 §4.1.2.
    #[error("\"{0}\" is not an address: {1}")]
    Local(String, &'static str),
    /// The domain breaks its rules.
    #[error(transparent)]
    Domain(#[from] DomainError),
    /// A literal that is no IP address.
    #[error("\"{0}\" is not an address literal; expected [192.0.2.1] or [IPv6:2001:db8::1]")]
    Literal(String),
    /// More than 254 octets (RFC 5321 §4.5.3.1.3, less the angle brackets), as it is written or with the A-labels of its domain.
    #[error("an address of {0} octets is too long; at most 254 are allowed")]
    TooLong(usize),
}

impl Mailbox {
    /// Reads `local-part@host` with no angle brackets and nothing around it.
    ///
    /// # Errors
    /// What breaks RFC 5321 §4.1.2 as widened by RFC 6531 §3.3, or is too long.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if text.len() > MAILBOX_OCTETS_MAX {
            return Err(AddressError::TooLong(text.len()));
        }
        let (local, rest) = LocalPart::parse_prefix(text)?;
        let Some(host) = rest.strip_prefix('@') else { return Err(AddressError::NoAt(text.to_owned())) };
        let mailbox = Self { local, host: Host::parse(host)? };
        // A-labels are longer than what was written. What is read is what is printed, stored, and read again.
        let octets = if text.is_ascii() { 0 } else { mailbox.to_string().len() };
        if octets > MAILBOX_OCTETS_MAX { Err(AddressError::TooLong(octets)) } else { Ok(mailbox) }
    }

    /// A mailbox from its parts.
    #[must_use]
    pub const fn new(local: LocalPart, domain: Domain) -> Self {
        Self { local, host: Host::Domain(domain) }
    }

    /// The domain; `None` for an address literal.
    #[must_use]
    pub const fn domain(&self) -> Option<&Domain> {
        match &self.host {
            Host::Domain(domain) => Some(domain),
            Host::Literal(_) => None,
        }
    }

    /// The same address with the ASCII letters of its local part in lower case: as bounce tokens and the suppression list compare.
    #[must_use]
    pub fn folded(&self) -> Self {
        Self { local: LocalPart(self.local.0.to_ascii_lowercase().into()), host: self.host.clone() }
    }

    /// Whether a hop without SMTPUTF8 can take it (RFC 6531 §3.2). The domain always can: it is in A-labels.
    #[must_use]
    pub fn is_ascii(&self) -> bool {
        self.local.0.is_ascii()
    }
}

impl LocalPart {
    /// Reads a local part, a dot-string or a quoted string.
    ///
    /// # Errors
    /// As [`Mailbox::parse`].
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        match Self::parse_prefix(text)? {
            (local, "") => Ok(local),
            _ => Err(AddressError::Local(text.to_owned(), "something follows the local part")),
        }
    }

    /// The meaning, without quotes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn parse_prefix(text: &str) -> Result<(Self, &str), AddressError> {
        let fault = |why| AddressError::Local(text.to_owned(), why);
        let (meaning, rest) = match text.strip_prefix('"') {
            Some(quoted) => Self::unquote(quoted).ok_or_else(|| fault("its quoted local part is not well formed"))?,
            None => {
                let at = text.find('@').unwrap_or(text.len());
                (text[..at].to_owned(), &text[at..])
            }
        };
        if meaning.is_empty() {
            return Err(fault("the part before the \"@\" is empty"));
        }
        if meaning.len() > LOCAL_OCTETS_MAX {
            return Err(fault("the part before the \"@\" is longer than 64 octets"));
        }
        if !text.starts_with('"') && !is_dot_string(&meaning) {
            return Err(fault("the part before the \"@\" holds a character that must be quoted"));
        }
        Ok((Self(meaning.into()), rest))
    }

    /// The text of a quoted string whose opening quote is already read, and what follows the closing one.
    fn unquote(quoted: &str) -> Option<(String, &str)> {
        let mut meaning = String::new();
        let mut chars = quoted.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => return Some((meaning, &quoted[at + 1..])),
                '\\' => meaning.push(chars.next().map(|(_, c)| c).filter(|c| (' '..='~').contains(c))?),
                c if c.is_control() => return None,
                c => meaning.push(c),
            }
        }
        None
    }
}

/// RFC 5321 §4.1.2 `Dot-string`, with the UTF-8 of RFC 6531 §3.3.
fn is_dot_string(text: &str) -> bool {
    text.split('.').all(|atom| {
        !atom.is_empty() && atom.chars().all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || (!c.is_ascii() && !c.is_control()))
    })
}

impl Host {
    /// Reads a domain or an address literal in square brackets.
    ///
    /// # Errors
    /// Neither of the two.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let Some(inner) = text.strip_prefix('[') else { return Ok(Self::Domain(Domain::parse(text)?)) };
        let fault = || AddressError::Literal(text.to_owned());
        let inner = inner.strip_suffix(']').ok_or_else(fault)?;
        let tagged = inner.get(..5).is_some_and(|tag| tag.eq_ignore_ascii_case("IPv6:"));
        let address = if tagged { inner[5..].parse::<Ipv6Addr>().map(IpAddr::V6) } else { inner.parse::<Ipv4Addr>().map(IpAddr::V4) };
        address.map(Self::Literal).map_err(|_| fault())
    }
}

impl FromStr for Mailbox {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(text)
    }
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.local, self.host)
    }
}

impl fmt::Display for LocalPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_dot_string(&self.0) {
            return f.write_str(&self.0);
        }
        f.write_str("\"")?;
        for c in self.0.chars() {
            if c == '"' || c == '\\' {
                f.write_str("\\")?;
            }
            write!(f, "{c}")?;
        }
        f.write_str("\"")
    }
}

impl fmt::Debug for LocalPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Domain(domain) => write!(f, "{domain}"),
            Self::Literal(IpAddr::V4(v4)) => write!(f, "[{v4}]"),
            Self::Literal(IpAddr::V6(v6)) => write!(f, "[IPv6:{v6}]"),
        }
    }
}

const LOCAL_OCTETS_MAX: usize = 64;
const MAILBOX_OCTETS_MAX: usize = 254;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints_addresses_by_meaning() {
        for (text, wire) in [
            ("User@Example.COM", "User@example.com"),
            ("\"user\"@example.com", "user@example.com"),
            ("\"a b\"@example.com", "\"a b\"@example.com"),
            ("\"a\\\"> SIZE=1\"@x.example", "\"a\\\"> SIZE=1\"@x.example"),
            ("\"a@b\"@x.example", "\"a@b\"@x.example"),
            ("用户@例子.example", "用户@xn--fsqu00a.example"),
            ("a@[192.0.2.1]", "a@[192.0.2.1]"),
            ("a@[IPv6:2001:DB8::1]", "a@[IPv6:2001:db8::1]"),
            ("www-data@pod-7", "www-data@pod-7"),
        ] {
            let mailbox = Mailbox::parse(text).unwrap();
            assert_eq!(mailbox.to_string(), wire);
            assert_eq!(Mailbox::parse(wire).unwrap(), mailbox);
        }
    }

    /// 52 octets a label as written, 58 as A-label.
    #[test]
    fn an_address_has_its_length_as_it_is_stored() {
        let host = format!("{}subdomain.example", format!("{}å.", "v".repeat(50)).repeat(3));
        let long = |local: usize| format!("{}@{host}", "a".repeat(local));
        let fits = Mailbox::parse(&long(59)).unwrap().to_string();
        assert_eq!((fits.len(), Mailbox::parse(&fits).unwrap().to_string()), (MAILBOX_OCTETS_MAX, fits));
        assert!(long(60).len() < MAILBOX_OCTETS_MAX);
        assert_eq!(Mailbox::parse(&long(60)), Err(AddressError::TooLong(MAILBOX_OCTETS_MAX + 1)));
    }

    #[test]
    fn a_local_part_stands_alone() {
        for (text, meaning) in [("jane.doe", "jane.doe"), ("\"a b\"", "a b"), ("b2", "b2")] {
            assert_eq!(LocalPart::parse(text).unwrap().as_str(), meaning);
        }
        for text in ["", "a b", "a@", "a@x.example", "\"a\"b"] {
            assert!(LocalPart::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn refuses_what_could_hide_a_command() {
        let long = format!("{}@example.com", "a".repeat(65));
        for text in [
            "",
            "a",
            "@x.example",
            "a b@x.example",
            ".a@x.example",
            "a..b@x.example",
            "a@",
            "\"a@x.example",
            "\"\"@x.example",
            "a@[1.2.3]",
            "a@[IPv6:zz]",
            "a\r\n@x.example",
            "\"a\r\nb\"@x.example",
            "a@x.example>",
            "a@b@c.example",
            &long,
        ] {
            assert!(Mailbox::parse(text).is_err(), "{text:?}");
        }
    }
}
