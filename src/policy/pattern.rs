//! Patterns of domains: `example.com` is itself, `*.example.com` every name below it, `.example.com` both.

use crate::mail::{Domain, DomainError};
use std::fmt;
use std::str::FromStr;

/// A set of domains around one name. Whole labels count: `*.example.com` never covers `badexample.com`.
///
/// ```
/// use postseal::policy::DomainPattern;
/// let pattern: DomainPattern = "*.example.com".parse()?;
/// assert!(pattern.matches(&"a.b.example.com".parse()?));
/// assert!(!pattern.matches(&"example.com".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct DomainPattern {
    domain: Domain,
    reach: Reach,
}

/// Least specific first.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
enum Reach {
    AtOrBelow,
    Below,
    Exact,
}

/// A text that is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}; a domain, \"*.example.com\" (every name below) or \".example.com\" (itself and every name below) is expected")]
pub struct DomainPatternError(#[from] DomainError);

impl DomainPattern {
    /// This domain and no other.
    #[must_use]
    pub const fn exact(domain: Domain) -> Self {
        Self { domain, reach: Reach::Exact }
    }

    /// This domain and every name below it.
    #[must_use]
    pub const fn at_or_below(domain: Domain) -> Self {
        Self { domain, reach: Reach::AtOrBelow }
    }

    /// The name it is built around.
    #[must_use]
    pub const fn domain(&self) -> &Domain {
        &self.domain
    }

    /// It covers one name only.
    #[must_use]
    pub const fn is_exact(&self) -> bool {
        matches!(self.reach, Reach::Exact)
    }

    /// Is this one of them?
    #[must_use]
    pub fn matches(&self, domain: &Domain) -> bool {
        match self.reach {
            Reach::Exact => *domain == self.domain,
            Reach::Below => *domain != self.domain && domain.is_at_or_below(&self.domain),
            Reach::AtOrBelow => domain.is_at_or_below(&self.domain),
        }
    }

    /// Among patterns that match the same domain the most specific is the greatest: the longer name, then the narrower reach.
    #[must_use]
    pub fn specificity(&self) -> impl Ord + use<> {
        (self.domain.as_str().len(), self.reach)
    }
}

impl FromStr for DomainPattern {
    type Err = DomainPatternError;
    fn from_str(text: &str) -> Result<Self, DomainPatternError> {
        let (reach, name) = match (text.strip_prefix("*."), text.strip_prefix('.')) {
            (Some(name), _) => (Reach::Below, name),
            (None, Some(name)) => (Reach::AtOrBelow, name),
            (None, None) => (Reach::Exact, text),
        };
        Ok(Self { domain: name.parse()?, reach })
    }
}

impl fmt::Display for DomainPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = match self.reach {
            Reach::Exact => "",
            Reach::Below => "*.",
            Reach::AtOrBelow => ".",
        };
        write!(f, "{prefix}{}", self.domain)
    }
}
