//! Short reads beside the writer, on connections of their own. Every one is bounded by a page, so that none keeps the log from being truncated.

use super::queries;
use super::recovery::{self, Access};
use super::writer::lock;
use crate::mail::{Domain, IdentityName, KeyId, MailId, Mailbox, Stream, Timestamp};
use crate::spool::row::{self, MailRow, Told};
use crate::spool::{Due, History, Queue, QueueState, RecipientHistory, SoFar, SpoolError};
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tokio::sync::Semaphore;

/// A few connections, each used by one read at a time.
#[derive(Debug)]
pub(super) struct Readers {
    idle: Arc<Mutex<Vec<Connection>>>,
    free: Arc<Semaphore>,
    count: u32,
}

impl Readers {
    pub fn open(database: &Path, count: usize) -> rusqlite::Result<Self> {
        let idle: Vec<Connection> = (0..count).map(|_| recovery::connect(database, Access::Read)).collect::<rusqlite::Result<_>>()?;
        Ok(Self { idle: Arc::new(Mutex::new(idle)), free: Arc::new(Semaphore::new(count)), count: u32::try_from(count).unwrap_or(u32::MAX) })
    }

    /// Runs a query on a thread that may block.
    pub async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<rusqlite::Result<T>, SpoolError> {
        let permit = Arc::clone(&self.free).acquire_owned().await.map_err(|_| SpoolError::Closed)?;
        let idle = Arc::clone(&self.idle);
        let read = tokio::task::spawn_blocking(move || {
            let db = lock(&idle).pop()?;
            let found = query(&db);
            lock(&idle).push(db);
            drop(permit);
            Some(found)
        });
        read.await.ok().flatten().ok_or(SpoolError::Closed)
    }

    /// Waits for the reads that run; there are none afterwards.
    pub async fn close(&self) {
        let all = self.free.acquire_many(self.count).await;
        self.free.close();
        lock(&self.idle).clear();
        drop(all);
    }
}

pub(super) fn due(db: &Connection, now: Timestamp, queues_max: NonZeroUsize) -> rusqlite::Result<Vec<Due>> {
    let mut statement = db.prepare_cached("SELECT queue, next_at FROM queues WHERE next_at <= ?1 ORDER BY next_at, queue LIMIT ?2")?;
    let found = statement.query_map(params![now.unix_millis(), queries::limit(queues_max)], |row| {
        let since = Timestamp::from_unix_millis(row.get(1)?);
        Ok(queue_in(row)?.map(|queue| Due { queue, since }))
    })?;
    found.filter_map(Result::transpose).collect()
}

/// The queue that a row names first. A name that does not read is damage: it is left to the audit, which removes it, and must not keep the
/// others from being read.
pub(super) fn queue_in(row: &Row<'_>) -> rusqlite::Result<Option<Queue>> {
    Ok(row.get_ref(0)?.as_bytes().ok().and_then(|name| std::str::from_utf8(name).ok()).map(Queue::stored))
}

pub(super) fn next_due_at(db: &Connection) -> rusqlite::Result<Option<Timestamp>> {
    let next_at: Option<i64> = db.prepare_cached("SELECT min(next_at) FROM queues WHERE next_at IS NOT NULL")?.query_row([], |row| row.get(0))?;
    Ok(next_at.map(Timestamp::from_unix_millis))
}

/// Ids rise with time, so the lowest is the oldest; those that are set aside do not wait.
pub(super) fn oldest(db: &Connection) -> rusqlite::Result<Option<Timestamp>> {
    let accepted_at = db.prepare_cached("SELECT accepted_at FROM messages WHERE state = 0 ORDER BY id LIMIT 1")?.query_row([], |row| row.get(0)).optional()?;
    Ok(accepted_at.map(Timestamp::from_unix_millis))
}

type Found = Option<Result<(MailRow, Option<Vec<u8>>), String>>;

/// A message's facts and, unless it is a file, its octets: unchecked, in one snapshot.
pub(super) fn body(db: &Connection, id: i64) -> rusqlite::Result<Found> {
    let snapshot = db.unchecked_transaction()?;
    let facts = match queries::read_message(&snapshot, id)? {
        None => return Ok(None),
        Some(Err(why)) => return Ok(Some(Err(why))),
        Some(Ok(facts)) => facts,
    };
    let quarantined = snapshot.prepare_cached("SELECT 1 FROM messages WHERE id = ?1 AND state = ?2")?.exists([id, queries::QUARANTINED])?;
    if quarantined {
        return Ok(Some(Err("it was quarantined before".to_owned())));
    }
    let octets = snapshot
        .prepare_cached("SELECT octets FROM bodies WHERE message = ?1")?
        .query_row([id], |row| Ok(row.get_ref(0)?.as_bytes().unwrap_or_default().to_vec()))
        .optional();
    match octets {
        Ok(octets) => Ok(Some(Ok((facts, octets)))),
        // A broken chain of pages in one body is that message's damage.
        Err(fault) if fault.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseCorrupt) => Ok(Some(Err(format!("its body does not read: {fault}")))),
        Err(fault) => Err(fault),
    }
}

pub(super) fn sender(db: &Connection, id: u64) -> rusqlite::Result<Option<Mailbox>> {
    let number = id.cast_signed();
    let found = db
        .prepare_cached("SELECT mailbox, sum FROM senders WHERE id = ?1")?
        .query_row([number], |row| Ok((row.get_ref(0)?.as_bytes().unwrap_or_default().to_vec(), row.get::<_, i64>(1)?)))
        .optional()?;
    let Some((mailbox, sum)) = found else { return Ok(None) };
    let mailbox = String::from_utf8_lossy(&mailbox);
    if row::sender_sum(number, &mailbox) != sum {
        tracing::error!(sender_id = id, "sender.damaged");
        return Ok(None);
    }
    Ok(Mailbox::parse(&mailbox).ok())
}

/// From `history` once a message is closed, from its own rows before.
pub(super) fn history(db: &Connection, id: MailId) -> rusqlite::Result<Option<History>> {
    let snapshot = db.unchecked_transaction()?;
    let number = row::number(id);
    let history = |row: &rusqlite::Row<'_>| -> rusqlite::Result<History> {
        Ok(History {
            id,
            accepted_at: Timestamp::from_unix_millis(row.get(0)?),
            closed_at: row.get::<_, Option<i64>>(1)?.map(Timestamp::from_unix_millis),
            stream: Stream::new(&row.get::<_, String>(2)?),
            original_reverse_path: row::path(&row.get::<_, String>(3)?).map_err(unreadable)?,
            message_id: row.get(4)?,
            track_id: row.get(5)?,
            tag: row.get(6)?,
            recipients: row.get::<_, Option<String>>(7)?.map(|json| recipients(&json)).transpose()?.unwrap_or_default(),
            signing_domain: row.get::<_, Option<String>>(8)?.and_then(|domain| Domain::parse(&domain).ok()),
            identity: row.get::<_, Option<String>>(9)?.map(|identity| IdentityName::new(&identity)),
            envid: row.get(10)?,
        })
    };
    let closed = snapshot
        .prepare_cached("SELECT accepted_at, closed_at, stream, original_reverse_path, message_id, track_id, tag, recipients, signing_domain, identity, envid FROM history WHERE id = ?1")?
        .query_row([number], history)
        .optional()?;
    if closed.is_some() {
        return Ok(closed);
    }
    let open = snapshot
        .prepare_cached("SELECT accepted_at, NULL, stream, original_reverse_path, message_id, track_id, tag, NULL, signing_domain, identity, envid FROM messages WHERE id = ?1")?
        .query_row([number], history)
        .optional()?;
    let Some(mut open) = open else { return Ok(None) };
    let mut statement = snapshot.prepare_cached("SELECT mailbox, state, evidence FROM recipients WHERE message = ?1 ORDER BY number")?;
    let text = |row: &Row<'_>, column| row.get_ref(column).ok().and_then(|value| value.as_str().ok()).map(str::to_owned);
    let rows = statement.query_map([number], |row| {
        let told = text(row, 2).and_then(|json| serde_json::from_str(&json).ok());
        Ok(text(row, 0).zip(row.get(1).ok()).and_then(|(mailbox, state)| recipient(&mailbox, state, told)))
    })?;
    open.recipients = rows.filter_map(Result::transpose).collect::<rusqlite::Result<_>>()?;
    Ok(Some(open))
}

/// Under no sum: a recipient that does not read is left out, the others are told of.
fn recipients(json: &str) -> rusqlite::Result<Vec<RecipientHistory>> {
    let rows: Vec<serde_json::Value> = serde_json::from_str(json).map_err(unreadable)?;
    let readable = rows.into_iter().filter_map(|row| serde_json::from_value::<(String, i64, Option<Told>)>(row).ok());
    Ok(readable.filter_map(|(mailbox, state, told)| recipient(&mailbox, state, told)).collect())
}

fn recipient(mailbox: &str, state: i64, told: Option<Told>) -> Option<RecipientHistory> {
    let at = told.as_ref().map(|told| Timestamp::from_unix_millis(told.at));
    let (status, text) = told.as_ref().map(|told| (told.status.clone(), told.text.clone())).unzip();
    let (remote, provider, reason) = told.map(|told| (told.remote, told.provider, told.reason)).unwrap_or_default();
    Some(RecipientHistory {
        mailbox: Mailbox::parse(mailbox).ok()?,
        outcome: match state {
            queries::DELIVERED => SoFar::Delivered,
            queries::FAILED => SoFar::Failed,
            queries::CANCELLED => SoFar::Cancelled,
            _ => SoFar::Waiting,
        },
        status,
        text,
        remote,
        provider,
        reason,
        at,
    })
}

pub(super) fn queues(db: &Connection, after: Option<&Queue>, queues_max: NonZeroUsize) -> rusqlite::Result<Vec<QueueState>> {
    let mut statement = db.prepare_cached(
        "SELECT queue, next_at, parked_until, (SELECT count(*) FROM recipients WHERE recipients.queue = queues.queue AND state = 0)
         FROM queues WHERE queue > ?1 ORDER BY queue LIMIT ?2",
    )?;
    let found = statement.query_map(params![after.map_or("", Queue::as_str), queries::limit(queues_max)], |row| {
        let Some(queue) = queue_in(row)? else { return Ok(None) };
        Ok(Some(QueueState {
            queue,
            next_at: row.get::<_, Option<i64>>(1)?.map(Timestamp::from_unix_millis),
            parked_until: Timestamp::from_unix_millis(row.get(2)?),
            recipients: row.get::<_, i64>(3)?.try_into().unwrap_or(0),
        }))
    })?;
    found.filter_map(Result::transpose).collect()
}

/// A page of [`Records::mentions`](crate::spool::Records::mentions).
pub(super) struct MentionsPage {
    /// Messages of this page with a seal by the key.
    pub count: u64,
    /// Behind which message the next page begins; `None`: this was the last.
    pub next: Option<i64>,
}

/// Looks through the seals of messages with a number above `after`. One of which a person holds every recipient is not counted: it is sealed
/// again before it is sent. A seal that does not read is found at the message's next claim, and
/// that message is not sent as it is.
pub(super) fn mentions(db: &Connection, key: &KeyId, after: i64) -> rusqlite::Result<MentionsPage> {
    // As the seal's JSON has it: the name of a key holds nothing that JSON escapes.
    let named = format!("\"key\":\"{key}\"");
    let mut rows = db.prepare_cached("SELECT id, state = 0 AND instr(seal, ?1) > 0 AND EXISTS (SELECT 1 FROM recipients WHERE message = id AND state = 0) FROM messages WHERE id > ?2 ORDER BY id LIMIT ?3")?;
    let mut rows = rows.query(params![named, after, MENTIONS_ROWS])?;
    let (mut page, mut seen) = (MentionsPage { count: 0, next: None }, 0);
    while let Some(row) = rows.next()? {
        page.next = Some(row.get(0)?);
        page.count += u64::from(row.get::<_, bool>(1)?);
        seen += 1;
    }
    page.next = page.next.filter(|_| seen == MENTIONS_ROWS);
    Ok(page)
}

/// Messages of a page: some megabytes of seals, read in milliseconds.
const MENTIONS_ROWS: i64 = 500;

/// A row of history that makes no sense; nothing is sent by it.
fn unreadable(why: impl std::fmt::Display) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(why.to_string().into())
}
