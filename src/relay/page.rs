//! The page's part of the wiring: where what it shows comes from.

use super::examination;
use super::rotation::InForce;
use super::webhooks::Troubles;
use crate::admin::page::domains;
use crate::admin::page::journey::{self, Known};
use crate::admin::page::matters::{self, Complaint, Facts, Matter, Paused};
use crate::admin::page::queue;
use crate::admin::page::view::{
    Act, DOMAINS_MAX, DomainStanding, DomainView, DomainsView, Examination, FOUND_MAX, Found, Frame, GROUPS_MAX, Grade, GroupView, Journey, MISHAPS_MAX,
    Mishap, Now, Outlook, QueueView, SUPPRESSED_MAX, Span, Stage, Standing, SuppressedEntry, SuppressedView, Trouble, WAITING_MAX,
};
use crate::admin::{Office, api::domains::KeyStanding};
use crate::clock;
use crate::deliver::Delivery;
use crate::deliver::cancel::{self, Manner};
use crate::dns::Resolver;
use crate::doctor::Kind as PartKind;
use crate::events::traffic::{Beat, Counts, Traffic};
use crate::ingress::tls;
use crate::keys::{Keyring, State as KeyState};
use crate::mail::{Domain, KeyId, MailId, Mailbox, Reason, Suppression, Timestamp};
use crate::spool::control::{By, Control as _, Effect, Group as Sum, Order, Selection};
use crate::spool::journal::{Event, Filter, Journal as _, Kind};
use crate::spool::{Health, Records as _, Spool as _, SpoolError, SqliteSpool, Suppressions as _, suppressions};
use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What the page asks.
pub struct Sources {
    office: Arc<Office<SqliteSpool>>,
    in_force: Arc<InForce>,
    delivery: Arc<Delivery>,
    resolver: Arc<Resolver>,
    traffic: Arc<Traffic>,
    webhooks: Arc<Troubles>,
    commits_lost: u64,
    /// The last one.
    gathered: Mutex<Option<Arc<Gathered>>>,
    doctor: Doctor,
}

/// What doctor said last, and whether it is at work.
#[derive(Default)]
struct Doctor {
    said: Mutex<Said>,
    is_wanted: Notify,
    is_at_work: AtomicBool,
}

#[derive(Default, Clone)]
struct Said {
    domains: BTreeMap<String, Examination>,
    relay: Option<Examination>,
}

/// Counts, and has doctor look, for as long as the relay runs.
pub struct PageKeeper {
    over: CancellationToken,
    running: Vec<JoinHandle<()>>,
}

impl Sources {
    /// Of a relay that is about to run.
    pub fn new(
        office: Arc<Office<SqliteSpool>>,
        in_force: Arc<InForce>,
        delivery: Arc<Delivery>,
        resolver: Arc<Resolver>,
        traffic: Arc<Traffic>,
        webhooks: Arc<Troubles>,
        commits_lost: u64,
    ) -> Arc<Self> {
        Arc::new(Self { office, in_force, delivery, resolver, traffic, webhooks, commits_lost, gathered: Mutex::default(), doctor: Doctor::default() })
    }

    /// What handlers of the other paths share.
    pub const fn office(&self) -> &Arc<Office<SqliteSpool>> {
        &self.office
    }

    fn spool(&self) -> &SqliteSpool {
        &self.office.spool
    }
}

impl PageKeeper {
    /// Begins.
    pub fn begin(sources: &Arc<Sources>) -> Self {
        let over = CancellationToken::new();
        let (counting, looking) = (sources.clone(), sources.clone());
        let counting = until(&over, async move { count(&counting).await });
        let looking = until(&over, async move { look(&looking).await });
        Self { over, running: vec![counting, looking] }
    }

    /// Ends both.
    pub async fn end(self) {
        self.over.cancel();
        for running in self.running {
            let _ = running.await;
        }
    }
}

fn until(over: &CancellationToken, work: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    let over = over.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = over.cancelled() => {}
            () = work => {}
        }
    })
}

/// Delivery keeps totals; what they rose by since the last look happened now.
async fn count(sources: &Sources) {
    let tally = sources.delivery.tally();
    let totals = || {
        [(Beat::Delivered, &tally.delivered), (Beat::Deferred, &tally.deferred), (Beat::Failed, &tally.failed)]
            .map(|(beat, total)| (beat, total.load(Ordering::Relaxed)))
    };
    let mut before = totals();
    loop {
        tokio::time::sleep(COUNT_EVERY).await;
        let (after, now) = (totals(), clock::now());
        for ((beat, after), (_, before)) in after.iter().zip(&before) {
            sources.traffic.note(*beat, after.saturating_sub(*before), now);
        }
        before = after;
    }
}

/// Doctor comes some minutes after the start, every hour, and when it is asked for.
async fn look(sources: &Sources) {
    let mut pause = FIRST_LOOK_AFTER;
    loop {
        tokio::select! {
            () = sources.doctor.is_wanted.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
        sources.doctor.is_at_work.store(true, Ordering::Relaxed);
        // What is not answered in that time is not worth waiting for; what was said before stays.
        let _ = tokio::time::timeout(LOOK_WITHIN, sources.examined()).await;
        sources.doctor.is_at_work.store(false, Ordering::Relaxed);
        pause = LOOK_EVERY;
    }
}

impl Sources {
    async fn examined(&self) {
        let config = self.in_force.config();
        let keys = config.server.keys.clone();
        let Ok(Ok(keyring)) = tokio::task::spawn_blocking(move || Keyring::load(&keys)).await else { return };
        let names: Vec<Domain> = config.domains.keys().take(DOMAINS_MAX).cloned().collect();
        let parts = examination::examine(&config, &keyring, &names, &self.resolver).await;
        let now = clock::now();
        let mut said = Said::default();
        for part in parts {
            let examination = domains::examination(&part, now);
            match part.kind {
                PartKind::Domain => drop(said.domains.insert(part.name, examination)),
                PartKind::Relay => said.relay = Some(examination),
            }
        }
        *lock(&self.doctor.said) = said;
    }
}

impl Outlook for Sources {
    async fn frame(&self) -> Frame {
        let standing = self.office.life.standing();
        let matters = self.matters_now().await.map_or(0, |matters| matters.iter().filter(|matter| matter.urgency.needs_a_person()).count());
        Frame {
            hostname: standing.hostname.to_string(),
            at: standing.now,
            started_at: standing.started_at,
            matters,
            form_token: self.office.forms.token(standing.now),
        }
    }

    async fn now(&self, span: Span) -> Result<Now, Trouble> {
        let gathered = self.gathered().await?;
        let now = clock::now();
        let seconds = self.traffic.seconds(now);
        let last_minute = Beat::ALL.into_iter().fold(Counts::default(), |sum, beat| sum.with(beat, seconds.total(beat)));
        let series = match span {
            Span::Hour => self.traffic.minutes(now),
            Span::Day => self.traffic.hours(now),
        };
        let QueueView { recipients, groups, .. } = &gathered.queue;
        Ok(Now {
            last_minute,
            series,
            span,
            standing: self.standing(),
            waiting: *recipients,
            oldest: groups.iter().filter_map(|group| group.oldest).min(),
            groups: groups.clone(),
            matters: matters::matters(&gathered.facts, now),
            mishaps: gathered.mishaps.clone(),
        })
    }

    async fn queue(&self) -> Result<QueueView, Trouble> {
        Ok(self.gathered().await?.queue.clone())
    }

    async fn group(&self, name: &str) -> Result<Option<GroupView>, Trouble> {
        let Some(group) = self.gathered().await?.queue.groups.iter().find(|group| group.name == name).cloned() else { return Ok(None) };
        let selection = match name {
            queue::UNTRIED => Selection::default(),
            domain if domain.contains('.') => Selection { domain: domain.parse().ok(), ..Selection::default() },
            provider => Selection { provider: Some(provider.to_owned()), ..Selection::default() },
        };
        let (mut waiting, mut after) = (Vec::new(), None);
        for _ in 0..PAGES_MAX {
            let listed = self.spool().list(&selection, after, ROWS, clock::now()).await.map_err(|error| Trouble::of(&error))?;
            let wanted = listed.entries.iter().filter(|entry| name != queue::UNTRIED || entry.last.is_none());
            waiting.extend(wanted.map(queue::waiting));
            after = listed.next;
            if after.is_none() || waiting.len() >= WAITING_MAX {
                break;
            }
        }
        waiting.truncate(WAITING_MAX);
        Ok(Some(GroupView { group, waiting }))
    }

    async fn domains(&self) -> Result<DomainsView, Trouble> {
        let names = self.office.domains.names();
        let (all, domains) = (names.len(), self.office.domains.clone());
        let look = move || names.iter().take(DOMAINS_MAX).filter_map(|name| domains.domain(name).transpose()).collect::<Result<Vec<_>, _>>();
        let standings = tokio::task::spawn_blocking(look).await.map_err(|error| Trouble::of(&error))?.map_err(Trouble)?;
        let (said, waits, now) = (lock(&self.doctor.said).clone(), self.in_force.waits(), clock::now());
        if said.relay.is_none() && !self.is_examining() {
            self.doctor.is_wanted.notify_one();
        }
        let view = |domain: crate::admin::api::domains::DomainStanding| {
            let rotate_every = domain.rotate_every_seconds.map(Duration::from_secs);
            let wait = |key: &KeyStanding| waits.get(&KeyId { domain: domain.domain.clone(), selector: key.selector.clone() }).map(|wait| wait.reason.clone());
            DomainView {
                name: domain.domain.to_string(),
                standing: domain_standing(&domain),
                bounce_domain: domain.bounce_domain.to_string(),
                keys: domains::keys(&domain.keys, rotate_every, &wait, now),
                dmarc: stage(&domain.dmarc_policy),
                rotated_at: domains::rotated_at(&domain.keys),
                rotate_every,
                examination: said.domains.get(domain.domain.as_str()).cloned(),
            }
        };
        Ok(DomainsView {
            domains: standings.into_iter().map(view).collect(),
            all,
            relay: said.relay.clone(),
            examining: self.is_examining() || said.relay.is_none(),
        })
    }

    async fn journey(&self, id: MailId) -> Result<Option<Journey>, Trouble> {
        let now = clock::now();
        let filter = Filter { mail: Some(id), ..Filter::default() };
        let (events, history, shown) = tokio::join!(self.events(filter, 0), self.spool().history(id), self.spool().show(id, now));
        let (history, shown) = (history.map_err(|error| Trouble::of(&error))?, shown.map_err(|error| Trouble::of(&error))?);
        Ok(journey::journey(id, &Known { events: events?, history, shown }))
    }

    async fn find(&self, recipient: &str) -> Result<Vec<Found>, Trouble> {
        let Ok(mailbox) = recipient.parse::<Mailbox>() else { return Ok(Vec::new()) };
        let most = NonZeroUsize::new(FOUND_MAX).unwrap_or(NonZeroUsize::MIN);
        let events = self.spool().mails_to(&mailbox, None, most).await.map_err(|error| Trouble::of(&error))?;
        Ok(events.iter().map(journey::found).collect())
    }

    async fn suppressed(&self, recipient: &str) -> Result<SuppressedView, Trouble> {
        let (entries, _) = self.spool().suppressions_count();
        let Ok(mailbox) = recipient.parse::<Mailbox>() else { return Ok(SuppressedView { entries, of_address: Vec::new() }) };
        let selection = suppressions::Selection { recipient: Some(mailbox), ..suppressions::Selection::default() };
        let most = NonZeroUsize::new(SUPPRESSED_MAX).unwrap_or(NonZeroUsize::MIN);
        let listed = self.spool().suppressions(&selection, None, most, clock::now()).await.map_err(|error| Trouble::of(&error))?;
        let shown = |entry: &Suppression| SuppressedEntry {
            scope: entry.scope.to_string(),
            why: entry.why.in_words().to_owned(),
            since: entry.since,
            until: entry.expires_at,
            said: entry.detail.clone(),
            command: format!("postseal suppression remove {} --scope {}", entry.recipient, entry.scope),
        };
        Ok(SuppressedView { entries, of_address: listed.entries.iter().map(shown).collect() })
    }

    async fn matters(&self) -> Result<Vec<Matter>, Trouble> {
        self.matters_now().await
    }

    async fn act(&self, id: MailId, act: Act) -> Result<u64, Trouble> {
        let order = match act {
            Act::Retry => Order::Retry,
            Act::Hold => Order::Hold,
            Act::Release => Order::Release,
            Act::Cancel => Order::Cancel { silent: false },
        };
        let selection = Selection { ids: vec![id], ..Selection::default() };
        let (mut after, mut done) = (None, 0);
        loop {
            let changed = self.spool().change(&selection, &order, after, ROWS, clock::now()).await.map_err(|error| Trouble::of(&error))?;
            let affected = changed.entries.iter().filter(|(_, effect)| *effect == Effect::Done).count();
            done += u64::try_from(affected).unwrap_or(u64::MAX);
            if !changed.leases.is_empty() {
                let manner = Manner { note: None, silent: false };
                cancel::cancel(&self.office.spool, &self.office.outbound.notices(), changed.leases, &manner, clock::now())
                    .await
                    .map_err(|error| Trouble::of(&error))?;
            }
            after = changed.next;
            if after.is_none() {
                break;
            }
        }
        self.office.outbound.carried_out(&order, done);
        *lock(&self.gathered) = None;
        Ok(done)
    }

    fn examine(&self) {
        self.doctor.is_wanted.notify_one();
    }

    fn is_own_form(&self, token: &str) -> bool {
        self.office.forms.is_good(token, clock::now())
    }
}

/// What several parts of the page are made of.
struct Gathered {
    at: Timestamp,
    queue: QueueView,
    facts: Facts,
    mishaps: Vec<Mishap>,
}

impl Sources {
    fn is_examining(&self) -> bool {
        self.doctor.is_at_work.load(Ordering::Relaxed)
    }

    async fn matters_now(&self) -> Result<Vec<Matter>, Trouble> {
        Ok(matters::matters(&self.gathered().await?.facts, clock::now()))
    }

    fn standing(&self) -> Standing {
        let standing = self.office.life.standing();
        match (refusing(&self.spool().health()), standing.is_draining, standing.held) {
            (_, true, _) => Standing::Draining,
            (Some(why), ..) => Standing::Refusing(why),
            (None, false, Some(_)) => Standing::Held,
            (None, false, None) => Standing::Accepting,
        }
    }

    /// Once in a few seconds, however many look.
    async fn gathered(&self) -> Result<Arc<Gathered>, Trouble> {
        let now = clock::now();
        if let Some(gathered) = lock(&self.gathered).clone()
            && now.since(gathered.at) < GATHERED_FOR
            && gathered.at <= now
        {
            return Ok(gathered);
        }
        let gathered = Arc::new(self.gather(now).await?);
        *lock(&self.gathered) = Some(gathered.clone());
        Ok(gathered)
    }

    async fn gather(&self, now: Timestamp) -> Result<Gathered, Trouble> {
        let last = *self.spool().last().borrow();
        let filter = Filter { kinds: vec![Kind::Deferred, Kind::Bounced], ..Filter::default() };
        let (queue, events) = tokio::join!(self.sums(now), self.events(filter, last.saturating_sub(EVENTS_BACK)));
        let (queue, events) = (queue?, events?);
        let facts = self.facts(&queue, &events, now).await;
        let mishaps = events.iter().rev().filter_map(journey::mishap).take(MISHAPS_MAX).collect();
        Ok(Gathered { at: now, queue, facts, mishaps })
    }

    /// Page by page, as long as that takes no more than a moment.
    async fn sums(&self, now: Timestamp) -> Result<QueueView, Trouble> {
        let of_others = Selection { provider: Some(queue::OTHER.to_owned()), ..Selection::default() };
        let (providers, first_whole) = self.sum_up(&Selection::default(), By::Provider, now).await?;
        let (domains, second_whole) = self.sum_up(&of_others, By::Domain, now).await?;
        let (counts, states) = tokio::join!(self.spool().counts(), self.spool().states(now));
        let (counts, states) = (counts.map_err(|error| Trouble::of(&error))?, states.map_err(|error| Trouble::of(&error))?);
        let names = providers.iter().filter_map(|sum| sum.key.clone()).chain(domains.iter().filter_map(|sum| sum.last.as_ref()?.host.clone()));
        let connections = names.map(|name| (name.clone(), self.delivery.connections(&name).0)).collect();
        let pace = queue::Pace { pauses: self.delivery.pauses().into_iter().collect(), connections };
        let mut groups = queue::groups(providers, domains, &pace);
        let groups_all = u64::try_from(groups.len()).unwrap_or(u64::MAX);
        groups.truncate(GROUPS_MAX);
        Ok(QueueView {
            groups,
            groups_all,
            recipients: states.waiting + states.leased + states.held + states.quarantined,
            mails: counts.mails,
            quarantined: counts.quarantined,
            held: states.held,
            in_part: !(first_whole && second_whole),
        })
    }

    async fn sum_up(&self, selection: &Selection, by: By, now: Timestamp) -> Result<(Vec<Sum>, bool), Trouble> {
        let began = clock::now();
        let (mut sums, mut after) = (HashMap::<Option<String>, Sum>::new(), None);
        loop {
            let page = self.spool().sum_up(selection, by, after, now).await.map_err(|error| Trouble::of(&error))?;
            for group in page.groups {
                match sums.get_mut(&group.key) {
                    Some(sum) => sum.add(group),
                    None => drop(sums.insert(group.key.clone(), group)),
                }
            }
            after = page.next;
            if after.is_none() || clock::now().since(began) > SUMS_WITHIN {
                return Ok((sums.into_values().collect(), after.is_none()));
            }
        }
    }

    /// Those behind `after`, as far as some pages reach.
    async fn events(&self, filter: Filter, after: u64) -> Result<Vec<Event>, Trouble> {
        let (mut events, mut after) = (Vec::new(), after);
        for _ in 0..PAGES_MAX {
            let page = self.spool().events(after, filter.clone(), ROWS).await.map_err(|error| Trouble::of(&error))?;
            events.extend(page.events);
            after = page.to;
            if !page.more {
                break;
            }
        }
        Ok(events)
    }

    async fn facts(&self, queue: &QueueView, events: &[Event], now: Timestamp) -> Facts {
        let (config, snapshot, standing) = (self.in_force.config(), self.in_force.snapshot(), self.office.life.standing());
        let (life, tls) = (self.office.life.clone(), config.tls.clone());
        let blocking = tokio::task::spawn_blocking(move || {
            let files = tls.iter().flat_map(|tls| &tls.certificates);
            let valid = |files: &tls::CertificateFiles| tls::certificate_face(files).map(|face| face.not_after).map_err(|fault| fault.to_string());
            (life.room().ok(), files.map(|files| (files.chain.display().to_string(), valid(files))).collect())
        });
        let (room, certificates) = blocking.await.unwrap_or_default();
        let watch = self.in_force.watch();
        let doubted = |domain: &Domain| watch.standing(domain).into_iter().filter_map(|(key, standing)| Some((key.to_string(), standing.loss?)));
        let pauses = self.delivery.pauses();
        let resting = |(name, until): (Arc<str>, Timestamp)| {
            let group = queue.groups.iter().find(|group| group.name == *name);
            Paused { provider: name.to_string(), until, waiting: group.map_or(0, |group| group.recipients), words: group.and_then(|group| group.words.clone()) }
        };
        Facts {
            refusing: refusing(&self.spool().health()),
            spool_held: standing.held.is_some(),
            commits_lost: self.commits_lost,
            quarantined: queue.quarantined,
            held: queue.held,
            suppressions: Some(self.spool().suppressions_count()),
            disk: room.map(|room| (room.free, room.reserve)),
            domains_held: snapshot.seal.domains.iter().filter_map(|(domain, seal)| Some((domain.to_string(), seal.suspension.held.clone()?))).collect(),
            keys_doubted: config.domains.keys().flat_map(doubted).collect(),
            domains_without_key: standing.keyless.iter().map(ToString::to_string).collect(),
            keys_waiting: self.in_force.waits().into_iter().filter(|(_, wait)| wait.needs_a_person).map(|(key, wait)| (key.to_string(), wait.reason)).collect(),
            paused: pauses.into_iter().map(resting).collect(),
            complaints: complaints(events, now),
            webhooks: self.webhooks(),
            certificates,
            warnings: config.warnings().map(str::to_owned).collect(),
            findings: self.findings(),
        }
    }

    /// Those that do not answer, with the events that they do not have; some may be none of theirs.
    fn webhooks(&self) -> Vec<(String, u64, String)> {
        let last = *self.spool().last().borrow();
        self.webhooks.all().into_iter().map(|(name, trouble)| (name, last.saturating_sub(trouble.after), trouble.why)).collect()
    }

    /// What doctor would mend.
    fn findings(&self) -> Vec<(String, String, String, String)> {
        let said = lock(&self.doctor.said);
        let of = |(domain, examination): (&String, &Examination)| {
            let bad = examination.findings.iter().filter(|finding| finding.grade == Grade::Bad);
            bad.map(|finding| (domain.clone(), finding.rule.clone(), format!("{}: {}", finding.about, finding.seen), finding.remedy.clone()))
                .collect::<Vec<_>>()
        };
        said.domains.iter().flat_map(of).collect()
    }
}

/// Of the last hours, the latest of each domain and provider that names something of ours to mend.
fn complaints(events: &[Event], now: Timestamp) -> Vec<Complaint> {
    let mut latest: BTreeMap<(String, String), Complaint> = BTreeMap::new();
    for event in events.iter().filter(|event| now.since(event.news.at) < COMPLAINTS_OF) {
        let about = &event.news.about;
        let Some(reason @ (Reason::Authentication | Reason::Reputation)) = about.reason.as_deref().and_then(|reason| reason.parse().ok()) else { continue };
        let (Some(domain), Some(mishap)) = (about.author_domain.clone(), journey::mishap(event)) else { continue };
        let provider = about.provider.clone().filter(|provider| provider != queue::OTHER).or_else(|| about.host.clone()).unwrap_or_default();
        latest.insert((domain.clone(), provider.clone()), Complaint { rule: reason.to_string(), domain, provider, words: mishap.words });
    }
    latest.into_values().collect()
}

fn refusing(health: &Health) -> Option<String> {
    match health {
        Health::Working => None,
        Health::Full { free, reserve } => Some(SpoolError::Full { free: *free, reserve: *reserve }.to_string()),
        Health::Failed(why) => Some(SpoolError::Failed(why.clone()).to_string()),
        Health::Closed => Some(SpoolError::Closed.to_string()),
    }
}

fn domain_standing(domain: &crate::admin::api::domains::DomainStanding) -> DomainStanding {
    let active = || domain.keys.iter().filter(|key| key.state == KeyState::Active);
    let loss = active().find_map(|key| key.watch.as_ref()?.loss.as_ref().map(|loss| format!("{}: {loss}", key.name)));
    match (domain.parked, &domain.held, active().next(), loss) {
        (true, ..) => DomainStanding::Parked,
        (false, Some(why), ..) => DomainStanding::Held(why.clone()),
        (false, None, None, _) => DomainStanding::NoKey,
        (false, None, Some(_), Some(loss)) => DomainStanding::Doubted(loss),
        (false, None, Some(_), None) => DomainStanding::Signing,
    }
}

fn stage(policy: &str) -> Stage {
    Stage::ALL.into_iter().find(|stage| stage.word() == policy).unwrap_or(Stage::None)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Charts show minutes; a count may be told of so much too late.
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// What is shown may be so old.
const GATHERED_FOR: Duration = Duration::from_secs(2);
/// How long the queue is summed up for.
const SUMS_WITHIN: Duration = Duration::from_secs(2);
/// Events that are looked through for what receivers said last.
const EVENTS_BACK: u64 = 5000;
/// Pages of a list or of the journal.
const PAGES_MAX: usize = 40;
/// Rows of a page.
const ROWS: NonZeroUsize = NonZeroUsize::new(500).unwrap();
/// A complaint is shown for so long after the last reply of its kind.
const COMPLAINTS_OF: Duration = Duration::from_hours(6);
/// Whoever starts a relay is about to change the DNS.
const FIRST_LOOK_AFTER: Duration = Duration::from_mins(5);
/// How often doctor looks of itself.
const LOOK_EVERY: Duration = Duration::from_hours(1);
/// How long a visit may take.
const LOOK_WITHIN: Duration = Duration::from_mins(5);
