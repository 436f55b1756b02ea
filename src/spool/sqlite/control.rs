//! What a person does with the queue, on SQLite: reads page by page beside the writer, changes as small work for it.
//!
//! The writer looks at each recipient again: between the read and its turn a recipient may have been claimed, settled or set aside.

use super::journal;
use super::queries::{self, CANCELLED, DELIVERED, FAILED, HELD, HELD_BY_PERSON, QUARANTINED, WAITING, quarantine, read_message, refresh_queue};
use super::writer::{Batch, Refusable};
use crate::mail::{MailId, ReversePath, RouteName, Timestamp};
use crate::spool::control::{By, Changed, Cursor, Effect, Entry, Group, LastWords, Listed, Order, SHOWN_MAX, Selection, Shown, State, States, Summed};
use crate::spool::journal::{About, Kind};
use crate::spool::row::{self, Told};
use crate::spool::{Lease, Queue};
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// A page of a list: at most `rows_max` recipients, of at most so many rows as one read may look at.
pub(super) fn list(db: &Connection, selection: &Selection, after: Option<Cursor>, rows_max: usize, now: Timestamp) -> rusqlite::Result<Listed> {
    let mut entries = Vec::new();
    let next = walk(db, selection, after, now, |entry| {
        entries.push(entry);
        entries.len() < rows_max
    })?;
    Ok(Listed { entries, next })
}

/// A page of sums.
pub(super) fn sum_up(db: &Connection, selection: &Selection, by: By, after: Option<Cursor>, now: Timestamp) -> rusqlite::Result<Summed> {
    let mut groups: HashMap<Option<String>, (Group, MailId)> = HashMap::new();
    let next = walk(db, selection, after, now, |entry| {
        let key = by.key(&entry).map(str::to_owned);
        match groups.get_mut(&key) {
            None => {
                groups.insert(key.clone(), (Group::of(key, &entry), entry.mail));
            }
            Some((group, last_mail)) => {
                let is_same_mail = *last_mail == entry.mail;
                *last_mail = entry.mail;
                group.add(Group { mails: u64::from(!is_same_mail), ..Group::of(key, &entry) });
            }
        }
        true
    })?;
    Ok(Summed { groups: groups.into_values().map(|(group, _)| group).collect(), next })
}

/// Gives `take` the recipients of a selection one after the other, until it has enough or so many rows were looked at. Where to go on.
fn walk(
    db: &Connection,
    selection: &Selection,
    after: Option<Cursor>,
    now: Timestamp,
    mut take: impl FnMut(Entry) -> bool,
) -> rusqlite::Result<Option<Cursor>> {
    let snapshot = db.unchecked_transaction()?;
    let mut cursor = match after {
        Some(cursor) => cursor,
        None => {
            let upto: Option<i64> = snapshot.prepare_cached("SELECT max(id) FROM messages")?.query_row([], |row| row.get(0))?;
            let Some(upto) = upto else { return Ok(None) };
            Cursor { message: i64::MIN, number: -1, upto }
        }
    };
    let mut left = SCAN_ROWS;
    for (first, last) in ranges(selection, cursor) {
        if (first, -1) > (cursor.message, cursor.number) {
            (cursor.message, cursor.number) = (first, -1);
        }
        let mut statement =
            snapshot.prepare_cached(&format!("{SELECT_ENTRY} WHERE (r.message, r.number) > (?1, ?2) AND r.message <= ?3 {IN_ORDER} LIMIT ?4"))?;
        let mut rows = statement.query(params![cursor.message, cursor.number, last, left])?;
        while let Some(row) = rows.next()? {
            left -= 1;
            (cursor.message, cursor.number) = (integer(row, 0), integer(row, 1));
            let taken = entry(row, now).filter(|entry| entry.is_queued() && selection.takes(entry));
            if taken.is_some_and(|entry| !take(entry)) {
                return Ok(Some(cursor));
            }
        }
        if left <= 0 {
            return Ok(Some(cursor));
        }
    }
    Ok(None)
}

/// The messages to look at, each range from its first to its last: those that are named, or all up to the end of the walk.
fn ranges(selection: &Selection, cursor: Cursor) -> Vec<(i64, i64)> {
    if selection.ids.is_empty() {
        return vec![(i64::MIN, cursor.upto)];
    }
    let named: BTreeSet<i64> = selection.ids.iter().map(|id| row::number(*id)).collect();
    named.into_iter().filter(|id| (cursor.message..=cursor.upto).contains(id)).map(|id| (id, id)).collect()
}

/// A message with its recipients.
pub(super) fn show(db: &Connection, id: MailId, now: Timestamp) -> rusqlite::Result<Option<Shown>> {
    let snapshot = db.unchecked_transaction()?;
    let number = row::number(id);
    let Some(facts) = read_message(&snapshot, number)? else { return Ok(None) };
    let damage = snapshot.prepare_cached("SELECT damage FROM messages WHERE id = ?1")?.query_row([number], |row| Ok(text(row, 0)))?;
    let mut statement = snapshot.prepare_cached(&format!("{SELECT_ENTRY} WHERE r.message = ?1 {IN_ORDER} LIMIT ?2"))?;
    let mut rows = statement.query(params![number, i64::try_from(SHOWN_MAX).unwrap_or(i64::MAX)])?;
    let mut recipients = Vec::new();
    while let Some(row) = rows.next()? {
        recipients.extend(entry(row, now));
    }
    Ok(Some(Shown { mail: facts.and_then(|facts| facts.mail()).map(Box::new), damage: Some(damage).filter(|damage| !damage.is_empty()), recipients }))
}

/// How many recipients are in each state; `waiting` and `held` together are what the running total has.
pub(super) fn states(db: &Connection, recipients: u64, now: Timestamp) -> rusqlite::Result<States> {
    let count = |sql: &str, at: i64| -> rusqlite::Result<u64> {
        let count: i64 = db.prepare_cached(sql)?.query_row([at], |row| row.get(0))?;
        Ok(u64::try_from(count).unwrap_or(0))
    };
    let leased = count("SELECT count(*) FROM recipients INDEXED BY recipients_leased WHERE state = 0 AND fence <> 0 AND next_at > ?1", now.unix_millis())?;
    let held = count("SELECT count(*) FROM recipients INDEXED BY recipients_aside WHERE state = ?1 AND state IN (3, 4)", HELD_BY_PERSON)?;
    let quarantined = count("SELECT count(*) FROM recipients INDEXED BY recipients_aside WHERE state = ?1 AND state IN (3, 4)", HELD)?;
    Ok(States { waiting: recipients.saturating_sub(leased + held), leased, held, quarantined })
}

/// The writer's part of an order, for the recipients that a page of the walk found.
pub(super) fn change(batch: &mut Batch<'_>, found: &[(MailId, u32)], selection: &Selection, order: &Order, now: Timestamp) -> Refusable<Changed> {
    let mut changed = Changed::default();
    let mut queues = BTreeSet::new();
    // A pause ends for somebody who is tried now, not for those that only were looked at.
    let mut unparked = BTreeSet::new();
    let mut seized: Vec<(MailId, Vec<u32>)> = Vec::new();
    for (mail, index) in found {
        let Some(before) = read_entry(batch.db, *mail, *index, now)?.filter(|entry| entry.is_queued() && selection.takes(entry)) else { continue };
        let mut effect = order.effect(before.state);
        if effect == Effect::Done {
            queues.insert(before.queue.clone());
            effect = carry_out(batch, &before, order, now)?;
        }
        if effect == Effect::Done {
            tell(batch, &before, order, now)?;
        }
        let is_seized = matches!(order, Order::Cancel { .. }) && effect == Effect::Done && before.state != State::Quarantined;
        match seized.last_mut().filter(|(last, _)| last == mail) {
            _ if !is_seized => {}
            Some((_, indexes)) => indexes.push(*index),
            None => seized.push((*mail, vec![*index])),
        }
        let after = read_entry(batch.db, *mail, *index, now)?.unwrap_or(before);
        queues.insert(after.queue.clone());
        if *order == Order::Retry && effect == Effect::Done {
            unparked.insert(after.queue.clone());
        }
        changed.entries.push((after, effect));
    }
    if !seized.is_empty() {
        batch.fence += 1;
    }
    for (mail, indexes) in seized {
        seize(batch, mail, &indexes, now, &mut changed)?;
    }
    for queue in queues {
        if unparked.contains(&queue) {
            batch.db.prepare_cached("UPDATE queues SET parked_until = 0 WHERE queue = ?1 AND parked_until <> 0")?.execute([queue.as_str()])?;
        }
        refresh_queue(batch.db, queue.as_str())?;
    }
    Ok(Ok(changed))
}

/// One recipient whose state the order concerns.
fn carry_out(batch: &mut Batch<'_>, entry: &Entry, order: &Order, now: Timestamp) -> rusqlite::Result<Effect> {
    let (message, number, now) = (row::number(entry.mail), entry.index, now.unix_millis());
    match order {
        // Whoever had a lease that ran out can settle it no more: that attempt is one of unknown end.
        Order::Hold | Order::Cancel { .. } if entry.state != State::Quarantined => batch
            .db
            .prepare_cached(
                "UPDATE recipients SET state = 4, held_at = coalesce(held_at, ?3), attempts = attempts + (state = 0 AND fence <> 0),
                 unknown_ends = unknown_ends + (state = 0 AND fence <> 0), fence = 0 WHERE message = ?1 AND number = ?2",
            )?
            .execute(params![message, number, now])?,
        Order::Hold | Order::Cancel { .. } => {
            let about = |about: About| About { error: Some(DISCARDED.to_owned()), ..about };
            journal::tell_of(batch, message, Some(&entry.recipient), Kind::Cancelled, Timestamp::from_unix_millis(now), about)?;
            discard(batch, message, number, now)?;
            1
        }
        Order::Release => batch
            .db
            .prepare_cached("UPDATE recipients SET state = 0, held_at = NULL, next_at = ?3, fence = 0 WHERE message = ?1 AND number = ?2")?
            .execute(params![message, number, now])?,
        Order::Retry => {
            batch.db.prepare_cached("UPDATE recipients SET next_at = ?3 WHERE message = ?1 AND number = ?2")?.execute(params![message, number, now])?
        }
        Order::Reroute(route) => return reroute(batch, entry, route, now),
    };
    Ok(Effect::Done)
}

/// For the journal: one event a recipient. What is cancelled is held first; that it was cancelled is told when it is settled.
fn tell(batch: &mut Batch<'_>, entry: &Entry, order: &Order, now: Timestamp) -> rusqlite::Result<()> {
    let kind = match (order, entry.state) {
        (Order::Hold, _) | (Order::Cancel { .. }, State::Waiting) => Kind::Held,
        (Order::Release, _) => Kind::Released,
        (Order::Retry, _) => Kind::Retried,
        (Order::Reroute(_), _) => Kind::Rerouted,
        (Order::Cancel { .. }, _) => return Ok(()),
    };
    let about = |about: About| About { attempts: Some(entry.attempts), ..about };
    journal::tell_of(batch, row::number(entry.mail), Some(&entry.recipient), kind, now, about)
}

fn reroute(batch: &mut Batch<'_>, entry: &Entry, route: &RouteName, now: i64) -> rusqlite::Result<Effect> {
    let (message, number) = (row::number(entry.mail), entry.index);
    let Some(facts) = read_message(batch.db, message)? else { return Ok(Effect::Nothing) };
    let found = queries::read_recipient(batch.db, message, number)?;
    let rerouted = facts.and_then(|facts| {
        let (mut who, _) = found?;
        let (leased, _) = who.leased(0, 0, false)?;
        who.route = Some(route.to_string()).filter(|route| *route != facts.route);
        Ok((who.sum(), who.route, Queue::of(route, &leased.mailbox)))
    });
    let (sum, route, queue) = match rerouted {
        Ok(rerouted) => rerouted,
        Err(why) => {
            quarantine(batch, message, &why)?;
            return Ok(Effect::Damaged);
        }
    };
    if queue == entry.queue {
        return Ok(Effect::Nothing);
    }
    batch
        .db
        .prepare_cached(
            "UPDATE recipients SET route = ?3, sum = ?4, queue = ?5, next_at = ?6, attempts = attempts + (state = 0 AND fence <> 0),
             unknown_ends = unknown_ends + (state = 0 AND fence <> 0), fence = 0 WHERE message = ?1 AND number = ?2",
        )?
        .execute(params![message, number, route, sum, queue.as_str(), now])?;
    Ok(Effect::Done)
}

/// A lease for the recipients of a message that are held to be cancelled: one, so that its submitter is told of all of them at once. Its
/// reverse-path is that of the first.
fn seize(batch: &mut Batch<'_>, id: MailId, indexes: &[u32], now: Timestamp, changed: &mut Changed) -> rusqlite::Result<()> {
    let message = row::number(id);
    match read_lease(batch, message, indexes, now)? {
        Ok(lease) => {
            let mut statement = batch.db.prepare_cached("UPDATE recipients SET fence = ?3 WHERE message = ?1 AND number = ?2")?;
            for index in indexes {
                statement.execute(params![message, index, batch.fence])?;
            }
            changed.leases.push(lease);
        }
        Err(why) => {
            quarantine(batch, message, &why)?;
            for (entry, effect) in changed.entries.iter_mut().filter(|(entry, _)| entry.mail == id) {
                (entry.state, entry.damage, *effect) = (State::Quarantined, Some(why.clone()), Effect::Damaged);
            }
        }
    }
    Ok(())
}

fn read_lease(batch: &Batch<'_>, message: i64, indexes: &[u32], now: Timestamp) -> rusqlite::Result<Result<Lease, String>> {
    let Some(facts) = read_message(batch.db, message)? else { return Ok(Err("its recipients are there and its message is not".to_owned())) };
    let found = indexes.iter().map(|index| queries::read_recipient(batch.db, message, *index)).collect::<rusqlite::Result<Vec<_>>>()?;
    let lease = || -> Result<Lease, String> {
        let mail = Arc::new(facts?.mail()?);
        let (mut recipients, mut reverse_path) = (Vec::new(), ReversePath::Null);
        for found in found {
            let (who, counted) = found?;
            let (leased, path) = who.leased(counted.attempts, counted.unknown_ends, counted.delay_told)?;
            if recipients.is_empty() {
                reverse_path = path;
            }
            recipients.push(leased);
        }
        Ok(Lease { mail, reverse_path, recipients, until: now, fence: batch.fence.cast_unsigned() })
    };
    Ok(lease())
}

/// Takes a recipient of a damaged message out of the queue. When it was the last, the message goes, and history keeps what of it reads.
fn discard(batch: &mut Batch<'_>, message: i64, number: u32, now: i64) -> rusqlite::Result<()> {
    let evidence = Told { status: "5.0.0".to_owned(), text: DISCARDED.to_owned(), remote: None, provider: None, reason: None, at: now }.to_json();
    batch
        .db
        .prepare_cached("UPDATE recipients SET state = ?3, evidence = ?4, fence = 0 WHERE message = ?1 AND number = ?2")?
        .execute(params![message, number, CANCELLED, evidence])?;
    batch.db.prepare_cached("UPDATE messages SET waiting = max(waiting - 1, 0) WHERE id = ?1")?.execute([message])?;
    if batch.db.prepare_cached("SELECT 1 FROM recipients WHERE message = ?1 AND state IN (0, 3, 4)")?.exists([message])? {
        return Ok(());
    }
    let mut statement = batch.db.prepare_cached("SELECT mailbox, state, evidence FROM recipients WHERE message = ?1 ORDER BY number")?;
    let mut rows = statement.query([message])?;
    let mut recipients = Vec::new();
    while let Some(row) = rows.next()? {
        let told: Option<Told> = serde_json::from_str(&text(row, 2)).ok();
        recipients.push((text(row, 0), integer(row, 1), told));
    }
    // What history could not read back is left away.
    recipients.retain(|(mailbox, ..)| crate::mail::Mailbox::parse(mailbox).is_ok());
    let recipients = serde_json::to_string(&recipients).unwrap_or_else(|_| "[]".to_owned());
    let mut statement = batch
        .db
        .prepare_cached("SELECT accepted_at, stream, original_reverse_path, message_id, track_id, tag, body_file, state FROM messages WHERE id = ?1")?;
    let facts = statement.query_row([message], |row| {
        let optional = |column| Some(text(row, column)).filter(|text| !text.is_empty());
        let path = Some(text(row, 2)).filter(|path| row::path(path).is_ok()).unwrap_or_default();
        let of_history = (integer(row, 0), text(row, 1), path, text(row, 3), optional(4), optional(5));
        Ok((of_history, optional(6), integer(row, 7)))
    });
    let Some(((accepted_at, stream, path, message_id, track_id, tag), file, state)) = facts.optional()? else { return Ok(()) };
    batch
        .db
        .prepare_cached(
            "INSERT OR REPLACE INTO history (id, closed_at, accepted_at, stream, original_reverse_path, message_id, track_id, tag, recipients)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![message, now, accepted_at, stream, path, message_id, track_id, tag, recipients])?;
    batch.freed.extend(file);
    for sql in ["DELETE FROM messages WHERE id = ?1", "DELETE FROM bodies WHERE message = ?1", "DELETE FROM recipients WHERE message = ?1"] {
        batch.db.prepare_cached(sql)?.execute([message])?;
    }
    batch.totals.quarantined -= i64::from(state == QUARANTINED);
    Ok(())
}

fn read_entry(db: &Connection, mail: MailId, index: u32, now: Timestamp) -> rusqlite::Result<Option<Entry>> {
    let found = db
        .prepare_cached(&format!("{SELECT_ENTRY} WHERE r.message = ?1 AND r.number = ?2"))?
        .query_row(params![row::number(mail), index], |row| Ok(entry(row, now)))
        .optional()?;
    Ok(found.flatten())
}

/// A row as it is, read leniently: people want to see damaged mail too. `None` where it has no number that could be named.
fn entry(row: &Row<'_>, now: Timestamp) -> Option<Entry> {
    let time = |column| Timestamp::from_unix_millis(integer(row, column));
    let count = |column| u32::try_from(integer(row, column)).unwrap_or(0);
    let (next_at, fence) = (time(4), integer(row, 5));
    let state = match integer(row, 2) {
        WAITING if fence != 0 && next_at > now => State::Leased,
        WAITING => State::Waiting,
        DELIVERED => State::Delivered,
        FAILED => State::Failed,
        CANCELLED => State::Cancelled,
        HELD_BY_PERSON => State::Held,
        _ => State::Quarantined,
    };
    Some(Entry {
        mail: row::mail_id(integer(row, 0)).ok()?,
        index: u32::try_from(integer(row, 1)).ok()?,
        recipient: text(row, 10),
        state,
        queue: Queue::stored(&text(row, 3)),
        rerouted: !text(row, 11).is_empty(),
        next_at: if state == State::Waiting { next_at.max(time(22)) } else { next_at },
        held_at: (state == State::Held).then(|| time(12)),
        attempts: count(6),
        unknown_ends: count(7),
        delay_told: integer(row, 8) != 0,
        last: last_words(&text(row, 9)),
        accepted_at: time(13),
        expires_at: time(14),
        sender: text(row, 15),
        author_domain: text(row, 16),
        stream: text(row, 17),
        identity: text(row, 18),
        message_id: text(row, 19),
        octets: u64::try_from(integer(row, 20)).unwrap_or(0),
        damage: (state == State::Quarantined).then(|| text(row, 21)),
    })
}

fn last_words(evidence: &str) -> Option<LastWords> {
    let told: Told = serde_json::from_str(evidence).ok()?;
    let host = told.host().map(str::to_owned);
    let Told { status, text, remote, provider, reason, at } = told;
    Some(LastWords { at: Timestamp::from_unix_millis(at), status, text, remote, host, provider, reason })
}

/// What is there of a text; empty where there is none.
fn text(row: &Row<'_>, column: usize) -> String {
    let octets = row.get_ref(column).ok().and_then(|value| value.as_bytes_or_null().ok().flatten()).unwrap_or_default();
    String::from_utf8_lossy(octets).into_owned()
}

/// What is there of a number; 0 where there is none.
fn integer(row: &Row<'_>, column: usize) -> i64 {
    row.get_ref(column).ok().and_then(|value| value.as_i64_or_null().ok().flatten()).unwrap_or(0)
}

/// What cancelled recipients of damaged messages are told to have ended by; other ones have the words of the order.
const DISCARDED: &str = "cancelled by an operator; the message was damaged";

/// Rows that one read looks at: some milliseconds, so that no reader holds the log for long.
const SCAN_ROWS: i64 = 2000;

const SELECT_ENTRY: &str = "
SELECT r.message, r.number, r.state, r.queue, r.next_at, r.fence, r.attempts, r.unknown_ends, r.delay_told, r.evidence, r.mailbox, r.route, r.held_at,
    m.accepted_at, m.expires_at, m.original_reverse_path, m.signing_domain, m.stream, m.identity, m.message_id, m.body_octets, m.damage,
    (SELECT q.parked_until FROM queues q WHERE q.queue = r.queue)
FROM recipients r CROSS JOIN messages m ON m.id = r.message";

const IN_ORDER: &str = "ORDER BY r.message, r.number";
