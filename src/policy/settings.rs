//! What an operator decides about who may send what, and where it goes.

use super::{DomainPattern, list};
use crate::mail::{Blame, Domain, EnhancedCode, IdentityName, Mailbox, Refusal, RouteName, Stream};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

/// The rules of policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Everybody who may submit.
    pub identities: HashMap<IdentityName, Identity>,
    /// The author domains of this relay: those with keys, and those that never send.
    pub domains: BTreeMap<Domain, AuthorDomain>,
    /// Ways for some recipient domains; the most specific pattern wins, among equal ones the first.
    pub routes: Vec<RouteRule>,
    /// The way for all other recipients.
    pub default_route: RouteName,
    /// Streams whose mail by MX leaves by a pool of its own, and the route that says so.
    pub pools: BTreeMap<Stream, RouteName>,
    /// Every stream there is.
    pub streams: BTreeSet<Stream>,
    /// Who stands behind `<Postmaster>` (RFC 5321 §4.5.1), and behind senders that can receive nothing where their identity names nobody.
    pub postmaster: Mailbox,
    /// Whether recipients at address literals are taken for the route by MX.
    pub address_literals: bool,
    /// How far ahead `X-Postseal-Deliver-After` may lie.
    pub deliver_after_max: Duration,
}

/// What is known of an author domain here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AuthorDomain {
    /// It never sends: mail that claims to come from it, or from a name below it without an entry of its own, is refused.
    pub parked: bool,
}

/// The rules of one client identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Whether it writes its mail or passes on what others wrote.
    pub mode: Mode,
    /// What the domain of header From may be, in `author` mode.
    pub author_domains: Vec<DomainPattern>,
    /// Which envelope senders are kept.
    pub reverse_path: ReversePathRule,
    /// How much.
    pub rate: Rate,
    /// The largest message, in octets.
    pub size_octets_max: u64,
    /// The most recipients of one transaction.
    pub recipients_max: usize,
    /// It is a postseal with our token secrets: an envelope sender that is a token of ours already stays.
    pub trusted_upstream: bool,
    /// The stream of mail that names none.
    pub stream: Stream,
    /// The streams it may name in `X-Postseal-Stream`; `None` for all of them. Its default stream it may always name.
    pub streams: Option<BTreeSet<Stream>>,
    /// What becomes of recipients that are on the suppression list.
    pub suppressed: Suppressed,
}

/// What becomes of recipients that are on the suppression list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Suppressed {
    /// They are taken, and settled as failed; the submitter hears of it by a notice.
    #[default]
    Settle,
    /// They are refused at RCPT, where that can be known there; else as [`Suppressed::Settle`].
    Refuse,
}

/// How an identity sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Its own mail: one author, of an allowed domain, signed by that domain.
    Author,
    /// Mail of others (a list, a forwarder): any author, no alignment check, sealed by the forwarder's domain.
    Forward {
        /// The forwarder's domain: it signs, and its bounce domain receives the failures.
        domain: Domain,
    },
}

/// What becomes of the envelope sender. The null reverse-path always stays. One that can receive nothing (`www-data@pod-7`,
/// `app@cluster.local`, `a@[10.0.0.7]`) is replaced by `bounces_to`, unless `kept` names its domain.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReversePathRule {
    /// Domains kept as they are; the identity's author domains, or its domain as a forwarder, are without being named.
    pub kept: Vec<DomainPattern>,
    /// What becomes of a sender at any other domain.
    pub foreign: Foreign,
    /// Who stands in for a sender that is not kept; `None` for [`Settings::postmaster`].
    pub bounces_to: Option<Mailbox>,
}

/// What becomes of a foreign envelope sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Foreign {
    /// Kept: failures are told to whom the client named. The client is known and answers for it.
    #[default]
    Keep,
    /// Replaced by [`ReversePathRule::bounces_to`].
    Map,
    /// Refused at MAIL, 550 5.7.1.
    Refuse,
}

/// How much an identity may send. Above the per-minute figures mail is accepted and waits; above the ceilings MAIL is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    /// Messages that leave in a minute; smoothed on the way out, never refused. `None`: as fast as receivers take them.
    pub messages_per_minute: Option<u32>,
    /// Recipients in a minute on the way out; as above.
    pub recipients_per_minute: Option<u32>,
    /// Messages accepted in a minute; also the burst. 450 4.7.0 above it.
    pub messages_per_minute_ceiling: u32,
    /// Recipients accepted in a minute, looked at when the next message begins; also the burst.
    pub recipients_per_minute_ceiling: u32,
}

/// One way for some recipient domains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteRule {
    /// Which recipient domains.
    pub recipients: DomainPattern,
    /// `mx` or the name of a smart host.
    pub route: RouteName,
}

impl Default for Rate {
    /// No smoothing; ceilings that only something gone wild reaches: 6,000 messages and 60,000 recipients a minute.
    fn default() -> Self {
        Self { messages_per_minute: None, recipients_per_minute: None, messages_per_minute_ceiling: 6_000, recipients_per_minute_ceiling: 60_000 }
    }
}

impl Identity {
    /// An author of these domains with the defaults for the rest: 35 MiB, 1,000 recipients, the stream `default`.
    #[must_use]
    pub fn author(author_domains: Vec<DomainPattern>) -> Self {
        Self {
            mode: Mode::Author,
            author_domains,
            reverse_path: ReversePathRule::default(),
            rate: Rate::default(),
            size_octets_max: 35 * 1024 * 1024,
            recipients_max: 1_000,
            trusted_upstream: false,
            stream: Stream::new(DEFAULT_STREAM),
            streams: None,
            suppressed: Suppressed::Settle,
        }
    }

    /// A forwarder with the same defaults.
    #[must_use]
    pub fn forwarder(domain: Domain) -> Self {
        Self { mode: Mode::Forward { domain }, ..Self::author(Vec::new()) }
    }
}

impl Settings {
    /// No identities, everything by MX, one stream `default`, a week ahead at most.
    #[must_use]
    pub fn new(postmaster: Mailbox) -> Self {
        Self {
            identities: HashMap::new(),
            domains: BTreeMap::new(),
            routes: Vec::new(),
            default_route: RouteName::new(crate::policy::route::MX),
            pools: BTreeMap::new(),
            streams: BTreeSet::from([Stream::new(DEFAULT_STREAM)]),
            postmaster,
            address_literals: false,
            deliver_after_max: Duration::from_hours(7 * 24),
        }
    }

    /// Everything that cannot be meant, each fault a sentence for the operator. Empty when all is well.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut names: Vec<_> = self.identities.keys().collect();
        names.sort();
        for name in names {
            let identity = &self.identities[name];
            let mut fault = |text: String| faults.push(format!("identity \"{name}\": {text}"));
            if identity.mode == Mode::Author && identity.author_domains.is_empty() {
                fault("author_domains is empty, so all its mail would be refused; name the domains of its From addresses, or set mode = \"forward\"".into());
            }
            let wanted = identity.streams.iter().flatten().chain([&identity.stream]);
            for stream in wanted.filter(|stream| !self.streams.contains(*stream)) {
                fault(format!("there is no stream \"{stream}\"; known streams: {}", list(&self.streams)));
            }
            for (key, limit) in [
                ("size_octets_max", identity.size_octets_max == 0),
                ("recipients_max", identity.recipients_max == 0),
                ("messages_per_minute_ceiling", identity.rate.messages_per_minute_ceiling == 0),
                ("recipients_per_minute_ceiling", identity.rate.recipients_per_minute_ceiling == 0),
                ("messages_per_minute", identity.rate.messages_per_minute == Some(0)),
                ("recipients_per_minute", identity.rate.recipients_per_minute == Some(0)),
            ] {
                if limit {
                    fault(format!("{key} is 0, so nothing could be sent; give it a value of 1 or more"));
                }
            }
            for pattern in &identity.author_domains {
                if self.domains.get(self.signing_domain(pattern.domain())).is_some_and(|domain| domain.parked) {
                    fault(format!("author_domains names {pattern}, which never sends; take it out, or take parked off that domain"));
                }
            }
        }
        faults
    }

    /// The longest configured domain at or above `domain`; itself when there is none.
    #[must_use]
    pub fn signing_domain<'a>(&'a self, domain: &'a Domain) -> &'a Domain {
        let upwards = std::iter::successors(Some(domain.clone()), Domain::parent);
        upwards.into_iter().find_map(|name| self.domains.get_key_value(&name)).map_or(domain, |(known, _)| known)
    }

    /// The rules of an identity; refused when a reload has taken it away.
    pub(super) fn identity(&self, name: &IdentityName) -> Result<&Identity, Refusal> {
        self.identities.get(name).ok_or_else(|| Refusal {
            blame: Blame::Submitter,
            ..Refusal::operator(451, EnhancedCode::new(4, 3, 5), format!("client \"{name}\" is no longer configured here; connect again"))
        })
    }
}

/// The stream of mail that nobody sorted.
const DEFAULT_STREAM: &str = "default";
