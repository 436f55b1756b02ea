//! `/api/v1/events`: what happened to mail, page by page or as it happens; `/api/v1/mails`: found by recipient.
//!
//! Whoever follows reads the journal at his own pace, a page at a time: somebody slow holds up nobody, and fills no memory. He may come
//! back with the last id he saw and misses nothing.

use super::{Page, Paging, Parameters, Problem};
use crate::admin::{Office, Store};
use crate::events::event::{EventId, SCHEMA, Shown};
use crate::mail::{Domain, MailId, Mailbox, Timestamp};
use crate::spool::SpoolError;
use crate::spool::journal::{Event, Filter, Kind};
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use hyper::body::Frame;
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::fmt::Write as _;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// The paths of this file.
pub fn router<S: Store>() -> Router<Arc<Office<S>>> {
    Router::new()
        .route("/events", get(list::<S>))
        .route("/events/follow", get(follow::<S>))
        .route("/events/schema.json", get(schema))
        .route("/mails", get(found::<S>))
        .route("/mails/{id}/events", get(journey::<S>))
}

/// Which events are asked for. Every condition must hold.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    since: Option<String>,
    /// Several with commas between.
    kind: Option<String>,
    mail: Option<String>,
    recipient: Option<String>,
    author_domain: Option<String>,
    track_id: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
}

impl Asked {
    fn filter(&self) -> Result<Filter, Problem> {
        let kinds = self.kind.iter().flat_map(|kinds| kinds.split(',')).filter(|kind| !kind.is_empty()).map(|kind| read::<Kind>("kind", kind.trim()));
        Ok(Filter {
            kinds: kinds.collect::<Result<_, _>>()?,
            mail: self.mail.as_deref().map(|id| read::<MailId>("mail", id)).transpose()?,
            recipient: self.recipient.as_deref().map(|address| read::<Mailbox>("recipient", address)).transpose()?,
            author_domains: self.author_domain.iter().map(|domain| read::<Domain>("author_domain", domain)).collect::<Result<_, _>>()?,
            track_id: self.track_id.clone(),
            since: match self.since()? {
                Some(Since::Time(at)) => Some(at),
                Some(Since::Event(_)) | None => None,
            },
            submissions: false,
        })
    }

    fn since(&self) -> Result<Option<Since>, Problem> {
        self.since.as_deref().map(Since::read).transpose()
    }

    fn paging(&self) -> Paging {
        Paging::of(self.after.clone(), self.limit)
    }
}

/// From where on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Since {
    /// Behind this event.
    Event(u64),
    /// From this time on.
    Time(Timestamp),
}

impl Since {
    fn read(text: &str) -> Result<Self, Problem> {
        if let Some(at) = Timestamp::parse_rfc3339(text) {
            return Ok(Self::Time(at));
        }
        let id = text.parse::<EventId>().map_err(|_| Problem::unknown(format!("since is \"{}\"", short(text)), SINCE))?;
        Ok(Self::Event(id.number))
    }
}

fn read<T: FromStr<Err: std::fmt::Display>>(name: &str, text: &str) -> Result<T, Problem> {
    text.parse().map_err(|fault: T::Err| Problem::unknown(format!("{name}: {fault}"), ""))
}

fn short(text: &str) -> String {
    text.chars().take(40).collect()
}

/// Events, and how many more there would have been.
#[derive(Debug, Serialize)]
struct Listed {
    items: Vec<Shown>,
    next: Option<String>,
    /// Events behind `since` that are not kept any more.
    erased: u64,
}

async fn list<S: Store>(State(office): State<Arc<Office<S>>>, Parameters(asked): Parameters<Asked>) -> Result<Json<Listed>, Problem> {
    listed(&office, &asked).await
}

/// As `/events?mail=ID`, but 404 for a mail of which nothing is known.
async fn journey<S: Store>(
    State(office): State<Arc<Office<S>>>,
    Path(id): Path<String>,
    Parameters(paging): Parameters<Paging>,
) -> Result<Json<Listed>, Problem> {
    let mail: MailId = read("mail", &id)?;
    let limit = paging.limit()?;
    let asked = Asked { mail: Some(id), after: paging.after.clone(), limit: Some(limit), ..Asked::default() };
    let listed = listed(&office, &asked).await?;
    if listed.0.items.is_empty() && paging.after.is_none() && office.spool.history(mail).await?.is_none() {
        return Err(Problem::unknown(format!("nothing is known of a mail {mail}"), "the id of a mail that was accepted not too long ago"));
    }
    Ok(Json(Listed { erased: 0, ..listed.0 }))
}

async fn listed<S: Store>(office: &Office<S>, asked: &Asked) -> Result<Json<Listed>, Problem> {
    let (filter, paging) = (asked.filter()?, asked.paging());
    let limit = NonZeroUsize::new(paging.limit()?).unwrap_or(NonZeroUsize::MIN);
    let begin = match &paging.after {
        Some(after) => Some(read::<EventId>("after", after)?.number),
        None => None,
    };
    let (after, counts_erased) = match (begin, asked.since()?) {
        (Some(number), _) => (number, false),
        (None, Some(Since::Event(number))) => (number, true),
        (None, Some(Since::Time(at))) => (office.spool.number_before(at).await?, false),
        (None, None) => (0, false),
    };
    let page = office.spool.events(after, filter, limit).await?;
    Ok(Json(Listed {
        items: page.events.iter().map(Shown::of).collect(),
        next: page.more.then(|| page.to.to_string()),
        erased: if counts_erased { page.erased } else { 0 },
    }))
}

/// Who is looked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    recipient: String,
    after: Option<String>,
    limit: Option<usize>,
}

/// The mails to an address, by the last event of each, the newest first.
async fn found<S: Store>(State(office): State<Arc<Office<S>>>, Parameters(wanted): Parameters<Wanted>) -> Result<Json<Page<Shown>>, Problem> {
    let recipient: Mailbox = read("recipient", &wanted.recipient)?;
    let paging = Paging::of(wanted.after, wanted.limit);
    let limit = paging.limit()?;
    let before = paging.after.as_deref().map(|after| read::<EventId>("after", after)).transpose()?.map(|id| id.number);
    let events = office.spool.mails_to(&recipient, before, NonZeroUsize::new(limit).unwrap_or(NonZeroUsize::MIN)).await?;
    let next = events.last().filter(|_| events.len() == limit).map(|event| event.number.to_string());
    Ok(Json(Page { items: events.iter().map(Shown::of).collect(), next }))
}

async fn schema() -> Response {
    ([(CONTENT_TYPE, "application/schema+json")], SCHEMA).into_response()
}

/// Events as they happen: a JSON object a line, or server-sent events where the header Accept asks for them. From `since` or the header
/// Last-Event-ID on, else from now on.
async fn follow<S: Store>(State(office): State<Arc<Office<S>>>, headers: HeaderMap, Parameters(asked): Parameters<Asked>) -> Result<Response, Problem> {
    if asked.after.is_some() || asked.limit.is_some() {
        return Err(Problem::invalid("after or limit is set, but whoever follows reads on without pages", "since"));
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_sse = text(ACCEPT.as_str()).contains(SSE);
    let filter = asked.filter()?;
    let since = match text("last-event-id") {
        "" => asked.since()?,
        id => Some(Since::Event(read::<EventId>("Last-Event-ID", id)?.number)),
    };
    let (after, counts_erased) = match since {
        Some(Since::Event(number)) => (number, true),
        Some(Since::Time(at)) => (office.spool.number_before(at).await?, false),
        None => (*office.spool.last().borrow(), true),
    };
    let (chunks, following) = mpsc::channel(1);
    let follower = Follower { office, filter, after, counts_erased, form: if is_sse { Form::Sse } else { Form::Lines }, chunks };
    tokio::spawn(follower.run());
    let kind = if is_sse { SSE } else { LINES };
    Ok(([(CONTENT_TYPE, kind)], Body::new(Following(following))).into_response())
}

/// How events are written to somebody who follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A JSON object a line.
    Lines,
    /// Server-sent events (the HTML standard, §9.2).
    Sse,
}

impl Form {
    fn event(self, event: &Event, to: &mut String) {
        let json = serde_json::to_string(&Shown::of(event)).unwrap_or_default(); // texts and numbers only
        let _ = match self {
            Self::Lines => writeln!(to, "{json}"),
            Self::Sse => writeln!(to, "id: {}\nevent: {}\ndata: {json}\n", EventId::of(event), event.news.kind),
        };
    }

    /// Says that nothing happened up to here, and what is gone.
    fn beat(self, number: u64, erased: u64) -> String {
        let gone = if erased > 0 { format!(",\"erased\":{erased}") } else { String::new() };
        match self {
            Self::Lines => format!("{{\"type\":\"heartbeat\",\"since\":\"{number}\"{gone}}}\n"),
            Self::Sse => format!("id: {number}\nevent: heartbeat\ndata: {{\"type\":\"heartbeat\",\"since\":\"{number}\"{gone}}}\n\n"),
        }
    }
}

/// Reads the journal for somebody, as fast as he takes it.
struct Follower<S> {
    office: Arc<Office<S>>,
    filter: Filter,
    after: u64,
    /// What was erased behind `after` is a gap.
    counts_erased: bool,
    form: Form,
    chunks: mpsc::Sender<Bytes>,
}

impl<S: Store> Follower<S> {
    /// Until he goes, or the spool is closed.
    async fn run(mut self) {
        let mut last = self.office.spool.last();
        if self.chunks.send(self.form.beat(self.after, 0).into()).await.is_err() {
            return;
        }
        loop {
            last.mark_unchanged();
            let Ok((chunk, more)) = self.next().await else { return };
            if !chunk.is_empty() && self.chunks.send(chunk.into()).await.is_err() {
                return;
            }
            if more {
                continue;
            }
            tokio::select! {
                () = self.chunks.closed() => return,
                changed = timeout(HEARTBEAT, last.changed()) => match changed {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return,
                    Err(_) => if self.chunks.send(self.form.beat(self.after, 0).into()).await.is_err() {
                        return;
                    },
                },
            }
        }
    }

    async fn next(&mut self) -> Result<(String, bool), SpoolError> {
        let page = self.office.spool.events(self.after, self.filter.clone(), CHUNK_EVENTS).await?;
        self.after = page.to;
        let mut chunk = String::new();
        if page.erased > 0 && self.counts_erased {
            chunk = self.form.beat(page.events.first().map_or(page.to, |event| event.number - 1), page.erased);
        }
        self.counts_erased = true;
        page.events.iter().for_each(|event| self.form.event(event, &mut chunk));
        Ok((chunk, page.more))
    }
}

/// What a [`Follower`] reads, as a body.
struct Following(mpsc::Receiver<Bytes>);

impl HttpBody for Following {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk))))
    }
}

const SINCE: &str = "the id of an event, as in \"1234-0k3f9a2b1c\", its number, or a time, as in \"2026-11-22T08:00:00Z\"";
const SSE: &str = "text/event-stream";
const LINES: &str = "application/x-ndjson";
/// Events read at a time for somebody who follows: some 50 KiB.
const CHUNK_EVENTS: NonZeroUsize = NonZeroUsize::new(100).unwrap();
/// Who follows hears something at least this often.
const HEARTBEAT: Duration = Duration::from_secs(15);
