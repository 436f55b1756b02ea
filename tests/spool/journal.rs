//! The contract of [`Journal`], clause by clause: an event is there if and only if what it tells is.

use super::contract::{EVENTS_MAX, Engine, Full, KEEP_DAYS, Sqlite};
use super::samples::*;
use postseal::mail::outcome::Remote;
use postseal::mail::{EnhancedCode, Evidence, Reason, RemoteReply};
use postseal::seal::{Kind as SealKind, Sealed};
use postseal::spool::journal::{About, Class, Event, Filter, Journal, Kind, News, When};
use postseal::spool::{Ending, How, Meaning, Records, Spool};

/// `1 mail.accepted a@x.example` …: all events there are, by page.
async fn told(spool: &impl Journal) -> Vec<String> {
    lines(&all_events(spool, Filter::default()).await)
}

async fn all_events(spool: &impl Journal, filter: Filter) -> Vec<Event> {
    let (mut events, mut after) = (Vec::new(), 0);
    loop {
        let page = spool.events(after, filter.clone(), many(7)).await.unwrap();
        events.extend(page.events);
        after = page.to;
        if !page.more {
            return events;
        }
    }
}

fn lines(events: &[Event]) -> Vec<String> {
    let recipient = |news: &News| news.recipient.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
    events.iter().map(|event| format!("{} {} {}", event.number, event.news.kind, recipient(&event.news))).collect()
}

fn news(number: u64, kind: Kind, recipient: &str) -> News {
    News { at: at(5), kind, mail: id(number), recipient: Some(mailbox(recipient)), about: About::default() }
}

async fn the_journey_of_a_mail_is_told_in_order(engine: impl Full) {
    let spool = engine.open(0);
    commit(&spool, mail(1, &["a@x.example", "b@x.example"])).await;
    let lease = claim_one(&spool, "x.example", 0).await;
    let endings = vec![Ending::of(1, delivered(1)), Ending::of(0, deferred(1, 100))];
    spool.settle(lease, endings, vec![]).await.unwrap();
    let lease = claim_one(&spool, "x.example", 100).await;
    let endings = all(&lease, &failed(101));
    spool.settle(lease, endings, vec![Sealed { kind: SealKind::Notice, ..mail(2, &["app@home.example"]) }]).await.unwrap();
    let expected = [
        "1 mail.accepted a@x.example",
        "2 mail.accepted b@x.example",
        "3 mail.delivered b@x.example",
        "4 mail.deferred a@x.example",
        "5 mail.bounced a@x.example",
        "6 mail.accepted app@home.example",
    ];
    assert_eq!(told(&spool).await, expected);
    assert_eq!(*spool.last().borrow(), 6);
    spool.close().await;
    let spool = engine.open(200);
    assert_eq!(told(&spool).await, expected, "after a restart");
    commit(&spool, mail(3, &["c@x.example"])).await;
    assert_eq!(told(&spool).await.last().unwrap(), "7 mail.accepted c@x.example", "numbers go on");
}

async fn an_event_has_every_fact_of_its_mail_and_of_its_ending(engine: impl Full) {
    let spool = engine.open(0);
    commit(&spool, mail(1, &["a@x.example"])).await;
    let lease = claim_one(&spool, "x.example", 0).await;
    let evidence = Evidence {
        status: EnhancedCode::new(5, 1, 1),
        reply: Some(RemoteReply { code: 550, enhanced: "5.1.1".parse().ok(), lines: vec!["no such user".to_owned()] }),
        text: "said so".to_owned(),
        remote: Some(Remote { host: "mx.x.example".to_owned(), address: "192.0.2.1:25".parse().unwrap() }),
        tls: None,
        unknown_end: false,
        at: at(9),
    };
    let meaning = Meaning { provider: "google".into(), reason: Some(Reason::UserUnknown), permanent: true };
    let ending = Ending { meaning: Some(meaning), ..Ending::of(0, How::Failed(evidence)) };
    spool.settle(lease, vec![ending], vec![]).await.unwrap();
    let text = |text: &str| Some(text.to_owned());
    let of_mail = About {
        message_id: text("<1@example.com>"),
        track_id: text("order-7"),
        envid: text("QQ314159"),
        tag: text("receipt"),
        stream: text("transactional"),
        identity: text("shop"),
        author_domain: text("example.com"),
        ..About::default()
    };
    let events = all_events(&spool, Filter::default()).await;
    assert_eq!(events[0].news, News { at: at(0), about: of_mail.clone(), ..news(1, Kind::Accepted, "a@x.example") });
    let of_ending = About {
        provider: text("google"),
        host: text("mx.x.example"),
        status: text("5.1.1"),
        reply: text("550 5.1.1 no such user"),
        error: text("said so"),
        reason: text("user-unknown"),
        permanent: Some(true),
        attempts: Some(1),
        when: Some(When::Delivery),
        ..of_mail
    };
    assert_eq!(events[1].news, News { at: at(9), about: of_ending, ..news(1, Kind::Bounced, "a@x.example") });
}

async fn a_deferral_says_when_it_goes_on(engine: impl Full) {
    let spool = engine.open(0);
    commit(&spool, mail(1, &["a@x.example"])).await;
    for (attempt, seconds) in [(1, 0), (2, 100)] {
        let lease = claim_one(&spool, "x.example", seconds).await;
        let endings = all(&lease, &deferred(seconds + 1, seconds + 100));
        spool.settle(lease, endings, vec![]).await.unwrap();
        let events = all_events(&spool, Filter { kinds: vec![Kind::Deferred], ..Filter::default() }).await;
        let about = &events.last().unwrap().news.about;
        assert_eq!((about.attempts, about.next_at), (Some(attempt), Some(at(seconds + 100).unix_millis())));
    }
}

async fn what_did_not_happen_is_not_told(engine: impl Full) {
    let spool = engine.open(0);
    commit(&spool, mail(1, &["a@x.example"])).await;
    let batch = vec![mail(5, &["b@y.example"]), mail(1, &["c@z.example"])];
    assert!(spool.commit(batch).await.is_err(), "an id is taken");
    let lost = claim_one(&spool, "x.example", 0).await;
    let lease = claim_one(&spool, "x.example", 600).await;
    let endings = all(&lost, &delivered(601));
    assert!(spool.settle(lost, endings, vec![mail(7, &["app@home.example"])]).await.is_err(), "the lease ran out");
    let endings = all(&lease, &How::Released { next_at: at(700) });
    spool.settle(lease, endings, vec![]).await.unwrap();
    assert_eq!(told(&spool).await, ["1 mail.accepted a@x.example"]);
}

async fn a_notice_is_known_as_one(engine: impl Full) {
    let spool = engine.open(0);
    commit(&spool, mail(1, &["a@x.example"])).await;
    commit(&spool, Sealed { kind: SealKind::Notice, ..mail(2, &["app@home.example"]) }).await;
    let events = all_events(&spool, Filter::default()).await;
    assert_eq!(events.iter().map(|event| event.news.about.class).collect::<Vec<_>>(), [None, Some(Class::Notice)]);
    let submissions = all_events(&spool, Filter { submissions: true, ..Filter::default() }).await;
    assert_eq!(lines(&submissions), ["1 mail.accepted a@x.example"]);
}

async fn what_happens_elsewhere_is_told_too(engine: impl Full) {
    let spool = engine.open(0);
    let whole = News { recipient: None, ..news(1, Kind::Returned, "a@x.example") };
    spool.tell(vec![news(1, Kind::Complained, "a@x.example"), whole]).await.unwrap();
    assert_eq!(told(&spool).await, ["1 mail.complained a@x.example", "2 mail.returned -"]);
}

async fn events_are_filtered(engine: impl Full) {
    let spool = engine.open(0);
    for number in 1..=3 {
        commit(&spool, mail(number, &["a@x.example", "B@x.example"])).await;
    }
    commit(&spool, Sealed { signing_domain: "example.org".parse().unwrap(), track_id: Some("t".to_owned()), ..mail(4, &["c@x.example"]) }).await;
    let later = News { at: at(50), ..news(2, Kind::Bounced, "a@x.example") };
    spool.tell(vec![later]).await.unwrap();
    let mut checked = 0;
    for (filter, expected) in [
        (Filter { kinds: vec![Kind::Bounced], ..Filter::default() }, "8"),
        (Filter { kinds: vec![Kind::Bounced, Kind::Accepted], mail: Some(id(2)), ..Filter::default() }, "3 4 8"),
        (Filter { recipient: Some(mailbox("b@x.example")), ..Filter::default() }, "2 4 6"),
        (Filter { recipient: Some(mailbox("A@X.example")), mail: Some(id(2)), ..Filter::default() }, "3 8"),
        (Filter { author_domains: vec!["example.org".parse().unwrap()], ..Filter::default() }, "7"),
        (Filter { track_id: Some("t".to_owned()), ..Filter::default() }, "7"),
        (Filter { since: Some(at(50)), ..Filter::default() }, "8"),
        (Filter { since: Some(at(51)), ..Filter::default() }, ""),
    ] {
        let numbers: Vec<String> = all_events(&spool, filter.clone()).await.iter().map(|event| event.number.to_string()).collect();
        assert_eq!(numbers.join(" "), expected, "{filter:?}");
        checked += 1;
    }
    assert_eq!(checked, 8);
}

async fn the_mails_to_an_address_are_found_the_newest_first(engine: impl Full) {
    let spool = engine.open(0);
    for number in 1..=3 {
        commit(&spool, mail(number, &["Anna@x.example", "b@x.example"])).await;
    }
    let lease = claim(&spool, "x.example", 0).await.remove(0);
    let endings = all(&lease, &delivered(1));
    spool.settle(lease, endings, vec![]).await.unwrap();
    let anna = mailbox("anna@X.example");
    let mails = |events: &[Event]| events.iter().map(|event| format!("{} {}", event.news.mail, event.news.kind)).collect::<Vec<_>>();
    let page = spool.mails_to(&anna, None, many(2)).await.unwrap();
    assert_eq!(mails(&page), ["0000000001 mail.delivered", "0000000003 mail.accepted"], "the last to have had news first");
    let rest = spool.mails_to(&anna, Some(page[1].number), many(2)).await.unwrap();
    assert_eq!(mails(&rest), ["0000000002 mail.accepted"]);
    assert_eq!(spool.mails_to(&mailbox("nobody@x.example"), None, many(2)).await.unwrap(), []);
}

async fn a_time_leads_to_a_number(engine: impl Full) {
    const HOUR: i64 = 3600;
    let spool = engine.open(0);
    assert_eq!(spool.number_before(at(0)).await.unwrap(), 0, "an empty journal");
    for number in 1..=50 {
        let news = News { at: at(i64::try_from(number).unwrap() * HOUR), ..news(number, Kind::Bounced, "a@x.example") };
        spool.tell(vec![news]).await.unwrap();
    }
    for (seconds, number) in [(-1, 0), (HOUR, 0), (20 * HOUR, 19), (20 * HOUR + 1800, 20), (50 * HOUR, 49), (60 * HOUR, 50)] {
        assert_eq!(spool.number_before(at(seconds)).await.unwrap(), number, "{seconds}");
    }
}

async fn there_are_no_more_events_than_allowed(engine: impl Full) {
    let spool = engine.open(0);
    for number in 1..=EVENTS_MAX {
        spool.tell(vec![news(number, Kind::Bounced, "a@x.example")]).await.unwrap();
    }
    let page = spool.events(0, Filter::default(), many(1000)).await.unwrap();
    assert_eq!((page.events.len() as u64, page.erased), (EVENTS_MAX, 0), "as many as allowed");
    spool.tell(vec![news(EVENTS_MAX + 1, Kind::Bounced, "a@x.example")]).await.unwrap();
    let page = spool.events(0, Filter::default(), many(1000)).await.unwrap();
    let first = page.events[0].number;
    assert!(first > 1 && page.erased == first - 1, "{} from {first} on", page.erased);
    assert_eq!(page.events.last().unwrap().number, EVENTS_MAX + 1);
    assert_eq!(spool.events(first - 1, Filter::default(), many(1)).await.unwrap().erased, 0, "nothing behind it is gone");
    for number in 1..=3 * EVENTS_MAX {
        spool.tell(vec![news(number, Kind::Bounced, "a@x.example")]).await.unwrap();
        let kept = spool.events(0, Filter::default(), many(1000)).await.unwrap().events.len() as u64;
        assert!(kept <= EVENTS_MAX && kept > EVENTS_MAX / 2, "{kept}");
    }
}

async fn events_are_forgotten_when_they_are_old(engine: impl Full) {
    const DAY: i64 = 86_400;
    let spool = engine.open(0);
    let keep = i64::from(KEEP_DAYS) * DAY;
    for (number, seconds) in [(1, 0), (2, 10), (3, DAY)] {
        spool.tell(vec![News { at: at(seconds), ..news(number, Kind::Bounced, "a@x.example") }]).await.unwrap();
    }
    assert_eq!(spool.sweep(at(keep)).await.unwrap().events, 0);
    assert_eq!(spool.sweep(at(keep + 11)).await.unwrap().events, 2);
    assert_eq!(told(&spool).await, ["3 mail.bounced a@x.example"]);
    assert_eq!(spool.sweep(at(2 * keep)).await.unwrap().events, 1);
    let page = spool.events(0, Filter::default(), many(9)).await.unwrap();
    assert_eq!((page.events.len(), page.to, page.erased), (0, 3, 3));
    spool.close().await;
    let spool = engine.open(1);
    spool.tell(vec![news(4, Kind::Bounced, "a@x.example")]).await.unwrap();
    assert_eq!(told(&spool).await, ["4 mail.bounced a@x.example"], "no number comes twice");
}

async fn a_reader_goes_on_where_it_was(engine: impl Full) {
    let spool = engine.open(0);
    spool.tell(vec![news(1, Kind::Bounced, "a@x.example"), news(2, Kind::Bounced, "a@x.example")]).await.unwrap();
    assert_eq!(spool.cursor("crm").await.unwrap(), 2, "a new reader begins at the end");
    spool.tell(vec![news(3, Kind::Bounced, "a@x.example"), news(4, Kind::Bounced, "a@x.example")]).await.unwrap();
    assert_eq!(spool.cursor("crm").await.unwrap(), 2);
    spool.confirm("crm", 3).await.unwrap();
    spool.confirm("crm", 1).await.unwrap();
    spool.close().await;
    let spool = engine.open(1);
    assert_eq!(spool.cursor("crm").await.unwrap(), 3, "it never goes back");
    spool.confirm("crm", 99).await.unwrap();
    assert_eq!(spool.cursor("crm").await.unwrap(), 4, "nor past the end");
    assert_eq!(spool.cursor("other").await.unwrap(), 4);
    spool.forget_cursors_but(vec!["other".to_owned()]).await.unwrap();
    spool.tell(vec![news(5, Kind::Bounced, "a@x.example")]).await.unwrap();
    assert_eq!((spool.cursor("crm").await.unwrap(), spool.cursor("other").await.unwrap()), (5, 4));
}

async fn followers_are_told_when_it_is_there(engine: impl Full) {
    let spool = engine.open(0);
    let mut last = spool.last();
    assert_eq!(*last.borrow_and_update(), 0);
    commit(&spool, mail(1, &["a@x.example", "b@x.example"])).await;
    last.changed().await.unwrap();
    let number = *last.borrow_and_update();
    assert_eq!((number, told(&spool).await.len()), (2, 2));
}

async fn a_journal_that_is_off_writes_nothing(engine: impl Full) {
    let spool = engine.open_without_journal(0);
    commit(&spool, mail(1, &["a@x.example"])).await;
    let lease = claim_one(&spool, "x.example", 0).await;
    let endings = all(&lease, &delivered(1));
    spool.settle(lease, endings, vec![]).await.unwrap();
    spool.tell(vec![news(1, Kind::Complained, "a@x.example")]).await.unwrap();
    assert_eq!(told(&spool).await, [""; 0]);
}

contract! {
    sqlite: super::Sqlite;
    {
        the_journey_of_a_mail_is_told_in_order
        an_event_has_every_fact_of_its_mail_and_of_its_ending
        a_deferral_says_when_it_goes_on
        what_did_not_happen_is_not_told
        a_notice_is_known_as_one
        what_happens_elsewhere_is_told_too
        events_are_filtered
        the_mails_to_an_address_are_found_the_newest_first
        a_time_leads_to_a_number
        there_are_no_more_events_than_allowed
        events_are_forgotten_when_they_are_old
        a_reader_goes_on_where_it_was
        followers_are_told_when_it_is_there
        a_journal_that_is_off_writes_nothing
    }
}
