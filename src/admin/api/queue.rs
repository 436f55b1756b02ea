//! `/api/v1/queue`: what waits, why, and what a person orders.
//!
//! | | |
//! |---|---|
//! | `GET /queue` | recipients, page by page; with `by=` sums instead |
//! | `GET /queue/{id}` | one message, and its history when it is gone |
//! | `GET /queue/{id}/message` | its octets as they would be sent; `headers=true` without the body |
//! | `POST /queue/{action}` | `hold`, `release`, `retry`, `reroute`, `cancel`: one page of an order; `next` says where it goes on |

use super::{Body, LIMIT, LIMIT_MAX, Page, Parameters, Problem};
use crate::admin::{Office, Store};
use crate::deliver::cancel::{Manner, cancel};
use crate::deliver::{Notices, provider};
use crate::mail::suppression::Rules;
use crate::mail::{Domain, IdentityName, MailId, Mailbox, Reason, RouteName, Stream, Timestamp};
use crate::spool::control::{
    By, Cursor, Effect, Entry, Group, IDS_MAX, LastWords, ORDER_ROWS_MAX, Order, Selection, SenderIs, Shown, State as Standing, StatusPrefix,
};
use crate::spool::{History, Mail, Queue, SoFar};
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

/// What orders and the suppression list need of delivery.
pub trait Outbound: Send + Sync + 'static {
    /// The routes that mail can be given.
    fn routes(&self) -> Vec<String>;

    /// The providers that are known by name, smart hosts among them.
    fn providers(&self) -> Vec<String>;

    /// Has mail go to a next hop again; gives the time until which its provider is still paused.
    fn resume(&self, provider: &str, host: &str, ends_pause: bool) -> Option<Timestamp>;

    /// Who writes to submitters.
    fn notices(&self) -> Arc<dyn Notices>;

    /// An order was carried out on so many recipients: something may be due, and the log is told.
    fn carried_out(&self, order: &Order, recipients: u64);

    /// How long entries of the suppression list last.
    fn suppression(&self) -> Rules;

    /// A person changed so many entries of the suppression list: the log is told.
    fn list_changed(&self, added: u64, lifted: u64);
}

/// The paths of this file.
pub fn router<S: Store>() -> Router<Arc<Office<S>>> {
    Router::new().route("/queue", get(list::<S>)).route("/queue/{id}", get(show::<S>).post(act::<S>)).route("/queue/{id}/message", get(message::<S>))
}

/// `GET /api/v1/queue`
///
/// # Errors
/// A filter is unknown or has a wrong value; the spool cannot be asked.
pub async fn list<S: Store>(State(office): State<Arc<Office<S>>>, Parameters(asked): Parameters<BTreeMap<String, String>>) -> Result<Response, Problem> {
    let mut asked = asked;
    let after = asked.remove("after").filter(|text| !text.is_empty()).map(|text| cursor(&text)).transpose()?;
    let rows_max = limit(asked.remove("limit").map(|text| text.parse().unwrap_or(0)), LIMIT, LIMIT_MAX)?;
    let by = asked.remove("by").map(|text| by(&text)).transpose()?;
    let now = office.life.standing().now;
    let selection = selection(asked, &*office.outbound, now)?;
    match by {
        Some(by) => Ok(Json(sums(&office, &selection, by, after, now).await?).into_response()),
        None => Ok(Json(rows(&office, &selection, after, rows_max, now).await?).into_response()),
    }
}

/// A page of recipients. Where few are selected, one call looks at no more than some [`READS_MAX`] reads.
async fn rows<S: Store>(
    office: &Office<S>,
    selection: &Selection,
    mut after: Option<Cursor>,
    rows_max: NonZeroUsize,
    now: Timestamp,
) -> Result<Page<Row>, Problem> {
    let mut items = Vec::new();
    for _ in 0..READS_MAX {
        let Some(left) = NonZeroUsize::new(rows_max.get() - items.len()) else { break };
        let listed = office.spool.list(selection, after, left, now).await?;
        items.extend(listed.entries.iter().map(|entry| Row::of(entry, now)));
        after = listed.next;
        if after.is_none() {
            break;
        }
    }
    Ok(Page { items, next: after.map(|cursor| cursor.to_string()) })
}

async fn sums<S: Store>(office: &Office<S>, selection: &Selection, by: By, mut after: Option<Cursor>, now: Timestamp) -> Result<Page<Sum>, Problem> {
    let mut groups: HashMap<Option<String>, Group> = HashMap::new();
    for _ in 0..READS_MAX {
        let page = office.spool.sum_up(selection, by, after, now).await?;
        for group in page.groups {
            match groups.get_mut(&group.key) {
                Some(known) => known.add(group),
                None => drop(groups.insert(group.key.clone(), group)),
            }
        }
        after = page.next;
        if after.is_none() || groups.len() >= GROUPS_MAX {
            break;
        }
    }
    let mut items: Vec<Group> = groups.into_values().collect();
    items.sort_by(|a, b| b.recipients.cmp(&a.recipients).then_with(|| a.key.cmp(&b.key)));
    Ok(Page { items: items.iter().map(|group| Sum::of(group, now)).collect(), next: after.map(|cursor| cursor.to_string()) })
}

/// `GET /api/v1/queue/{id}`
///
/// # Errors
/// 404: there is no such mail, nor is it remembered.
pub async fn show<S: Store>(State(office): State<Arc<Office<S>>>, Path(id): Path<String>) -> Result<Json<OneMail>, Problem> {
    let (id, now) = (mail_id(&id)?, office.life.standing().now);
    if let Some(shown) = office.spool.show(id, now).await? {
        return Ok(Json(OneMail::of(id, &shown, now)));
    }
    match office.spool.history(id).await? {
        Some(history) => Ok(Json(OneMail::remembered(&history))),
        None => Err(Problem::unknown(format!("there is no mail {id}, nor is it remembered"), "the mail_id of the log; history is kept for spool.history_days")),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Part {
    #[serde(default)]
    headers: bool,
}

/// `GET /api/v1/queue/{id}/message`
///
/// # Errors
/// 404: it is not in the queue (any more); 409: it is damaged.
pub(crate) async fn message<S: Store>(
    State(office): State<Arc<Office<S>>>,
    Path(id): Path<String>,
    Parameters(part): Parameters<Part>,
) -> Result<Response, Problem> {
    let (id, now) = (mail_id(&id)?, office.life.standing().now);
    let gone = || Problem::unknown(format!("there is no mail {id} in the queue"), "one that waits; what was delivered is not kept");
    let facts = office.spool.show(id, now).await?.ok_or_else(gone)?.mail.map_err(damaged)?;
    let message = office.spool.message(id).await.map_err(|fault| match fault {
        crate::spool::SpoolError::Damaged(_, why) => damaged(why),
        other => other.into(),
    })?;
    let mut octets = facts.seal.header(true);
    let end = if part.headers { header_end(&message) } else { message.len() };
    octets.extend_from_slice(&message[..end]);
    Ok(([(header::CONTENT_TYPE, "message/rfc822"), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")], octets).into_response())
}

/// The octets of a header, with the empty line behind it.
fn header_end(message: &[u8]) -> usize {
    message.windows(4).position(|window| window == b"\r\n\r\n").map_or(message.len(), |at| at + 4)
}

fn damaged(why: String) -> Problem {
    Problem::new(StatusCode::CONFLICT, "damaged", why, "a mail that is not damaged")
}

/// An order, one page of it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(clippy::struct_excessive_bools, reason = "the fields of a JSON object, each a switch of its own")]
pub(crate) struct Asked {
    /// Filters, as `GET /queue` has them; a value is a text, a number, or for `id` a list.
    selection: BTreeMap<String, Value>,
    /// Meant for everything in the queue.
    all: bool,
    /// Change nothing, say what would be done.
    dry_run: bool,
    /// Where the page before ended.
    after: Option<String>,
    /// Recipients of a page.
    limit: Option<usize>,
    /// `reroute`: the route.
    to: Option<String>,
    /// `cancel`: tell nobody.
    silent: bool,
    /// `cancel`: words for history and notices.
    note: Option<String>,
    /// `retry`: end the pauses that providers asked for.
    end_pauses: bool,
}

/// What came of one page of an order.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Acted {
    items: Vec<Touched>,
    done: u64,
    nothing: u64,
    busy: u64,
    damaged: u64,
    /// Past their age: one more attempt, then they fail.
    expired: u64,
    /// Providers that asked for a pause, which a retry waits for.
    paused: BTreeMap<String, String>,
    next: Option<String>,
}

#[derive(Debug, Serialize)]
struct Touched {
    #[serde(flatten)]
    row: Row,
    effect: &'static str,
}

/// `POST /api/v1/queue/{action}`
///
/// # Errors
/// 404: no such action; 400: a filter or parameter is wrong, or nothing was selected and `all` was not said.
pub(crate) async fn act<S: Store>(State(office): State<Arc<Office<S>>>, Path(action): Path<String>, Body(asked): Body<Asked>) -> Result<Json<Acted>, Problem> {
    let now = office.life.standing().now;
    let order = order(&action, &asked, &*office.outbound)?;
    let mut acted = Acted::default();
    let fields = asked.selection.iter().map(|(name, value)| Ok((name.clone(), plain(name, value)?))).collect::<Result<_, Problem>>()?;
    let selection = selection(fields, &*office.outbound, now)?;
    if selection.is_everything() && !asked.all {
        return Err(Problem::invalid("nothing was selected", "at least one filter, or \"all\": true for everything in the queue"));
    }
    let after = asked.after.as_deref().map(cursor).transpose()?;
    let rows_max = limit(asked.limit, ORDER_ROWS, ORDER_ROWS_MAX)?;
    let (entries, next) = if asked.dry_run {
        let listed = office.spool.list(&selection, after, rows_max, now).await?;
        let planned = listed.entries.into_iter().map(|entry| {
            let effect = planned(&order, &entry);
            (entry, effect)
        });
        (planned.collect(), listed.next)
    } else {
        carry_out(&office, &selection, &order, &asked, after, rows_max, now).await?
    };
    acted.next = next.map(|cursor| cursor.to_string());
    for (entry, effect) in &entries {
        acted.count(&order, entry, *effect, now);
    }
    if order == Order::Retry && !asked.dry_run {
        acted.paused = paused(&*office.outbound, &entries, asked.end_pauses);
    }
    acted.items = entries.iter().map(|(entry, effect)| Touched { row: Row::of(entry, now), effect: word(*effect) }).collect();
    if acted.done > 0 && !asked.dry_run {
        office.outbound.carried_out(&order, acted.done);
    }
    Ok(Json(acted))
}

type Carried = (Vec<(Entry, Effect)>, Option<Cursor>);

async fn carry_out<S: Store>(
    office: &Office<S>,
    selection: &Selection,
    order: &Order,
    asked: &Asked,
    after: Option<Cursor>,
    rows_max: NonZeroUsize,
    now: Timestamp,
) -> Result<Carried, Problem> {
    let mut changed = office.spool.change(selection, order, after, rows_max, now).await?;
    if changed.leases.is_empty() {
        return Ok((changed.entries, changed.next));
    }
    let seized: BTreeSet<(MailId, u32)> =
        changed.leases.iter().flat_map(|lease| lease.recipients.iter().map(|recipient| (lease.mail.id, recipient.index))).collect();
    let manner = Manner { note: asked.note.clone(), silent: asked.silent };
    let left: HashMap<MailId, Effect> = cancel(&office.spool, &office.outbound.notices(), changed.leases, &manner, now).await?.into_iter().collect();
    for (entry, effect) in changed.entries.iter_mut().filter(|(entry, _)| seized.contains(&(entry.mail, entry.index))) {
        match left.get(&entry.mail) {
            Some(other) => *effect = *other,
            None => entry.state = Standing::Cancelled,
        }
    }
    Ok((changed.entries, changed.next))
}

/// What an order would do. A recipient that goes by the route already is left as it is.
fn planned(order: &Order, entry: &Entry) -> Effect {
    match (order, order.effect(entry.state)) {
        (Order::Reroute(route), Effect::Done) if route.as_str() == entry.queue.parts().0 => Effect::Nothing,
        (_, effect) => effect,
    }
}

/// Has delivery go to the next hops of what was retried, and says who is still to be waited for.
fn paused(outbound: &dyn Outbound, entries: &[(Entry, Effect)], ends_pauses: bool) -> BTreeMap<String, String> {
    let done = entries.iter().filter(|(_, effect)| *effect == Effect::Done).filter_map(|(entry, _)| entry.last.as_ref());
    let places: BTreeSet<(&str, &str)> = done.filter_map(|last| Some((last.provider.as_deref()?, last.host.as_deref()?))).collect();
    let paused = places.into_iter().filter_map(|(provider, host)| {
        let until = outbound.resume(provider, host, ends_pauses)?;
        Some((if provider == provider::OTHER { host } else { provider }.to_owned(), until.to_rfc3339()))
    });
    paused.collect()
}

impl Acted {
    fn count(&mut self, order: &Order, entry: &Entry, effect: Effect, now: Timestamp) {
        let counter = match effect {
            Effect::Done => &mut self.done,
            Effect::Nothing => &mut self.nothing,
            Effect::Busy => &mut self.busy,
            Effect::Damaged => &mut self.damaged,
        };
        *counter += 1;
        self.expired += u64::from(*order == Order::Release && effect == Effect::Done && entry.expires_at <= now);
    }
}

fn order(action: &str, asked: &Asked, outbound: &dyn Outbound) -> Result<Order, Problem> {
    let order = match action {
        "hold" => Order::Hold,
        "release" => Order::Release,
        "retry" => Order::Retry,
        "reroute" => Order::Reroute(route(asked.to.as_deref(), outbound)?),
        "cancel" => Order::Cancel { silent: asked.silent },
        _ => return Err(Problem::unknown(format!("there is no action \"{action}\""), ACTIONS.join(", "))),
    };
    let out_of_place = [
        ("to", asked.to.is_some(), "reroute"),
        ("silent", asked.silent, "cancel"),
        ("note", asked.note.is_some(), "cancel"),
        ("end_pauses", asked.end_pauses, "retry"),
    ];
    if let Some((name, _, whose)) = out_of_place.iter().find(|(_, said, whose)| *said && *whose != action) {
        return Err(Problem::invalid(format!("{name} says nothing to {action}"), format!("{name} with {whose} only")));
    }
    let note = asked.note.as_deref().unwrap_or_default();
    if note.len() > NOTE_OCTETS_MAX || note.chars().any(char::is_control) {
        return Err(Problem::invalid("the note is not one line of text", format!("at most {NOTE_OCTETS_MAX} octets without line ends")));
    }
    Ok(order)
}

fn route(to: Option<&str>, outbound: &dyn Outbound) -> Result<RouteName, Problem> {
    let routes = outbound.routes();
    match to {
        Some(route) if routes.iter().any(|known| known == route) => Ok(RouteName::new(route)),
        Some(route) => Err(Problem::invalid(format!("there is no route \"{route}\""), format!("one of {}", routes.join(", ")))),
        None => Err(Problem::invalid("to is missing", format!("the route: one of {}", routes.join(", ")))),
    }
}

/// A value of a selection as the query would have it.
fn plain(name: &str, value: &Value) -> Result<String, Problem> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Array(list) if name == "id" => {
            let texts: Option<Vec<&str>> = list.iter().map(Value::as_str).collect();
            texts.map(|texts| texts.join(",")).ok_or_else(|| Problem::invalid("id is no list of texts", "mail ids, as in [\"0abcdefghj\"]"))
        }
        _ => Err(Problem::invalid(format!("{name} is {value}"), "a text, or for id a list of texts")),
    }
}

/// What filters mean.
///
/// # Errors
/// One that is not known, or whose value means nothing.
pub fn selection(fields: BTreeMap<String, String>, outbound: &dyn Outbound, now: Timestamp) -> Result<Selection, Problem> {
    let mut selection = Selection::default();
    for (name, value) in fields {
        if value.is_empty() && name != "sender" {
            return Err(Problem::invalid(format!("{name} is empty"), "a value, or the filter left away"));
        }
        let wrong = |expected: &str| Problem::invalid(format!("{name} is \"{value}\""), expected);
        match name.as_str() {
            "id" => selection.ids = ids(&value)?,
            "recipient" => selection.recipient = Some(Mailbox::parse(&value).map_err(|e| wrong(&e.to_string()))?.to_string()),
            "domain" => selection.domain = Some(Domain::parse(&value).map_err(|e| wrong(&e.to_string()))?),
            "provider" => selection.provider = Some(known_provider(&value, outbound)?),
            "host" => selection.host = Some(value.trim_end_matches('.').to_owned()),
            "route" => selection.route = Some(RouteName::new(&value)),
            "queue" => selection.queue = Some(Queue::stored(&value)),
            "sender" => selection.sender = Some(sender(&value)?),
            "author_domain" => selection.author_domain = Some(Domain::parse(&value).map_err(|e| wrong(&e.to_string()))?),
            "stream" => selection.stream = Some(Stream::new(&value)),
            "identity" => selection.identity = Some(IdentityName::new(&value)),
            "reason" => selection.reason = Some(value.parse().map_err(|()| wrong(&format!("one of {}", Reason::ALL.map(Reason::as_str).join(", "))))?),
            "status" => selection.status = Some(value.parse::<StatusPrefix>().map_err(|e| wrong(&e.to_string()))?),
            "older_than" => selection.accepted_before = Some(now - seconds(&value).ok_or_else(|| wrong("seconds"))?),
            "younger_than" => selection.accepted_since = Some(now - seconds(&value).ok_or_else(|| wrong("seconds"))?),
            "state" => {
                let states = Standing::IN_THE_QUEUE.map(Standing::as_str).join(", ");
                selection.state = Some(value.parse().map_err(|()| wrong(&format!("one of {states}")))?);
            }
            _ => return Err(Problem::invalid(format!("there is no filter \"{name}\""), format!("some of {}", FILTERS.join(", ")))),
        }
    }
    Ok(selection)
}

fn ids(text: &str) -> Result<Vec<MailId>, Problem> {
    let ids: Vec<MailId> = text.split(',').map(mail_id).collect::<Result<_, _>>()?;
    if ids.len() > IDS_MAX { Err(Problem::invalid(format!("{} ids", ids.len()), format!("at most {IDS_MAX} at a time"))) } else { Ok(ids) }
}

fn mail_id(text: &str) -> Result<MailId, Problem> {
    text.parse().map_err(|error: crate::mail::id::MailIdError| Problem::invalid(error.to_string(), ""))
}

fn known_provider(name: &str, outbound: &dyn Outbound) -> Result<String, Problem> {
    let known = outbound.providers();
    if known.iter().any(|provider| provider.eq_ignore_ascii_case(name)) {
        return Ok(name.to_owned());
    }
    Err(Problem::invalid(format!("there is no provider \"{name}\""), format!("one of {}", known.join(", "))))
}

/// An address, a domain, or nothing: `<>`.
fn sender(text: &str) -> Result<SenderIs, Problem> {
    let bare = text.trim_start_matches('<').trim_end_matches('>');
    let wrong = |error: String| Problem::invalid(format!("sender is \"{text}\": {error}"), "an address, a domain, or <> for notices");
    match bare {
        "" => Ok(SenderIs::Null),
        mailbox if mailbox.contains('@') && !mailbox.starts_with('@') => {
            Mailbox::parse(mailbox).map(|mailbox| SenderIs::Mailbox(mailbox.to_string())).map_err(|e| wrong(e.to_string()))
        }
        domain => Domain::parse(domain.trim_start_matches('@')).map(SenderIs::Of).map_err(|e| wrong(e.to_string())),
    }
}

fn seconds(text: &str) -> Option<Duration> {
    text.parse::<u32>().ok().map(|seconds| Duration::from_secs(seconds.into()))
}

fn by(text: &str) -> Result<By, Problem> {
    text.parse().map_err(|()| Problem::invalid(format!("by is \"{text}\""), format!("one of {}", By::ALL.map(By::as_str).join(", "))))
}

fn cursor(text: &str) -> Result<Cursor, Problem> {
    text.parse().map_err(|()| Problem::invalid(format!("after is \"{text}\""), "what the page before gave as next"))
}

fn limit(asked: Option<usize>, usual: usize, most: usize) -> Result<NonZeroUsize, Problem> {
    let limit = asked.unwrap_or(usual);
    NonZeroUsize::new(limit).filter(|limit| limit.get() <= most).ok_or_else(|| Problem::invalid(format!("limit is {limit}"), format!("1 to {most}")))
}

const fn word(effect: Effect) -> &'static str {
    match effect {
        Effect::Done => "done",
        Effect::Nothing => "nothing",
        Effect::Busy => "busy",
        Effect::Damaged => "damaged",
    }
}

/// A recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    mail_id: String,
    index: u32,
    recipient: String,
    state: &'static str,
    queue: String,
    rerouted: bool,
    next_at: Option<String>,
    lease_until: Option<String>,
    held_at: Option<String>,
    attempts: u32,
    unknown_ends: u32,
    delay_told: bool,
    accepted_at: String,
    age_seconds: u64,
    expires_at: String,
    sender: String,
    author_domain: String,
    stream: String,
    identity: String,
    message_id: String,
    octets: u64,
    damage: Option<String>,
    last: Option<Last>,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Last {
    at: String,
    status: String,
    text: String,
    remote: Option<String>,
    host: Option<String>,
    provider: Option<String>,
    reason: Option<String>,
}

/// A group of recipients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sum {
    key: Option<String>,
    mails: u64,
    recipients: u64,
    waiting: u64,
    leased: u64,
    held: u64,
    quarantined: u64,
    oldest_at: String,
    oldest_seconds: u64,
    next_at: Option<String>,
    last: Option<Last>,
}

impl Row {
    /// As it stands at `now`.
    #[must_use]
    pub fn of(entry: &Entry, now: Timestamp) -> Self {
        let next_at = entry.next_at.to_rfc3339();
        Self {
            mail_id: entry.mail.to_string(),
            index: entry.index,
            recipient: entry.recipient.clone(),
            state: entry.state.as_str(),
            queue: entry.queue.to_string(),
            rerouted: entry.rerouted,
            next_at: (entry.state == Standing::Waiting).then(|| next_at.clone()),
            lease_until: (entry.state == Standing::Leased).then_some(next_at),
            held_at: entry.held_at.map(Timestamp::to_rfc3339),
            attempts: entry.attempts,
            unknown_ends: entry.unknown_ends,
            delay_told: entry.delay_told,
            accepted_at: entry.accepted_at.to_rfc3339(),
            age_seconds: now.since(entry.accepted_at).as_secs(),
            expires_at: entry.expires_at.to_rfc3339(),
            sender: entry.sender.clone(),
            author_domain: entry.author_domain.clone(),
            stream: entry.stream.clone(),
            identity: entry.identity.clone(),
            message_id: entry.message_id.clone(),
            octets: entry.octets,
            damage: entry.damage.clone(),
            last: entry.last.as_ref().map(Last::of),
        }
    }
}

impl Last {
    fn of(last: &LastWords) -> Self {
        let LastWords { at, status, text, remote, host, provider, reason } = last.clone();
        Self { at: at.to_rfc3339(), status, text, remote, host, provider, reason }
    }
}

impl Sum {
    /// As it stands at `now`.
    #[must_use]
    pub fn of(group: &Group, now: Timestamp) -> Self {
        Self {
            key: group.key.clone(),
            mails: group.mails,
            recipients: group.recipients,
            waiting: group.recipients.saturating_sub(group.leased + group.held + group.quarantined),
            leased: group.leased,
            held: group.held,
            quarantined: group.quarantined,
            oldest_at: group.oldest.to_rfc3339(),
            oldest_seconds: now.since(group.oldest).as_secs(),
            next_at: group.next_at.map(Timestamp::to_rfc3339),
            last: group.last.as_ref().map(Last::of),
        }
    }
}

/// One message.
#[derive(Debug, Clone, Serialize)]
pub struct OneMail {
    mail_id: String,
    /// `None` where the facts are damaged.
    mail: Option<Facts>,
    /// Why it was set aside, or what does not read.
    damage: Option<String>,
    recipients: Vec<Row>,
    /// What became of it, when it is no longer in the queue.
    history: Option<Remembered>,
}

/// The facts of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Facts {
    kind: &'static str,
    accepted_at: String,
    expires_at: String,
    identity: String,
    author_domain: String,
    stream: String,
    route: String,
    sender: String,
    envid: Option<String>,
    ret: Option<&'static str>,
    eight_bit_mime: bool,
    smtputf8: bool,
    message_id: String,
    track_id: Option<String>,
    tag: Option<String>,
    octets: u64,
    sealed_by: Vec<String>,
    seal_expires_at: Option<String>,
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Remembered {
    accepted_at: String,
    closed_at: Option<String>,
    stream: String,
    sender: String,
    message_id: String,
    track_id: Option<String>,
    tag: Option<String>,
    recipients: Vec<RememberedRecipient>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct RememberedRecipient {
    recipient: String,
    outcome: &'static str,
    at: Option<String>,
    status: Option<String>,
    text: Option<String>,
    remote: Option<String>,
    provider: Option<String>,
    reason: Option<String>,
}

impl OneMail {
    fn of(id: MailId, shown: &Shown, now: Timestamp) -> Self {
        let (mail, unreadable) = match &shown.mail {
            Ok(mail) => (Some(Facts::of(mail)), None),
            Err(why) => (None, Some(why.clone())),
        };
        let recipients = shown.recipients.iter().map(|entry| Row::of(entry, now)).collect();
        Self { mail_id: id.to_string(), mail, damage: shown.damage.clone().or(unreadable), recipients, history: None }
    }

    fn remembered(history: &History) -> Self {
        Self { mail_id: history.id.to_string(), mail: None, damage: None, recipients: Vec::new(), history: Some(Remembered::of(history)) }
    }
}

impl Facts {
    fn of(mail: &Mail) -> Self {
        Self {
            kind: match mail.kind {
                crate::seal::Kind::Submission => "submission",
                crate::seal::Kind::Notice => "notice",
                crate::seal::Kind::Returned => "returned",
            },
            accepted_at: mail.accepted_at.to_rfc3339(),
            expires_at: mail.expires_at.to_rfc3339(),
            identity: mail.identity.to_string(),
            author_domain: mail.signing_domain.to_string(),
            stream: mail.stream.to_string(),
            route: mail.route.to_string(),
            sender: mail.original_reverse_path.mailbox().map_or_else(String::new, ToString::to_string),
            envid: mail.envid.clone(),
            ret: mail.ret.map(|ret| match ret {
                crate::mail::Ret::Full => "FULL",
                crate::mail::Ret::Headers => "HDRS",
            }),
            eight_bit_mime: mail.needs.eight_bit_mime,
            smtputf8: mail.needs.smtputf8,
            message_id: mail.message_id.clone(),
            track_id: mail.track_id.clone(),
            tag: mail.tag.clone(),
            octets: mail.message_octets,
            sealed_by: mail.seal.keys().map(str::to_owned).collect::<BTreeSet<_>>().into_iter().collect(),
            seal_expires_at: mail.seal.expires.map(|at| Timestamp::from_unix_seconds(at).to_rfc3339()),
        }
    }
}

impl Remembered {
    fn of(history: &History) -> Self {
        let recipients = history.recipients.iter().map(|who| RememberedRecipient {
            recipient: who.mailbox.to_string(),
            outcome: match who.outcome {
                SoFar::Waiting => "waiting",
                SoFar::Delivered => "delivered",
                SoFar::Failed => "failed",
                SoFar::Cancelled => "cancelled",
            },
            at: who.at.map(Timestamp::to_rfc3339),
            status: who.status.clone(),
            text: who.text.clone(),
            remote: who.remote.clone(),
            provider: who.provider.clone(),
            reason: who.reason.clone(),
        });
        Self {
            accepted_at: history.accepted_at.to_rfc3339(),
            closed_at: history.closed_at.map(Timestamp::to_rfc3339),
            stream: history.stream.to_string(),
            sender: history.original_reverse_path.mailbox().map_or_else(String::new, ToString::to_string),
            message_id: history.message_id.clone(),
            track_id: history.track_id.clone(),
            tag: history.tag.clone(),
            recipients: recipients.collect(),
        }
    }
}

/// What `POST /queue/{action}` can be asked.
pub const ACTIONS: [&str; 5] = ["hold", "release", "retry", "reroute", "cancel"];
/// What can be selected by.
pub const FILTERS: [&str; 16] = [
    "id",
    "recipient",
    "domain",
    "provider",
    "host",
    "route",
    "queue",
    "sender",
    "author_domain",
    "stream",
    "identity",
    "reason",
    "status",
    "older_than",
    "younger_than",
    "state",
];
/// Reads of the spool for one answer: some hundred milliseconds, then the caller goes on from `next`.
const READS_MAX: usize = 50;
/// Groups in memory; the caller goes on from `next`.
const GROUPS_MAX: usize = 10_000;
/// Recipients of one page of an order where nothing else is asked for.
const ORDER_ROWS: usize = 200;
/// A note is part of a notice's text and of history.
const NOTE_OCTETS_MAX: usize = 200;
