//! What is wrong with a term, and what was probably meant.

use std::fmt;

/// A fault of a record: receivers answer permerror.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{term}\" (at character {}): {why}", at + 1)]
pub struct SpfFault {
    /// Octets of the record before the term.
    pub at: usize,
    /// The term, as written; shortened where it is long.
    pub term: String,
    /// What is wrong with it.
    pub why: Why,
}

/// What is wrong with a term.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// The record does not begin with `v=spf1` and a space.
    Version,
    /// No mechanism has this name.
    UnknownMechanism {
        /// The name.
        name: String,
        /// What to write, the whole term.
        meant: Option<String>,
    },
    /// Nothing may follow here.
    NoArgument {
        /// The mechanism.
        mechanism: &'static str,
        /// What follows.
        found: String,
    },
    /// A name must follow the colon or equals sign.
    DomainMissing(&'static str),
    /// A name does not end as names do.
    DomainEnd(String),
    /// Not an address or network.
    Network {
        /// `ip4` or `ip6`.
        mechanism: &'static str,
        /// What stands there.
        found: String,
        /// What to write.
        hint: Option<String>,
    },
    /// More bits than an address has, or no number.
    Prefix {
        /// What stands behind the slash.
        found: String,
        /// 32 or 128.
        bits_max: u8,
    },
    /// Two terms without a space between them; the second.
    SpaceMissing(String),
    /// The value of a mechanism stands behind a space.
    SpaceInside(String),
    /// A character that no term has.
    Character(char),
    /// A `%` that begins no macro.
    Percent,
    /// Not a macro.
    Macro(String),
    /// A macro that only explanations may have.
    MacroOfExplanations(String),
    /// A modifier that may stand once stands twice.
    ModifierTwice,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version => f.write_str("a record begins with \"v=spf1\" and a space"),
            Self::UnknownMechanism { meant: Some(meant), name } => write!(f, "there is no mechanism \"{name}\"; write \"{meant}\""),
            Self::UnknownMechanism { meant: None, name } => {
                write!(f, "there is no mechanism \"{name}\"; there are all, include, a, mx, ptr, ip4, ip6 and exists, and the modifiers redirect= and exp=")
            }
            Self::NoArgument { mechanism, found } => write!(f, "\"{found}\" may not follow \"{mechanism}\""),
            Self::DomainMissing(mechanism) => write!(f, "\"{mechanism}\" needs the name of a domain, as in \"{mechanism}spf.example.com\""),
            Self::DomainEnd(found) => {
                write!(f, "\"{found}\" is no domain: expected a name with a dot that ends in letters, as in \"spf.example.com\", or in a macro")
            }
            Self::Network { mechanism, found, hint } => {
                let example = if *mechanism == "ip4" { "192.0.2.0/24" } else { "2001:db8::/32" };
                write!(f, "\"{found}\" is no address or network; ")?;
                match hint {
                    Some(hint) => write!(f, "write \"{hint}\""),
                    None => write!(f, "expected \"{mechanism}:\" and one, as in \"{mechanism}:{example}\""),
                }
            }
            Self::Prefix { found, bits_max } => write!(f, "\"/{found}\" is no prefix length: expected 0 to {bits_max}, without leading zeros"),
            Self::SpaceMissing(second) => write!(f, "a space is missing before \"{second}\""),
            Self::SpaceInside(meant) => write!(f, "there is a space behind the colon; write \"{meant}\""),
            Self::Character(odd) => write!(f, "it holds the character {odd:?}: only visible ASCII may stand there, and terms are parted by spaces alone"),
            Self::Percent => f.write_str("\"%\" begins no macro here; write \"%%\" for the sign itself"),
            Self::Macro(text) => write!(f, "\"{text}\" is no macro; expected as in \"%{{d}}\", \"%{{ir}}\", \"%{{l1r-}}\""),
            Self::MacroOfExplanations(text) => write!(f, "the macro \"{text}\" may stand in explanations only"),
            Self::ModifierTwice => f.write_str("it may stand there once"),
        }
    }
}
