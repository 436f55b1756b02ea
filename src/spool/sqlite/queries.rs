//! The statements that change committed mail, as work for the writer. Each function looks first and writes then: it refuses before its first write.
//!
//! An `Err` of SQLite here is the store's failure and ends the spool; a message that does not fit its sum is not: it is quarantined.

use super::commit::{Ready, by_reverse_path, insert, is_taken};
use super::homecoming;
use super::journal;
use super::suppressions;
use super::writer::{Batch, Refusable};
use crate::clock;
use crate::mail::{MailId, ReversePath, RouteName, Timestamp};
use crate::seal::Seal;
use crate::spool::journal::{About, Kind};
use crate::spool::row::{self, MailRow, RecipientRow, Told};
use crate::spool::{Claimed, Ending, How, Lease, Leased, Mail, Quarantined, Queue, SpoolError, Swept};
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroUsize;
use std::sync::Arc;

/// Leases what is due in one queue.
pub(super) fn claim(batch: &mut Batch<'_>, queue: &Queue, recipients_max: NonZeroUsize, now: Timestamp, until: Timestamp) -> Refusable<Claimed> {
    if is_parked(batch.db, queue, now)? {
        return Ok(Ok(Claimed::default()));
    }
    let due = batch
        .db
        .prepare_cached(DUE_RECIPIENTS)?
        .query_map(params![queue.as_str(), now.unix_millis(), limit(recipients_max)], |row| Ok(Candidate::read(row)))?
        .collect::<rusqlite::Result<Vec<Candidate>>>()?;
    // In the order of their waiting; the recipients of a message together.
    let mut order: Vec<i64> = Vec::new();
    let mut by_message: HashMap<i64, Vec<Candidate>> = HashMap::new();
    for candidate in due {
        let of_message = by_message.entry(candidate.message).or_default();
        if of_message.is_empty() {
            order.push(candidate.message);
        }
        of_message.push(candidate);
    }
    let mut claimed = Claimed::default();
    batch.fence += i64::from(!order.is_empty());
    for message in order {
        let candidates = by_message.remove(&message).unwrap_or_default();
        match leases_of(batch.db, message, queue, &candidates)? {
            Ok((mail, transactions)) => {
                take(batch, &candidates, until)?;
                let mail = Arc::new(mail);
                claimed.leases.extend(transactions.into_iter().map(|(reverse_path, recipients)| Lease {
                    mail: Arc::clone(&mail),
                    reverse_path,
                    recipients,
                    until,
                    fence: batch.fence.cast_unsigned(),
                }));
            }
            Err(why) => {
                let held = quarantine(batch, message, &why)?;
                // What cannot be held would be found again and again; and a number that is no id names nothing to report.
                let id = row::mail_id(message).ok().filter(|_| held > 0).ok_or_else(|| corrupt(&format!("message {message}: {why}")))?;
                claimed.quarantined.push(Quarantined { id, why });
            }
        }
    }
    batch.stirred.insert(queue.clone());
    Ok(Ok(claimed))
}

/// Whether nothing of a queue may go.
pub(super) fn is_parked(db: &Connection, queue: &Queue, now: Timestamp) -> rusqlite::Result<bool> {
    db.prepare_cached("SELECT 1 FROM queues WHERE queue = ?1 AND parked_until > ?2")?.exists(params![queue.as_str(), now.unix_millis()])
}

/// A due recipient, not yet believed.
struct Candidate {
    message: i64,
    number: i64,
    /// Somebody held a lease and never ended it.
    lapsed: bool,
    /// A person holds it.
    held: bool,
    row: Result<(RecipientRow, Counted), String>,
}

/// The columns of a recipient that no sum covers.
pub(super) struct Counted {
    pub attempts: i64,
    pub unknown_ends: i64,
    pub delay_told: bool,
}

impl Candidate {
    fn read(row: &Row<'_>) -> Self {
        let lapsed = row.get::<_, i64>(2).is_ok_and(|fence| fence != 0);
        let read = || -> rusqlite::Result<(RecipientRow, Counted, i64)> {
            // An attempt that nobody ended is one of unknown end.
            let counted = Counted {
                attempts: row.get::<_, i64>(3)? + i64::from(lapsed),
                unknown_ends: row.get::<_, i64>(4)? + i64::from(lapsed),
                delay_told: row.get(5)?,
            };
            let who = RecipientRow {
                message: row.get(0)?,
                number: row.get(1)?,
                mailbox: row.get(7)?,
                notify: row.get(8)?,
                orcpt_type: row.get(9)?,
                orcpt: row.get(10)?,
                reverse_path: row.get(11)?,
                route: row.get(12)?,
            };
            Ok((who, counted, row.get(6)?))
        };
        let number = row.get(1).unwrap_or(-1);
        let row_read = match read() {
            Ok((who, counted, sum)) if who.sum() == sum => Ok((who, counted)),
            Ok(_) => Err(format!("recipient {number} does not fit its checksum")),
            Err(e) => Err(format!("recipient {number} does not read: {e}")),
        };
        let held = row.get::<_, Option<i64>>(13).is_ok_and(|held_at| held_at.is_some());
        Self { message: row.get(0).unwrap_or(-1), number, lapsed, held, row: row_read }
    }
}

type Transactions = Vec<(ReversePath, Vec<Leased>)>;

/// The transactions that one message makes of its due recipients; in words, why it must not be sent.
fn leases_of(db: &Connection, message: i64, queue: &Queue, candidates: &[Candidate]) -> rusqlite::Result<Result<(Mail, Transactions), String>> {
    let facts = match read_message(db, message)? {
        Some(Ok(facts)) => facts,
        Some(Err(why)) => return Ok(Err(why)),
        None => return Ok(Err("its recipients are there and its message is not".to_owned())),
    };
    let leases = || -> Result<(Mail, Transactions), String> {
        let mut mail = facts.mail()?;
        let mut recipients = Vec::with_capacity(candidates.len());
        for candidate in candidates {
            let (who, counted) = candidate.row.as_ref().map_err(Clone::clone)?;
            let (leased, reverse_path) = who.leased(counted.attempts, counted.unknown_ends, counted.delay_told)?;
            if candidate.held {
                return Err(format!("recipient {} waits, and yet a person holds it", who.number));
            }
            if Queue::of(&who.route_or(&facts.route), &leased.mailbox) != *queue {
                return Err(format!("recipient {} stands in the queue {queue}, where it does not belong", who.number));
            }
            recipients.push((reverse_path, leased));
        }
        // Recipients of one queue share their route.
        if queue.parts().0 != facts.route {
            (mail.route, mail.rerouted) = (RouteName::new(queue.parts().0), true);
        }
        Ok((mail, by_reverse_path(recipients)))
    };
    Ok(leases())
}

fn take(batch: &Batch<'_>, candidates: &[Candidate], until: Timestamp) -> rusqlite::Result<()> {
    let mut statement = batch.db.prepare_cached(
        "UPDATE recipients SET next_at = ?3, fence = ?4, attempts = attempts + ?5, unknown_ends = unknown_ends + ?5 WHERE message = ?1 AND number = ?2",
    )?;
    for candidate in candidates {
        statement.execute(params![candidate.message, candidate.number, until.unix_millis(), batch.fence, candidate.lapsed])?;
    }
    Ok(())
}

/// One recipient with its counts, checked; in words, what does not fit.
pub(super) fn read_recipient(db: &Connection, message: i64, number: u32) -> rusqlite::Result<Result<(RecipientRow, Counted), String>> {
    let found = db.prepare_cached(ONE_RECIPIENT)?.query_row(params![message, number], |row| Ok(Candidate::read(row))).optional()?;
    Ok(found.map_or_else(|| Err(format!("recipient {number} is missing")), |candidate| candidate.row))
}

/// A message's row, checked: `None` when there is none, in words what does not fit.
pub(super) fn read_message(db: &Connection, id: i64) -> rusqlite::Result<Option<Result<MailRow, String>>> {
    db.prepare_cached(SELECT_MESSAGE)?.query_row([id], |row| Ok(mail_row(row))).optional()
}

fn mail_row(row: &Row<'_>) -> Result<MailRow, String> {
    let read = || -> rusqlite::Result<(i64, MailRow)> {
        let facts = MailRow {
            id: row.get(0)?,
            recipients: row.get(2)?,
            accepted_at: row.get(3)?,
            expires_at: row.get(4)?,
            identity: row.get(5)?,
            kind: row.get(6)?,
            signing_domain: row.get(7)?,
            stream: row.get(8)?,
            route: row.get(9)?,
            original_reverse_path: row.get(10)?,
            envid: row.get(11)?,
            ret: row.get(12)?,
            needs: row.get(13)?,
            message_id: row.get(14)?,
            track_id: row.get(15)?,
            tag: row.get(16)?,
            seal: row.get(17)?,
            body_octets: row.get(18)?,
            body_sum: row.get(19)?,
            body_file: row.get(20)?,
            trace: row.get(21)?,
        };
        Ok((row.get(1)?, facts))
    };
    match read() {
        Ok((sum, facts)) if facts.sum() == sum => Ok(facts),
        Ok(_) => Err("its row does not fit its checksum".to_owned()),
        Err(e) => Err(format!("its row does not read: {e}")),
    }
}

/// Prolongs a lease, if it is still held.
pub(super) fn renew(batch: &mut Batch<'_>, mail: MailId, recipients: &[u32], queue: &Queue, fence: u64, until: Timestamp) -> Refusable<()> {
    for number in recipients {
        if state_under(batch.db, mail, *number, fence)? != Some(WAITING) {
            return Ok(Err(SpoolError::LeaseLost(mail)));
        }
    }
    let mut statement = batch.db.prepare_cached("UPDATE recipients SET next_at = ?3 WHERE message = ?1 AND number = ?2")?;
    for number in recipients {
        statement.execute(params![row::number(mail), number, until.unix_millis()])?;
    }
    drop(statement);
    batch.stirred.insert(queue.clone());
    Ok(Ok(()))
}

/// The state of a recipient, if this claim still has it.
fn state_under(db: &Connection, mail: MailId, number: u32, fence: u64) -> rusqlite::Result<Option<i64>> {
    let mut statement = db.prepare_cached("SELECT state FROM recipients WHERE message = ?1 AND number = ?2 AND fence = ?3")?;
    statement.query_row(params![row::number(mail), number, fence.cast_signed()], |row| row.get(0)).optional()
}

/// Ends a lease.
pub(super) fn settle(batch: &mut Batch<'_>, lease: &Lease, endings: &[Ending], notices: Vec<Ready>) -> Refusable<()> {
    let id = lease.mail.id;
    let mut states = BTreeMap::new();
    for ending in endings {
        // A recipient held since its message was quarantined may still end: what was sent is to be known.
        match state_under(batch.db, id, ending.index, lease.fence)? {
            Some(state @ (WAITING | HELD | HELD_BY_PERSON)) => states.insert(ending.index, state),
            _ => return Ok(Err(SpoolError::LeaseLost(id))),
        };
    }
    let is_all = is_all_of_it(batch.db, id, endings, &states)?;
    let mut settled = 0;
    let mut last_at = lease.mail.accepted_at;
    for ending in endings {
        if !is_all {
            end(batch.db, id, ending)?;
        }
        journal::tell_ending(batch, lease, ending)?;
        if let Some(entry) = &ending.suppression {
            suppressions::insert(batch, entry)?;
        }
        if let How::Delivered(evidence) | How::Failed(evidence) | How::Cancelled(evidence) = &ending.how {
            settled += 1;
            batch.totals.recipients -= i64::from(matches!(states.get(&ending.index), Some(&(WAITING | HELD_BY_PERSON))));
            last_at = last_at.max(evidence.at);
        }
    }
    if is_all {
        close(batch, row::number(id), last_at, &ended_recipients(lease, endings))?;
    } else if settled > 0 {
        close_if_settled(batch, row::number(id), settled, last_at)?;
    }
    if let Some(queue) = row::queue_of(&lease.mail, &lease.recipients) {
        batch.stirred.insert(queue);
    }
    for mut notice in notices {
        // A notice's id is in no bounce token: when it is taken, the next free one does as well, and the settling is not lost over it.
        while is_taken(batch.db, notice.mail.id)? {
            notice.mail.id = MailId::from_number(notice.mail.id.number() + 1).unwrap_or(lease.mail.id);
        }
        insert(batch, notice)?;
    }
    Ok(Ok(()))
}

/// How one recipient leaves its lease.
fn end(db: &Connection, id: MailId, ending: &Ending) -> rusqlite::Result<()> {
    let (message, number) = (row::number(id), ending.index);
    let told = row::evidence(&ending.how).map(|evidence| (Told::of(evidence, ending.meaning.as_ref()).to_json(), evidence.unknown_end));
    match (&ending.how, told) {
        (How::Deferred { next_at, delay_told, .. }, Some((evidence, unknown_end))) => db
            .prepare_cached(
                "UPDATE recipients SET next_at = ?3, delay_told = max(delay_told, ?4), evidence = ?5, fence = 0, attempts = attempts + 1,
                 unknown_ends = unknown_ends + ?6 WHERE message = ?1 AND number = ?2",
            )?
            .execute(params![message, number, next_at.unix_millis(), delay_told, evidence, unknown_end])?,
        (How::Kept { until, .. }, Some((evidence, unknown_end))) => {
            db.prepare_cached("UPDATE messages SET keep_until = ?2 WHERE id = ?1")?.execute([message, until.unix_millis()])?;
            db.prepare_cached(
                "UPDATE recipients SET state = ?3, evidence = ?4, held_at = ?6, fence = 0, attempts = attempts + 1, unknown_ends = unknown_ends + ?5
                 WHERE message = ?1 AND number = ?2 AND state = 0",
            )?
            .execute(params![message, number, HELD_BY_PERSON, evidence, unknown_end, at_of(&ending.how).unix_millis()])?
        }
        (How::Cancelled(_), Some((evidence, _))) => db
            .prepare_cached("UPDATE recipients SET state = ?3, evidence = ?4, fence = 0, held_at = NULL WHERE message = ?1 AND number = ?2")?
            .execute(params![message, number, CANCELLED, evidence])?,
        (how, Some((evidence, unknown_end))) => db
            .prepare_cached(
                "UPDATE recipients SET state = ?3, evidence = ?4, fence = 0, attempts = attempts + 1, unknown_ends = unknown_ends + ?5
                 WHERE message = ?1 AND number = ?2",
            )?
            .execute(params![message, number, if matches!(how, How::Delivered(_)) { DELIVERED } else { FAILED }, evidence, unknown_end])?,
        (How::Released { next_at }, None) => db
            .prepare_cached("UPDATE recipients SET next_at = ?3, fence = 0 WHERE message = ?1 AND number = ?2")?
            .execute(params![message, number, next_at.unix_millis()])?,
        (_, None) => unreachable!("only a release goes without evidence"),
    };
    Ok(())
}

fn at_of(how: &How) -> Timestamp {
    how.evidence().map_or(Timestamp::EPOCH, |evidence| evidence.at)
}

/// When nobody waits any more: a row of history, and the message goes.
pub(super) fn close_if_settled(batch: &mut Batch<'_>, id: i64, settled: i64, at: Timestamp) -> rusqlite::Result<()> {
    let (state, waiting): (i64, i64) =
        batch.db.prepare_cached("SELECT state, waiting FROM messages WHERE id = ?1")?.query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let left = waiting - settled;
    // The count is under no checksum; before a message goes for good, its recipients are asked.
    let is_waited_for = || batch.db.prepare_cached("SELECT 1 FROM recipients WHERE message = ?1 AND state IN (0, 3, 4)")?.exists([id]);
    if left > 0 || state != WAITING || is_waited_for()? {
        batch.db.prepare_cached("UPDATE messages SET waiting = ?2 WHERE id = ?1")?.execute([id, left])?;
        return Ok(());
    }
    let recipients = settled_recipients(batch.db, id)?;
    close(batch, id, at, &recipients)
}

/// Whether these endings are the last of all recipients of a message, so that no recipient's row need be written before it goes. Held and
/// quarantined ones go the long way, and so does a message with a recipient that these do not name.
fn is_all_of_it(db: &Connection, id: MailId, endings: &[Ending], states: &BTreeMap<u32, i64>) -> rusqlite::Result<bool> {
    let is_final = |ending: &Ending| matches!(ending.how, How::Delivered(_) | How::Failed(_) | How::Cancelled(_));
    if !endings.iter().all(is_final) || states.values().any(|state| *state != WAITING) {
        return Ok(false);
    }
    // Counted only where the count may fit: to count the rows of a large mail at each of its endings takes the square of their number.
    let (id, ended) = (row::number(id), row::count(endings.len()));
    if !db.prepare_cached("SELECT 1 FROM messages WHERE id = ?1 AND state = 0 AND recipients = ?2")?.exists([id, ended])? {
        return Ok(false);
    }
    let rows: i64 = db.prepare_cached("SELECT count(*) FROM recipients WHERE message = ?1")?.query_row([id], |row| row.get(0))?;
    Ok(rows == ended)
}

/// A row of history, and the message goes.
fn close(batch: &mut Batch<'_>, id: i64, at: Timestamp, recipients: &str) -> rusqlite::Result<()> {
    batch
        .db
        .prepare_cached(
            "INSERT INTO history (id, closed_at, accepted_at, stream, original_reverse_path, message_id, track_id, tag, recipients, signing_domain, identity, envid)
             SELECT id, ?2, accepted_at, stream, original_reverse_path, message_id, track_id, tag, ?3, signing_domain, identity, envid FROM messages WHERE id = ?1",
        )?
        .execute(params![id, at.unix_millis(), recipients])?;
    let file: Option<String> = batch.db.prepare_cached("DELETE FROM messages WHERE id = ?1 RETURNING body_file")?.query_row([id], |row| row.get(0))?;
    if file.is_none() {
        batch.db.prepare_cached("DELETE FROM bodies WHERE message = ?1")?.execute([id])?;
    }
    batch.freed.extend(file);
    batch.db.prepare_cached("DELETE FROM recipients WHERE message = ?1")?.execute([id])?;
    batch.totals.mails -= 1;
    Ok(())
}

/// As [`settled_recipients`], of rows that were never written.
fn ended_recipients(lease: &Lease, endings: &[Ending]) -> String {
    let mut ended: Vec<_> = endings
        .iter()
        .filter_map(|ending| {
            let leased = lease.recipients.iter().find(|leased| leased.index == ending.index)?;
            let state = match ending.how {
                How::Delivered(_) => DELIVERED,
                How::Cancelled(_) => CANCELLED,
                _ => FAILED,
            };
            let told = row::evidence(&ending.how).map(|evidence| Told::of(evidence, ending.meaning.as_ref()));
            Some((ending.index, leased.mailbox.to_string(), state, told))
        })
        .collect();
    ended.sort_unstable_by_key(|(index, ..)| *index);
    let rows: Vec<_> = ended.iter().map(|(_, mailbox, state, told)| (mailbox, state, told)).collect();
    #[allow(clippy::expect_used, reason = "texts and numbers only: there is nothing that JSON could refuse")]
    serde_json::to_string(&rows).expect("outcomes are JSON")
}

/// `[[mailbox, state, evidence], …]`: what history keeps of the recipients, printed row by row so that many of them need no second copy. No
/// sum is looked at here, so a damaged row is kept as far as it reads: it must not keep the others from ending.
fn settled_recipients(db: &Connection, id: i64) -> rusqlite::Result<String> {
    let mut statement = db.prepare_cached(
        "SELECT json_array(CAST(mailbox AS TEXT), CAST(state AS INTEGER), CASE WHEN json_valid(CAST(evidence AS TEXT)) THEN json(CAST(evidence AS TEXT)) END)
         FROM recipients WHERE message = ?1 ORDER BY number",
    )?;
    let mut rows = statement.query([id])?;
    let mut json = String::from("[");
    while let Some(row) = rows.next()? {
        if json.len() > 1 {
            json.push(',');
        }
        json.push_str(&String::from_utf8_lossy(row.get_ref(0)?.as_bytes().unwrap_or(b"null")));
    }
    json.push(']');
    Ok(json)
}

/// Sets a damaged message aside: kept whole, never due. Gives the number of recipients that are held now and were not before.
pub(super) fn quarantine(batch: &mut Batch<'_>, id: i64, why: &str) -> rusqlite::Result<usize> {
    let newly = batch.db.prepare_cached("UPDATE messages SET state = ?2, damage = ?3 WHERE id = ?1 AND state = 0")?.execute(params![id, QUARANTINED, why])?;
    let queues: BTreeSet<Vec<u8>> = batch
        .db
        .prepare_cached("SELECT DISTINCT queue FROM recipients WHERE message = ?1 AND state = 0")?
        .query_map([id], |row| Ok(row.get_ref(0)?.as_bytes().unwrap_or_default().to_vec()))?
        .collect::<rusqlite::Result<_>>()?;
    let held = batch.db.prepare_cached("UPDATE recipients SET state = ?2, held_at = NULL WHERE message = ?1 AND state IN (0, 4)")?.execute([id, HELD])?;
    for queue in queues.iter().filter_map(|queue| std::str::from_utf8(queue).ok()) {
        refresh_queue(batch.db, queue)?;
    }
    if newly + held > 0 {
        tracing::error!(mail_id = %row::mail_id(id).map_or_else(|_| id.to_string(), |id| id.to_string()), error = why, "mail.quarantined");
        let about = |about| About { error: Some(why.to_owned()), ..about };
        journal::tell_of(batch, id, None, Kind::Quarantined, clock::now(), about)?;
    }
    batch.totals.recipients -= i64::try_from(held).unwrap_or(i64::MAX);
    batch.totals.mails -= i64::from(newly > 0);
    batch.totals.quarantined += i64::from(newly > 0);
    Ok(held)
}

/// Replaces the seal of a message.
pub(super) fn reseal(batch: &mut Batch<'_>, id: MailId, seal: &Seal) -> Refusable<()> {
    let number = row::number(id);
    let mut facts = match read_message(batch.db, number)? {
        None => return Ok(Err(SpoolError::Unknown(id))),
        Some(Ok(facts)) => facts,
        Some(Err(why)) => {
            quarantine(batch, number, &why)?;
            return Ok(Err(SpoolError::Damaged(id, why)));
        }
    };
    facts.seal = row::seal_text(seal);
    batch.db.prepare_cached("UPDATE messages SET seal = ?2, sum = ?3 WHERE id = ?1")?.execute(params![number, facts.seal, facts.sum()])?;
    Ok(Ok(()))
}

/// Holds a queue back. The last word counts: an earlier time than before lets it go sooner.
pub(super) fn park(batch: &Batch<'_>, queue: &Queue, until: Timestamp) -> Refusable<()> {
    batch
        .db
        .prepare_cached(
            "INSERT INTO queues (queue, next_at, parked_until) VALUES (?1, NULL, ?2) ON CONFLICT (queue) DO UPDATE SET parked_until = excluded.parked_until",
        )?
        .execute(params![queue.as_str(), until.unix_millis()])?;
    refresh_queue(batch.db, queue.as_str()).map(Ok)
}

/// Writes into the schedule when a queue's next recipient is due. A queue that is empty and not parked goes.
pub(super) fn refresh_queue(db: &Connection, queue: &str) -> rusqlite::Result<()> {
    let next_at: Option<i64> = db.prepare_cached("SELECT min(next_at) FROM recipients WHERE queue = ?1 AND state = 0")?.query_row([queue], |row| row.get(0))?;
    match next_at {
        Some(next_at) => db
            .prepare_cached(
                "INSERT INTO queues (queue, next_at, parked_until) VALUES (?1, ?2, 0) ON CONFLICT (queue) DO UPDATE SET next_at = max(excluded.next_at, parked_until)
                 WHERE next_at IS NULL OR next_at <> max(excluded.next_at, parked_until)",
            )?
            .execute(params![queue, next_at])?,
        None => {
            db.prepare_cached("DELETE FROM queues WHERE queue = ?1 AND parked_until = 0")?.execute([queue])?
                + db.prepare_cached("UPDATE queues SET next_at = NULL WHERE queue = ?1 AND next_at IS NOT NULL")?.execute([queue])?
        }
    };
    Ok(())
}

/// One page of forgetting; all zero when nothing is left to forget.
pub(super) fn sweep(batch: &mut Batch<'_>, now: Timestamp, history_before: Timestamp, senders_before_day: i64, events_before: Timestamp) -> Refusable<Swept> {
    let page = |sql: &str, limit: i64| -> rusqlite::Result<u64> { Ok(batch.db.prepare_cached(sql)?.execute([limit, SWEEP_ROWS])? as u64) };
    let swept = Swept {
        history: page("DELETE FROM history WHERE id IN (SELECT id FROM history WHERE closed_at < ?1 LIMIT ?2)", history_before.unix_millis())?,
        senders: page("DELETE FROM senders WHERE id IN (SELECT id FROM senders WHERE last_used_day < ?1 LIMIT ?2)", senders_before_day)?,
        queues: page("DELETE FROM queues WHERE queue IN (SELECT queue FROM queues WHERE next_at IS NULL AND parked_until <= ?1 LIMIT ?2)", now.unix_millis())?,
        ..Swept::default()
    };
    let swept = Swept {
        events: journal::sweep(batch, events_before)?,
        homecomings: homecoming::sweep(batch, history_before)?,
        suppressions: suppressions::sweep(batch, now)?,
        ..swept
    };
    batch.totals.senders -= i64::try_from(swept.senders).unwrap_or(i64::MAX);
    Ok(Ok(swept))
}

/// As SQLite's LIMIT.
pub(super) fn limit(rows_max: NonZeroUsize) -> i64 {
    i64::try_from(rows_max.get()).unwrap_or(i64::MAX)
}

fn corrupt(why: &str) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT), Some(why.to_owned()))
}

pub(super) const WAITING: i64 = 0;
pub(super) const DELIVERED: i64 = 1;
pub(super) const FAILED: i64 = 2;
/// Its message is damaged.
pub(super) const HELD: i64 = 3;
pub(super) const HELD_BY_PERSON: i64 = 4;
pub(super) const CANCELLED: i64 = 5;
/// `messages.state`.
pub(super) const QUARANTINED: i64 = 1;
/// Rows that one transaction forgets: commits wait for no more.
pub(super) const SWEEP_ROWS: i64 = 500;

const SELECT_MESSAGE: &str = "
SELECT id, sum, recipients, accepted_at, expires_at, identity, kind, signing_domain, stream, route, original_reverse_path, envid, ret, needs, message_id,
    track_id, tag, seal, body_octets, body_sum, body_file, trace
FROM messages WHERE id = ?1";

const DUE_RECIPIENTS: &str = "
SELECT message, number, fence, attempts, unknown_ends, delay_told, sum, mailbox, notify, orcpt_type, orcpt, reverse_path, route, held_at
FROM recipients WHERE queue = ?1 AND state = 0 AND next_at <= ?2 ORDER BY next_at, message, number LIMIT ?3";

const ONE_RECIPIENT: &str = "
SELECT message, number, fence, attempts, unknown_ends, delay_told, sum, mailbox, notify, orcpt_type, orcpt, reverse_path, route, held_at
FROM recipients WHERE message = ?1 AND number = ?2";
