//! Small names that must not be mixed up with one another.

use super::{Domain, Timestamp};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A spooled message's number: 48 bits, seconds since 2026-01-01 above an 18-bit serial, so that ids sort by age and fit a
/// bounce token (6 octets). Printed as ten characters of lower-case base32 (Crockford's alphabet).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MailId(u64);

/// Fresh ids set aside for one submission: each taken at most once.
#[derive(Debug)]
pub struct MailIds {
    next: u64,
    left: u32,
}

/// Why a text is not a message id of the spool.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a mail id; expected ten characters of 0-9 and a-z without i, l, o, u, as the log prints them")]
pub struct MailIdError(String);

impl MailId {
    /// From the 48-bit number; `None` when it has more bits.
    #[must_use]
    pub const fn from_number(number: u64) -> Option<Self> {
        if number <= ID_MAX { Some(Self(number)) } else { None }
    }

    /// The 48-bit number.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The second in which it was set aside.
    #[must_use]
    pub fn second(self) -> Timestamp {
        Timestamp::from_unix_seconds(ID_EPOCH_SECONDS + (self.0 >> SERIAL_BITS).cast_signed())
    }
}

impl MailIds {
    /// `count` ids from second `at` and serial `serial` on (taken modulo 2^18).
    #[must_use]
    pub fn reserve(at: Timestamp, serial: u32, count: u32) -> Self {
        let seconds = u64::try_from(at.unix_seconds() - ID_EPOCH_SECONDS).unwrap_or(0) & ((1 << 30) - 1);
        Self { next: (seconds << SERIAL_BITS) | u64::from(serial & ((1 << SERIAL_BITS) - 1)), left: count }
    }

    /// The next id.
    ///
    /// # Panics
    /// When more are taken than were set aside: our own invariant.
    #[must_use]
    pub fn take(&mut self) -> MailId {
        assert!(self.left > 0, "more mail ids taken than set aside");
        let id = MailId(self.next & ID_MAX);
        self.left -= 1;
        self.next += 1;
        id
    }
}

impl fmt::Display for MailId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for place in (0..ID_CHARACTERS).rev() {
            let digit = usize::try_from((self.0 >> (place * 5)) & 31).unwrap_or(0);
            write!(f, "{}", char::from(CROCKFORD[digit]))?;
        }
        Ok(())
    }
}

impl fmt::Debug for MailId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for MailId {
    type Err = MailIdError;
    fn from_str(text: &str) -> Result<Self, MailIdError> {
        let fault = || MailIdError(text.chars().take(40).collect());
        if text.len() != ID_CHARACTERS as usize {
            return Err(fault());
        }
        let mut number = 0u64;
        for c in text.bytes() {
            let digit = CROCKFORD.iter().position(|known| *known == c.to_ascii_lowercase()).ok_or_else(fault)?;
            number = (number << 5) | digit as u64;
        }
        Self::from_number(number).ok_or_else(fault)
    }
}

/// Declares a name that is a text, shared cheaply.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name made of this text.
            #[must_use]
            pub fn new(text: &str) -> Self {
                Self(text.into())
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    };
}

name!(
    /// The name of a client identity in the configuration.
    IdentityName
);
name!(
    /// A stream of mail with its own schedule and reputation: `default`, `transactional`, `bulk` …
    Stream
);
name!(
    /// The name of a route: `mx`, or that of a smart host in the configuration.
    RouteName
);
name!(
    /// A DKIM selector (RFC 6376 §3.1), lower case.
    Selector
);

/// Which key made a signature: `d=` and `s=` name it (selectors are never reused).
#[derive(Clone, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct KeyId {
    /// `d=`.
    pub domain: Domain,
    /// `s=`.
    pub selector: Selector,
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}._domainkey.{}", self.selector, self.domain)
    }
}

const ID_EPOCH_SECONDS: i64 = 1_767_225_600; // 2026-01-01T00:00:00Z
const SERIAL_BITS: u32 = 18;
const ID_MAX: u64 = (1 << 48) - 1;
const ID_CHARACTERS: u32 = 10;
const CROCKFORD: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_age_and_read_back() {
        let mut ids = MailIds::reserve(Timestamp::from_unix_seconds(ID_EPOCH_SECONDS + 77), 5, 2);
        let (a, b) = (ids.take(), ids.take());
        let later = MailIds::reserve(Timestamp::from_unix_seconds(ID_EPOCH_SECONDS + 78), 0, 1).take();
        assert!(a < b && b < later);
        assert_eq!(a.to_string().len(), 10);
        assert_eq!(a.to_string().parse::<MailId>().unwrap(), a);
        assert!("zzzzzzzzzz".parse::<MailId>().is_err());
        assert!("0000i00000".parse::<MailId>().is_err());
    }

    #[test]
    #[should_panic(expected = "more mail ids taken")]
    fn no_more_ids_than_set_aside() {
        let mut ids = MailIds::reserve(Timestamp::EPOCH, 0, 1);
        let _ = (ids.take(), ids.take());
    }
}
