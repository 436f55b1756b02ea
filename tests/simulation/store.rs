//! A spool in memory that obeys the contract, over a disk that fails as it is told.
//!
//! The disk is a row of images, the first of which a power failure leaves for sure. One writer adds an image with each transaction; an fsync
//! makes all images up to it durable, and a lying one says so only. What must be durable is seen by nobody before its fsync is done. A killed
//! process leaves the last image, a power failure any of them: the transaction behind it is torn, and a torn one is none, since its checksum
//! does not fit.
//!
//! `tests/spool/contract.rs` runs its clauses on this one too.

use bytes::Bytes;
use postseal::mail::suppression::{Scope, Suppression};
use postseal::mail::{Domain, Evidence, KeyId, MailId, Mailbox, Receipt, ReversePath, RouteName, Stream, Timestamp};
use postseal::seal::{Seal, Sealed};
use postseal::spool::standing::{Grant, StandingClaims};
use postseal::spool::suppressions::{Key, Listed, Selection, Taken};
use postseal::spool::{
    Claimed, Counts, Due, Ending, Health, History, How, Lease, Leased, Mail, Queue, QueueState, RecipientHistory, Records, SoFar, Spool, SpoolError,
    StandingClaim, Suppressions, Swept,
};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// What makes trouble.
pub trait Mischief: Send + Sync + 'static {
    /// Before a piece of work: takes its time, and may make it fail.
    fn before<'a>(&'a self, work: &'a Work) -> Pin<Box<dyn Future<Output = Result<(), Trouble>> + Send + 'a>>;

    /// At an fsync: takes its time.
    fn sync(&self) -> Pin<Box<dyn Future<Output = Fsync> + Send + '_>>;

    /// A transaction is on the disk, as far as anybody can see.
    fn kept(&self, _kept: &Kept) {}

    /// From here on the store does nothing more.
    fn failed(&self) {}

    /// The state after each transaction.
    fn look(&self, _image: &Image) {}
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    Commit,
    Claim,
    Renew,
    Settle,
    Reseal,
    Park,
    Read,
    Body,
    Sweep,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Not now.
    Busy,
    /// No room.
    Full,
    /// EIO: the spool fails.
    Failed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fsync {
    Done,
    /// It says so.
    Lied,
    Failed,
}

/// What became durable, for a ledger.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there are few of them, and not for long")]
pub enum Kept {
    Committed(Arc<Mail>),
    Claimed { mail: MailId, recipients: usize },
    Settled { mail: Arc<Mail>, recipient: Mailbox, how: How },
}

/// A defect, to see whether it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// The receipt is given before the commit is durable.
    ReplyBeforeCommit,
    /// Of one mail in sixteen, an ending is written twice.
    DoubleSettle,
    /// Nothing under lease is ever due again.
    LostLease,
}

/// The disk: what outlives a process.
#[derive(Clone)]
pub struct Disk(Arc<Mutex<Platter>>);

struct Platter {
    /// Survives a power failure; the others may.
    durable: Arc<Image>,
    unsynced: Vec<Written>,
    /// What the process sees.
    seen: Arc<Image>,
}

struct Written {
    image: Arc<Image>,
    /// An fsync said that it was durable.
    promised: bool,
}

/// What a start found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Found {
    /// Transactions that are gone.
    pub lost: usize,
    /// Those of them of which an fsync had said that they were durable.
    pub lied_about: usize,
}

/// One state of the tables.
#[derive(Debug, Clone, Default)]
pub struct Image {
    pub mails: BTreeMap<MailId, Arc<Stored>>,
    pub recipients: BTreeMap<(MailId, u32), Arc<Row>>,
    pub parked: BTreeMap<Queue, Timestamp>,
    pub history: BTreeMap<MailId, Arc<History>>,
    senders: BTreeMap<u64, (Mailbox, i64)>,
    suppressions: BTreeMap<Key, Arc<Suppression>>,
    fence: u64,
}

#[derive(Debug, Clone)]
pub struct Stored {
    pub mail: Arc<Mail>,
    octets: Bytes,
}

/// A recipient.
#[derive(Debug, Clone)]
pub struct Row {
    pub queue: Queue,
    pub reverse_path: ReversePath,
    pub leased: Leased,
    pub outcome: SoFar,
    pub next_at: Timestamp,
    /// The claim that has it; 0: none.
    pub fence: u64,
    last: Option<(Evidence, Option<postseal::spool::Meaning>)>,
}

/// The spool of one life.
pub struct Store(Arc<Inner>);

struct Inner {
    disk: Disk,
    mischief: Arc<dyn Mischief>,
    defect: Option<Defect>,
    senders_max: usize,
    standing: Arc<StandingClaims>,
    /// One transaction after the other.
    writer: tokio::sync::Mutex<()>,
    failed: AtomicBool,
    closed: AtomicBool,
}

impl Disk {
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Platter { durable: Arc::default(), unsynced: Vec::new(), seen: Arc::default() })))
    }

    /// What everybody sees.
    pub fn image(&self) -> Arc<Image> {
        self.platter().seen.clone()
    }

    /// What the next start will find.
    pub fn after_start(&self) -> Arc<Image> {
        let platter = self.platter();
        platter.unsynced.last().map_or(&platter.durable, |written| &written.image).clone()
    }

    /// The power fails: of what was written since the last fsync, so many transactions reached the disk.
    pub fn lose_power(&self, kept: impl FnOnce(usize) -> usize) -> Found {
        let mut platter = self.platter();
        let (all, kept) = (platter.unsynced.len(), kept(platter.unsynced.len()));
        if kept > 0 {
            platter.durable = platter.unsynced[kept - 1].image.clone();
        }
        let lied_about = platter.unsynced.split_off(kept).iter().filter(|written| written.promised).count();
        platter.unsynced.clear();
        Found { lost: all - kept, lied_about }
    }

    fn platter(&self) -> MutexGuard<'_, Platter> {
        self.0.lock().unwrap()
    }
}

impl Store {
    /// Opens the spool, as after a start.
    pub fn open(disk: &Disk, mischief: Arc<dyn Mischief>, defect: Option<Defect>, senders_max: usize, now: Timestamp) -> Self {
        let mut platter = disk.platter();
        let mut image = platter.unsynced.last().map_or(&*platter.durable, |written| &written.image).clone();
        if defect != Some(Defect::LostLease) {
            image.end_leases(now);
        }
        // What is found at a start is synced before anything else.
        platter.unsynced.clear();
        platter.seen = Arc::new(image);
        platter.durable = platter.seen.clone();
        drop(platter);
        let (failed, closed, standing) = (AtomicBool::new(false), AtomicBool::new(false), Arc::default());
        Self(Arc::new(Inner { disk: disk.clone(), mischief, defect, senders_max, standing, writer: tokio::sync::Mutex::default(), failed, closed }))
    }

    /// A piece of work goes on though nobody waits for it any more: the writer has it.
    async fn done<T: Send + 'static>(&self, work: impl Future<Output = Result<T, SpoolError>> + Send + 'static) -> Result<T, SpoolError> {
        match tokio::spawn(work).await {
            Ok(done) => done,
            Err(fault) => std::panic::resume_unwind(fault.into_panic()),
        }
    }

    async fn write<T: Send + 'static>(
        &self,
        work: Work,
        change: impl FnOnce(&mut Image) -> Result<(T, Vec<Kept>), SpoolError> + Send + 'static,
    ) -> Result<T, SpoolError> {
        let inner = self.0.clone();
        self.done(async move { inner.write(work, change).await }).await
    }

    async fn read<T>(&self, query: impl FnOnce(&Image) -> T) -> Result<T, SpoolError> {
        if self.0.closed.load(Ordering::SeqCst) {
            return Err(SpoolError::Closed);
        }
        self.0.before(Work::Read).await?;
        Ok(query(&self.0.disk.image()))
    }
}

impl Inner {
    async fn before(&self, work: Work) -> Result<(), SpoolError> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(SpoolError::Closed);
        }
        self.working()?;
        match self.mischief.before(&work).await {
            Ok(()) => self.working(),
            Err(Trouble::Busy) => Err(SpoolError::Busy("the model is busy".to_owned())),
            Err(Trouble::Full) => Err(SpoolError::Full { free: 1, reserve: 2 }),
            Err(Trouble::Failed) => Err(self.fail()),
        }
    }

    fn working(&self) -> Result<(), SpoolError> {
        if self.failed.load(Ordering::SeqCst) { Err(SpoolError::Failed("the model failed".to_owned())) } else { Ok(()) }
    }

    fn fail(&self) -> SpoolError {
        if !self.failed.swap(true, Ordering::SeqCst) {
            self.mischief.failed();
        }
        SpoolError::Failed("the model failed".to_owned())
    }

    async fn write<T>(&self, work: Work, change: impl FnOnce(&mut Image) -> Result<(T, Vec<Kept>), SpoolError>) -> Result<T, SpoolError> {
        let _turn = self.writer.lock().await;
        self.before(work).await?;
        let mut image = (*self.disk.image()).clone();
        let (done, kept) = change(&mut image)?;
        self.mischief.look(&image);
        let image = Arc::new(image);
        self.disk.platter().unsynced.push(Written { image: image.clone(), promised: false });
        if matches!(work, Work::Commit | Work::Settle | Work::Reseal | Work::Sweep) {
            self.sync().await?;
        }
        self.disk.platter().seen = image;
        for kept in &kept {
            self.mischief.kept(kept);
        }
        Ok(done)
    }

    /// Makes everything that was written durable.
    async fn sync(&self) -> Result<(), SpoolError> {
        let sync = self.mischief.sync().await;
        let mut platter = self.disk.platter();
        match sync {
            Fsync::Done => {
                let last = platter.unsynced.drain(..).next_back();
                if let Some(last) = last {
                    platter.durable = last.image;
                }
                Ok(())
            }
            Fsync::Lied => {
                platter.unsynced.iter_mut().for_each(|written| written.promised = true);
                Ok(())
            }
            Fsync::Failed => Err(self.fail()),
        }
    }
}

impl Image {
    /// Whoever held a lease died with the last process.
    fn end_leases(&mut self, now: Timestamp) {
        for row in self.recipients.values_mut().filter(|row| row.outcome == SoFar::Waiting && row.fence != 0) {
            Arc::make_mut(row).next_at = row.next_at.min(now);
        }
    }

    pub fn waiting(&self) -> impl Iterator<Item = (&(MailId, u32), &Arc<Row>)> {
        self.recipients.iter().filter(|(_, row)| row.outcome == SoFar::Waiting)
    }

    fn parked_until(&self, queue: &Queue) -> Timestamp {
        self.parked.get(queue).copied().unwrap_or(Timestamp::EPOCH)
    }

    /// When each queue's next recipient is due.
    fn schedule(&self) -> BTreeMap<Queue, Timestamp> {
        let mut schedule = BTreeMap::new();
        for (_, row) in self.waiting() {
            let at = schedule.entry(row.queue.clone()).or_insert(row.next_at);
            *at = row.next_at.min(*at);
        }
        for (queue, at) in &mut schedule {
            *at = self.parked_until(queue).max(*at);
        }
        schedule
    }

    fn insert(&mut self, sealed: &Sealed) -> Vec<Kept> {
        let (route, mut spared) = (sealed.route.clone(), Vec::new());
        for (index, recipient) in (0..).zip(&sealed.recipients) {
            let evidence = recipient.suppressed.as_ref().map(|entry| entry.evidence(sealed.accepted_at));
            spared.extend(evidence.clone().map(|evidence| (recipient.mailbox.clone(), How::Failed(evidence))));
            let row = Row {
                queue: Queue::of(&route, &recipient.mailbox),
                reverse_path: recipient.reverse_path.clone(),
                leased: Leased::fresh(index, recipient),
                outcome: if evidence.is_some() { SoFar::Failed } else { SoFar::Waiting },
                next_at: sealed.due_at,
                fence: 0,
                last: evidence.map(|evidence| (evidence, None)),
            };
            self.recipients.insert((sealed.id, index), Arc::new(row));
        }
        if let Some(sender) = &sealed.sender {
            self.senders.insert(sender.id, (sender.mailbox.clone(), sealed.accepted_at.unix_days()));
        }
        let octets = Bytes::copy_from_slice(sealed.message.octets());
        let mail = Arc::new(Mail::of(sealed));
        self.mails.insert(mail.id, Arc::new(Stored { mail: mail.clone(), octets }));
        self.close_if_settled(mail.id, mail.accepted_at);
        let settled = spared.into_iter().map(|(recipient, how)| Kept::Settled { mail: mail.clone(), recipient, how });
        std::iter::once(Kept::Committed(mail.clone())).chain(settled).collect()
    }

    /// Leases what standing claims take of a mail that was just committed.
    fn grant(&mut self, id: MailId, standing: &StandingClaims, defect: Option<Defect>) -> Vec<(Grant, Vec<Lease>)> {
        let Some(mail) = self.mails.get(&id).map(|stored| stored.mail.clone()) else { return Vec::new() };
        let now = mail.accepted_at;
        let fresh = self.recipients.range((id, 0)..=(id, u32::MAX)).filter(|(_, row)| row.outcome == SoFar::Waiting && row.next_at <= now);
        let mut counts: BTreeMap<Queue, usize> = BTreeMap::new();
        fresh.for_each(|(_, row)| *counts.entry(row.queue.clone()).or_default() += 1);
        let mut granted = Vec::new();
        for (queue, count) in counts {
            if self.parked_until(&queue) > now {
                continue;
            }
            let Some(grant) = standing.grant(&queue, count) else { continue };
            self.fence += 1;
            let until = lease_end(now + grant.lease, defect);
            let mut transactions = Vec::new();
            for row in self.recipients.range_mut((id, 0)..=(id, u32::MAX)).map(|(_, row)| row).filter(|row| row.queue == queue) {
                let row = Arc::make_mut(row);
                (row.fence, row.next_at) = (self.fence, until);
                join(&mut transactions, row);
            }
            let leases = transactions.into_iter().map(|(path, recipients)| Lease::granted(mail.clone(), path, recipients, until, self.fence));
            granted.push((grant, leases.collect()));
        }
        granted
    }

    fn is_taken(&self, id: MailId) -> bool {
        self.mails.contains_key(&id) || self.history.contains_key(&id)
    }

    fn refuses(&self, mails: &[Sealed], senders_max: usize) -> Option<SpoolError> {
        let mut ids = BTreeSet::new();
        if let Some(mail) = mails.iter().find(|mail| self.is_taken(mail.id) || !ids.insert(mail.id)) {
            return Some(SpoolError::IdTaken(mail.id));
        }
        let mut new = BTreeMap::new();
        for sender in mails.iter().filter_map(|mail| mail.sender.as_ref()) {
            let known = self.senders.get(&sender.id).map(|(mailbox, _)| mailbox).or_else(|| new.get(&sender.id).copied());
            match known {
                Some(known) if *known != sender.mailbox => return Some(SpoolError::SenderTaken(sender.id)),
                Some(_) => {}
                None => drop(new.insert(sender.id, &sender.mailbox)),
            }
        }
        let is_full = !new.is_empty() && self.senders.len() + new.len() > senders_max;
        is_full.then_some(SpoolError::SendersFull(senders_max as u64))
    }

    fn claim(&mut self, queue: &Queue, recipients_max: usize, now: Timestamp, until: Timestamp) -> Claimed {
        if self.parked_until(queue) > now {
            return Claimed::default();
        }
        let mut due: Vec<_> = self.waiting().filter(|(_, row)| row.queue == *queue && row.next_at <= now).map(|(key, row)| (row.next_at, *key)).collect();
        due.sort_unstable();
        due.truncate(recipients_max);
        let mut order: Vec<MailId> = Vec::new();
        for (_, (id, _)) in &due {
            if !order.contains(id) {
                order.push(*id);
            }
        }
        self.fence += u64::from(!order.is_empty());
        let mut claimed = Claimed::default();
        for id in order {
            let mut transactions: Vec<(ReversePath, Vec<Leased>)> = Vec::new();
            for (_, key) in due.iter().filter(|(_, (mail, _))| *mail == id) {
                let Some(row) = self.recipients.get_mut(key).map(Arc::make_mut) else { continue };
                // An attempt that nobody ended is one of unknown end.
                let lapsed = u32::from(row.fence != 0);
                (row.leased.attempts, row.leased.unknown_ends) = (row.leased.attempts + lapsed, row.leased.unknown_ends + lapsed);
                (row.fence, row.next_at) = (self.fence, until);
                join(&mut transactions, row);
            }
            let mut mail = self.mails[&id].mail.clone();
            if queue.parts().0 != mail.route.as_str() {
                mail = Arc::new(Mail { route: RouteName::new(queue.parts().0), rerouted: true, ..(*mail).clone() });
            }
            claimed.leases.extend(transactions.into_iter().map(|(path, recipients)| Lease::granted(mail.clone(), path, recipients, until, self.fence)));
        }
        claimed
    }

    fn settle(&mut self, lease: &Lease, endings: &[Ending], notices: Vec<Sealed>, defect: Option<Defect>) -> Result<Vec<Kept>, SpoolError> {
        let id = lease.mail.id;
        let is_ours = |ending: &Ending| {
            let row = self.recipients.get(&(id, ending.index));
            row.is_some_and(|row| row.outcome == SoFar::Waiting && row.fence == lease.fence())
        };
        if defect != Some(Defect::DoubleSettle) && !endings.iter().all(is_ours) {
            return Err(SpoolError::LeaseLost(id));
        }
        let mut kept = Vec::new();
        let mut last_at = lease.mail.accepted_at;
        for ending in endings {
            let recipient = lease.recipients.iter().find(|recipient| recipient.index == ending.index).map(|recipient| recipient.mailbox.clone());
            kept.extend(recipient.map(|recipient| Kept::Settled { mail: lease.mail.clone(), recipient, how: ending.how.clone() }));
            let Some(row) = self.recipients.get_mut(&(id, ending.index)).map(Arc::make_mut) else { continue };
            row.fence = 0;
            if let Some(entry) = &ending.suppression {
                self.suppressions.insert(Key::of_entry(entry), Arc::new((**entry).clone()));
            }
            if let Some(evidence) = ending.how.evidence() {
                row.last = Some((evidence.clone(), ending.meaning.clone()));
                if !matches!(ending.how, How::Cancelled(_)) {
                    row.leased.attempts += 1;
                    row.leased.unknown_ends += u32::from(evidence.unknown_end);
                }
            }
            match &ending.how {
                How::Delivered(_) => row.outcome = SoFar::Delivered,
                How::Failed(_) => row.outcome = SoFar::Failed,
                How::Cancelled(_) => row.outcome = SoFar::Cancelled,
                How::Deferred { next_at, delay_told, .. } => {
                    row.next_at = *next_at;
                    row.leased.delay_told |= delay_told;
                }
                How::Released { next_at } => row.next_at = *next_at,
                How::Kept { .. } => unreachable!("the model takes no returned mail"),
            }
            if row.outcome != SoFar::Waiting {
                last_at = last_at.max(ending.how.evidence().map_or(last_at, |evidence| evidence.at));
            }
        }
        self.close_if_settled(id, last_at);
        for mut notice in notices {
            while self.is_taken(notice.id) {
                notice.id = MailId::from_number(notice.id.number() + 1).unwrap_or(id);
            }
            kept.extend(self.insert(&notice));
        }
        Ok(kept)
    }

    fn close_if_settled(&mut self, id: MailId, at: Timestamp) {
        let is_waited_for = self.recipients.range((id, 0)..=(id, u32::MAX)).any(|(_, row)| row.outcome == SoFar::Waiting);
        if is_waited_for || !self.mails.contains_key(&id) {
            return;
        }
        if let Some(history) = self.history_of(id, Some(at)) {
            self.history.insert(id, Arc::new(history));
        }
        self.mails.remove(&id);
        self.recipients.retain(|(mail, _), _| *mail != id);
    }

    fn history_of(&self, id: MailId, closed_at: Option<Timestamp>) -> Option<History> {
        let mail = &self.mails.get(&id)?.mail;
        let recipients = self.recipients.range((id, 0)..=(id, u32::MAX)).map(|(_, row)| {
            let (evidence, meaning) = row.last.clone().map_or((None, None), |(evidence, meaning)| (Some(evidence), meaning));
            RecipientHistory {
                mailbox: row.leased.mailbox.clone(),
                outcome: row.outcome,
                status: evidence.as_ref().map(|evidence| evidence.status.to_string()),
                text: evidence.as_ref().map(|evidence| evidence.reply.as_ref().map_or_else(|| evidence.text.clone(), ToString::to_string)),
                remote: evidence.as_ref().and_then(|evidence| evidence.remote.as_ref()).map(|remote| format!("{} [{}]", remote.host, remote.address)),
                provider: meaning.as_ref().map(|meaning| meaning.provider.to_string()),
                reason: meaning.and_then(|meaning| meaning.reason).map(|reason| reason.as_str().to_owned()),
                at: evidence.map(|evidence| evidence.at),
            }
        });
        Some(History {
            id,
            accepted_at: mail.accepted_at,
            closed_at,
            stream: mail.stream.clone(),
            original_reverse_path: mail.original_reverse_path.clone(),
            message_id: mail.message_id.clone(),
            track_id: mail.track_id.clone(),
            tag: mail.tag.clone(),
            envid: mail.envid.clone(),
            signing_domain: Some(mail.signing_domain.clone()),
            identity: Some(mail.identity.clone()),
            recipients: recipients.collect(),
        })
    }
}

fn claimed(lease: &Lease) -> Kept {
    Kept::Claimed { mail: lease.mail.id, recipients: lease.recipients.len() }
}

/// A recipient belongs to the transaction of its reverse-path.
fn join(transactions: &mut Vec<(ReversePath, Vec<Leased>)>, row: &Row) {
    match transactions.iter_mut().find(|(path, _)| *path == row.reverse_path) {
        Some((_, recipients)) => recipients.push(row.leased.clone()),
        None => transactions.push((row.reverse_path.clone(), vec![row.leased.clone()])),
    }
}

fn lease_end(until: Timestamp, defect: Option<Defect>) -> Timestamp {
    if defect == Some(Defect::LostLease) { until + Duration::from_hours(24 * 365) } else { until }
}

impl Spool for Store {
    async fn commit(&self, mails: Vec<Sealed>) -> Result<Receipt, SpoolError> {
        let receipt = Receipt::rehearsed(mails[0].id);
        let (senders_max, defect, standing) = (self.0.senders_max, self.0.defect, self.0.standing.clone());
        let change = move |image: &mut Image| {
            if let Some(refusal) = image.refuses(&mails, senders_max) {
                return Err(refusal);
            }
            let (mut kept, mut granted) = (Vec::new(), Vec::new());
            for mail in mails {
                let id = mail.id;
                kept.append(&mut image.insert(&mail));
                granted.append(&mut image.grant(id, &standing, defect));
            }
            kept.extend(granted.iter().flat_map(|(_, leases)| leases).map(claimed));
            Ok((granted, kept))
        };
        let inner = self.0.clone();
        let committing = async move {
            for (grant, leases) in inner.write(Work::Commit, change).await? {
                grant.give(leases);
            }
            Ok(())
        };
        if self.0.defect == Some(Defect::ReplyBeforeCommit) {
            drop(tokio::spawn(committing));
            return Ok(receipt);
        }
        self.done(committing).await?;
        Ok(receipt)
    }

    async fn due(&self, now: Timestamp, queues_max: NonZeroUsize) -> Result<Vec<Due>, SpoolError> {
        self.read(|image| {
            let mut due: Vec<Due> = image.schedule().into_iter().filter(|(_, at)| *at <= now).map(|(queue, since)| Due { queue, since }).collect();
            due.sort_by_key(|due| due.since);
            due.truncate(queues_max.get());
            due
        })
        .await
    }

    async fn next_due_at(&self) -> Result<Option<Timestamp>, SpoolError> {
        self.read(|image| image.schedule().into_values().min()).await
    }

    async fn claim(&self, queue: &Queue, recipients_max: NonZeroUsize, now: Timestamp, until: Timestamp) -> Result<Claimed, SpoolError> {
        let (queue, until) = (queue.clone(), lease_end(until, self.0.defect));
        self.write(Work::Claim, move |image| {
            let found = image.claim(&queue, recipients_max.get(), now, until);
            let kept = found.leases.iter().map(claimed).collect();
            Ok((found, kept))
        })
        .await
    }

    fn stand(&self, queue: &Queue) -> StandingClaim {
        self.0.standing.begin(queue)
    }

    async fn renew(&self, lease: &mut Lease, until: Timestamp) -> Result<(), SpoolError> {
        let (id, fence) = (lease.mail.id, lease.fence());
        let keys: Vec<_> = lease.recipients.iter().map(|recipient| (id, recipient.index)).collect();
        self.write(Work::Renew, move |image| {
            let is_ours = |key| image.recipients.get(key).is_some_and(|row| row.outcome == SoFar::Waiting && row.fence == fence);
            if !keys.iter().all(is_ours) {
                return Err(SpoolError::LeaseLost(id));
            }
            for key in &keys {
                if let Some(row) = image.recipients.get_mut(key) {
                    Arc::make_mut(row).next_at = until;
                }
            }
            Ok(((), Vec::new()))
        })
        .await?;
        lease.until = until;
        Ok(())
    }

    async fn message(&self, id: MailId) -> Result<Bytes, SpoolError> {
        self.0.before(Work::Body).await?;
        self.0.disk.image().mails.get(&id).map(|stored| stored.octets.clone()).ok_or(SpoolError::Unknown(id))
    }

    async fn settle(&self, lease: Lease, endings: Vec<Ending>, notices: Vec<Sealed>) -> Result<(), SpoolError> {
        let mut expected: Vec<u32> = lease.recipients.iter().map(|recipient| recipient.index).collect();
        let mut given: Vec<u32> = endings.iter().map(|ending| ending.index).collect();
        expected.sort_unstable();
        given.sort_unstable();
        assert!(expected == given, "a lease on recipients {expected:?} ends with one ending for each, not {given:?}");
        let defect = self.0.defect;
        let is_doubled = defect == Some(Defect::DoubleSettle) && lease.mail.id.number().is_multiple_of(16);
        self.write(Work::Settle, move |image| {
            let mut kept = image.settle(&lease, &endings, notices.clone(), defect)?;
            if is_doubled {
                kept.extend(image.settle(&lease, &endings, notices, defect)?);
            }
            Ok(((), kept))
        })
        .await
    }

    async fn reseal(&self, id: MailId, seal: Seal) -> Result<(), SpoolError> {
        self.write(Work::Reseal, move |image| {
            let stored = image.mails.get_mut(&id).ok_or(SpoolError::Unknown(id))?;
            let mail = Arc::new(Mail { seal, ..(*stored.mail).clone() });
            *stored = Arc::new(Stored { mail, octets: stored.octets.clone() });
            Ok(((), Vec::new()))
        })
        .await
    }

    async fn park(&self, queue: &Queue, until: Timestamp) -> Result<(), SpoolError> {
        let queue = queue.clone();
        self.write(Work::Park, move |image| {
            image.parked.insert(queue, until);
            Ok(((), Vec::new()))
        })
        .await
    }

    async fn counts(&self) -> Result<Counts, SpoolError> {
        self.read(|image| Counts { mails: image.mails.len() as u64, recipients: image.waiting().count() as u64, quarantined: 0 }).await
    }

    fn health(&self) -> Health {
        match (self.0.failed.load(Ordering::SeqCst), self.0.closed.load(Ordering::SeqCst)) {
            (_, true) => Health::Closed,
            (true, false) => Health::Failed("the model failed".to_owned()),
            (false, false) => Health::Working,
        }
    }

    async fn close(&self) {
        self.0.closed.store(true, Ordering::SeqCst);
    }
}

impl Records for Store {
    async fn sender(&self, id: u64) -> Result<Option<Mailbox>, SpoolError> {
        self.read(|image| image.senders.get(&id).map(|(mailbox, _)| mailbox.clone())).await
    }

    async fn history(&self, id: MailId) -> Result<Option<History>, SpoolError> {
        self.read(|image| image.history.get(&id).map(|history| (**history).clone()).or_else(|| image.history_of(id, None))).await
    }

    async fn queues(&self, after: Option<Queue>, queues_max: NonZeroUsize) -> Result<Vec<QueueState>, SpoolError> {
        self.read(|image| {
            let state = |(queue, next_at): (Queue, Timestamp)| QueueState {
                parked_until: image.parked_until(&queue),
                recipients: image.waiting().filter(|(_, row)| row.queue == queue).count() as u64,
                next_at: Some(next_at),
                queue,
            };
            let later = image.schedule().into_iter().filter(|(queue, _)| after.as_ref().is_none_or(|after| queue > after));
            later.take(queues_max.get()).map(state).collect()
        })
        .await
    }

    async fn mentions(&self, key: &KeyId) -> Result<u64, SpoolError> {
        let key = key.to_string();
        self.read(|image| image.mails.values().filter(|stored| stored.mail.seal.keys().any(|known| known == key)).count() as u64).await
    }

    async fn sweep(&self, now: Timestamp) -> Result<Swept, SpoolError> {
        const DAY: Duration = Duration::from_hours(24);
        self.write(Work::Sweep, move |image| {
            let before = (image.history.len(), image.senders.len(), image.parked.len());
            image.history.retain(|_, history| history.closed_at.is_none_or(|at| at >= now - DAY * 30));
            image.senders.retain(|_, (_, day)| *day >= now.unix_days() - 40);
            let schedule = image.schedule();
            image.parked.retain(|queue, until| schedule.contains_key(queue) || *until > now);
            let swept = Swept {
                history: (before.0 - image.history.len()) as u64,
                senders: (before.1 - image.senders.len()) as u64,
                queues: (before.2 - image.parked.len()) as u64,
                ..Swept::default()
            };
            Ok((swept, Vec::new()))
        })
        .await
    }

    async fn oldest(&self) -> Result<Option<Timestamp>, SpoolError> {
        self.read(|image| image.mails.keys().next().map(|id| id.second())).await
    }
}

/// As far as the relay asks for it: what a failure puts on the list is looked at by the next submission.
impl Suppressions for Store {
    async fn suppress(&self, entries: Vec<Suppression>) -> Result<Taken, SpoolError> {
        self.write(Work::Settle, move |image| {
            let added = entries.len() as u64;
            image.suppressions.extend(entries.into_iter().map(|entry| (Key::of_entry(&entry), Arc::new(entry))));
            Ok((Taken { added, ..Taken::default() }, Vec::new()))
        })
        .await
    }

    async fn lift(&self, entries: Vec<Key>) -> Result<Vec<Key>, SpoolError> {
        self.write(Work::Settle, move |image| Ok((entries.into_iter().filter(|key| image.suppressions.remove(key).is_some()).collect(), Vec::new()))).await
    }

    async fn suppressed(
        &self,
        author_domain: &Domain,
        stream: &Stream,
        recipients: Vec<Mailbox>,
        now: Timestamp,
    ) -> Result<Vec<(Mailbox, Suppression)>, SpoolError> {
        let scopes = [None, Some(stream.clone())].map(|stream| Scope { author_domain: author_domain.clone(), stream });
        self.read(|image| {
            let entry_of = |mailbox: &Mailbox| {
                let entries = scopes.iter().filter_map(|scope| image.suppressions.get(&Key::of(scope, mailbox)));
                entries.into_iter().find(|entry| entry.counts_at(now)).map(|entry| (**entry).clone())
            };
            recipients.into_iter().filter_map(|mailbox| Some((mailbox.clone(), entry_of(&mailbox)?))).collect()
        })
        .await
    }

    async fn suppressions(&self, selection: &Selection, after: Option<Key>, entries_max: NonZeroUsize, now: Timestamp) -> Result<Listed, SpoolError> {
        self.read(|image| {
            let later = image.suppressions.iter().filter(|(key, _)| after.as_ref().is_none_or(|after| *key > after));
            let entries = later.filter(|(_, entry)| entry.counts_at(now) && selection.takes(entry)).take(entries_max.get());
            Listed { entries: entries.map(|(_, entry)| (**entry).clone()).collect(), ..Listed::default() }
        })
        .await
    }

    fn suppressions_count(&self) -> (u64, u64) {
        (self.0.disk.image().suppressions.len() as u64, u64::MAX)
    }
}
