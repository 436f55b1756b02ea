//! The contract of [`Homecomings`], clause by clause: what comes home is there with all that it tells, or not at all.

use super::contract::{Engine, Full, Sqlite};
use super::samples::*;
use postseal::mail::Timestamp;
use postseal::mail::suppression::{Suppression, Why};
use postseal::seal::{Kind, Plan, Seal, Sealed};
use postseal::spool::control::{Order, Selection, State};
use postseal::spool::journal::{About, Class, Filter, Journal, Kind as News, News as Told};
use postseal::spool::{CameHome, Control, Ending, Homebound, Homecoming, Homecomings, How, Records, Spent, Spool, SpoolError, Suppressions, Tidings};

const DAY: i64 = 86_400;

/// A returned mail for `app@x.example`.
fn bound(number: u64) -> Sealed {
    let returned = Sealed { kind: Kind::Returned, original_reverse_path: null(), seal: Seal::bare(Plan::default()), ..mail(number, &["app@x.example"]) };
    Sealed { expires_at: at(5 * DAY), ..returned }
}

fn homecoming(number: u64, seconds: i64) -> Homecoming {
    let mails = vec![Homebound { mail: bound(number), kept: None }];
    Homecoming { id: id(number), at: at(seconds), octets: 100, mails, spent: vec![spent(7)], tidings: vec![bounced(1, "gone@y.example"), returned(1)] }
}

fn spent(token: u64) -> Spent {
    Spent { token, messages_max: 3, octets_max: 1000 }
}

fn bounced(of: u64, recipient: &str) -> Tidings {
    Tidings { news: news(of, News::Bounced, recipient), once: true, suppression: None }
}

fn returned(of: u64) -> Tidings {
    Tidings { news: news(of, News::Returned, "gone@y.example"), once: false, suppression: None }
}

fn news(of: u64, kind: News, recipient: &str) -> Told {
    Told { at: at(1), kind, mail: id(of), recipient: Some(mailbox(recipient)), about: About::default() }
}

async fn told(spool: &impl Journal) -> Vec<String> {
    let events = spool.events(0, Filter::default(), many(100)).await.unwrap().events;
    events.iter().map(|event| format!("{} {}", event.news.mail.number(), event.news.kind)).collect()
}

async fn home(spool: &impl Homecomings, homecoming: Homecoming) -> CameHome {
    spool.come_home(homecoming).await.unwrap()
}

async fn held(spool: &impl Control, seconds: i64) -> Vec<String> {
    let selection = Selection { state: Some(State::Held), ..Selection::default() };
    let listed = spool.list(&selection, None, many(100), at(seconds)).await.unwrap();
    listed.entries.iter().map(|entry| format!("{} {}: {}", entry.mail.number(), entry.recipient, entry.last.as_ref().map_or("", |last| &last.text))).collect()
}

async fn what_comes_home_is_due_and_told_after_a_restart(engine: impl Full) {
    let spool = engine.open(0);
    let came = home(&spool, homecoming(2, 0)).await;
    assert_eq!((came.receipt.id(), came.told), (id(2), vec![true, true]));
    spool.close().await;
    let spool = engine.open(1);
    assert_eq!(told(&spool).await, ["2 mail.accepted", "1 mail.bounced", "1 mail.returned"]);
    let lease = claim_one(&spool, "x.example", 1).await;
    assert_eq!((lease.mail.kind, &lease.mail.original_reverse_path), (Kind::Returned, &null()));
    let events = spool.events(0, Filter { submissions: true, ..Filter::default() }, many(100)).await.unwrap().events;
    assert!(events.iter().all(|event| event.news.about.class != Some(Class::Returned)) && events.len() == 2, "applications hear of their own mail only");
    let endings = all(&lease, &delivered(2));
    spool.settle(lease, endings, vec![]).await.unwrap();
    assert_eq!(counts(&spool).await, "0 0 0");
}

async fn a_finding_is_told_once_and_a_return_each_time(engine: impl Full) {
    let spool = engine.open(0);
    assert_eq!(home(&spool, homecoming(2, 0)).await.told, [true, true]);
    let again =
        Homecoming { tidings: vec![bounced(1, "GONE@y.example"), bounced(1, "b@y.example"), bounced(3, "gone@y.example"), returned(1)], ..homecoming(4, 5) };
    assert_eq!(home(&spool, again).await.told, [false, true, true, true], "by message and recipient, in any case");
    spool.close().await;
    let spool = engine.open(DAY);
    assert_eq!(home(&spool, homecoming(5, DAY)).await.told, [false, true], "after a restart");
    // What anybody could have written keeps nobody from telling what is proven.
    let proven = || {
        let tidings = bounced(1, "gone@y.example");
        Tidings { news: Told { about: About { proven: Some(true), ..About::default() }, ..tidings.news }, ..tidings }
    };
    let told = home(&spool, Homecoming { spent: vec![], tidings: vec![proven(), proven(), bounced(1, "gone@y.example")], ..homecoming(6, DAY) }).await.told;
    assert_eq!(told, [true, false, false]);
}

async fn a_bounce_address_has_its_fill(engine: impl Full) {
    let spool = engine.open(0);
    for number in 2..=4 {
        home(&spool, homecoming(number, 0)).await;
    }
    let before = told(&spool).await;
    let full = spool.come_home(homecoming(5, 1)).await.unwrap_err();
    assert!(matches!(full, SpoolError::HomeFull { count: 3, octets: 300 }), "{full}");
    // All or nothing: another address that is not full yet gets nothing of it either.
    let two = Homecoming { spent: vec![spent(8), spent(7)], ..homecoming(5, 1) };
    assert!(matches!(spool.come_home(two).await, Err(SpoolError::HomeFull { .. })));
    assert_eq!((told(&spool).await, counts(&spool).await), (before, "3 3 0".to_owned()));
    let heavy = |octets| Homecoming { octets, spent: vec![spent(8)], ..homecoming(5, 1) };
    assert!(matches!(spool.come_home(heavy(1001)).await, Err(SpoolError::HomeFull { count: 0, .. })));
    home(&spool, heavy(1000)).await;
    // Two recipients of one transaction with one address are two.
    let twice = Homecoming { spent: vec![spent(9); 4], ..homecoming(6, 1) };
    assert!(matches!(spool.come_home(twice).await, Err(SpoolError::HomeFull { count: 3, .. })));
    home(&spool, Homecoming { spent: vec![spent(9); 3], ..homecoming(6, 1) }).await;
}

async fn a_number_that_is_taken_is_refused_with_all_of_it(engine: impl Full) {
    let spool = engine.open(0);
    commit(&spool, mail(2, &["a@x.example"])).await;
    for mails in [vec![], vec![Homebound { mail: bound(2), kept: None }]] {
        let refused = spool.come_home(Homecoming { mails, ..homecoming(2, 0) }).await;
        assert!(matches!(refused, Err(SpoolError::IdTaken(taken)) if taken == id(2)), "{refused:?}");
    }
    let second = Homecoming { mails: vec![Homebound { mail: bound(3), kept: None }, Homebound { mail: bound(2), kept: None }], ..homecoming(3, 0) };
    assert!(matches!(spool.come_home(second).await, Err(SpoolError::IdTaken(_))));
    assert_eq!((told(&spool).await, counts(&spool).await), (vec!["2 mail.accepted".to_owned()], "1 1 0".to_owned()));
}

async fn what_nobody_is_to_have_is_told_all_the_same(engine: impl Full) {
    let spool = engine.open(0);
    let came = home(&spool, Homecoming { mails: vec![], ..homecoming(2, 0) }).await;
    assert_eq!((came.receipt.id(), came.told), (id(2), vec![true, true]));
    assert_eq!((told(&spool).await, counts(&spool).await), (vec!["1 mail.bounced".to_owned(), "1 mail.returned".to_owned()], "0 0 0".to_owned()));
}

async fn what_is_kept_waits_for_a_person_and_is_forgotten_at_its_age(engine: impl Full) {
    let spool = engine.open(0);
    let kept = |number| Homebound { mail: bound(number), kept: Some(("a stranger's".to_owned(), at(5 * DAY))) };
    for number in [2, 3] {
        home(&spool, Homecoming { mails: vec![kept(number)], tidings: vec![], spent: vec![], ..homecoming(number, 0) }).await;
    }
    assert_eq!((due(&spool, 20 * DAY).await.as_str(), counts(&spool).await.as_str()), ("", "2 2 0"));
    assert_eq!(held(&spool, 0).await, ["2 app@x.example: a stranger's", "3 app@x.example: a stranger's"]);
    let selection = Selection { ids: vec![id(3)], ..Selection::default() };
    spool.change(&selection, &Order::Release, None, many(10), at(1)).await.unwrap();
    assert_eq!(due(&spool, 1).await, "x.example@1");
    assert_eq!(spool.sweep(at(5 * DAY)).await.unwrap().kept, [], "not before");
    assert_eq!(spool.sweep(at(5 * DAY + 1)).await.unwrap().kept, [id(2)], "what was released is on its way");
    assert_eq!((held(&spool, 15 * DAY).await, counts(&spool).await), (vec![], "1 1 0".to_owned()));
    let expected = ["2 mail.accepted", "2 mail.held", "3 mail.accepted", "3 mail.held", "3 mail.released", "2 mail.cancelled"];
    assert_eq!(told(&spool).await, expected);
    assert!(spool.history(id(2)).await.unwrap().is_some());
}

async fn what_nobody_takes_is_kept_with_their_words(engine: impl Full) {
    let spool = engine.open(0);
    home(&spool, homecoming(2, 0)).await;
    let lease = claim_one(&spool, "x.example", 0).await;
    let kept = How::Kept { evidence: evidence("550 no such mailbox", 1), until: at(DAY) };
    let endings: Vec<Ending> = all(&lease, &kept);
    spool.settle(lease, endings, vec![]).await.unwrap();
    assert_eq!((held(&spool, 2).await, due(&spool, 2).await.as_str()), (vec!["2 app@x.example: 550 no such mailbox".to_owned()], ""));
    spool.close().await;
    let spool = engine.open(3);
    assert_eq!(held(&spool, 3).await.len(), 1, "after a restart");
    // Released, tried again, and refused again.
    spool.change(&Selection { ids: vec![id(2)], ..Selection::default() }, &Order::Release, None, many(10), at(4)).await.unwrap();
    let lease = claim_one(&spool, "x.example", 4).await;
    let endings = all(&lease, &How::Kept { evidence: evidence("550 still none", 5), until: at(2 * DAY) });
    spool.settle(lease, endings, vec![]).await.unwrap();
    assert_eq!(held(&spool, 6).await, ["2 app@x.example: 550 still none"]);
    assert_eq!((spool.sweep(at(DAY + 1)).await.unwrap().kept, spool.sweep(at(2 * DAY + 1)).await.unwrap().kept), (vec![], vec![id(2)]));
    assert_eq!(counts(&spool).await, "0 0 0");
}

async fn an_entry_of_the_suppression_list_comes_with_its_bounce_and_once(engine: impl Full) {
    let spool = engine.open(0);
    let entry = |since: Timestamp| Suppression {
        scope: "example.com".parse().unwrap(),
        recipient: mailbox("gone@y.example"),
        why: Why::Failed(postseal::mail::Reason::UserUnknown),
        since,
        expires_at: Some(since + std::time::Duration::from_secs(100)),
        message: Some(id(1)),
        detail: "550".to_owned(),
    };
    for (number, seconds) in [(2, 0), (3, 50)] {
        let tidings = vec![Tidings { suppression: Some(entry(at(seconds))), ..bounced(1, "gone@y.example") }];
        home(&spool, Homecoming { tidings, ..homecoming(number, seconds) }).await;
    }
    let suppressed =
        spool.suppressed(&"example.com".parse().unwrap(), &postseal::mail::Stream::new("s"), vec![mailbox("gone@y.example")], at(60)).await.unwrap();
    let ends: Vec<_> = suppressed.iter().map(|(_, entry)| entry.expires_at).collect();
    assert_eq!(ends, [Some(at(100))], "what comes again prolongs nothing");
}

async fn counts_and_findings_are_forgotten_with_the_history(engine: impl Full) {
    let spool = engine.open(0);
    home(&spool, homecoming(2, 0)).await;
    assert_eq!(spool.sweep(at(30 * DAY - 1)).await.unwrap().homecomings, 0);
    assert_eq!(spool.sweep(at(31 * DAY)).await.unwrap().homecomings, 2);
    assert_eq!(home(&spool, homecoming(3, 31 * DAY)).await.told, [true, true]);
}

contract! {
    sqlite: super::Sqlite;
    {
        what_comes_home_is_due_and_told_after_a_restart
        a_finding_is_told_once_and_a_return_each_time
        a_bounce_address_has_its_fill
        a_number_that_is_taken_is_refused_with_all_of_it
        what_nobody_is_to_have_is_told_all_the_same
        what_is_kept_waits_for_a_person_and_is_forgotten_at_its_age
        what_nobody_takes_is_kept_with_their_words
        an_entry_of_the_suppression_list_comes_with_its_bounce_and_once
        counts_and_findings_are_forgotten_with_the_history
    }
}
