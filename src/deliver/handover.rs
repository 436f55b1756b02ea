//! At the end of a relay that has an upstream: every recipient that waits, due or not, is handed to that postseal, which tries on from there.
//!
//! A shell. It runs when nobody else works on the spool: nothing is accepted any more, and no attempt is under way.
//!
//! | of a mail | the upstream gets | because |
//! |---|---|---|
//! | reverse-path | the submission's own, not the bounce address made here | our table of senders ends with us; the upstream makes a bounce address of its own, and tells the submitter |
//! | DSN parameters | as the submitter gave them | it is the upstream now that answers for them |
//! | seal | as it is | an upstream that trusts us does not seal again what bears a signature of the author domain |
//! | track id, tag, the time of a delivery that is still to come | as control fields | *normalise* takes them out there |
//!
//! A recipient is settled when the upstream has answered 250, and not before; one whose end is unknown is tried again, for to arrive twice is
//! better than not at all. Held and quarantined mail stays. What is left when the time is over is due again at the next start, if the disk
//! outlives us.

use super::ending::{self, Circumstances};
use super::passage::{Parcel, Passage};
use super::through::control_fields;
use super::worker::log;
use crate::mail::{MailId, Outcome, RouteName, Timestamp};
use crate::seal::Kind;
use crate::smtp::client::TransactionRecipient;
use crate::spool::{Ending, How, Lease, Leased, Queue, Records, SpoolError};
use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// What became of the queue, in recipients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HandedOver {
    /// The upstream has them.
    pub recipients: u64,
    /// It does not; they are still in the spool.
    pub left: u64,
}

/// Hands everything that waits to the upstream, for no longer than `within` and a moment for the last answers.
///
/// # Errors
/// The spool failed: what was handed over by then is settled, or would be handed over twice.
pub async fn hand_over<S: Records>(spool: &Arc<S>, passage: &Arc<Passage>, upstream: &RouteName, within: Duration) -> Result<HandedOver, SpoolError> {
    let now = passage.now();
    let smart_host = passage.settings().smart_hosts.get(upstream).cloned();
    let connections = smart_host.map_or(1, |host| host.limits.connections_max).clamp(1, CONNECTIONS_MAX);
    let work = Arc::new(Work {
        spool: spool.clone(),
        passage: passage.clone(),
        upstream: upstream.clone(),
        ends_at: now + within,
        horizon: now + HORIZON,
        handed_over: AtomicU64::new(0),
        refused: Mutex::default(),
        kept: Mutex::default(),
    });
    let (give, leases) = mpsc::channel(LEASES_AHEAD);
    let leases = Arc::new(tokio::sync::Mutex::new(leases));
    let workers: tokio::task::JoinSet<()> = (0..connections).map(|_| work.clone().carry(leases.clone())).collect();
    drop(leases);
    let claimed = work.claim_all(&give).await;
    drop(give);
    workers.join_all().await;
    work.give_back().await;
    passage.close().await;
    claimed?;
    let left = spool.counts().await?.recipients;
    Ok(HandedOver { recipients: work.handed_over.load(Ordering::Relaxed), left })
}

struct Work<S> {
    spool: Arc<S>,
    passage: Arc<Passage>,
    upstream: RouteName,
    ends_at: Timestamp,
    /// Everything is due before it, and every lease of ours lasts longer: what was claimed once is not claimed again.
    horizon: Timestamp,
    handed_over: AtomicU64,
    /// Recipients whom the upstream will not take.
    refused: Mutex<HashSet<(MailId, u32)>>,
    /// Leases that came to nothing.
    kept: Mutex<Vec<Lease>>,
}

impl<S: Records> Work<S> {
    async fn claim_all(&self, give: &mpsc::Sender<Lease>) -> Result<(), SpoolError> {
        let mut after: Option<Queue> = None;
        loop {
            let page = self.spool.queues(after.take(), QUEUES_PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.queue.clone());
            for state in page {
                loop {
                    if self.is_over() {
                        return Ok(());
                    }
                    let claimed = self.spool.claim(&state.queue, CLAIM, self.horizon, self.horizon + Duration::from_hours(1)).await?;
                    if claimed.leases.is_empty() && claimed.quarantined.is_empty() {
                        break;
                    }
                    for quarantined in &claimed.quarantined {
                        log::quarantined(&state.queue, quarantined);
                    }
                    for lease in claimed.leases {
                        if self.is_refused(&lease) {
                            self.keep(lease);
                        } else if let Err(unsent) = give.send(lease).await {
                            self.keep(unsent.0);
                        }
                    }
                }
            }
        }
    }

    /// One connection's work, until there is no more.
    async fn carry(self: Arc<Self>, leases: Arc<tokio::sync::Mutex<mpsc::Receiver<Lease>>>) {
        loop {
            let lease = leases.lock().await.recv().await;
            match lease {
                Some(lease) if self.is_over() => self.keep(lease),
                Some(lease) => self.hand(lease).await,
                None => return,
            }
        }
    }

    /// Tries one lease until it is settled, refused, or the time is over.
    async fn hand(&self, lease: Lease) {
        if lease.mail.kind == Kind::Returned {
            return self.keep(lease); // it goes home, by no other way
        }
        let message = match self.spool.message(lease.mail.id).await {
            Ok(message) => message,
            Err(fault) => {
                log::spool_fault("message", &fault);
                return self.keep(lease);
            }
        };
        loop {
            let passed = self.pass(&lease, &message).await;
            let is_taken = |outcome: &Outcome| matches!(outcome, Outcome::Delivered(_));
            let is_refused = |outcome: &Outcome| matches!(outcome, Outcome::Failed(_));
            if passed.iter().any(|outcome| is_taken(outcome) || is_refused(outcome)) {
                return self.settle(lease, passed).await;
            }
            if passed.iter().any(|outcome| outcome.evidence().unknown_end) && self.is_over() {
                return self.settle(lease, passed).await;
            }
            if self.passage.now() + RETRY_PAUSE >= self.ends_at {
                return self.keep(lease);
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    async fn pass(&self, lease: &Lease, message: &[u8]) -> Vec<Outcome> {
        let mail = &lease.mail;
        let recipients: Vec<TransactionRecipient<'_>> = lease
            .recipients
            .iter()
            .map(|recipient| TransactionRecipient { mailbox: &recipient.mailbox, notify: recipient.notify, orcpt: recipient.orcpt.as_ref() })
            .collect();
        let due_at = mail.expires_at - self.passage.settings().schedule(&mail.stream).max_age;
        let is_ahead = due_at > self.passage.now() && due_at > mail.accepted_at && lease.recipients.iter().all(|recipient| recipient.attempts == 0);
        let parcel = Parcel {
            mail_id: mail.id,
            route: &self.upstream,
            reverse_path: &mail.original_reverse_path,
            recipients: &recipients,
            envid: mail.envid.as_deref(),
            ret: mail.ret,
            seal: &mail.seal,
            control: &control_fields(mail.track_id.as_deref(), mail.tag.as_deref(), is_ahead.then_some(due_at)),
            message,
            whole: false,
            until: self.ends_at + LAST_ANSWERS,
            answer_min: Duration::ZERO,
        };
        self.passage.pass(&parcel).await.outcomes
    }

    /// What the upstream took is delivered; the rest is due again.
    async fn settle(&self, lease: Lease, outcomes: Vec<Outcome>) {
        let (mail, now, settings) = (lease.mail.clone(), self.passage.now(), self.passage.settings());
        let around = Circumstances {
            mail: &mail,
            schedule: settings.schedule(&mail.stream),
            reasons: &settings.reasons,
            started_at: now,
            kept_for: settings.returned_kept_for,
            now,
        };
        let queue = lease.recipients.first().map(|recipient| Queue::of(&mail.route, &recipient.mailbox));
        let mut taken = 0;
        let mut endings = Vec::with_capacity(outcomes.len());
        for (recipient, outcome) in lease.recipients.iter().zip(outcomes) {
            let conclusion = ending::conclude(&around, self.upstream.as_str(), recipient, outcome.clone(), true);
            if let Some(queue) = &queue {
                log::attempt(&mail, queue, self.upstream.as_str(), recipient, &conclusion);
            }
            taken += u64::from(matches!(outcome, Outcome::Delivered(_)));
            if matches!(outcome, Outcome::Failed(_)) {
                lock(&self.refused).insert((mail.id, recipient.index));
            }
            endings.push(Ending { how: how(recipient, outcome, now), ..conclusion.ending });
        }
        match self.spool.settle(lease, endings, Vec::new()).await {
            Ok(()) => _ = self.handed_over.fetch_add(taken, Ordering::Relaxed),
            Err(fault) => log::spool_fault("settle", &fault),
        }
    }

    /// Whatever came to nothing is due now: at the next start, if there is one on this disk.
    async fn give_back(&self) {
        let (kept, now) = (std::mem::take(&mut *lock(&self.kept)), self.passage.now());
        for lease in kept {
            let endings = lease.recipients.iter().map(|recipient| Ending::of(recipient.index, How::Released { next_at: now })).collect();
            if let Err(fault) = self.spool.settle(lease, endings, Vec::new()).await {
                log::spool_fault("settle", &fault);
            }
        }
    }

    fn is_refused(&self, lease: &Lease) -> bool {
        let refused = lock(&self.refused);
        lease.recipients.iter().all(|recipient| refused.contains(&(lease.mail.id, recipient.index)))
    }

    fn is_over(&self) -> bool {
        self.passage.now() >= self.ends_at
    }

    fn keep(&self, lease: Lease) {
        lock(&self.kept).push(lease);
    }
}

/// A refusal of the upstream is a matter between it and us: the mail has not failed, and its submitter is not told so.
fn how(recipient: &Leased, outcome: Outcome, now: Timestamp) -> How {
    match outcome {
        Outcome::Delivered(evidence) => How::Delivered(evidence),
        Outcome::Deferred(evidence) | Outcome::Failed(evidence) => How::Deferred { evidence, next_at: now, delay_told: recipient.delay_told },
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Connections at a time, if the smart host's own bound is not lower.
const CONNECTIONS_MAX: u32 = 16;
/// Leases claimed ahead of the connections.
const LEASES_AHEAD: usize = 64;
/// Recipients claimed at a time.
const CLAIM: NonZeroUsize = NonZeroUsize::MIN.saturating_add(99);
/// Queues looked up at a time.
const QUEUES_PAGE: NonZeroUsize = NonZeroUsize::MIN.saturating_add(199);
/// Further than any mail waits.
const HORIZON: Duration = Duration::from_hours(24 * 365 * 20);
/// How long an upstream that does not take a mail now is left alone.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// How long the answers to what was sent just before the end may take.
const LAST_ANSWERS: Duration = Duration::from_secs(3);
