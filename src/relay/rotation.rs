//! Keys while the relay runs: what the command line or a person changes among the key files is taken up within seconds, and domains
//! whose keys are on their way are driven on.

use super::snapshot;
use super::watch::{Orders, Target, Watch};
use super::world::{Outside, Queue, plan};
use crate::clock;
use crate::config::Config;
use crate::dns::Resolver;
use crate::keys::lifecycle::Waiting;
use crate::keys::{Ledger, State};
use crate::mail::{Domain, KeyId, Timestamp};
use crate::prepare::Snapshot;
use crate::rotation::{KeyProgress, Progress, Rotation, RotationFault, Taken};
use crate::spool::SqliteSpool;
use arc_swap::ArcSwap;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::{self, JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

/// The configuration and the snapshot that are in force. They change together, whoever changes them: SIGHUP or a change of key files.
pub struct InForce {
    config: Mutex<Arc<Config>>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    watch: Arc<Watch>,
    waits: Mutex<BTreeMap<KeyId, Wait>>,
}

/// Why a key does not take its next step yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// In words.
    pub reason: String,
    /// It goes on only when a person does something.
    pub needs_a_person: bool,
}

impl InForce {
    /// What a start found.
    #[must_use]
    pub const fn new(config: Arc<Config>, snapshot: Arc<ArcSwap<Snapshot>>, watch: Arc<Watch>) -> Self {
        Self { config: Mutex::new(config), snapshot, watch, waits: Mutex::new(BTreeMap::new()) }
    }

    /// SIGHUP's.
    pub fn replace(&self, config: Arc<Config>, snapshot: Snapshot, watched: Vec<Target>) {
        let mut in_force = self.lock();
        *in_force = config;
        self.store(snapshot, Orders::of(&in_force, watched));
    }

    /// Reads the keys anew, under the configuration in force. Blocks.
    ///
    /// # Errors
    /// Every fault; what was in force stays so, but for keys that are revoked: those must not sign on because of another file.
    fn read_keys(&self) -> Result<Vec<String>, Vec<String>> {
        let in_force = self.lock();
        match snapshot::read(&in_force, super::first_secret(&in_force), clock::now()) {
            Ok(read) => {
                self.store(read.snapshot, Orders::of(&in_force, read.watched));
                Ok(read.warnings)
            }
            Err(mut faults) => {
                faults.extend(self.forget_revoked(&in_force.server.keys).iter().map(|key| format!("{key} is revoked and signs no more all the same")));
                Err(faults)
            }
        }
    }

    /// Those that signed until now.
    fn forget_revoked(&self, keys: &Path) -> BTreeSet<KeyId> {
        let in_use = self.snapshot.load();
        let signers = in_use.seal.domains.values().flat_map(|seal| seal.rsa.iter().chain(&seal.ed25519).chain(&seal.suspension.rsa));
        let is_revoked = |id: &KeyId| {
            let ledger = Ledger::read(keys, &id.domain).ok();
            let entry = ledger.as_ref().and_then(|ledger| ledger.entries().get(&id.selector));
            entry.is_some_and(|entry| matches!(entry.state, State::Revoked | State::Removed))
        };
        let revoked: BTreeSet<KeyId> = signers.map(|signer| signer.id.clone()).filter(is_revoked).collect();
        if !revoked.is_empty() {
            self.snapshot.rcu(|snapshot| {
                let mut snapshot = Snapshot::clone(snapshot);
                snapshot.seal.forget(&revoked);
                snapshot
            });
        }
        revoked
    }

    /// A key whose record is gone does not sign under the new snapshot either.
    fn store(&self, mut snapshot: Snapshot, orders: Orders) {
        self.watch.suspend(&mut snapshot.seal);
        self.snapshot.store(Arc::new(snapshot));
        self.watch.change(orders);
    }

    /// The configuration.
    pub fn config(&self) -> Arc<Config> {
        self.lock().clone()
    }

    /// What decides about submissions.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// The watch of the keys that sign.
    pub const fn watch(&self) -> &Arc<Watch> {
        &self.watch
    }

    /// The keys that wait for their next step.
    pub fn waits(&self) -> BTreeMap<KeyId, Wait> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the last drive of a domain found.
    fn note_waits(&self, progress: &Progress) {
        let mut waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        waits.retain(|key, _| key.domain != progress.domain);
        waits.extend(progress.keys.iter().filter_map(|key| Some((key.key.clone(), wait(key)?))));
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Config>> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task.
pub struct Rotating {
    /// Ends it.
    pub over: CancellationToken,
    /// Ended when this is.
    pub running: JoinHandle<()>,
}

impl Rotating {
    /// `seen`: the key files as they were before they were read.
    pub fn begin(in_force: Arc<InForce>, seen: Fingerprint, resolver: Arc<Resolver>, spool: Arc<SqliteSpool>) -> Self {
        let over = CancellationToken::new();
        let until = over.clone();
        let config = in_force.config();
        let keeper = Keeper {
            seen,
            rotation: Arc::new(Rotation::new(&config.server.keys, LOCK_PATIENCE)),
            in_force,
            config,
            resolver,
            spool,
            next_at: HashMap::new(),
            told: HashMap::new(),
            drives: JoinSet::new(),
            under_way: HashMap::new(),
        };
        let running = tokio::spawn(async move {
            tokio::select! {
                () = until.cancelled() => {}
                () = keeper.run() => {}
            }
        });
        Self { over, running }
    }
}

struct Keeper {
    in_force: Arc<InForce>,
    /// As it was at the last look.
    config: Arc<Config>,
    /// The key files as they were when they were last read.
    seen: Fingerprint,
    rotation: Arc<Rotation>,
    resolver: Arc<Resolver>,
    spool: Arc<SqliteSpool>,
    /// When a domain is driven next; one that is not here, at once.
    next_at: HashMap<Domain, Timestamp>,
    /// What was last told of a key that waits, or of a domain (its key has no selector) that cannot be driven.
    told: HashMap<(Domain, Option<KeyId>), String>,
    drives: JoinSet<(Domain, Result<Progress, RotationFault>)>,
    under_way: HashMap<task::Id, Domain>,
}

impl Keeper {
    async fn run(mut self) {
        loop {
            self.take_up_changes().await;
            self.drive_those_due();
            self.note_those_done();
            tokio::time::sleep(POLL).await;
        }
    }

    /// Key files and configuration may have changed under us.
    async fn take_up_changes(&mut self) {
        let config = self.in_force.config();
        if !Arc::ptr_eq(&config, &self.config) {
            if config.server.keys != self.config.server.keys {
                self.rotation = Arc::new(Rotation::new(&config.server.keys, LOCK_PATIENCE));
            }
            self.config = config;
            self.next_at.clear();
        }
        let config = self.config.clone();
        let Ok(now) = tokio::task::spawn_blocking(move || fingerprint(&config)).await else { return };
        if now == self.seen {
            return;
        }
        self.seen = now;
        self.next_at.clear();
        let in_force = self.in_force.clone();
        match tokio::task::spawn_blocking(move || in_force.read_keys()).await {
            Ok(Ok(warnings)) => {
                for warning in &warnings {
                    tracing::warn!(warning, "config.warned");
                }
                tracing::info!("keys.reloaded");
            }
            Ok(Err(faults)) => faults.iter().for_each(|error| tracing::error!(error, "keys.rejected")),
            Err(error) => tracing::error!(%error, "keys.rejected"),
        }
    }

    /// A handful of domains at a time; the others wait for the next round. Not waited for: one with dead servers takes long, and a key
    /// that is revoked meanwhile must not sign on.
    fn drive_those_due(&mut self) {
        let now = clock::now();
        let is_idle = |domain: &&Domain| !self.under_way.values().any(|busy| busy == *domain);
        let room = DRIVES_AT_ONCE.saturating_sub(self.under_way.len());
        let due: Vec<Domain> = self.config.domains.keys().filter(|domain| self.is_due(domain, now)).filter(is_idle).take(room).cloned().collect();
        for domain in due {
            let Some(plan) = plan(&self.config, &domain).filter(|plan| wants_driving(&self.config, &domain, plan.lifecycle.rotate_every)) else {
                self.next_at.insert(domain, now + IDLE_MAX);
                continue;
            };
            let queue = Queue::Running(self.spool.clone(), self.in_force.snapshot.clone());
            let (world, rotation) = (Outside::of(&self.config, &domain, &self.resolver, queue), self.rotation.clone());
            let name = domain.clone();
            let drive = self.drives.spawn(async move {
                if plan.lifecycle.rotate_every.is_some() {
                    // A domain without a key gets its directory here.
                    if let Err(fault) = rotation.begin(&domain, &plan, &[], "", clock::now()).await {
                        return (domain, Err(fault));
                    }
                }
                let outcome = rotation.drive(&domain, &plan, &world).await;
                (domain, outcome)
            });
            self.under_way.insert(drive.id(), name);
        }
    }

    fn note_those_done(&mut self) {
        while let Some(done) = self.drives.try_join_next_with_id() {
            let id = done.as_ref().map_or_else(task::JoinError::id, |(id, _)| *id);
            let Some(domain) = self.under_way.remove(&id) else { continue };
            match done {
                Ok((_, (_, Ok(progress)))) => self.tell(progress),
                Ok((_, (_, Err(fault)))) => self.tell_fault(&domain, &fault.to_string()),
                Err(error) => self.tell_fault(&domain, &error.to_string()),
            }
        }
    }

    fn tell_fault(&mut self, domain: &Domain, error: &str) {
        self.next_at.insert(domain.clone(), clock::now() + RETRY_AFTER);
        if self.is_news((domain.clone(), None), error) {
            tracing::warn!(author_domain = %domain, error, "rotation.failed");
        }
    }

    fn is_due(&self, domain: &Domain, now: Timestamp) -> bool {
        // A clock that went back must not stop us for as long as it went.
        self.next_at.get(domain).is_none_or(|at| *at <= now || *at > now + IDLE_MAX)
    }

    fn tell(&mut self, progress: Progress) {
        let now = clock::now();
        let soon = if progress.taken.is_empty() { progress.again_at } else { now };
        self.next_at.insert(progress.domain.clone(), soon.max(now + POLL).min(now + IDLE_MAX));
        self.told.remove(&(progress.domain.clone(), None));
        progress.taken.iter().for_each(tell_taken);
        self.in_force.note_waits(&progress);
        for key in progress.keys {
            let Some(Wait { reason, needs_a_person }) = wait(&key) else { continue };
            if self.is_news((progress.domain.clone(), Some(key.key.clone())), &reason) {
                tell_waiting(&key, &reason, needs_a_person);
            }
        }
    }

    /// Once for each reason, not at every look.
    fn is_news(&mut self, about: (Domain, Option<KeyId>), reason: &str) -> bool {
        self.told.insert(about, reason.to_owned()).is_none_or(|before| before != reason)
    }
}

/// Whether anything can come of driving it: keys are to be made, or some are on their way in or out. What cannot be read is looked at
/// by driving, which says so.
fn wants_driving(config: &Config, domain: &Domain, rotate_every: Option<Duration>) -> bool {
    let is_moving = |state: State| !matches!(state, State::Active | State::Removed);
    rotate_every.is_some()
        || config.server.keys.join(domain.as_str()).is_dir()
            && Ledger::read(&config.server.keys, domain).map_or(true, |ledger| ledger.entries().values().any(|entry| is_moving(entry.state)))
}

fn tell_taken(Taken { key, algorithm, from, to, why }: &Taken) {
    let event = match (from, to) {
        (None, _) | (_, State::Created) => "key.created",
        (Some(State::Visible), State::Published) => "key.lost",
        (_, State::Published) => "key.published",
        (_, State::Visible) => "key.shown",
        (_, State::Active) => "key.activated",
        (_, State::Retiring) => "key.retired",
        (_, State::Revoked) => "key.revoked",
        (_, State::Removed) => "key.removed",
    };
    tracing::info!(%key, author_domain = %key.domain, %algorithm, reason = why, "{event}");
}

fn tell_waiting(KeyProgress { key, state, .. }: &KeyProgress, reason: &str, needs_a_person: bool) {
    if needs_a_person {
        tracing::warn!(%key, author_domain = %key.domain, %state, reason, "key.delayed");
    } else {
        tracing::info!(%key, author_domain = %key.domain, %state, reason, "key.delayed");
    }
}

fn wait(key: &KeyProgress) -> Option<Wait> {
    match (&key.failed, &key.waiting) {
        (Some(failed), _) => Some(Wait { reason: failed.clone(), needs_a_person: true }),
        (None, Some(waiting)) => Some(Wait { reason: waiting.to_string(), needs_a_person: needs_a_person(waiting) }),
        (None, None) => None,
    }
}

const fn needs_a_person(waiting: &Waiting) -> bool {
    matches!(waiting, Waiting::ByHand(_) | Waiting::Confirmation(_) | Waiting::Silence { .. } | Waiting::Dns(_) | Waiting::QueueUnknown(_))
}

/// What tells that key files have changed: of each directory, each ledger in it, and each file outside of it, inode and time of change.
/// Kubernetes exchanges a symbolic link in the directory, everybody else renames a file into it.
pub type Fingerprint = BTreeMap<std::path::PathBuf, (u64, i64, i64)>;

pub fn fingerprint(config: &Config) -> Fingerprint {
    let keys = &config.server.keys;
    let mark = |path: &Path| std::fs::metadata(path).ok().map(|about| (about.ino(), about.ctime(), about.ctime_nsec()));
    let below = std::fs::read_dir(keys).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
    let ledgers = below.flat_map(|path| [path.join("keys.toml"), path]).chain([keys.to_owned()]);
    let further = config.key_files().into_iter().map(|file| file.path);
    ledgers.chain(further).filter_map(|path| mark(&path).map(|mark| (path, mark))).collect()
}

/// How often key files are looked at: within this time a key that was revoked signs no more.
const POLL: Duration = Duration::from_secs(1);

/// Domains driven at a time. One drive asks a few servers a few questions; one with dead servers waits for their time-outs.
const DRIVES_AT_ONCE: usize = 8;

/// A domain that waits for nothing is looked at so often all the same.
const IDLE_MAX: Duration = Duration::from_hours(1);

/// After a ledger that was held or did not read.
const RETRY_AFTER: Duration = Duration::from_mins(1);

/// The command line holds a ledger for as long as it asks servers.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
