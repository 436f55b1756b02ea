//! The instant of commitment, as work for the writer: the messages of a submission, the senders behind their bounce tokens.

use super::writer::{Batch, Refusable};
use super::{journal, queries};
use crate::mail::{MailId, ReversePath};
use crate::seal::{Sealed, Sender};
use crate::spool::row::{self, MailRow, RecipientRow, Told};
use crate::spool::standing::Grant;
use crate::spool::{Lease, Leased, Mail, Queue, SpoolError};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// A message ready to be written: summed, its large body already a file.
#[derive(Debug)]
pub(super) struct Ready {
    pub mail: Sealed,
    pub body_sum: u32,
    pub body: Option<super::bodies::Written>,
}

/// Writes the messages of one submission. Whether all their recipients are leased.
pub(super) fn commit(batch: &mut Batch<'_>, mails: Vec<Ready>, senders_max: u64) -> Refusable<bool> {
    let mut ids = HashSet::new();
    for Ready { mail, .. } in &mails {
        if !ids.insert(mail.id) || is_taken(batch.db, mail.id)? {
            return Ok(Err(SpoolError::IdTaken(mail.id)));
        }
    }
    let senders = match new_senders(batch, &mails, senders_max)? {
        Ok(senders) => senders,
        Err(refusal) => return Ok(Err(refusal)),
    };
    for (sender, day, fate) in senders {
        write_sender(batch, &sender, day, fate)?;
    }
    let mut is_taken_on = true;
    for ready in mails {
        is_taken_on &= insert(batch, ready)?;
    }
    Ok(Ok(is_taken_on))
}

/// An id is taken while its message waits, and as long as a bounce of it may come home.
pub(super) fn is_taken(db: &Connection, id: MailId) -> rusqlite::Result<bool> {
    let id = [row::number(id)];
    Ok(db.prepare_cached("SELECT 1 FROM messages WHERE id = ?1")?.exists(id)? || db.prepare_cached("SELECT 1 FROM history WHERE id = ?1")?.exists(id)?)
}

/// What is to become of a sender's row.
#[derive(Clone, Copy)]
enum SenderFate {
    Insert,
    /// It is there and sound, and was last used on an earlier day.
    Touch,
    /// It is there and damaged: the sender that uses it now is written again.
    Mend,
}

/// The senders of a submission that have to be written, each once.
fn new_senders(batch: &Batch<'_>, mails: &[Ready], senders_max: u64) -> Refusable<Vec<(Sender, i64, SenderFate)>> {
    let mut seen: HashMap<u64, &Sender> = HashMap::new();
    let mut senders = Vec::new();
    let mut inserted = 0;
    for Ready { mail, .. } in mails {
        let Some(sender) = &mail.sender else { continue };
        let day = mail.accepted_at.unix_days();
        if let Some(known) = seen.insert(sender.id, sender) {
            if known.mailbox != sender.mailbox {
                return Ok(Err(SpoolError::SenderTaken(sender.id)));
            }
            continue;
        }
        let (id, text) = (sender.id.cast_signed(), sender.mailbox.to_string());
        let known = batch
            .db
            .prepare_cached("SELECT mailbox, last_used_day, sum FROM senders WHERE id = ?1")?
            .query_row([id], |row| Ok((row.get_ref(0)?.as_bytes().unwrap_or_default().to_vec(), row.get::<_, i64>(1)?, row.get::<_, i64>(2)?)))
            .optional()?;
        match known {
            None => {
                inserted += 1;
                if batch.totals.senders + inserted > senders_max.try_into().unwrap_or(i64::MAX) {
                    return Ok(Err(SpoolError::SendersFull(senders_max)));
                }
                senders.push((sender.clone(), day, SenderFate::Insert));
            }
            Some((mailbox, _, sum)) if std::str::from_utf8(&mailbox).map(|mailbox| row::sender_sum(id, mailbox)) != Ok(sum) => {
                senders.push((sender.clone(), day, SenderFate::Mend));
            }
            Some((mailbox, ..)) if mailbox != text.as_bytes() => return Ok(Err(SpoolError::SenderTaken(sender.id))),
            Some((_, last_used, _)) if last_used < day => senders.push((sender.clone(), day, SenderFate::Touch)),
            Some(_) => {}
        }
    }
    Ok(Ok(senders))
}

fn write_sender(batch: &mut Batch<'_>, sender: &Sender, day: i64, fate: SenderFate) -> rusqlite::Result<()> {
    let (id, mailbox) = (sender.id.cast_signed(), sender.mailbox.to_string());
    let sum = row::sender_sum(id, &mailbox);
    match fate {
        SenderFate::Insert => {
            batch.totals.senders += 1;
            batch.db.prepare_cached("INSERT INTO senders (id, mailbox, last_used_day, sum) VALUES (?1, ?2, ?3, ?4)")?.execute(params![id, mailbox, day, sum])?
        }
        SenderFate::Touch => batch.db.prepare_cached("UPDATE senders SET last_used_day = ?2 WHERE id = ?1")?.execute(params![id, day])?,
        SenderFate::Mend => {
            tracing::error!(sender_id = sender.id, "sender.damaged");
            batch.db.prepare_cached("UPDATE senders SET mailbox = ?2, last_used_day = ?3, sum = ?4 WHERE id = ?1")?.execute(params![id, mailbox, day, sum])?
        }
    };
    Ok(())
}

/// Writes one message whose id is free. Where a standing claim has room for its recipients of a queue, they are leased at once. Whether nobody else is left.
pub(super) fn insert(batch: &mut Batch<'_>, ready: Ready) -> rusqlite::Result<bool> {
    let granted = granted(batch, &ready.mail)?;
    let mail = &ready.mail;
    let is_asked_for = mail.due_at <= mail.accepted_at && mail.recipients.iter().any(|recipient| recipient.suppressed.is_none());
    let fresh = (ready.body.is_none() && is_asked_for).then(|| (mail.id, mail.message.octets().clone()));
    let is_taken_on = write(batch, ready, granted)?;
    batch.fresh.extend(fresh);
    Ok(is_taken_on)
}

/// As [`insert`], leased to nobody.
pub(super) fn insert_unleased(batch: &mut Batch<'_>, ready: Ready) -> rusqlite::Result<()> {
    write(batch, ready, BTreeMap::new()).map(|_| ())
}

/// Who takes the recipients of which queue.
fn granted(batch: &Batch<'_>, mail: &Sealed) -> rusqlite::Result<BTreeMap<Queue, Grant>> {
    if mail.due_at > mail.accepted_at {
        return Ok(BTreeMap::new());
    }
    let mut recipients: BTreeMap<Queue, usize> = BTreeMap::new();
    for recipient in mail.recipients.iter().filter(|recipient| recipient.suppressed.is_none()) {
        *recipients.entry(Queue::of(&mail.route, &recipient.mailbox)).or_default() += 1;
    }
    let mut granted = BTreeMap::new();
    for (queue, count) in recipients {
        if !queries::is_parked(batch.db, &queue, mail.accepted_at)?
            && let Some(grant) = batch.standing.grant(&queue, count)
        {
            granted.insert(queue, grant);
        }
    }
    Ok(granted)
}

/// The recipients of a standing claim, each with its reverse-path.
type Taken = (Grant, Vec<(ReversePath, Leased)>);

/// What each standing claim is given.
fn leases_of(mail: &Sealed, taken: BTreeMap<Queue, Taken>, fence: u64) -> Vec<(Grant, Vec<Lease>)> {
    let facts = Arc::new(Mail::of(mail));
    let given = taken.into_values().map(|(grant, recipients)| {
        let until = mail.accepted_at + grant.lease;
        let transactions = by_reverse_path(recipients).into_iter();
        (grant, transactions.map(|(path, recipients)| Lease::granted(Arc::clone(&facts), path, recipients, until, fence)).collect())
    });
    given.collect()
}

fn write(batch: &mut Batch<'_>, ready: Ready, granted: BTreeMap<Queue, Grant>) -> rusqlite::Result<bool> {
    let Ready { mail, body_sum, body } = ready;
    assert!(!mail.recipients.is_empty(), "a spooled message has a recipient");
    let facts = MailRow::of(&mail, body_sum, body.as_ref().map(|file| file.name.clone()));
    let waiting = facts.recipients - row::count(mail.recipients.iter().filter(|recipient| recipient.suppressed.is_some()).count());
    batch.db.prepare_cached(INSERT_MESSAGE)?.execute(params![
        facts.id,
        facts.sum(),
        facts.recipients,
        facts.accepted_at,
        facts.expires_at,
        facts.identity,
        facts.kind,
        facts.signing_domain,
        facts.stream,
        facts.route,
        facts.original_reverse_path,
        facts.envid,
        facts.ret,
        facts.needs,
        facts.message_id,
        facts.track_id,
        facts.tag,
        facts.seal,
        facts.body_octets,
        facts.body_sum,
        facts.body_file,
        facts.trace,
        waiting,
    ])?;
    match body {
        // From here the row may become durable, whatever is answered: only a start of the spool can tell whether it did.
        Some(file) => file.keep(),
        None => {
            let octets: &[u8] = mail.message.octets();
            batch.db.prepare_cached("INSERT INTO bodies (message, octets) VALUES (?1, ?2)")?.execute(params![facts.id, octets])?;
        }
    }
    let due_at = mail.due_at.unix_millis();
    batch.fence += i64::from(!granted.is_empty());
    let mut queues = BTreeSet::new();
    let mut spared = Vec::new();
    let mut taken: BTreeMap<Queue, Taken> = granted.into_iter().map(|(queue, grant)| (queue, (grant, Vec::new()))).collect();
    let mut leased = 0;
    let mut statement = batch.db.prepare_cached(INSERT_RECIPIENT)?;
    for (index, recipient) in mail.recipients.iter().enumerate() {
        let queue = Queue::of(&mail.route, &recipient.mailbox);
        let who = RecipientRow::of(mail.id, index, recipient);
        let sum = who.sum();
        let evidence = recipient.suppressed.as_ref().map(|entry| entry.evidence(mail.accepted_at));
        let told = recipient.suppressed.as_ref().zip(evidence.as_ref()).map(|(entry, evidence)| Told::of_suppressed(entry, evidence).to_json());
        let claimant = taken.get_mut(&queue).filter(|_| evidence.is_none());
        statement.execute(params![
            who.message,
            who.number,
            queue.as_str(),
            claimant.as_ref().map_or(due_at, |(grant, _)| (mail.accepted_at + grant.lease).unix_millis()),
            sum,
            who.mailbox,
            who.notify,
            who.orcpt_type,
            who.orcpt,
            who.reverse_path,
            if evidence.is_some() { queries::FAILED } else { queries::WAITING },
            told,
            if claimant.is_some() { batch.fence } else { 0 },
        ])?;
        if let Some((_, recipients)) = claimant {
            recipients.push((recipient.reverse_path.clone(), Leased::fresh(u32::try_from(index).unwrap_or(u32::MAX), recipient)));
            leased += 1;
        }
        match recipient.suppressed.as_ref().zip(evidence) {
            Some((entry, evidence)) => spared.push((recipient, entry, evidence)),
            None => drop(queues.insert(queue)),
        }
    }
    drop(statement);
    batch.stirred.append(&mut queues);
    batch.totals.mails += 1;
    batch.totals.recipients += waiting;
    journal::tell_accepted(batch, &mail)?;
    if !taken.is_empty() {
        batch.granted.append(&mut leases_of(&mail, taken, batch.fence.cast_unsigned()));
    }
    for (recipient, entry, evidence) in &spared {
        journal::tell_suppressed(batch, &mail, recipient, entry, evidence)?;
    }
    // When nobody is left to write to, that was all.
    if waiting == 0 {
        queries::close_if_settled(batch, facts.id, 0, mail.accepted_at)?;
    }
    Ok(leased == waiting)
}

/// The transactions that these recipients make, in the order of their first.
pub(super) fn by_reverse_path(recipients: impl IntoIterator<Item = (ReversePath, Leased)>) -> Vec<(ReversePath, Vec<Leased>)> {
    let mut transactions: Vec<(ReversePath, Vec<Leased>)> = Vec::new();
    for (reverse_path, leased) in recipients {
        match transactions.iter_mut().find(|(known, _)| *known == reverse_path) {
            Some((_, recipients)) => recipients.push(leased),
            None => transactions.push((reverse_path, vec![leased])),
        }
    }
    transactions
}

const INSERT_MESSAGE: &str = "
INSERT INTO messages (id, state, waiting, sum, recipients, accepted_at, expires_at, identity, kind, signing_domain, stream, route, original_reverse_path,
    envid, ret, needs, message_id, track_id, tag, seal, body_octets, body_sum, body_file, trace)
VALUES (?1, 0, ?23, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22)";

const INSERT_RECIPIENT: &str = "
INSERT INTO recipients (message, number, state, queue, next_at, fence, attempts, unknown_ends, delay_told, evidence, sum, mailbox, notify, orcpt_type, orcpt,
    reverse_path)
VALUES (?1, ?2, ?11, ?3, ?4, ?13, 0, 0, 0, ?12, ?5, ?6, ?7, ?8, ?9, ?10)";
