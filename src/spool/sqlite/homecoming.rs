//! What comes back, as work for the writer: counted, told and spooled in one transaction.

use super::commit::{self, Ready};
use super::journal;
use super::queries::{self, CANCELLED, HELD_BY_PERSON, SWEEP_ROWS};
use super::suppressions;
use super::writer::{Batch, Refusable};
use crate::mail::{EnhancedCode, Evidence, MailId, Timestamp};
use crate::spool::homecoming::{Spent, Tidings};
use crate::spool::journal::{About, Kind};
use crate::spool::row::{self, Told};
use crate::spool::{Queue, SpoolError};
use rusqlite::{OptionalExtension, params};
use std::collections::{BTreeMap, HashSet};

/// A homecoming ready to be written.
#[derive(Debug)]
pub(super) struct Arrival {
    pub id: MailId,
    pub at: Timestamp,
    pub octets: u64,
    pub mails: Vec<(Ready, Option<(String, Timestamp)>)>,
    pub spent: Vec<Spent>,
    pub tidings: Vec<Tidings>,
}

/// Writes it; of each of its tidings, whether it was news.
pub(super) fn come_home(batch: &mut Batch<'_>, arrival: Arrival) -> Refusable<Vec<bool>> {
    let mut ids = HashSet::from([arrival.id]);
    if commit::is_taken(batch.db, arrival.id)? {
        return Ok(Err(SpoolError::IdTaken(arrival.id)));
    }
    for (Ready { mail, .. }, _) in &arrival.mails {
        let is_first = mail.id == arrival.id;
        if !is_first && (!ids.insert(mail.id) || commit::is_taken(batch.db, mail.id)?) {
            return Ok(Err(SpoolError::IdTaken(mail.id)));
        }
    }
    let sums = match sums(batch, &arrival)? {
        Ok(sums) => sums,
        Err(refusal) => return Ok(Err(refusal)),
    };
    for (token, (count, octets)) in sums {
        batch
            .db
            .prepare_cached(
                "INSERT INTO homecomings (token, count, octets, last) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (token) DO UPDATE SET count = excluded.count, octets = excluded.octets, last = excluded.last",
            )?
            .execute(params![token, count.cast_signed(), octets.cast_signed(), arrival.at.unix_millis()])?;
    }
    for (ready, kept) in arrival.mails {
        let id = ready.mail.id;
        match kept {
            None => {
                commit::insert(batch, ready)?;
            }
            Some((why, until)) => {
                commit::insert_unleased(batch, ready)?;
                keep(batch, id, &why, arrival.at, until)?;
            }
        }
    }
    let mut told = Vec::with_capacity(arrival.tidings.len());
    for tidings in &arrival.tidings {
        let is_news = !tidings.once || is_first(batch, tidings, arrival.at)?;
        if is_news {
            journal::tell(batch, &tidings.news)?;
            if let Some(entry) = &tidings.suppression {
                suppressions::insert(batch, entry)?;
            }
        }
        told.push(is_news);
    }
    Ok(Ok(told))
}

/// What will have come to each bounce address: messages and octets.
fn sums(batch: &Batch<'_>, arrival: &Arrival) -> Refusable<BTreeMap<i64, (u64, u64)>> {
    let mut sums: BTreeMap<i64, (u64, u64)> = BTreeMap::new();
    for spent in &arrival.spent {
        let token = spent.token.cast_signed();
        let (count, octets) = match sums.get(&token) {
            Some(known) => *known,
            None => batch
                .db
                .prepare_cached("SELECT count, octets FROM homecomings WHERE token = ?1")?
                .query_row([token], |row| Ok((row.get::<_, i64>(0)?.max(0).cast_unsigned(), row.get::<_, i64>(1)?.max(0).cast_unsigned())))
                .optional()?
                .unwrap_or_default(),
        };
        if count >= spent.messages_max || octets.saturating_add(arrival.octets) > spent.octets_max {
            return Ok(Err(SpoolError::HomeFull { count, octets }));
        }
        sums.insert(token, (count + 1, octets + arrival.octets));
    }
    Ok(Ok(sums))
}

/// Whether nobody has told this of this recipient before; from now on somebody has. What is proven is news after what anybody could have
/// written, and not the other way round.
fn is_first(batch: &Batch<'_>, tidings: &Tidings, at: Timestamp) -> rusqlite::Result<bool> {
    let news = &tidings.news;
    let recipient = news.recipient.as_ref().map(ToString::to_string).unwrap_or_default();
    let (plain, proven) = (news.kind.as_str().to_owned(), format!("{} proven", news.kind));
    let is_proven = news.about.proven == Some(true);
    let mut known = batch.db.prepare_cached("SELECT 1 FROM findings WHERE message = ?1 AND recipient = ?2 AND kind = ?3")?;
    if !is_proven && known.exists(params![row::number(news.mail), recipient, proven])? {
        return Ok(false);
    }
    let kind = if is_proven { proven } else { plain };
    let mut statement = batch.db.prepare_cached("INSERT OR IGNORE INTO findings (message, recipient, kind, at) VALUES (?1, ?2, ?3, ?4)")?;
    Ok(statement.execute(params![row::number(news.mail), recipient, kind, at.unix_millis()])? > 0)
}

/// Holds a mail that was written just now.
fn keep(batch: &mut Batch<'_>, id: MailId, why: &str, at: Timestamp, until: Timestamp) -> rusqlite::Result<()> {
    let number = row::number(id);
    let evidence = Told::of(&finding(why, at), None).to_json();
    batch.db.prepare_cached("UPDATE messages SET keep_until = ?2 WHERE id = ?1")?.execute([number, until.unix_millis()])?;
    batch.db.prepare_cached("UPDATE recipients SET state = ?2, held_at = ?3, evidence = ?4 WHERE message = ?1")?.execute(params![
        number,
        HELD_BY_PERSON,
        at.unix_millis(),
        evidence
    ])?;
    refresh_queues_of(batch, number)?;
    journal::tell_of(batch, number, None, Kind::Held, at, |about| About { error: Some(why.to_owned()), ..about })
}

fn refresh_queues_of(batch: &Batch<'_>, number: i64) -> rusqlite::Result<()> {
    let queues: Vec<String> = batch
        .db
        .prepare_cached("SELECT DISTINCT queue FROM recipients WHERE message = ?1")?
        .query_map([number], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    queues.iter().map(|queue| Queue::stored(queue)).try_for_each(|queue| queries::refresh_queue(batch.db, queue.as_str()))
}

/// One page of forgetting: counts that nobody asks for any more, and what was told of messages that are forgotten.
pub(super) fn sweep(batch: &Batch<'_>, before: Timestamp) -> rusqlite::Result<u64> {
    let page = |sql: &str| -> rusqlite::Result<u64> { Ok(batch.db.prepare_cached(sql)?.execute([before.unix_millis(), SWEEP_ROWS])? as u64) };
    Ok(page("DELETE FROM homecomings WHERE token IN (SELECT token FROM homecomings WHERE last < ?1 LIMIT ?2)")?
        + page("DELETE FROM findings WHERE (message, recipient, kind) IN (SELECT message, recipient, kind FROM findings WHERE at < ?1 LIMIT ?2)")?)
}

/// One page of returned mail that has been kept for as long as it is. A person who has released it meanwhile is not disturbed.
pub(super) fn forget_kept(batch: &mut Batch<'_>, now: Timestamp) -> Refusable<Vec<MailId>> {
    let old: Vec<i64> = batch
        .db
        .prepare_cached(
            "SELECT id FROM messages WHERE keep_until IS NOT NULL AND keep_until < ?1 AND kind = 2 AND state = 0
                 AND NOT EXISTS (SELECT 1 FROM recipients WHERE message = id AND state = 0) ORDER BY keep_until LIMIT ?2",
        )?
        .query_map([now.unix_millis(), KEPT_ROWS], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let mut forgotten = Vec::with_capacity(old.len());
    for message in old {
        let Ok(id) = row::mail_id(message) else { continue };
        let evidence = Told::of(&finding(AGED, now), None).to_json();
        let settled = batch
            .db
            .prepare_cached("UPDATE recipients SET state = ?2, evidence = ?3, held_at = NULL WHERE message = ?1 AND state = ?4")?
            .execute(params![message, CANCELLED, evidence, HELD_BY_PERSON])?;
        journal::tell_of(batch, message, None, Kind::Cancelled, now, |about| About { error: Some(AGED.to_owned()), ..about })?;
        let settled = i64::try_from(settled).unwrap_or(i64::MAX);
        batch.totals.recipients -= settled;
        queries::close_if_settled(batch, message, settled, now)?;
        forgotten.push(id);
    }
    Ok(Ok(forgotten))
}

fn finding(why: &str, at: Timestamp) -> Evidence {
    Evidence { status: EnhancedCode::new(5, 7, 0), reply: None, text: why.to_owned(), remote: None, tls: None, unknown_end: false, at }
}

const AGED: &str = "kept for as long as returned mail is, and nobody wanted it";
/// Mails that one transaction forgets.
const KEPT_ROWS: i64 = 100;
