//! What is counted: one registry for each relay, so that several live in one process without knowing of each other.
//!
//! Every room gets the part that is its own when it is built ([`Ingress`], [`Front`], [`Deliver`], [`Dns`]) and counts in its shells;
//! decisions stay pure. A count is an atomic at a place that the compiler or a short list of names gives: no lock, no allocation, no
//! hash of labels. That is also why there is no metrics crate here: theirs look labels up in a map at each count, or keep handles that
//! are allocated by the label, and take any label for an answer. All that is counted of a message on its way through costs about 0.6 us
//! of a core, most of it for reading the clock.
//!
//! | file | holds |
//! |---|---|
//! | [`catalogue`] | every metric: meaning, remedy, closed sets of labels |
//! | [`words`] | those sets |
//! | [`count`] | counter, gauge, histogram |
//! | [`page`] | the text that Prometheus reads |
//!
//! What is not counted but looked at (the queue, keys, the disk) whoever knows it registers: [`Meters::register`].

pub mod catalogue;
pub mod count;
pub mod page;
pub mod words;

pub use catalogue::{METERS, Meter};
pub use count::{Counter, Each, Gauge, Histogram};
pub use page::{CONTENT_TYPE, Family};
pub use words::{DOMAINS_MAX, OTHER, PROVIDERS_MAX, Word};

use crate::mail::Reason;
use catalogue as all;
use count::{Across, Life, Within};
use std::sync::{Arc, Mutex, PoisonError};
use words::{
    Authenticated, CameBack, ConnectionStep, DnsResult, KeptFor, ListenerTls, MailKind, NoSession, ProviderNames, Refused, RefusedAt, ReturnRefused, Signature,
    SubmissionStep, SuppressedFor, Tls, TlsPolicy,
};

/// The registry of a relay.
pub struct Meters {
    /// What `ingress` counts.
    pub ingress: Arc<Ingress>,
    /// What the relay counts between ingress and spool, and what it seals.
    pub front: Arc<Front>,
    /// What `deliver` counts.
    pub deliver: Arc<Deliver>,
    /// What the relay counts of what comes home.
    pub returns: Arc<Returns>,
    /// What the resolver counts.
    pub dns: Arc<Dns>,
    sources: Mutex<Vec<(&'static Meter, Source)>>,
}

/// Writes the values of one metric when the page is asked for.
type Source = Arc<dyn Fn(&mut Family<'_>) + Send + Sync>;

/// What `ingress` counts.
#[derive(Debug, Default)]
pub struct Ingress {
    /// Clients connected.
    pub clients: Gauge,
    /// Connections that ended.
    pub sessions: Each<ListenerTls, Each<Tls, Counter>>,
    /// Authentications.
    pub authentications: Each<Authenticated, Counter>,
    /// Refusals.
    pub refusals: Each<RefusedAt, Each<Refused, Counter>>,
    /// The last octet of a message to the write of its `250`.
    pub submission: Histogram<Within>,
}

/// What the relay counts between ingress and spool.
#[derive(Debug, Default)]
pub struct Front {
    /// Messages answered with 250.
    pub accepted: Counter,
    /// Their recipients.
    pub recipients: Counter,
    /// Their octets.
    pub octets: Counter,
    /// Steps on the way to the 250.
    pub steps: Each<SubmissionStep, Histogram<Within>>,
    /// Signatures made.
    pub signatures: Each<Signature, Counter>,
    /// Mails without any.
    pub unsealed: Counter,
    /// Mails made durable.
    pub spooled: Each<MailKind, Counter>,
    /// Recipients who were not written to.
    pub suppressed: Each<SuppressedFor, Counter>,
}

/// What `deliver` counts.
#[derive(Debug)]
pub struct Deliver {
    names: ProviderNames,
    /// By the place of the provider's name.
    by_provider: Box<[ByProvider]>,
    /// Steps towards a session.
    pub steps: Each<ConnectionStep, Histogram<Across>>,
    /// Returned mail that nobody took.
    pub kept: Counter,
}

/// What is counted for each provider.
#[derive(Debug, Default)]
pub struct ByProvider {
    /// Recipients delivered.
    pub delivered: Counter,
    /// Deferrals.
    pub deferred: Each<Reason, Counter>,
    /// Recipients given up.
    pub bounced: Each<Reason, Counter>,
    /// Attempts that broke after the final dot.
    pub unknown_ends: Counter,
    /// Age at delivery.
    pub age: Histogram<Life>,
    /// Connections open or being opened.
    pub connections: Gauge,
    /// Sessions opened.
    pub sessions: Each<TlsPolicy, Each<Tls, Counter>>,
    /// Tries that failed.
    pub failures: Each<NoSession, Counter>,
    /// Sessions in clear text after a failed handshake.
    pub fallbacks: Counter,
    /// Requests to slow down.
    pub slowdowns: Counter,
    /// MAIL to the reply to the final dot.
    pub transaction: Histogram<Across>,
    /// 1 while no session can be opened.
    pub failing: Gauge,
}

/// What the relay counts of what comes home.
#[derive(Debug, Default)]
pub struct Returns {
    /// Messages taken.
    pub messages: Each<CameBack, Counter>,
    /// Recipients that failed.
    pub recipients: Each<Reason, Counter>,
    /// What was not taken.
    pub refusals: Each<ReturnRefused, Counter>,
    /// What is held.
    pub kept: Each<KeptFor, Counter>,
}

/// What the resolver counts.
#[derive(Debug, Default)]
pub struct Dns {
    /// Questions by their end.
    pub lookups: Each<DnsResult, Counter>,
    /// How long they took.
    pub seconds: Histogram<Within>,
}

impl Default for Meters {
    fn default() -> Self {
        let meters = Self {
            ingress: Arc::default(),
            front: Arc::default(),
            deliver: Arc::default(),
            returns: Arc::default(),
            dns: Arc::default(),
            sources: Mutex::default(),
        };
        meters.register_ingress();
        meters.register_front();
        meters.register_deliver();
        meters.register_returns();
        meters.register_dns();
        meters
    }
}

impl Meters {
    /// Has `source` write the values of a metric whenever the page is asked for: quickly, from what is in memory. A later one takes the
    /// place of an earlier one.
    pub fn register(&self, meter: &'static Meter, source: impl Fn(&mut Family<'_>) + Send + Sync + 'static) {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        sources.retain(|(known, _)| known.name != meter.name);
        sources.push((meter, Arc::new(source)));
    }

    /// The page, in the order of the catalogue.
    #[must_use]
    pub fn page(&self) -> String {
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut page = String::with_capacity(PAGE_OCTETS);
        for meter in METERS {
            if let Some((_, source)) = sources.iter().find(|(known, _)| known.name == meter.name) {
                source(&mut Family::begin(meter, &mut page));
            }
        }
        page
    }

    fn register_ingress(&self) {
        let of = |meter, write: fn(&Ingress, &mut Family<'_>)| {
            let ingress = self.ingress.clone();
            self.register(meter, move |family| write(&ingress, family));
        };
        of(&all::CLIENTS, |ingress, family| family.value(&[], ingress.clients.value()));
        of(&all::SESSIONS, |ingress, family| pairs(family, &[], &ingress.sessions));
        of(&all::AUTHENTICATIONS, |ingress, family| each(family, &[], &ingress.authentications));
        of(&all::REFUSALS, |ingress, family| pairs(family, &[], &ingress.refusals));
        of(&all::SUBMISSION, |ingress, family| family.histogram(&[], &ingress.submission));
    }

    fn register_front(&self) {
        let of = |meter, write: fn(&Front, &mut Family<'_>)| {
            let front = self.front.clone();
            self.register(meter, move |family| write(&front, family));
        };
        of(&all::ACCEPTED, |front, family| family.value(&[], front.accepted.count()));
        of(&all::ACCEPTED_RECIPIENTS, |front, family| family.value(&[], front.recipients.count()));
        of(&all::ACCEPTED_BYTES, |front, family| family.value(&[], front.octets.count()));
        of(&all::SUBMISSION_STEPS, |front, family| front.steps.iter().for_each(|(step, took)| family.histogram(&[step], took)));
        of(&all::SIGNATURES, |front, family| each(family, &[], &front.signatures));
        of(&all::UNSEALED, |front, family| family.value(&[], front.unsealed.count()));
        of(&all::SPOOLED, |front, family| each(family, &[], &front.spooled));
        of(&all::SUPPRESSED, |front, family| each(family, &[], &front.suppressed));
    }

    fn register_deliver(&self) {
        let by_provider = |meter, write: fn(&ByProvider, &str, &mut Family<'_>)| {
            let deliver = self.deliver.clone();
            self.register(meter, move |family| deliver.providers().for_each(|(name, of)| write(of, name, family)));
        };
        by_provider(&all::DELIVERED, |of, name, family| family.value(&[name], of.delivered.count()));
        by_provider(&all::DEFERRED, |of, name, family| each(family, &[name], &of.deferred));
        by_provider(&all::BOUNCED, |of, name, family| each(family, &[name], &of.bounced));
        by_provider(&all::UNKNOWN_ENDS, |of, name, family| family.value(&[name], of.unknown_ends.count()));
        by_provider(&all::LIFE, |of, name, family| family.histogram(&[name], &of.age));
        by_provider(&all::HOP_CONNECTIONS, |of, name, family| family.value(&[name], of.connections.value()));
        by_provider(&all::HOP_OPENED, |of, name, family| pairs(family, &[name], &of.sessions));
        by_provider(&all::HOP_FAILED, |of, name, family| each(family, &[name], &of.failures));
        by_provider(&all::HOP_IN_CLEAR, |of, name, family| family.value(&[name], of.fallbacks.count()));
        by_provider(&all::HOP_SLOWED, |of, name, family| family.value(&[name], of.slowdowns.count()));
        by_provider(&all::TRANSACTION, |of, name, family| family.histogram(&[name], &of.transaction));
        by_provider(&all::PROVIDER_FAILING, |of, name, family| family.value(&[name], of.failing.value()));
        let deliver = self.deliver.clone();
        self.register(&all::HOP_STEPS, move |family| deliver.steps.iter().for_each(|(step, took)| family.histogram(&[step], took)));
    }

    fn register_returns(&self) {
        let of = |meter, write: fn(&Returns, &mut Family<'_>)| {
            let returns = self.returns.clone();
            self.register(meter, move |family| write(&returns, family));
        };
        of(&all::RETURNED, |returns, family| each(family, &[], &returns.messages));
        of(&all::RETURNED_RECIPIENTS, |returns, family| each(family, &[], &returns.recipients));
        of(&all::RETURN_REFUSALS, |returns, family| each(family, &[], &returns.refusals));
        let (returns, deliver) = (self.returns.clone(), self.deliver.clone());
        self.register(&all::RETURNS_KEPT, move |family| {
            for (why, kept) in returns.kept.iter() {
                let undelivered = if why == KeptFor::Undelivered.word() { deliver.kept.count() } else { 0 };
                family.value(&[why], kept.count() + undelivered);
            }
        });
    }

    fn register_dns(&self) {
        let dns = self.dns.clone();
        self.register(&all::DNS, move |family| each(family, &[], &dns.lookups));
        let dns = self.dns.clone();
        self.register(&all::DNS_SECONDS, move |family| family.histogram(&[], &dns.seconds));
    }
}

impl std::fmt::Debug for Meters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meters").finish_non_exhaustive()
    }
}

impl Default for Deliver {
    fn default() -> Self {
        let by_provider = std::iter::repeat_with(ByProvider::default).take(PROVIDERS_MAX).collect();
        Self { names: ProviderNames::default(), by_provider, steps: Each::default(), kept: Counter::default() }
    }
}

impl Deliver {
    /// Tells this provider apart from now on. Called with the configuration's names, at start and reload.
    pub fn know(&self, provider: &str) {
        self.names.know(provider);
    }

    /// What is counted for a provider, by the name that logs have; one that is not known counts as `other`.
    pub fn of(&self, provider: &str) -> &ByProvider {
        &self.by_provider[self.names.place(provider)]
    }

    /// Every provider that is told apart.
    pub fn providers(&self) -> impl Iterator<Item = (&str, &ByProvider)> {
        self.names.iter().zip(&self.by_provider)
    }
}

fn each<W: Word>(family: &mut Family<'_>, before: &[&str], counters: &Each<W, Counter>) {
    for (word, counter) in counters.iter() {
        family.value(&[before, &[word]].concat(), counter.count());
    }
}

fn pairs<V: Word, W: Word>(family: &mut Family<'_>, before: &[&str], counters: &Each<V, Each<W, Counter>>) {
    for (word, counters) in counters.iter() {
        each(family, &[before, &[word]].concat(), counters);
    }
}

/// Room for the page of a relay with ten providers.
const PAGE_OCTETS: usize = 128 << 10;
