//! One queue, worked on: its way is found, its recipients are leased, and each lease is given to a connection, as many at a time as
//! are good for the provider. Ends when nothing is due, or nothing can go.
//!
//! A shell. No lease is taken before there is a connection, or the right to open one, so that a slow provider holds no leases.

use super::attempt::{Attempt, Line, Report, Tenure};
use super::counted;
use super::ending::conclude;
use super::finding;
use super::pool::Waiting;
use super::provider::OTHER;
use super::route::PlannedHost;
use super::settings::Settings;
use super::shaping::Admission;
use super::way::Way;
use super::worker::{Shared, log};
use super::{Attempted, Tried};
use crate::mail::{Outcome, Timestamp};
use crate::spool::{Ending, How, Lease, Queue, Spool, SpoolError};
use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// Works on a queue until nothing of it is due, or nothing can go.
///
/// # Errors
/// The spool failed.
pub(super) async fn run<S: Spool>(shared: Arc<Shared<S>>, queue: Queue, nudge: Arc<Notify>) -> Result<(), SpoolError> {
    let settings = shared.settings.load_full();
    match finding::find_way(&shared.resolver, &settings, &queue).await {
        Ok(way) => {
            let best = way.order(0).first().map(|host| way.place(&host.name, &settings));
            let (group, provider) = best.map_or_else(|| ("".into(), OTHER.into()), |place| (place.group, place.provider));
            shared.whereabouts.note(&queue, &provider);
            let lane = Lane {
                begun_at: shared.now(),
                has_claimed: false,
                shared,
                settings,
                way: Arc::new(way),
                queue,
                buffer: VecDeque::new(),
                lines: Vec::new(),
                jobs: JoinSet::new(),
                dry: false,
                unreachable: None,
                group,
                provider,
                waiting: None,
            };
            lane.work(&nudge).await
        }
        Err(why) => {
            let provider = shared.whereabouts.of(&queue).unwrap_or_else(|| OTHER.into());
            end_all(&shared, &settings, &queue, &provider, &why.outcome(shared.now())).await
        }
    }
}

struct Lane<S: Spool> {
    shared: Arc<Shared<S>>,
    settings: Arc<Settings>,
    way: Arc<Way>,
    queue: Queue,
    /// Leases not yet given to a connection.
    buffer: VecDeque<Lease>,
    /// Connections not at work.
    lines: Vec<Line>,
    jobs: JoinSet<Report>,
    /// The last claim found nothing.
    dry: bool,
    /// No host could be talked to, and no connection is left.
    unreachable: Option<Outcome>,
    begun_at: Timestamp,
    /// Something was found to do.
    has_claimed: bool,
    /// What the best host shares its limits with.
    group: Arc<str>,
    /// Who stands behind the best host.
    provider: Arc<str>,
    /// There is no connection yet, and others have them all.
    waiting: Option<Waiting>,
}

/// What keeps a lane from starting more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blocked {
    /// Nothing more is to be started.
    Done,
    /// As many connections as there may be now.
    Full,
    /// Nothing may go before then.
    Until(Timestamp),
}

impl<S: Spool> Lane<S> {
    async fn work(mut self, nudge: &Notify) -> Result<(), SpoolError> {
        let worked = self.work_until_done(nudge).await;
        let now = self.shared.now();
        for lease in std::mem::take(&mut self.buffer) {
            release(&self.shared, lease, now).await;
        }
        self.give_up_lines();
        if !self.has_claimed {
            tokio::time::sleep(NOTHING_PAUSE).await;
        }
        worked?;
        match self.unreachable.take() {
            Some(outcome) => end_all(&self.shared, &self.settings, &self.queue, &self.provider, &outcome).await,
            None => Ok(()),
        }
    }

    async fn work_until_done(&mut self, nudge: &Notify) -> Result<(), SpoolError> {
        let mut changes = self.shared.pool.changes();
        loop {
            changes.borrow_and_update();
            let blocked = match self.launch().await {
                Ok(blocked) => blocked,
                Err(fault) => {
                    while let Some(done) = self.jobs.join_next().await {
                        self.note(done);
                    }
                    return Err(fault);
                }
            };
            let idle = self.jobs.is_empty();
            match blocked {
                Blocked::Done if idle => return Ok(()),
                Blocked::Until(until) if idle => return self.shared.spool.park(&self.queue, until).await,
                Blocked::Done | Blocked::Until(_) | Blocked::Full => {}
            }
            if idle && blocked == Blocked::Full && self.waiting.is_none() {
                self.waiting = Some(self.shared.pool.wait_for(&self.group));
                continue; // whoever gives one up for us may have done so already
            }
            tokio::select! {
                Some(done) = self.jobs.join_next(), if !idle => self.note(done),
                _ = changes.changed(), if blocked == Blocked::Full => {}
                () = nudge.notified() => self.dry = false,
                () = self.shared.draining.cancelled(), if idle => return Ok(()),
                () = tokio::time::sleep(PATIENCE), if idle => {
                    // The provider is busy with other queues: make room for queues that can go, and come back.
                    let rest = PATIENCE / 2 + PATIENCE * u32::try_from(self.shared.seed() % 100).unwrap_or(0) / 100;
                    return self.shared.spool.park(&self.queue, self.shared.now() + rest).await;
                }
            }
        }
    }

    /// Starts as many attempts as there are leases and connections for.
    async fn launch(&mut self) -> Result<Blocked, SpoolError> {
        loop {
            if self.must_stop() || (self.buffer.is_empty() && self.dry) {
                return Ok(Blocked::Done);
            }
            let line = match self.line() {
                Ok(line) => line,
                Err(blocked) => return Ok(blocked),
            };
            if self.buffer.is_empty() {
                self.claim().await?;
            }
            let Some(mut lease) = self.buffer.pop_front() else {
                self.lines.push(line);
                continue;
            };
            if lease.until < self.shared.now() + self.settings.lease * 3 / 4 {
                // It waited for a connection. Should somebody else have it by now, it is theirs.
                if let Err(fault) = self.shared.spool.renew(&mut lease, self.shared.now() + self.settings.lease).await {
                    self.shared.note_fault("renew", &fault);
                    self.lines.push(line);
                    continue;
                }
            }
            if let Err(turn) = self.shared.take_turn(&self.settings, &lease) {
                release(&self.shared, lease, turn).await;
                self.lines.push(line);
                continue;
            }
            self.waiting = None;
            self.jobs.spawn(attempt(self.shared.clone(), self.settings.clone(), self.way.clone(), self.queue.clone(), line, lease));
        }
    }

    fn must_stop(&self) -> bool {
        let turn_is_over = self.shared.is_crowded() && self.shared.now().since(self.begun_at) > TURN;
        self.unreachable.is_some() || turn_is_over || self.shared.draining.is_cancelled()
    }

    async fn claim(&mut self) -> Result<(), SpoolError> {
        let now = self.shared.now();
        let busy = self.jobs.len() + 1;
        let wanted = (busy * LEASES_PER_CONNECTION).max(CLAIM_MIN).min(self.settings.claim_recipients_max);
        let wanted = NonZeroUsize::new(wanted).unwrap_or(NonZeroUsize::MIN);
        let claimed = self.shared.spool.claim(&self.queue, wanted, now, now + self.settings.lease).await?;
        for quarantined in &claimed.quarantined {
            log::quarantined(&self.queue, quarantined);
        }
        self.dry = claimed.leases.is_empty() && claimed.quarantined.is_empty();
        self.has_claimed |= !self.dry;
        self.buffer.extend(claimed.leases);
        Ok(())
    }

    /// A connection at rest, an idle one of the pool, or the right to open one to the best host that can be talked to.
    fn line(&mut self) -> Result<Line, Blocked> {
        if !self.jobs.is_empty() && self.shared.pool.is_waited_for(&self.group) {
            self.give_up_lines();
            return Err(Blocked::Full);
        }
        while let Some(line) = self.lines.pop() {
            if !self.shared.pool.has_surplus(line.place()) {
                return Ok(line);
            }
            if let Line::Open(kept) = line {
                tokio::spawn(kept.close());
            }
        }
        let mut hosts: VecDeque<PlannedHost> = self.way.order(self.shared.seed()).into();
        let (mut full_at, mut until) = (None, None::<Timestamp>);
        while let Some(host) = hosts.front() {
            if full_at.is_some_and(|preference| host.preference > preference) {
                break; // a busy host is waited for; a worse one is for when it is silent
            }
            let place = self.way.place(&host.name, &self.settings);
            let mut targets = host.addresses.iter().map(|address| self.way.target(&place, *address, &self.settings));
            if let Some(kept) = targets.find_map(|target| self.shared.pool.take(&target)) {
                return Ok(Line::Open(Box::new(kept)));
            }
            match self.shared.pool.admit(&place) {
                Ok(permit) => return Ok(Line::Admitted(permit, hosts)),
                Err(Admission::Paused(pause) | Admission::Down(pause)) => until = Some(until.map_or(pause, |other| other.min(pause))),
                Err(Admission::Full | Admission::Granted) => full_at = full_at.or(Some(host.preference)),
            }
            hosts.pop_front();
        }
        Err(match until {
            Some(until) if full_at.is_none() => Blocked::Until(until),
            _ => Blocked::Full,
        })
    }

    fn give_up_lines(&mut self) {
        for line in self.lines.drain(..) {
            if let Line::Open(kept) = line {
                self.shared.pool.keep(*kept, self.settings.idle, self.settings.idle_connections_max);
            }
        }
    }

    fn note(&mut self, done: Result<Report, tokio::task::JoinError>) {
        let report = match done {
            Ok(report) => report,
            Err(fault) => return log::attempt_broke(&self.queue, &fault),
        };
        if let Some(kept) = report.kept {
            self.lines.push(Line::Open(kept));
        }
        if let Some(evidence) = report.unreachable.filter(|_| self.lines.is_empty() && self.jobs.is_empty()) {
            self.unreachable = Some(Outcome::Deferred(evidence));
        }
    }
}

/// One lease: tried, renewed while it is tried, settled.
async fn attempt<S: Spool>(shared: Arc<Shared<S>>, settings: Arc<Settings>, way: Arc<Way>, queue: Queue, line: Line, mut lease: Lease) -> Report {
    let began_at = shared.now();
    let tenure = Tenure::new(lease.until);
    let mut attempt = Attempt::new(&shared, &settings, &way, line, &lease, tenure.clone());
    let was_cut = {
        let run = attempt.run();
        tokio::pin!(run);
        loop {
            let renewal = (lease.until - settings.lease * 3 / 4).since(shared.now());
            tokio::select! {
                () = &mut run => break false,
                () = shared.cut.cancelled() => break true,
                () = tokio::time::sleep(renewal.max(RENEWAL_PAUSE)) => renew(&shared, &settings, &mut lease, &tenure).await,
            }
        }
    };
    if was_cut {
        attempt.cut();
    }
    let mut report = Report { began_at: Some(began_at), ..attempt.report() };
    settle(&shared, &settings, &queue, lease, &mut report).await;
    report
}

async fn renew<S: Spool>(shared: &Shared<S>, settings: &Settings, lease: &mut Lease, tenure: &Tenure) {
    match shared.spool.renew(lease, shared.now() + settings.lease).await {
        Ok(()) => tenure.renewed(lease.until),
        Err(fault) => {
            if matches!(fault, SpoolError::LeaseLost(_)) {
                tenure.lost();
            }
            shared.note_fault("renew", &fault);
        }
    }
}

/// Writes the endings, and the notices that tell of them, in one commit.
async fn settle<S: Spool>(shared: &Shared<S>, settings: &Settings, queue: &Queue, lease: Lease, report: &mut Report) {
    if let Some(fault) = report.unreadable.take() {
        // Damaged: it was set aside. Not now: again soon. Anything else: the lease runs out and the mail is due again.
        shared.note_fault("message", &fault);
        if matches!(fault, SpoolError::Busy(_)) {
            release(shared, lease, shared.now() + BUSY_SPOOL_PAUSE).await;
        }
        return;
    }
    let mail = lease.mail.clone();
    let around = Report::circumstances(shared, settings, &mail);
    let began_at = report.began_at.unwrap_or(around.now);
    let mut endings: Vec<Ending> = report.released.drain(..).map(|(leased, next_at)| Ending::of(leased.index, How::Released { next_at })).collect();
    let (mut told, mut bounced, mut tried) = (Vec::new(), Vec::new(), Vec::new());
    for ended in report.ended.drain(..) {
        let conclusion = conclude(&around, &ended.provider, &ended.recipient, ended.outcome, ended.dsn_passed_on);
        counted::ended(&shared.meters, &ended.provider, &mail, &conclusion);
        log::attempt(&mail, queue, &ended.provider, &ended.recipient, &conclusion);
        told.extend(conclusion.told);
        if mail.trace.is_some() {
            tried.push((ended.recipient.clone(), ended.provider, conclusion.ending.how.clone()));
        }
        if matches!(conclusion.ending.how, How::Failed(_)) {
            bounced.push((ended.recipient, conclusion.ending.clone()));
        }
        endings.push(conclusion.ending);
    }
    let notices = match &report.message {
        Some(message) if !told.is_empty() => shared.notices.notices(&mail, message, &told, around.now),
        _ => Vec::new(),
    };
    let has_notices = !notices.is_empty();
    let counted = endings.clone();
    if let Err(fault) = shared.spool.settle(lease, endings, notices).await {
        shared.note_fault("settle", &fault);
    } else {
        for (recipient, ending) in &bounced {
            log::bounced(&mail, recipient, ending);
        }
        if has_notices {
            shared.wake.notify_one();
        }
    }
    for ending in &counted {
        shared.tally.count(&ending.how);
    }
    if !tried.is_empty() {
        let tried = tried.iter().map(|(leased, provider, how)| Tried { recipient: &leased.mailbox, attempts: leased.attempts + 1, provider, how });
        let recipients: Vec<_> = tried.collect();
        shared.notices.attempted(&Attempted { mail: &mail, queue, began_at, ended_at: shared.now(), recipients: &recipients });
    }
}

async fn release<S: Spool>(shared: &Shared<S>, lease: Lease, next_at: Timestamp) {
    let endings = lease.recipients.iter().map(|leased| Ending::of(leased.index, How::Released { next_at })).collect();
    if let Err(fault) = shared.spool.settle(lease, endings, Vec::new()).await {
        shared.note_fault("settle", &fault);
    }
}

/// Gives everything that is due in a queue the same outcome: there is no way, or nobody at its end.
async fn end_all<S: Spool>(shared: &Arc<Shared<S>>, settings: &Settings, queue: &Queue, provider: &Arc<str>, outcome: &Outcome) -> Result<(), SpoolError> {
    let batch = NonZeroUsize::new(settings.claim_recipients_max).unwrap_or(NonZeroUsize::MIN);
    let begun_at = shared.now();
    while !shared.draining.is_cancelled() {
        let claimed = shared.spool.claim(queue, batch, begun_at, shared.now() + settings.lease).await?;
        if claimed.leases.is_empty() && claimed.quarantined.is_empty() {
            break;
        }
        for lease in claimed.leases {
            // Nobody fails whose message cannot be read: there would be nothing to tell the submitter of it.
            let mut report = match shared.spool.message(lease.mail.id).await {
                Ok(message) => Report { message: Some(message), ..Report::default() },
                Err(fault) => Report { unreadable: Some(fault), ..Report::default() },
            };
            if report.unreadable.is_none() {
                report.end_with(&lease, provider, outcome);
            }
            settle(shared, settings, queue, lease, &mut report).await;
        }
    }
    Ok(())
}

/// Recipients leased ahead for each connection.
const LEASES_PER_CONNECTION: usize = 4;
/// Recipients leased at least, so that those of one message stay together.
const CLAIM_MIN: usize = 50;
/// How long a lane waits for its first connection before it makes room.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a lane may go on while other queues wait for one.
const TURN: Duration = Duration::from_mins(1);
/// A queue that was due and had nothing to give is not looked at faster.
const NOTHING_PAUSE: Duration = Duration::from_millis(50);
/// How long mail rests that could not be read for want of something the system will have again.
const BUSY_SPOOL_PAUSE: Duration = Duration::from_secs(30);
/// A renewal that failed is not repeated faster.
const RENEWAL_PAUSE: Duration = Duration::from_secs(1);
