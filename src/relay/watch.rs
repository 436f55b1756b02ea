//! The watch: looks at the records of the keys that sign, again and again, tells what is wrong with them, and takes a key from use whose
//! record is gone. What the looks come to is decided by [`keys::watch`](crate::keys::watch), what follows by
//! [`seal::Rules::suspend`](crate::seal::Rules::suspend).
//!
//! It begins anew with each start of the relay: a loss is not remembered, but seen again within a few looks. Of a key whose record was
//! never seen it only tells: we may be asking servers that show another view of the zone than the world's, or the operator has not come
//! to publish it yet.

use crate::admin::api::domains::WatchStanding;
use crate::clock;
use crate::config::Config;
use crate::dns::{Authority, Data, Kind, Observation, Shown};
use crate::events::meters::words::KeyRecord;
use crate::keys::lifecycle::{Evidence, Seen, Shows};
use crate::keys::watch::{Change, Loss, Settings, Watched};
use crate::keys::{PublicKey, Record};
use crate::mail::{Domain, KeyId, Timestamp};
use crate::prepare::Snapshot;
use crate::seal::{Lost, LostKey, Rules, Suspension};
use arc_swap::ArcSwap;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

/// A key that signs, and what is to be seen of it.
#[derive(Debug, Clone)]
pub struct Target {
    /// The key.
    pub id: KeyId,
    /// Its public half.
    pub public: PublicKey,
    /// Who is asked.
    pub evidence: Evidence,
    /// Its record was once there for all to see, as its history says.
    pub was_visible: bool,
    /// Since when it signs, as its ledger says.
    pub active_since: Option<Timestamp>,
}

/// What is watched, and how.
#[derive(Debug, Clone)]
pub struct Orders {
    /// The keys.
    pub targets: Vec<Target>,
    /// How.
    pub settings: Settings,
    /// What follows.
    pub lost_key: LostKey,
}

impl Orders {
    /// To watch these keys as the configuration says.
    #[must_use]
    pub fn of(config: &Config, targets: Vec<Target>) -> Self {
        Self { targets, settings: config.watch.looks.clone(), lost_key: config.watch.lost_key }
    }
}

/// A watch that is being kept.
pub struct Watch {
    post: Arc<Post>,
    over: CancellationToken,
    running: Mutex<Option<JoinHandle<()>>>,
}

/// What the watch shares with its looks.
struct Post {
    snapshot: Arc<ArcSwap<Snapshot>>,
    authority: Authority,
    /// Mail that was held may go.
    due: Arc<Notify>,
    state: Mutex<State>,
    changed: Notify,
}

struct State {
    settings: Settings,
    lost_key: LostKey,
    keys: BTreeMap<KeyId, KeyState>,
    /// What was put into the snapshot last, and told.
    consequences: BTreeMap<Domain, Suspension>,
}

struct KeyState {
    target: Target,
    watched: Watched,
    loss: Option<Loss>,
    /// Some server has shown its record.
    was_seen: bool,
    next_at: Timestamp,
}

/// One look.
struct Look {
    id: KeyId,
    seen: Option<Seen>,
    ttl: Option<Duration>,
}

impl Watch {
    /// Begins to watch. What is found is put into `snapshot`; `due` is told when held mail may go.
    pub fn begin(orders: Orders, authority: Authority, snapshot: Arc<ArcSwap<Snapshot>>, due: Arc<Notify>) -> Self {
        let state = State { settings: orders.settings.clone(), lost_key: orders.lost_key, keys: BTreeMap::new(), consequences: BTreeMap::new() };
        let post = Arc::new(Post { snapshot, authority, due, state: Mutex::new(state), changed: Notify::new() });
        post.take(orders);
        let over = CancellationToken::new();
        let running = tokio::spawn(keep(post.clone(), over.clone()));
        Self { post, over, running: Mutex::new(Some(running)) }
    }

    /// Other keys or other settings, after a new snapshot was stored. What is known of keys that stay is kept, and holds for the new
    /// snapshot too.
    pub fn change(&self, orders: Orders) {
        self.post.take(orders);
        self.post.apply();
        self.post.changed.notify_one();
    }

    /// What is seen of the keys of a domain that are watched.
    #[must_use]
    pub fn standing(&self, domain: &Domain) -> BTreeMap<KeyId, WatchStanding> {
        let state = self.post.state();
        let suspended = state.consequences.get(domain);
        let is_suspended = |id: &KeyId| suspended.is_some_and(|suspension| suspension.rsa.iter().chain(&suspension.ed25519).any(|signer| signer.id == *id));
        let of_domain = state.keys.iter().filter(|(id, _)| id.domain == *domain);
        let standing = of_domain.map(|(id, key)| {
            let loss = key.loss.as_ref().map(ToString::to_string);
            (id.clone(), WatchStanding { seen: key.was_seen, loss, suspended: is_suspended(id) })
        });
        standing.collect()
    }

    /// Has rules that are to come into force begin with what is known.
    pub fn suspend(&self, rules: &mut Rules) {
        rules.suspend(&self.post.state().lost());
    }

    /// Every key that is watched, with what the DNS was last seen to show of it.
    pub fn keys(&self) -> Vec<(Target, KeyRecord)> {
        self.post.state().keys.values().map(|key| (key.target.clone(), key.record())).collect()
    }

    /// Ends it.
    pub async fn end(&self) {
        self.over.cancel();
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(running) = running {
            let _ = running.await;
        }
    }
}

async fn keep(post: Arc<Post>, over: CancellationToken) {
    let mut looks = JoinSet::new();
    let mut under_way = BTreeSet::new();
    loop {
        let now = clock::now();
        let (due, next_at) = post.due(now, &under_way);
        for target in due.into_iter().take(LOOKS_AT_ONCE.saturating_sub(under_way.len())) {
            under_way.insert(target.id.clone());
            let authority = post.authority.clone();
            looks.spawn(async move { look(&authority, &target).await });
        }
        let pause = if under_way.len() < LOOKS_AT_ONCE { next_at.map_or(IDLE, |at| at.since(now)) } else { IDLE };
        tokio::select! {
            () = over.cancelled() => return, // and the looks under way with it
            () = post.changed.notified() => {}
            () = tokio::time::sleep(pause) => {}
            Some(look) = looks.join_next() => match look {
                Ok(look) => {
                    under_way.remove(&look.id);
                    post.note(&look, clock::now());
                }
                // A look panicked, which one is not known: each is looked at anew after a rest.
                Err(_) => post.postpone(&std::mem::take(&mut under_way), clock::now()),
            },
        }
    }
}

async fn look(authority: &Authority, target: &Target) -> Look {
    let id = target.id.clone();
    let Ok(name) = id.domain.below(&format!("{}._domainkey", id.selector)) else { return Look { id, seen: None, ttl: None } };
    let observed = match target.evidence {
        Evidence::Authoritative => authority.observe(&name, Kind::Txt).await,
        Evidence::Resolver | Evidence::Manual => Ok(authority.observe_by_resolver(&name, Kind::Txt).await),
    };
    match observed {
        Ok(observation) => Look { id, ttl: observation.ttl(), seen: Some(seen(&observation, &target.public)) },
        Err(fault) => {
            tracing::debug!(key = %id, author_domain = %id.domain, error = %fault, "key.unobserved");
            Look { id, seen: None, ttl: None }
        }
    }
}

/// What each server shows, at its worst where it was asked for several names.
fn seen(observation: &Observation, public: &PublicKey) -> Seen {
    let mut seen = Seen { servers: BTreeMap::new(), negative_ttl: observation.negative_ttl() };
    for showing in observation.shown(|data| verifies(data, public)) {
        let shows = match showing.shown {
            Shown::Expected => Shows::Key,
            Shown::Absent => Shows::Nothing,
            Shown::Other(what) => Shows::Other { what, ttl: observation.ttl().unwrap_or_default() },
            Shown::Unclear(why) => Shows::NoAnswer(why),
        };
        let server = showing.sighting.server.to_string();
        let is_worse = |known: &Shows| matches!(known, Shows::Key | Shows::NoAnswer(_)) && shows != Shows::Key;
        if seen.servers.get(&server).is_none_or(is_worse) {
            seen.servers.insert(server, shows);
        }
    }
    seen
}

/// Whether a verifier finds this key there: one record, whatever else it says. Its flags are `doctor`'s business.
fn verifies(data: &[Data], public: &PublicKey) -> Result<(), String> {
    let [Data::Txt(text)] = data else { return Err(format!("{} records where one belongs", data.len())) };
    match Record::parse(text) {
        Ok(record) if record.public.as_ref() == Some(public) => Ok(()),
        Ok(record) if record.public.is_none() => Err("a revoked key (p= is empty)".to_owned()),
        Ok(_) => Err("another key".to_owned()),
        Err(error) => Err(format!("no key record: {error}")),
    }
}

impl Post {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, orders: Orders) {
        let now = clock::now();
        let mut state = self.state();
        let mut old = std::mem::take(&mut state.keys);
        // At a start not all at once.
        let first = |every: Duration| now + every.mul_f64(rand::random::<f64>());
        for target in orders.targets {
            let known = old.remove(&target.id).filter(|known| known.target.public == target.public);
            let known = known.unwrap_or_else(|| KeyState {
                target: target.clone(),
                watched: Watched::default(),
                loss: None,
                was_seen: false,
                next_at: first(orders.settings.every_min),
            });
            state.keys.insert(target.id.clone(), KeyState { target, ..known });
        }
        (state.settings, state.lost_key) = (orders.settings, orders.lost_key);
    }

    /// The keys to be looked at now, and when the next one is.
    fn due(&self, now: Timestamp, under_way: &BTreeSet<KeyId>) -> (Vec<Target>, Option<Timestamp>) {
        let state = self.state();
        let idle = || state.keys.values().filter(|key| !under_way.contains(&key.target.id));
        let due = idle().filter(|key| key.next_at <= now).map(|key| key.target.clone()).collect();
        (due, idle().map(|key| key.next_at).filter(|at| *at > now).min())
    }

    fn postpone(&self, ids: &BTreeSet<KeyId>, now: Timestamp) {
        let mut state = self.state();
        let until = now + state.settings.every_max;
        state.keys.values_mut().filter(|key| ids.contains(&key.target.id)).for_each(|key| key.next_at = until);
    }

    fn note(&self, look: &Look, now: Timestamp) {
        let change = {
            let mut state = self.state();
            let State { settings, keys, .. } = &mut *state;
            let Some(key) = keys.get_mut(&look.id) else { return }; // it signs no more
            key.was_seen |= look.seen.as_ref().is_some_and(|seen| seen.servers.values().any(|shows| *shows == Shows::Key));
            let change = look.seen.as_ref().and_then(|seen| key.watched.look(seen, settings, now));
            let by_resolver = key.target.evidence != Evidence::Authoritative;
            let pause = key.watched.pause(look.ttl, look.seen.as_ref(), by_resolver, settings);
            key.next_at = now + pause.mul_f64(0.9 + 0.2 * rand::random::<f64>());
            match &change {
                Some(Change::Lost(loss)) => key.loss = Some(loss.clone()),
                Some(Change::Found) => key.loss = None,
                Some(Change::Doubted(_)) | None => {}
            }
            change
        };
        let Some(change) = change else { return };
        tell(&look.id, &change);
        if !matches!(change, Change::Doubted(_)) {
            self.apply();
        }
    }

    /// Puts what is known into the snapshot that decides, and says what that changed.
    fn apply(&self) {
        let mut state = self.state();
        let lost = state.lost();
        self.snapshot.rcu(|snapshot| {
            let mut snapshot = Snapshot::clone(snapshot);
            snapshot.seal.suspend(&lost);
            snapshot
        });
        let consequences: BTreeMap<Domain, Suspension> =
            self.snapshot.load().seal.domains.iter().map(|(domain, seal)| (domain.clone(), seal.suspension.clone())).collect();
        let nothing = Suspension::default();
        for (domain, suspension) in &consequences {
            tell_of_domain(domain, state.consequences.get(domain).unwrap_or(&nothing), suspension);
        }
        state.consequences = consequences;
        self.due.notify_one();
    }
}

impl KeyState {
    fn record(&self) -> KeyRecord {
        match &self.loss {
            Some(loss) if loss.is_absence() => KeyRecord::Missing,
            Some(_) => KeyRecord::Different,
            None if self.was_seen => KeyRecord::Shown,
            None => KeyRecord::Unknown,
        }
    }
}

impl State {
    fn lost(&self) -> BTreeMap<KeyId, Lost> {
        let lost = self.keys.values().filter_map(|key| {
            let loss = key.loss.as_ref()?;
            let counts = key.target.evidence != Evidence::Manual && (key.was_seen || key.target.was_visible);
            let policy = if counts { self.lost_key } else { LostKey::Warn };
            Some((key.target.id.clone(), Lost { why: format!("the DNS does not show the DKIM key {}: {loss}", key.target.id), policy }))
        });
        lost.collect()
    }
}

fn tell(id: &KeyId, change: &Change) {
    let (key, author_domain) = (id, &id.domain);
    match change {
        Change::Doubted(loss) => tracing::info!(%key, %author_domain, servers = loss.names(), error = %loss, "key.doubted"),
        Change::Lost(loss) if loss.is_absence() => {
            tracing::warn!(%key, %author_domain, servers = loss.names(), error = %loss, rule = RULE, "key.missed");
        }
        Change::Lost(loss) => tracing::warn!(%key, %author_domain, servers = loss.names(), error = %loss, rule = RULE, "key.differed"),
        Change::Found => tracing::info!(%key, %author_domain, "key.recovered"),
    }
}

fn tell_of_domain(author_domain: &Domain, was: &Suspension, is: &Suspension) {
    for signer in is.rsa.iter().chain(&is.ed25519) {
        if !was.rsa.iter().chain(&was.ed25519).any(|other| other.id == signer.id) {
            tracing::warn!(key = %signer.id, %author_domain, rule = RULE, "key.suspended");
        }
    }
    match (&was.held, &is.held) {
        (None, Some(why)) => tracing::warn!(%author_domain, error = %why, rule = RULE, "domain.held"),
        (Some(_), None) => tracing::info!(%author_domain, "domain.released"),
        _ => {}
    }
}

/// What `doctor` looks at.
const RULE: &str = "dkim";
/// Looks under way at a time.
const LOOKS_AT_ONCE: usize = 8;
/// How long it sleeps when there is nothing to look at.
const IDLE: Duration = Duration::from_mins(1);
