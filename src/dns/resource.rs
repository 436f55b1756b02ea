//! Resource records as people publish and servers show them: the vocabulary of `dns`. Pure.

use crate::mail::{Domain, DomainError};
use std::fmt::{self, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// One record: who owns it and what it says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Resource {
    /// Where it stands.
    pub owner: Owner,
    /// What it says.
    pub data: Data,
}

/// The owner of a record: a name, or all names below one that have no records of their own (RFC 4592).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    /// `*.` stands in front.
    pub wildcard: bool,
    /// The name, without the asterisk.
    pub name: Domain,
}

/// What a record says, of the types that mail needs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Data {
    /// Its strings joined, nothing between (RFC 7208 §3.3, RFC 6376 §3.6.2.2).
    Txt(String),
    /// A host that takes mail; `None` is the null MX (RFC 7505).
    Mx {
        /// Lower comes first.
        preference: u16,
        /// The host.
        host: Option<Domain>,
    },
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// Another name for the owner.
    Cname(Domain),
    /// The name of an address.
    Ptr(Domain),
}

/// The types of [`Data`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// TXT.
    Txt,
    /// MX.
    Mx,
    /// A.
    A,
    /// AAAA.
    Aaaa,
    /// CNAME.
    Cname,
    /// PTR.
    Ptr,
}

impl Resource {
    /// A TXT record.
    #[must_use]
    pub fn txt(name: Domain, text: impl Into<String>) -> Self {
        Self { owner: name.into(), data: Data::Txt(text.into()) }
    }

    /// An MX record.
    #[must_use]
    pub fn mx(name: Domain, preference: u16, host: Option<Domain>) -> Self {
        Self { owner: name.into(), data: Data::Mx { preference, host } }
    }
}

impl From<Domain> for Owner {
    fn from(name: Domain) -> Self {
        Self { wildcard: false, name }
    }
}

impl FromStr for Owner {
    type Err = DomainError;
    fn from_str(text: &str) -> Result<Self, DomainError> {
        let bare = text.strip_prefix("*.");
        Ok(Self { wildcard: bare.is_some(), name: bare.unwrap_or(text).parse()? })
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.wildcard { "*." } else { "" }, self.name)
    }
}

impl Data {
    /// Its type.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Txt(_) => Kind::Txt,
            Self::Mx { .. } => Kind::Mx,
            Self::A(_) => Kind::A,
            Self::Aaaa(_) => Kind::Aaaa,
            Self::Cname(_) => Kind::Cname,
            Self::Ptr(_) => Kind::Ptr,
        }
    }

    /// As a zone file writes it: names with their final dot, texts in quoted strings of at most 255 octets (RFC 1035 §3.3, §5.1).
    #[must_use]
    pub fn zone_text(&self) -> String {
        match self {
            Self::Txt(text) => zone_strings(text),
            Self::Mx { preference, host } => format!("{preference} {}", host.as_ref().map_or_else(|| ".".to_owned(), |host| format!("{host}."))),
            Self::A(address) => address.to_string(),
            Self::Aaaa(address) => address.to_string(),
            Self::Cname(name) | Self::Ptr(name) => format!("{name}."),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Txt => "TXT",
            Self::Mx => "MX",
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Cname => "CNAME",
            Self::Ptr => "PTR",
        })
    }
}

/// A text as strings of at most 255 octets, each in quotes, a space between; what a zone file reads otherwise is escaped.
fn zone_strings(text: &str) -> String {
    let string = |octets: &[u8]| {
        let mut out = String::from("\"");
        for octet in octets {
            match octet {
                b'"' | b'\\' => out.extend(['\\', char::from(*octet)]),
                b' '..=b'~' => out.push(char::from(*octet)),
                _ => drop(write!(out, "\\{octet:03}")), // a String takes all
            }
        }
        out.push('"');
        out
    };
    if text.is_empty() {
        return "\"\"".to_owned();
    }
    text.as_bytes().chunks(STRING_OCTETS_MAX).map(string).collect::<Vec<_>>().join(" ")
}

/// RFC 1035 §3.3: a character-string.
pub const STRING_OCTETS_MAX: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_and_odd_ones_escaped() {
        let long = "x".repeat(256);
        assert_eq!(Data::Txt(long).zone_text(), format!("\"{}\" \"x\"", "x".repeat(255)));
        assert_eq!(Data::Txt("a\"b\\c\u{e9}".into()).zone_text(), "\"a\\\"b\\\\c\\195\\169\"");
        assert_eq!(Data::Mx { preference: 0, host: None }.zone_text(), "0 .");
        let owner: Owner = "*.Example.com".parse().unwrap();
        assert_eq!((owner.wildcard, owner.to_string()), (true, "*.example.com".to_owned()));
    }
}
