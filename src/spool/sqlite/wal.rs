//! The write-ahead log: kept short, truncated off the commit path, its size watched.
//!
//! SQLite takes a damaged frame for the log's end: what lies behind it is gone without a word. So the log is copied into the database as soon
//! as it has grown to `checkpoint_octets`, by the housekeeper: first a passive checkpoint, which hinders nobody and does nearly all of the
//! work, then under the gate (between two transactions) the short rest, with truncation. Only when the log grows past its maximum all the
//! same, because readers or the disk hold the checkpoint up, does the writer do it itself, and every session waits.

use super::housekeeper::Chore;
use super::writer::lock;
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// The log of one spool.
#[derive(Debug)]
pub(super) struct Wal {
    path: PathBuf,
    checkpoint_octets: u64,
    octets_max: u64,
    gate: Mutex<()>,
    asked: AtomicBool,
    syncs: AtomicBool,
    octets: AtomicU64,
    /// When a reader last stood in the way.
    held_up_at: Mutex<Option<Instant>>,
    chores: std::sync::mpsc::Sender<Chore>,
}

impl Wal {
    pub fn of(database: &Path, octets_max: u64, chores: std::sync::mpsc::Sender<Chore>) -> Self {
        let mut path = database.as_os_str().to_owned();
        path.push("-wal");
        Self {
            path: path.into(),
            checkpoint_octets: octets_max / CHECKPOINT_SHARE,
            octets_max,
            gate: Mutex::new(()),
            asked: AtomicBool::new(false),
            syncs: AtomicBool::new(true),
            octets: AtomicU64::new(0),
            held_up_at: Mutex::new(None),
            chores,
        }
    }

    /// Held while a transaction runs, and while the log is truncated.
    pub fn hold(&self) -> MutexGuard<'_, ()> {
        lock(&self.gate)
    }

    /// Whether the next transaction waits for the disk. To be called between transactions.
    pub fn sync_at_commit(&self, db: &Connection, sync: bool) -> rusqlite::Result<()> {
        if self.syncs.swap(sync, Ordering::Relaxed) != sync {
            db.pragma_update(None, "synchronous", if sync { "FULL" } else { "NORMAL" })?;
        }
        Ok(())
    }

    /// Looks at the size after a commit; asks for a checkpoint, or makes one where there is no more time to ask.
    pub fn watch(&self, db: &Connection) -> rusqlite::Result<()> {
        let octets = self.measure();
        if octets > self.octets_max {
            tracing::warn!(octets, octets_max = self.octets_max, "wal.grew");
            self.truncate(db)?;
        } else if octets > self.checkpoint_octets && !self.asked.swap(true, Ordering::Relaxed) {
            // Were the housekeeper gone, the maximum above would still hold.
            let _ = self.chores.send(Chore::Checkpoint);
        }
        Ok(())
    }

    /// The housekeeper's part.
    pub fn checkpoint(&self, db: &Connection) -> rusqlite::Result<()> {
        self.asked.store(false, Ordering::Relaxed);
        checkpoint(db, "PASSIVE")?;
        self.truncate(db)
    }

    /// Copies what is left and makes the log empty; leaves it for the next time when a reader still needs it. Readers are waited for a moment
    /// only, since the writer waits too, and after one who stays (a backup) not again at once.
    pub fn truncate(&self, db: &Connection) -> rusqlite::Result<()> {
        let _gate = self.gate.lock();
        if lock(&self.held_up_at).is_some_and(|at| at.elapsed() < HELD_UP_PAUSE) {
            return Ok(());
        }
        db.busy_timeout(READERS_WAIT)?;
        let emptied = checkpoint(db, "TRUNCATE");
        db.busy_timeout(super::recovery::BUSY_WAIT)?;
        *lock(&self.held_up_at) = if emptied? { None } else { Some(Instant::now()) };
        self.measure();
        Ok(())
    }

    /// Octets at the last look.
    pub fn octets(&self) -> u64 {
        self.octets.load(Ordering::Relaxed)
    }

    pub fn measure(&self) -> u64 {
        let octets = std::fs::metadata(&self.path).map_or(0, |facts| facts.len());
        self.octets.store(octets, Ordering::Relaxed);
        octets
    }
}

/// A busy reader is no fault: the pragma says so in its first column, and the work is done the next time.
fn checkpoint(db: &Connection, how: &str) -> rusqlite::Result<bool> {
    db.query_row(&format!("PRAGMA wal_checkpoint({how})"), [], |row| Ok(row.get::<_, i64>(0)? == 0))
}

/// How long a checkpoint waits for readers, and every commit with it: they read a page.
const READERS_WAIT: Duration = Duration::from_millis(100);
/// How long the log is left alone after that was not enough.
const HELD_UP_PAUSE: Duration = Duration::from_secs(1);
/// The housekeeper begins at this part of the maximum.
const CHECKPOINT_SHARE: u64 = 8;
