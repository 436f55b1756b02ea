//! One message handed to a smart host while somebody waits for the answer: no lease, no schedule, no second try tomorrow. What `through` mode
//! and the hand-over of a queue share.
//!
//! A shell: it opens connections, keeps them for the next message, and waits, never longer than it is told.
//!
//! | what happens | what follows |
//! |---|---|
//! | no connection to an address | the next address, then the next host, then *deferred* |
//! | an idle connection turns out closed | a fresh one |
//! | the connection breaks in silence before the final dot | the next address |
//! | it breaks after the final dot, or time runs out there | *deferred*, its end unknown; never again at once |
//! | too little time is left when the final dot is due | the connection is closed before it, and nothing was delivered |
//! | a greeting asks to slow down while other connections carry mail | one of those is waited for |
//!
//! All connections that the smart host's `connections_max` allows may be opened at once: the number is the operator's own, and somebody waits
//! for each message. A reply that asks to slow down (421 and its like) halves them, and each `growth` in which mail was taken gives one
//! back. Pauses are not kept, and a host that was silent is not left alone: whoever waits keeps the message if he is told at once, and a
//! queue that is handed over has only seconds; a pause of half a minute would be its end.

use super::connection::Connection;
use super::finding;
use super::pool::{Kept, Permit, Pool};
use super::provider::{Place, Reaction};
use super::route::PlannedHost;
use super::settings::Settings;
use super::target::{OpenFault, Target};
use super::tls::{ClientTls, TlsDemand};
use super::way::Way;
use super::worker::log;
use crate::clock::Clock;
use crate::dns::Resolver;
use crate::events::meters::Deliver;
use crate::mail::outcome::Remote;
use crate::mail::{Blame, EnhancedCode, Evidence, MailId, Outcome, Ret, ReversePath, RouteName, Timestamp};
use crate::seal::Seal;
use crate::smtp::client::{ConnectionEnd, RecipientEnd, Transaction, TransactionEnd, TransactionRecipient};
use crate::spool::Queue;
use arc_swap::ArcSwap;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The way to smart hosts, with connections of its own.
pub struct Passage {
    resolver: Arc<Resolver>,
    settings: ArcSwap<Settings>,
    tls: ArcSwap<ClientTls>,
    pool: Arc<Pool>,
    /// When each smart host was last given fewer connections: what is heard over those of before then was meant by the same word.
    slowed_at: Mutex<HashMap<Arc<str>, Timestamp>>,
    meters: Arc<Deliver>,
    clock: Clock,
}

/// A message to hand over.
#[derive(Debug, Clone, Copy)]
pub struct Parcel<'a> {
    /// Its number, for the log.
    pub mail_id: MailId,
    /// The smart host.
    pub route: &'a RouteName,
    /// `MAIL FROM`.
    pub reverse_path: &'a ReversePath,
    /// `RCPT TO`, at least one.
    pub recipients: &'a [TransactionRecipient<'a>],
    /// `ENVID`.
    pub envid: Option<&'a str>,
    /// `RET`.
    pub ret: Option<Ret>,
    /// What goes in front of the message.
    pub seal: &'a Seal,
    /// Fields in front of the seal, each ended by CR LF; or nothing.
    pub control: &'a str,
    /// The message below the seal.
    pub message: &'a [u8],
    /// All recipients or none.
    pub whole: bool,
    /// Nothing is waited for longer.
    pub until: Timestamp,
    /// A final dot is sent only if so much time is left for its answer.
    pub answer_min: Duration,
}

/// What became of it.
#[derive(Debug, Clone)]
pub struct Passed {
    /// One for each recipient, in their order.
    pub outcomes: Vec<Outcome>,
    /// Some next hop took part in a session.
    pub reached: bool,
}

/// What is known of a parcel under way, if it is dropped.
#[derive(Debug, Default)]
struct Progress {
    remote: Option<Remote>,
    dot_is_out: bool,
}

impl Passage {
    /// Opens nothing yet.
    #[must_use]
    pub fn new(resolver: Arc<Resolver>, settings: Settings, tls: ClientTls, clock: Clock, meters: Arc<Deliver>) -> Self {
        let pool = Pool::starting_whole(clock.clone(), meters.clone());
        let (settings, tls) = (ArcSwap::from_pointee(settings), ArcSwap::from_pointee(tls));
        Self { resolver, settings, tls, pool, slowed_at: Mutex::default(), meters, clock }
    }

    /// New settings for every message that is handed over from now on.
    pub fn reload(&self, settings: Settings, tls: ClientTls) {
        self.settings.store(Arc::new(settings));
        self.tls.store(Arc::new(tls));
    }

    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    /// The present.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Hands a message over. Ends at `until`, whatever the next hop does.
    pub async fn pass(&self, parcel: &Parcel<'_>) -> Passed {
        let progress = Mutex::new(Progress::default());
        let within = parcel.until.since(self.now());
        if let Ok(passed) = tokio::time::timeout(within, self.run(parcel, &progress)).await {
            return passed;
        }
        let Progress { remote, dot_is_out } = progress.into_inner().unwrap_or_else(PoisonError::into_inner);
        let reached = remote.is_some();
        let text = if dot_is_out { "the next hop did not answer the message in time" } else { "the next hop could not be given the message in time" };
        let evidence = Evidence { remote, unknown_end: dot_is_out, ..self.finding(EnhancedCode::new(4, 4, 2), text) };
        Passed { outcomes: vec![Outcome::Deferred(evidence); parcel.recipients.len()], reached }
    }

    /// Whether a session with the smart host can be had at present; it is kept for the next message.
    ///
    /// # Errors
    /// Why not.
    pub async fn probe(&self, route: &RouteName, within: Duration) -> Result<(), String> {
        let settings = self.settings();
        let look = async {
            let way = finding::find_way(&self.resolver, &settings, &Queue::stored(&format!("{route}/"))).await.map_err(|why| why.to_string())?;
            let mut why = "it has no address".to_owned();
            for host in way.order(0) {
                let place = way.place(&host.name, &settings);
                for address in &host.addresses {
                    let target = way.target(&place, *address, &settings);
                    match self.session(&target, &place, &settings).await {
                        Ok(kept) => {
                            self.pool.keep(kept, settings.idle, settings.idle_connections_max);
                            return Ok(());
                        }
                        Err(fault) => why = format!("{address}: {fault}"),
                    }
                }
            }
            Err(why)
        };
        tokio::time::timeout(within, look).await.unwrap_or_else(|_| Err("it does not answer in time".to_owned()))
    }

    /// Closes what is idle.
    pub async fn close(&self) {
        let _ = tokio::time::timeout(FAREWELL, self.pool.close()).await;
    }

    async fn run(&self, parcel: &Parcel<'_>, progress: &Mutex<Progress>) -> Passed {
        let settings = self.settings();
        let everybody = |outcome: Outcome, reached| Passed { outcomes: vec![outcome; parcel.recipients.len()], reached };
        let way = match finding::find_way(&self.resolver, &settings, &Queue::stored(&format!("{}/", parcel.route))).await {
            Ok(way) => way,
            Err(nowhere) => return everybody(nowhere.outcome(self.now()), false),
        };
        let (mut fault, mut reached) = (None, false);
        for host in way.order(0) {
            match self.by_host(parcel, &way, &host, &settings, progress).await {
                Tried::Passed(outcomes) => return Passed { outcomes, reached: true },
                Tried::Not(outcome, had_session) => (fault, reached) = (outcome.or(fault), reached || had_session),
            }
        }
        let none = || Outcome::Deferred(self.finding(EnhancedCode::new(4, 4, 1), "the smart host has no address to talk to"));
        everybody(fault.unwrap_or_else(none), reached)
    }

    async fn by_host(&self, parcel: &Parcel<'_>, way: &Way, host: &PlannedHost, settings: &Settings, progress: &Mutex<Progress>) -> Tried {
        let place = way.place(&host.name, settings);
        let (mut fault, mut had_session, mut is_cleared) = (None, false, false);
        for address in &host.addresses {
            let target = way.target(&place, *address, settings);
            loop {
                let mut kept = match self.session(&target, &place, settings).await {
                    Ok(kept) => kept,
                    Err(why) => {
                        report(parcel.mail_id, &place, &target, &why);
                        fault = Some(why.outcome(&target, self.now()));
                        break;
                    }
                };
                had_session = true;
                lock(progress).remote = Some(target.remote());
                if !has_room(&mut kept, parcel) && kept.connection.transactions() > 0 {
                    tokio::spawn(kept.close()); // it has carried as many domains as its server takes (RFC 9422)
                    continue;
                }
                if !is_cleared {
                    self.clearance(&place).await;
                }
                let began_at = self.now();
                let end = self.transact(&mut kept, parcel, way, progress).await;
                let (is_stale, is_closed) = (end.stale, matches!(end.connection, ConnectionEnd::Closed(_)));
                match end.connection {
                    ConnectionEnd::Reusable => self.pool.keep(kept, settings.idle, settings.idle_connections_max),
                    ConnectionEnd::Full => drop(tokio::spawn(kept.close())),
                    ConnectionEnd::Closed(_) => {}
                }
                is_cleared = is_stale; // nothing was sent: the next one is for what was taken here
                if is_stale {
                    continue;
                }
                self.react(&place, &end.recipients, began_at);
                let outcomes: Vec<Outcome> = end.recipients.into_iter().map(|end| self.outcome(end, &target)).collect();
                if is_closed && outcomes.iter().all(broke_in_silence) {
                    fault = outcomes.into_iter().next();
                    break;
                }
                return Tried::Passed(outcomes);
            }
        }
        Tried::Not(fault, had_session)
    }

    async fn transact(&self, kept: &mut Kept, parcel: &Parcel<'_>, way: &Way, progress: &Mutex<Progress>) -> TransactionEnd {
        let mut header = parcel.control.as_bytes().to_vec();
        header.extend(parcel.seal.header(way.takes_ed25519(kept.permit.place())));
        let Parcel { reverse_path, recipients, envid, ret, message, .. } = *parcel;
        let transaction = Transaction { reverse_path, recipients, envid, ret, header: &header, message, as_it_is: false };
        let before_end = async {
            let lasts = parcel.until.since(self.now()) >= parcel.answer_min;
            lock(progress).dot_is_out = lasts;
            lasts
        };
        let end = if parcel.whole {
            kept.connection.transact_whole(&transaction, before_end).await
        } else {
            kept.connection.transact(&transaction, before_end).await
        };
        lock(progress).dot_is_out = false;
        end
    }

    /// An idle session, or a new one as soon as one may be opened.
    async fn session(&self, target: &Target, place: &Place, settings: &Settings) -> Result<Kept, OpenFault> {
        let mut changes = self.pool.changes();
        loop {
            changes.borrow_and_update();
            if let Some(kept) = self.pool.take(target) {
                return Ok(kept);
            }
            let began_at = self.now();
            let Ok(permit) = self.pool.admit(place) else {
                let _ = tokio::time::timeout(LOOK_AGAIN, changes.changed()).await;
                continue;
            };
            let fault = match self.open(target, place, settings, permit).await {
                Ok(kept) => return Ok(kept),
                Err(fault) => fault,
            };
            let Some(reply) = fault.reply() else { return Err(fault) };
            let reaction = unpaused(place.limits.reaction(reply));
            if reaction == Reaction::Ignore {
                return Err(fault);
            }
            self.slow_down(place, reaction, &reply.to_string(), began_at);
            // One connection too many is no verdict on the message, as long as the others carry mail.
            if self.pool.connections(&place.group).0 == 0 {
                return Err(fault);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Waits for the rate of the smart host, with the connection that will use it: who waits for a connection takes nothing from the others.
    async fn clearance(&self, place: &Place) {
        while let Err(turn) = self.pool.may_send(place) {
            tokio::time::sleep(turn.since(self.now()).max(Duration::from_millis(1))).await;
        }
    }

    /// What the replies say about our speed: the strictest word counts, a taken message once.
    fn react(&self, place: &Place, ends: &[RecipientEnd], began_at: Timestamp) {
        let outcomes = || ends.iter().filter_map(|end| if let RecipientEnd::Ended(outcome) = end { Some(outcome) } else { None });
        if outcomes().any(|outcome| matches!(outcome, Outcome::Delivered(_))) {
            self.pool.taken(place);
        }
        let refusals = outcomes().filter(|outcome| !matches!(outcome, Outcome::Delivered(_))).filter_map(|outcome| outcome.evidence().reply.as_ref());
        let words = refusals.map(|reply| (unpaused(place.limits.reaction(reply)), reply)).filter(|(reaction, _)| *reaction != Reaction::Ignore);
        if let Some((reaction, reply)) = words.max_by_key(|(reaction, _)| *reaction != Reaction::Fewer) {
            self.slow_down(place, reaction, &reply.to_string(), began_at);
        }
    }

    fn slow_down(&self, place: &Place, reaction: Reaction, reply: &str, began_at: Timestamp) {
        {
            let mut slowed_at = lock(&self.slowed_at);
            if slowed_at.get(&place.group).is_some_and(|at| *at >= began_at) {
                return;
            }
            slowed_at.insert(place.group.clone(), self.now());
        }
        self.pool.slow_down(place, reaction);
        self.meters.of(&place.provider).slowdowns.one();
        log::slowed(place, reply, None);
    }

    /// Without TLS after a failed handshake, on a fresh connection, where TLS was a courtesy.
    async fn open(&self, target: &Target, place: &Place, settings: &Settings, permit: Permit) -> Result<Kept, OpenFault> {
        let tls = self.tls.load_full();
        let opened = match Connection::open(target, &tls, &settings.timeouts).await {
            Err(fault) if target.tls == TlsDemand::Opportunistic && fault.may_go_in_clear(target) => {
                tracing::warn!(provider = %place.provider, host = %place.host, address = %target.address, error = %fault, "connection.fell_back");
                Connection::open(&target.in_clear(), &tls, &settings.timeouts).await
            }
            opened => opened,
        };
        opened.map(|connection| Kept::new(connection, permit, target.clone()))
    }

    fn outcome(&self, end: RecipientEnd, target: &Target) -> Outcome {
        match end {
            RecipientEnd::Ended(outcome) => outcome,
            RecipientEnd::TooMany(reply) => {
                let finding = self.finding(EnhancedCode::new(4, 5, 3), "more recipients than the next hop takes in one transaction");
                Outcome::Deferred(Evidence { reply, remote: Some(target.remote()), ..finding })
            }
        }
    }

    fn finding(&self, status: EnhancedCode, text: &str) -> Evidence {
        Evidence { status, reply: None, text: text.to_owned(), remote: None, tls: None, unknown_end: false, at: self.now() }
    }
}

/// How far one host was good for a parcel.
enum Tried {
    /// It answered for every recipient.
    Passed(Vec<Outcome>),
    /// Not at all; the last fault, and whether there was a session.
    Not(Option<Outcome>, bool),
}

/// What a reply asks for, without the pause.
const fn unpaused(reaction: Reaction) -> Reaction {
    match reaction {
        Reaction::Ignore => Reaction::Ignore,
        Reaction::Fewer | Reaction::Slow { .. } => Reaction::Fewer,
        Reaction::Restart { .. } => Reaction::Restart { pause: Duration::ZERO },
    }
}

fn has_room(kept: &mut Kept, parcel: &Parcel<'_>) -> bool {
    parcel.recipients.iter().all(|recipient| {
        let domain = recipient.mailbox.host.to_string();
        let fits = kept.has_room_for(&domain);
        kept.domains.insert(domain);
        fits
    })
}

/// The connection went without a word, and the mail has certainly not arrived.
fn broke_in_silence(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Deferred(evidence) if evidence.reply.is_none() && !evidence.unknown_end)
}

fn report(mail_id: MailId, place: &Place, target: &Target, fault: &OpenFault) {
    let (provider, host, address) = (&place.provider, &place.host, target.address);
    match fault.blame() {
        Blame::Operator => tracing::warn!(%mail_id, %provider, %host, %address, error = %fault, "connection.failed"),
        _ => tracing::info!(%mail_id, %provider, %host, %address, error = %fault, "connection.failed"),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long idle connections may take to say goodbye.
const FAREWELL: Duration = Duration::from_secs(2);
/// A change of what may be opened is not always told: a pause ends without a word.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
