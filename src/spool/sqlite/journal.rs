//! The statements of the journal: [`tell`] for the writer, inside the transaction that makes it so; pages for readers.
//!
//! Rows of the journal are under no checksum of ours: a wrong one misleads a reader of events, it sends nothing to anybody. A row that does
//! not read is left out.

use super::writer::{Batch, Refusable};
use crate::mail::{Evidence, Mailbox, Suppression, Timestamp};
use crate::seal::{Sealed, SealedRecipient};
use crate::spool::journal::{About, Event, Filter, Kind, News, Page};
use crate::spool::{Ending, How, Lease, row};
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::num::NonZeroUsize;

/// Which events there are: numbers `first ..= last`, and how many there may be. None may be: nothing is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub first: i64,
    pub last: i64,
    pub events_max: i64,
}

impl Span {
    /// As the tables say.
    pub fn read(db: &Connection, events_max: i64) -> rusqlite::Result<Self> {
        let last = db.query_row("SELECT events FROM spool", [], |row| row.get(0))?;
        Ok(Self { first: first_of(db, last)?, last, events_max })
    }
}

fn first_of(db: &Connection, last: i64) -> rusqlite::Result<i64> {
    let first: Option<i64> = db.prepare_cached("SELECT min(number) FROM events")?.query_row([], |row| row.get(0))?;
    Ok(first.unwrap_or(last + 1))
}

/// Writes an event; the oldest make room for it.
pub(super) fn tell(batch: &mut Batch<'_>, news: &News) -> rusqlite::Result<()> {
    if batch.journal.events_max == 0 {
        return Ok(());
    }
    #[allow(clippy::expect_used, reason = "texts and numbers only: there is nothing that JSON could refuse")]
    let about = serde_json::to_string(&news.about).expect("what is known of an event is JSON");
    batch.journal.last += 1;
    batch.db.prepare_cached("INSERT INTO events (number, at, kind, message, recipient, about) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?.execute(params![
        batch.journal.last,
        news.at.unix_millis(),
        news.kind.as_str(),
        row::number(news.mail),
        news.recipient.as_ref().map(ToString::to_string),
        about
    ])?;
    make_room(batch)
}

/// Where there are too many, some of the oldest go at once, so that the next ones need not ask: never more than a few at a time, should
/// the bound have been lowered.
fn make_room(batch: &mut Batch<'_>) -> rusqlite::Result<()> {
    let Span { first, last, events_max } = batch.journal;
    if last - first < events_max {
        return Ok(());
    }
    let step = (events_max / 16).clamp(1, ROOM_EVENTS);
    let keep_from = (last - events_max + step).min(first + 2 * ROOM_EVENTS);
    erase_before(batch, keep_from)
}

fn erase_before(batch: &mut Batch<'_>, number: i64) -> rusqlite::Result<()> {
    batch.db.prepare_cached("DELETE FROM events WHERE number < ?1")?.execute([number])?;
    batch.journal.first = number;
    Ok(())
}

/// A mail is in the spool: an event a recipient.
pub(super) fn tell_accepted(batch: &mut Batch<'_>, mail: &Sealed) -> rusqlite::Result<()> {
    if batch.journal.events_max == 0 {
        return Ok(());
    }
    let mut news = News { at: mail.accepted_at, kind: Kind::Accepted, mail: mail.id, recipient: None, about: About::sealed(mail) };
    for recipient in &mail.recipients {
        news.recipient = Some(recipient.mailbox.clone());
        tell(batch, &news)?;
    }
    Ok(())
}

/// A recipient of it is not written to.
pub(super) fn tell_suppressed(
    batch: &mut Batch<'_>,
    mail: &Sealed,
    recipient: &SealedRecipient,
    entry: &Suppression,
    evidence: &Evidence,
) -> rusqlite::Result<()> {
    let about = About::sealed(mail).suppressed(entry, evidence);
    tell(batch, &News { at: mail.accepted_at, kind: Kind::Suppressed, mail: mail.id, recipient: Some(recipient.mailbox.clone()), about })
}

/// An attempt ended.
pub(super) fn tell_ending(batch: &mut Batch<'_>, lease: &Lease, ending: &Ending) -> rusqlite::Result<()> {
    if batch.journal.events_max == 0 {
        return Ok(());
    }
    let (kind, evidence, next_at) = match &ending.how {
        How::Delivered(evidence) => (Kind::Delivered, evidence, None),
        How::Failed(evidence) => (Kind::Bounced, evidence, None),
        How::Cancelled(evidence) => (Kind::Cancelled, evidence, None),
        How::Kept { evidence, .. } => (Kind::Held, evidence, None),
        How::Deferred { evidence, next_at, .. } => (Kind::Deferred, evidence, Some(next_at.unix_millis())),
        How::Released { .. } => return Ok(()),
    };
    let Some(leased) = lease.recipients.iter().find(|leased| leased.index == ending.index) else { return Ok(()) };
    let attempts = leased.attempts + u32::from(kind != Kind::Cancelled);
    let about = About { attempts: Some(attempts), next_at, ..About::mail(&lease.mail).ended(evidence, ending.meaning.as_ref()) };
    tell(batch, &News { at: evidence.at, kind, mail: lease.mail.id, recipient: Some(leased.mailbox.clone()), about })
}

/// Something happened to a message that has a row, or to one recipient of it: its facts are read from there, and `about` is added by
/// `with`. Without a row, nothing is told. For work of the writer that knows a message by its number alone.
pub(super) fn tell_of(
    batch: &mut Batch<'_>,
    message: i64,
    recipient: Option<&str>,
    kind: Kind,
    at: Timestamp,
    with: impl FnOnce(About) -> About,
) -> rusqlite::Result<()> {
    let Some(about) = facts(batch.db, message)? else { return Ok(()) };
    let Ok(mail) = row::mail_id(message) else { return Ok(()) };
    let recipient = recipient.and_then(|recipient| Mailbox::parse(recipient).ok());
    tell(batch, &News { at, kind, mail, recipient, about: with(about) })
}

fn facts(db: &Connection, message: i64) -> rusqlite::Result<Option<About>> {
    let mut statement = db.prepare_cached("SELECT kind, message_id, track_id, envid, tag, stream, identity, signing_domain FROM messages WHERE id = ?1")?;
    statement
        .query_row([message], |row| {
            // A message that is set aside may be so for a row that does not read.
            let text = |column: usize| row.get(column).unwrap_or_default();
            Ok(About {
                class: row.get(0).ok().and_then(row::class),
                message_id: text(1),
                track_id: text(2),
                envid: text(3),
                tag: text(4),
                stream: text(5),
                identity: text(6),
                author_domain: text(7),
                ..About::default()
            })
        })
        .optional()
}

/// Writes what happened elsewhere.
pub(super) fn tell_all(batch: &mut Batch<'_>, news: &[News]) -> Refusable<()> {
    for news in news {
        tell(batch, news)?;
    }
    Ok(Ok(()))
}

/// One page of forgetting: how many of the oldest went.
pub(super) fn sweep(batch: &mut Batch<'_>, before: Timestamp) -> rusqlite::Result<u64> {
    let Span { first, last, events_max } = batch.journal;
    // In the order in which they were written: one that is young enough ends the page.
    let young: Option<i64> = batch
        .db
        .prepare_cached("SELECT number FROM events WHERE number < ?1 + ?2 AND at >= ?3 ORDER BY number LIMIT 1")?
        .query_row(params![first, super::queries::SWEEP_ROWS, before.unix_millis()], |row| row.get(0))
        .optional()?;
    let too_many = last + 1 - events_max;
    let keep_from = young.unwrap_or(last + 1).max(too_many).min(first + super::queries::SWEEP_ROWS).min(last + 1);
    if keep_from <= first {
        return Ok(0);
    }
    erase_before(batch, keep_from)?;
    Ok((keep_from - first).unsigned_abs())
}

/// A page of the journal, from one state of it.
pub(super) fn page(db: &Connection, after: u64, filter: &Filter, events_max: NonZeroUsize) -> rusqlite::Result<Page> {
    let snapshot = db.unchecked_transaction()?;
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let last: i64 = snapshot.prepare_cached("SELECT events FROM spool")?.query_row([], |row| row.get(0))?;
    let first = first_of(&snapshot, last)?;
    let mut page = Page { to: after.unsigned_abs(), erased: (first - 1).saturating_sub(after).max(0).unsigned_abs(), ..Page::default() };
    let (which, key): (&str, rusqlite::types::Value) = match (filter.mail, &filter.recipient) {
        (Some(mail), _) => ("message = ?2 AND", row::number(mail).into()),
        (None, Some(recipient)) => ("recipient = ?2 AND", recipient.to_string().into()),
        (None, None) => ("?2 IS NULL AND", rusqlite::types::Value::Null),
    };
    let sql = format!("SELECT number, at, kind, message, recipient, about FROM events WHERE {which} number > ?1 ORDER BY number LIMIT ?3");
    let mut statement = snapshot.prepare_cached(&sql)?;
    let mut rows = statement.query(params![after, key, SCAN_ROWS + 1])?;
    let mut looked_at = 0;
    while let Some(row) = rows.next()? {
        if looked_at == SCAN_ROWS || page.events.len() == events_max.get() {
            page.more = true;
            return Ok(page);
        }
        looked_at += 1;
        let number: i64 = row.get(0)?;
        page.to = number.unsigned_abs();
        page.events.extend(event(row)?.filter(|event| filter.admits(&event.news)));
    }
    // Nothing is left that could be wanted, up to the last event there was.
    page.to = page.to.max(last.unsigned_abs());
    Ok(page)
}

/// `None`: it does not read.
fn event(row: &Row<'_>) -> rusqlite::Result<Option<Event>> {
    let text = |column: usize| row.get_ref(column).map(|value| value.as_str().unwrap_or_default().to_owned());
    let (number, at, kind, message): (i64, i64, String, i64) = (row.get(0)?, row.get(1)?, text(2)?, row.get(3)?);
    let (recipient, about) = (text(4)?, text(5)?);
    let read = || {
        let news = News {
            at: Timestamp::from_unix_millis(at),
            kind: kind.parse().ok()?,
            mail: row::mail_id(message).ok()?,
            recipient: Mailbox::parse(&recipient).ok(),
            about: serde_json::from_str(&about).ok()?,
        };
        Some(Event { number: number.unsigned_abs(), news })
    };
    Ok(read())
}

/// The last event of each mail to an address.
pub(super) fn mails_to(db: &Connection, recipient: &Mailbox, before: Option<u64>, mails_max: NonZeroUsize) -> rusqlite::Result<Vec<Event>> {
    let before = before.and_then(|number| i64::try_from(number).ok()).unwrap_or(i64::MAX);
    let mut statement = db.prepare_cached(
        "SELECT number, at, kind, message, recipient, about FROM events AS it WHERE recipient = ?1 AND number < ?2 AND NOT EXISTS
             (SELECT 1 FROM events AS later WHERE later.message = it.message AND later.recipient = it.recipient AND later.number > it.number)
         ORDER BY number DESC LIMIT ?3",
    )?;
    let mut rows = statement.query(params![recipient.to_string(), before, super::queries::limit(mails_max)])?;
    let mut events = Vec::new();
    while let Some(row) = rows.next()? {
        events.extend(event(row)?);
    }
    Ok(events)
}

/// The number behind which events are no older than `at`, looked for by halves: they are nearly in the order of time.
pub(super) fn number_before(db: &Connection, at: Timestamp) -> rusqlite::Result<u64> {
    let snapshot = db.unchecked_transaction()?;
    let at = (at - ORDER).unix_millis();
    let last: i64 = snapshot.prepare_cached("SELECT events FROM spool")?.query_row([], |row| row.get(0))?;
    let (mut old, mut young) = (first_of(&snapshot, last)? - 1, last + 1);
    let mut time_of = snapshot.prepare_cached("SELECT at FROM events WHERE number = ?1")?;
    while young - old > 1 {
        let middle = old + (young - old) / 2;
        let time: Option<i64> = time_of.query_row([middle], |row| row.get(0)).optional()?;
        if time.is_some_and(|time| time >= at) { young = middle } else { old = middle }
    }
    Ok(old.max(0).unsigned_abs())
}

/// Where a reader has got to; a new one begins at the end.
pub(super) fn cursor(batch: &Batch<'_>, name: &str) -> Refusable<u64> {
    let known: Option<i64> = batch.db.prepare_cached("SELECT number FROM webhooks WHERE name = ?1")?.query_row([name], |row| row.get(0)).optional()?;
    if let Some(number) = known {
        return Ok(Ok(number.unsigned_abs()));
    }
    batch.db.prepare_cached("INSERT INTO webhooks (name, number) VALUES (?1, ?2)")?.execute(params![name, batch.journal.last])?;
    Ok(Ok(batch.journal.last.unsigned_abs()))
}

/// A reader never goes back; one that was forgotten does not come back by a late word.
pub(super) fn confirm(batch: &Batch<'_>, name: &str, number: u64) -> Refusable<()> {
    let number = i64::try_from(number).unwrap_or(i64::MAX).min(batch.journal.last);
    batch.db.prepare_cached("UPDATE webhooks SET number = max(number, ?2) WHERE name = ?1")?.execute(params![name, number])?;
    Ok(Ok(()))
}

/// Readers that are gone would come back to events long erased.
pub(super) fn forget_cursors_but(batch: &Batch<'_>, names: &[String]) -> Refusable<()> {
    let known: Vec<String> = batch.db.prepare_cached("SELECT name FROM webhooks")?.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    for name in known.iter().filter(|name| !names.contains(name)) {
        batch.db.prepare_cached("DELETE FROM webhooks WHERE name = ?1")?.execute([name])?;
    }
    Ok(Ok(()))
}

/// Events that make room at once.
const ROOM_EVENTS: i64 = 256;
/// Events that one page looks at: some milliseconds.
const SCAN_ROWS: i64 = 5000;
/// How far events may stand out of the order of time: an attempt is written when it has ended for everybody under its lease.
const ORDER: std::time::Duration = std::time::Duration::from_mins(15);
