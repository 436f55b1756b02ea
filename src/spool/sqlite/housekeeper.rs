//! What can be done beside the commit path: checkpoints, removal of body files, giving room back to the disk; after the start, filling the sieve
//! of the suppression list. A thread of its own.

use super::bodies::Bodies;
use super::disk::Disk;
use super::suppressions::Sieve;
use super::wal::Wal;
use super::writer::{State, is_full};
use crate::spool::suppressions::Key;
use rusqlite::Connection;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// What it is asked for.
#[derive(Debug)]
pub(super) enum Chore {
    /// The WAL has grown.
    Checkpoint,
    /// These body files have no row any more.
    Remove(Vec<String>),
    /// The spool is closed.
    Stop,
}

/// What the thread owns.
pub(super) struct Housekeeper {
    pub db: Connection,
    pub wal: Arc<Wal>,
    pub bodies: Arc<Bodies>,
    pub disk: Arc<Disk>,
    pub state: Arc<State>,
    pub sieve: Arc<Sieve>,
}

impl Housekeeper {
    /// Works until told to stop.
    pub fn run(self, chores: &Receiver<Chore>) {
        let mut low = false;
        let mut to_fill = Some(None);
        let mut looked_at = Instant::now();
        loop {
            let patience = if to_fill.is_some() { Duration::ZERO } else { LOOK_AROUND };
            match chores.recv_timeout(patience) {
                Ok(Chore::Checkpoint) => self.checkpoint(),
                Ok(Chore::Remove(names)) => names.iter().for_each(|name| self.remove(name)),
                Ok(Chore::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            to_fill = to_fill.and_then(|after| self.fill_sieve(after.as_ref())).map(Some);
            if looked_at.elapsed() >= LOOK_AROUND {
                low = self.look_at_disk(low);
                self.give_back(low);
                looked_at = Instant::now();
            }
        }
    }

    /// One page of who is on the suppression list. Gives where the next begins.
    fn fill_sieve(&self, after: Option<&Key>) -> Option<Key> {
        self.sieve.fill(&self.db, after).unwrap_or_else(|fault| {
            self.state.fail(&format!("reading the suppression list: {fault}"));
            None
        })
    }

    /// A checkpoint writes and fsyncs the database: if that fails, the spool has failed.
    fn checkpoint(&self) {
        if self.state.working().is_err() {
            return;
        }
        if let Err(fault) = self.wal.checkpoint(&self.db) {
            self.state.fail(&format!("checkpoint: {fault}"));
        }
    }

    fn remove(&self, name: &str) {
        if let Err(error) = self.bodies.remove(name) {
            tracing::warn!(%error, file = name, "body.left_behind"); // an orphan; the next start removes it
        }
    }

    /// Says once when acceptance stops for want of room, and once when it goes on.
    fn look_at_disk(&self, was_low: bool) -> bool {
        let low = self.disk.room_for(0);
        match &low {
            Err(error) if !was_low => tracing::warn!(%error, "disk.ran_low"),
            Ok(()) if was_low => tracing::info!("disk.recovered"),
            _ => {}
        }
        low.is_err()
    }

    /// A database file does not shrink by itself: a large queue, once delivered, would hold the disk, and below the reserve nothing would ever be
    /// accepted again. A few pages at a time, between the writer's transactions.
    fn give_back(&self, low: bool) {
        let step = || -> rusqlite::Result<()> {
            let free: u64 = self.db.pragma_query_value(None, "freelist_count", |row| row.get::<_, i64>(0))?.try_into().unwrap_or(0);
            let keep = if low { 0 } else { FREE_PAGES_KEPT };
            if free <= keep {
                return Ok(());
            }
            {
                let _gate = self.wal.hold();
                let mut statement = self.db.prepare_cached(&format!("PRAGMA incremental_vacuum({FREE_PAGES_STEP})"))?;
                let mut rows = statement.query([])?;
                while rows.next()?.is_some() {}
            }
            self.wal.checkpoint(&self.db)
        };
        if self.state.working().is_ok()
            && let Err(fault) = step()
            && !is_full(&fault)
        {
            self.state.fail(&format!("giving room back: {fault}"));
        }
    }
}

/// How often it looks around.
const LOOK_AROUND: Duration = Duration::from_secs(1);
/// 64 MiB of pages of 4 KiB: what the next burst will need again.
const FREE_PAGES_KEPT: u64 = 16_384;
/// 16 MiB at a time.
const FREE_PAGES_STEP: u64 = 4096;
