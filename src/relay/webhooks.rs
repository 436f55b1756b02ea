//! Webhooks: for each a reader of the journal that sends what it reads, one request at a time, and goes on when the receiver has it.
//!
//! Nothing of it is in the way of mail: what is accepted or delivered writes its events and knows no webhook. A receiver that is slow, dead
//! or hostile holds up its own reader, at the last event that it took; that place is in the spool, and outlives us. What it has not taken
//! when the journal forgets it is gone, and that is said as an error.

use crate::clock;
use crate::deliver::tls::ClientTls;
use crate::events::webhook::{Answer, Delivery, Settings, retry_after};
use crate::spool::journal::{Event, Filter, Journal};
use crate::spool::{SpoolError, SqliteSpool};
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// All that run.
pub struct Webhooks {
    spool: Arc<SqliteSpool>,
    troubles: Arc<Troubles>,
    running: Mutex<Running>,
}

/// Receivers that did not take what they were sent last, by the names of their webhooks.
#[derive(Debug, Default)]
pub struct Troubles(Mutex<BTreeMap<String, Trouble>>);

/// What is wrong with a receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The last event that it has, or that it does not want.
    pub after: u64,
    /// What it answered, or why it did not.
    pub why: String,
}

impl Troubles {
    /// Those there are now.
    pub fn all(&self) -> BTreeMap<String, Trouble> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, webhook: &str, trouble: Option<Trouble>) {
        let mut troubles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match trouble {
            Some(trouble) => drop(troubles.insert(webhook.to_owned(), trouble)),
            None => drop(troubles.remove(webhook)),
        }
    }

    fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

struct Running {
    over: CancellationToken,
    task: JoinHandle<()>,
}

impl Webhooks {
    /// Begins with these.
    pub fn begin(spool: Arc<SqliteSpool>, settings: &[Settings], tls: &ClientTls) -> Self {
        let troubles = Arc::default();
        let running = Mutex::new(Running::begin(spool.clone(), &troubles, settings.to_vec(), tls.clone(), None));
        Self { spool, troubles, running }
    }

    /// What is wrong with them, kept up to date.
    pub const fn troubles(&self) -> &Arc<Troubles> {
        &self.troubles
    }

    /// These instead; each goes on where the one of its name was. Requests under way end first.
    pub fn replace(&self, settings: &[Settings], tls: &ClientTls) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.over.cancel();
        // The place of the old one is taken by a task that has ended.
        let old = std::mem::replace(&mut running.task, tokio::spawn(async {}));
        *running = Running::begin(self.spool.clone(), &self.troubles, settings.to_vec(), tls.clone(), Some(old));
    }

    /// Ends; a request under way has a moment to be answered. What was not is sent again after the next start.
    pub async fn end(&self) {
        let task = {
            let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            running.over.cancel();
            std::mem::replace(&mut running.task, tokio::spawn(async {}))
        };
        let stop = task.abort_handle();
        if timeout(FAREWELL, task).await.is_err() {
            stop.abort();
        }
    }
}

impl Running {
    fn begin(spool: Arc<SqliteSpool>, troubles: &Arc<Troubles>, settings: Vec<Settings>, tls: ClientTls, before: Option<JoinHandle<()>>) -> Self {
        let over = CancellationToken::new();
        let (until, troubles) = (over.clone(), troubles.clone());
        let task = tokio::spawn(async move {
            if let Some(before) = before {
                let _ = before.await;
            }
            troubles.clear();
            // One that was removed, and is back some day, begins anew. A spool that cannot say it now is asked at the next start.
            let names = settings.iter().map(|settings| settings.name.clone()).collect();
            let _ = spool.forget_cursors_but(names).await;
            let mut hooks = tokio::task::JoinSet::new();
            for settings in settings {
                match client(&settings, &tls) {
                    Ok(client) => {
                        let (filter, last) = (settings.filter(), spool.last());
                        let (spool, troubles, over) = (spool.clone(), troubles.clone(), until.clone());
                        hooks.spawn(Hook { spool, troubles, settings, client, filter, last, over }.run());
                    }
                    Err(error) => {
                        tracing::error!(webhook = settings.name, %error, "webhook.stopped");
                        troubles.note(&settings.name, Some(Trouble { after: *spool.last().borrow(), why: error.to_string() }));
                    }
                }
            }
            while hooks.join_next().await.is_some() {}
        });
        Self { over, task }
    }
}

/// Goes nowhere but to the address that the configuration names.
fn client(settings: &Settings, tls: &ClientTls) -> reqwest::Result<reqwest::Client> {
    let tls = rustls::ClientConfig::clone(tls.verified().config());
    let builder = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).user_agent(AGENT);
    builder.tls_backend_preconfigured(tls).connect_timeout(settings.timeout).timeout(settings.timeout).build()
}

/// One reader.
struct Hook<S> {
    spool: Arc<S>,
    troubles: Arc<Troubles>,
    settings: Settings,
    client: reqwest::Client,
    filter: Filter,
    last: watch::Receiver<u64>,
    over: CancellationToken,
}

/// Where it is.
struct Place {
    /// The last event that is done with.
    after: u64,
    /// The last event that is known to be written down as confirmed.
    confirmed: u64,
    /// A batch that was not taken ends there, and comes again as it was.
    batch_to: Option<u64>,
    /// In a row.
    failures: u32,
}

/// Why a batch was not taken.
enum Failure {
    /// The receiver wants no more.
    Gone,
    /// Later it may.
    Now { why: String, asked: Option<Duration> },
}

impl<S: Journal> Hook<S> {
    async fn run(mut self) {
        let Some(after) = self.begin().await else { return };
        let mut place = Place { after, confirmed: after, batch_to: None, failures: 0 };
        while !self.over.is_cancelled() {
            match self.turn(&mut place).await {
                Ok(true) => {}
                Ok(false) | Err(SpoolError::Closed) => return,
                Err(_) => self.rest(SPOOL_PAUSE).await, // a spool that failed has said so itself
            }
        }
        // So that filtered events are not read again.
        let _ = self.confirm(&mut place, 1).await;
    }

    /// Where it was.
    async fn begin(&self) -> Option<u64> {
        loop {
            match self.spool.cursor(&self.settings.name).await {
                Ok(number) => return Some(number),
                Err(SpoolError::Closed) => return None,
                Err(_) => self.rest(SPOOL_PAUSE).await,
            }
            if self.over.is_cancelled() {
                return None;
            }
        }
    }

    /// One look at the journal, and what follows from it; whether there is to be another.
    async fn turn(&mut self, place: &mut Place) -> Result<bool, SpoolError> {
        self.last.mark_unchanged();
        let page = self.spool.events(place.after, self.filter.clone(), self.settings.batch_max).await?;
        if page.erased > 0 {
            tracing::error!(webhook = self.settings.name, events = page.erased, "webhook.overflowed");
            place.after += page.erased;
        }
        let batch: Vec<Event> = page.events.into_iter().filter(|event| place.batch_to.is_none_or(|to| event.number <= to)).collect();
        let Some(to) = batch.last().map(|event| event.number) else {
            // Of a batch that was not taken, nothing is left.
            let was_waiting = place.batch_to.take().is_some();
            if !was_waiting {
                place.after = page.to.max(place.after);
                self.confirm(place, CONFIRM_SKIPPED).await?;
            }
            if !page.more && !was_waiting {
                self.news().await;
            }
            return Ok(true);
        };
        match self.send(&batch).await {
            Ok(()) => {
                self.taken(place);
                (place.after, place.batch_to) = (to, None);
                self.confirm(place, 1).await?;
            }
            Err(Failure::Gone) => {
                let why = "the receiver answered 410: it wants no more";
                tracing::error!(webhook = self.settings.name, error = why, "webhook.stopped");
                self.troubles.note(&self.settings.name, Some(Trouble { after: place.after, why: why.to_owned() }));
                return Ok(false);
            }
            Err(Failure::Now { why, asked }) => {
                place.batch_to = Some(to);
                self.failed(place, &why, asked).await;
            }
        }
        Ok(true)
    }

    async fn send(&self, batch: &[Event]) -> Result<(), Failure> {
        let Delivery { id, timestamp, signature, body } = Delivery::of(&self.settings, batch, clock::now());
        let request = self.client.post(&self.settings.url).header(CONTENT_TYPE, "application/json").body(body);
        let request = request.header("webhook-id", id).header("webhook-timestamp", timestamp).header("webhook-signature", signature);
        let response = request.send().await.map_err(|error| Failure::Now { why: cause(&error), asked: None })?;
        let (status, asked) = (response.status(), response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).and_then(retry_after));
        let said = beginning(response).await;
        match Answer::of(status.as_u16()) {
            Answer::Taken => Ok(()),
            Answer::Gone => Err(Failure::Gone),
            Answer::Refused => Err(Failure::Now { why: format!("status {}: {said}", status.as_u16()).trim_end_matches([':', ' ']).to_owned(), asked }),
        }
    }

    fn taken(&self, place: &mut Place) {
        if place.failures > 0 {
            tracing::info!(webhook = self.settings.name, attempts = place.failures + 1, "webhook.recovered");
        }
        self.troubles.note(&self.settings.name, None);
        place.failures = 0;
    }

    async fn failed(&self, place: &mut Place, why: &str, asked: Option<Duration>) {
        place.failures = place.failures.saturating_add(1);
        if place.failures == 1 {
            tracing::warn!(webhook = self.settings.name, error = why, "webhook.failed");
        }
        self.troubles.note(&self.settings.name, Some(Trouble { after: place.after, why: why.to_owned() }));
        self.rest(self.settings.pause(place.failures, asked, rand::random())).await;
    }

    /// Writes down where it is, when it has come at least so far.
    async fn confirm(&self, place: &mut Place, step: u64) -> Result<(), SpoolError> {
        if place.after >= place.confirmed + step {
            self.spool.confirm(&self.settings.name, place.after).await?;
            place.confirmed = place.after;
        }
        Ok(())
    }

    async fn rest(&self, pause: Duration) {
        tokio::select! {
            () = sleep(pause) => {}
            () = self.over.cancelled() => {}
        }
    }

    async fn news(&mut self) {
        tokio::select! {
            _ = self.last.changed() => {} // the spool's end too: the next look says it
            () = self.over.cancelled() => {}
        }
    }
}

/// The innermost cause: the outer ones repeat the address, which may hold what is nobody's business.
fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

/// The first words of an answer, and not more than a little of it.
async fn beginning(mut response: reqwest::Response) -> String {
    let mut octets = Vec::new();
    while octets.len() < ANSWER_OCTETS_MAX
        && let Ok(Some(chunk)) = response.chunk().await
    {
        octets.extend_from_slice(&chunk[..chunk.len().min(ANSWER_OCTETS_MAX)]);
    }
    String::from_utf8_lossy(&octets).trim().chars().take(WORDS_CHARACTERS_MAX).collect()
}

const AGENT: &str = concat!("postseal/", env!("CARGO_PKG_VERSION"));
/// For a request under way when the relay ends.
const FAREWELL: Duration = Duration::from_secs(2);
/// After a spool that could not answer.
const SPOOL_PAUSE: Duration = Duration::from_secs(1);
/// Events that a filter left out, until the place behind them is written down.
const CONFIRM_SKIPPED: u64 = 1000;
/// Of an answer no more is read.
const ANSWER_OCTETS_MAX: usize = 16 << 10;
/// Of its words no more is told.
const WORDS_CHARACTERS_MAX: usize = 200;
