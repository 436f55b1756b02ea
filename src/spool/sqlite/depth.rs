//! The queues, counted along the index that the schedule uses anyway.

use super::readers;
use crate::mail::Timestamp;
use crate::spool::depth::{Depth, DepthCursor, DepthPage, QueueDepth};
use crate::spool::{Queue, SpoolError, SqliteSpool, row};
use rusqlite::{Connection, params};

impl Depth for SqliteSpool {
    async fn depth(&self, from: Option<DepthCursor>, now: Timestamp) -> Result<DepthPage, SpoolError> {
        self.read(move |db| page(db, from.as_ref(), now)).await
    }

    async fn leased(&self, now: Timestamp) -> Result<Vec<(Queue, u64)>, SpoolError> {
        self.read(move |db| leased(db, now)).await
    }
}

fn page(db: &Connection, from: Option<&DepthCursor>, now: Timestamp) -> rusqlite::Result<DepthPage> {
    let (queue, next_at, message, number) = from.map_or(("", 0, 0, 0), |from| (from.queue.as_str(), from.next_at, from.message, from.number));
    let mut statement = db.prepare_cached(PAGE)?;
    let mut rows = statement.query(params![queue, next_at, message, number, PAGE_ROWS])?;
    let (mut page, mut seen) = (DepthPage::default(), 0);
    // The queue's text is compared where it lies; it is copied once a queue and once a page.
    while let Some(row) = rows.next()? {
        let queue = std::str::from_utf8(row.get_ref(0)?.as_bytes().unwrap_or_default()).unwrap_or_default();
        let (next_at, message): (i64, i64) = (row.get(1)?, row.get(2)?);
        let accepted_at = row::mail_id(message).map_or(now, crate::mail::MailId::second);
        if page.queues.last().is_none_or(|last| last.queue.as_str() != queue) {
            page.queues.push(QueueDepth { queue: Queue::stored(queue), due: 0, later: 0, oldest: accepted_at });
        }
        if let Some(depth) = page.queues.last_mut() {
            *(if next_at <= now.unix_millis() { &mut depth.due } else { &mut depth.later }) += 1;
            depth.oldest = depth.oldest.min(accepted_at);
        }
        seen += 1;
        if seen == PAGE_ROWS {
            page.next = Some(DepthCursor { queue: queue.to_owned(), next_at, message, number: row.get(3)? });
        }
    }
    Ok(page)
}

fn leased(db: &Connection, now: Timestamp) -> rusqlite::Result<Vec<(Queue, u64)>> {
    // A lease that ran out is due again.
    let mut statement = db
        .prepare_cached("SELECT queue, count(*) FROM recipients INDEXED BY recipients_leased WHERE state = 0 AND fence <> 0 AND next_at > ?1 GROUP BY queue")?;
    let found = statement.query_map([now.unix_millis()], |row| {
        let count = row.get::<_, i64>(1)?.try_into().unwrap_or(0);
        Ok(readers::queue_in(row)?.map(|queue| (queue, count)))
    })?;
    found.filter_map(Result::transpose).collect()
}

const PAGE: &str = "
SELECT queue, next_at, message, number FROM recipients INDEXED BY recipients_by_due
WHERE state = 0 AND (queue, next_at, message, number) > (?1, ?2, ?3, ?4) ORDER BY queue, next_at, message, number LIMIT ?5";

/// Some milliseconds, and a fraction of the log's room to grow meanwhile.
const PAGE_ROWS: i64 = 20_000;
