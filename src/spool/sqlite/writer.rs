//! The one writer: a thread that owns the write connection and gathers what all sessions want into one transaction, so that one fsync carries
//! many `250`s (group commit).
//!
//! ```text
//! session ─ work ─┐                ┌─ answer ─ session
//! session ─ work ─┼─▶ BEGIN … COMMIT + fsync ─┼─ answer ─ session
//! worker  ─ work ─┘                └─ answer ─ worker
//! ```
//!
//! Company is waited for where it is known to be on its way, and nowhere else; see `Intake::await_company`.
//!
//! An ending of an attempt is in no such hurry as a client that waits for its `250`: it waits for the next commit, a few milliseconds at most,
//! and shares its fsync. Where little is to do that halves the transactions; where much is, clients share theirs with clients.
//!
//! Nobody hears of success before the fsync. Work refuses (`Ok(Err(…))`) before its first write or not at all, so a refusal needs no rollback of
//! its own; whatever else goes wrong is the store's fault, and stops it: the batch is undone, its waiters and all that come later get
//! [`SpoolError::Failed`], and nothing is tried again. After a failed fsync the kernel may have dropped the pages and report success the next time.
//!
//! A disk without room is no such fault: the write that found none was refused whole, before any fsync. The batch is undone, its waiters hear
//! [`SpoolError::Full`], and the next batch is tried as ever.

use super::disk::Disk;
use super::expected::Expected;
use super::housekeeper::Chore;
use super::journal::Span;
use super::lock::Lock;
use super::queries;
use super::recent::Recent;
use super::recovery::Counter;
use super::suppressions::Sieve;
use super::wal::Wal;
use crate::mail::MailId;
use crate::spool::standing::{Grant, StandingClaims};
use crate::spool::suppressions::Key;
use crate::spool::{Health, Lease, Queue, SpoolError};
use bytes::Bytes;
use rusqlite::{Connection, TransactionBehavior};
use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

/// The way to the writer.
#[derive(Debug)]
pub(super) struct Handle {
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    room: Arc<Semaphore>,
    pub state: Arc<State>,
    disk: Arc<Disk>,
}

/// What all parts of a spool know of its state.
#[derive(Debug, Default)]
pub(super) struct State {
    failed: Mutex<Option<String>>,
    /// Totals as of the last commit.
    pub totals: Mutex<Totals>,
    /// Transactions committed, and work done in them.
    pub transactions: AtomicU64,
    pub jobs: AtomicU64,
    /// Time spent on them.
    pub busy_micros: AtomicU64,
    /// The number of the last event, told once its transaction is committed.
    pub last_event: watch::Sender<u64>,
}

/// Running totals, kept in the row of `spool`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Totals {
    pub mails: i64,
    pub recipients: i64,
    pub quarantined: i64,
    pub senders: i64,
    pub suppressions: i64,
}

/// A transaction while it is filled.
pub(super) struct Batch<'a> {
    pub db: &'a Connection,
    pub totals: Totals,
    /// The number of the last claim.
    pub fence: i64,
    /// Which events there are.
    pub journal: Span,
    /// Who may be on the suppression list.
    pub sieve: &'a Sieve,
    /// Who is off that list once this is committed.
    pub lifted: HashSet<Key>,
    /// Queues in which something changed: the schedule is brought up to date once for each, whatever many jobs did to it.
    pub stirred: BTreeSet<Queue>,
    /// Who has fresh mail leased.
    pub standing: &'a StandingClaims,
    /// What is to be given to them.
    pub granted: Vec<(Grant, Vec<Lease>)>,
    /// Bodies that will be asked for in a moment.
    pub fresh: Vec<(MailId, Bytes)>,
    /// Body files whose rows this transaction removes.
    pub freed: Vec<String>,
    /// Something was written that SQLite does not count as a change of rows.
    pub reindexed: bool,
}

/// What work gives: the outer error is the store's failure, the inner one a refusal before the first write.
pub(super) type Refusable<T> = rusqlite::Result<Result<T, SpoolError>>;

/// How safe work has to be before it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Safety {
    /// It survives loss of power: somebody waits for it.
    Durable,
    /// As durable once it is answered, and in no hurry: it may wait for a transaction that syncs anyway.
    Unhurried,
    /// It may be forgotten by a loss of power, which ends leases and parking anyway: no fsync of its own.
    Lazy,
}

struct Job {
    safety: Safety,
    octets: usize,
    work: Work,
    _room: OwnedSemaphorePermit,
}

type Work = Box<dyn FnOnce(&mut Batch<'_>) -> rusqlite::Result<Answer> + Send>;
/// Called once the transaction is committed; dropped if it is not, which the waiter sees.
type Answer = Box<dyn FnOnce() + Send>;

/// What the writer thread owns.
pub(super) struct Writer {
    pub db: Connection,
    pub wal: Arc<Wal>,
    pub counter: Counter,
    pub state: Arc<State>,
    pub totals: Totals,
    pub fence: i64,
    pub journal: Span,
    pub sieve: Arc<Sieve>,
    /// Mail on its way.
    pub expected: Arc<Expected>,
    /// Who has fresh mail leased.
    pub standing: Arc<StandingClaims>,
    /// Bodies that will be asked for in a moment.
    pub recent: Arc<Recent>,
    /// Wait this long, and again, for mail on its way before a transaction begins.
    pub linger: Duration,
    /// What is in no hurry waits so long for a transaction that syncs.
    pub endings_linger: Duration,
    /// Told the body files whose rows are gone, and when there is no more to do.
    pub chores: std::sync::mpsc::Sender<Chore>,
}

impl Handle {
    /// The writer's own thread and the way to it. The thread holds the spool's lock for as long as it may write.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(writer: Writer, disk: Arc<Disk>, lock: Arc<Lock>) -> std::io::Result<(Self, std::thread::JoinHandle<()>)> {
        let (sender, jobs) = mpsc::channel();
        let room = Arc::new(Semaphore::new(JOBS_WAITING_MAX));
        let state = Arc::clone(&writer.state);
        let thread = std::thread::Builder::new().name("spool-writer".to_owned()).spawn(move || {
            writer.run(&jobs);
            drop(lock);
        })?;
        Ok((Self { jobs: Mutex::new(Some(sender)), room, state, disk }, thread))
    }

    /// Has `work` done in the next transaction; returns once that is committed. Waits while too much is before it (backpressure).
    ///
    /// # Cancel safety
    /// Once handed over, work is done whether or not anybody waits.
    pub async fn write<T: Send + 'static>(
        &self,
        safety: Safety,
        octets: usize,
        work: impl FnOnce(&mut Batch<'_>) -> Refusable<T> + Send + 'static,
    ) -> Result<T, SpoolError> {
        let room = Arc::clone(&self.room).acquire_owned().await.map_err(|_| SpoolError::Closed)?; // it is never closed
        let sender = lock(&self.jobs).clone().ok_or(SpoolError::Closed)?;
        let (tell, told) = oneshot::channel();
        let state = Arc::clone(&self.state);
        let work: Work = Box::new(move |batch| {
            // Said before the waiter can see that nobody will answer.
            let result = work(batch).inspect_err(|fault| state.judge(fault))?;
            // A waiter that went away needs no answer.
            Ok(Box::new(move || drop(tell.send(result))))
        });
        sender.send(Job { safety, octets, work, _room: room }).map_err(|_| self.ended())?;
        drop(sender);
        told.await.unwrap_or_else(|_| Err(self.ended()))
    }

    /// Why nobody answers.
    fn ended(&self) -> SpoolError {
        match self.state.working() {
            Err(failed) => failed,
            Ok(()) if self.is_closed() => SpoolError::Closed,
            Ok(()) => self.disk.free_octets().map_or_else(|fault| fault, |free| self.disk.full(free)),
        }
    }

    /// From now on nothing is handed over; the thread ends when it has done what it has.
    pub fn close(&self) {
        lock(&self.jobs).take();
    }

    pub fn is_closed(&self) -> bool {
        lock(&self.jobs).is_none()
    }
}

impl State {
    /// Stops the spool. The first cause is the one that is told.
    pub fn fail(&self, why: &str) {
        let mut failed = lock(&self.failed);
        if failed.is_none() {
            tracing::error!(error = why, "spool.failed");
            *failed = Some(why.to_owned());
        }
    }

    /// Stops the spool for a fault of the store, unless that is want of room.
    pub fn judge(&self, fault: &rusqlite::Error) {
        if !is_full(fault) {
            self.fail(&fault.to_string());
        }
    }

    /// # Errors
    /// [`SpoolError::Failed`] once it has.
    pub fn working(&self) -> Result<(), SpoolError> {
        match &*lock(&self.failed) {
            Some(why) => Err(SpoolError::Failed(why.clone())),
            None => Ok(()),
        }
    }

    /// Failed, or nothing worse.
    pub fn health(&self) -> Health {
        lock(&self.failed).clone().map_or(Health::Working, Health::Failed)
    }
}

/// Whether a write found no room on the disk. The same is said where the shared index of the log cannot grow.
pub(super) fn is_full(fault: &rusqlite::Error) -> bool {
    let rusqlite::Error::SqliteFailure(cause, _) = fault else { return false };
    cause.code == rusqlite::ErrorCode::DiskFull || cause.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE
}

impl Writer {
    /// Until nobody can hand over work any more.
    fn run(mut self, jobs: &mpsc::Receiver<Job>) {
        let _at_end = AtEnd { state: Arc::clone(&self.state), chores: self.chores.clone() };
        let mut intake = Intake::of(jobs, &self);
        while let Some(gathered) = intake.next() {
            if self.state.working().is_err() {
                break; // the checkpoint failed; whoever waits is told by the drop of his job
            }
            let mut answers = Vec::with_capacity(gathered.len());
            let began = Instant::now();
            let committed = self.commit(&mut gathered.into_iter(), &mut answers);
            self.state.busy_micros.fetch_add(u64::try_from(began.elapsed().as_micros()).unwrap_or(0), Ordering::Relaxed);
            if let Err(fault) = committed {
                // First the cause, then the drop of jobs and answers, by which their waiters learn that it is to be asked for.
                self.state.judge(&fault);
                if self.state.working().is_err() {
                    break;
                }
                continue; // undone: by the drop of jobs and answers their waiters learn that there was no room
            }
            for answer in answers {
                answer();
            }
        }
        drop(intake);
        if self.state.working().is_ok() {
            self.finish();
        }
    }

    /// One transaction. The answers are for after it.
    fn commit(&mut self, jobs: &mut std::vec::IntoIter<Job>, answers: &mut Vec<Answer>) -> rusqlite::Result<()> {
        let count = jobs.len() as u64;
        let durable = jobs.as_slice().iter().any(|job| job.safety != Safety::Lazy);
        let gate = self.wal.hold();
        self.wal.sync_at_commit(&self.db, durable)?;
        let changes_before = self.db.total_changes();
        let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut batch = Batch {
            db: &tx,
            totals: self.totals,
            fence: self.fence,
            journal: self.journal,
            sieve: &self.sieve,
            lifted: HashSet::new(),
            stirred: BTreeSet::new(),
            standing: &self.standing,
            granted: Vec::new(),
            fresh: Vec::new(),
            freed: Vec::new(),
            reindexed: false,
        };
        for job in jobs {
            answers.push((job.work)(&mut batch)?);
        }
        for queue in std::mem::take(&mut batch.stirred) {
            queries::refresh_queue(&tx, queue.as_str())?;
        }
        let Batch { totals, fence, journal, lifted, freed, granted, fresh, reindexed, .. } = batch;
        if tx.total_changes() == changes_before && !reindexed {
            return tx.rollback(); // nothing was written: nothing to wait for
        }
        let commits = self.counter.value + i64::from(durable);
        tx.prepare_cached(
            "UPDATE spool SET commits = ?1, fence = ?2, mails = ?3, recipients = ?4, quarantined = ?5, senders = ?6, events = ?7,
             suppressions = ?8",
        )?
        .execute((commits, fence, totals.mails, totals.recipients, totals.quarantined, totals.senders, journal.last, totals.suppressions))?;
        tx.commit()?;
        self.sieve.forget(&lifted);
        drop(gate);
        for (id, body) in fresh {
            self.recent.keep(id, body);
        }
        // After the answers: a client waits for them.
        answers.extend(granted.into_iter().map(|(grant, leases)| Box::new(move || grant.give(leases)) as Answer));
        let is_news = journal.last != self.journal.last;
        (self.totals, self.fence, self.journal) = (totals, fence, journal);
        *lock(&self.state.totals) = totals;
        self.state.transactions.fetch_add(1, Ordering::Relaxed);
        self.state.jobs.fetch_add(count, Ordering::Relaxed);
        if is_news {
            self.state.last_event.send_replace(journal.last.unsigned_abs());
        }
        if durable {
            self.counter.write(commits);
        }
        if !freed.is_empty() {
            // Were the housekeeper gone, the files would be orphans for the next start.
            let _ = self.chores.send(Chore::Remove(freed));
        }
        self.wal.watch(&self.db)
    }

    /// Everything into the database file, the counter made durable.
    fn finish(&mut self) {
        let checkpoint = self.wal.truncate(&self.db);
        if let Err(fault) = checkpoint.and_then(|()| self.counter.sync().map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))) {
            tracing::warn!(error = %fault, "spool.closed_unclean"); // the WAL holds it all
        }
    }
}

/// What comes in, gathered into transactions.
struct Intake<'a> {
    jobs: &'a mpsc::Receiver<Job>,
    expected: Arc<Expected>,
    linger: Duration,
    endings_linger: Duration,
    /// What is in no hurry and came since then.
    unhurried: Vec<Job>,
    since: Instant,
    ended: bool,
}

impl<'a> Intake<'a> {
    fn of(jobs: &'a mpsc::Receiver<Job>, writer: &Writer) -> Self {
        let (expected, linger, endings_linger) = (Arc::clone(&writer.expected), writer.linger, writer.endings_linger);
        Self { jobs, expected, linger, endings_linger, unhurried: Vec::new(), since: Instant::now(), ended: false }
    }

    /// The jobs of the next transaction; none when nobody can hand over any more. Blocks.
    fn next(&mut self) -> Option<Vec<Job>> {
        let mut gathered = Gathered::default();
        while gathered.jobs.is_empty() && !self.ended {
            let come = if self.unhurried.is_empty() {
                self.jobs.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else if self.unhurried.len() >= TRANSACTION_JOBS_MAX {
                Err(RecvTimeoutError::Timeout)
            } else {
                self.jobs.recv_timeout(self.endings_linger.saturating_sub(self.since.elapsed()))
            };
            match come {
                Ok(job) => self.sort(job, &mut gathered),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => self.ended = true,
            }
        }
        self.take_what_is_there(&mut gathered);
        if gathered.clients > 0 && !self.linger.is_zero() {
            self.await_company(&mut gathered);
        }
        // A transaction that waits for no disk stays one.
        if gathered.jobs.is_empty() || gathered.clients > 0 || self.since.elapsed() >= self.endings_linger {
            gathered.jobs.append(&mut self.unhurried);
        }
        (!gathered.jobs.is_empty()).then_some(gathered.jobs)
    }

    /// Waits for mail that is on its way, as long as some of it comes: who waits already is better served by few large transactions than by many.
    fn await_company(&mut self, gathered: &mut Gathered) {
        let mut in_vain = 0;
        for _ in 0..LINGERS_MAX {
            let (clients, coming) = (gathered.clients, self.expected.count(COMPANY, self.linger * FRESH_LINGERS));
            if coming == 0 || clients >= COMPANY || in_vain > LINGERS_IN_VAIN_MAX {
                return;
            }
            if coming > FEW {
                std::thread::sleep(self.linger); // to wake up for each of them costs more
            } else {
                let until = Instant::now() + self.linger;
                while gathered.clients == clients && !self.ended {
                    match self.jobs.recv_timeout(until.saturating_duration_since(Instant::now())) {
                        Ok(job) => self.sort(job, gathered),
                        Err(RecvTimeoutError::Timeout) => break,
                        Err(RecvTimeoutError::Disconnected) => self.ended = true,
                    }
                }
            }
            self.take_what_is_there(gathered);
            in_vain = if gathered.clients == clients { in_vain + 1 } else { 0 };
        }
    }

    fn take_what_is_there(&mut self, gathered: &mut Gathered) {
        while gathered.jobs.len() < TRANSACTION_JOBS_MAX && gathered.octets < TRANSACTION_OCTETS_MAX {
            match self.jobs.try_recv() {
                Ok(job) => self.sort(job, gathered),
                Err(_) => return,
            }
        }
    }

    fn sort(&mut self, job: Job, gathered: &mut Gathered) {
        match job.safety {
            Safety::Unhurried => self.put_off(job),
            Safety::Durable | Safety::Lazy => {
                gathered.octets += job.octets;
                gathered.clients += usize::from(job.safety == Safety::Durable);
                gathered.jobs.push(job);
            }
        }
    }

    fn put_off(&mut self, job: Job) {
        if self.unhurried.is_empty() {
            self.since = Instant::now();
        }
        self.unhurried.push(job);
    }
}

/// A transaction as it is gathered.
#[derive(Default)]
struct Gathered {
    jobs: Vec<Job>,
    octets: usize,
    /// Those who wait for the disk.
    clients: usize,
}

/// However the writer ends, the housekeeper ends with it. A panic is a defect of ours; the spool is then as stopped as after a failed write,
/// and says so.
struct AtEnd {
    state: Arc<State>,
    chores: mpsc::Sender<Chore>,
}

impl Drop for AtEnd {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.state.fail("a defect in the spool's writer");
        }
        let _ = self.chores.send(Chore::Stop);
    }
}

/// A poisoned lock guards plain values that are whole at every moment.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sessions wait from here on; their messages are in memory already.
const JOBS_WAITING_MAX: usize = 1024;
/// How often a transaction lingers for mail that is on its way.
const LINGERS_MAX: u32 = 8;
/// How often in a row it does so and nobody comes.
const LINGERS_IN_VAIN_MAX: u32 = 2;
/// Whom so many others share an fsync with need not wait for more.
const COMPANY: usize = 8;
/// Mail is on its way for so many lingers: a client on the same network has sent its message by then, and it is sealed.
const FRESH_LINGERS: u32 = 64;
/// Mail on its way that is waited for one by one.
const FEW: usize = 2;
/// A transaction takes no more: an answer is not to wait for everybody.
const TRANSACTION_JOBS_MAX: usize = 256;
const TRANSACTION_OCTETS_MAX: usize = 16 << 20;
