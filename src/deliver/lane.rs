//! One queue, worked on: its way is found, its recipients are leased, and each lease is given to a connection, as many at a time as
//! are good for the provider. Ends when nothing is due, or nothing can go.
//!
//! A lane that has nothing to do rests for a moment, with a standing claim: what is committed to its queue meanwhile comes to it under lease.
//! It gives its place up as soon as others need one.
//!
//! A shell. No lease is taken before there is a connection, or the right to open one, so that a slow provider holds no leases.

use super::attempt::{Attempt, Line, Report, Tenure};
use super::counted;
use super::ending::{conclude, suppression};
use super::finding;
use super::pool::Waiting;
use super::provider::OTHER;
use super::route::PlannedHost;
use super::settings::Settings;
use super::shaping::Admission;
use super::way::Way;
use super::worker::{Resting, Shared, log};
use super::{Attempted, Tried as TriedRecipient};
use crate::mail::{Outcome, Timestamp};
use crate::spool::{Ending, How, Lease, Queue, Spool, SpoolError, StandingClaim};
use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Works on a queue until nothing of it is due, or nothing can go.
///
/// # Errors
/// The spool failed.
pub(super) async fn run<S: Spool>(shared: Arc<Shared<S>>, queue: Queue, nudge: Arc<Notify>) -> Result<(), SpoolError> {
    let settings = shared.settings.load_full();
    let found = tokio::select! {
        biased;
        () = shared.draining.cancelled() => return Ok(()),
        found = finding::find_way(&shared.resolver, &settings, &queue) => found,
    };
    match found {
        Ok(way) => {
            let (group, provider) = best_of(&way, &settings);
            shared.whereabouts.note(&queue, &provider);
            let lane = Lane {
                begun_at: shared.now(),
                way_found_at: shared.now(),
                has_claimed: false,
                settings,
                way: Arc::new(way),
                standing: shared.spool.stand(&queue),
                buffer: VecDeque::new(),
                lines: Vec::new(),
                jobs: JoinSet::new(),
                settlements: JoinSet::new(),
                dry: false,
                has_stirred: false,
                unreachable: None,
                group,
                provider,
                waiting: None,
                queue,
                nudge,
                shared,
            };
            lane.work().await
        }
        Err(why) => {
            let provider = shared.whereabouts.of(&queue).unwrap_or_else(|| OTHER.into());
            end_all(&shared, &settings, &queue, &provider, &why.outcome(shared.now())).await
        }
    }
}

/// What the best host of a way shares its limits with, and who stands behind it.
fn best_of(way: &Way, settings: &Settings) -> (Arc<str>, Arc<str>) {
    let best = way.order(0).first().map(|host| way.place(&host.name, settings));
    best.map_or_else(|| ("".into(), OTHER.into()), |place| (place.group, place.provider))
}

struct Lane<S: Spool> {
    shared: Arc<Shared<S>>,
    settings: Arc<Settings>,
    way: Arc<Way>,
    queue: Queue,
    /// Told when something of it is due.
    nudge: Arc<Notify>,
    /// Mail that is committed while there is nothing else to do.
    standing: StandingClaim,
    /// Leases not yet given to a connection.
    buffer: VecDeque<Lease>,
    /// Connections not at work.
    lines: Vec<Line>,
    /// Attempts under way.
    jobs: JoinSet<Tried<S>>,
    /// What attempts led to, on its way into the spool. Their connections are at work again meanwhile.
    settlements: JoinSet<()>,
    /// The last claim found all there was.
    dry: bool,
    /// Something was claimed since the dispatcher was told last.
    has_stirred: bool,
    /// No host could be talked to, and no connection is left.
    unreachable: Option<Outcome>,
    begun_at: Timestamp,
    way_found_at: Timestamp,
    /// Something was found to do.
    has_claimed: bool,
    /// What the best host shares its limits with.
    group: Arc<str>,
    /// Who stands behind the best host.
    provider: Arc<str>,
    /// There is no connection yet, and others have them all: since then.
    waiting: Option<(Waiting, Instant)>,
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
    async fn work(mut self) -> Result<(), SpoolError> {
        let worked = self.work_until_done().await;
        let standing = std::mem::replace(&mut self.standing, StandingClaim::none(&self.queue));
        self.buffer.extend(standing.end().await);
        self.release_buffer();
        while self.settlements.join_next().await.is_some() {}
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

    async fn work_until_done(&mut self) -> Result<(), SpoolError> {
        let mut changes = self.shared.pool.changes();
        let mut rest: Option<(Instant, Resting<S>)> = None;
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
            if blocked != Blocked::Full {
                self.give_up_what_others_need(blocked);
            }
            if blocked == Blocked::Done && !self.must_stop() && !self.has_nothing_to_do() {
                continue; // its turn was over, and is not any more
            }
            let room = if blocked == Blocked::Done && !self.must_stop() { CLAIM_MIN.min(self.settings.claim_recipients_max) } else { 0 };
            self.standing.allow(room, self.settings.lease);
            let idle = self.jobs.is_empty() && self.settlements.is_empty();
            match blocked {
                // Before it had a connection.
                Blocked::Done if idle && self.waiting.is_some() && self.turn_is_over() && !self.has_ended() => return self.make_room().await,
                Blocked::Done if idle && self.must_stop() => return Ok(()),
                Blocked::Done if idle => {
                    self.give_up_lines(); // others may need them
                    self.waiting = None;
                    rest = rest.or_else(|| Some((Instant::now() + REST, self.shared.rest())));
                    if std::mem::take(&mut self.has_stirred) {
                        self.shared.wake.notify_one(); // when is what now?
                    }
                }
                Blocked::Until(until) if idle => return self.shared.spool.park(&self.queue, until).await,
                Blocked::Done | Blocked::Until(_) | Blocked::Full => {}
            }
            if idle && blocked == Blocked::Full && self.waiting.is_none() {
                self.waiting = Some((self.shared.pool.wait_for(&self.group), Instant::now()));
                continue; // whoever gives one up for us may have done so already
            }
            // Neither nudges nor what becomes free elsewhere prolong it.
            let patience = if self.shared.is_crowded() { PATIENCE_IN_A_CROWD } else { PATIENCE };
            let waits_until = self.waiting.as_ref().map_or_else(Instant::now, |(_, since)| *since) + patience;
            if blocked != Blocked::Done || !idle {
                rest = None;
            }
            let resting = rest.is_some();
            tokio::select! {
                biased;
                leases = self.standing.granted() => {
                    self.has_claimed = true;
                    self.buffer.extend(leases);
                }
                () = self.shared.crowding.notified(), if resting => return Ok(()),
                () = tokio::time::sleep_until(rest.as_ref().map_or_else(Instant::now, |(until, _)| *until)), if resting => return Ok(()),
                () = tokio::time::sleep_until(waits_until), if idle && !resting => return self.make_room().await,
                Some(done) = self.jobs.join_next(), if !self.jobs.is_empty() => self.note(done),
                done = self.settlements.join_next(), if !self.settlements.is_empty() => note_settled(&self.queue, done),
                _ = changes.changed(), if blocked == Blocked::Full => {}
                () = self.nudge.notified() => self.dry = false,
                () = self.shared.draining.cancelled(), if idle => return Ok(()),
                () = tokio::time::sleep(KEEPS_FOR_NEWS), if blocked != Blocked::Full && !self.lines.is_empty() => self.give_up_lines(),
            }
        }
    }

    /// The provider is busy with other queues: this one makes room for queues that can go, and comes back.
    async fn make_room(&self) -> Result<(), SpoolError> {
        let rest = PATIENCE / 2 + PATIENCE * u32::try_from(self.shared.seed() % 100).unwrap_or(0) / 100;
        self.shared.spool.park(&self.queue, self.shared.now() + rest).await
    }

    /// Nothing more is started for now, and what is under way may take minutes: connections that others wait for, and mail that does not
    /// get one here any more, are not to wait for that.
    fn give_up_what_others_need(&mut self, blocked: Blocked) {
        if !self.lines.is_empty() && self.shared.pool.is_waited_for(&self.group) {
            self.give_up_lines();
        }
        if self.must_stop() || matches!(blocked, Blocked::Until(_)) {
            self.release_buffer();
        }
    }

    fn release_buffer(&mut self) {
        let now = self.shared.now();
        for lease in self.buffer.drain(..) {
            let shared = self.shared.clone();
            self.settlements.spawn(async move { release(&shared, lease, now).await });
        }
    }

    /// Settings that were read anew count for what is begun from here on, and so does what the DNS says by now: a queue with a steady stream
    /// of mail has one lane for days. What is under way keeps what it began with.
    async fn refresh(&mut self) {
        let settings = self.shared.settings.load_full();
        let is_new = !Arc::ptr_eq(&settings, &self.settings);
        if !is_new && self.shared.now().since(self.way_found_at) < WAY_AGE_MAX {
            return;
        }
        let found = tokio::select! {
            biased;
            () = self.shared.draining.cancelled() => return,
            found = finding::find_way(&self.shared.resolver, &settings, &self.queue) => found,
        };
        self.way_found_at = self.shared.now();
        match found {
            Ok(way) => {
                // The pool gives back those that still fit.
                self.give_up_lines();
                (self.group, self.provider) = best_of(&way, &settings);
                self.shared.whereabouts.note(&self.queue, &self.provider);
                (self.way, self.settings, self.waiting) = (Arc::new(way), settings, None);
            }
            Err(_) if !is_new => {} // what was known is better than nothing
            Err(why) => self.unreachable = Some(why.outcome(self.shared.now())),
        }
    }

    /// Starts as many attempts as there are leases and connections for.
    async fn launch(&mut self) -> Result<Blocked, SpoolError> {
        loop {
            if self.must_stop() || self.has_nothing_to_do() {
                return Ok(Blocked::Done);
            }
            self.refresh().await;
            if self.must_stop() {
                return Ok(Blocked::Done);
            }
            if self.settlements.len() >= SETTLEMENTS_MAX {
                return Ok(Blocked::Full);
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

    fn has_nothing_to_do(&self) -> bool {
        self.buffer.is_empty() && self.dry
    }

    fn must_stop(&self) -> bool {
        self.has_ended() || self.turn_is_over()
    }

    fn has_ended(&self) -> bool {
        self.unreachable.is_some() || self.shared.draining.is_cancelled()
    }

    fn turn_is_over(&self) -> bool {
        self.shared.is_crowded() && self.shared.now().since(self.begun_at) > TURN
    }

    async fn claim(&mut self) -> Result<(), SpoolError> {
        // What it was nudged for until now, this claim finds.
        std::pin::pin!(self.nudge.notified()).enable();
        let now = self.shared.now();
        let busy = self.jobs.len() + 1;
        let wanted = (busy * LEASES_PER_CONNECTION).max(CLAIM_MIN).min(self.settings.claim_recipients_max);
        let wanted = NonZeroUsize::new(wanted).unwrap_or(NonZeroUsize::MIN);
        let claimed = self.shared.spool.claim(&self.queue, wanted, self.shared.claimable_by(), now + self.settings.lease).await?;
        self.shared.note_room();
        for quarantined in &claimed.quarantined {
            log::quarantined(&self.queue, quarantined);
        }
        self.has_stirred = true;
        self.has_claimed |= !claimed.leases.is_empty() || !claimed.quarantined.is_empty();
        let recipients: usize = claimed.leases.iter().map(|lease| lease.recipients.len()).sum();
        self.dry = recipients < wanted.get() && claimed.quarantined.is_empty();
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

    fn note(&mut self, done: Result<Tried<S>, tokio::task::JoinError>) {
        let Tried { mut report, settlement } = match done {
            Ok(tried) => tried,
            Err(fault) => return log::attempt_broke(&self.queue, &fault),
        };
        if let Some(kept) = report.kept.take() {
            self.lines.push(Line::Open(kept));
        }
        if let Some(evidence) = report.unreachable.take().filter(|_| self.lines.is_empty() && self.jobs.is_empty()) {
            self.unreachable = Some(Outcome::Deferred(evidence));
        }
        self.settlements.spawn(settlement.settle(report));
    }
}

fn note_settled(queue: &Queue, done: Option<Result<(), tokio::task::JoinError>>) {
    if let Some(Err(fault)) = done {
        log::attempt_broke(queue, &fault);
    }
}

/// What an attempt led to, and how it gets into the spool.
struct Tried<S: Spool> {
    report: Report,
    settlement: Settlement<S>,
}

/// A lease whose attempt is over. It stays ours until the spool has it.
struct Settlement<S: Spool> {
    shared: Arc<Shared<S>>,
    settings: Arc<Settings>,
    queue: Queue,
    lease: Lease,
    _tenure: Arc<Tenure>,
}

impl<S: Spool> Settlement<S> {
    async fn settle(self, mut report: Report) {
        settle(&self.shared, &self.settings, &self.queue, self.lease, &mut report).await;
    }
}

/// One lease: tried, renewed while it is tried.
async fn attempt<S: Spool>(shared: Arc<Shared<S>>, settings: Arc<Settings>, way: Arc<Way>, queue: Queue, line: Line, mut lease: Lease) -> Tried<S> {
    let began_at = shared.now();
    let tenure = Tenure::new(lease.until);
    shared.enter(&tenure);
    let mut attempt = Attempt::new(&shared, &settings, &way, line, &lease, tenure.clone());
    let was_cut = {
        let run = attempt.run();
        tokio::pin!(run);
        loop {
            let renewal_at = lease.until - settings.lease * 3 / 4;
            let renewal = renewal_at.since(shared.now()).clamp(RENEWAL_PAUSE, RENEWAL_LOOK);
            tokio::select! {
                biased;
                () = &mut run => break false,
                () = shared.cut.cancelled() => break true,
                () = tokio::time::sleep(renewal) => if shared.now() >= renewal_at {
                    renew(&shared, &settings, &mut lease, &tenure).await;
                },
            }
        }
    };
    if was_cut {
        attempt.cut();
    }
    let report = Report { began_at: Some(began_at), ..attempt.report() };
    Tried { report, settlement: Settlement { shared, settings, queue, lease, _tenure: tenure } }
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
    let (mut told, mut concluded, mut tried) = (Vec::new(), Vec::with_capacity(report.ended.len()), Vec::new());
    for ended in report.ended.drain(..) {
        let mut conclusion = conclude(&around, &ended.provider, &ended.recipient, ended.outcome, ended.dsn_passed_on);
        conclusion.ending.suppression = suppression(&settings.suppression, &mail, &ended.recipient, &conclusion, ended.proof);
        told.extend(conclusion.told.take());
        if mail.trace.is_some() {
            tried.push((ended.recipient.clone(), ended.provider.clone(), conclusion.ending.how.clone()));
        }
        endings.push(conclusion.ending.clone());
        concluded.push((ended.recipient, ended.provider, conclusion));
    }
    let notices = match &report.message {
        Some(message) if !told.is_empty() => shared.notices.notices(&mail, message, &told, around.now),
        _ => Vec::new(),
    };
    let is_to_be_looked_for = !notices.is_empty() || endings.iter().any(goes_on);
    let settled = shared.spool.settle(lease, endings, notices).await;
    // Told when it is written: who reads of an attempt finds its outcome in the queue and in the journal.
    for (recipient, provider, conclusion) in &concluded {
        counted::ended(&shared.meters, provider, &mail, conclusion);
        log::attempt(&mail, queue, provider, recipient, conclusion);
        shared.tally.count(&conclusion.ending.how);
        if settled.is_ok() && matches!(conclusion.ending.how, How::Failed(_) | How::Kept { .. }) {
            log::bounced(&mail, recipient, &conclusion.ending);
            log::suppressed(&mail, &conclusion.ending);
        }
    }
    match settled {
        Err(fault) => shared.note_fault("settle", &fault),
        Ok(()) if is_to_be_looked_for => shared.wake.notify_one(),
        Ok(()) => {}
    }
    if !tried.is_empty() {
        let tried = tried.iter().map(|(leased, provider, how)| TriedRecipient { recipient: &leased.mailbox, attempts: leased.attempts + 1, provider, how });
        let recipients: Vec<_> = tried.collect();
        shared.notices.attempted(&Attempted { mail: &mail, queue, began_at, ended_at: shared.now(), recipients: &recipients });
    }
}

/// It is due again at a time that the dispatcher has to know: a lane with a steady stream of mail wakes it for nothing else.
const fn goes_on(ending: &Ending) -> bool {
    matches!(ending.how, How::Deferred { .. } | How::Released { .. })
}

async fn release<S: Spool>(shared: &Shared<S>, lease: Lease, next_at: Timestamp) {
    let endings = lease.recipients.iter().map(|leased| Ending::of(leased.index, How::Released { next_at })).collect();
    match shared.spool.settle(lease, endings, Vec::new()).await {
        Ok(()) => shared.wake.notify_one(),
        Err(fault) => shared.note_fault("settle", &fault),
    }
}

/// Gives everything that is due in a queue the same outcome: there is no way, or nobody at its end.
async fn end_all<S: Spool>(shared: &Arc<Shared<S>>, settings: &Arc<Settings>, queue: &Queue, provider: &Arc<str>, outcome: &Outcome) -> Result<(), SpoolError> {
    let batch = NonZeroUsize::new(settings.claim_recipients_max).unwrap_or(NonZeroUsize::MIN);
    let begun_at = shared.claimable_by();
    while !shared.draining.is_cancelled() {
        // Hundreds of lanes may come here at once, and each has a batch of leases, with their seals and some of their messages, in memory.
        let _turn = shared.ending.acquire().await;
        if shared.draining.is_cancelled() {
            break;
        }
        let claimed = shared.spool.claim(queue, batch, begun_at, shared.now() + settings.lease).await?;
        if claimed.leases.is_empty() && claimed.quarantined.is_empty() {
            break;
        }
        let mut settlements = JoinSet::new();
        for lease in claimed.leases {
            // Nobody fails whose message cannot be read: there would be nothing to tell the submitter of it.
            let mut report = match shared.spool.message(lease.mail.id).await {
                Ok(message) => Report { message: Some(message), ..Report::default() },
                Err(fault) => Report { unreadable: Some(fault), ..Report::default() },
            };
            if report.unreadable.is_none() {
                report.end_with(&lease, provider, outcome);
            }
            // Each holds its message until it is in the spool.
            while settlements.len() >= SETTLEMENTS_MAX {
                note_settled(queue, settlements.join_next().await);
            }
            let (shared, settings, queue) = (shared.clone(), settings.clone(), queue.clone());
            settlements.spawn(async move { settle(&shared, &settings, &queue, lease, &mut report).await });
        }
        while !settlements.is_empty() {
            note_settled(queue, settlements.join_next().await);
        }
    }
    Ok(())
}

/// Recipients leased ahead for each connection.
const LEASES_PER_CONNECTION: usize = 4;
/// Recipients leased at least, so that those of one message stay together.
const CLAIM_MIN: usize = 50;
/// Attempts that are over and not yet in the spool: were it slow, no more is sent.
const SETTLEMENTS_MAX: usize = 64;
/// How long a lane waits for its first connection before it makes room.
const PATIENCE: Duration = Duration::from_secs(20);
/// The same while other queues are due and have no lane: one busy provider must not hold up the mail for all others.
const PATIENCE_IN_A_CROWD: Duration = Duration::from_secs(2);
/// How long a lane without mail keeps its connections to itself while others of its are at work.
const KEEPS_FOR_NEWS: Duration = Duration::from_millis(500);
/// A way is looked up again when it is so old; the resolver knows how long answers hold.
const WAY_AGE_MAX: Duration = Duration::from_mins(5);
/// How long a lane that has nothing to do waits for more before it ends, if nobody needs its place.
const REST: Duration = Duration::from_secs(3);
/// How long a lane may go on while other queues wait for one.
const TURN: Duration = Duration::from_mins(1);
/// A queue that was due and had nothing to give is not looked at faster.
const NOTHING_PAUSE: Duration = Duration::from_millis(50);
/// How long mail rests that could not be read for want of something the system will have again.
const BUSY_SPOOL_PAUSE: Duration = Duration::from_secs(30);
/// A renewal that failed is not repeated faster.
const RENEWAL_PAUSE: Duration = Duration::from_secs(1);
/// The clock is looked at so often, in case it has jumped.
const RENEWAL_LOOK: Duration = Duration::from_secs(10);
