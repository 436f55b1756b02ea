//! Which queues are worked on, and when: asks the spool what is due, gives each queue a lane, sleeps until something changes.
//! A shell: clock, chance and the log are here.
//!
//! Wakes when mail was committed ([`Delivery::wake`]), when a lane ends, and when the next recipient becomes due; idle, it does nothing.

use super::attempt::{Ended, Report, Tenure};
use super::failing::Failing;
use super::network::Network;
use super::pool::Pool;
use super::settings::Settings;
use super::throttle::{Rate, Throttle};
use super::tls::ClientTls;
use super::whereabouts::Whereabouts;
use super::{Notices, Reseal, lane};
use crate::clock::Clock;
use crate::dns::Resolver;
use crate::events::meters;
use crate::mail::{IdentityName, Outcome, Stream, Timestamp};
use crate::seal::Kind;
use crate::spool::{Health, How, Lease, Queue, Spool, SpoolError};
use arc_swap::ArcSwap;
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::{Id, JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

/// The running station.
pub struct Delivery {
    handle: Box<dyn Handle>,
    dispatcher: Mutex<Option<JoinHandle<()>>>,
}

/// Draws a number; a test may give its own.
pub type Chance = Arc<dyn Fn() -> u64 + Send + Sync>;

/// What the station asks of others, and where it counts.
pub struct Outside {
    /// Who writes notices.
    pub notices: Arc<dyn Notices>,
    /// Who seals again.
    pub reseal: Arc<dyn Reseal>,
    /// The time.
    pub clock: Clock,
    /// Chance, for shuffling and jitter.
    pub chance: Chance,
    /// Where next hops are.
    pub network: Arc<dyn Network>,
    /// Where it counts.
    pub meters: Arc<meters::Deliver>,
}

/// What has happened since the start.
#[derive(Debug, Default)]
pub struct Tally {
    /// Recipients delivered.
    pub delivered: AtomicU64,
    /// Deferrals.
    pub deferred: AtomicU64,
    /// Recipients failed.
    pub failed: AtomicU64,
    /// Deferrals whose end is unknown: mail that may arrive twice.
    pub unknown_ends: AtomicU64,
    /// Connections opened.
    pub connections: AtomicU64,
    /// Transactions begun.
    pub transactions: AtomicU64,
    /// Connections made in clear text because the TLS handshake failed and TLS was a courtesy.
    pub clear_text_after_failed_tls: AtomicU64,
}

/// What all lanes share.
pub(super) struct Shared<S: Spool> {
    pub spool: Arc<S>,
    pub resolver: Arc<Resolver>,
    pub notices: Arc<dyn Notices>,
    pub reseal: Arc<dyn Reseal>,
    pub settings: ArcSwap<Settings>,
    pub tls: ArcSwap<ClientTls>,
    pub pool: Arc<Pool>,
    pub tally: Arc<Tally>,
    pub meters: Arc<meters::Deliver>,
    pub whereabouts: Arc<Whereabouts>,
    pub started_at: Timestamp,
    pub wake: Arc<Notify>,
    /// Told each time the dispatcher has looked at what is due.
    pub rounds: watch::Sender<()>,
    /// No new attempts.
    pub draining: CancellationToken,
    /// Running attempts end now.
    pub cut: CancellationToken,
    pub clock: Clock,
    pub network: Arc<dyn Network>,
    chance: Chance,
    turns: Mutex<Throttle<Counted>>,
    failing: Mutex<Failing>,
    /// The leases under which attempts run.
    tenures: Mutex<Vec<Weak<Tenure>>>,
    /// More queues are due than have a lane.
    crowded: AtomicBool,
    /// Told for each queue that wants a lane: whoever rests longest makes room.
    pub crowding: Notify,
    /// Lanes that have nothing to do.
    resting: AtomicUsize,
    /// The spool failed when it was asked last, which was said: nothing more is sent.
    spool_failed: AtomicBool,
    /// The spool's disk had no room when something was to be written last, which was said.
    spool_full: AtomicBool,
    /// For lanes that end everything that is due in their queue.
    pub ending: Semaphore,
}

/// What has a rate.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Counted {
    MessagesOf(IdentityName),
    RecipientsOf(IdentityName),
    Stream(Stream),
}

impl Delivery {
    /// Starts delivering what is due. Must be called within a tokio runtime.
    #[must_use]
    pub fn start<S: Spool>(spool: Arc<S>, resolver: Arc<Resolver>, settings: Settings, tls: ClientTls, outside: Outside) -> Self {
        let Outside { notices, reseal, clock, chance, network, meters } = outside;
        know_providers(&meters, &settings);
        let shared = Arc::new(Shared {
            spool,
            resolver,
            notices,
            reseal,
            settings: ArcSwap::from_pointee(settings),
            tls: ArcSwap::from_pointee(tls),
            pool: Pool::new(clock.clone(), meters.clone()),
            tally: Arc::default(),
            meters,
            whereabouts: Arc::default(),
            started_at: clock(),
            wake: Arc::default(),
            rounds: watch::Sender::default(),
            draining: CancellationToken::new(),
            cut: CancellationToken::new(),
            clock,
            chance,
            network,
            turns: Mutex::default(),
            failing: Mutex::default(),
            tenures: Mutex::default(),
            crowded: AtomicBool::new(false),
            crowding: Notify::new(),
            resting: AtomicUsize::new(0),
            ending: Semaphore::new(ENDING_LANES_MAX),
            spool_failed: AtomicBool::new(false),
            spool_full: AtomicBool::new(false),
        });
        let dispatcher = tokio::spawn(keep_dispatching(shared.clone()));
        Self { handle: Box::new(shared), dispatcher: Mutex::new(Some(dispatcher)) }
    }

    /// Something may be due: called after a commit. Cheap, from anywhere.
    pub fn wake(&self) {
        self.handle.wake().notify_one();
    }

    /// What [`Self::wake`] notifies, for a caller that must not hold the whole station.
    #[must_use]
    pub fn waker(&self) -> Arc<Notify> {
        self.handle.wake().clone()
    }

    /// New settings for everything begun from now on. Open connections and running attempts keep the old ones.
    pub fn reload(&self, settings: Settings, tls: ClientTls) {
        self.handle.reload(settings, tls);
        self.wake();
    }

    /// Stops: nothing new is begun, what runs may take `within` to end, then it is cut. Mail that may have arrived is deferred with an
    /// unknown end; every other lease is given back. May be called again; then it does nothing.
    pub async fn drain(&self, within: Duration) {
        let dispatcher = self.dispatcher.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.handle.draining().cancel();
        if let Some(mut dispatcher) = dispatcher
            && tokio::time::timeout(within, &mut dispatcher).await.is_err()
        {
            self.handle.cut().cancel();
            let _ = tokio::time::timeout(SETTLING, &mut dispatcher).await;
        }
        let _ = tokio::time::timeout(FAREWELL, self.handle.pool().close()).await;
    }

    /// Returns once the dispatcher has gone round: it neither hangs nor has ended. Never returns after a drain.
    pub async fn beat(&self) {
        let mut rounds = self.handle.rounds().subscribe();
        rounds.borrow_and_update();
        self.wake();
        // The sender is ours: it is not gone.
        let _ = rounds.changed().await;
    }

    /// A person wants mail to go to a next hop now. A host that did not answer is tried again; a pause that the provider asked for is kept
    /// unless `ends_pause`. Gives the time until which the provider is still paused.
    #[must_use]
    pub fn resume(&self, provider: &str, host: &str, ends_pause: bool) -> Option<Timestamp> {
        let host = host.to_ascii_lowercase();
        let of_smart_host = format!("{provider}/");
        let groups = if provider == super::provider::OTHER { [host.as_str(), host.as_str()] } else { [provider, of_smart_host.as_str()] };
        groups.into_iter().filter_map(|group| self.handle.pool().resume(group, &host, ends_pause)).max()
    }

    /// What has happened since the start.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        self.handle.tally()
    }

    /// The provider that mail of a queue goes to, as far as it is known: see [`Whereabouts`].
    #[must_use]
    pub fn whereabouts(&self) -> Arc<Whereabouts> {
        self.handle.whereabouts().clone()
    }

    /// Connections open to a provider (or a host without one, or `route/` of a smart host), and those allowed now.
    #[must_use]
    pub fn connections(&self, group: &str) -> (u32, u32) {
        self.handle.pool().connections(group)
    }

    /// Providers (or hosts without one) that asked for a pause, and until when.
    #[must_use]
    pub fn pauses(&self) -> Vec<(Arc<str>, Timestamp)> {
        self.handle.pool().pauses()
    }
}

/// The station without the type of its spool.
trait Handle: Send + Sync {
    fn wake(&self) -> &Arc<Notify>;
    fn reload(&self, settings: Settings, tls: ClientTls);
    fn draining(&self) -> &CancellationToken;
    fn cut(&self) -> &CancellationToken;
    fn pool(&self) -> &Arc<Pool>;
    fn tally(&self) -> &Tally;
    fn whereabouts(&self) -> &Arc<Whereabouts>;
    fn rounds(&self) -> &watch::Sender<()>;
}

impl<S: Spool> Handle for Arc<Shared<S>> {
    fn wake(&self) -> &Arc<Notify> {
        &self.wake
    }
    fn reload(&self, settings: Settings, tls: ClientTls) {
        know_providers(&self.meters, &settings);
        self.settings.store(Arc::new(settings));
        self.tls.store(Arc::new(tls));
    }
    fn draining(&self) -> &CancellationToken {
        &self.draining
    }
    fn cut(&self) -> &CancellationToken {
        &self.cut
    }
    fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }
    fn tally(&self) -> &Tally {
        &self.tally
    }
    fn rounds(&self) -> &watch::Sender<()> {
        &self.rounds
    }
    fn whereabouts(&self) -> &Arc<Whereabouts> {
        &self.whereabouts
    }
}

/// The providers that are told apart: those of the shaping file, and smart hosts.
fn know_providers(meters: &meters::Deliver, settings: &Settings) {
    settings.providers.names().for_each(|name| meters.know(name));
    settings.smart_hosts.keys().for_each(|route| meters.know(route.as_str()));
}

/// A lane that rests, as it is counted.
pub(super) struct Resting<S: Spool>(Arc<Shared<S>>);

impl<S: Spool> Drop for Resting<S> {
    fn drop(&mut self) {
        self.0.resting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<S: Spool> Shared<S> {
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Chance, for shuffling and jitter.
    pub fn seed(&self) -> u64 {
        (self.chance)()
    }

    /// An attempt begins under this lease, and runs as long as it is held.
    pub fn enter(&self, tenure: &Arc<Tenure>) {
        let mut tenures = self.tenures.lock().unwrap_or_else(PoisonError::into_inner);
        tenures.retain(|tenure| tenure.strong_count() > 0);
        tenures.push(Arc::downgrade(tenure));
    }

    /// What may be claimed is due by then: by now, but not past the end of a lease under which an attempt of ours runs. Without this, a clock
    /// that jumps ahead hands out again what a next hop is about to answer. The attempt renews its lease in a moment.
    pub fn claimable_by(&self) -> Timestamp {
        let now = self.now();
        let tenures = self.tenures.lock().unwrap_or_else(PoisonError::into_inner);
        let run_out = tenures.iter().filter_map(Weak::upgrade).filter_map(|tenure| tenure.ran_out(now));
        run_out.min().map_or(now, |until| until - Duration::from_millis(1))
    }

    /// A failed spool stays failed, and a full disk full for a while: it is said once.
    pub fn note_fault(&self, during: &'static str, fault: &SpoolError) {
        let was_said = match fault {
            SpoolError::Failed(_) => self.spool_failed.swap(true, Ordering::Relaxed),
            SpoolError::Full { .. } => self.spool_full.swap(true, Ordering::Relaxed),
            _ => false,
        };
        if !was_said {
            log::spool_fault(during, fault);
        }
    }

    /// The spool's disk had room for something.
    pub fn note_room(&self) {
        self.spool_full.store(false, Ordering::Relaxed);
    }

    /// Providers that are out of reach.
    pub fn failing(&self) -> MutexGuard<'_, Failing> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is sent now could not be written down. The spool is asked, too: it may have failed for others, of which nothing was heard here.
    pub fn spool_has_failed(&self) -> bool {
        self.spool_failed.load(Ordering::Relaxed) || matches!(self.spool.health(), Health::Failed(_) | Health::Closed)
    }

    /// A lane rests, until this is dropped.
    pub fn rest(self: &Arc<Self>) -> Resting<S> {
        self.resting.fetch_add(1, Ordering::Relaxed);
        Resting(self.clone())
    }

    pub fn is_crowded(&self) -> bool {
        self.crowded.load(Ordering::Relaxed)
    }

    /// Whether the rates of identity and stream let this lease go now.
    ///
    /// # Errors
    /// When its turn comes; nothing was taken then.
    pub fn take_turn(&self, settings: &Settings, lease: &Lease) -> Result<(), Timestamp> {
        let (mail, now) = (&lease.mail, self.now());
        if mail.kind == Kind::Returned {
            return Ok(()); // rates are those of who submits
        }
        let recipients = u32::try_from(lease.recipients.len()).unwrap_or(u32::MAX);
        let counted = [
            settings.identity_message_rates.get(&mail.identity).map(|rate| (Counted::MessagesOf(mail.identity.clone()), rate, 1)),
            settings.identity_rates.get(&mail.identity).map(|rate| (Counted::RecipientsOf(mail.identity.clone()), rate, recipients)),
            settings.stream_rates.get(&mail.stream).map(|rate| (Counted::Stream(mail.stream.clone()), rate, recipients)),
        ];
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken: Vec<(Counted, &Rate, u32)> = Vec::new();
        for (what, rate, count) in counted.into_iter().flatten() {
            if let Err(turn) = turns.take(&what, rate, count, now) {
                for (what, rate, count) in &taken {
                    turns.give_back(what, rate, *count);
                }
                return Err(turn);
            }
            taken.push((what, rate, count));
        }
        Ok(())
    }
}

impl Tally {
    pub(super) fn count(&self, how: &How) {
        let counter = match how {
            How::Delivered(_) => &self.delivered,
            How::Failed(_) | How::Kept { .. } => &self.failed,
            How::Deferred { evidence, .. } => {
                self.unknown_ends.fetch_add(u64::from(evidence.unknown_end), Ordering::Relaxed);
                &self.deferred
            }
            How::Cancelled(_) | How::Released { .. } => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl Report {
    /// Every recipient of a lease ends alike.
    pub(super) fn end_with(&mut self, lease: &Lease, provider: &Arc<str>, outcome: &Outcome) {
        self.ended.extend(lease.recipients.iter().map(|recipient| Ended {
            recipient: recipient.clone(),
            outcome: outcome.clone(),
            dsn_passed_on: false,
            provider: provider.clone(),
            proof: super::ending::proof(outcome.evidence(), false),
        }));
    }
}

/// The lanes at work.
struct Lanes {
    tasks: JoinSet<Result<(), SpoolError>>,
    queues: HashMap<Id, Queue>,
    nudges: HashMap<Queue, Arc<Notify>>,
}

/// A defect of ours must not stop delivery in silence. What was under way then is due again when its leases run out.
async fn keep_dispatching<S: Spool>(shared: Arc<Shared<S>>) {
    while let Err(fault) = tokio::spawn(dispatch(shared.clone())).await {
        tracing::error!(error = %fault, "delivery.broke");
        tokio::time::sleep(AFTER_A_FAULT).await;
    }
}

async fn dispatch<S: Spool>(shared: Arc<Shared<S>>) {
    let mut lanes = Lanes { tasks: JoinSet::new(), queues: HashMap::new(), nudges: HashMap::new() };
    loop {
        let wait = if shared.draining.is_cancelled() { IDLE_MAX } else { lanes.fill(&shared).await };
        shared.rounds.send_replace(());
        if shared.draining.is_cancelled() && lanes.tasks.is_empty() {
            return;
        }
        tokio::select! {
            biased;
            Some(ended) = lanes.tasks.join_next_with_id(), if !lanes.tasks.is_empty() => {
                let mut broke = lanes.ended(&shared, ended);
                while let Some(ended) = lanes.tasks.try_join_next_with_id() {
                    broke |= lanes.ended(&shared, ended);
                }
                if broke {
                    tokio::time::sleep(AFTER_A_FAULT).await;
                }
            }
            () = shared.draining.cancelled(), if !shared.draining.is_cancelled() => {}
            () = shared.wake.notified() => lanes.gather().await,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

impl Lanes {
    /// Gives every due queue a lane, as far as there is room. How long nothing else is to be done.
    async fn fill<S: Spool>(&mut self, shared: &Arc<Shared<S>>) -> Duration {
        let now = shared.now();
        let most = shared.settings.load().queues_max.max(1);
        let asked = NonZeroUsize::new(self.nudges.len() + most).unwrap_or(NonZeroUsize::MIN);
        let due = match shared.spool.due(shared.claimable_by(), asked).await {
            Ok(due) => {
                shared.spool_failed.store(false, Ordering::Relaxed); // it was this one question
                due
            }
            Err(fault) => {
                shared.note_fault("due", &fault);
                return AFTER_A_FAULT;
            }
        };
        let (mut without_a_lane, is_due) = (0, !due.is_empty());
        for due in due {
            if let Some(nudge) = self.nudges.get(&due.queue) {
                nudge.notify_one();
            } else if self.nudges.len() < most {
                self.open(shared, due.queue);
            } else {
                without_a_lane += 1;
                shared.crowding.notify_one();
            }
        }
        // Those that rest make room.
        shared.crowded.store(without_a_lane > shared.resting.load(Ordering::Relaxed), Ordering::Relaxed);
        if is_due {
            return BACKLOG_PAUSE;
        }
        match shared.spool.next_due_at().await {
            Ok(Some(at)) if at > now => at.since(now).clamp(Duration::from_millis(1), IDLE_MAX),
            Ok(Some(_)) => BACKLOG_PAUSE,
            Ok(None) => IDLE_MAX,
            Err(fault) => {
                shared.note_fault("next_due_at", &fault);
                AFTER_A_FAULT
            }
        }
    }

    /// While lanes are at work, what was committed meanwhile is looked at a few milliseconds' worth at a time.
    async fn gather(&self) {
        if !self.tasks.is_empty() {
            tokio::time::sleep(GATHERING).await;
        }
    }

    fn open<S: Spool>(&mut self, shared: &Arc<Shared<S>>, queue: Queue) {
        let nudge = Arc::new(Notify::new());
        let task = self.tasks.spawn(lane::run(shared.clone(), queue.clone(), nudge.clone()));
        self.queues.insert(task.id(), queue.clone());
        self.nudges.insert(queue, nudge);
    }

    /// Forgets a lane; whether it ended by a fault.
    fn ended<S: Spool>(&mut self, shared: &Shared<S>, ended: Result<(Id, Result<(), SpoolError>), tokio::task::JoinError>) -> bool {
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(fault) => fault.id(),
        };
        let queue = self.queues.remove(&id);
        if let Some(queue) = &queue {
            self.nudges.remove(queue);
        }
        match (ended, queue) {
            (Ok((_, Ok(()))), _) => return false,
            (Ok((_, Err(fault))), _) => shared.note_fault("lane", &fault),
            (Err(fault), Some(queue)) => log::attempt_broke(&queue, &fault),
            (Err(_), None) => {}
        }
        true
    }
}

/// The lines of the log.
pub(super) mod log {
    use crate::deliver::ending::Conclusion;
    use crate::deliver::provider::Place;
    use crate::deliver::target::{OpenFault, Target};
    use crate::mail::{Blame, Evidence, Reason, Timestamp};
    use crate::spool::{Ending, How, Leased, Mail, Quarantined, Queue, SpoolError};
    use tracing::{error, info, warn};

    /// One recipient of one attempt.
    pub fn attempt(mail: &Mail, queue: &Queue, provider: &str, recipient: &Leased, conclusion: &Conclusion) {
        let how = &conclusion.ending.how;
        let (event, evidence) = match how {
            How::Delivered(evidence) => ("attempt.delivered", evidence),
            How::Failed(evidence) | How::Kept { evidence, .. } => ("attempt.failed", evidence),
            How::Deferred { evidence, .. } => ("attempt.deferred", evidence),
            How::Cancelled(_) | How::Released { .. } => return,
        };
        let Facts { host, address, reply, tls } = Facts::of(evidence);
        let reason = conclusion.judged.map(|judged| judged.reason.as_str());
        let rule = conclusion.judged.and_then(|judged| judged.doctor);
        let (id, status, attempts, stream) = (mail.id, evidence.status, recipient.attempts + 1, &mail.stream);
        let error = if matches!(how, How::Delivered(_)) { "" } else { evidence.text.as_str() };
        let (author_domain, unknown_end) = (&mail.signing_domain, evidence.unknown_end);
        let trace_id = trace_id(mail);
        // A rule of doctor's means that the operator can mend it.
        if rule.is_some() {
            warn!(mail_id = %id, recipient = %recipient.mailbox, %queue, %provider, %host, %address, %author_domain, %stream, %status, %reply, %error, %tls, attempts, unknown_end, reason, rule, trace_id, "{event}");
        } else {
            info!(mail_id = %id, recipient = %recipient.mailbox, %queue, %provider, %host, %address, %author_domain, %stream, %status, %reply, %error, %tls, attempts, unknown_end, reason, trace_id, "{event}");
        }
    }

    /// What applications are told of a recipient who was given up, now that it is in the spool.
    pub fn bounced(mail: &Mail, recipient: &Leased, ending: &Ending) {
        let evidence = match &ending.how {
            How::Failed(evidence) => evidence,
            How::Kept { evidence, until } => return kept(mail, recipient, evidence, *until),
            How::Delivered(_) | How::Deferred { .. } | How::Cancelled(_) | How::Released { .. } => return,
        };
        let Facts { host, reply, .. } = Facts::of(evidence);
        let provider = ending.meaning.as_ref().map(|meaning| meaning.provider.as_ref());
        let reason = ending.meaning.as_ref().and_then(|meaning| meaning.reason).map(Reason::as_str);
        let permanent = ending.meaning.as_ref().is_some_and(|meaning| meaning.permanent);
        let (id, recipient, status, error) = (mail.id, &recipient.mailbox, evidence.status, evidence.text.as_str());
        let (message_id, track_id, envid) = (mail.message_id.as_str(), mail.track_id.as_deref(), mail.envid.as_deref());
        let (author_domain, stream, identity) = (&mail.signing_domain, &mail.stream, &mail.identity);
        info!(mail_id = %id, %recipient, message_id, track_id, envid, %author_domain, %stream, %identity, provider, %host, %status, %reply, error, reason, permanent, "mail.bounced");
    }

    /// Nobody took what came back, and nobody hears of that but a person.
    fn kept(mail: &Mail, recipient: &Leased, evidence: &Evidence, until: Timestamp) {
        let Facts { host, reply, .. } = Facts::of(evidence);
        warn!(mail_id = %mail.id, recipient = %recipient.mailbox, %host, status = %evidence.status, %reply, error = %evidence.text, until = %until.to_rfc3339(), "return.held");
    }

    /// The address was put on the suppression list with it.
    pub fn suppressed(mail: &Mail, ending: &Ending) {
        let Some(entry) = &ending.suppression else { return };
        let until = entry.expires_at.map(Timestamp::to_rfc3339);
        info!(mail_id = %mail.id, recipient = %entry.recipient, scope = %entry.scope, reason = entry.why.as_str(), until, "suppression.added");
    }

    /// It is due, but nobody could verify its seal.
    pub fn held(mail: &Mail, recipients: usize, why: &str) {
        info!(mail_id = %mail.id, author_domain = %mail.signing_domain, recipients, error = %why, trace_id = trace_id(mail), "mail.held");
    }

    fn trace_id(mail: &Mail) -> String {
        mail.trace.as_ref().map(crate::mail::TraceContext::trace_id).unwrap_or_default()
    }

    struct Facts {
        host: String,
        address: String,
        reply: String,
        tls: String,
    }

    impl Facts {
        fn of(evidence: &Evidence) -> Self {
            Self {
                host: evidence.remote.as_ref().map(|remote| remote.host.clone()).unwrap_or_default(),
                address: evidence.remote.as_ref().map(|remote| remote.address.to_string()).unwrap_or_default(),
                reply: evidence.reply.as_ref().map(ToString::to_string).unwrap_or_default(),
                tls: evidence.tls.as_ref().map(|tls| format!("{} {}", tls.version, tls.cipher)).unwrap_or_default(),
            }
        }
    }

    pub fn connection_failed(mail: &Mail, place: &Place, target: &Target, fault: &OpenFault) {
        let (id, provider, host, address) = (mail.id, &place.provider, &place.host, target.address);
        match fault.blame() {
            Blame::Operator => warn!(mail_id = %id, %provider, %host, %address, error = %fault, "connection.failed"),
            _ => info!(mail_id = %id, %provider, %host, %address, error = %fault, "connection.failed"),
        }
    }

    pub fn clear_text(place: &Place, target: &Target, fault: &OpenFault) {
        warn!(provider = %place.provider, host = %place.host, address = %target.address, error = %fault, "connection.fell_back");
    }

    /// Every try for a while, whatever the host.
    pub fn provider_failed(place: &Place, failures: u32, fault: &OpenFault) {
        warn!(provider = %place.provider, host = %place.host, attempts = failures, error = %fault, "provider.failed");
    }

    pub fn provider_recovered(provider: &str) {
        info!(provider, "provider.recovered");
    }

    pub fn slowed(place: &Place, reply: &str, until: Option<Timestamp>) {
        let until = until.map(Timestamp::to_rfc3339).unwrap_or_default();
        warn!(provider = %place.provider, host = %place.host, %reply, %until, "provider.slowed");
    }

    pub fn quarantined(queue: &Queue, quarantined: &Quarantined) {
        error!(mail_id = %quarantined.id, %queue, error = %quarantined.why, "mail.quarantined");
    }

    pub fn spool_fault(during: &'static str, fault: &SpoolError) {
        match fault {
            SpoolError::Closed => info!(during, error = %fault, "spool.refused"),
            SpoolError::LeaseLost(id) => warn!(mail_id = %id, during, error = %fault, "lease.lost"),
            SpoolError::Damaged(id, _) => error!(mail_id = %id, during, error = %fault, "mail.quarantined"),
            SpoolError::Busy(_) => warn!(during, error = %fault, "spool.stalled"),
            SpoolError::Full { .. } => warn!(during, error = %fault, "spool.refused"),
            _ => error!(during, error = %fault, "spool.refused"),
        }
    }

    pub fn attempt_broke(queue: &Queue, fault: &tokio::task::JoinError) {
        error!(%queue, error = %fault, "attempt.broke");
    }
}

/// The spool is asked again no later, so that a clock that was set is noticed.
const IDLE_MAX: Duration = Duration::from_mins(1);
/// While mail is due that has a lane, the rest is looked at this often.
const BACKLOG_PAUSE: Duration = Duration::from_secs(1);
/// How long new mail waits to be looked at while other mail is on its way.
const GATHERING: Duration = Duration::from_millis(3);
/// Lanes that give everything in their queue the same outcome at a time.
const ENDING_LANES_MAX: usize = 32;
const AFTER_A_FAULT: Duration = Duration::from_secs(1);
/// After running attempts were cut, how long their endings may take to be written.
const SETTLING: Duration = Duration::from_secs(10);
/// How long idle connections may take to say goodbye.
const FAREWELL: Duration = Duration::from_secs(2);
