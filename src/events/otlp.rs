//! Spans on their way to a collector, by OTLP over HTTP, in JSON. A shell.
//!
//! ```text
//! tell ─▶ queue (bounded) ─▶ batch ─▶ POST endpoint/v1/traces ─▶ taken
//!   └ full: dropped, counted              └ 429, 502, 503, 504 or no answer: again; else dropped, counted
//! ```
//!
//! Mail waits for none of it: a collector that is slow or gone costs spans. OpenTelemetry's own crates would bring process-wide state, a
//! scheduler of their own and some fifty crates for what is a POST of a small document.

use super::span::{Attribute, Span, request};
use crate::mail::{Domain, TraceContext};
use rand::Rng as _;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Where spans go, and which.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The collector, without the path of a signal: `http://127.0.0.1:4318`.
    pub endpoint: String,
    /// Fields of each request, a line each: `Authorization: Bearer …`.
    pub headers: Option<SecretString>,
    /// `service.name`.
    pub service_name: String,
    /// Of mail that comes without a trace.
    pub sample: Sample,
    /// Whole addresses of recipients, not their domains alone.
    pub addresses: bool,
    /// How long a request may take.
    pub timeout: Duration,
    /// Spans that wait; more are dropped.
    pub queue_max: usize,
}

impl PartialEq for Settings {
    fn eq(&self, other: &Self) -> bool {
        let all = |of: &Self| (of.endpoint.clone(), of.service_name.clone(), of.sample, of.addresses, of.timeout, of.queue_max);
        let secret = |of: &Self| of.headers.as_ref().map(|headers| headers.expose_secret().to_owned());
        all(self) == all(other) && secret(self) == secret(other)
    }
}

/// Which mail is traced, of that which brings no `traceparent`. One that does brings its decision too.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sample {
    /// None.
    Parent,
    /// This share of it, 0 to 1.
    Share(f64),
}

/// Whom spans are told to. Cheap to clone; without a collector it does nothing.
#[derive(Clone, Default)]
pub struct Tracer(Option<Arc<Way>>);

struct Way {
    queue: mpsc::Sender<Span>,
    dropped: Arc<AtomicU64>,
    sample: Sample,
    addresses: bool,
}

/// Sends what a [`Tracer`] is told.
#[derive(Default)]
pub struct Exporter {
    over: CancellationToken,
    running: Option<JoinHandle<()>>,
}

impl Tracer {
    /// Begins to export, over TLS as `tls` has it. Needs a tokio runtime.
    ///
    /// # Errors
    /// The system gives no HTTP client, or the fields of `headers` are none: in words.
    pub fn begin(settings: &Settings, hostname: &Domain, tls: rustls::ClientConfig) -> Result<(Self, Exporter), String> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(settings.timeout)
            .user_agent(concat!("postseal/", env!("CARGO_PKG_VERSION")))
            .default_headers(fields(settings.headers.as_ref())?)
            .build()
            .map_err(|error| format!("no HTTP client for the collector: {error}"))?;
        let (queue, waiting) = mpsc::channel(settings.queue_max.max(1));
        let dropped = Arc::new(AtomicU64::new(0));
        let resource = vec![
            ("service.name", Value::from(settings.service_name.as_str())),
            ("service.version", env!("CARGO_PKG_VERSION").into()),
            ("host.name", hostname.as_str().into()),
        ];
        let url = format!("{}/v1/traces", settings.endpoint.trim_end_matches('/'));
        let over = CancellationToken::new();
        let post = Post { client, url, resource, dropped: dropped.clone(), told_at: None, over: over.clone() };
        let running = Some(tokio::spawn(post.run(waiting)));
        let way = Way { queue, dropped, sample: settings.sample, addresses: settings.addresses };
        Ok((Self(Some(Arc::new(way))), Exporter { over, running }))
    }

    /// The span to begin for mail that came with this trace, or with none: `None` where nobody wants it.
    #[must_use]
    pub fn sampled(&self, parent: Option<&TraceContext>) -> Option<TraceContext> {
        let way = self.0.as_ref()?;
        match (parent, way.sample) {
            (Some(parent), _) => parent.is_sampled().then(|| parent.span(Self::span_id())),
            (None, Sample::Share(share)) if rand::rng().random::<f64>() < share => TraceContext::new(rand::random(), Self::span_id(), true),
            (None, Sample::Parent | Sample::Share(_)) => None,
        }
    }

    /// Whether spans of this trace are wanted.
    #[must_use]
    pub fn wants(&self, context: Option<&TraceContext>) -> bool {
        self.0.is_some() && context.is_some_and(TraceContext::is_sampled)
    }

    /// Whether recipients are told by their whole addresses.
    #[must_use]
    pub fn tells_addresses(&self) -> bool {
        self.0.as_ref().is_some_and(|way| way.addresses)
    }

    /// A number for a span.
    #[must_use]
    pub fn span_id() -> u64 {
        rand::rng().random_range(1..=u64::MAX)
    }

    /// Has a span sent, or dropped and counted. Never waits.
    pub fn tell(&self, span: Span) {
        let Some(way) = &self.0 else { return };
        if way.queue.try_send(span).is_err() {
            way.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Exporter {
    /// Sends what was told so far, for a moment, and ends.
    pub async fn end(mut self) {
        self.over.cancel();
        if let Some(running) = self.running.take() {
            let _ = running.await;
        }
    }
}

struct Post {
    client: reqwest::Client,
    url: String,
    resource: Vec<Attribute>,
    dropped: Arc<AtomicU64>,
    /// When losses were told last.
    told_at: Option<Instant>,
    over: CancellationToken,
}

/// Why a batch was not taken.
struct Refused {
    why: String,
    /// Waiting may help.
    again: bool,
}

impl Post {
    async fn run(mut self, mut waiting: mpsc::Receiver<Span>) {
        let over = self.over.clone();
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                () = over.cancelled() => break,
                count = waiting.recv_many(&mut batch, BATCH_SPANS_MAX) => if count == 0 { break },
            }
            // Company is on its way: the spans of a mail come one after the other.
            tokio::select! {
                () = over.cancelled() => break,
                () = sleep(LINGER) => {}
            }
            while batch.len() < BATCH_SPANS_MAX
                && let Ok(span) = waiting.try_recv()
            {
                batch.push(span);
            }
            self.deliver(&batch).await;
            batch.clear();
        }
        let farewell = async {
            loop {
                while batch.len() < BATCH_SPANS_MAX
                    && let Ok(span) = waiting.try_recv()
                {
                    batch.push(span);
                }
                if batch.is_empty() {
                    return;
                }
                let sent = self.post(&batch).await;
                let count = batch.len() as u64;
                batch.clear();
                if let Err(refused) = sent {
                    self.lose(count, &refused.why);
                }
            }
        };
        let _ = timeout(FAREWELL, farewell).await;
    }

    /// Until it is taken, given up, or there is no time left.
    async fn deliver(&mut self, batch: &[Span]) {
        let mut pause = PAUSE_MIN;
        for attempt in 1..=ATTEMPTS_MAX {
            let refused = match self.post(batch).await {
                Ok(()) => return self.tell_losses("the queue of spans was full"),
                Err(refused) => refused,
            };
            if !refused.again || attempt == ATTEMPTS_MAX || self.over.is_cancelled() {
                return self.lose(batch.len() as u64, &refused.why);
            }
            let over = self.over.clone();
            tokio::select! {
                () = over.cancelled() => {}
                () = sleep(pause) => {}
            }
            pause *= 2;
        }
    }

    async fn post(&mut self, batch: &[Span]) -> Result<(), Refused> {
        let sent = self.client.post(&self.url).json(&request(batch, &self.resource)).send().await;
        let response = sent.map_err(|error| Refused { why: in_words(&error), again: true })?;
        let status = response.status();
        if !status.is_success() {
            return Err(Refused { why: format!("the collector answers {status}"), again: matches!(status.as_u16(), 429 | 502..=504) });
        }
        // OTLP's partial success: what was rejected is not to be sent again.
        let said: Value = response.json().await.unwrap_or_default();
        let partial = &said["partialSuccess"];
        let rejected = partial["rejectedSpans"].as_str().and_then(|count| count.parse().ok()).or_else(|| partial["rejectedSpans"].as_u64()).unwrap_or(0);
        if rejected > 0 {
            self.lose(rejected, partial["errorMessage"].as_str().unwrap_or("the collector rejects them"));
        }
        Ok(())
    }

    fn lose(&mut self, count: u64, why: &str) {
        self.dropped.fetch_add(count, Ordering::Relaxed);
        self.tell_losses(why);
    }

    /// Losses are told at once, then once a minute.
    fn tell_losses(&mut self, why: &str) {
        if self.told_at.is_some_and(|at| at.elapsed() < TOLD_EVERY) {
            return;
        }
        let spans = self.dropped.swap(0, Ordering::Relaxed);
        if spans > 0 {
            tracing::warn!(spans, error = why, "spans.dropped");
            self.told_at = Some(Instant::now());
        }
    }
}

/// The whole chain of causes: reqwest's own words are "error sending request".
fn in_words(error: &reqwest::Error) -> String {
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}

/// `Name: value`, a line each.
///
/// # Errors
/// A line that is none; not what it says, which is a secret.
pub fn fields(text: Option<&SecretString>) -> Result<reqwest::header::HeaderMap, String> {
    let mut fields = reqwest::header::HeaderMap::new();
    let lines = text.map(secrecy::ExposeSecret::expose_secret).unwrap_or_default().lines().enumerate();
    for (number, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
        let field = line.split_once(':').and_then(|(name, value)| {
            let name = reqwest::header::HeaderName::from_bytes(name.trim().as_bytes()).ok()?;
            let mut value = reqwest::header::HeaderValue::from_str(value.trim()).ok()?;
            value.set_sensitive(true);
            Some((name, value))
        });
        let (name, value) = field.ok_or_else(|| format!("line {} is no header field", number + 1))?;
        fields.append(name, value);
    }
    Ok(fields)
}

/// Spans of a request.
const BATCH_SPANS_MAX: usize = 512;
/// How long the first of a batch waits for others.
const LINGER: Duration = Duration::from_millis(500);
/// Tries of a batch, with pauses of 1, 2, 4, 8 s between them.
const ATTEMPTS_MAX: u32 = 5;
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// What is left at the end of the relay has so long.
const FAREWELL: Duration = Duration::from_secs(3);
const TOLD_EVERY: Duration = Duration::from_mins(1);
