//! Drives the keys of one domain as far as they can go now. A shell: it changes ledgers and asks the world.

use super::holder::holder;
use super::{Change, DomainPlan, World};
use crate::keys::lifecycle::{self, ClockWentBack, Facts, Memory, Remembered, Sight, Standing, Step, Waiting, Wanted};
use crate::keys::{Algorithm, ChangeError, KeyFault, Keyring, Ledger, OpenLedger, PemError, PrivateKey, Record, ServerMemory, State};
use crate::mail::{Domain, KeyId, Selector, Timestamp};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Leads the keys below one directory. Cheap; what it remembers between two drives it can do without.
#[derive(Debug)]
pub struct Rotation {
    keys: PathBuf,
    /// How long another process is waited for.
    patience: Duration,
    /// When records were last written by this process.
    written_at: Mutex<HashMap<KeyId, Timestamp>>,
}

/// What a drive did, and what the keys of the domain wait for now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Whose keys.
    pub domain: Domain,
    /// The keys that are made or were taken a step further, in order.
    pub taken: Vec<Taken>,
    /// Every key that is not removed.
    pub keys: Vec<KeyProgress>,
    /// When the domain is worth another drive.
    pub again_at: Timestamp,
}

/// One step that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The key.
    pub key: KeyId,
    /// Its kind.
    pub algorithm: Algorithm,
    /// Where it stood; `None`: it was made.
    pub from: Option<State>,
    /// Where it stands.
    pub to: State,
    /// Why, as its history has it.
    pub why: String,
}

/// Where one key stands after a drive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyProgress {
    /// The key.
    pub key: KeyId,
    /// Its kind.
    pub algorithm: Algorithm,
    /// Its state.
    pub state: State,
    /// Since when.
    pub since: Timestamp,
    /// What it waits for, if it waits.
    pub waiting: Option<Waiting>,
    /// What could not be done now, in words; it is tried again.
    pub failed: Option<String>,
    /// What the servers showed, where they were asked.
    pub sight: Option<Sight>,
    /// What is remembered of them.
    pub memory: Memory,
    /// The record its name should show now.
    pub record: Option<Record>,
}

/// What a drive would do now, and what then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    /// The keys that would be made.
    pub made: Vec<(Selector, Algorithm)>,
    /// Every key that is not removed, with what is due for it.
    pub keys: Vec<(Selector, Standing, Step)>,
}

/// Why a domain was not driven, or not further. Trying again does no harm.
#[derive(Debug, thiserror::Error)]
pub enum RotationFault {
    /// Its ledger or a key file.
    #[error(transparent)]
    Keys(#[from] ChangeError),
    /// Somebody else drives it or changes its keys.
    #[error("{} is changing the keys of {domain}; wait until it is done and try again", holder.as_deref().unwrap_or("another process"))]
    Held {
        /// Whose keys.
        domain: Domain,
        /// Who it is, where that can be found out.
        holder: Option<String>,
    },
    /// The clock.
    #[error(transparent)]
    Clock(#[from] ClockWentBack),
    /// The keys are not such that the operator's word is asked for.
    #[error("{0}")]
    Confirmation(String),
}

impl From<KeyFault> for RotationFault {
    fn from(fault: KeyFault) -> Self {
        Self::Keys(fault.into())
    }
}

impl Rotation {
    /// Of the keys below this directory. Another process that has a ledger open is waited for so long.
    #[must_use]
    pub fn new(keys: &Path, patience: Duration) -> Self {
        Self { keys: keys.to_owned(), patience, written_at: Mutex::default() }
    }

    /// Makes the next key of each kind given, where none is on its way: asked twice, it makes one.
    ///
    /// # Errors
    /// As [`Ledger::open_or_make`] and [`OpenLedger::create`].
    pub async fn begin(&self, domain: &Domain, plan: &DomainPlan, algorithms: &[Algorithm], why: &str, now: Timestamp) -> Result<Vec<Taken>, RotationFault> {
        if !self.keys.join(domain.as_str()).is_dir() {
            Ledger::open_or_make(&self.keys, domain)?; // which makes its directory
        }
        let mut ledger = self.open(domain).await?;
        let standings = standings(&ledger)?;
        let mut made = Vec::new();
        for algorithm in algorithms.iter().filter(|algorithm| lifecycle::on_its_way(&standings, **algorithm).is_none()) {
            made.push(create(&mut ledger, *algorithm, plan, why, now).await?);
        }
        Ok(made)
    }

    /// Takes every step that is due, makes the keys that `rotate_every` asks for, and says what is waited for. Holds the lock of the
    /// ledger meanwhile: as long as the world's answers take.
    ///
    /// # Errors
    /// What keeps the whole domain from being driven. A single key that cannot be helped now is no error, see [`KeyProgress::failed`].
    ///
    /// # Cancel safety
    /// Between two steps; what was begun is done again by the next drive.
    pub async fn drive<W: World>(&self, domain: &Domain, plan: &DomainPlan, world: &W) -> Result<Progress, RotationFault> {
        let mut drive = Drive {
            ledger: self.open(domain).await?,
            plan,
            world,
            facts: Facts { written_at: self.written_at(domain), ..Facts::default() },
            failed: BTreeMap::new(),
            taken: Vec::new(),
        };
        let made = drive.make_what_lacks().await;
        let driven = match made {
            Ok(()) => drive.run().await,
            Err(fault) => Err(fault),
        };
        self.remember_written(domain, &drive.facts.written_at);
        driven?;
        drive.progress()
    }

    /// What [`Rotation::begin`] and [`Rotation::drive`] would do at once. Asks the world, changes nothing and takes no lock.
    ///
    /// # Errors
    /// As they have.
    pub async fn preview<W: World>(&self, domain: &Domain, plan: &DomainPlan, algorithms: &[Algorithm], world: &W) -> Result<Preview, RotationFault> {
        let ledger = Ledger::read(&self.keys, domain)?;
        let files =
            Keyring::load(&self.keys).map_err(|faults| faults.into_iter().next().map_or_else(|| ChangeError::Busy(domain.clone()), ChangeError::from))?;
        let mut keys: BTreeMap<Selector, Standing> = BTreeMap::new();
        let mut facts = Facts::default();
        for (selector, entry) in ledger.entries() {
            let mut standing = Standing { algorithm: entry.algorithm, state: entry.state, since: entry.since, has_key: true, memory: memory(entry) };
            let key = KeyId { domain: domain.clone(), selector: selector.clone() };
            let private = files.keys(domain).iter().find(|file| file.id == key).and_then(|file| file.private.as_ref());
            standing.has_key = private.is_some();
            if let Some(private) = private.filter(|_| !matches!(entry.state, State::Active | State::Removed)) {
                let sight = world.look(&key, &Record::of(private.public().clone()), plan.lifecycle.evidence).await;
                if let Sight::Seen(seen) = &sight {
                    standing.memory = lifecycle::remember(&standing.memory, seen, &plan.lifecycle, world.now());
                }
                facts.sights.insert(selector.clone(), sight);
            }
            if entry.state == State::Retiring {
                facts.mentions.insert(selector.clone(), world.mentions(&key).await);
            }
            keys.insert(selector.clone(), standing);
        }
        let now = world.now();
        let mut steps = lifecycle::due(&keys, &facts, &plan.lifecycle, now)?;
        let mut taken: Vec<Selector> = keys.keys().cloned().collect();
        let mut made = Vec::new();
        for algorithm in algorithms.iter().filter(|algorithm| lifecycle::on_its_way(&keys, **algorithm).is_none()) {
            let selector = plan.selector.next(*algorithm, now, |selector| taken.contains(selector)).map_err(ChangeError::from)?;
            taken.push(selector.clone());
            made.push((selector, *algorithm));
        }
        let keys = keys.into_iter().filter(|(_, key)| key.state != State::Removed);
        Ok(Preview { made, keys: keys.filter_map(|(selector, key)| steps.remove(&selector).map(|step| (selector, key, step))).collect() })
    }

    /// The operator says that the record of a key was changed by hand: the evidence where that is its word.
    ///
    /// # Errors
    /// Nothing is to be confirmed for that key.
    pub async fn confirm<W: World>(&self, domain: &Domain, selector: &Selector, plan: &DomainPlan, world: &W) -> Result<Vec<Taken>, RotationFault> {
        let mut ledger = self.open(domain).await?;
        let id = KeyId { domain: domain.clone(), selector: selector.clone() };
        let standings = standings(&ledger)?;
        let key = standings.get(selector).ok_or_else(|| ChangeError::Unknown(id.clone()))?;
        if plan.lifecycle.evidence != lifecycle::Evidence::Manual {
            let why = format!(
                "evidence is \"{}\" for {domain}: what the DNS shows decides, not a word; to confirm by hand, set evidence = \"manual\"",
                plan.lifecycle.evidence
            );
            return Err(RotationFault::Confirmation(why));
        }
        let now = world.now();
        let mentions = if key.state == State::Retiring { Some(world.mentions(&id).await) } else { None };
        let Some(to) = lifecycle::confirmed(key, mentions.as_ref(), &plan.lifecycle, now) else {
            return Err(RotationFault::Confirmation(format!("{id} is {}: there is nothing to confirm for it now", key.state)));
        };
        let mut taken = Vec::new();
        if key.state == State::Created {
            taken.extend(advance(&mut ledger, selector, State::Published, CONFIRMED, now)?);
        }
        taken.extend(advance(&mut ledger, selector, to, CONFIRMED, now)?);
        Ok(taken)
    }

    async fn open(&self, domain: &Domain) -> Result<OpenLedger, RotationFault> {
        let mut waited = Duration::ZERO;
        loop {
            if let Some(ledger) = Ledger::try_open(&self.keys, domain)? {
                return Ok(ledger);
            }
            if waited >= self.patience {
                return Err(RotationFault::Held { domain: domain.clone(), holder: holder(&self.keys.join(domain.as_str())) });
            }
            tokio::time::sleep(LOCK_POLL).await;
            waited += LOCK_POLL;
        }
    }

    fn written_at(&self, domain: &Domain) -> BTreeMap<Selector, Timestamp> {
        let all = self.written_at.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter(|(key, _)| key.domain == *domain).map(|(key, at)| (key.selector.clone(), *at)).collect()
    }

    fn remember_written(&self, domain: &Domain, written_at: &BTreeMap<Selector, Timestamp>) {
        let mut all = self.written_at.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend(written_at.iter().map(|(selector, at)| (KeyId { domain: domain.clone(), selector: selector.clone() }, *at)));
    }
}

/// One drive of one domain.
struct Drive<'a, W> {
    ledger: OpenLedger,
    plan: &'a DomainPlan,
    world: &'a W,
    facts: Facts,
    /// What could not be done, by key: not tried again in this drive.
    failed: BTreeMap<Selector, String>,
    taken: Vec<Taken>,
}

impl<W: World> Drive<'_, W> {
    async fn make_what_lacks(&mut self) -> Result<(), RotationFault> {
        let now = self.world.now();
        for (algorithm, why) in lifecycle::lacking(&standings(&self.ledger)?, &self.plan.algorithms, &self.plan.lifecycle, now) {
            let made = create(&mut self.ledger, algorithm, self.plan, &why, now).await?;
            self.taken.push(made);
        }
        Ok(())
    }

    /// Until every key waits, rests or cannot be helped now.
    async fn run(&mut self) -> Result<(), RotationFault> {
        let bound = (self.ledger.entries().len() + 1) * ACTS_PER_KEY_MAX;
        for _ in 0..bound {
            let now = self.world.now();
            let steps = lifecycle::due(&standings(&self.ledger)?, &self.facts, &self.plan.lifecycle, now)?;
            let acts = steps.into_iter().find(|(selector, step)| !matches!(step, Step::Rest | Step::Wait { .. }) && !self.failed.contains_key(selector));
            let Some((selector, step)) = acts else { return Ok(()) };
            self.act(&selector, step, now).await?;
        }
        Ok(())
    }

    async fn act(&mut self, selector: &Selector, step: Step, now: Timestamp) -> Result<(), RotationFault> {
        let key = self.id(selector);
        match step {
            Step::Rest | Step::Wait { .. } => {}
            Step::Look => {
                let record = self.record(selector)?;
                let sight = match &record {
                    Some(record) => self.world.look(&key, record, self.plan.lifecycle.evidence).await,
                    None => Sight::Unknown("there is no key file to compare with".to_owned()),
                };
                self.saw(selector, sight)?;
            }
            Step::Count => {
                let mentions = self.world.mentions(&key).await;
                self.facts.mentions.insert(selector.clone(), mentions);
            }
            Step::Write { record, then } => self.write(selector, record, then).await?,
            Step::Enter { state, why } => {
                let taken = advance(&mut self.ledger, selector, state, &why, now)?;
                self.taken.extend(taken);
                self.facts.sights.retain(|known, _| known != selector || state == State::Visible);
            }
            Step::Activate { retire, why } => {
                self.ledger.activate(selector, &retire, &why, now)?;
                self.taken.extend(taken(&self.ledger, selector, Some(State::Visible), &why));
                let by = format!("{selector} signs instead");
                self.taken.extend(retire.iter().filter_map(|old| taken(&self.ledger, old, Some(State::Active), &by)));
            }
        }
        Ok(())
    }

    /// Written down before it counts: what a look saw must not be forgotten by a crash.
    fn saw(&mut self, selector: &Selector, sight: Sight) -> Result<(), RotationFault> {
        if let (Sight::Seen(seen), Some(entry)) = (&sight, self.ledger.entries().get(selector)) {
            let memory = lifecycle::remember(&memory(entry), seen, &self.plan.lifecycle, self.world.now());
            let servers = memory.servers.into_iter().map(|(name, known)| {
                let Remembered { shown_since, silent_since, asked_at } = known;
                (name, ServerMemory { shown_since, silent_since, asked_at })
            });
            self.ledger.remember(selector, servers.collect())?;
            self.ledger.remember_wrong(selector, memory.wrong_ttl)?;
        }
        self.facts.sights.insert(selector.clone(), sight);
        Ok(())
    }

    async fn write(&mut self, selector: &Selector, wanted: Wanted, then: Option<State>) -> Result<(), RotationFault> {
        let change = self.change(selector, wanted)?;
        match self.world.write(&change).await {
            Err(why) => drop(self.failed.insert(selector.clone(), why)),
            Ok(how) => {
                let now = self.world.now();
                self.facts.written_at.insert(selector.clone(), now);
                self.facts.sights.remove(selector);
                if let Some(state) = then {
                    let taken = advance(&mut self.ledger, selector, state, &how, now)?;
                    self.taken.extend(taken);
                }
            }
        }
        Ok(())
    }

    fn change(&self, selector: &Selector, wanted: Wanted) -> Result<Change, RotationFault> {
        let key = self.ledger.key(selector)?;
        let algorithm = key.as_ref().map_or(Algorithm::Rsa, |key| key.algorithm);
        let whole = key.and_then(|key| key.private).map(|private| Record::of(private.public().clone()));
        let revoked = Record::revoked(algorithm);
        let record = match wanted {
            Wanted::Key => whole.clone(),
            Wanted::Revoked => Some(revoked.clone()),
            Wanted::Nothing => None,
        };
        Ok(Change { key: self.id(selector), wanted, record, ours: whole.into_iter().chain([revoked]).collect() })
    }

    /// What a look compares with: the key itself, for as long as its file is there.
    fn record(&self, selector: &Selector) -> Result<Option<Record>, RotationFault> {
        let Some(key) = self.ledger.key(selector)? else { return Ok(None) };
        let gone = matches!(key.state, State::Revoked | State::Removed).then(|| Record::revoked(key.algorithm));
        Ok(key.private.map(|private| Record::of(private.public().clone())).or(gone))
    }

    fn progress(self) -> Result<Progress, RotationFault> {
        let (plan, now) = (self.plan, self.world.now());
        let standings = standings(&self.ledger)?;
        let steps = lifecycle::due(&standings, &self.facts, &plan.lifecycle, now)?;
        let mut again_at = lifecycle::next_rotation(&standings, &plan.algorithms, &plan.lifecycle).unwrap_or(Timestamp::FAR_FUTURE);
        let mut keys = Vec::new();
        for (selector, entry) in self.ledger.entries().iter().filter(|(_, entry)| entry.state != State::Removed) {
            let waiting = match steps.get(selector) {
                Some(Step::Wait { why, again_at: at }) => {
                    again_at = again_at.min(*at);
                    Some(why.clone())
                }
                None | Some(Step::Rest) => None,
                Some(_) => {
                    again_at = again_at.min(now + plan.lifecycle.check_every);
                    None
                }
            };
            keys.push(KeyProgress {
                key: self.id(selector),
                algorithm: entry.algorithm,
                state: entry.state,
                since: entry.since,
                waiting,
                failed: self.failed.get(selector).cloned(),
                sight: self.facts.sights.get(selector).cloned(),
                memory: memory(entry),
                record: self.ledger.key(selector)?.and_then(|key| key.record()),
            });
        }
        Ok(Progress { domain: self.ledger.domain().clone(), taken: self.taken, keys, again_at })
    }

    fn id(&self, selector: &Selector) -> KeyId {
        KeyId { domain: self.ledger.domain().clone(), selector: selector.clone() }
    }
}

/// What decides, of each entry of a ledger.
///
/// # Errors
/// A key file that is needed is not in order.
fn standings(ledger: &OpenLedger) -> Result<BTreeMap<Selector, Standing>, RotationFault> {
    let standing = |(selector, entry): (&Selector, &crate::keys::Entry)| {
        // Read where it decides, not at every look at keys that stand.
        let has_key = match entry.state {
            State::Created | State::Published | State::Visible => ledger.key(selector)?.is_some_and(|key| key.private.is_some()),
            State::Active | State::Retiring => true,
            State::Revoked | State::Removed => false,
        };
        Ok((selector.clone(), Standing { algorithm: entry.algorithm, state: entry.state, since: entry.since, has_key, memory: memory(entry) }))
    };
    ledger.entries().iter().map(standing).collect()
}

fn memory(entry: &crate::keys::Entry) -> Memory {
    let servers = entry.servers.iter().map(|(name, known)| {
        let ServerMemory { shown_since, silent_since, asked_at } = *known;
        (name.clone(), Remembered { shown_since, silent_since, asked_at })
    });
    Memory { servers: servers.collect(), wrong_ttl: entry.wrong_ttl.unwrap_or_default() }
}

/// RSA takes up to seconds to make: not on a thread that others wait for.
async fn create(ledger: &mut OpenLedger, algorithm: Algorithm, plan: &DomainPlan, why: &str, now: Timestamp) -> Result<Taken, RotationFault> {
    let selector = ledger.fresh_selector(algorithm, &plan.selector, now)?;
    let making = tokio::task::spawn_blocking(move || PrivateKey::generate(algorithm));
    let private = making.await.map_err(|_| ChangeError::Key(PemError::NotMade))?.map_err(ChangeError::from)?;
    let key = ledger.keep(&selector, private, why, now)?;
    Ok(Taken { key: key.id, algorithm, from: None, to: State::Created, why: why.to_owned() })
}

fn advance(ledger: &mut OpenLedger, selector: &Selector, to: State, why: &str, now: Timestamp) -> Result<Option<Taken>, RotationFault> {
    let from = ledger.entries().get(selector).map(|entry| entry.state);
    let moved = ledger.advance(selector, to, why, now)?;
    Ok(taken(ledger, selector, from, why).filter(|_| moved))
}

fn taken(ledger: &OpenLedger, selector: &Selector, from: Option<State>, why: &str) -> Option<Taken> {
    let entry = ledger.entries().get(selector)?;
    let key = KeyId { domain: ledger.domain().clone(), selector: selector.clone() };
    Some(Taken { key, algorithm: entry.algorithm, from, to: entry.state, why: why.to_owned() })
}

/// How often a lock is tried.
const LOCK_POLL: Duration = Duration::from_millis(100);

/// For the history.
const CONFIRMED: &str = "manual: confirmed by operator with key advance --confirm";

/// Acts that one key can need in one drive: look, count, write and enter, through every state of its life.
const ACTS_PER_KEY_MAX: usize = 24;
