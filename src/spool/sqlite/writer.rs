//! The one writer: a thread that owns the write connection and gathers what all sessions want into one transaction, so that one fsync carries
//! many `250`s (group commit).
//!
//! ```text
//! session ─ work ─┐                ┌─ answer ─ session
//! session ─ work ─┼─▶ BEGIN … COMMIT + fsync ─┼─ answer ─ session
//! worker  ─ work ─┘                └─ answer ─ worker
//! ```
//!
//! Nobody hears of success before the fsync. Work refuses (`Ok(Err(…))`) before its first write or not at all, so a refusal needs no rollback of
//! its own; whatever else goes wrong is the store's fault, and stops it: the batch is undone, its waiters and all that come later get
//! [`SpoolError::Failed`], and nothing is tried again. After a failed fsync the kernel may have dropped the pages and report success the next time.

use super::housekeeper::Chore;
use super::journal::Span;
use super::lock::Lock;
use super::recovery::Counter;
use super::wal::Wal;
use crate::spool::{Health, SpoolError};
use rusqlite::{Connection, TransactionBehavior};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};

/// The way to the writer.
#[derive(Debug)]
pub(super) struct Handle {
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    pub state: Arc<State>,
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
}

/// A transaction while it is filled.
pub(super) struct Batch<'a> {
    pub db: &'a Connection,
    pub totals: Totals,
    /// The number of the last claim.
    pub fence: i64,
    /// Which events there are.
    pub journal: Span,
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
    /// It survives loss of power: somebody will act on it.
    Durable,
    /// It may be forgotten by a loss of power, which ends leases and parking anyway: no fsync of its own.
    Lazy,
}

struct Job {
    safety: Safety,
    octets: usize,
    work: Work,
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
    /// Wait this long for company before a transaction begins.
    pub linger: Duration,
    /// Told the body files whose rows are gone, and when there is no more to do.
    pub chores: std::sync::mpsc::Sender<Chore>,
}

impl Handle {
    /// The writer's own thread and the way to it. The thread holds the spool's lock for as long as it may write.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(writer: Writer, lock: Arc<Lock>) -> std::io::Result<(Self, std::thread::JoinHandle<()>)> {
        let (sender, jobs) = mpsc::channel(JOBS_WAITING_MAX);
        let state = Arc::clone(&writer.state);
        let thread = std::thread::Builder::new().name("spool-writer".to_owned()).spawn(move || {
            writer.run(jobs);
            drop(lock);
        })?;
        Ok((Self { jobs: Mutex::new(Some(sender)), state }, thread))
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
        let sender = lock(&self.jobs).clone().ok_or(SpoolError::Closed)?;
        let (tell, told) = oneshot::channel();
        let state = Arc::clone(&self.state);
        let work: Work = Box::new(move |batch| {
            // Said before the waiter can see that nobody will answer.
            let result = work(batch).inspect_err(|fault| state.fail(&fault.to_string()))?;
            // A waiter that went away needs no answer.
            Ok(Box::new(move || drop(tell.send(result))))
        });
        sender.send(Job { safety, octets, work }).await.map_err(|_| self.state.ended())?;
        drop(sender);
        told.await.unwrap_or_else(|_| Err(self.state.ended()))
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

    fn ended(&self) -> SpoolError {
        self.working().err().unwrap_or(SpoolError::Closed)
    }
}

impl Writer {
    /// Until nobody can hand over work any more.
    fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        let panicked = PanicIsFailure(Arc::clone(&self.state));
        while let Some(first) = jobs.blocking_recv() {
            if !self.linger.is_zero() {
                std::thread::sleep(self.linger);
            }
            if self.state.working().is_err() {
                break; // the checkpoint failed; whoever waits is told by the drop of his job
            }
            let mut gathered = gather(first, &mut jobs).into_iter();
            let mut answers = Vec::with_capacity(gathered.len());
            let began = Instant::now();
            let committed = self.commit(&mut gathered, &mut answers);
            self.state.busy_micros.fetch_add(u64::try_from(began.elapsed().as_micros()).unwrap_or(0), Ordering::Relaxed);
            if let Err(fault) = committed {
                // First the cause, then the drop of jobs and answers, by which their waiters learn that it is to be asked for.
                self.state.fail(&fault.to_string());
                break;
            }
            for answer in answers {
                answer();
            }
        }
        if self.state.working().is_ok() {
            self.finish();
        }
        drop(panicked);
        let _ = self.chores.send(Chore::Stop);
    }

    /// One transaction. The answers are for after it.
    fn commit(&mut self, jobs: &mut std::vec::IntoIter<Job>, answers: &mut Vec<Answer>) -> rusqlite::Result<()> {
        let count = jobs.len() as u64;
        let durable = jobs.as_slice().iter().any(|job| job.safety == Safety::Durable);
        let gate = self.wal.hold();
        self.wal.sync_at_commit(&self.db, durable)?;
        let changes_before = self.db.total_changes();
        let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut batch = Batch { db: &tx, totals: self.totals, fence: self.fence, journal: self.journal, freed: Vec::new(), reindexed: false };
        for job in jobs {
            answers.push((job.work)(&mut batch)?);
        }
        let Batch { totals, fence, journal, freed, reindexed, .. } = batch;
        if tx.total_changes() == changes_before && !reindexed {
            return tx.rollback(); // nothing was written: nothing to wait for
        }
        let commits = self.counter.value + i64::from(durable);
        tx.prepare_cached("UPDATE spool SET commits = ?1, fence = ?2, mails = ?3, recipients = ?4, quarantined = ?5, senders = ?6, events = ?7")?.execute((
            commits,
            fence,
            totals.mails,
            totals.recipients,
            totals.quarantined,
            totals.senders,
            journal.last,
        ))?;
        tx.commit()?;
        drop(gate);
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

/// What waits right now, up to the bounds of a transaction.
fn gather(first: Job, jobs: &mut mpsc::Receiver<Job>) -> Vec<Job> {
    let mut octets = first.octets;
    let mut gathered = vec![first];
    while gathered.len() < TRANSACTION_JOBS_MAX && octets < TRANSACTION_OCTETS_MAX {
        let Ok(job) = jobs.try_recv() else { break };
        octets += job.octets;
        gathered.push(job);
    }
    gathered
}

/// A panic in the writer is a defect of ours; the spool is then as stopped as after a failed write, and says so.
struct PanicIsFailure(Arc<State>);

impl Drop for PanicIsFailure {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail("a defect in the spool's writer");
        }
    }
}

/// A poisoned lock guards plain values that are whole at every moment.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sessions wait from here on; their messages are in memory already.
const JOBS_WAITING_MAX: usize = 1024;
/// A transaction takes no more: an answer is not to wait for everybody.
const TRANSACTION_JOBS_MAX: usize = 256;
const TRANSACTION_OCTETS_MAX: usize = 16 << 20;
