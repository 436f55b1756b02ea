//! One lease, tried: session after session until every recipient has an outcome, or there is a reason to come back later.
//!
//! A shell: it opens connections and waits. It may be dropped at any await; what was under way is then told apart by `Attempt::cut`.
//!
//! | what happens | what follows |
//! |---|---|
//! | the mail is held: nobody could verify its seal | given back, no host is talked to; when it is late or too old, that is told |
//! | no connection to an address | the next address, then the next host, then *deferred* |
//! | an idle connection turns out closed | a fresh one, nobody to blame |
//! | the connection breaks before the final dot | the next address, at most `sessions_max` times |
//! | it breaks after the final dot | *deferred*, its end unknown; never again at once |
//! | too many recipients | the rest in another transaction at once; the host is remembered as taking so many |
//! | a message refused for several recipients | each alone, before anybody is called failed |
//! | a reply that asks to slow down | the provider is slowed down, the rest is released |

use super::Held;
use super::connection::Connection;
use super::counted;
use super::ending::{self, Circumstances};
use super::network::Outlet;
use super::pool::{Kept, Permit};
use super::provider::{Place, Reaction};
use super::route::PlannedHost;
use super::settings::Settings;
use super::shaping::Admission;
use super::target::Target;
use super::tls::TlsDemand;
use super::way::Way;
use super::worker::{Shared, log};
use crate::mail::suppression::Proof;
use crate::mail::{EnhancedCode, Evidence, Outcome, Timestamp};
use crate::seal::Kind;
use crate::smtp::client::{ConnectionEnd, RecipientEnd, Stage, Transaction, TransactionEnd, TransactionRecipient};
use crate::spool::{Lease, Leased, Mail, Spool, SpoolError};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

/// What a lane gives an attempt to begin with.
pub(super) enum Line {
    /// An open connection.
    Open(Box<Kept>),
    /// The right to open one, to the first of these hosts; the others come after it.
    Admitted(Permit, VecDeque<PlannedHost>),
}

/// One lease under way.
pub(super) struct Attempt<'a, S: Spool> {
    shared: &'a Arc<Shared<S>>,
    settings: &'a Settings,
    way: &'a Way,
    mail: Arc<Mail>,
    reverse_path: crate::mail::ReversePath,
    tenure: Arc<Tenure>,
    line: Option<Box<Kept>>,
    permit: Option<Permit>,
    hosts: VecDeque<PlannedHost>,
    /// Recipients without an outcome.
    left: VecDeque<Leased>,
    /// Recipients of the transaction that runs.
    under_way: Vec<Leased>,
    singly: bool,
    sessions_broken: usize,
    had_session: bool,
    last_fault: Option<Outcome>,
    report: Report,
}

/// What an attempt came to.
#[derive(Default)]
pub(super) struct Report {
    /// Recipients with an outcome.
    pub ended: Vec<Ended>,
    /// Recipients to be tried again without blame.
    pub released: Vec<(Leased, Timestamp)>,
    /// The message, once it was read.
    pub message: Option<Bytes>,
    /// The message could not be read: there is nothing to settle.
    pub unreadable: Option<SpoolError>,
    /// The connection, if it can carry more.
    pub kept: Option<Box<Kept>>,
    /// No host of the way could be talked to.
    pub unreachable: Option<Evidence>,
    /// When it began.
    pub began_at: Option<Timestamp>,
}

/// A recipient with its outcome.
pub(super) struct Ended {
    pub recipient: Leased,
    pub outcome: Outcome,
    /// The next hop took over the duty of success notices.
    pub dsn_passed_on: bool,
    /// As logs name it.
    pub provider: Arc<str>,
    /// How it is known that a failure is this recipient's own.
    pub proof: Proof,
}

/// Until when a lease holds, seen by the attempt and kept up to date by who renews it; and whether a final dot is out.
#[derive(Default)]
pub(super) struct Tenure {
    until: AtomicI64,
    dot_is_out: AtomicBool,
}

impl Line {
    pub(super) fn place(&self) -> &Place {
        match self {
            Self::Open(kept) => kept.permit.place(),
            Self::Admitted(permit, _) => permit.place(),
        }
    }
}

/// Why there is no session.
enum NoSession {
    /// Not before then, and nobody is to blame.
    Wait(Timestamp),
    /// Tried, and this came of it.
    Failed(Outcome),
}

impl<'a, S: Spool> Attempt<'a, S> {
    pub(super) fn new(shared: &'a Arc<Shared<S>>, settings: &'a Settings, way: &'a Way, line: Line, lease: &Lease, tenure: Arc<Tenure>) -> Self {
        let (line, permit, hosts) = match line {
            Line::Open(kept) => {
                // Should it turn out closed, its own host comes first again.
                let mut hosts = way.order(shared.seed());
                hosts.sort_by_key(|host| *host.name != *kept.permit.place().host);
                (Some(kept), None, hosts.into())
            }
            Line::Admitted(permit, hosts) => (None, Some(permit), hosts),
        };
        Self {
            shared,
            settings,
            way,
            mail: lease.mail.clone(),
            reverse_path: lease.reverse_path.clone(),
            tenure,
            line,
            permit,
            hosts,
            left: lease.recipients.iter().cloned().collect(),
            under_way: Vec::new(),
            singly: false,
            sessions_broken: 0,
            had_session: false,
            last_fault: None,
            report: Report::default(),
        }
    }

    /// Tries until nobody is left.
    pub(super) async fn run(&mut self) {
        let held = self.shared.reseal.held(&self.mail);
        if let Some(held) = &held {
            self.hold(held);
            if self.left.is_empty() {
                return;
            }
        }
        let message = match self.shared.spool.message(self.mail.id).await {
            Ok(message) => message,
            Err(fault) => {
                self.report.unreadable = Some(fault);
                return;
            }
        };
        self.report.message = Some(message.clone());
        if let Some(held) = held {
            return self.end_held(&held);
        }
        if let Err(held) = self.seal_again(&message).await {
            return self.hold_all(&held);
        }
        while !self.left.is_empty() {
            if self.shared.draining.is_cancelled() {
                return self.release_left(self.shared.now());
            }
            let mut kept = match self.session().await {
                Ok(kept) => kept,
                Err(NoSession::Wait(until)) => return self.release_left(until),
                Err(NoSession::Failed(outcome)) => return self.end_left(&outcome),
            };
            if let Err(until) = self.clearance(kept.permit.place()).await {
                self.line = Some(kept);
                return self.release_left(until);
            }
            // Coming here may have taken minutes.
            if let Err(held) = self.seal_again(&message).await {
                self.line = Some(kept);
                return self.hold_all(&held);
            }
            self.choose_recipients(&mut kept);
            if self.under_way.is_empty() {
                tokio::spawn(kept.close()); // it has carried as many domains as its server takes (RFC 9422)
                continue;
            }
            let end = self.transact(&mut kept, &message).await;
            self.absorb(kept, end);
        }
    }

    /// The attempt was stopped in the middle. What may have arrived is deferred with an unknown end, the rest released.
    pub(super) fn cut(&mut self) {
        let under_way = std::mem::take(&mut self.under_way);
        if self.tenure.dot_is_out.load(Ordering::Acquire) {
            let text = "this relay stopped before the reply to the final dot came";
            let evidence = Evidence { unknown_end: true, ..self.evidence(EnhancedCode::new(4, 3, 2), text.to_owned()) };
            for recipient in under_way {
                self.end(recipient, Outcome::Deferred(evidence.clone()), false, super::provider::OTHER.into(), Proof::Unproven);
            }
        } else {
            self.left.extend(under_way);
        }
        self.release_left(self.shared.now());
    }

    /// What came of it.
    pub(super) fn report(mut self) -> Report {
        self.report.kept = self.line.take();
        self.report
    }

    /// Gives back what need not be told to anybody; the rest is to end as after an attempt.
    fn hold(&mut self, held: &Held) {
        let mail = self.mail.clone();
        let around = Report::circumstances(self.shared, self.settings, &mail);
        for recipient in std::mem::take(&mut self.left) {
            match ending::hold(&around, &recipient, held.pause) {
                Some(until) => self.report.released.push((recipient, until)),
                None => self.left.push_back(recipient),
            }
        }
        if !self.report.released.is_empty() {
            log::held(&mail, self.report.released.len(), &held.why);
        }
    }

    /// RFC 6376 §3.5 `x=`, and keys that went out of use while the mail waited.
    async fn seal_again(&mut self, message: &Bytes) -> Result<(), Held> {
        let Some(seal) = self.shared.reseal.fresh(&self.mail, message, self.shared.now())? else { return Ok(()) };
        // The stored one is for the message's own route, which other recipients may still go by.
        if !self.mail.rerouted
            && let Err(fault) = self.shared.spool.reseal(self.mail.id, seal.clone()).await
        {
            self.shared.note_fault("reseal", &fault);
        }
        self.mail = Arc::new(Mail { seal, ..(*self.mail).clone() });
        Ok(())
    }

    fn hold_all(&mut self, held: &Held) {
        self.hold(held);
        self.end_held(held);
    }

    /// Those that have waited long enough to be told of it.
    fn end_held(&mut self, held: &Held) {
        self.end_left(&Outcome::Deferred(self.evidence(HELD, format!("held, because {}", held.why))));
    }

    /// An open connection: the one at hand, an idle one, or a new one to the first host that can be talked to.
    async fn session(&mut self) -> Result<Box<Kept>, NoSession> {
        if let Some(mut kept) = self.line.take() {
            if kept.connection.transactions() < kept.permit.place().limits.messages_per_connection_max && kept.connection.is_open() {
                return Ok(kept);
            }
            let Kept { permit, connection, .. } = *kept;
            connection.quit().await; // two at a time would be one more than the permit is for
            self.permit = Some(permit);
        }
        let mut full_at = None;
        while let Some(host) = self.hosts.front().cloned() {
            if full_at.is_some_and(|preference| host.preference > preference) {
                break; // a busy host is waited for; a worse one is for when it is silent
            }
            let place = self.way.place(&host.name, self.settings);
            let mut targets = host.addresses.iter().map(|address| self.way.target(&place, *address, self.settings));
            if let Some(kept) = targets.find_map(|target| self.shared.pool.take(&target)) {
                self.permit = None;
                return Ok(Box::new(kept));
            }
            let permit = match self.permit.take().filter(|permit| *permit.place() == place).map_or_else(|| self.shared.pool.admit(&place), Ok) {
                Ok(permit) => permit,
                Err(Admission::Paused(until)) => return Err(NoSession::Wait(until)),
                Err(refused) => {
                    if refused == Admission::Full {
                        full_at = full_at.or(Some(host.preference));
                    }
                    self.hosts.pop_front();
                    continue;
                }
            };
            if let Some(kept) = self.open(&host, &place, permit).await? {
                return Ok(kept);
            }
            self.hosts.pop_front();
        }
        let Some(outcome) = self.last_fault.clone() else {
            return Err(NoSession::Wait(self.shared.now() + BUSY_PAUSE)); // every host has as many connections as it may have
        };
        if let (false, Outcome::Deferred(evidence)) = (self.had_session, &outcome) {
            self.report.unreachable = Some(evidence.clone());
        }
        Err(NoSession::Failed(outcome))
    }

    /// One address of a host after the other; `None` when none of them could be talked to.
    async fn open(&mut self, host: &PlannedHost, place: &Place, permit: Permit) -> Result<Option<Box<Kept>>, NoSession> {
        for address in &host.addresses {
            let target = self.way.target(place, *address, self.settings);
            let fault = match self.connect(&target, place).await {
                Ok(connection) => {
                    self.shared.pool.answered(place);
                    self.had_session = true;
                    return Ok(Some(Box::new(Kept::new(connection, permit, target))));
                }
                Err(fault) => fault,
            };
            log::connection_failed(&self.mail, place, &target, &fault);
            if fault.is_shortage() {
                return Err(NoSession::Wait(self.shared.now() + SHORTAGE_PAUSE));
            }
            counted::failed(self.shared, place, &fault);
            self.note_fault(fault.outcome(&target, self.shared.now()));
            let Some(reply) = fault.reply() else { continue };
            let reaction = place.limits.reaction(reply);
            if reaction != Reaction::Ignore {
                let is_alone = self.is_alone(place);
                self.slow_down(place, reaction, &reply.to_string());
                // One connection too many is no verdict on the message, as long as the others carry mail.
                return Err(match self.last_fault.clone() {
                    Some(outcome) if is_alone => NoSession::Failed(outcome),
                    _ => NoSession::Wait(self.shared.now() + BUSY_PAUSE),
                });
            }
        }
        // Where every address had answered before and broke off over this message, it is no host that does not answer.
        if !host.addresses.is_empty() && self.is_alone(place) {
            self.shared.pool.silent(place);
        }
        Ok(None)
    }

    /// No other connection is open to the provider.
    fn is_alone(&self, place: &Place) -> bool {
        self.shared.pool.connections(&place.group).0 <= 1
    }

    /// A session with one address; without TLS after a failed handshake, on a fresh connection, where TLS was a courtesy.
    async fn connect(&self, target: &Target, place: &Place) -> Result<Connection, super::target::OpenFault> {
        let shared = self.shared;
        let tls = shared.tls.load();
        let outlet = Outlet { network: &*shared.network, tls: &tls, clock: &shared.clock };
        let timeouts = &self.settings.timeouts;
        match Connection::open_over(&outlet, target, timeouts).await {
            Err(fault) if target.tls == TlsDemand::Opportunistic && fault.may_go_in_clear(target) => {
                shared.tally.clear_text_after_failed_tls.fetch_add(1, Ordering::Relaxed);
                shared.meters.of(&place.provider).fallbacks.one();
                log::clear_text(place, target, &fault);
                Connection::open_over(&outlet, &target.in_clear(), timeouts).await
            }
            opened => opened,
        }
        .inspect(|connection| {
            shared.tally.connections.fetch_add(1, Ordering::Relaxed);
            counted::opened(shared, place, target.tls, connection);
        })
    }

    /// Waits for the rate of the place, not for long.
    async fn clearance(&self, place: &Place) -> Result<(), Timestamp> {
        let patience_ends = self.shared.now() + RATE_PATIENCE;
        while let Err(at) = self.shared.pool.may_send(place) {
            if at > patience_ends {
                return Err(at);
            }
            tokio::time::sleep(at.since(self.shared.now()).max(Duration::from_millis(1))).await;
        }
        Ok(())
    }

    /// The recipients of the next transaction: as many as the host takes, or one, of no more domains than the session may carry.
    fn choose_recipients(&mut self, kept: &mut Kept) {
        let most = if self.singly { 1 } else { self.shared.pool.recipients_max(kept.permit.place()) };
        let mut waiting = VecDeque::new();
        while let Some(recipient) = self.left.pop_front() {
            let domain = recipient.mailbox.host.to_string();
            if self.under_way.len() < most && kept.has_room_for(&domain) {
                kept.domains.insert(domain);
                self.under_way.push(recipient);
            } else {
                waiting.push_back(recipient);
            }
        }
        self.left = waiting;
    }

    async fn transact(&mut self, kept: &mut Kept, message: &Bytes) -> TransactionEnd {
        let header = self.mail.seal.header(self.way.takes_ed25519(kept.permit.place()));
        let recipients: Vec<TransactionRecipient<'_>> = self
            .under_way
            .iter()
            .map(|recipient| TransactionRecipient { mailbox: &recipient.mailbox, notify: recipient.notify, orcpt: recipient.orcpt.as_ref() })
            .collect();
        let transaction = Transaction {
            reverse_path: &self.reverse_path,
            recipients: &recipients,
            envid: self.mail.envid.as_deref(),
            ret: self.mail.ret,
            header: &header,
            message,
            as_it_is: self.mail.kind == Kind::Returned,
        };
        let (tenure, shared, needed) = (self.tenure.clone(), self.shared.clone(), self.settings.lease_needed());
        let before_end = async move {
            // What cannot be written down afterwards is not sent: it would be sent again.
            let lasts = tenure.until() > shared.now() + needed && !shared.spool_has_failed();
            tenure.dot_is_out.store(lasts, Ordering::Release);
            lasts
        };
        let began = Instant::now();
        let end = kept.connection.transact(&transaction, before_end).await;
        self.shared.meters.of(&kept.permit.place().provider).transaction.took(began.elapsed());
        self.shared.tally.transactions.fetch_add(1, Ordering::Relaxed);
        end
    }

    fn absorb(&mut self, kept: Box<Kept>, end: TransactionEnd) {
        let dot_was_out = self.tenure.dot_is_out.swap(false, Ordering::AcqRel);
        let tried = std::mem::take(&mut self.under_way);
        let place = kept.permit.place().clone();
        let address = kept.target.address;
        let dsn_passed_on = kept.connection.capabilities().dsn;
        let is_closed = matches!(end.connection, ConnectionEnd::Closed(_));
        match end.connection {
            ConnectionEnd::Reusable => self.line = Some(kept),
            ConnectionEnd::Full => drop(tokio::spawn(kept.close())),
            ConnectionEnd::Closed(_) => self.permit = Some(kept.permit),
        }
        if end.stale {
            return self.left.extend(tried);
        }
        if !dot_was_out && is_closed && !self.tenure_lasts() {
            self.left.extend(tried);
            return self.release_left(self.shared.now() + BUSY_PAUSE);
        }
        self.react(&place, &end.recipients);
        if is_closed && broke_in_silence(&end.recipients) && self.sessions_broken + 1 < self.settings.sessions_max {
            self.sessions_broken += 1;
            if let Some(host) = self.hosts.front_mut().filter(|host| host.name == *place.host) {
                host.addresses.retain(|other| *other != address);
            }
            for end in end.recipients {
                if let RecipientEnd::Ended(outcome) = end {
                    self.note_fault(outcome);
                }
            }
            return self.left.extend(tried);
        }
        let (several, blamed) = (end.blamed_message, end.blamed_message && tried.len() > 1);
        let too_many = end.recipients.iter().filter(|end| matches!(end, RecipientEnd::TooMany(_))).count();
        if too_many > 0 {
            self.shared.pool.took_only(&place, tried.len() - too_many);
        }
        for (recipient, end) in tried.into_iter().zip(end.recipients) {
            match end {
                RecipientEnd::TooMany(_) => self.left.push_back(recipient),
                RecipientEnd::Ended(Outcome::Failed(evidence)) if blamed && is_about_the_message(&evidence) => {
                    self.singly = true;
                    self.left.push_back(recipient);
                }
                RecipientEnd::Ended(outcome) => {
                    let proof = ending::proof(outcome.evidence(), !several);
                    self.end(recipient, outcome, dsn_passed_on, place.provider.clone(), proof);
                }
            }
        }
    }

    /// What the replies say about our speed: the strictest word counts, a taken message once.
    fn react(&self, place: &Place, ends: &[RecipientEnd]) {
        let outcomes = || ends.iter().filter_map(|end| if let RecipientEnd::Ended(outcome) = end { Some(outcome) } else { None });
        if outcomes().any(|outcome| matches!(outcome, Outcome::Delivered(_))) {
            self.shared.pool.taken(place);
        }
        let refusals = outcomes().filter(|outcome| !matches!(outcome, Outcome::Delivered(_))).filter_map(|outcome| outcome.evidence().reply.as_ref());
        let strictest = refusals.map(|reply| (place.limits.reaction(reply), reply)).max_by_key(|(reaction, _)| strictness(*reaction));
        if let Some((reaction, reply)) = strictest.filter(|(reaction, _)| *reaction != Reaction::Ignore) {
            self.slow_down(place, reaction, &reply.to_string());
        }
    }

    fn slow_down(&self, place: &Place, reaction: Reaction, reply: &str) {
        self.shared.pool.slow_down(place, reaction);
        self.shared.meters.of(&place.provider).slowdowns.one();
        log::slowed(place, reply, self.shared.pool.pause(place));
    }

    fn tenure_lasts(&self) -> bool {
        self.tenure.until() > self.shared.now() + self.settings.lease_needed()
    }

    /// Of several faults one that waiting may mend is the better to tell.
    fn note_fault(&mut self, fault: Outcome) {
        if !matches!((&self.last_fault, &fault), (Some(Outcome::Deferred(_)), Outcome::Failed(_))) {
            self.last_fault = Some(fault);
        }
    }

    fn end(&mut self, recipient: Leased, outcome: Outcome, dsn_passed_on: bool, provider: Arc<str>, proof: Proof) {
        self.report.ended.push(Ended { recipient, outcome, dsn_passed_on, provider, proof });
    }

    fn end_left(&mut self, outcome: &Outcome) {
        let provider = outcome.evidence().remote.as_ref().map(|remote| self.way.place(&remote.host, self.settings).provider);
        for recipient in std::mem::take(&mut self.left) {
            let provider = provider.clone().unwrap_or_else(|| super::provider::OTHER.into());
            self.end(recipient, outcome.clone(), false, provider, Proof::Unproven);
        }
    }

    fn release_left(&mut self, until: Timestamp) {
        self.report.released.extend(self.left.drain(..).map(|recipient| (recipient, until)));
    }

    fn evidence(&self, status: EnhancedCode, text: String) -> Evidence {
        Evidence { status, reply: None, text, remote: None, tls: None, unknown_end: false, at: self.shared.now() }
    }
}

impl Tenure {
    pub(super) fn new(until: Timestamp) -> Arc<Self> {
        let tenure = Self::default();
        tenure.renewed(until);
        Arc::new(tenure)
    }

    pub(super) fn renewed(&self, until: Timestamp) {
        self.until.store(until.unix_millis(), Ordering::Release);
    }

    /// Somebody else may have the recipients now.
    pub(super) fn lost(&self) {
        self.renewed(Timestamp::EPOCH);
    }

    /// Until when it held, if that is past and nobody else is known to have it.
    pub(super) fn ran_out(&self, now: Timestamp) -> Option<Timestamp> {
        Some(self.until()).filter(|until| *until <= now && *until > Timestamp::EPOCH)
    }

    fn until(&self) -> Timestamp {
        Timestamp::from_unix_millis(self.until.load(Ordering::Acquire))
    }
}

impl Report {
    /// What is the same for all recipients of a mail.
    pub(super) fn circumstances<'a, S: Spool>(shared: &Shared<S>, settings: &'a Settings, mail: &'a Mail) -> Circumstances<'a> {
        Circumstances {
            mail,
            schedule: settings.schedule(&mail.stream),
            reasons: &settings.reasons,
            started_at: shared.started_at,
            kept_for: settings.returned_kept_for,
            now: shared.now(),
        }
    }
}

/// The connection went without a word, and the mail has certainly not arrived.
fn broke_in_silence(ends: &[RecipientEnd]) -> bool {
    ends.iter().all(|end| matches!(end, RecipientEnd::Ended(Outcome::Deferred(evidence)) if evidence.reply.is_none() && !evidence.unknown_end))
}

/// The refusal came to DATA, BDAT or the final dot rather than to RCPT.
fn is_about_the_message(evidence: &Evidence) -> bool {
    evidence.text != format!("in reply to {}", Stage::Rcpt)
}

const fn strictness(reaction: Reaction) -> u8 {
    match reaction {
        Reaction::Ignore => 0,
        Reaction::Fewer => 1,
        Reaction::Slow { .. } => 2,
        Reaction::Restart { .. } => 3,
    }
}

/// Security features of ours stand in the way, for now (RFC 3463 §3.8).
const HELD: EnhancedCode = EnhancedCode::new(4, 7, 0);
/// How long an attempt waits for its turn under a rate before its lease is given back.
const RATE_PATIENCE: Duration = Duration::from_secs(10);
/// How long mail rests for which this machine had no socket.
const SHORTAGE_PAUSE: Duration = Duration::from_secs(10);
/// How long mail rests that found every connection taken.
const BUSY_PAUSE: Duration = Duration::from_secs(5);
