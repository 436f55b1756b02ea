//! What is looked at rather than counted: the queue, the spool and its disk, keys, certificates, readiness.

use super::watch::{Target, Watch};
use crate::admin::Life;
use crate::admin::health::{StoreLook, readiness};
use crate::clock;
use crate::config::Config;
use crate::deliver::whereabouts::Whereabouts;
use crate::events::meters::words::{KeyRecord, QueueState, Reload, Signature, SpoolState};
use crate::events::meters::{self, Counter, DOMAINS_MAX, Each, Gauge, Meters, OTHER, Word, catalogue};
use crate::ingress::tls;
use crate::mail::{Domain, Timestamp};
use crate::prepare::Snapshot;
use crate::seal::{FieldKind, Seal};
use crate::spool::{Control, Depth, Health, Queue, RecoveryReport, Spool as _, SpoolError, SqliteSpool, Suppressions};
use arc_swap::ArcSwap;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The signatures of a seal that goes with mail.
pub fn count_seal(front: &meters::Front, seal: &Seal) {
    for field in &seal.fields {
        let signature = match field.kind {
            FieldKind::Rsa => Signature::AuthorRsa,
            FieldKind::Ed25519 => Signature::AuthorEd25519,
            FieldKind::ThirdParty => Signature::ThirdParty,
            FieldKind::ArcSeal | FieldKind::ArcMessageSignature => Signature::Arc,
            FieldKind::ArcAuthenticationResults => continue,
        };
        front.signatures.of(signature).one();
    }
    front.unsealed.many(u64::from(seal.keys().next().is_none()));
}

/// What only the relay as a whole counts.
#[derive(Default)]
pub struct Own {
    reloads: Each<Reload, Counter>,
    /// In seconds since 1970.
    certificate_expires: Gauge,
}

impl Own {
    /// A reload was asked for; whether it was taken.
    pub fn reloaded(&self, taken: bool) {
        self.reloads.of(if taken { Reload::Taken } else { Reload::Rejected }).one();
    }

    /// Looks at the certificates that are in force.
    pub fn look_at_certificates(&self, config: &Config) {
        let files = config.tls.iter().flat_map(|tls| &tls.certificates);
        let ends = files.filter_map(|files| tls::certificate_face(files).ok()).map(|face| face.not_after.unix_seconds());
        self.certificate_expires.set(ends.min().unwrap_or(0));
    }
}

/// What there is to look at.
pub struct Sights {
    /// The spool.
    pub spool: Arc<SqliteSpool>,
    /// Keys in the DNS.
    pub watch: Arc<Watch>,
    /// Domains that are held.
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    /// Readiness.
    pub life: Arc<dyn Life>,
    /// Where queues lead.
    pub whereabouts: Arc<Whereabouts>,
}

/// The registry of a running relay, and who looks at what it cannot count.
pub struct Measuring {
    /// What rooms count in.
    pub meters: Arc<Meters>,
    /// What the relay counts itself.
    pub own: Arc<Own>,
    over: CancellationToken,
    running: JoinHandle<()>,
}

impl Measuring {
    /// Has the page show everything, and begins to count the queue again and again.
    pub fn begin(meters: Arc<Meters>, sights: &Sights, report: &RecoveryReport, config: &Config) -> Self {
        let own = Arc::new(Own::default());
        own.look_at_certificates(config);
        let seen = Arc::new(Mutex::new(Seen::default()));
        register(&meters, sights, &own, report);
        register_seen(&meters, &seen, &sights.life);
        let over = CancellationToken::new();
        let (until, deliver, spool, whereabouts) = (over.clone(), meters.deliver.clone(), sights.spool.clone(), sights.whereabouts.clone());
        let running = tokio::spawn(async move {
            tokio::select! {
                () = until.cancelled() => {}
                () = keep_observing(&spool, &deliver, &whereabouts, &seen) => {}
            }
        });
        Self { meters, own, over, running }
    }

    /// Ends it; the page stays as it is.
    pub async fn end(self) {
        self.over.cancel();
        let _ = self.running.await; // at its next page
    }
}

fn register(meters: &Meters, sights: &Sights, own: &Arc<Own>, report: &RecoveryReport) {
    let (leases_ended, commits_lost) = (report.leases_ended, report.commits_lost);
    meters.register(&catalogue::BUILD, |family| family.value(&[env!("CARGO_PKG_VERSION")], 1));
    meters.register(&catalogue::UNCLEAN_LEASES, move |family| family.value(&[], leases_ended));
    meters.register(&catalogue::COMMITS_LOST, move |family| family.value(&[], commits_lost));
    let counted = own.clone();
    meters
        .register(&catalogue::RELOADS, move |family| Reload::ALL.iter().for_each(|result| family.value(&[result.word()], counted.reloads.of(*result).count())));
    let own = own.clone();
    meters.register(&catalogue::CERTIFICATE, move |family| family.value(&[], own.certificate_expires.value()));
    register_spool(meters, &sights.spool);
    register_keys(meters, sights);
    super::process::register(meters);
}

fn register_spool(meters: &Meters, spool: &Arc<SqliteSpool>) {
    let of = |meter, write: fn(&SqliteSpool, &mut meters::Family<'_>)| {
        let spool = spool.clone();
        meters.register(meter, move |family| write(&spool, family));
    };
    of(&catalogue::TRANSACTIONS, |spool, family| family.value(&[], spool.work().transactions));
    of(&catalogue::JOBS, |spool, family| family.value(&[], spool.work().jobs));
    of(&catalogue::SPOOL_BUSY, |spool, family| family.value(&[], spool.work().busy.as_secs_f64()));
    of(&catalogue::SUPPRESSIONS, |spool, family| family.value(&[], spool.suppressions_count().0));
    of(&catalogue::SUPPRESSIONS_MAX, |spool, family| family.value(&[], spool.suppressions_count().1));
    of(&catalogue::WAL, |spool, family| family.value(&[], spool.work().wal_octets));
}

fn register_keys(meters: &Meters, sights: &Sights) {
    let watch = sights.watch.clone();
    meters.register(&catalogue::KEY_AGE, move |family| {
        for ((domain, algorithm), since) in oldest(&watch.keys()) {
            family.value(&[&domain, &algorithm], clock::now().since(since).as_secs());
        }
    });
    let watch = sights.watch.clone();
    meters.register(&catalogue::KEY_RECORDS, move |family| {
        for (domain, counts) in records(&watch.keys()) {
            for record in KeyRecord::ALL {
                family.value(&[&domain, record.word()], counts[record.place()]);
            }
        }
    });
    let snapshot = sights.snapshot.clone();
    meters.register(&catalogue::DOMAIN_HELD, move |family| {
        let snapshot = snapshot.load();
        let named = Named::of(snapshot.seal.domains.keys());
        let mut held: BTreeMap<&str, bool> = BTreeMap::new();
        for (domain, seal) in &snapshot.seal.domains {
            *held.entry(named.name(domain)).or_default() |= seal.suspension.held.is_some();
        }
        for (domain, held) in held {
            family.value(&[domain], u8::from(held));
        }
    });
}

/// Since when the oldest signing key signs, by domain and algorithm.
fn oldest(keys: &[(Target, KeyRecord)]) -> BTreeMap<(String, String), Timestamp> {
    let named = Named::of(keys.iter().map(|(target, _)| &target.id.domain));
    let mut oldest = BTreeMap::new();
    for (target, _) in keys {
        let Some(since) = target.active_since else { continue };
        let key = (named.name(&target.id.domain).to_owned(), target.public.algorithm().to_string());
        oldest.entry(key).and_modify(|known: &mut Timestamp| *known = since.min(*known)).or_insert(since);
    }
    oldest
}

/// How many keys the DNS shows how, by domain.
fn records(keys: &[(Target, KeyRecord)]) -> BTreeMap<String, [u64; KeyRecord::ALL.len()]> {
    let named = Named::of(keys.iter().map(|(target, _)| &target.id.domain));
    let mut counts: BTreeMap<String, [u64; KeyRecord::ALL.len()]> = BTreeMap::new();
    for (target, record) in keys {
        counts.entry(named.name(&target.id.domain).to_owned()).or_default()[record.place()] += 1;
    }
    counts
}

/// The author domains that are told apart: the first by name.
struct Named<'a>(BTreeSet<&'a Domain>);

impl<'a> Named<'a> {
    fn of(domains: impl Iterator<Item = &'a Domain>) -> Self {
        let all: BTreeSet<_> = domains.collect();
        Self(all.into_iter().take(DOMAINS_MAX).collect())
    }

    fn name<'d>(&self, domain: &'d Domain) -> &'d str {
        if self.0.contains(domain) { domain.as_str() } else { OTHER }
    }
}

/// Spool and queue as they were last looked at: never when the page is asked for, since a disk may not answer.
#[derive(Debug, Default)]
struct Seen {
    store: Option<Store>,
    queue: Queues,
}

/// The spool.
#[derive(Debug)]
struct Store {
    health: Health,
    /// Octets free, and to stay free.
    room: Option<(u64, u64)>,
}

/// The queue.
#[derive(Debug, Default)]
struct Queues {
    at: Timestamp,
    count: u64,
    by_provider: BTreeMap<String, OfProvider>,
    quarantined: u64,
    held: u64,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct OfProvider {
    waiting: u64,
    due: u64,
    leased: u64,
    oldest: Option<Timestamp>,
}

async fn keep_observing(spool: &Arc<SqliteSpool>, deliver: &meters::Deliver, whereabouts: &Whereabouts, seen: &Mutex<Seen>) {
    let provider = |queue: &Queue| whereabouts.of(queue).filter(|name| deliver.providers().any(|(known, _)| *known == **name));
    loop {
        let began = Instant::now();
        let looked_at = spool.clone();
        let store = tokio::task::spawn_blocking(move || Store { health: looked_at.health(), room: looked_at.room().ok() }).await;
        lock(seen).store = store.ok();
        // A failed spool has said so itself; the time-stamp of the queue grows old.
        if let Ok(queue) = observe(&**spool, &provider).await {
            lock(seen).queue = queue;
        }
        // A deep queue is not counted so often that counting becomes a burden.
        tokio::time::sleep(OBSERVE_EVERY.max(began.elapsed() * IDLE_SHARE)).await;
    }
}

fn register_seen(meters: &Meters, seen: &Arc<Mutex<Seen>>, life: &Arc<dyn Life>) {
    let of_store = |meter, write: fn(&Store, &mut meters::Family<'_>)| {
        let seen = seen.clone();
        meters.register(meter, move |family| lock(&seen).store.iter().for_each(|store| write(store, family)));
    };
    of_store(&catalogue::SPOOL, |store, family| {
        let is = state_of(&store.health);
        for state in SpoolState::ALL {
            family.value(&[state.word()], u8::from(*state == is));
        }
    });
    of_store(&catalogue::DISK_FREE, |store, family| store.room.iter().for_each(|(free, _)| family.value(&[], free)));
    of_store(&catalogue::DISK_RESERVE, |store, family| store.room.iter().for_each(|(_, reserve)| family.value(&[], reserve)));
    let (looked_at, life) = (seen.clone(), life.clone());
    meters.register(&catalogue::READY, move |family| {
        let store = lock(&looked_at).store.as_ref().map_or(StoreLook::Silent, |store| StoreLook::Answered(store.health.clone()));
        family.value(&[], u8::from(readiness(&life.standing(), &store).ready));
    });
    let of = |meter, write: fn(&Queues, &meters::Deliver, &mut meters::Family<'_>)| {
        let (seen, deliver) = (seen.clone(), meters.deliver.clone());
        meters.register(meter, move |family| write(&lock(&seen).queue, &deliver, family));
    };
    of(&catalogue::QUEUE, |queue, deliver, family| {
        for (name, _) in deliver.providers() {
            let of = queue.by_provider.get(name).copied().unwrap_or_default();
            for (state, count) in [(QueueState::Waiting, of.waiting), (QueueState::Due, of.due), (QueueState::Leased, of.leased)] {
                family.value(&[name, state.word()], count);
            }
        }
    });
    of(&catalogue::QUEUE_OLDEST, |queue, deliver, family| {
        for (name, _) in deliver.providers() {
            let oldest = queue.by_provider.get(name).and_then(|of| of.oldest);
            family.value(&[name], oldest.map_or(0, |oldest| clock::now().since(oldest).as_secs()));
        }
    });
    of(&catalogue::QUEUES, |queue, _, family| family.value(&[], queue.count));
    of(&catalogue::QUEUE_OBSERVED, |queue, _, family| family.value(&[], queue.at.unix_seconds()));
    of(&catalogue::HELD, |queue, _, family| family.value(&[], queue.held));
    of(&catalogue::QUARANTINED, |queue, _, family| family.value(&[], queue.quarantined));
}

const fn state_of(health: &Health) -> SpoolState {
    match health {
        Health::Working => SpoolState::Working,
        Health::Full { .. } => SpoolState::Full,
        Health::Failed(_) => SpoolState::Failed,
        Health::Closed => SpoolState::Closed,
    }
}

async fn observe<S: Depth + Control>(spool: &S, provider: &(impl Fn(&Queue) -> Option<Arc<str>> + Sync)) -> Result<Queues, SpoolError> {
    let name = |queue: &Queue| provider(queue).map_or_else(|| OTHER.to_owned(), |name| name.to_string());
    let at = clock::now();
    let (quarantined, held) = (spool.counts().await?.quarantined, spool.states(at).await?.held);
    let mut seen = Queues { at, quarantined, held, ..Queues::default() };
    let (mut from, mut last) = (None, None::<Queue>);
    loop {
        let page = spool.depth(from, at).await?;
        for depth in page.queues {
            let of = seen.by_provider.entry(name(&depth.queue)).or_default();
            of.waiting += depth.later;
            of.due += depth.due;
            of.oldest = Some(of.oldest.map_or(depth.oldest, |oldest| oldest.min(depth.oldest)));
            seen.count += u64::from(last.as_ref() != Some(&depth.queue)); // a queue may go on from the page before
            last = Some(depth.queue);
        }
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    for (queue, count) in spool.leased(at).await? {
        let of = seen.by_provider.entry(name(&queue)).or_default();
        of.leased += count;
        of.waiting = of.waiting.saturating_sub(count); // it was counted as one whose time comes later
    }
    Ok(seen)
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often the queue is counted.
const OBSERVE_EVERY: Duration = Duration::from_secs(10);
/// Counting takes no more than one part in so many of the time.
const IDLE_SHARE: u32 = 20;
