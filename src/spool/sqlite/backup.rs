//! Copies of a spool: made beside the process that uses it, looked at, and made a spool again, whose mail is then held.
//!
//! ```text
//! backup/
//! ├─ manifest.json  written last: without it there is no backup
//! ├─ spool.db       the tables as they were at one instant
//! └─ bodies/xx/     the large bodies that they name, as hard links where that can be
//! ```
//!
//! The order is what makes it whole. Body files are never changed, only made and removed, each before and after the row that names it. So first
//! all that are there are linked; then the tables are copied in one read of SQLite (`VACUUM INTO`), beside which the writer goes on; then what
//! they name and was made meanwhile is linked too. A body that is gone by then was delivered in between, and its mail is left out: what its
//! row says now, in the spool, decides. Everything is read again and compared with its checksums before the manifest is written.
//!
//! It needs no running process and takes no lock. While the tables are read, the log grows, for nothing of it can be cut off.

use super::bodies::{self, make_directory, path_below};
use super::disk;
use super::lock::Lock;
use super::queries::{self, read_message, refresh_queue};
use super::writer::{Batch, Refusable};
use super::{DATABASE, FileSystems, check_body};
use crate::mail::Timestamp;
use crate::spool::restored::HeldSince;
use crate::spool::row::{self, RecipientRow};
use crate::spool::{SpoolError, schema};
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a backup says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Of this file: 1.
    pub format: u32,
    /// The program that made it.
    pub postseal: String,
    /// When, as RFC 3339 writes it.
    pub made_at: String,
    /// The version of the tables.
    pub schema: i64,
    /// Messages that waited.
    pub mails: u64,
    /// Recipients that waited, held ones included.
    pub recipients: u64,
    /// Octets of the tables' file.
    pub database_octets: u64,
    /// Its CRC-32C.
    pub database_sum: u32,
    /// Files of bodies.
    pub bodies: u64,
    /// Messages that were damaged in the spool already, each with what is wrong.
    pub damaged: Vec<String>,
}

/// What looking at a spool or a backup found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checked {
    /// Messages that wait.
    pub mails: u64,
    /// Recipients that wait, held ones included.
    pub recipients: u64,
    /// Messages set aside as damaged before.
    pub quarantined: u64,
    /// Files of bodies that are named.
    pub bodies: u64,
    /// What is damaged, and was not known to be.
    pub damaged: Vec<String>,
}

/// Why there is no backup, or no spool of it.
#[derive(Debug, thiserror::Error)]
pub enum BackupFault {
    /// Nothing to copy or to look at.
    #[error("there is no spool in \"{0}\"; expected the directory that spool.directory names, or a backup")]
    NoSpool(PathBuf),
    /// The place is taken.
    #[error("\"{0}\" is not empty; expected a new or empty directory: move away what is there")]
    NotEmpty(PathBuf),
    /// Not a whole backup.
    #[error("there is no whole backup in \"{0}\": it has no manifest.json, which is written last; make it again")]
    NotWhole(PathBuf),
    /// The manifest makes no sense.
    #[error("the manifest of \"{0}\" does not read: {1}")]
    Manifest(PathBuf, String),
    /// A newer program made it.
    #[error("the tables have version {found} and this program knows up to {known}; use the postseal that made it, or a newer one")]
    Newer {
        /// What it has.
        found: i64,
        /// What we know.
        known: i64,
    },
    /// Something in it is not as it was.
    #[error("it is damaged:\n  {}\nuse another backup, or --damaged to restore what is sound; damaged mail is then set aside, not sent", .0.join("\n  "))]
    Damaged(Vec<String>),
    /// Disk trouble.
    #[error("{what} \"{path}\": {why}")]
    Io {
        /// What was done.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// What came of it.
        why: io::Error,
    },
    /// Trouble with the tables.
    #[error("{what}: {why}")]
    Tables {
        /// What was done.
        what: &'static str,
        /// What came of it.
        why: rusqlite::Error,
    },
    /// The spool's directory cannot be used.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// Copies the spool in `spool` to the new or empty directory `target`. Blocks for as long as the copying takes.
///
/// # Errors
/// There is no backup then: nothing that looks like one is left.
pub fn backup(spool: &Path, target: &Path, now: Timestamp) -> Result<Manifest, BackupFault> {
    if !spool.join(DATABASE).is_file() {
        return Err(BackupFault::NoSpool(spool.to_owned()));
    }
    let made = Made::in_directory(target)?;
    let manifest = copy(spool, target, now)?;
    let text = serde_json::to_string_pretty(&manifest).map_err(|error| BackupFault::Manifest(target.to_owned(), error.to_string()))?;
    let partial = target.join("manifest.json.partial");
    write_synced(&partial, text.as_bytes())?;
    fs::rename(&partial, target.join(MANIFEST)).map_err(io_fault("rename", &partial))?;
    sync_directory(target)?;
    made.keep();
    Ok(manifest)
}

/// Looks at every row and body of a spool or a backup. Changes nothing; a spool in use may be looked at, though what comes and goes meanwhile is
/// seen or not.
///
/// # Errors
/// It cannot be read at all. What is damaged is no error, but told in [`Checked::damaged`].
pub fn check(directory: &Path) -> Result<Checked, BackupFault> {
    if !directory.join(DATABASE).is_file() {
        return Err(BackupFault::NoSpool(directory.to_owned()));
    }
    let db = open(&directory.join(DATABASE))?;
    known_version(&db)?;
    let mut checked = look_through(&db, directory)?;
    if directory.join(MANIFEST).exists() {
        let manifest = read_manifest(directory)?;
        checked.damaged.retain(|damage| !manifest.damaged.contains(damage));
        checked.damaged.extend(file_damage(&directory.join(DATABASE), &manifest)?);
    }
    Ok(checked)
}

/// Makes the backup in `backup` the spool in `directory`, which is new or empty, on a file system of `allowed`. All mail that waits in it is
/// held. Gives the number of recipients held so. With `damaged`, a backup of which something is damaged is taken too. Blocks.
///
/// # Errors
/// The directory is as empty as it was.
pub fn restore(backup: &Path, directory: &Path, allowed: FileSystems, damaged: bool, now: Timestamp) -> Result<u64, BackupFault> {
    let checked = match read_manifest(backup) {
        Err(fault) => return Err(fault),
        Ok(_) => check(backup)?,
    };
    if !checked.damaged.is_empty() && !damaged {
        return Err(BackupFault::Damaged(checked.damaged));
    }
    let made = Made::in_directory(directory)?;
    disk::check_file_system(directory, allowed)?;
    let _lock = Lock::take(directory)?;
    let db = open(&backup.join(DATABASE))?;
    for name in body_files(&db)? {
        let from = path_below(backup, &name).map_err(io_fault("read", backup))?;
        match copy_file(&from, &path_below(directory, &name).map_err(io_fault("write", directory))?, Way::Copy) {
            Err(BackupFault::Io { why, .. }) if damaged && why.kind() == io::ErrorKind::NotFound => {}
            copied => copied?,
        }
    }
    drop(db);
    let partial = directory.join("spool.db.restoring");
    copy_file(&backup.join(DATABASE), &partial, Way::Copy)?;
    let held = hold_all(&partial, now)?;
    File::open(&partial).and_then(|file| file.sync_all()).map_err(io_fault("sync", &partial))?;
    sync_tree(directory)?;
    fs::rename(&partial, directory.join(DATABASE)).map_err(io_fault("rename", &partial))?;
    sync_directory(directory)?;
    made.keep();
    Ok(held)
}

/// Whether restored mail is held.
pub(super) fn restored(db: &Connection) -> rusqlite::Result<Option<HeldSince>> {
    let held: i64 = db.prepare_cached("SELECT held FROM spool")?.query_row([], |row| row.get(0))?;
    if held == 0 {
        return Ok(None);
    }
    let recipients: i64 = db.prepare_cached(RESTORED)?.query_row([held], |row| row.get(0))?;
    Ok((recipients > 0).then_some(HeldSince { at: Timestamp::from_unix_millis(held), recipients: u64::try_from(recipients).unwrap_or(0) }))
}

/// Lets a page of restored mail go; gives its recipients. None is the last page.
pub(super) fn release(batch: &mut Batch<'_>, now: Timestamp) -> Refusable<u64> {
    let mut queues = BTreeSet::new();
    let mut released = 0;
    {
        let mut page = batch.db.prepare_cached(
            "UPDATE recipients SET state = 0, held_at = NULL, next_at = ?1, fence = 0 WHERE (message, number) IN
             (SELECT message, number FROM recipients INDEXED BY recipients_aside WHERE state = 4 AND state IN (3, 4)
              AND held_at = (SELECT held FROM spool) LIMIT ?2) RETURNING queue",
        )?;
        let mut rows = page.query(params![now.unix_millis(), RELEASE_ROWS])?;
        while let Some(row) = rows.next()? {
            released += 1;
            queues.insert(row.get::<_, String>(0)?);
        }
    }
    for queue in queues {
        refresh_queue(batch.db, &queue)?;
    }
    if released == 0 {
        batch.db.prepare_cached("UPDATE spool SET held = 0 WHERE held <> 0")?.execute([])?;
    }
    Ok(Ok(released))
}

fn copy(spool: &Path, target: &Path, now: Timestamp) -> Result<Manifest, BackupFault> {
    let source = open(&spool.join(DATABASE))?;
    let schema = known_version(&source)?;
    let mut linked = link_all(spool, target)?;
    let database = target.join(DATABASE);
    source.execute("VACUUM INTO ?1", [database.display().to_string()]).map_err(tables_fault("the tables cannot be copied"))?;
    let db = open(&database)?;
    let named = body_files(&db)?;
    for name in &named {
        if linked.contains(name) || link(spool, target, name)? {
            linked.insert(name.clone());
        } else if !is_named(&source, name)? {
            forget(&db, name)?; // delivered meanwhile
        }
    }
    let named = body_files(&db)?;
    for name in linked.iter().filter(|name| !named.contains(*name)) {
        let path = path_below(target, name).map_err(io_fault("remove", target))?;
        fs::remove_file(&path).map_err(io_fault("remove", &path))?;
    }
    let checked = look_through(&db, target)?;
    // One file, as it will be summed: without a log beside it.
    db.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(())).map_err(tables_fault("the copy cannot be closed"))?;
    db.close().map_err(|(_, why)| BackupFault::Tables { what: "the copy cannot be closed", why })?;
    File::open(&database).and_then(|file| file.sync_all()).map_err(io_fault("sync", &database))?;
    sync_tree(target)?;
    let (database_octets, database_sum) = sum_of(&database)?;
    Ok(Manifest {
        format: FORMAT,
        postseal: env!("CARGO_PKG_VERSION").to_owned(),
        made_at: now.to_rfc3339(),
        schema,
        mails: checked.mails,
        recipients: checked.recipients,
        database_octets,
        database_sum,
        bodies: checked.bodies,
        damaged: checked.damaged,
    })
}

/// Links every body file that is there.
fn link_all(spool: &Path, target: &Path) -> Result<HashSet<String>, BackupFault> {
    let mut linked = HashSet::new();
    for shard in 0..=u8::MAX {
        for name in bodies::names_below(spool, shard).map_err(io_fault("list", spool))? {
            if link(spool, target, &name)? {
                linked.insert(name);
            }
        }
    }
    Ok(linked)
}

/// Whether the file was there.
fn link(spool: &Path, target: &Path, name: &str) -> Result<bool, BackupFault> {
    let (Ok(from), Ok(to)) = (path_below(spool, name), path_below(target, name)) else { return Ok(false) };
    match copy_file(&from, &to, Way::Link) {
        Ok(()) => Ok(true),
        Err(BackupFault::Io { why, .. }) if why.kind() == io::ErrorKind::NotFound && !from.exists() => Ok(false),
        Err(fault) => Err(fault),
    }
}

/// The body files that rows name.
fn body_files(db: &Connection) -> Result<BTreeSet<String>, BackupFault> {
    let read = || -> rusqlite::Result<BTreeSet<String>> {
        db.prepare("SELECT body_file FROM messages WHERE body_file IS NOT NULL")?.query_map([], |row| row.get(0))?.collect()
    };
    read().map_err(tables_fault("the names of bodies do not read"))
}

fn is_named(db: &Connection, name: &str) -> Result<bool, BackupFault> {
    let found = db.query_row("SELECT 1 FROM messages WHERE body_file = ?1", [name], |_| Ok(())).optional();
    Ok(found.map_err(tables_fault("the spool does not read"))?.is_some())
}

/// Takes a mail out of a copy that was delivered while it was made.
fn forget(db: &Connection, name: &str) -> Result<(), BackupFault> {
    let forget = || -> rusqlite::Result<()> {
        db.execute("DELETE FROM recipients WHERE message IN (SELECT id FROM messages WHERE body_file = ?1)", [name])?;
        db.execute("DELETE FROM messages WHERE body_file = ?1", [name])?;
        db.execute(
            "UPDATE spool SET mails = (SELECT count(*) FROM messages WHERE state = 0), recipients = (SELECT count(*) FROM recipients WHERE state IN (0, 4))",
            [],
        )?;
        Ok(())
    };
    forget().map_err(tables_fault("the copy cannot be put right"))
}

/// Holds all that waits, in tables that nobody uses yet.
fn hold_all(database: &Path, now: Timestamp) -> Result<u64, BackupFault> {
    let mut db = open(database)?;
    let mut hold = || -> rusqlite::Result<usize> {
        let tx = db.transaction()?;
        let version: i64 = tx.query_row("SELECT version FROM spool", [], |row| row.get(0))?;
        for (step, version) in schema::STEPS.iter().zip(1..).filter(|(_, number)| *number > version) {
            tx.execute_batch(step)?;
            tx.execute("UPDATE spool SET version = ?1", [version])?;
        }
        // Whoever had a lease is long gone, and may have delivered: an attempt of unknown end.
        tx.execute("UPDATE recipients SET attempts = attempts + 1, unknown_ends = unknown_ends + 1, fence = 0 WHERE state = 0 AND fence <> 0", [])?;
        let held = tx.execute("UPDATE recipients SET state = 4, held_at = ?1 WHERE state = 0", [now.unix_millis()])?;
        tx.execute("DELETE FROM queues", [])?;
        tx.execute("UPDATE spool SET held = ?1", [now.unix_millis()])?;
        tx.commit()?;
        Ok(held)
    };
    let recipients = hold().map_err(tables_fault("the mail cannot be held"))?;
    db.close().map_err(|(_, why)| BackupFault::Tables { what: "the tables cannot be closed", why })?;
    Ok(recipients as u64)
}

/// Every row and body, held against its checksum.
fn look_through(db: &Connection, directory: &Path) -> Result<Checked, BackupFault> {
    let mut checked = Checked::default();
    let structure: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(tables_fault("the tables cannot be looked through"))?;
    if structure != "ok" {
        checked.damaged.push(format!("the tables: {structure}"));
    }
    let mut look = || -> rusqlite::Result<()> {
        let mut after = i64::MIN;
        while let Some((id, state)) = next_message(db, after)? {
            after = id;
            if state == queries::QUARANTINED {
                checked.quarantined += 1;
                continue;
            }
            checked.mails += 1;
            let name = row::mail_id(id).map_or_else(|_| id.to_string(), |id| id.to_string());
            if let Some(why) = mail_damage(db, id, directory, &mut checked)? {
                checked.damaged.push(format!("mail {name}: {why}"));
            }
        }
        Ok(())
    };
    look().map_err(tables_fault("the tables do not read"))?;
    Ok(checked)
}

fn next_message(db: &Connection, after: i64) -> rusqlite::Result<Option<(i64, i64)>> {
    db.prepare_cached("SELECT id, state FROM messages WHERE id > ?1 ORDER BY id LIMIT 1")?.query_row([after], |row| Ok((row.get(0)?, row.get(1)?))).optional()
}

/// In words, what does not fit in one message; the sums over its parts go to `checked`.
fn mail_damage(db: &Connection, id: i64, directory: &Path, checked: &mut Checked) -> rusqlite::Result<Option<String>> {
    let facts = match read_message(db, id)? {
        Some(Ok(facts)) => facts,
        Some(Err(why)) => return Ok(Some(why)),
        None => return Ok(None), // settled since its number was read
    };
    let mut statement =
        db.prepare_cached("SELECT sum, message, number, mailbox, notify, orcpt_type, orcpt, reverse_path, state, route FROM recipients WHERE message = ?1")?;
    let mut rows = statement.query([id])?;
    while let Some(row) = rows.next()? {
        let read = || -> rusqlite::Result<(i64, RecipientRow, i64)> {
            let who = RecipientRow {
                message: row.get(1)?,
                number: row.get(2)?,
                mailbox: row.get(3)?,
                notify: row.get(4)?,
                orcpt_type: row.get(5)?,
                orcpt: row.get(6)?,
                reverse_path: row.get(7)?,
                route: row.get(9)?,
            };
            Ok((row.get(0)?, who, row.get(8)?))
        };
        match read() {
            Ok((sum, who, state)) if who.sum() == sum => checked.recipients += u64::from(matches!(state, queries::WAITING | queries::HELD_BY_PERSON)),
            Ok((_, who, _)) => return Ok(Some(format!("recipient {} does not fit its checksum", who.number))),
            Err(why) => return Ok(Some(format!("a recipient does not read: {why}"))),
        }
    }
    let octets = match &facts.body_file {
        Some(name) => {
            checked.bodies += 1;
            let expected = u64::try_from(facts.body_octets).unwrap_or(0);
            match bodies::read_below(directory, name, expected) {
                Ok(octets) => octets,
                Err(why) => return Ok(Some(format!("its body's file \"{name}\": {why}"))),
            }
        }
        None => {
            let found: Option<Vec<u8>> = db.prepare_cached("SELECT octets FROM bodies WHERE message = ?1")?.query_row([id], |row| row.get(0)).optional()?;
            match found {
                Some(octets) => octets,
                None => return Ok(Some("its body is missing".to_owned())),
            }
        }
    };
    Ok(check_body(&facts, octets).err())
}

/// A connection to tables that may be in use: it reads, and leaves the log to whoever owns it.
fn open(database: &Path) -> Result<Connection, BackupFault> {
    let connect = || -> rusqlite::Result<Connection> {
        let db = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        db.busy_timeout(BUSY_WAIT)?;
        db.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        db.pragma_update(None, "trusted_schema", "OFF")?;
        Ok(db)
    };
    connect().map_err(tables_fault("the tables cannot be opened"))
}

fn known_version(db: &Connection) -> Result<i64, BackupFault> {
    let found = db.query_row("SELECT version FROM spool", [], |row| row.get(0)).map_err(tables_fault("these are no tables of a spool"))?;
    if found > schema::VERSION { Err(BackupFault::Newer { found, known: schema::VERSION }) } else { Ok(found) }
}

fn read_manifest(directory: &Path) -> Result<Manifest, BackupFault> {
    let path = directory.join(MANIFEST);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Err(BackupFault::NotWhole(directory.to_owned())),
        Err(why) => return Err(io_fault("read", &path)(why)),
    };
    let manifest: Manifest = serde_json::from_str(&text).map_err(|error| BackupFault::Manifest(directory.to_owned(), error.to_string()))?;
    if manifest.format != FORMAT {
        return Err(BackupFault::Manifest(directory.to_owned(), format!("its format is {}, and this program knows {FORMAT}", manifest.format)));
    }
    Ok(manifest)
}

fn file_damage(database: &Path, manifest: &Manifest) -> Result<Option<String>, BackupFault> {
    let (octets, sum) = sum_of(database)?;
    let is_sound = (octets, sum) == (manifest.database_octets, manifest.database_sum);
    Ok((!is_sound)
        .then(|| format!("spool.db: {octets} octets with checksum {sum:08x}, and not {} with {:08x}", manifest.database_octets, manifest.database_sum)))
}

fn sum_of(path: &Path) -> Result<(u64, u32), BackupFault> {
    let mut file = File::open(path).map_err(io_fault("read", path))?;
    let (mut octets, mut sum, mut piece) = (0, 0, vec![0; PIECE_OCTETS]);
    loop {
        match file.read(&mut piece).map_err(io_fault("read", path))? {
            0 => return Ok((octets, sum)),
            count => (octets, sum) = (octets + count as u64, crc32c::crc32c_append(sum, &piece[..count])),
        }
    }
}

/// How a file comes to its new place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// As another name of the same file, where that can be: nobody changes it.
    Link,
    Copy,
}

fn copy_file(from: &Path, to: &Path, way: Way) -> Result<(), BackupFault> {
    if let Some(parent) = to.parent() {
        make_directory(parent).map_err(io_fault("make", parent))?;
    }
    if way == Way::Link && fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    fs::copy(from, to).and_then(|_| File::open(to)?.sync_all()).map_err(io_fault("copy", from))
}

fn write_synced(path: &Path, octets: &[u8]) -> Result<(), BackupFault> {
    let write = || -> io::Result<()> {
        let mut file = File::create_new(path)?;
        io::Write::write_all(&mut file, octets)?;
        file.sync_all()
    };
    write().map_err(io_fault("write", path))
}

/// The directories of bodies, so that the names in them last.
fn sync_tree(directory: &Path) -> Result<(), BackupFault> {
    let bodies = directory.join("bodies");
    if bodies.is_dir() {
        for shard in fs::read_dir(&bodies).map_err(io_fault("list", &bodies))? {
            sync_directory(&shard.map_err(io_fault("list", &bodies))?.path())?;
        }
        sync_directory(&bodies)?;
    }
    sync_directory(directory)
}

fn sync_directory(directory: &Path) -> Result<(), BackupFault> {
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(io_fault("sync", directory))
}

/// What was put into a directory that was empty: taken out again when dropped, unless kept.
struct Made {
    directory: PathBuf,
    was_there: bool,
    kept: bool,
}

impl Made {
    fn in_directory(directory: &Path) -> Result<Self, BackupFault> {
        let was_there = directory.exists();
        if was_there {
            let mut entries = fs::read_dir(directory).map_err(io_fault("list", directory))?;
            if entries.any(|entry| entry.is_ok_and(|entry| !MAY_BE_THERE.iter().any(|name| entry.file_name() == *name))) {
                return Err(BackupFault::NotEmpty(directory.to_owned()));
            }
        }
        make_directory(directory).map_err(io_fault("make", directory))?;
        Ok(Self { directory: directory.to_owned(), was_there, kept: false })
    }

    fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        // Without a manifest, or a file of tables, what cannot be removed is taken for nothing whole.
        if !self.was_there {
            let _ = fs::remove_dir_all(&self.directory);
            return;
        }
        let ours = fs::read_dir(&self.directory).into_iter().flatten().flatten().filter(|entry| entry.file_name() != "lost+found");
        for entry in ours {
            let _ = if entry.path().is_dir() { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) };
        }
    }
}

fn io_fault(what: &'static str, path: &Path) -> impl Fn(io::Error) -> BackupFault {
    move |why| BackupFault::Io { what, path: path.to_owned(), why }
}

fn tables_fault(what: &'static str) -> impl Fn(rusqlite::Error) -> BackupFault {
    move |why| BackupFault::Tables { what, why }
}

const MANIFEST: &str = "manifest.json";
const FORMAT: u32 = 1;
/// What a fresh volume has, and what a relay that ended leaves of itself.
const MAY_BE_THERE: [&str; 2] = ["lost+found", "lock"];
const PIECE_OCTETS: usize = 1 << 20;
/// Recipients let go in one transaction.
const RELEASE_ROWS: i64 = 2000;
const RESTORED: &str = "SELECT count(*) FROM recipients INDEXED BY recipients_aside WHERE state = 4 AND state IN (3, 4) AND held_at = ?1";
/// The writer holds the tables for milliseconds.
const BUSY_WAIT: Duration = Duration::from_secs(10);
