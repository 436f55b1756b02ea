//! Domain names of mail: parsed once to A-labels in lower case, compared only in that form (RFC 5890, RFC 5321 §4.1.2).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A domain name as mail uses it: A-labels, lower case, no trailing dot, at most 253 octets of labels of at most 63.
///
/// ```
/// use postseal::mail::Domain;
/// let domain: Domain = "MAIL.Bücher.example".parse()?;
/// assert_eq!(domain.as_str(), "mail.xn--bcher-kva.example");
/// assert!(domain.is_at_or_below(&"xn--bcher-kva.example".parse()?));
/// # Ok::<(), postseal::mail::DomainError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain(Arc<str>);

/// Why a text is not a domain name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not a domain name: {why}; expected labels of letters, digits and hyphens, as in mail.example.com")]
pub struct DomainError {
    text: String,
    why: &'static str,
}

impl Domain {
    /// Reads a domain name in A-label or U-label form; one trailing dot is dropped.
    ///
    /// # Errors
    /// Empty or over-long names and labels, characters outside letters, digits and hyphens after IDNA mapping.
    pub fn parse(text: &str) -> Result<Self, DomainError> {
        let fault = |why| DomainError { text: text.chars().take(80).collect(), why };
        let bare = text.strip_suffix('.').unwrap_or(text);
        if bare.is_empty() {
            return Err(fault("it is empty"));
        }
        let ascii = if bare.is_ascii() {
            bare.to_ascii_lowercase()
        } else {
            idna::domain_to_ascii_strict(bare).map_err(|_| fault("its international labels are not valid"))?
        };
        if ascii.len() > DOMAIN_OCTETS_MAX {
            return Err(fault("it is longer than 253 octets"));
        }
        for label in ascii.split('.') {
            if label.is_empty() {
                return Err(fault("a label is empty"));
            }
            if label.len() > 63 {
                return Err(fault("a label is longer than 63 octets"));
            }
            if label.starts_with('-') || label.ends_with('-') {
                return Err(fault("a label begins or ends with a hyphen"));
            }
            if !label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
                return Err(fault("it holds a character that no host name has"));
            }
        }
        if ascii.rsplit('.').next().is_some_and(|top| top.bytes().all(|b| b.is_ascii_digit())) {
            return Err(fault("it ends in a number, like an IP address"));
        }
        Ok(Self(ascii.into()))
    }

    /// A-labels in lower case: the form for DNS, wire and comparison.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Two labels or more: `example.com`, but not `localhost` or `pod-7`.
    #[must_use]
    pub fn is_fully_qualified(&self) -> bool {
        self.0.contains('.')
    }

    /// Is this `ancestor` itself or a name below it?
    #[must_use]
    pub fn is_at_or_below(&self, ancestor: &Self) -> bool {
        self.0.strip_suffix(&*ancestor.0).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }

    /// The name without its first label; `None` for a single label.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        self.0.split_once('.').map(|(_, rest)| Self(rest.into()))
    }

    /// This name with labels put in front: `b` + `example.com` = `b.example.com`.
    ///
    /// # Errors
    /// As [`Domain::parse`].
    pub fn below(&self, labels: &str) -> Result<Self, DomainError> {
        Self::parse(&format!("{labels}.{}", self.0))
    }
}

impl FromStr for Domain {
    type Err = DomainError;
    fn from_str(text: &str) -> Result<Self, DomainError> {
        Self::parse(text)
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// RFC 1035 §2.3.4, without the root's dot.
const DOMAIN_OCTETS_MAX: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names_and_refuses_what_is_none() {
        for (text, expect) in
            [("Example.COM.", "example.com"), ("日本語.jp", "xn--wgv71a119e.jp"), ("localhost", "localhost"), ("xn--wgv71a119e.jp", "xn--wgv71a119e.jp")]
        {
            assert_eq!(Domain::parse(text).unwrap().as_str(), expect);
        }
        let long_label = "a".repeat(64);
        let long_name = format!("{}.com", ["abcdefghi"; 26].join("."));
        for text in ["", ".", "a..b", "-a.com", "a-.com", "a b.com", "a@b.com", "192.0.2.1", "a>b", "a\r\n.com", &long_label, &long_name] {
            assert!(Domain::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn below_means_whole_labels() {
        let domain = |t: &str| Domain::parse(t).unwrap();
        assert!(domain("b.example.com").is_at_or_below(&domain("example.com")));
        assert!(domain("example.com").is_at_or_below(&domain("example.com")));
        assert!(!domain("badexample.com").is_at_or_below(&domain("example.com")));
        assert!(!domain("example.com").is_at_or_below(&domain("b.example.com")));
    }
}
