//! What the page is made of, from plain values: what needs a person, a mail's journey, keys.

use postseal::admin::api::domains::{KeyStanding, WatchStanding};
use postseal::admin::page::journey::{Known, found, journey, mishap};
use postseal::admin::page::matters::{Facts, Paused, Urgency, matters};
use postseal::admin::page::view::{Act, Grade, TripState};
use postseal::admin::page::{domains, queue};
use postseal::keys::{Algorithm, State};
use postseal::mail::{MailId, Mailbox, Reason, ReversePath, Selector, Stream, Timestamp};
use postseal::spool::journal::{About, Event, Kind, News, When};
use postseal::spool::{History, RecipientHistory, SoFar};
use std::time::Duration;

#[test]
fn a_relay_that_is_well_needs_nobody() {
    let now = at(0);
    let far = now + Duration::from_hours(24 * 60);
    let well = Facts { disk: Some((3000, 1000)), suppressions: Some((89, 100)), certificates: vec![("a.pem".to_owned(), Ok(far))], ..Facts::default() };
    assert_eq!(matters(&well, now), []);
    let over = Facts { paused: vec![Paused { provider: "google".to_owned(), until: now, waiting: 3, words: None }], ..Facts::default() };
    assert_eq!(matters(&over, now), [], "a pause that is over");
}

#[test]
fn every_fact_that_needs_a_person_is_a_matter_with_a_remedy() {
    let now = at(0);
    let text = || "x".to_owned();
    let facts = [
        (Facts { refusing: Some(text()), ..Facts::default() }, Urgency::Now),
        (Facts { spool_held: true, ..Facts::default() }, Urgency::Now),
        (Facts { commits_lost: 1, ..Facts::default() }, Urgency::Now),
        (Facts { quarantined: 1, ..Facts::default() }, Urgency::Now),
        (Facts { held: 1, ..Facts::default() }, Urgency::Know),
        (Facts { disk: Some((2999, 1000)), ..Facts::default() }, Urgency::Soon),
        (Facts { suppressions: Some((90, 100)), ..Facts::default() }, Urgency::Soon),
        (Facts { domains_held: vec![("example.com".to_owned(), text())], ..Facts::default() }, Urgency::Now),
        (Facts { keys_doubted: vec![("a._domainkey.example.com".to_owned(), text())], ..Facts::default() }, Urgency::Now),
        (Facts { domains_without_key: vec!["example.com".to_owned()], ..Facts::default() }, Urgency::Now),
        (Facts { keys_waiting: vec![("a._domainkey.example.com".to_owned(), text())], ..Facts::default() }, Urgency::Soon),
        (Facts { paused: vec![Paused { provider: text(), until: at(60), waiting: 1, words: None }], ..Facts::default() }, Urgency::Know),
        (Facts { webhooks: vec![(text(), 1, text())], ..Facts::default() }, Urgency::Soon),
        (Facts { certificates: vec![(text(), Ok(at(-1)))], ..Facts::default() }, Urgency::Now),
        (Facts { certificates: vec![(text(), Ok(at(86_400)))], ..Facts::default() }, Urgency::Soon),
        (Facts { certificates: vec![(text(), Err(text()))], ..Facts::default() }, Urgency::Now),
        (Facts { warnings: vec![text()], ..Facts::default() }, Urgency::Know),
        (Facts { findings: vec![("example.com".to_owned(), "spf".to_owned(), text(), text())], ..Facts::default() }, Urgency::Soon),
    ];
    for (facts, urgency) in facts {
        let list = matters(&facts, now);
        assert_eq!(list.len(), 1, "{facts:?}: {list:?}");
        assert!(list[0].urgency == urgency && !list[0].title.is_empty() && !list[0].why.is_empty() && !list[0].remedy.is_empty(), "{list:?}");
    }
}

#[test]
fn a_domain_that_is_held_is_told_of_once_and_its_neighbours_besides() {
    let facts = Facts {
        domains_held: vec![("example.com".to_owned(), "gone".to_owned())],
        keys_doubted: vec![("a._domainkey.example.com".to_owned(), "gone".to_owned()), ("b._domainkey.news.example.com".to_owned(), "gone".to_owned())],
        ..Facts::default()
    };
    let titles: Vec<String> = matters(&facts, at(0)).into_iter().map(|matter| matter.title).collect();
    assert_eq!(titles, ["Mail of example.com waits for its key record", "The record of a key of news.example.com is gone or changed"]);
}

#[test]
fn a_journey_begins_with_the_client_and_ends_where_the_mail_did() {
    let events = vec![
        event(
            1,
            0,
            Kind::Accepted,
            "a@example.net",
            About { identity: Some("shop".to_owned()), author_domain: Some("example.com".to_owned()), ..About::default() },
        ),
        event(2, 0, Kind::Accepted, "b@example.net", About::default()),
        event(3, 1, Kind::Deferred, "a@example.net", said("421 4.7.28 too fast", Reason::RateLimited)),
        event(
            4,
            1,
            Kind::Delivered,
            "b@example.net",
            About { reply: Some("250 2.0.0 ok".to_owned()), host: Some("mx.example.net".to_owned()), ..About::default() },
        ),
    ];
    let journey = journey(id(), &Known { events, history: Some(history(SoFar::Waiting, SoFar::Delivered)), shown: None }).unwrap();
    assert_eq!((journey.from.as_str(), journey.accepted_at, journey.recipients_all), ("app@example.com", at(0), 2));
    assert_eq!(journey.steps[0].text, "From the client shop, for 2 recipients.");
    assert!(journey.steps[1].text.starts_with("With the keys of example.com"), "{:?}", journey.steps[1]);
    let [a, b] = &journey.recipients[..] else { panic!("{:?}", journey.recipients) };
    assert_eq!((a.state, b.state), (TripState::Waiting, TripState::Delivered));
    assert_eq!(a.steps[0].words.as_ref().map(|words| (words.reply.as_str(), words.reason)), Some(("421 4.7.28 too fast", Some(Reason::RateLimited))));
    assert_eq!((a.next_at, b.next_at), (Some(at(1800)), None));
    assert_eq!(journey.acts, [] as [Act; 0], "nothing can be done to what the spool does not show");
}

#[test]
fn a_bounce_that_comes_home_later_ends_a_journey_that_had_ended_well() {
    let returned = About { when: Some(When::Returned), status: Some("5.1.1".to_owned()), error: Some("no such user".to_owned()), ..About::default() };
    let events = vec![event(1, 1, Kind::Delivered, "b@example.net", About::default()), event(2, 60, Kind::Bounced, "b@example.net", returned)];
    let journey = journey(id(), &Known { events, history: Some(history(SoFar::Failed, SoFar::Delivered)), shown: None }).unwrap();
    let late = journey.recipients.iter().find(|trip| trip.recipient == "b@example.net").unwrap();
    assert_eq!((late.state, late.steps[1].title.as_str(), late.steps[1].grade), (TripState::Failed, "Bounced back", Grade::Bad));
}

#[test]
fn of_what_nobody_knows_there_is_no_journey() {
    assert_eq!(journey(id(), &Known::default()), None);
}

#[test]
fn only_what_did_not_go_well_is_a_mishap() {
    let deferred = event(1, 0, Kind::Deferred, "a@example.net", said("450 4.2.0 grey", Reason::RateLimited));
    assert_eq!(mishap(&deferred).map(|mishap| (mishap.failed, mishap.words.reply)), Some((false, "450 4.2.0 grey".to_owned())));
    assert_eq!(mishap(&event(2, 0, Kind::Bounced, "a@example.net", About::default())), None, "nothing was said");
    assert_eq!(mishap(&event(3, 0, Kind::Delivered, "a@example.net", said("250 ok", Reason::Content))), None);
    assert_eq!(found(&deferred).title, "Deferred");
}

#[test]
fn keys_in_use_come_first_and_removed_ones_not_at_all() {
    let keys = [key("c", State::Removed, 0), key("a", State::Retiring, 10), key("b", State::Active, 100)];
    let half_a_year = Some(Duration::from_hours(180 * 24));
    let views = domains::keys(&keys, half_a_year, &|_| None, at(100));
    assert_eq!(views.iter().map(|view| view.selector.as_str()).collect::<Vec<_>>(), ["b", "a"]);
    assert_eq!(views[0].next, "rotates in 180 days");
    assert_eq!(views[0].dns, Some((false, "no record".to_owned())));
    let waits = domains::keys(&keys, None, &|_| Some("it waits for the queue".to_owned()), at(100));
    assert_eq!(waits[1].next, "it waits for the queue");
    assert_eq!(domains::rotated_at(&keys), Some(at(100)));
    assert_eq!(domains::rotated_at(&keys[2..]), None, "the first key replaced nobody");
}

#[test]
fn hosts_that_nobody_claims_are_told_by_domain() {
    let sum = |key: Option<&str>, recipients| postseal::spool::control::Group {
        key: key.map(str::to_owned),
        mails: recipients,
        recipients,
        leased: 0,
        held: 0,
        quarantined: 0,
        oldest: at(0),
        next_at: None,
        last: None,
    };
    let groups = queue::groups(
        vec![sum(Some("google"), 5), sum(Some("other"), 9), sum(None, 2)],
        vec![sum(Some("a.example"), 8), sum(Some("b.example"), 1)],
        &queue::Pace::default(),
    );
    let told: Vec<(&str, u64)> = groups.iter().map(|group| (group.name.as_str(), group.recipients)).collect();
    assert_eq!(told, [("a.example", 8), ("google", 5), ("untried", 2), ("b.example", 1)]);
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_seconds(1_795_310_280 + seconds)
}

fn id() -> MailId {
    "0v5rgk04qa".parse().unwrap()
}

fn mailbox(text: &str) -> Mailbox {
    text.parse().unwrap()
}

fn event(number: u64, seconds: i64, kind: Kind, recipient: &str, about: About) -> Event {
    Event { number, news: News { at: at(seconds), kind, mail: id(), recipient: Some(mailbox(recipient)), about } }
}

fn said(reply: &str, reason: Reason) -> About {
    About { reply: Some(reply.to_owned()), reason: Some(reason.to_string()), next_at: Some(at(1800).unix_millis()), ..About::default() }
}

fn history(a: SoFar, b: SoFar) -> History {
    let recipient = |address: &str, outcome| RecipientHistory {
        mailbox: mailbox(address),
        outcome,
        status: None,
        text: None,
        remote: None,
        provider: None,
        reason: None,
        at: None,
    };
    History {
        id: id(),
        accepted_at: at(0),
        closed_at: None,
        stream: Stream::new("default"),
        original_reverse_path: ReversePath::Mailbox(mailbox("app@example.com")),
        message_id: "<1@example.com>".to_owned(),
        track_id: None,
        tag: None,
        envid: None,
        signing_domain: None,
        identity: None,
        recipients: vec![recipient("a@example.net", a), recipient("b@example.net", b)],
    }
}

fn key(selector: &str, state: State, active: i64) -> KeyStanding {
    KeyStanding {
        selector: Selector::new(selector),
        name: format!("{selector}._domainkey.example.com"),
        algorithm: Algorithm::Rsa,
        state,
        since: at(active),
        born_at: at(active),
        active_at: Some(at(active)),
        watch: (state == State::Active).then(|| WatchStanding { seen: true, loss: Some("no record".to_owned()), suspended: false }),
    }
}
