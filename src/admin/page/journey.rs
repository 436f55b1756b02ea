//! A mail's journey, made of what the journal and the spool know of it. Pure.

use super::view::{Act, Found, Grade, Journey, Mishap, RECIPIENTS_MAX, Step, Trip, TripState, Words};
use super::words::{count, octets};
use crate::mail::{MailId, Mailbox, Timestamp};
use crate::spool::control::{self, Entry, LastWords, State};
use crate::spool::journal::{About, Event, Kind, News, When};
use crate::spool::{History, SoFar};

/// What is known of a mail.
#[derive(Debug, Default)]
pub struct Known {
    /// Its events, the oldest first.
    pub events: Vec<Event>,
    /// What became of it.
    pub history: Option<History>,
    /// How it waits.
    pub shown: Option<control::Shown>,
}

/// The journey; `None` where nothing is known.
#[must_use]
pub fn journey(id: MailId, known: &Known) -> Option<Journey> {
    let Known { events, history, shown } = known;
    let entries: &[Entry] = shown.as_ref().map_or(&[], |shown| &shown.recipients);
    let first = events.first().map(|event| &event.news);
    let accepted_at =
        entries.first().map(|entry| entry.accepted_at).or_else(|| history.as_ref().map(|history| history.accepted_at)).or_else(|| first.map(|news| news.at))?;
    let recipients = recipients(known);
    let recipients_all = recipients.len();
    let trips: Vec<Trip> = recipients.iter().take(RECIPIENTS_MAX).map(|recipient| trip(recipient, known)).collect();
    let from = entries.first().map(|entry| entry.sender.clone());
    let from = from.or_else(|| history.as_ref().map(|history| history.original_reverse_path.to_string())).unwrap_or_default();
    Some(Journey {
        id,
        accepted_at,
        expires_at: entries.iter().find(|entry| is_open(entry.state)).map(|entry| entry.expires_at),
        from: from.trim_matches(['<', '>']).to_owned(),
        facts: facts(known),
        steps: here(known, accepted_at, recipients_all),
        acts: acts(entries),
        recipients: trips,
        recipients_all,
    })
}

/// A line of what was found by recipient.
#[must_use]
pub fn found(event: &Event) -> Found {
    let News { at, kind, mail, recipient, about } = &event.news;
    let (title, grade) = told(*kind, about);
    Found { mail: *mail, recipient: recipient.as_ref().map(ToString::to_string).unwrap_or_default(), at: *at, title: title.to_owned(), grade }
}

/// An ending that was not well; `None` for every other event.
#[must_use]
pub fn mishap(event: &Event) -> Option<Mishap> {
    let News { at, kind, mail, recipient, about } = &event.news;
    let failed = match kind {
        Kind::Deferred => false,
        Kind::Bounced => true,
        _ => return None,
    };
    Some(Mishap { at: *at, mail: *mail, recipient: recipient.as_ref()?.to_string(), failed, words: words(about)? })
}

/// What the last attempt of a waiting recipient came to.
#[must_use]
pub fn last_words(last: &LastWords) -> Words {
    // The spool keeps one text: the next hop's where there was one.
    let is_reply = last.text.as_bytes().first().is_some_and(u8::is_ascii_digit);
    let (reply, ours) = if is_reply { (last.text.clone(), String::new()) } else { (String::new(), last.text.clone()) };
    Words { reply, ours, reason: last.reason.as_deref().and_then(|reason| reason.parse().ok()), host: last.host.clone().unwrap_or_default() }
}

/// In the order of the envelope as far as it is known.
fn recipients(known: &Known) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let of_spool = known.shown.iter().flat_map(|shown| &shown.recipients).map(|entry| entry.recipient.clone());
    let of_history = known.history.iter().flat_map(|history| &history.recipients).map(|recipient| recipient.mailbox.to_string());
    let of_journal = known.events.iter().filter_map(|event| event.news.recipient.as_ref()).map(Mailbox::to_string);
    let mut seen = std::collections::HashSet::new();
    for name in of_spool.chain(of_history).chain(of_journal) {
        if seen.insert(name.clone()) {
            names.push(name);
        }
    }
    names
}

fn trip(recipient: &str, known: &Known) -> Trip {
    let is_theirs = |event: &&Event| event.news.recipient.as_ref().is_some_and(|other| other.to_string() == recipient);
    let mine: Vec<&Event> = known.events.iter().filter(is_theirs).collect();
    let entry = known.shown.as_ref().and_then(|shown| shown.recipients.iter().find(|entry| entry.recipient == recipient));
    let settled = known.history.as_ref().and_then(|history| history.recipients.iter().find(|other| other.mailbox.to_string() == recipient));
    let last = mine.iter().rev().find_map(|event| ended(event.news.kind));
    let state = match (entry.map(|entry| entry.state), settled.map(|settled| settled.outcome)) {
        (Some(State::Waiting | State::Leased), _) => TripState::Waiting,
        (Some(State::Held), _) => TripState::Held,
        (Some(State::Quarantined), _) => TripState::Quarantined,
        (Some(State::Delivered), _) => TripState::Delivered,
        (Some(State::Failed), _) => TripState::Failed,
        (Some(State::Cancelled), _) | (None, Some(SoFar::Cancelled)) => TripState::Cancelled,
        // What came back later is known to the journal alone.
        (None, Some(SoFar::Delivered)) => last.unwrap_or(TripState::Delivered),
        (None, Some(SoFar::Failed)) => last.filter(|state| *state != TripState::Delivered).unwrap_or(TripState::Failed),
        (None, Some(SoFar::Waiting) | None) => last.unwrap_or(TripState::Waiting),
    };
    let mut steps: Vec<Step> = mine.iter().filter(|event| event.news.kind != Kind::Accepted).map(|event| step(&event.news)).collect();
    if let (true, Some(entry)) = (steps.is_empty(), entry)
        && let Some(last) = &entry.last
    {
        let (title, grade) = if entry.state == State::Delivered { ("Delivered", Grade::Good) } else { ("Last attempt", Grade::Warning) };
        steps.push(Step { at: last.at, grade, title: title.to_owned(), text: String::new(), words: Some(last_words(last)), facts: Vec::new() });
    }
    let by_journal = mine.last().and_then(|event| event.news.about.next_at).map(Timestamp::from_unix_millis);
    let next_at = entry.filter(|entry| entry.state == State::Waiting).map(|entry| entry.next_at).or(by_journal).filter(|_| state == TripState::Waiting);
    Trip { recipient: recipient.to_owned(), state, steps, next_at }
}

fn step(news: &News) -> Step {
    let (title, grade) = told(news.kind, &news.about);
    let about = &news.about;
    let text = match news.kind {
        Kind::Deferred if about.unknown_end == Some(true) => "The connection broke after the message was sent: it may have arrived, and is sent again.",
        Kind::Bounced if about.when == Some(When::Returned) => "A notice came back from behind the next hop; the sender has it too.",
        Kind::Bounced => "The sender was told.",
        Kind::Complained => "The recipient marked it as spam.",
        Kind::Returned => "Something came back to its bounce address and was passed on to the sender.",
        Kind::Suppressed => "It was not sent: the recipient is on the list of addresses that are not written to any more.",
        Kind::Quarantined => "What is stored does not match its checksum, so it is not sent.",
        _ => "",
    };
    let named = |name: &'static str, value: Option<String>| value.map(|value| (name, value));
    let facts = [
        named("attempt", about.attempts.map(|attempts| attempts.to_string())),
        named("provider", about.provider.clone().filter(|provider| provider != "other")),
        named("status", about.status.clone()),
    ];
    Step { at: news.at, grade, title: title.to_owned(), text: text.to_owned(), words: words(about), facts: facts.into_iter().flatten().collect() }
}

const fn told(kind: Kind, about: &About) -> (&'static str, Grade) {
    match kind {
        Kind::Accepted => ("Accepted", Grade::Good),
        Kind::Deferred => ("Deferred", Grade::Warning),
        Kind::Delivered => ("Delivered", Grade::Good),
        Kind::Bounced if matches!(about.when, Some(When::Returned)) => ("Bounced back", Grade::Bad),
        Kind::Bounced => ("Failed", Grade::Bad),
        Kind::Complained => ("Complaint", Grade::Bad),
        Kind::Returned => ("Came back", Grade::Open),
        Kind::Suppressed => ("Suppressed", Grade::Bad),
        Kind::Held => ("Held by a person", Grade::Warning),
        Kind::Released => ("Released", Grade::Open),
        Kind::Retried => ("Called for an attempt", Grade::Open),
        Kind::Cancelled => ("Cancelled by a person", Grade::Open),
        Kind::Rerouted => ("Sent another way", Grade::Open),
        Kind::Quarantined => ("Quarantined", Grade::Bad),
    }
}

const fn ended(kind: Kind) -> Option<TripState> {
    match kind {
        Kind::Delivered => Some(TripState::Delivered),
        Kind::Bounced | Kind::Suppressed => Some(TripState::Failed),
        Kind::Cancelled => Some(TripState::Cancelled),
        Kind::Held => Some(TripState::Held),
        Kind::Quarantined => Some(TripState::Quarantined),
        Kind::Released | Kind::Retried | Kind::Deferred | Kind::Rerouted | Kind::Accepted => Some(TripState::Waiting),
        Kind::Complained | Kind::Returned => None,
    }
}

fn words(about: &About) -> Option<Words> {
    let words = Words {
        reply: about.reply.clone().unwrap_or_default(),
        ours: about.error.clone().unwrap_or_default(),
        reason: about.reason.as_deref().and_then(|reason| reason.parse().ok()),
        host: about.host.clone().unwrap_or_default(),
    };
    (!words.reply.is_empty() || !words.ours.is_empty()).then_some(words)
}

/// What happened before the mail left.
fn here(known: &Known, accepted_at: Timestamp, recipients: usize) -> Vec<Step> {
    let accepted = known.events.iter().find(|event| event.news.kind == Kind::Accepted).map(|event| &event.news.about);
    let entry = known.shown.as_ref().and_then(|shown| shown.recipients.first());
    let identity = accepted.and_then(|about| about.identity.clone()).or_else(|| entry.map(|entry| entry.identity.clone()));
    let domain = accepted.and_then(|about| about.author_domain.clone()).or_else(|| entry.map(|entry| entry.author_domain.clone()));
    let whom = count(recipients as u64, "recipient", "recipients");
    let text = match &identity {
        Some(identity) => format!("From the client {identity}, for {whom}."),
        None => format!("For {whom}."),
    };
    let step = |title: &str, text: String| Step { at: accepted_at, grade: Grade::Good, title: title.to_owned(), text, words: None, facts: Vec::new() };
    let mut steps = vec![step("Accepted", text)];
    if let Some(domain) = domain {
        steps.push(Step { facts: seals(known), ..step("Sealed", format!("With the keys of {domain}, and written to disk before the client got its 250.")) });
    }
    steps.extend(known.events.iter().filter(|event| event.news.recipient.is_none() && event.news.kind != Kind::Accepted).map(|event| self::step(&event.news)));
    steps
}

/// The keys of the seal, while the mail waits.
fn seals(known: &Known) -> Vec<(&'static str, String)> {
    let Some(Ok(mail)) = known.shown.as_ref().map(|shown| shown.mail.as_ref()) else { return Vec::new() };
    let mut keys: Vec<String> = mail.seal.fields.iter().filter_map(|field| field.key.clone()).collect();
    keys.sort();
    keys.dedup();
    keys.into_iter().map(|key| ("key", key)).collect()
}

fn facts(known: &Known) -> Vec<(&'static str, String)> {
    let about = known.events.first().map(|event| &event.news.about);
    let entry = known.shown.as_ref().and_then(|shown| shown.recipients.first());
    let history = known.history.as_ref();
    let some = |text: Option<String>| text.filter(|text| !text.is_empty());
    let message_id = about
        .and_then(|about| about.message_id.clone())
        .or_else(|| entry.map(|entry| entry.message_id.clone()))
        .or_else(|| history.map(|history| history.message_id.clone()));
    let stream = about.and_then(|about| about.stream.clone()).or_else(|| history.map(|history| history.stream.to_string()));
    let track_id = about.and_then(|about| about.track_id.clone()).or_else(|| history.and_then(|history| history.track_id.clone()));
    let tag = about.and_then(|about| about.tag.clone()).or_else(|| history.and_then(|history| history.tag.clone()));
    let author_domain = about.and_then(|about| about.author_domain.clone());
    let all = [
        ("Message-ID", some(message_id)),
        ("Author domain", some(author_domain)),
        ("Stream", some(stream)),
        ("Track id", some(track_id)),
        ("Tag", some(tag)),
        ("Route", entry.map(|entry| entry.queue.parts().0.to_owned())),
        ("Size", entry.map(|entry| octets(entry.octets))),
        ("All settled", history.and_then(|history| history.closed_at).map(Timestamp::to_rfc3339)),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

const fn is_open(state: State) -> bool {
    matches!(state, State::Waiting | State::Leased | State::Held | State::Quarantined)
}

fn acts(entries: &[Entry]) -> Vec<Act> {
    let any = |wanted: fn(State) -> bool| entries.iter().any(|entry| wanted(entry.state));
    let all = [
        (Act::Retry, any(|state| matches!(state, State::Waiting))),
        (Act::Hold, any(|state| matches!(state, State::Waiting))),
        (Act::Release, any(|state| matches!(state, State::Held))),
        (Act::Cancel, any(|state| matches!(state, State::Waiting | State::Held | State::Quarantined))),
    ];
    all.into_iter().filter(|(_, possible)| *possible).map(|(act, _)| act).collect()
}
