//! `/api/v1/suppressions`: addresses that are not written to any more.
//!
//! | | |
//! |---|---|
//! | `GET /suppressions` | entries, page by page, with how many there are and may be |
//! | `POST /suppressions` | puts a page of entries on the list, all or none |
//! | `POST /suppressions/lift` | takes a page of entries off it |

use super::{Body, LIMIT, Page, Paging, Parameters, Problem};
use crate::admin::{Office, Store};
use crate::mail::suppression::{Lifetime, Rules, Scope, Suppression, Why};
use crate::mail::{Domain, Mailbox, Stream, Timestamp};
use crate::spool::SpoolError;
use crate::spool::suppressions::{Damaged, Key, PAGE_ENTRIES_MAX, Selection};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::sync::Arc;

/// The paths of this file.
pub fn router<S: Store>() -> Router<Arc<Office<S>>> {
    Router::new().route("/suppressions", get(list::<S>).post(add::<S>)).route("/suppressions/lift", post(lift::<S>))
}

/// Which entries are asked for. Every condition must hold.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    author_domain: Option<String>,
    stream: Option<String>,
    recipient: Option<String>,
    domain: Option<String>,
    reason: Option<String>,
    since: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
}

/// A page of entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// The page.
    #[serde(flatten)]
    pub page: Page<Entry>,
    /// Entries found damaged on the way: they count for nothing.
    pub damaged: Vec<Broken>,
    /// How many entries there are in all.
    pub entries: u64,
    /// How many there may be.
    pub entries_max: u64,
}

/// An entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// For whose mail: an author domain, or one with a stream of it.
    pub scope: String,
    /// Which address.
    pub recipient: String,
    /// Why.
    pub reason: &'static str,
    /// Since when.
    pub since: String,
    /// Until when; `None`: until it is lifted.
    pub expires_at: Option<String>,
    /// The mail that led to it.
    pub message: Option<String>,
    /// The words of the receiver, or of the person.
    pub detail: String,
}

/// An entry that does not fit its checksum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Broken {
    /// As it reads.
    pub scope: String,
    /// As it reads.
    pub recipient: String,
    /// What is wrong.
    pub why: String,
}

impl Entry {
    /// As the API shows an entry.
    #[must_use]
    pub fn of(entry: &Suppression) -> Self {
        Self {
            scope: entry.scope.to_string(),
            recipient: entry.recipient.to_string(),
            reason: entry.why.as_str(),
            since: entry.since.to_rfc3339(),
            expires_at: entry.expires_at.map(Timestamp::to_rfc3339),
            message: entry.message.map(|id| id.to_string()),
            detail: entry.detail.clone(),
        }
    }
}

impl Asked {
    fn selection(&self) -> Result<Selection, Problem> {
        Ok(Selection {
            author_domain: self.author_domain.as_deref().map(|text| read::<Domain>("author_domain", text)).transpose()?,
            stream: self.stream.as_deref().map(Stream::new),
            recipient: self.recipient.as_deref().map(|text| read::<Mailbox>("recipient", text)).transpose()?,
            recipient_domain: self.domain.as_deref().map(|text| read::<Domain>("domain", text)).transpose()?,
            why: self.reason.as_deref().map(|text| read::<Why>("reason", text)).transpose()?,
            since: self.since.as_deref().map(since).transpose()?,
        })
    }
}

fn read<T: FromStr<Err: std::fmt::Display>>(name: &str, text: &str) -> Result<T, Problem> {
    text.parse().map_err(|fault: T::Err| Problem::invalid(format!("{name}: {fault}"), ""))
}

fn since(text: &str) -> Result<Timestamp, Problem> {
    Timestamp::parse_rfc3339(text).ok_or_else(|| Problem::invalid(format!("since is \"{text}\""), format!("a time as in {TIME}")))
}

/// `GET /api/v1/suppressions`. Where few are selected, one call looks at no more than some [`READS_MAX`] reads.
///
/// # Errors
/// A filter has a wrong value; the spool cannot be asked.
pub(crate) async fn list<S: Store>(State(office): State<Arc<Office<S>>>, Parameters(asked): Parameters<Asked>) -> Result<Json<Listed>, Problem> {
    let (selection, paging) = (asked.selection()?, Paging::of(asked.after.clone(), asked.limit));
    let limit = paging.limit()?;
    let after = paging.after.filter(|text| !text.is_empty()).map(|text| read::<Key>("after", &text)).transpose()?;
    listed(&office, &selection, after, limit).await.map(Json)
}

/// A page of entries, for whoever shows them.
///
/// # Errors
/// The spool cannot be asked.
pub async fn listed<S: Store>(office: &Office<S>, selection: &Selection, mut after: Option<Key>, limit: usize) -> Result<Listed, Problem> {
    let now = office.life.standing().now;
    let (mut items, mut damaged) = (Vec::new(), Vec::new());
    for _ in 0..READS_MAX {
        let Some(left) = NonZeroUsize::new(limit.saturating_sub(items.len() + damaged.len())) else { break };
        let page = office.spool.suppressions(selection, after, left, now).await?;
        items.extend(page.entries.iter().map(Entry::of));
        damaged.extend(page.damaged.into_iter().map(|Damaged { key, why }| Broken { scope: key.scope, recipient: key.recipient, why }));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let (entries, entries_max) = office.spool.suppressions_count();
    Ok(Listed { page: Page { items, next: after.map(|key| key.to_string()) }, damaged, entries, entries_max })
}

/// Entries to be put on the list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    entries: Vec<Map<String, Value>>,
}

/// What became of them.
#[allow(clippy::struct_field_names, reason = "the words of the answer")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Added {
    added: u64,
    renewed: u64,
    kept: u64,
}

/// `POST /api/v1/suppressions`
///
/// # Errors
/// 422: entries are faulty, each named; 409: the list has no room for them. Nothing was taken.
pub(crate) async fn add<S: Store>(State(office): State<Arc<Office<S>>>, Body(wanted): Body<Wanted>) -> Result<Json<Added>, Problem> {
    bounded(wanted.entries.len())?;
    let (rules, now) = (office.outbound.suppression(), office.life.standing().now);
    let read: Vec<Result<Suppression, EntryFault>> = wanted.entries.iter().map(|fields| entry(fields, &rules, now)).collect();
    let faults: Vec<String> = read.iter().zip(0..).filter_map(|(entry, at): (_, usize)| Some(format!("entry {at}: {}", entry.as_ref().err()?))).collect();
    if !faults.is_empty() {
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "entries", listed_faults(&faults), ENTRY));
    }
    let taken = office.spool.suppress(read.into_iter().flatten().collect()).await.map_err(|fault| match fault {
        SpoolError::SuppressionsFull(_) => Problem::new(StatusCode::CONFLICT, "full", fault.to_string(), ""),
        other => other.into(),
    })?;
    office.outbound.list_changed(taken.added + taken.renewed, 0);
    Ok(Json(Added { added: taken.added, renewed: taken.renewed, kept: taken.kept }))
}

/// Entries to be taken off the list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Unwanted {
    entries: Vec<Named>,
}

/// Which entry.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Named {
    scope: String,
    recipient: String,
}

/// Those that were there.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Lifted {
    lifted: Vec<Named>,
}

/// `POST /api/v1/suppressions/lift`
///
/// # Errors
/// Too many at a time; the spool cannot be asked.
pub(crate) async fn lift<S: Store>(State(office): State<Arc<Office<S>>>, Body(unwanted): Body<Unwanted>) -> Result<Json<Lifted>, Problem> {
    bounded(unwanted.entries.len())?;
    // What does not read as an address is asked for as it is: a damaged entry is lifted too.
    let key = |named: &Named| match (named.scope.parse::<Scope>(), Mailbox::parse(&named.recipient)) {
        (Ok(scope), Ok(recipient)) => Key::of(&scope, &recipient),
        _ => Key { scope: named.scope.clone(), recipient: named.recipient.clone() },
    };
    let lifted = office.spool.lift(unwanted.entries.iter().map(key).collect()).await?;
    office.outbound.list_changed(0, lifted.len() as u64);
    Ok(Json(Lifted { lifted: lifted.into_iter().map(|Key { scope, recipient }| Named { scope, recipient }).collect() }))
}

fn bounded(entries: usize) -> Result<(), Problem> {
    if (1..=PAGE_ENTRIES_MAX).contains(&entries) {
        return Ok(());
    }
    Err(Problem::invalid(format!("{entries} entries"), format!("1 to {PAGE_ENTRIES_MAX} at a time")))
}

fn listed_faults(faults: &[String]) -> String {
    let more = faults.len().saturating_sub(FAULTS_NAMED);
    let rest = if more > 0 { format!("; and {more} more") } else { String::new() };
    format!("{}{rest}", faults.iter().take(FAULTS_NAMED).map(String::as_str).collect::<Vec<_>>().join("; "))
}

/// Why fields make no entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryFault {
    /// Its time is over.
    #[error("expires_at is past; expected a time to come, null, or the entry left out")]
    Ended,
    /// In words, the first thing that is wrong.
    #[error("{0}")]
    Wrong(String),
}

/// What an entry of a body, or of a file, means. `reason` is `manual` where nothing is said, `since` is now, and `expires_at` follows from
/// the reason as `[suppression.keep]` has it; `null` and `"lasting"` mean until it is lifted.
///
/// # Errors
/// It is over, or something is wrong.
pub fn entry(fields: &Map<String, Value>, rules: &Rules, now: Timestamp) -> Result<Suppression, EntryFault> {
    let entry = meant(fields, rules, now).map_err(EntryFault::Wrong)?;
    if entry.counts_at(now) { Ok(entry) } else { Err(EntryFault::Ended) }
}

fn meant(fields: &Map<String, Value>, rules: &Rules, now: Timestamp) -> Result<Suppression, String> {
    if let Some(unknown) = fields.keys().find(|name| !FIELDS.contains(&name.as_str())) {
        return Err(format!("there is no field \"{unknown}\"; expected some of {}", FIELDS.join(", ")));
    }
    let text = |name: &str| match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(other) => Err(format!("{name} is {other}; expected a text")),
    };
    let required = |name: &str| text(name)?.ok_or_else(|| format!("{name} is missing"));
    let time = |name: &str, text: &str| Timestamp::parse_rfc3339(text).ok_or_else(|| format!("{name} is \"{text}\"; expected a time as in {TIME}"));
    let scope: Scope = required("scope")?.parse().map_err(|fault: crate::mail::suppression::ScopeError| fault.to_string())?;
    let recipient = Mailbox::parse(required("recipient")?).map_err(|fault| fault.to_string())?.folded();
    let why: Why = text("reason")?.map_or(Ok(Why::Manual), str::parse).map_err(|fault: crate::mail::suppression::WhyError| fault.to_string())?;
    let since = text("since")?.map_or(Ok(now), |text| time("since", text))?;
    let expires_at = match (text("expires_at")?, fields.contains_key("expires_at")) {
        (Some("lasting"), _) | (None, true) => None,
        (Some(text), _) => Some(time("expires_at", text)?),
        (None, false) => match rules.lifetimes.of(why) {
            Lifetime::For(time) => Some(since + time),
            Lifetime::Lasting => None,
            // What the relay itself would not put there lasts as what a person puts there.
            Lifetime::Never => match rules.lifetimes.manual {
                Lifetime::For(time) => Some(since + time),
                Lifetime::Lasting | Lifetime::Never => None,
            },
        },
    };
    if since > now + CLOCKS_DIFFER {
        return Err(format!("since is \"{}\", a time to come", since.to_rfc3339()));
    }
    let message = text("message")?.map(|text| text.parse().map_err(|fault: crate::mail::id::MailIdError| fault.to_string())).transpose()?;
    let detail = Suppression::words(text("detail")?.unwrap_or_default());
    Ok(Suppression { scope, recipient, why, since, expires_at, message, detail })
}

/// The fields of an entry, in the order of files.
pub const FIELDS: [&str; 7] = ["scope", "recipient", "reason", "since", "expires_at", "message", "detail"];
const ENTRY: &str = "entries of scope and recipient, with reason, since, expires_at, message and detail where known; nothing was taken";
const TIME: &str = "2026-11-22T12:00:00Z";
/// Reads of the spool for one answer: some hundred milliseconds, then the caller goes on from `next`.
const READS_MAX: usize = 50;
/// Faulty entries that an answer names.
const FAULTS_NAMED: usize = 20;
/// By how much another machine's clock may be ahead.
const CLOCKS_DIFFER: std::time::Duration = std::time::Duration::from_hours(24);
/// Entries that the page shows.
pub const SHOWN: usize = LIMIT;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

    fn read_entry(fields: Value) -> Result<Suppression, EntryFault> {
        let Value::Object(fields) = fields else { panic!("{fields}") };
        entry(&fields, &Rules::default(), NOW)
    }

    #[test]
    fn what_is_not_said_follows_from_the_reason() {
        for (fields, expected) in [
            (json!({ "scope": "example.com", "recipient": "Jane@Example.NET" }), "example.com jane@example.net manual 0 lasting"),
            (json!({ "scope": "example.com/news", "recipient": "a@b.example", "reason": "user-unknown" }), "example.com/news a@b.example user-unknown 0 90"),
            (json!({ "scope": "example.com", "recipient": "a@b.example", "reason": "policy" }), "example.com a@b.example policy 0 lasting"),
            (
                json!({ "scope": "example.com", "recipient": "a@b.example", "reason": "user-unknown", "expires_at": null }),
                "example.com a@b.example user-unknown 0 lasting",
            ),
            (
                json!({ "scope": "example.com", "recipient": "a@b.example", "since": "2027-01-05T08:00:00Z", "expires_at": "2027-01-25T08:00:00Z" }),
                "example.com a@b.example manual 10 10",
            ),
        ] {
            let entry = read_entry(fields).unwrap();
            let end = entry.expires_at.map_or_else(|| "lasting".to_owned(), |end| (end.since(NOW).as_secs() / 86_400).to_string());
            assert_eq!(format!("{} {} {} {} {end}", entry.scope, entry.recipient, entry.why, NOW.since(entry.since).as_secs() / 86_400), expected);
        }
    }

    #[test]
    fn what_an_entry_shows_is_read_as_the_same_entry() {
        let fields = json!({ "scope": "example.com", "recipient": "\"a b\"@b.example", "reason": "complaint", "message": "0000000001", "detail": "abuse" });
        let entry = read_entry(fields).unwrap();
        assert_eq!(read_entry(serde_json::to_value(Entry::of(&entry)).unwrap()), Ok(entry));
    }

    #[test]
    fn faults_are_named() {
        for (fields, expected) in [
            (json!({ "recipient": "a@b.example" }), "scope is missing"),
            (json!({ "scope": "example.com" }), "recipient is missing"),
            (json!({ "scope": "exa mple", "recipient": "a@b.example" }), "\"exa mple\" is no scope"),
            (json!({ "scope": "example.com", "recipient": "nobody" }), "\"nobody\" is not an address"),
            (json!({ "scope": "example.com", "recipient": "a@b.example", "reason": "bad" }), "\"bad\" is no reason"),
            (json!({ "scope": "example.com", "recipient": "a@b.example", "since": "yesterday" }), "since is \"yesterday\"; expected a time"),
            (json!({ "scope": "example.com", "recipient": "a@b.example", "expires_at": "2020-01-01T00:00:00Z" }), "expires_at is past"),
            (json!({ "scope": "example.com", "recipient": "a@b.example", "message": "x" }), "\"x\" is not a mail id"),
            (json!({ "scope": "example.com", "recipient": "a@b.example", "why": "x" }), "there is no field \"why\""),
            (json!({ "scope": "example.com", "recipient": 7 }), "recipient is 7; expected a text"),
        ] {
            let fault = read_entry(fields).unwrap_err().to_string();
            assert!(fault.starts_with(expected), "{fault}");
        }
    }
}
