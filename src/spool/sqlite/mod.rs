//! The embedded engine: SQLite in a directory of its own, one process at a time.
//!
//! ```text
//! spool/
//! ├─ lock          held by the process that uses it, its number inside
//! ├─ spool.db      messages, recipients, queues, senders, history (schema/)
//! ├─ spool.db-wal  the log: a 250 is given when its transaction is fsynced here
//! ├─ commits       how many durable transactions there were, unsynced: tells when the log lost its end
//! ├─ bodies/xx/    large bodies
//! ├─ tmp/          bodies being written
//! └─ lost/         bodies without a row, and the log as it was, found when transactions were missing
//! ```
//!
//! | file here | does |
//! |---|---|
//! | `writer` | gathers everybody's work into one transaction, one fsync |
//! | `commit`, `queries`, `journal`, `homecoming` | the statements of that work |
//! | `control` | what a person asks and orders |
//! | `suppressions` | whom is not written to, and the sieve before it |
//! | `expected` | mail that is on its way |
//! | `readers` | short reads beside it |
//! | `recent` | bodies that need not be read |
//! | `depth` | the queues counted |
//! | `wal`, `housekeeper` | checkpoints off the commit path, files removed, room given back |
//! | `recovery` | what a crash left behind |
//! | `audit` | what damage has hidden |
//! | [`backup`] | copies of the whole, and a spool made of one |
//! | `bodies`, `disk`, `lock` | files, room and file system, one process |
//!
//! Leases die with the process: whatever was leased is due at the next start, and counts as an attempt of unknown end.

mod audit;
pub mod backup;
mod bodies;
mod commit;
mod control;
mod depth;
mod disk;
mod expected;
mod homecoming;
mod housekeeper;
mod journal;
mod lock;
mod queries;
mod readers;
mod recent;
mod recovery;
mod suppressions;
mod wal;
mod writer;

pub use recovery::RecoveryReport;

use super::control::{By, Changed, Control, Cursor, Listed, ORDER_ROWS_MAX, Order, Selection, Shown, States, Summed};
use super::homecoming::{CameHome, Homebound, Homecoming, Homecomings};
use super::journal::{Event, Filter, Journal, News, Page};
use super::standing::{StandingClaim, StandingClaims};
use super::suppressions::{Key, Listed as ListedSuppressions, PAGE_ENTRIES_MAX, Selection as SuppressionSelection, Suppressions, Taken};
use super::{Claimed, Coming, Counts, Due, Ending, Health, HeldSince, History, Lease, Queue, QueueState, Records, Restored, Spool, SpoolError, Swept, row};
use crate::mail::{Domain, KeyId, MailId, Mailbox, Receipt, Stream, Suppression, Timestamp};
use crate::seal::{Seal, Sealed};
use bodies::Bodies;
use bytes::Bytes;
use commit::Ready;
use disk::Disk;
use expected::Expected;
use housekeeper::Housekeeper;
use journal::Span;
use lock::Lock;
use readers::Readers;
use recent::Recent;
use recovery::Access;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use suppressions::Sieve;
use tokio::sync::{Semaphore, watch};
use wal::Wal;
use writer::{Handle, Safety, State, Writer, lock as hold};

/// How an embedded spool is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Its directory; made when missing, readable by nobody else.
    pub directory: PathBuf,
    /// Octets of the disk that stay free: below that nothing is accepted, so that what is queued can still be settled. At least twice `wal_octets_max`.
    pub reserve_octets: u64,
    /// Messages of at least so many octets are files.
    pub body_file_octets_min: u64,
    /// How long a transaction waits for mail that is on its way (see [`Spool::expect`]) before it begins, and again as long as some of it comes,
    /// eight times at most: one fsync for all. Who comes alone is not made to wait. Zero: only for the fsync of the one before.
    pub linger: Duration,
    /// How long the ending of an attempt waits for a commit to share its fsync. What a loss of power in this time forgets is sent again.
    pub endings_linger: Duration,
    /// Rows of the table of senders: somebody who invents senders must not fill the disk.
    pub senders_max: u64,
    /// Entries of the suppression list, some 200 octets of disk and 10 of memory each. Above that none is added.
    pub suppressions_max: u64,
    /// Days without use after which a sender is forgotten: longer than a bounce token lives.
    pub senders_days: u32,
    /// Days for which history is kept: a token's life.
    pub history_days: u32,
    /// Octets of the log at which sessions wait for a checkpoint; the housekeeper begins at an eighth of it.
    pub wal_octets_max: u64,
    /// Connections for reading, each with a cache of 2 MiB.
    pub readers: usize,
    /// Which file systems it may lie on.
    pub file_systems: FileSystems,
    /// What is kept of what happened.
    pub journal: super::journal::Settings,
}

/// Which file systems a spool may lie on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum FileSystems {
    /// Local ones that outlive the machine.
    #[default]
    Durable,
    /// Those too that go with the power, the container or the pod (tmpfs, an overlay, an `emptyDir`): queued mail may be lost.
    Volatile,
    /// Remote ones too (NFS, CIFS, 9p, FUSE …): locks and shared memory are believed.
    Any,
}

impl Settings {
    /// The defaults, in this directory.
    #[must_use]
    pub fn in_directory(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            reserve_octets: 512 << 20,
            body_file_octets_min: 256 << 10,
            linger: Duration::from_micros(900),
            endings_linger: Duration::from_millis(10),
            senders_max: 1_000_000,
            suppressions_max: 1_000_000,
            senders_days: 40,
            history_days: 30,
            wal_octets_max: 256 << 20,
            readers: 4,
            file_systems: FileSystems::Durable,
            journal: super::journal::Settings::default(),
        }
    }
}

/// A spool in SQLite.
pub struct SqliteSpool {
    settings: Settings,
    is_volatile: bool,
    /// Restored mail that is held, as of the last look.
    held: Mutex<Option<HeldSince>>,
    writer: Handle,
    readers: Readers,
    disk: Arc<Disk>,
    bodies: Arc<Bodies>,
    recent: Arc<Recent>,
    wal: Arc<Wal>,
    body_writes: Semaphore,
    sieve: Arc<Sieve>,
    expected: Arc<Expected>,
    standing: Arc<StandingClaims>,
    threads: Mutex<Option<Threads>>,
}

/// What `close` has to wait for.
struct Threads {
    writer: JoinHandle<()>,
    housekeeper: JoinHandle<()>,
}

/// What a spool has done since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Work {
    /// Transactions committed.
    pub transactions: u64,
    /// Commits, claims, settles … in them.
    pub jobs: u64,
    /// How long the writer was at it, waits for the disk included.
    pub busy: Duration,
    /// Octets of the log at the last look.
    pub wal_octets: u64,
}

impl SqliteSpool {
    /// Opens a spool, or makes one, and mends what a crash left behind. Blocks: it reads the log and the names of large bodies.
    ///
    /// # Errors
    /// [`SpoolError::Locked`] while another process has it; [`SpoolError::Unusable`] with the reason and the remedy.
    pub fn open(settings: Settings, now: Timestamp) -> Result<(Self, RecoveryReport), SpoolError> {
        let began = Instant::now();
        let directory = settings.directory.clone();
        let unusable = |why: String| SpoolError::Unusable { path: directory.display().to_string(), why };
        bodies::make_directory(&directory).map_err(|e| unusable(format!("it cannot be made: {e}")))?;
        // Whoever made it, maybe a process that died at once: what is promised below a name that is not durable goes with the name.
        bodies::sync_name(&directory).map_err(|e| unusable(format!("the directory above it cannot be synced: {e}")))?;
        let mut report = RecoveryReport::default();
        let ground = disk::check_file_system(&directory, settings.file_systems)?;
        report.warnings.extend(ground.warning);
        let lock = Arc::new(Lock::take(&directory)?);

        let database = directory.join(DATABASE);
        let (chores, chores_given) = std::sync::mpsc::channel();
        let wal = Arc::new(Wal::of(&database, settings.wal_octets_max, chores.clone()));
        report.wal_octets = wal.file_octets();
        let broken = |e: rusqlite::Error| unusable(recovery::remedy(&e));
        let mut db = recovery::connect(&database, Access::Write).map_err(broken)?;
        let opened = recovery::open(&mut db, &directory, now, &mut report)?;
        let events_max = if settings.journal.enabled { settings.journal.events_max.max(1).try_into().unwrap_or(i64::MAX) } else { 0 };
        let span = Span::read(&db, events_max).map_err(broken)?;
        let bodies = Arc::new(Bodies::of(&directory, opened.opening).map_err(|e| unusable(format!("its directories cannot be made: {e}")))?);
        recovery::sweep_orphans(&db, &bodies, &mut report).map_err(unusable)?;
        wal.truncate(&db).map_err(broken)?;
        wal.count(&mut db).map_err(broken)?;
        std::fs::File::open(&directory).and_then(|directory| directory.sync_all()).map_err(|e| unusable(format!("it cannot be synced: {e}")))?;

        let state = Arc::new(State::default());
        *hold(&state.totals) = opened.totals;
        state.last_event.send_replace(span.last.unsigned_abs());
        let disk = Arc::new(Disk::below(&directory, settings.reserve_octets));
        let sieve = Arc::new(Sieve::with_room_for(settings.suppressions_max));
        let readers = Readers::open(&database, settings.readers.max(1)).map_err(broken)?;
        let thread = |e: std::io::Error| unusable(format!("no thread for it: {e}"));
        let housekeeper = Housekeeper {
            db: recovery::connect(&database, Access::Write).map_err(broken)?,
            wal: Arc::clone(&wal),
            bodies: Arc::clone(&bodies),
            disk: Arc::clone(&disk),
            state: Arc::clone(&state),
            sieve: Arc::clone(&sieve),
        };
        let keeper = std::thread::Builder::new()
            .name("spool-housekeeper".to_owned())
            .spawn({
                let lock = Arc::clone(&lock);
                move || {
                    housekeeper.run(&chores_given);
                    drop(lock);
                }
            })
            .map_err(thread)?;
        let (expected, standing) = (Arc::new(Expected::default()), Arc::new(StandingClaims::default()));
        let recent = Arc::new(Recent::default());
        let writer = Writer {
            db,
            wal: Arc::clone(&wal),
            counter: opened.counter,
            state,
            totals: opened.totals,
            fence: opened.fence,
            journal: span,
            sieve: Arc::clone(&sieve),
            expected: Arc::clone(&expected),
            standing: Arc::clone(&standing),
            recent: Arc::clone(&recent),
            linger: settings.linger,
            endings_linger: settings.endings_linger,
            chores,
        };
        let (writer, writer_thread) = Handle::start(writer, Arc::clone(&disk), lock).map_err(thread)?;
        let threads = Mutex::new(Some(Threads { writer: writer_thread, housekeeper: keeper }));
        let body_writes = Semaphore::new(BODY_WRITES_MAX);
        report.took = began.elapsed();
        let is_volatile = ground.is_volatile;
        let held = Mutex::new(report.restored);
        Ok((Self { settings, is_volatile, held, writer, readers, disk, bodies, recent, wal, body_writes, sieve, expected, standing, threads }, report))
    }

    /// [`Records::mentions`] of a spool that no process has open; none was made yet is none. Changes nothing. Blocks.
    ///
    /// # Errors
    /// [`SpoolError::Locked`] while a process has it: that one knows. [`SpoolError::Unusable`] when it does not read.
    pub fn mentions_at_rest(directory: &Path, key: &KeyId) -> Result<u64, SpoolError> {
        let database = directory.join(DATABASE);
        if !database.exists() {
            return Ok(0);
        }
        let _lock = Lock::take(directory)?;
        let count = || -> rusqlite::Result<u64> {
            let db = recovery::connect(&database, Access::Read)?;
            // What the log holds is the next start's to look at.
            db.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
            let (mut mentions, mut after) = (0, Some(i64::MIN));
            while let Some(begin) = after {
                let page = readers::mentions(&db, key, begin)?;
                mentions += page.count;
                after = page.next;
            }
            Ok(mentions)
        };
        count().map_err(|error| SpoolError::Unusable { path: directory.display().to_string(), why: error.to_string() })
    }

    /// As [`Restored::restored`], as of the last look: for those who cannot wait.
    #[must_use]
    pub fn held(&self) -> Option<HeldSince> {
        *hold(&self.held)
    }

    /// It lies where nothing outlives the machine's power, the container or the pod.
    #[must_use]
    pub const fn is_volatile(&self) -> bool {
        self.is_volatile
    }

    /// What it has done since it was opened.
    #[must_use]
    pub fn work(&self) -> Work {
        let state = &self.writer.state;
        Work {
            transactions: state.transactions.load(Ordering::Relaxed),
            jobs: state.jobs.load(Ordering::Relaxed),
            busy: Duration::from_micros(state.busy_micros.load(Ordering::Relaxed)),
            wal_octets: self.wal.octets(),
        }
    }

    /// Returns once the writer has come round: it neither hangs nor has failed. Writes nothing.
    ///
    /// # Errors
    /// [`SpoolError::Failed`] or [`SpoolError::Closed`].
    pub async fn beat(&self) -> Result<(), SpoolError> {
        self.writer.write(Safety::Lazy, 0, |_| Ok(Ok(()))).await
    }

    fn open_for_reading(&self) -> Result<(), SpoolError> {
        if self.writer.is_closed() { Err(SpoolError::Closed) } else { Ok(()) }
    }

    async fn read<T: Send + 'static>(&self, query: impl FnOnce(&rusqlite::Connection) -> rusqlite::Result<T> + Send + 'static) -> Result<T, SpoolError> {
        use rusqlite::ErrorCode::{CannotOpen, DatabaseBusy, DatabaseCorrupt, DatabaseLocked, NotADatabase, OutOfMemory, SystemIoFailure};
        self.open_for_reading()?;
        self.readers.read(query).await?.map_err(|fault| match fault.sqlite_error_code() {
            // Another reader of the file, or no descriptor to be had: the mail is as it was.
            Some(DatabaseBusy | DatabaseLocked | CannotOpen | OutOfMemory) => SpoolError::Busy(fault.to_string()),
            Some(SystemIoFailure | DatabaseCorrupt | NotADatabase) => {
                self.writer.state.fail(&fault.to_string());
                SpoolError::Failed(fault.to_string())
            }
            _ => SpoolError::Failed(fault.to_string()),
        })
    }

    /// As [`Self::read`], for delivery: what was sent from a spool that failed could not be written down, and would be sent again.
    async fn read_to_deliver<T: Send + 'static>(
        &self,
        query: impl FnOnce(&rusqlite::Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, SpoolError> {
        self.writer.state.working()?;
        self.read(query).await
    }

    /// Looks for mail that damage has hidden, page by page.
    async fn audit(&self, now: Timestamp) -> Result<Swept, SpoolError> {
        let mut swept = Swept::default();
        let mut after = Some(-1);
        while let Some(begin) = after {
            let found = self.read(move |db| audit::page(db, begin)).await?;
            after = found.next;
            if !found.is_clean() {
                let mended = self.writer.write(Safety::Durable, 0, move |batch| audit::mend(batch, &found, now)).await?;
                swept.rescheduled += mended.rescheduled;
                swept.quarantined.extend(mended.quarantined);
            }
        }
        Ok(swept)
    }

    /// Sums a body and makes a large one a file: what can be done before the writer's turn.
    async fn make_ready(&self, mail: Sealed) -> Result<Ready, SpoolError> {
        if octets_of(&mail) < self.settings.body_file_octets_min { Ok(in_database(mail)) } else { self.write_body(mail).await }
    }

    async fn write_body(&self, mail: Sealed) -> Result<Ready, SpoolError> {
        self.writer.state.working()?;
        let _permit = self.body_writes.acquire().await.map_err(|_| SpoolError::Closed)?;
        let bodies = Arc::clone(&self.bodies);
        let written = tokio::task::spawn_blocking(move || {
            let body = bodies.write(mail.id, mail.message.octets())?;
            Ok::<_, std::io::Error>(Ready { body_sum: crc32c::crc32c(mail.message.octets()), mail, body: Some(body) })
        });
        match written.await.map_err(|e| SpoolError::Failed(e.to_string()))? {
            Ok(ready) => Ok(ready),
            Err(e) if matches!(e.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded) => Err(self.disk.full(self.disk.free_octets()?)),
            Err(e) if bodies::is_temporary(&e) => Err(SpoolError::Busy(format!("a body's file: {e}"))),
            Err(e) => {
                let why = format!("a body's file: {e}");
                self.writer.state.fail(&why);
                Err(SpoolError::Failed(why))
            }
        }
    }

    /// Reads a body from where its row says it is, and compares; in words, what does not fit.
    async fn read_body(&self, id: MailId) -> Result<Result<Bytes, String>, SpoolError> {
        let number = row::number(id);
        let found = self.read_to_deliver(move |db| readers::body(db, number).map(|found| found.map(|body| body.map(checked_if_here)))).await?;
        let (facts, octets) = match found {
            None => return Err(SpoolError::Unknown(id)),
            Some(Err(why)) => return Ok(Err(why)),
            Some(Ok(found)) => found,
        };
        let name = match (octets, facts.body_file.clone()) {
            (Some(checked), None) => return Ok(checked),
            (None, Some(name)) => name,
            _ => return Ok(Err("its body is missing".to_owned())),
        };
        let bodies = Arc::clone(&self.bodies);
        let read = tokio::task::spawn_blocking(move || match bodies.read(&name, u64::try_from(facts.body_octets).unwrap_or(0)) {
            Ok(octets) => Ok(check_body(&facts, octets)),
            Err(e) if bodies::is_temporary(&e) => Err(SpoolError::Busy(format!("a body's file: {e}"))),
            Err(e) => Ok(Err(format!("its body's file \"{name}\": {e}"))),
        });
        read.await.map_err(|e| SpoolError::Failed(e.to_string()))?
    }
}

impl Spool for SqliteSpool {
    fn expect(&self) -> Coming {
        Coming::with(self.expected.one())
    }

    async fn commit(&self, mails: Vec<Sealed>) -> Result<Receipt, SpoolError> {
        assert!(!mails.is_empty(), "a submission makes at least one message");
        self.writer.state.working()?;
        let octets: u64 = mails.iter().map(octets_of).sum();
        self.disk.room_for(octets)?;
        let id = mails[0].id;
        let mut ready = Vec::with_capacity(mails.len());
        for mail in mails {
            ready.push(self.make_ready(mail).await?);
        }
        let senders_max = self.settings.senders_max;
        let in_memory = ready.iter().filter(|ready| ready.body.is_none());
        let octets = in_memory.map(|ready| ready.mail.message.octets().len()).sum();
        let is_taken_on = self.writer.write(Safety::Durable, octets, move |batch| commit::commit(batch, ready, senders_max)).await?;
        Ok(Receipt::committed(id, is_taken_on))
    }

    async fn due(&self, now: Timestamp, queues_max: NonZeroUsize) -> Result<Vec<Due>, SpoolError> {
        self.read_to_deliver(move |db| readers::due(db, now, queues_max)).await
    }

    async fn next_due_at(&self) -> Result<Option<Timestamp>, SpoolError> {
        self.read_to_deliver(readers::next_due_at).await
    }

    async fn claim(&self, queue: &Queue, recipients_max: NonZeroUsize, now: Timestamp, until: Timestamp) -> Result<Claimed, SpoolError> {
        let queue = queue.clone();
        self.writer.write(Safety::Lazy, 0, move |batch| queries::claim(batch, &queue, recipients_max, now, until)).await
    }

    fn stand(&self, queue: &Queue) -> StandingClaim {
        self.standing.begin(queue)
    }

    async fn renew(&self, lease: &mut Lease, until: Timestamp) -> Result<(), SpoolError> {
        let (id, fence) = (lease.mail.id, lease.fence);
        let recipients: Vec<u32> = lease.recipients.iter().map(|recipient| recipient.index).collect();
        let Some(queue) = row::queue_of(&lease.mail, &lease.recipients) else { return Err(SpoolError::LeaseLost(id)) };
        self.writer.write(Safety::Lazy, 0, move |batch| queries::renew(batch, id, &recipients, &queue, fence, until)).await?;
        lease.until = until;
        Ok(())
    }

    async fn message(&self, id: MailId) -> Result<Bytes, SpoolError> {
        if let Some(octets) = self.recent.get(id) {
            self.open_for_reading()?;
            self.writer.state.working()?;
            return Ok(octets);
        }
        let why = match self.read_body(id).await? {
            Ok(octets) => return Ok(octets),
            Err(why) => why,
        };
        let reason = why.clone();
        self.writer.write(Safety::Durable, 0, move |batch| queries::quarantine(batch, row::number(id), &reason).map(|_| Ok(()))).await?;
        Err(SpoolError::Damaged(id, why))
    }

    async fn settle(&self, lease: Lease, endings: Vec<Ending>, notices: Vec<Sealed>) -> Result<(), SpoolError> {
        row::assert_complete(&lease.recipients, &endings);
        self.recent.forget(lease.mail.id);
        let ended = Arc::new((lease, endings));
        loop {
            let mut ready = Vec::with_capacity(notices.len());
            for notice in &notices {
                ready.push(match self.make_ready(notice.clone()).await {
                    // What the next hop said must not be lost over a notice's file: the reserve has room for the row.
                    Err(SpoolError::Full { .. } | SpoolError::Busy(_)) => in_database(notice.clone()),
                    made => made?,
                });
            }
            let (lease, ready) = (Arc::clone(&ended), ready);
            match self.writer.write(Safety::Unhurried, 0, move |batch| queries::settle(batch, &lease.0, &lease.1, ready)).await {
                // Others have taken the reserve too. Were the outcome given up, the mail would be sent again.
                Err(SpoolError::Full { .. }) => tokio::time::sleep(ROOM_WAIT).await,
                settled => return settled,
            }
        }
    }

    async fn reseal(&self, id: MailId, seal: Seal) -> Result<(), SpoolError> {
        self.writer.write(Safety::Durable, 0, move |batch| queries::reseal(batch, id, &seal)).await
    }

    async fn park(&self, queue: &Queue, until: Timestamp) -> Result<(), SpoolError> {
        let queue = queue.clone();
        self.writer.write(Safety::Lazy, 0, move |batch| queries::park(batch, &queue, until)).await
    }

    async fn counts(&self) -> Result<Counts, SpoolError> {
        self.open_for_reading()?;
        let totals = *hold(&self.writer.state.totals);
        let count = |total: i64| u64::try_from(total).unwrap_or(0);
        Ok(Counts { mails: count(totals.mails), recipients: count(totals.recipients), quarantined: count(totals.quarantined) })
    }

    fn health(&self) -> Health {
        match (self.writer.state.health(), self.disk.room_for(0)) {
            (Health::Failed(why), _) => Health::Failed(why),
            _ if self.writer.is_closed() => Health::Closed,
            (_, Err(SpoolError::Full { free, reserve })) => Health::Full { free, reserve },
            (_, Err(other)) => Health::Failed(other.to_string()),
            (health, Ok(())) => health,
        }
    }

    async fn close(&self) {
        self.writer.close();
        let Some(threads) = hold(&self.threads).take() else { return };
        self.writer.state.last_event.send_modify(|_| ()); // who waits for events asks, and hears that it is closed
        self.readers.close().await;
        let ended = tokio::task::spawn_blocking(move || {
            // A panic was told by `health` already.
            let _ = threads.writer.join();
            let _ = threads.housekeeper.join();
        });
        let _ = ended.await;
    }
}

impl Records for SqliteSpool {
    async fn sender(&self, id: u64) -> Result<Option<Mailbox>, SpoolError> {
        self.read(move |db| readers::sender(db, id)).await
    }

    async fn history(&self, id: MailId) -> Result<Option<History>, SpoolError> {
        self.read(move |db| readers::history(db, id)).await
    }

    async fn queues(&self, after: Option<Queue>, queues_max: NonZeroUsize) -> Result<Vec<QueueState>, SpoolError> {
        self.read(move |db| readers::queues(db, after.as_ref(), queues_max)).await
    }

    async fn oldest(&self) -> Result<Option<Timestamp>, SpoolError> {
        self.read(readers::oldest).await
    }

    async fn mentions(&self, key: &KeyId) -> Result<u64, SpoolError> {
        let (mut mentions, mut after) = (0, Some(i64::MIN));
        while let Some(begin) = after {
            let key = key.clone();
            let page = self.read(move |db| readers::mentions(db, &key, begin)).await?;
            mentions += page.count;
            after = page.next;
        }
        Ok(mentions)
    }

    async fn sweep(&self, now: Timestamp) -> Result<Swept, SpoolError> {
        const DAY: Duration = Duration::from_hours(24);
        let history_before = now - DAY * self.settings.history_days;
        let senders_before_day = now.unix_days() - i64::from(self.settings.senders_days);
        let events_before = now - self.settings.journal.keep;
        let mut swept = self.audit(now).await?;
        loop {
            let kept = self.writer.write(Safety::Durable, 0, move |batch| homecoming::forget_kept(batch, now)).await?;
            if kept.is_empty() {
                break;
            }
            swept.kept.extend(kept);
        }
        loop {
            let page =
                self.writer.write(Safety::Durable, 0, move |batch| queries::sweep(batch, now, history_before, senders_before_day, events_before)).await?;
            if page == Swept::default() {
                return Ok(swept);
            }
            swept.history += page.history;
            swept.senders += page.senders;
            swept.queues += page.queues;
            swept.events += page.events;
            swept.homecomings += page.homecomings;
            swept.suppressions += page.suppressions;
        }
    }
}

impl Homecomings for SqliteSpool {
    async fn come_home(&self, homecoming: Homecoming) -> Result<CameHome, SpoolError> {
        self.writer.state.working()?;
        let Homecoming { id, at, octets, mails, spent, tidings } = homecoming;
        self.disk.room_for_home(mails.iter().map(|bound| octets_of(&bound.mail)).sum())?;
        let mut ready = Vec::with_capacity(mails.len());
        for Homebound { mail, kept } in mails {
            ready.push((self.make_ready(mail).await?, kept));
        }
        let in_memory = ready.iter().filter(|(ready, _)| ready.body.is_none()).map(|(ready, _)| ready.mail.message.octets().len()).sum();
        let arrival = homecoming::Arrival { id, at, octets, mails: ready, spent, tidings };
        let told = self.writer.write(Safety::Durable, in_memory, move |batch| homecoming::come_home(batch, arrival)).await?;
        Ok(CameHome { receipt: Receipt::committed(id, false), told })
    }
}

impl Control for SqliteSpool {
    async fn list(&self, selection: &Selection, after: Option<Cursor>, rows_max: NonZeroUsize, now: Timestamp) -> Result<Listed, SpoolError> {
        let selection = selection.clone();
        self.read(move |db| control::list(db, &selection, after, rows_max.get(), now)).await
    }

    async fn sum_up(&self, selection: &Selection, by: By, after: Option<Cursor>, now: Timestamp) -> Result<Summed, SpoolError> {
        let selection = selection.clone();
        self.read(move |db| control::sum_up(db, &selection, by, after, now)).await
    }

    async fn show(&self, id: MailId, now: Timestamp) -> Result<Option<Shown>, SpoolError> {
        self.read(move |db| control::show(db, id, now)).await
    }

    async fn change(&self, selection: &Selection, order: &Order, after: Option<Cursor>, rows_max: NonZeroUsize, now: Timestamp) -> Result<Changed, SpoolError> {
        let rows_max = rows_max.min(NonZeroUsize::new(ORDER_ROWS_MAX).unwrap_or(rows_max));
        let page = self.list(selection, after, rows_max, now).await?;
        let found: Vec<(MailId, u32)> = page.entries.iter().map(|entry| (entry.mail, entry.index)).collect();
        if found.is_empty() {
            return Ok(Changed { next: page.next, ..Changed::default() });
        }
        let (selection, order) = (selection.clone(), order.clone());
        let changed = self.writer.write(Safety::Durable, 0, move |batch| control::change(batch, &found, &selection, &order, now)).await?;
        Ok(Changed { next: page.next, ..changed })
    }

    async fn states(&self, now: Timestamp) -> Result<States, SpoolError> {
        let recipients = self.counts().await?.recipients;
        self.read(move |db| control::states(db, recipients, now)).await
    }
}

impl Restored for SqliteSpool {
    async fn restored(&self) -> Result<Option<HeldSince>, SpoolError> {
        let held = self.read(backup::restored).await?;
        *hold(&self.held) = held;
        Ok(held)
    }

    async fn release_restored(&self, now: Timestamp) -> Result<u64, SpoolError> {
        let mut released = 0;
        loop {
            match self.writer.write(Safety::Durable, 0, move |batch| backup::release(batch, now)).await? {
                0 => break,
                page => released += page,
            }
        }
        *hold(&self.held) = None;
        Ok(released)
    }
}

impl Suppressions for SqliteSpool {
    async fn suppress(&self, entries: Vec<Suppression>) -> Result<Taken, SpoolError> {
        assert!(entries.len() <= PAGE_ENTRIES_MAX, "a page of {} entries", entries.len());
        self.writer.state.working()?;
        self.writer.write(Safety::Durable, 0, move |batch| suppressions::insert_all(batch, &entries)).await
    }

    async fn lift(&self, entries: Vec<Key>) -> Result<Vec<Key>, SpoolError> {
        assert!(entries.len() <= PAGE_ENTRIES_MAX, "a page of {} entries", entries.len());
        self.writer.write(Safety::Durable, 0, move |batch| suppressions::lift(batch, &entries)).await
    }

    async fn suppressed(
        &self,
        author_domain: &Domain,
        stream: &Stream,
        recipients: Vec<Mailbox>,
        now: Timestamp,
    ) -> Result<Vec<(Mailbox, Suppression)>, SpoolError> {
        let recipients = suppressions::sifted(&self.sieve, author_domain, stream, recipients);
        if recipients.is_empty() {
            return Ok(Vec::new());
        }
        let (author_domain, stream, sieve) = (author_domain.clone(), stream.clone(), Arc::clone(&self.sieve));
        self.read(move |db| suppressions::suppressed(db, &sieve, &author_domain, &stream, &recipients, now)).await
    }

    async fn suppressions(
        &self,
        selection: &SuppressionSelection,
        after: Option<Key>,
        entries_max: NonZeroUsize,
        now: Timestamp,
    ) -> Result<ListedSuppressions, SpoolError> {
        let selection = selection.clone();
        self.read(move |db| suppressions::page(db, &selection, after.as_ref(), entries_max, now)).await
    }

    fn suppressions_count(&self) -> (u64, u64) {
        let total = hold(&self.writer.state.totals).suppressions;
        (u64::try_from(total).unwrap_or(0), self.settings.suppressions_max)
    }
}

impl Journal for SqliteSpool {
    async fn events(&self, after: u64, filter: Filter, events_max: NonZeroUsize) -> Result<Page, SpoolError> {
        self.read(move |db| journal::page(db, after, &filter, events_max)).await
    }

    async fn mails_to(&self, recipient: &Mailbox, before: Option<u64>, mails_max: NonZeroUsize) -> Result<Vec<Event>, SpoolError> {
        let recipient = recipient.clone();
        self.read(move |db| journal::mails_to(db, &recipient, before, mails_max)).await
    }

    async fn number_before(&self, at: Timestamp) -> Result<u64, SpoolError> {
        self.read(move |db| journal::number_before(db, at)).await
    }

    fn last(&self) -> watch::Receiver<u64> {
        self.writer.state.last_event.subscribe()
    }

    async fn tell(&self, news: Vec<News>) -> Result<(), SpoolError> {
        self.writer.write(Safety::Durable, 0, move |batch| journal::tell_all(batch, &news)).await
    }

    async fn cursor(&self, name: &str) -> Result<u64, SpoolError> {
        let name = name.to_owned();
        self.writer.write(Safety::Durable, 0, move |batch| journal::cursor(batch, &name)).await
    }

    async fn confirm(&self, name: &str, number: u64) -> Result<(), SpoolError> {
        let name = name.to_owned();
        self.writer.write(Safety::Lazy, 0, move |batch| journal::confirm(batch, &name, number)).await
    }

    async fn forget_cursors_but(&self, names: Vec<String>) -> Result<(), SpoolError> {
        self.writer.write(Safety::Durable, 0, move |batch| journal::forget_cursors_but(batch, &names)).await
    }
}

impl std::fmt::Debug for SqliteSpool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteSpool").field("directory", &self.settings.directory).finish_non_exhaustive()
    }
}

impl SqliteSpool {
    /// Octets that we may still write on its disk, and how many of them are the reserve. Blocks.
    ///
    /// # Errors
    /// The disk cannot be asked.
    pub fn room(&self) -> Result<(u64, u64), SpoolError> {
        Ok((self.disk.free_octets()?, self.settings.reserve_octets))
    }
}

fn in_database(mail: Sealed) -> Ready {
    Ready { body_sum: crc32c::crc32c(mail.message.octets()), mail, body: None }
}

/// A body that came with its row is checked where it was read.
fn checked_if_here((facts, octets): (row::MailRow, Option<Vec<u8>>)) -> (row::MailRow, Option<Result<Bytes, String>>) {
    let checked = octets.map(|octets| check_body(&facts, octets));
    (facts, checked)
}

/// In words, what does not fit.
fn check_body(facts: &row::MailRow, octets: Vec<u8>) -> Result<Bytes, String> {
    let octets_expected = u64::try_from(facts.body_octets).unwrap_or(0);
    if octets.len() as u64 != octets_expected {
        return Err(format!("its body has {} octets and should have {octets_expected}", octets.len()));
    }
    if i64::from(crc32c::crc32c(&octets)) != facts.body_sum {
        return Err("its body does not fit its checksum".to_owned());
    }
    Ok(Bytes::from(octets))
}

fn octets_of(mail: &Sealed) -> u64 {
    mail.message.octets().len() as u64
}

const DATABASE: &str = "spool.db";
/// How long an outcome waits before it is tried again to be written on a disk that had no room for it.
const ROOM_WAIT: Duration = Duration::from_secs(1);
/// Large bodies that are written at the same time.
const BODY_WRITES_MAX: usize = 16;
