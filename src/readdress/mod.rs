//! The station *readdress*: the envelope sender becomes a bounce address on an aligned subdomain of the author domain.
//!
//! SPF then passes for a domain that DMARC aligns with the header From (RFC 9989 §4.4.2), and every bounce comes to us, carrying
//! a token that leads back to the original sender. Pure: it decides on addresses alone and knows neither spool, DNS nor route.
//!
//! | original | becomes |
//! |---|---|
//! | `<>` | `<>`: notices are never answered (RFC 5321 §4.5.5) |
//! | any, by a smart host whose profile keeps it | itself: the smart host puts its own in |
//! | a token of ours, from a trusted upstream postseal | itself |
//! | at or below the author domain, and the domain says `keep` | itself |
//! | any other | `b…@bounce-domain` |

pub mod bounce_path;
pub mod token;

pub use bounce_path::{ReaddressFault, Readdressed, Request, RewriteReversePath, readdress};
pub use token::{Ring, RingFault, TokenContents, TokenFault, TokenSecret};

use crate::mail::Domain;
use std::collections::HashMap;

/// Bounce addresses, by author domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// By signing domain: the author domain, or the forwarder's own.
    pub domains: HashMap<Domain, BounceRule>,
    /// How long a token opens, in days after the day it was made; 1 to [`token::AGE_DAYS_LIMIT`]. Longer than the queue's
    /// `max_age` and the slowest bounce together.
    pub token_age_days_max: u16,
}

/// How one domain's reverse-paths are rewritten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BounceRule {
    /// Where bounces come to: below the author domain ([`alignment_fault`]), its MX a bounce listener of ours.
    pub bounce_domain: Domain,
    /// What becomes of a reverse-path that is aligned already.
    pub keep: Keep,
    /// How often the token changes.
    pub token_per: TokenPer,
}

/// What becomes of a reverse-path at or below the author domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Keep {
    /// It is rewritten like any other, so that its bounces come to us.
    #[default]
    Nothing,
    /// It stays, and its bounces go where its own MX says.
    Aligned,
}

/// How often a sender's token changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TokenPer {
    /// With every message, and every recipient that has a transaction of its own: a bounce names both.
    #[default]
    Message,
    /// With the day: for receivers that greylist by sender. A bounce names the sender only, and suppresses nobody.
    SenderAndDay,
}

/// No domain, tokens good for thirty days.
impl Default for Settings {
    fn default() -> Self {
        Self { domains: HashMap::new(), token_age_days_max: 30 }
    }
}

/// Why `bounce` cannot be the bounce domain of `author`, and what to do; `None` when it can.
///
/// DMARC's relaxed mode aligns names of one organisational domain, which the DNS decides (RFC 9989 §4.10.2). At or below the
/// author domain it is the same one wherever records stand, as long as the bounce domain has none with `psd=` of its own; beside
/// the author domain it depends on who publishes what, so that is refused.
#[must_use]
pub fn alignment_fault(author: &Domain, bounce: &Domain) -> Option<String> {
    if !bounce.is_at_or_below(author) {
        return Some(format!(
            "bounce domain \"{bounce}\" is not aligned with author domain \"{author}\": DMARC would fail on SPF; expected a name below it, such as \"b.{author}\""
        ));
    }
    let octets = token::LOCAL_PART_OCTETS + 1 + bounce.as_str().len();
    (octets > ADDRESS_OCTETS_MAX).then(|| {
        format!(
            "bounce domain \"{bounce}\" is too long: addresses there would have {octets} octets of the {ADDRESS_OCTETS_MAX} that SMTP allows; choose a shorter name below \"{author}\""
        )
    })
}

/// RFC 5321 §4.5.3.1.3: a path of 256 octets, less its angle brackets.
const ADDRESS_OCTETS_MAX: usize = 254;
