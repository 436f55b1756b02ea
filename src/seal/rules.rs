//! What the operator wants of seals, keys included: a snapshot, replaced as a whole when configuration or keys change.

use super::dkim::Signer;
use super::{Plan, Seal};
use crate::mail::{Domain, KeyId, RouteName};
use std::collections::{BTreeMap, BTreeSet, HashMap};
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
    /// How long held mail rests before it is looked at again.
    pub held_pause: Duration,
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
    /// What follows from records that are gone.
    pub suspension: Suspension,
}

/// What follows from lost records for the keys of a domain; see [`Rules::suspend`].
#[derive(Debug, Clone, Default)]
pub struct Suspension {
    /// Active RSA keys that do not sign for now.
    pub rsa: Vec<Arc<Signer>>,
    /// Active Ed25519 keys that do not sign for now.
    pub ed25519: Vec<Arc<Signer>>,
    /// Why the domain's mail is not sent for now.
    pub held: Option<String>,
}

/// What becomes of a domain's mail when the record of one of its keys is gone. Submissions are always accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum LostKey {
    /// The key does not sign while another RSA key does; where there is none, the mail is held.
    #[default]
    OtherKey,
    /// The mail is held, whatever other keys there are.
    Hold,
    /// Nothing but an alarm.
    Warn,
}

/// A lost key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// What the DNS shows, in words.
    pub why: String,
    /// What becomes of the mail.
    pub policy: LostKey,
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
            held_pause: HELD_PAUSE,
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

    /// Takes from use the keys whose records are gone, and gives back those that are no longer among them. An Ed25519 key just stops
    /// signing, for it never signs alone. Where no RSA key is left, all go on signing what is submitted, and the mail is held.
    pub fn suspend(&mut self, lost: &BTreeMap<KeyId, Lost>) {
        for (name, domain) in &mut self.domains {
            let of_domain: BTreeMap<&KeyId, &Lost> = lost.iter().filter(|(id, lost)| id.domain == *name && lost.policy != LostKey::Warn).collect();
            domain.suspend(&of_domain);
        }
    }

    /// Takes keys from use for good: they sign no more, and what they signed is no longer good.
    pub fn forget(&mut self, keys: &BTreeSet<KeyId>) {
        for domain in self.domains.values_mut() {
            let Suspension { rsa, ed25519, .. } = &mut domain.suspension;
            for signers in [&mut domain.rsa, &mut domain.ed25519, rsa, ed25519] {
                signers.retain(|signer| !keys.contains(&signer.id));
            }
            domain.retiring.retain(|id| !keys.contains(id));
        }
    }

    /// Why this mail is not to be sent for now: its domain is held, and its seal or the one it would get needs a key of that domain.
    #[must_use]
    pub fn held(&self, domain: &Domain, seal: &Seal) -> Option<&str> {
        let why = self.domains.get(domain)?.suspension.held.as_deref()?;
        let signs = seal.plan.author.as_deref() == Some(domain.as_str()) || seal.plan.arc.as_ref().is_some_and(|arc| arc.domain == domain.as_str());
        signs.then_some(why)
    }

    /// The domain of which no key is left to seal mail of this plan with; `None` where every seal of it can be made.
    #[must_use]
    pub fn lacking<'a>(&self, plan: &'a Plan) -> Option<&'a str> {
        let domains = plan.author.as_deref().into_iter().chain(plan.third_party.as_deref()).chain(plan.arc.as_ref().map(|arc| arc.domain.as_str()));
        domains.into_iter().find(|domain| self.rsa(domain).is_empty())
    }

    /// Whether the record of this key (as [`KeyId`] prints) is still to be found by a verifier: it is active or retiring.
    #[must_use]
    pub fn is_standing(&self, key: &str) -> bool {
        let Some(seal) = key.split_once("._domainkey.").and_then(|(_, domain)| self.domain(domain)) else { return false };
        let active = seal.rsa.iter().chain(&seal.ed25519).map(|signer| &signer.id);
        active.chain(&seal.retiring).any(|id| id.to_string() == key)
    }

    /// Whether this key (as [`KeyId`] prints) is of a domain we sign for.
    #[must_use]
    pub fn knows_domain_of(&self, key: &str) -> bool {
        key.split_once("._domainkey.").is_some_and(|(_, domain)| self.domain(domain).is_some())
    }

    fn domain(&self, name: &str) -> Option<&DomainSeal> {
        self.domains.get(&Domain::parse(name).ok()?)
    }
}

impl DomainSeal {
    fn suspend(&mut self, lost: &BTreeMap<&KeyId, &Lost>) {
        let is_lost = |signer: &Arc<Signer>| lost.contains_key(&signer.id);
        let all = |active: &mut Vec<Arc<Signer>>, suspended: &mut Vec<Arc<Signer>>| {
            active.append(suspended);
            active.sort_by(|a, b| a.id.cmp(&b.id));
        };
        all(&mut self.rsa, &mut self.suspension.rsa);
        all(&mut self.ed25519, &mut self.suspension.ed25519);
        self.suspension.ed25519 = self.ed25519.extract_if(.., |signer| is_lost(signer)).collect();
        let lost_rsa: Vec<&Lost> = self.rsa.iter().filter_map(|signer| lost.get(&signer.id).copied()).collect();
        let holds = lost_rsa.iter().any(|lost| lost.policy == LostKey::Hold) || lost_rsa.len() == self.rsa.len();
        self.suspension.held = lost_rsa.first().filter(|_| holds).map(|lost| lost.why.clone());
        if self.suspension.held.is_none() {
            self.suspension.rsa = self.rsa.extract_if(.., |signer| is_lost(signer)).collect();
        }
    }
}

/// Long enough not to wear out the spool with much mail that waits.
const HELD_PAUSE: Duration = Duration::from_mins(5);
/// A day: a message that is sent now may be verified hours later.
const EXPIRES_MARGIN: Duration = Duration::from_hours(24);
