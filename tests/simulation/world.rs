//! What outlives the relay: the clock, the trace, the count of steps, the faults that were met, the ledger.
//!
//! Everything that the relay does to the outside goes through a *step*: an octet's way, a disk's work, a question to the DNS. A kill is a
//! step that nothing survives: from there on no step is finished, so no task gets any further than its next await, and then the whole
//! runtime is dropped.

use crate::chance::Chance;
use crate::ledger::Ledger;
use crate::plan::Plan;
use postseal::mail::Timestamp;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::{Arguments, Display, Write as _};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

pub struct World {
    pub plan: Plan,
    pub died: Notify,
    chance: Mutex<Chance>,
    trace: Mutex<Trace>,
    ledger: Mutex<Ledger>,
    faults: Mutex<BTreeMap<&'static str, u64>>,
    steps: AtomicU64,
    dies_at: AtomicU64,
    dead: AtomicBool,
    /// How far the wall clock is ahead of the time that passes, in milliseconds.
    ahead: AtomicI64,
    /// When this life began, by its runtime and by the world.
    life: Mutex<(Option<Instant>, Duration)>,
}

/// What happened, as a hash of all of it and the last lines.
#[derive(Default)]
struct Trace {
    hash: u64,
    lines: VecDeque<String>,
    text: String,
}

impl World {
    pub fn new(plan: Plan) -> Arc<Self> {
        Arc::new(Self {
            died: Notify::new(),
            chance: Mutex::new(Chance::from(plan.seed)),
            trace: Mutex::default(),
            ledger: Mutex::default(),
            faults: Mutex::default(),
            steps: AtomicU64::new(0),
            dies_at: AtomicU64::new(u64::MAX),
            dead: AtomicBool::new(false),
            ahead: AtomicI64::new(0),
            life: Mutex::default(),
            plan,
        })
    }

    /// A new life begins, within a runtime of its own; it ends at the latest after so many steps.
    pub fn begin(&self, steps_max: Option<u64>) {
        self.life.lock().unwrap().0 = Some(Instant::now());
        self.dead.store(false, Ordering::SeqCst);
        let dies_at = steps_max.map_or(u64::MAX, |steps| self.steps.load(Ordering::SeqCst) + steps);
        self.dies_at.store(dies_at, Ordering::SeqCst);
    }

    /// A life is over, and its runtime still there: from here on nothing is done any more, and no time passes.
    pub fn end(&self) {
        self.dead.store(true, Ordering::SeqCst);
        let passed = self.passed();
        *self.life.lock().unwrap() = (None, passed);
    }

    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    /// One more thing that happens. False: it does not, since nobody lives any more.
    pub fn tick(&self, what: Arguments<'_>) -> bool {
        if self.is_dead() {
            return false;
        }
        let step = self.steps.fetch_add(1, Ordering::SeqCst) + 1;
        self.note(what);
        if step >= self.dies_at.load(Ordering::SeqCst) {
            self.dead.store(true, Ordering::SeqCst);
            self.died.notify_one();
            return false;
        }
        true
    }

    /// The same; never returns if it does not happen.
    pub async fn step(&self, what: impl Display + Send) {
        if !self.tick(format_args!("{what}")) {
            std::future::pending::<()>().await;
        }
    }

    /// Time passes, if anybody lives to see it.
    pub async fn wait(&self, time: Duration) {
        tokio::time::sleep(time).await;
        if self.is_dead() {
            std::future::pending::<()>().await;
        }
    }

    /// Writes a line of the trace.
    pub fn note(&self, what: Arguments<'_>) {
        let at = self.passed().as_millis();
        self.trace.lock().unwrap().note(at, what);
    }

    /// Since the beginning of the world.
    pub fn passed(&self) -> Duration {
        let (began, before) = *self.life.lock().unwrap();
        before + began.map_or(Duration::ZERO, |began| Instant::now().saturating_duration_since(began))
    }

    /// What the relay's clock shows.
    pub fn now(&self) -> Timestamp {
        let ahead = self.ahead.load(Ordering::SeqCst);
        Timestamp::from_unix_millis(BEGINNING + ahead + i64::try_from(self.passed().as_millis()).unwrap())
    }

    pub fn set_clock(&self, by: i64) {
        self.ahead.fetch_add(by, Ordering::SeqCst);
    }

    pub fn is_calm(&self) -> bool {
        self.passed() >= self.plan.calm_from
    }

    /// Whether this fault is met here, `share` times in a thousand as long as the world is not calm.
    pub fn meets(&self, fault: &'static str, share: u64) -> bool {
        let met = !self.is_calm() && !self.is_dead() && self.chance().hits(share);
        if met {
            self.met(fault);
        }
        met
    }

    /// A fault was met.
    pub fn met(&self, fault: &'static str) {
        *self.faults.lock().unwrap().entry(fault).or_default() += 1;
        self.note(format_args!("! {fault}"));
    }

    pub fn chance(&self) -> MutexGuard<'_, Chance> {
        self.chance.lock().unwrap()
    }

    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap()
    }

    pub fn steps(&self) -> u64 {
        self.steps.load(Ordering::SeqCst)
    }

    pub fn faults(&self) -> BTreeMap<&'static str, u64> {
        self.faults.lock().unwrap().clone()
    }

    /// A hash of everything that happened.
    pub fn hash(&self) -> u64 {
        self.trace.lock().unwrap().hash
    }

    /// The last things that happened.
    pub fn lines(&self) -> Vec<String> {
        self.trace.lock().unwrap().lines.iter().cloned().collect()
    }
}

impl Trace {
    fn note(&mut self, at: u128, what: Arguments<'_>) {
        self.text.clear();
        write!(self.text, "{at:>9} {what}").unwrap();
        // FNV-1a
        self.hash = self.text.bytes().fold(self.hash ^ 0xcbf2_9ce4_8422_2325, |hash, octet| (hash ^ u64::from(octet)).wrapping_mul(0x100_0000_01b3));
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back(self.text.clone());
    }
}

/// 2026-11-22T12:00:00Z, in milliseconds.
const BEGINNING: i64 = 1_795_348_800_000;
const LINES_MAX: usize = 20_000;
