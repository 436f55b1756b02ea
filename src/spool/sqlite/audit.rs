//! Looks for mail that damage has hidden: claims check what they find, but nobody claims what the schedule no longer names.
//!
//! | hidden by a flipped bit in | noticed as | mended by |
//! |---|---|---|
//! | a row of `queues`, or its loss | a waiting recipient whose queue is due later than it, or never | the queue's row, made again |
//! | the name in a row of `queues` | it does not read | the rows that do, written anew |
//! | the index of due recipients, or a recipient's queue or `next_at` | row and index differ | the index, made again; the recipient is due now |
//! | a recipient's state, or the loss of its row | fewer recipients wait than their message counts | quarantine |
//!
//! Reads page by page beside the writer; what looks wrong is looked at again by the writer before it is touched.

use super::queries::{HELD_BY_PERSON, quarantine, refresh_queue};
use super::readers::queue_in;
use super::writer::{Batch, Refusable};
use crate::mail::Timestamp;
use crate::spool::{Quarantined, row};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::{BTreeSet, HashMap};

/// What one page of messages looks like.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Where the next page begins; `None` after the last.
    pub next: Option<i64>,
    /// Queues that should be due sooner.
    late: BTreeSet<String>,
    /// Recipients that the index does not have as they are.
    strayed: Vec<(i64, i64)>,
    /// Messages that count more or fewer recipients than wait, or have one in a queue that does not read.
    miscounted: Vec<i64>,
    /// The schedule has a row whose name does not read.
    unreadable: bool,
}

/// The queues of one page as the schedule has them, each looked up once.
#[derive(Debug, Default)]
struct Schedule(HashMap<String, Option<(i64, i64)>>);

/// What was mended.
#[derive(Debug, Default)]
pub(super) struct Mended {
    pub rescheduled: u64,
    pub quarantined: Vec<Quarantined>,
}

impl Findings {
    pub fn is_clean(&self) -> bool {
        self.late.is_empty() && self.strayed.is_empty() && self.miscounted.is_empty() && !self.unreadable
    }
}

/// Looks at the messages after `after`.
pub(super) fn page(db: &Connection, after: i64) -> rusqlite::Result<Findings> {
    let snapshot = db.unchecked_transaction()?;
    let mut found = Findings::default();
    let mut schedule = Schedule::default();
    let mut looked_at = 0;
    let mut messages = snapshot.prepare_cached("SELECT id FROM messages WHERE id > ?1 AND state = 0 ORDER BY id")?;
    let mut ids = messages.query([after])?;
    while let Some(row) = ids.next()? {
        let id = row.get(0)?;
        looked_at += look_at(&snapshot, id, &mut schedule, &mut found)?;
        if looked_at >= PAGE_RECIPIENTS {
            found.next = Some(id);
            return Ok(found);
        }
    }
    let mut names = snapshot.prepare_cached("SELECT queue FROM queues NOT INDEXED")?;
    let mut names = names.query([])?;
    while let Some(row) = names.next()? {
        found.unreadable |= queue_in(row)?.is_none();
    }
    drop(names);
    Ok(found)
}

/// Looks at the waiting recipients of one message. Gives their number, at least 1.
fn look_at(db: &Connection, id: i64, schedule: &mut Schedule, found: &mut Findings) -> rusqlite::Result<usize> {
    let mut waiting = 0;
    let mut statement = db.prepare_cached(
        "SELECT number, CAST(queue AS TEXT), CAST(next_at AS INTEGER), state FROM recipients
         WHERE message = ?1 AND (state = 0 OR state = 4 AND held_at IS NOT NULL)",
    )?;
    let mut rows = statement.query([id])?;
    while let Some(row) = rows.next()? {
        waiting += 1;
        if row.get::<_, i64>(3)? == HELD_BY_PERSON {
            continue; // in no schedule
        }
        let (number, next_at) = (row.get(0)?, row.get(2)?);
        let Ok(queue) = std::str::from_utf8(row.get_ref(1)?.as_bytes().unwrap_or(b"\xff")) else {
            // In no queue that could be asked for. The index has it as it was, and is made again before the row is touched.
            found.strayed.push((id, number));
            found.miscounted.push(id);
            continue;
        };
        if !is_indexed(db, id, number, queue, next_at)? {
            found.strayed.push((id, number));
        }
        if !schedule.comes_to(db, queue, next_at)? {
            found.late.insert(queue.to_owned());
        }
    }
    if counted(db, id)? != Some(waiting) {
        found.miscounted.push(id);
    }
    Ok(usize::try_from(waiting).unwrap_or(0).max(1))
}

fn is_indexed(db: &Connection, message: i64, number: i64, queue: &str, next_at: i64) -> rusqlite::Result<bool> {
    db.prepare_cached("SELECT 1 FROM recipients INDEXED BY recipients_by_due WHERE queue = ?1 AND next_at = ?2 AND message = ?3 AND number = ?4 AND state = 0")?
        .exists(params![queue, next_at, message, number])
}

impl Schedule {
    /// Whether the schedule comes to this queue in time for a recipient who is due at `next_at`.
    fn comes_to(&mut self, db: &Connection, queue: &str, next_at: i64) -> rusqlite::Result<bool> {
        if !self.0.contains_key(queue) {
            self.0.insert(queue.to_owned(), scheduled_at(db, queue)?);
        }
        Ok(self.0.get(queue).copied().flatten().is_some_and(|(scheduled_at, parked_until)| scheduled_at <= next_at.max(parked_until)))
    }
}

/// When a queue is due and until when it is parked, if its row and the index that is asked for due queues agree.
fn scheduled_at(db: &Connection, queue: &str) -> rusqlite::Result<Option<(i64, i64)>> {
    let row: Option<(Option<i64>, i64)> = db
        .prepare_cached("SELECT CAST(next_at AS INTEGER), CAST(parked_until AS INTEGER) FROM queues NOT INDEXED WHERE queue = ?1")?
        .query_row([queue], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((Some(next_at), parked_until)) = row else { return Ok(None) };
    let is_indexed = db
        .prepare_cached("SELECT 1 FROM queues INDEXED BY queues_by_due WHERE next_at = ?1 AND queue = ?2 AND next_at IS NOT NULL")?
        .exists(params![next_at, queue])?;
    Ok(is_indexed.then_some((next_at, parked_until)))
}

/// How many recipients wait as their message has it.
fn counted(db: &Connection, id: i64) -> rusqlite::Result<Option<i64>> {
    db.prepare_cached("SELECT waiting FROM messages WHERE id = ?1 AND state = 0")?.query_row([id], |row| row.get(0)).optional()
}

/// The writer's part: mends what is still as it was found.
pub(super) fn mend(batch: &mut Batch<'_>, found: &Findings, now: Timestamp) -> Refusable<Mended> {
    let mut mended = Mended::default();
    let mut again = Findings::default();
    let mut schedule = Schedule::default();
    let suspects: BTreeSet<i64> = found.strayed.iter().map(|(id, _)| *id).chain(found.miscounted.iter().copied()).collect();
    for id in suspects {
        if counted(batch.db, id)?.is_some() {
            look_at(batch.db, id, &mut schedule, &mut again)?;
        }
    }
    if !again.strayed.is_empty() {
        tracing::error!(recipients = again.strayed.len(), "index.mended");
        reindex(batch, "recipients_by_due")?;
    }
    for (message, number) in &again.strayed {
        mended.rescheduled += 1;
        batch.db.prepare_cached("UPDATE recipients SET next_at = ?3 WHERE message = ?1 AND number = ?2")?.execute(params![
            message,
            number,
            now.unix_millis()
        ])?;
    }
    for id in &again.miscounted {
        let why = "its recipients are not as many as it counts, or do not read";
        quarantine(batch, *id, why)?;
        mended.quarantined.extend(row::mail_id(*id).map(|id| Quarantined { id, why: why.to_owned() }));
    }
    if found.unreadable {
        tracing::error!("schedule.mended");
        remove_unreadable(batch)?;
    }
    if !(found.late.is_empty() && again.late.is_empty()) {
        tracing::error!(queues = found.late.len(), "schedule.mended");
        reindex(batch, "queues_by_due")?;
    }
    for queue in found.late.union(&again.late) {
        mended.rescheduled += 1;
        refresh_queue(batch.db, queue)?;
    }
    Ok(Ok(mended))
}

/// Rows of the schedule whose name is damaged go: no recipient stands in such a queue, and nothing else would ever find them. Such a row may
/// stand where no search looks, so the others are written anew.
fn remove_unreadable(batch: &Batch<'_>) -> rusqlite::Result<()> {
    let mut statement = batch.db.prepare_cached("SELECT queue, next_at, parked_until FROM queues NOT INDEXED")?;
    let rows = statement.query_map([], |row| Ok((queue_in(row)?, row.get::<_, Option<i64>>(1)?, row.get::<_, i64>(2)?)))?;
    let rows: Vec<_> = rows.collect::<rusqlite::Result<_>>()?;
    if rows.iter().all(|(queue, ..)| queue.is_some()) {
        return Ok(());
    }
    batch.db.execute("DELETE FROM queues", [])?;
    let mut statement = batch.db.prepare_cached("INSERT OR REPLACE INTO queues (queue, next_at, parked_until) VALUES (?1, ?2, ?3)")?;
    let readable = rows.into_iter().filter_map(|(queue, next_at, parked_until)| Some((queue?, next_at, parked_until)));
    readable.into_iter().try_for_each(|(queue, next_at, parked_until)| statement.execute(params![queue.as_str(), next_at, parked_until]).map(drop))
}

fn reindex(batch: &mut Batch<'_>, index: &str) -> rusqlite::Result<()> {
    batch.reindexed = true;
    batch.db.execute_batch(&format!("REINDEX {index}"))
}

/// A page ends with the message that reaches so many recipients: no reader holds the log for long.
const PAGE_RECIPIENTS: usize = 2000;
