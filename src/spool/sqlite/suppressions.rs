//! The suppression list: its statements, and a sieve in memory that spares all others the look at the table.
//!
//! The sieve holds a keyed 64-bit hash of every entry's key, eight octets and a little each: who is not in it is not on the list, and only who
//! is in it is looked up. It is filled page by page beside the writer after the spool is opened; until that is done, everybody is looked up.
//! It may hold too many, which costs a read, and never too few: the writer adds a hash before it commits the row, and
//! takes one away after it.

use super::queries::SWEEP_ROWS;
use super::writer::{Batch, Refusable};
use crate::mail::suppression::{Scope, Suppression, Why};
use crate::mail::{Domain, Mailbox, Stream, Timestamp};
use crate::spool::SpoolError;
use crate::spool::row::SuppressionRow;
use crate::spool::suppressions::{Damaged, Fate, Key, Listed, Selection, Taken};
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::collections::HashSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

/// Who may be on the list.
#[derive(Debug, Default)]
pub(super) struct Sieve {
    /// Secret and of this process: nobody can choose addresses that fall together.
    keyed: RandomState,
    hashes: RwLock<HashSet<u64, AsIs>>,
    is_filled: AtomicBool,
    entries_max: u64,
    /// Entries found damaged since the start.
    damaged: AtomicU64,
    /// That there is no room was told, and there was none since.
    is_full: AtomicBool,
}

impl Sieve {
    pub fn with_room_for(entries_max: u64) -> Self {
        Self { entries_max, ..Self::default() }
    }

    pub const fn entries_max(&self) -> u64 {
        self.entries_max
    }

    /// Whether the table has to be asked.
    pub fn may_hold(&self, scope: &str, recipient: &str) -> bool {
        !self.is_filled.load(Ordering::Acquire) || self.read().contains(&self.hash(scope, recipient))
    }

    fn add(&self, scope: &str, recipient: &str) {
        let hash = self.hash(scope, recipient);
        self.write().insert(hash);
    }

    /// For after the commit: a batch may still be undone, and with it what it took off the list.
    ///
    /// Two keys of one hash among a million are a chance of one in ten millions; then the other is written to until the next start.
    pub fn forget(&self, lifted: &HashSet<Key>) {
        if lifted.is_empty() {
            return;
        }
        // While it is being filled, a page read earlier may bring it back: one look-up in vain.
        let mut hashes = self.write();
        for key in lifted {
            hashes.remove(&self.hash(&key.scope, &key.recipient));
        }
    }

    /// Reads one page of keys behind `after` into it. Gives where the next begins; `None`: it is filled.
    pub fn fill(&self, db: &Connection, after: Option<&Key>) -> rusqlite::Result<Option<Key>> {
        let mut statement =
            db.prepare_cached("SELECT scope, recipient FROM suppressions WHERE (scope, recipient) > (?1, ?2) ORDER BY scope, recipient LIMIT ?3")?;
        let (scope, recipient) = after.map_or(("", ""), |key| (key.scope.as_str(), key.recipient.as_str()));
        let mut rows = statement.query(params![scope, recipient, FILL_ROWS])?;
        let (mut seen, mut last, mut hashes) = (0, None, Vec::new());
        while let Some(row) = rows.next()? {
            let (scope, recipient) = (text(row, 0), text(row, 1));
            hashes.push(self.hash(&scope, &recipient));
            seen += 1;
            last = Some(Key { scope, recipient });
        }
        self.write().extend(hashes);
        let next = last.filter(|_| seen == FILL_ROWS);
        if next.is_none() {
            self.is_filled.store(true, Ordering::Release);
        }
        Ok(next)
    }

    fn hash(&self, scope: &str, recipient: &str) -> u64 {
        let mut hasher = self.keyed.build_hasher();
        hasher.write(scope.as_bytes());
        hasher.write_u8(b'\n');
        hasher.write(recipient.as_bytes());
        hasher.finish()
    }

    /// An entry that is not believed, told once each time it is met.
    fn note_damage(&self, key: &Key, why: &str) {
        self.damaged.fetch_add(1, Ordering::Relaxed);
        tracing::error!(scope = key.scope, recipient = key.recipient, error = why, "suppression.damaged");
    }

    /// There is no room for an entry: told once until there is room again.
    fn note_full(&self, scope: &str) {
        if !self.is_full.swap(true, Ordering::Relaxed) {
            tracing::warn!(scope, entries_max = self.entries_max, "suppression.overflowed");
        }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, HashSet<u64, AsIs>> {
        self.hashes.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, HashSet<u64, AsIs>> {
        self.hashes.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is a hash already is not hashed again.
#[derive(Debug, Clone, Copy, Default)]
struct AsIs;

#[derive(Debug, Default)]
struct AsIsHasher(u64);

impl BuildHasher for AsIs {
    type Hasher = AsIsHasher;
    fn build_hasher(&self) -> AsIsHasher {
        AsIsHasher::default()
    }
}

impl Hasher for AsIsHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {}
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// Puts one entry on the list, inside whatever else the transaction does.
pub(super) fn insert(batch: &mut Batch<'_>, entry: &Suppression) -> rusqlite::Result<Fate> {
    let new = SuppressionRow::of(entry);
    let known = batch.db.prepare_cached(ONE)?.query_row([&new.scope, &new.recipient], |row| Ok(read(row))).optional()?;
    let (row, fate) = match known {
        None if batch.totals.suppressions.unsigned_abs() >= batch.sieve.entries_max() => {
            batch.sieve.note_full(&new.scope);
            return Ok(Fate::NoRoom);
        }
        None => (new, Fate::Added),
        // What is damaged is written again.
        Some(Err(damaged)) => {
            batch.sieve.note_damage(&damaged.key, &damaged.why);
            (new, Fate::Renewed)
        }
        Some(Ok(old)) if !old.counts_at(entry.since) => (new, Fate::Renewed),
        Some(Ok(old)) if old == *entry || is_weaker(entry.why, old.why) => return Ok(Fate::Kept),
        Some(Ok(old)) => {
            let expires_at = old.expires_at.zip(entry.expires_at).map(|(old, new)| old.max(new).unix_millis());
            (SuppressionRow { expires_at, ..new }, Fate::Renewed)
        }
    };
    batch.sieve.add(&row.scope, &row.recipient);
    batch.lifted.remove(&Key { scope: row.scope.clone(), recipient: row.recipient.clone() });
    batch
        .db
        .prepare_cached(
            "INSERT OR REPLACE INTO suppressions (scope, recipient, reason, since, expires_at, message, detail, sum) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![row.scope, row.recipient, row.reason, row.since, row.expires_at, row.message, row.detail, row.sum()])?;
    batch.totals.suppressions += i64::from(fate == Fate::Added);
    batch.sieve.is_full.store(false, Ordering::Relaxed);
    Ok(fate)
}

/// A failure says less than a complaint or a person.
const fn is_weaker(new: Why, old: Why) -> bool {
    matches!((new, old), (Why::Failed(_), Why::Complaint | Why::Manual) | (Why::Complaint, Why::Manual))
}

/// Puts a page of entries on the list.
pub(super) fn insert_all(batch: &mut Batch<'_>, entries: &[Suppression]) -> Refusable<Taken> {
    // Counted first: a refusal comes before the first write.
    let mut new = HashSet::new();
    let mut there = batch.db.prepare_cached("SELECT 1 FROM suppressions WHERE scope = ?1 AND recipient = ?2")?;
    for key in entries.iter().map(Key::of_entry) {
        if !there.exists([&key.scope, &key.recipient])? {
            new.insert(key);
        }
    }
    drop(there);
    if batch.totals.suppressions.unsigned_abs() + new.len() as u64 > batch.sieve.entries_max() {
        return Ok(Err(SpoolError::SuppressionsFull(batch.sieve.entries_max())));
    }
    let mut taken = Taken::default();
    for entry in entries {
        match insert(batch, entry)? {
            Fate::Added => taken.added += 1,
            Fate::Renewed => taken.renewed += 1,
            Fate::Kept | Fate::NoRoom => taken.kept += 1,
        }
    }
    Ok(Ok(taken))
}

/// Takes entries off the list.
pub(super) fn lift(batch: &mut Batch<'_>, keys: &[Key]) -> Refusable<Vec<Key>> {
    let mut lifted = Vec::new();
    for key in keys {
        if batch.db.prepare_cached("DELETE FROM suppressions WHERE scope = ?1 AND recipient = ?2")?.execute([&key.scope, &key.recipient])? > 0 {
            batch.lifted.insert(key.clone());
            batch.totals.suppressions -= 1;
            lifted.push(key.clone());
        }
    }
    Ok(Ok(lifted))
}

/// The entries that count for these recipients. Damaged ones are reported.
pub(super) fn suppressed(
    db: &Connection,
    sieve: &Sieve,
    author_domain: &Domain,
    stream: &Stream,
    recipients: &[Mailbox],
    now: Timestamp,
) -> rusqlite::Result<Vec<(Mailbox, Suppression)>> {
    let scopes = scopes(author_domain, stream);
    let mut statement = db.prepare_cached(ONE)?;
    let mut found = Vec::new();
    for recipient in recipients {
        let key = recipient.folded().to_string();
        for scope in &scopes {
            match statement.query_row([scope, &key], |row| Ok(read(row))).optional()? {
                Some(Ok(entry)) if entry.counts_at(now) => {
                    found.push((recipient.clone(), entry));
                    break;
                }
                Some(Err(damaged)) => sieve.note_damage(&damaged.key, &damaged.why),
                Some(Ok(_)) | None => {}
            }
        }
    }
    Ok(found)
}

/// Those of the recipients that the table has to be asked about.
pub(super) fn sifted(sieve: &Sieve, author_domain: &Domain, stream: &Stream, recipients: Vec<Mailbox>) -> Vec<Mailbox> {
    let scopes = scopes(author_domain, stream);
    let may_be = |recipient: &Mailbox| {
        let key = recipient.folded().to_string();
        scopes.iter().any(|scope| sieve.may_hold(scope, &key))
    };
    recipients.into_iter().filter(may_be).collect()
}

/// The scopes that take in mail of this author domain and stream, as they print.
fn scopes(author_domain: &Domain, stream: &Stream) -> [String; 2] {
    let whole = Scope::domain(author_domain.clone());
    let part = Scope { stream: Some(stream.clone()), ..whole.clone() };
    [whole.to_string(), part.to_string()]
}

/// A page of the list.
pub(super) fn page(db: &Connection, selection: &Selection, after: Option<&Key>, entries_max: NonZeroUsize, now: Timestamp) -> rusqlite::Result<Listed> {
    let (scope, recipient) = after.map_or(("", ""), |key| (key.scope.as_str(), key.recipient.as_str()));
    // One address by its index; one author domain as a range of scopes, in which others may lie ("example.com-x"); else from the front.
    let (from, to) = selection.author_domain.as_ref().map_or((String::new(), None), |domain| (domain.to_string(), Some(format!("{domain}0"))));
    let sql = match (&selection.recipient, &to) {
        (Some(_), _) => format!(
            "{COLUMNS} INDEXED BY suppressions_by_recipient WHERE recipient = ?3 AND (scope, recipient) > (?1, ?2) AND ?4 IS NOT NULL AND (?5 IS NULL OR ?5 IS NOT NULL) ORDER BY scope, recipient LIMIT ?6"
        ),
        (None, _) => format!(
            "{COLUMNS} WHERE (scope, recipient) > (?1, ?2) AND scope >= ?4 AND (?5 IS NULL OR scope < ?5) AND ?3 IS NULL ORDER BY scope, recipient LIMIT ?6"
        ),
    };
    let wanted = selection.recipient.as_ref().map(|recipient| recipient.folded().to_string());
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query(params![scope, recipient, wanted, from, to, SCAN_ROWS + 1])?;
    let mut listed = Listed::default();
    let (mut looked_at, mut last) = (0, None);
    while let Some(row) = rows.next()? {
        if looked_at == SCAN_ROWS || listed.entries.len() + listed.damaged.len() == entries_max.get() {
            listed.next = last;
            return Ok(listed);
        }
        looked_at += 1;
        last = Some(Key { scope: text(row, 0), recipient: text(row, 1) });
        match read(row) {
            Ok(entry) if entry.counts_at(now) && selection.takes(&entry) => listed.entries.push(entry),
            Ok(_) => {}
            Err(damaged) => listed.damaged.push(damaged),
        }
    }
    Ok(listed)
}

/// One page of forgetting: how many entries ended before `now`. What is damaged goes too, once what reads as its end is over: it counted
/// for nothing.
pub(super) fn sweep(batch: &mut Batch<'_>, now: Timestamp) -> rusqlite::Result<u64> {
    let ended: Vec<Key> = batch
        .db
        .prepare_cached("SELECT scope, recipient FROM suppressions WHERE expires_at <= ?1 LIMIT ?2")?
        .query_map(params![now.unix_millis(), SWEEP_ROWS], |row| Ok(Key { scope: text(row, 0), recipient: text(row, 1) }))?
        .collect::<rusqlite::Result<_>>()?;
    let lifted = lift(batch, &ended)?.unwrap_or_default();
    Ok(lifted.len() as u64)
}

/// A row, checked.
fn read(row: &Row<'_>) -> Result<Suppression, Damaged> {
    let key = || Key { scope: text(row, 0), recipient: text(row, 1) };
    let read = || -> rusqlite::Result<(SuppressionRow, i64)> {
        let facts = SuppressionRow {
            scope: row.get(0)?,
            recipient: row.get(1)?,
            reason: row.get(2)?,
            since: row.get(3)?,
            expires_at: row.get(4)?,
            message: row.get(5)?,
            detail: row.get(6)?,
        };
        Ok((facts, row.get(7)?))
    };
    match read() {
        Ok((facts, sum)) if facts.sum() == sum => facts.suppression().map_err(|why| Damaged { key: key(), why }),
        Ok(_) => Err(Damaged { key: key(), why: "it does not fit its checksum".to_owned() }),
        Err(fault) => Err(Damaged { key: key(), why: format!("it does not read: {fault}") }),
    }
}

fn text(row: &Row<'_>, column: usize) -> String {
    row.get_ref(column).ok().and_then(|value| value.as_bytes().ok()).map(|octets| String::from_utf8_lossy(octets).into_owned()).unwrap_or_default()
}

const COLUMNS: &str = "SELECT scope, recipient, reason, since, expires_at, message, detail, sum FROM suppressions";
const ONE: &str = "SELECT scope, recipient, reason, since, expires_at, message, detail, sum FROM suppressions WHERE scope = ?1 AND recipient = ?2";
/// Rows that a page of the list looks at: some milliseconds.
const SCAN_ROWS: i64 = 5000;
/// Rows of a page while the sieve is filled.
const FILL_ROWS: i64 = 20_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::sqlite::journal::Span;
    use crate::spool::sqlite::writer::Totals;
    use crate::spool::standing::StandingClaims;
    use std::collections::BTreeSet;

    /// Work inside a batch is undone where the disk has no room for another's: until the commit everybody on the list is looked up.
    #[test]
    fn whoever_is_taken_off_the_list_stays_in_the_sieve_until_the_commit() {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch("CREATE TABLE suppressions (scope, recipient, reason, since, expires_at, message, detail, sum, PRIMARY KEY (scope, recipient))")
            .unwrap();
        let sieve = Sieve::with_room_for(10);
        assert!(sieve.fill(&db, None).unwrap().is_none());
        let mut batch = Batch {
            db: &db,
            totals: Totals::default(),
            fence: 0,
            journal: Span { first: 1, last: 0, events_max: 0 },
            sieve: &sieve,
            lifted: HashSet::new(),
            stirred: BTreeSet::new(),
            standing: &StandingClaims::default(),
            granted: Vec::new(),
            fresh: Vec::new(),
            freed: Vec::new(),
            reindexed: false,
        };
        let entry = |recipient: &str| Suppression {
            scope: Scope::domain("example.com".parse().unwrap()),
            recipient: recipient.parse().unwrap(),
            why: Why::Manual,
            since: Timestamp::EPOCH,
            expires_at: None,
            message: None,
            detail: String::new(),
        };
        let holds = |recipient: &str| sieve.may_hold("example.com", recipient);
        let keys = ["a@x.example", "b@x.example"].map(|recipient| Key::of_entry(&entry(recipient)));
        for recipient in ["a@x.example", "b@x.example"] {
            insert(&mut batch, &entry(recipient)).unwrap();
        }
        assert_eq!(lift(&mut batch, &keys).unwrap().unwrap().len(), 2);
        assert!(holds("a@x.example") && holds("b@x.example") && !holds("c@x.example"), "the batch may still be undone");
        insert(&mut batch, &entry("b@x.example")).unwrap();
        sieve.forget(&batch.lifted);
        assert!(!holds("a@x.example") && holds("b@x.example"), "on the list again is in the sieve");
    }
}
