//! The page: what the relay does, has done and needs, for a person with a browser. Every answer is a whole document that needs no
//! script; the script only fetches the same document again and puts its parts in place.
//!
//! | file | says |
//! |---|---|
//! | [`view`] | what is shown, as plain values; [`Outlook`], which gives it |
//! | [`matters`] | what needs a person, and what to do |
//! | [`queue`], [`journey`], [`domains`] | what spool, journal, keys and doctor know, made into that |
//! | [`chart`], [`words`] | counts as pictures; numbers, times and reasons in plain words |
//! | `*.html`, `page.css`, `page.js`, `mark.svg` | what a browser gets |
//!
//! Whatever others wrote (replies, addresses, names) is escaped by the templates; the Content-Security-Policy allows no script, style
//! or connection but the relay's own. Who may look is decided before, by the [`guard`](super::guard); what changes something takes a
//! form with a token of ours.

pub mod chart;
pub mod domains;
pub mod journey;
pub mod matters;
pub mod queue;
pub mod view;
pub mod words;

use crate::mail::MailId;
use crate::spool::control::State as MailState;
use askama::Template;
use axum::Form;
use axum::Router;
use axum::extract::rejection::FormRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use chart::{Chart, Figures};
use matters::{Matter, Urgency};
use serde::Deserialize;
use std::sync::Arc;
use view::{
    Act, DomainStanding, DomainsView, Found, Frame, Grade, GroupView, Journey, Now, Outlook, QueueView, Span, Stage, Standing, SuppressedView, TripState,
    Trouble, Words,
};
use view::{
    DOMAINS_MAX, DOMAINS_OF_GROUP_MAX, FOUND_MAX, GROUPS_MAX, GROUPS_SHORT, MATTERS_MAX, MATTERS_SHORT, MISHAPS_MAX, RECIPIENTS_MAX, STEPS_MAX, WAITING_MAX,
};
use words::Clock;

/// The page's routes.
pub fn router<O: Outlook>(outlook: Arc<O>) -> Router {
    Router::new()
        .route("/", get(now::<O>))
        .route("/queue", get(whole_queue::<O>))
        .route("/queue/{group}", get(group::<O>))
        .route("/domains", get(all_domains::<O>))
        .route("/domains/examine", post(examine::<O>))
        .route("/mail", get(find::<O>))
        .route("/mail/{id}", get(one_journey::<O>))
        .route("/mail/{id}/{act}", post(act::<O>))
        .route("/attention", get(attention::<O>))
        .route("/assets/{name}", get(asset))
        .with_state(outlook)
}

/// What stands around a page.
struct Around {
    frame: Frame,
    clock: Clock,
    /// In the title of the window.
    title: String,
    /// Which entry of the navigation is this one's.
    place: &'static str,
    /// What was just done.
    notice: Option<String>,
}

#[derive(Template)]
#[template(path = "now.html")]
struct NowPage {
    around: Around,
    now: Now,
    charts: Vec<Chart>,
    figures: Vec<Figures>,
    failed: u64,
}

#[derive(Template)]
#[template(path = "queue.html")]
struct QueuePage {
    around: Around,
    queue: QueueView,
}

#[derive(Template)]
#[template(path = "group.html")]
struct GroupPage {
    around: Around,
    view: GroupView,
}

#[derive(Template)]
#[template(path = "domains.html")]
struct DomainsPage {
    around: Around,
    view: DomainsView,
}

#[derive(Template)]
#[template(path = "find.html")]
struct FindPage {
    around: Around,
    asked: String,
    /// `None` while nothing was asked.
    found: Option<Vec<Found>>,
    list: SuppressedView,
}

#[derive(Template)]
#[template(path = "journey.html")]
struct JourneyPage {
    around: Around,
    journey: Journey,
}

#[derive(Template)]
#[template(path = "attention.html")]
struct AttentionPage {
    around: Around,
    matters: Vec<Matter>,
    all: usize,
}

#[derive(Template)]
#[template(path = "trouble.html")]
struct TroublePage {
    around: Around,
    heading: &'static str,
    text: String,
}

impl NowPage {
    /// The first thing to know.
    fn headline(&self) -> &'static str {
        let urgent = self.now.matters.iter().any(|matter| matter.urgency == Urgency::Now);
        match (&self.now.standing, urgent, self.around.frame.matters) {
            (Standing::Refusing(_), ..) => "No mail is accepted.",
            (Standing::Draining, ..) => "The relay is ending.",
            (Standing::Held, ..) => "Mail is accepted, but not sent.",
            (Standing::Accepting, true, _) => "Mail flows, but something needs you.",
            (Standing::Accepting, false, 1..) => "Mail flows. Something wants a look.",
            (Standing::Accepting, false, 0) => "All is well.",
        }
    }

    fn lead(&self) -> String {
        let Now { standing, waiting, oldest, .. } = &self.now;
        let waits = match (waiting, oldest) {
            (0, _) => "Nothing waits.".to_owned(),
            (_, None) => format!("{}.", words::count(waiting, "recipient waits", "recipients wait")),
            (_, Some(at)) => format!("{}, the oldest for {}.", words::count(waiting, "recipient waits", "recipients wait"), self.around.clock.age(at)),
        };
        match standing {
            Standing::Refusing(why) => format!("Clients are told to try again later: {why}. {waits}"),
            Standing::Held => format!("The spool was restored and waits for you to release it. {waits}"),
            Standing::Draining => format!("It takes no connections any more and ends when its dialogues have. {waits}"),
            Standing::Accepting => waits,
        }
    }

    /// What the longest bar of the providers stands for.
    fn most(&self) -> u64 {
        self.now.groups.iter().map(|group| group.recipients).max().unwrap_or(1).max(1)
    }
}

impl DomainsPage {
    fn headline(&self) -> String {
        let domains = &self.view.domains;
        let unwell = domains.iter().filter(|domain| domain.standing.grade() == Grade::Bad).count();
        match (self.view.all, unwell) {
            (0, _) => "No domains yet.".to_owned(),
            (1, 0) => "Your domain is in order.".to_owned(),
            (all, 0) => format!("{all} domains, all in order."),
            (1, _) => "Your domain needs you.".to_owned(),
            (all, 1) => format!("1 of {all} domains needs you."),
            (all, unwell) => format!("{unwell} of {all} domains need you."),
        }
    }
}

impl JourneyPage {
    fn headline(&self) -> String {
        let trips = &self.journey.recipients;
        let of = |state: TripState| trips.iter().filter(|trip| trip.state == state).count();
        match trips.as_slice() {
            [] => "Its recipients are not known any more.".to_owned(),
            [one] => format!(
                "{} {}.",
                one.state.word(),
                match one.state {
                    TripState::Waiting => "for its next attempt",
                    TripState::Held | TripState::Cancelled => "by a person",
                    TripState::Quarantined => "as damaged",
                    TripState::Delivered => "to the next hop",
                    TripState::Failed => "for good",
                }
            ),
            all if of(TripState::Delivered) == self.journey.recipients_all => format!("Delivered to all {} recipients.", all.len()),
            all => {
                let states = [TripState::Delivered, TripState::Waiting, TripState::Held, TripState::Quarantined, TripState::Failed, TripState::Cancelled];
                let parts: Vec<String> =
                    states.into_iter().filter(|state| of(*state) > 0).map(|state| format!("{} {}", of(state), state.word().to_lowercase())).collect();
                let some = if self.journey.recipients_all > all.len() { format!("; the first {}", all.len()) } else { String::new() };
                format!("{} recipients{some}: {}.", self.journey.recipients_all, parts.join(", "))
            }
        }
    }
}

impl AttentionPage {
    fn headline(&self) -> String {
        match self.around.frame.matters {
            0 => "Nothing needs you.".to_owned(),
            1 => "One thing needs you.".to_owned(),
            more => format!("{} things need you.", words::thousands(more as u64)),
        }
    }

    fn lead(&self) -> String {
        let good_to_know = self.all.saturating_sub(self.around.frame.matters);
        match (self.around.frame.matters, good_to_know) {
            (0, _) => "But this is good to know.".to_owned(),
            (_, 0) => "The most urgent first.".to_owned(),
            (_, more) => {
                format!("The most urgent first; {} at the end.", words::count(more as u64, "is good to know, it stands", "are good to know, they stand"))
            }
        }
    }
}

impl Words {
    /// In a line: what was said, else what we say.
    fn short(&self) -> &str {
        if self.reply.is_empty() { &self.ours } else { &self.reply }
    }
}

impl DomainStanding {
    const fn word(&self) -> &'static str {
        match self {
            Self::Signing => "Signing",
            Self::Doubted(_) => "Record missing",
            Self::Held(_) => "Mail waits",
            Self::NoKey => "No key",
            Self::Parked => "Parked",
        }
    }

    const fn grade(&self) -> Grade {
        match self {
            Self::Signing => Grade::Good,
            Self::Doubted(_) | Self::Held(_) | Self::NoKey => Grade::Bad,
            Self::Parked => Grade::Open,
        }
    }

    fn why(&self) -> Option<&str> {
        match self {
            Self::Doubted(why) | Self::Held(why) => Some(why),
            Self::NoKey => Some("Its mail is refused: there is no active key to sign it with."),
            Self::Parked => Some("It never sends; its mail is refused."),
            Self::Signing => None,
        }
    }
}

/// What may stand behind a `?`.
#[derive(Debug, Deserialize)]
struct Asked {
    /// `day`: the charts go back so far.
    span: Option<String>,
    /// An id or an address.
    q: Option<String>,
    /// What was just done, and to how many recipients: `retry.3`.
    done: Option<String>,
}

/// What is done stands in a form's address; it carries no more than the proof that it is ours.
#[derive(Debug, Deserialize)]
struct Own {
    form_token: String,
}

/// A form that does not read is none of ours.
type MaybeOwn = Result<Form<Own>, FormRejection>;

async fn now<O: Outlook>(State(outlook): State<Arc<O>>, Query(asked): Query<Asked>) -> Response {
    let around = around(&*outlook, "Now", "now").await;
    let span = if asked.span.as_deref() == Some("day") { Span::Day } else { Span::Hour };
    match outlook.now(span).await {
        Ok(mut now) => {
            now.groups.truncate(GROUPS_SHORT);
            now.matters.truncate(MATTERS_SHORT);
            now.mishaps.truncate(MISHAPS_MAX);
            let (charts, figures) = (chart::charts(&now.last_minute, &now.series, now.span), chart::figures(&now.series));
            let failed = now.series.total(crate::events::traffic::Beat::Failed);
            page(&NowPage { around, now, charts, figures, failed })
        }
        Err(trouble) => in_trouble(around, trouble),
    }
}

async fn whole_queue<O: Outlook>(State(outlook): State<Arc<O>>) -> Response {
    let around = around(&*outlook, "Queue", "queue").await;
    match outlook.queue().await {
        Ok(mut queue) => {
            queue.groups.truncate(GROUPS_MAX);
            queue.groups.iter_mut().for_each(|group| group.domains.truncate(DOMAINS_OF_GROUP_MAX));
            page(&QueuePage { around, queue })
        }
        Err(trouble) => in_trouble(around, trouble),
    }
}

async fn group<O: Outlook>(State(outlook): State<Arc<O>>, Path(name): Path<String>) -> Response {
    let around = around(&*outlook, &format!("Queue of {name}"), "queue").await;
    match outlook.group(&name).await {
        Ok(Some(mut view)) => {
            view.waiting.truncate(WAITING_MAX);
            page(&GroupPage { around, view })
        }
        Ok(None) => missing(around, format!("Nothing waits for {name}. It was delivered, given up or taken back.")),
        Err(trouble) => in_trouble(around, trouble),
    }
}

async fn all_domains<O: Outlook>(State(outlook): State<Arc<O>>) -> Response {
    let around = around(&*outlook, "Domains", "domains").await;
    match outlook.domains().await {
        Ok(mut view) => {
            view.domains.truncate(DOMAINS_MAX);
            page(&DomainsPage { around, view })
        }
        Err(trouble) => in_trouble(around, trouble),
    }
}

async fn examine<O: Outlook>(State(outlook): State<Arc<O>>, form: MaybeOwn) -> Response {
    if !is_own(&*outlook, &form) {
        return foreign(around(&*outlook, "Domains", "domains").await);
    }
    outlook.examine();
    Redirect::to("/domains").into_response()
}

/// An id leads to its journey, anything else is an address.
async fn find<O: Outlook>(State(outlook): State<Arc<O>>, Query(asked): Query<Asked>) -> Response {
    let text = asked.q.unwrap_or_default().trim().chars().take(QUERY_CHARACTERS_MAX).collect::<String>();
    if let Ok(id) = text.parse::<MailId>() {
        return Redirect::to(&format!("/mail/{id}")).into_response();
    }
    let around = around(&*outlook, "Mail", "mail").await;
    let list = match outlook.suppressed(&text).await {
        Ok(list) => list,
        Err(trouble) => return in_trouble(around, trouble),
    };
    if text.is_empty() {
        return page(&FindPage { around, asked: text, found: None, list });
    }
    match outlook.find(&text).await {
        Ok(mut found) => {
            found.truncate(FOUND_MAX);
            page(&FindPage { around, asked: text, found: Some(found), list })
        }
        Err(trouble) => in_trouble(around, trouble),
    }
}

async fn one_journey<O: Outlook>(State(outlook): State<Arc<O>>, Path(id): Path<String>, Query(asked): Query<Asked>) -> Response {
    let mut around = around(&*outlook, &format!("Mail {id}"), "mail").await;
    around.notice = asked.done.as_deref().and_then(done);
    let id = match id.parse::<MailId>() {
        Ok(id) => id,
        Err(error) => return missing(around, error.to_string()),
    };
    match outlook.journey(id).await {
        Ok(Some(mut journey)) => {
            journey.recipients.truncate(RECIPIENTS_MAX);
            journey.recipients.iter_mut().for_each(|trip| trip.steps.truncate(STEPS_MAX));
            page(&JourneyPage { around, journey })
        }
        Ok(None) => missing(around, format!("There is no mail {id}, or it was so long ago that it has been forgotten.")),
        Err(trouble) => in_trouble(around, trouble),
    }
}

async fn act<O: Outlook>(State(outlook): State<Arc<O>>, Path((id, act)): Path<(String, String)>, form: MaybeOwn) -> Response {
    let around = around(&*outlook, &format!("Mail {id}"), "mail").await;
    if !is_own(&*outlook, &form) {
        return foreign(around);
    }
    let (Ok(id), Some(act)) = (id.parse::<MailId>(), Act::named(&act)) else {
        return missing(around, "There is no such mail, or no such thing can be done to it.".to_owned());
    };
    match outlook.act(id, act).await {
        Ok(recipients) => Redirect::to(&format!("/mail/{id}?done={}.{recipients}", act.name())).into_response(),
        Err(trouble) => in_trouble(around, trouble),
    }
}

async fn attention<O: Outlook>(State(outlook): State<Arc<O>>) -> Response {
    let around = around(&*outlook, "Needs you", "attention").await;
    match outlook.matters().await {
        Ok(mut matters) => {
            let all = matters.len();
            matters.truncate(MATTERS_MAX);
            page(&AttentionPage { around, matters, all })
        }
        Err(trouble) => in_trouble(around, trouble),
    }
}

/// Style, script and mark: part of the program, known by the hash of its version and length.
async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    let Some((_, kind, body)) = ASSETS.iter().find(|(known, ..)| *known == name) else { return StatusCode::NOT_FOUND.into_response() };
    let tag = format!("\"{:08x}\"", crc32c::crc32c(body.as_bytes()));
    let about = [(header::ETAG, tag.clone()), (header::CACHE_CONTROL, "no-cache".to_owned())];
    if headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, about).into_response();
    }
    (about, [(header::CONTENT_TYPE, *kind), (header::X_CONTENT_TYPE_OPTIONS, "nosniff"), (header::CONTENT_SECURITY_POLICY, POLICY)], *body).into_response()
}

async fn around<O: Outlook>(outlook: &O, title: &str, place: &'static str) -> Around {
    let frame = outlook.frame().await;
    Around { clock: Clock(frame.at), frame, title: title.to_owned(), place, notice: None }
}

fn page(template: &impl Template) -> Response {
    answer(StatusCode::OK, template)
}

fn missing(around: Around, text: String) -> Response {
    answer(StatusCode::NOT_FOUND, &TroublePage { around, heading: "Nothing here", text })
}

fn in_trouble(around: Around, Trouble(text): Trouble) -> Response {
    answer(StatusCode::SERVICE_UNAVAILABLE, &TroublePage { around, heading: "That did not work", text })
}

fn foreign(around: Around) -> Response {
    let text = "The form did not come from this page, or the page had been open for too long. Load it again, and try once more.".to_owned();
    answer(StatusCode::FORBIDDEN, &TroublePage { around, heading: "Nothing was done", text })
}

fn answer(status: StatusCode, template: &impl Template) -> Response {
    let Ok(text) = template.render() else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    // We write none; in what others wrote they would turn around what stands beside it (Unicode Standard Annex #9).
    let text = text.replace(is_bidi_control, "\u{fffd}");
    let mut response = (status, Html(text)).into_response();
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

const fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn is_own<O: Outlook>(outlook: &O, form: &MaybeOwn) -> bool {
    form.as_ref().is_ok_and(|Form(own)| outlook.is_own_form(&own.form_token))
}

/// What `?done=` says.
fn done(text: &str) -> Option<String> {
    let (act, recipients) = text.split_once('.')?;
    Some(Act::named(act)?.done(recipients.parse().ok()?))
}

/// No script, style, image or connection but our own; no frame around us.
const POLICY: &str =
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 5] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
];

/// Name, kind and octets.
const ASSETS: [(&str, &str, &str); 3] = [
    ("page.css", "text/css; charset=utf-8", include_str!("page.css")),
    ("page.js", "text/javascript; charset=utf-8", include_str!("page.js")),
    ("mark.svg", "image/svg+xml", include_str!("mark.svg")),
];

/// Of what is searched for; no address is longer (RFC 5321 §4.5.3.1).
const QUERY_CHARACTERS_MAX: usize = 320;

/// At the foot of every page.
const VERSION: &str = env!("CARGO_PKG_VERSION");
