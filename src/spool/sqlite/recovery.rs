//! Opening a spool: what a crash left behind is found, mended and reported before the first mail is taken.
//!
//! | found | done |
//! |---|---|
//! | a log of transactions (WAL) | SQLite reads it; it is copied into the database |
//! | fewer transactions than the file `commits` counts | **reported**: acknowledged mail is gone (a damaged log, or an older copy of the database); the log is copied to `lost/` first |
//! | recipients under lease | due at once: whoever held the lease died with the last process |
//! | half-written body files | removed |
//! | body files that no row names | removed; set aside under `lost/` if transactions are gone, since they may be all that is left of a mail |
//!
//! The work grows with the WAL (bounded), the leases (as many as deliveries ran) and the number of large bodies, not with the queue.

use super::bodies::Bodies;
use super::writer::Totals;
use crate::mail::Timestamp;
use crate::spool::{HeldSince, SpoolError, schema};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

/// What opening a spool found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecoveryReport {
    /// How long it took.
    pub took: Duration,
    /// There was no spool; now there is.
    pub created: bool,
    /// Acknowledged transactions that are gone. Anything but 0 is mail lost, or sent twice: say it loudly.
    pub commits_lost: u64,
    /// Octets of the log that was read.
    pub wal_octets: u64,
    /// Recipients whose attempt was cut short by the end of the last process.
    pub leases_ended: u64,
    /// Files removed that no message named.
    pub orphans_removed: u64,
    /// Files set aside under `lost/` because acknowledged transactions are gone.
    pub orphans_set_aside: u64,
    /// Messages that wait.
    pub mails: u64,
    /// Messages set aside as damaged, now and before.
    pub quarantined: u64,
    /// Restored mail that is held.
    pub restored: Option<HeldSince>,
    /// What an operator should know of the place, each with its remedy.
    pub warnings: Vec<String>,
}

/// What the database says of itself once it is open.
pub(super) struct Opened {
    pub totals: Totals,
    pub fence: i64,
    pub opening: i64,
    pub counter: Counter,
}

/// The number of durable transactions, beside the WAL and never synced: it costs next to nothing and, as long as the machine keeps its power,
/// knows better than a log whose end is damaged.
#[derive(Debug)]
pub(super) struct Counter {
    file: File,
    pub value: i64,
}

/// A connection to the database of a spool, set up as every one of them must be.
pub(super) fn connect(database: &Path, access: Access) -> rusqlite::Result<Connection> {
    let how = match access {
        Access::Write => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
        // The WAL's index is shared memory, which a reader must be able to write.
        Access::Read => OpenFlags::SQLITE_OPEN_READ_WRITE,
    };
    if access == Access::Write {
        // SQLite would make it for everybody to read; the log and the index beside it get the mode that it has.
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(database);
        drop(made); // what is there, or cannot be made, SQLite says better
    }
    let db = Connection::open_with_flags(database, how | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.busy_timeout(BUSY_WAIT)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    // Else SQLite plans every statement anew whose parameters might make a partial index of use, at each execution.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // Before the first table, or never.
    db.pragma_update(None, "page_size", PAGE_OCTETS)?;
    // To say it again writes a page, maybe over the end of a damaged log that somebody wants to look at.
    if db.query_row("PRAGMA auto_vacuum", [], |row| row.get::<_, i64>(0))? == 0 {
        db.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    }
    db.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    for (name, value) in [("synchronous", "FULL"), ("wal_autocheckpoint", "0"), ("temp_store", "MEMORY"), ("foreign_keys", "OFF"), ("trusted_schema", "OFF")] {
        db.pragma_update_and_check(None, name, value, |_| Ok(())).optional()?;
    }
    // A flipped bit in the structure of a page is noticed rather than followed; macOS syncs only when asked twice.
    for (name, value) in [("cell_size_check", "ON"), ("fullfsync", "ON"), ("checkpoint_fullfsync", "ON")] {
        db.pragma_update_and_check(None, name, value, |_| Ok(())).optional()?;
    }
    let (cache_kibibytes, query_only) = match access {
        Access::Write => (32 * 1024, "OFF"),
        Access::Read => (2 * 1024, "ON"),
    };
    db.pragma_update(None, "cache_size", -cache_kibibytes)?;
    db.pragma_update(None, "query_only", query_only)?;
    Ok(db)
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Write,
    Read,
}

/// Brings the tables to this program's version and counts the opening.
///
/// # Errors
/// [`SpoolError::Unusable`]: a newer program wrote it, or it is no spool at all.
pub(super) fn open(db: &mut Connection, directory: &Path, now: Timestamp, report: &mut RecoveryReport) -> Result<Opened, SpoolError> {
    let unusable = |why: String| SpoolError::Unusable { path: directory.display().to_string(), why };
    let broken = |e: rusqlite::Error| unusable(remedy(&e));
    let exists: bool = db.query_row("SELECT count(*) FROM sqlite_schema WHERE name = 'spool'", [], |row| Ok(row.get::<_, i64>(0)? > 0)).map_err(broken)?;
    let version = if exists { db.query_row("SELECT version FROM spool", [], |row| row.get::<_, i64>(0)).map_err(broken)? } else { 0 };
    if version > schema::VERSION {
        return Err(unusable(format!(
            "its tables have version {version} and this program knows up to {}; run the newer postseal that wrote it, or give this one another directory",
            schema::VERSION
        )));
    }
    report.created = !exists;
    let mut opened = || -> rusqlite::Result<Opened> {
        let tx = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        for (step, version) in schema::STEPS.iter().zip(1..).filter(|(_, number)| *number > version) {
            tx.execute_batch(step)?;
            tx.execute("UPDATE spool SET version = ?1", [version])?;
        }
        let (commits, fence, opening, totals) = tx.query_row(
            "UPDATE spool SET openings = openings + 1, commits = commits + 1 RETURNING commits, fence, openings, mails, recipients, quarantined, senders,
             suppressions",
            [],
            |row| {
                Ok((
                    row.get::<_, i64>(0)?,
                    row.get(1)?,
                    row.get(2)?,
                    Totals { mails: row.get(3)?, recipients: row.get(4)?, quarantined: row.get(5)?, senders: row.get(6)?, suppressions: row.get(7)? },
                ))
            },
        )?;
        report.leases_ended = end_leases(&tx, now)?;
        report.restored = super::backup::restored(&tx)?;
        // Compared with what was there before this opening added one.
        let counter = Counter::open(directory, commits, &mut report.commits_lost).map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))?;
        if report.commits_lost > 0 {
            // The commit below writes over what lies behind the damage, which may be all that is left of a mail.
            report.warnings.push(keep_log(directory, opening));
        }
        tx.commit()?;
        Ok(Opened { totals, fence, opening, counter })
    };
    let mut opened = opened().map_err(broken)?;
    let commits = opened.counter.value;
    opened.counter.write(commits);
    report.mails = opened.totals.mails.try_into().unwrap_or(0);
    report.quarantined = opened.totals.quarantined.try_into().unwrap_or(0);
    Ok(opened)
}

/// What is to be said of a database that does not open.
pub(super) fn remedy(fault: &rusqlite::Error) -> String {
    use rusqlite::ErrorCode::{CannotOpen, PermissionDenied, ReadOnly};
    match fault.sqlite_error_code() {
        _ if super::writer::is_full(fault) => format!("{fault}; make room on its disk, nothing in it is lost"),
        Some(ReadOnly | CannotOpen | PermissionDenied) => format!("{fault}; let the user that postseal runs as write to it, files and disk"),
        _ => format!("{fault}; restore a backup, or move the directory away and look at it with sqlite3"),
    }
}

/// Copies a damaged log to where a person can look at it. Gives what to say of it.
fn keep_log(directory: &Path, opening: i64) -> String {
    let lost = directory.join(super::bodies::LOST);
    let copy = lost.join(format!("{LOG_FILE}.{opening}"));
    let kept = super::bodies::make_directory(&lost).and_then(|()| {
        let partial = copy.with_extension("partial");
        let mut log = File::open(directory.join(LOG_FILE))?;
        let mut kept = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
        std::io::copy(&mut log, &mut kept)?;
        // What is written over next may be the only other copy.
        kept.sync_all()?;
        std::fs::rename(&partial, &copy)?;
        File::open(&lost)?.sync_all()
    });
    match kept {
        Ok(()) => format!("acknowledged transactions are gone; the log they may still be in was copied to \"{}\" before it was written over", copy.display()),
        Err(error) => format!("acknowledged transactions are gone, and the log they may still be in could not be copied: {error}"),
    }
}

/// The lock says that nobody else is alive; so nobody works under a lease.
fn end_leases(db: &Connection, now: Timestamp) -> rusqlite::Result<u64> {
    let mut statement = db.prepare("SELECT DISTINCT queue FROM recipients INDEXED BY recipients_leased WHERE state = 0 AND fence <> 0")?;
    // One damaged name is for the audit; it does not keep the spool closed.
    let queues: Vec<Vec<u8>> = statement.query_map([], |row| Ok(row.get_ref(0)?.as_bytes().unwrap_or_default().to_vec()))?.collect::<rusqlite::Result<_>>()?;
    // The fence stays: the next claim sees by it that an attempt had begun.
    let ended = db.execute("UPDATE recipients SET next_at = min(next_at, ?1) WHERE state = 0 AND fence <> 0", [now.unix_millis()])?;
    for queue in queues.iter().filter_map(|queue| std::str::from_utf8(queue).ok()) {
        super::queries::refresh_queue(db, queue)?;
    }
    Ok(ended as u64)
}

/// Removes body files that no row names, or sets them aside. Under the lock, before anything is accepted.
///
/// # Errors
/// The directory cannot be read, or the database.
pub(super) fn sweep_orphans(db: &Connection, bodies: &Bodies, report: &mut RecoveryReport) -> Result<(), String> {
    let text = |e: &dyn std::fmt::Display| e.to_string();
    report.orphans_removed += bodies.clear_temporary().map_err(|e| text(&e))?;
    for shard in 0..=u8::MAX {
        for name in bodies.names(shard).map_err(|e| text(&e))? {
            if is_named(db, &name).map_err(|e| text(&e))? {
                continue;
            }
            if report.commits_lost > 0 {
                bodies.set_aside(&name).map_err(|e| text(&e))?;
                report.orphans_set_aside += 1;
            } else {
                bodies.remove(&name).map_err(|e| text(&e))?;
                report.orphans_removed += 1;
            }
        }
    }
    Ok(())
}

/// Whether a row names a body file, or is of the message that the file is called after: the index of names is under no checksum, and neither
/// it nor a damaged name is a reason to remove what may be all that is left of a mail.
fn is_named(db: &Connection, name: &str) -> rusqlite::Result<bool> {
    if db.prepare_cached("SELECT 1 FROM messages WHERE body_file = ?1")?.exists([name])? {
        return Ok(true);
    }
    let Some(id) = super::bodies::id_in(name) else { return Ok(false) };
    db.prepare_cached("SELECT 1 FROM messages NOT INDEXED WHERE id = ?1")?.exists([crate::spool::row::number(id)])
}

impl Counter {
    /// `commits` is what the database holds, this opening included. A file that is missing or does not read says nothing.
    fn open(directory: &Path, commits: i64, lost: &mut u64) -> std::io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(directory.join(COUNTER_FILE))?;
        let mut octets = [0; COUNTER_OCTETS];
        if file.read_exact_at(&mut octets, 0).is_ok() {
            let (number, sum) = octets.split_at(8);
            let number_sum = crc32c::crc32c(number).to_le_bytes();
            if number_sum == *sum {
                let counted = number.iter().rev().fold(0, |value: i64, octet| (value << 8) | i64::from(*octet));
                *lost = u64::try_from(counted - (commits - 1)).unwrap_or(0);
            }
        }
        Ok(Self { file, value: commits })
    }

    /// Notes a committed transaction. It is a witness, not a part of the promise: a failure is told, and the next write tries again.
    pub fn write(&mut self, commits: i64) {
        self.value = commits;
        let mut octets = [0; COUNTER_OCTETS];
        let (number, sum) = octets.split_at_mut(8);
        number.copy_from_slice(&commits.to_le_bytes());
        sum.copy_from_slice(&crc32c::crc32c(number).to_le_bytes());
        if let Err(error) = self.file.write_all_at(&octets, 0) {
            tracing::warn!(%error, "counter.fell_behind");
        }
    }

    pub fn sync(&self) -> std::io::Result<()> {
        self.file.sync_all()
    }
}

const LOG_FILE: &str = "spool.db-wal";
const COUNTER_FILE: &str = "commits";
const COUNTER_OCTETS: usize = 12;
const PAGE_OCTETS: i64 = 4096;
const STATEMENTS_KEPT: usize = 64;
/// Nobody else writes to a spool; a person with sqlite3 may for a moment.
pub(super) const BUSY_WAIT: Duration = Duration::from_secs(2);
