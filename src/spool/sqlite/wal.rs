//! The write-ahead log: kept short, begun anew off the commit path, its size watched.
//!
//! SQLite takes a damaged frame for the log's end: what lies behind it is gone without a word. So the log is copied into the database as soon
//! as it has grown to `checkpoint_octets`, by the housekeeper: first a passive checkpoint, which hinders nobody and does nearly all of the
//! work, then under the gate (between two transactions) the short rest, after which the log begins anew. Its file keeps its length: to cut it
//! and let it grow again costs commits more than the room is worth, some ten milliseconds at each checkpoint. Only a file that grew past
//! half of the maximum is cut. When the log reaches its maximum all the same, because readers or the disk hold the checkpoint up, the writer
//! makes one itself, and every session waits.

use super::housekeeper::Chore;
use super::writer::{is_full, lock};
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
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

    /// Has the length of the log noted at each commit of this connection: of what is in use, the file may be longer.
    pub fn count(self: &Arc<Self>, db: &mut Connection) -> rusqlite::Result<()> {
        let page: u32 = db.pragma_query_value(None, "page_size", |row| row.get(0))?;
        let frame = u64::from(page) + FRAME_HEADER_OCTETS;
        let wal = Arc::clone(self);
        db.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, frames: std::ffi::c_int| {
            wal.octets.store(u64::try_from(frames).unwrap_or(0) * frame, Ordering::Relaxed);
            Ok(())
        }))
    }

    /// Held while a transaction runs, and while the log is made to begin anew.
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
        let octets = self.octets();
        if octets > self.octets_max && !self.is_held_up() {
            tracing::warn!(octets, octets_max = self.octets_max, "wal.grew");
            self.begin_anew(db, TRUNCATE)?;
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
        self.begin_anew(db, if self.file_octets() > self.octets_max / 2 { TRUNCATE } else { RESTART })
    }

    /// Copies what is left and makes the log empty, its file too.
    pub fn truncate(&self, db: &Connection) -> rusqlite::Result<()> {
        self.begin_anew(db, TRUNCATE)
    }

    /// Copies what is left; leaves it for the next time when a reader still needs the log. Readers are waited for a moment only, since the
    /// writer waits too, and after one who stays (a backup) not again at once.
    fn begin_anew(&self, db: &Connection, how: &str) -> rusqlite::Result<()> {
        let _gate = self.gate.lock();
        if self.is_held_up() {
            return Ok(());
        }
        db.busy_timeout(READERS_WAIT)?;
        let emptied = checkpoint(db, how);
        db.busy_timeout(super::recovery::BUSY_WAIT)?;
        let emptied = emptied?;
        *lock(&self.held_up_at) = if emptied { None } else { Some(Instant::now()) };
        if emptied {
            self.octets.store(0, Ordering::Relaxed);
        }
        Ok(())
    }

    /// A reader stood in the way a moment ago.
    fn is_held_up(&self) -> bool {
        lock(&self.held_up_at).is_some_and(|at| at.elapsed() < HELD_UP_PAUSE)
    }

    /// Octets in use at the last commit.
    pub fn octets(&self) -> u64 {
        self.octets.load(Ordering::Relaxed)
    }

    /// Octets of its file.
    pub fn file_octets(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |facts| facts.len())
    }
}

/// A busy reader is no fault: the pragma says so in its first column, and the work is done the next time. Neither is a disk without room:
/// the log still has it all.
fn checkpoint(db: &Connection, how: &str) -> rusqlite::Result<bool> {
    match db.query_row(&format!("PRAGMA wal_checkpoint({how})"), [], |row| Ok(row.get::<_, i64>(0)? == 0)) {
        Err(fault) if is_full(&fault) => Ok(false),
        done => done,
    }
}

/// How long a checkpoint waits for readers, and every commit with it: they read a page.
const READERS_WAIT: Duration = Duration::from_millis(100);
/// How long the log is left alone after that was not enough.
const HELD_UP_PAUSE: Duration = Duration::from_secs(1);
/// The checkpoints of SQLite that make the log begin anew: in the file as it is, or in an empty one.
const RESTART: &str = "RESTART";
const TRUNCATE: &str = "TRUNCATE";
/// Octets before each page of the log (SQLite's file format, §4.2).
const FRAME_HEADER_OCTETS: u64 = 24;
/// The housekeeper begins at this part of the maximum.
const CHECKPOINT_SHARE: u64 = 8;
