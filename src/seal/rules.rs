//! What the operator wants of seals, keys included: a snapshot, replaced as a whole when configuration or keys change.

use super::dkim::Signer;
use crate::mail::{Domain, KeyId, RouteName};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// All that *seal* is told by the operator.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The domains we sign for.
    pub domains: HashMap<Domain, DomainSeal>,
    /// When an ARC set is made.
    pub arc: ArcMode,
    /// Our authserv-id (RFC 8601 §2.5), usually the host name.
    pub authserv_id: String,
    /// Whose Authentication-Results are believed and copied. Only hosts in front of us that remove forged ones themselves.
    pub trusted_authserv_ids: Vec<String>,
    /// `x=` of DKIM signatures, counted from signing; `None` leaves it out. At least `max_age` and two days, or mail in the queue
    /// outlives its signature.
    pub expires: Option<Duration>,
    /// How long before `x=` a waiting message is sealed again.
    pub expires_margin: Duration,
    /// What routes need different; a route that is not named gets [`RouteProfile::default`].
    pub profiles: HashMap<RouteName, RouteProfile>,
    /// What becomes of mail whose domain has no key.
    pub no_key: NoKey,
}

/// How one domain signs.
#[derive(Debug, Clone, Default)]
pub struct DomainSeal {
    /// Active RSA keys; each makes a signature, the first one the ARC set.
    pub rsa: Vec<Arc<Signer>>,
    /// Active Ed25519 keys.
    pub ed25519: Vec<Arc<Signer>>,
    /// Whether the Ed25519 keys sign. They never do alone.
    pub ed25519_on: bool,
    /// Keys that sign no more but are still published: seals made by them stay good.
    pub retiring: Vec<KeyId>,
    /// The platform whose RSA keys sign a second time, for its feedback loops; one of [`Rules::domains`].
    pub third_party: Option<Domain>,
}

/// When an ARC set is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ArcMode {
    /// For every message.
    #[default]
    Always,
    /// For mail that passes through: of forwarders, or with a chain already.
    Forwarded,
    /// For none.
    Never,
}

/// What becomes of mail for whose author domain there is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NoKey {
    /// It is refused with a reply that names the remedy.
    #[default]
    Refuse,
    /// It goes out without the author's signature and ARC; a platform's is made all the same.
    Pass,
}

/// What may be sealed on a route: a smart host rewrites fields or signs itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteProfile {
    /// Sign with DKIM.
    pub dkim: bool,
    /// Add an ARC set.
    pub arc: bool,
    /// Sign with Ed25519 too, where the domain does. Off for smart hosts.
    pub ed25519: bool,
    /// Header fields the route rewrites, in any case: left unsigned. From is always signed.
    pub unsigned: Vec<String>,
}

impl Default for RouteProfile {
    fn default() -> Self {
        Self { dkim: true, arc: true, ed25519: true, unsigned: Vec::new() }
    }
}

impl Rules {
    /// Rules of an operator who said nothing but who they are.
    #[must_use]
    pub fn new(authserv_id: &str) -> Self {
        Self {
            domains: HashMap::new(),
            arc: ArcMode::default(),
            authserv_id: authserv_id.to_owned(),
            trusted_authserv_ids: Vec::new(),
            expires: None,
            expires_margin: EXPIRES_MARGIN,
            profiles: HashMap::new(),
            no_key: NoKey::default(),
        }
    }

    /// The active RSA keys of a domain.
    #[must_use]
    pub fn rsa(&self, domain: &str) -> &[Arc<Signer>] {
        self.domain(domain).map_or(&[], |seal| &seal.rsa)
    }

    /// The active Ed25519 keys of a domain, if it uses them.
    #[must_use]
    pub fn ed25519(&self, domain: &str) -> &[Arc<Signer>] {
        self.domain(domain).filter(|seal| seal.ed25519_on).map_or(&[], |seal| &seal.ed25519)
    }

    /// Whether the record of this key (as [`KeyId`] prints) is still to be found by a verifier: it is active or retiring.
    #[must_use]
    pub fn is_standing(&self, key: &str) -> bool {
        let Some(seal) = key.split_once("._domainkey.").and_then(|(_, domain)| self.domain(domain)) else { return false };
        let active = seal.rsa.iter().chain(&seal.ed25519).map(|signer| &signer.id);
        active.chain(&seal.retiring).any(|id| id.to_string() == key)
    }

    fn domain(&self, name: &str) -> Option<&DomainSeal> {
        self.domains.get(&Domain::parse(name).ok()?)
    }
}

/// A day: a message that is sent now may be verified hours later.
const EXPIRES_MARGIN: Duration = Duration::from_hours(24);
