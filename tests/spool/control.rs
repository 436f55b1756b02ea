//! The contract of [`Control`], clause by clause; `contract.rs` runs it on every engine.

use super::contract::Full;
use super::samples::*;
use postseal::mail::outcome::Remote;
use postseal::mail::{Evidence, IdentityName, Reason, RouteName, Stream};
use postseal::seal::{Kind, Sealed};
use postseal::spool::control::{By, Cursor, Group, IDS_MAX, ORDER_ROWS_MAX, Order, Selection, SenderIs, State};
use postseal::spool::{Control, How, Meaning, Queue, Records, SoFar, Spool};
use std::collections::BTreeMap;

pub async fn a_list_shows_what_waits_and_the_last_words(engine: impl Full) {
    let spool = engine.open(0);
    commit(&spool, mail(1, &["a@x.example", "b@y.example"])).await;
    try_once(&spool, "x.example", 10, "google", Reason::RateLimited).await;
    let listed = spool.list(&Selection::default(), None, many(10), at(20)).await.unwrap();
    assert_eq!(listed.next, None);
    assert_eq!(rows(&listed.entries), "1/0 a@x.example waiting mx/x.example@310 +1; 1/1 b@y.example waiting mx/y.example@0");
    let (tried, fresh) = (&listed.entries[0], &listed.entries[1]);
    let last = tried.last.as_ref().unwrap();
    assert_eq!((last.status.as_str(), last.text.as_str(), last.at), ("4.7.28", "451 later", at(10)));
    assert_eq!((last.provider.as_deref(), last.host.as_deref(), last.reason.as_deref()), (Some("google"), Some("mx.x.example"), Some("rate-limited")));
    assert_eq!(last.remote.as_deref(), Some("mx.x.example [192.0.2.1:25]"));
    assert_eq!((fresh.last.as_ref(), fresh.accepted_at, fresh.expires_at), (None, at(0), at(5 * 86_400)));
    assert_eq!((fresh.sender.as_str(), fresh.author_domain.as_str(), fresh.stream.as_str()), ("app@example.com", "example.com", "transactional"));
    assert_eq!((fresh.identity.as_str(), fresh.message_id.as_str(), fresh.octets > 100), ("shop", "<1@example.com>", true));
    let _lease = claim_one(&spool, "y.example", 20).await;
    assert_eq!(listing(&spool, &Selection::default(), 20).await, "1/0 a@x.example waiting mx/x.example@310 +1; 1/1 b@y.example leased mx/y.example@620");
    assert_eq!(listing(&spool, &Selection::default(), 620).await, "1/0 a@x.example waiting mx/x.example@310 +1; 1/1 b@y.example waiting mx/y.example@620");
}

pub async fn every_field_of_a_selection_narrows_it(engine: impl Full) {
    let spool = engine.open(0);
    commit(&spool, mail(1, &["a@x.example", "b@y.example"])).await;
    let mut other = Sealed { stream: Stream::new("bulk"), identity: IdentityName::new("crm"), accepted_at: at(100), ..mail(2, &["c@x.example"]) };
    other.original_reverse_path = mailbox("Crm@sub.example.org").into();
    other.signing_domain = "example.org".parse().unwrap();
    other.route = RouteName::new("ses");
    commit(&spool, other).await;
    commit(&spool, Sealed { original_reverse_path: null(), ..mail(3, &["d@z.example"]) }).await;
    try_once(&spool, "x.example", 1, "google", Reason::RateLimited).await;
    try_once(&spool, "y.example", 1, "other", Reason::MailboxFull).await;
    let all = Selection::default;
    let table: Vec<(&str, Selection, &str)> = vec![
        ("everything", all(), "1/0 1/1 2/0 3/0"),
        ("ids", Selection { ids: vec![id(3), id(1)], ..all() }, "1/0 1/1 3/0"),
        ("an id that is not there", Selection { ids: vec![id(9)], ..all() }, ""),
        ("recipient", Selection { recipient: Some("A@X.example".into()), ..all() }, "1/0"),
        ("domain", Selection { domain: Some("x.example".parse().unwrap()), ..all() }, "1/0 2/0"),
        ("route", Selection { route: Some(RouteName::new("ses")), ..all() }, "2/0"),
        ("queue", Selection { queue: Some(queue("x.example")), ..all() }, "1/0"),
        ("provider", Selection { provider: Some("Google".into()), ..all() }, "1/0"),
        ("host", Selection { host: Some("MX.y.example".into()), ..all() }, "1/1"),
        ("sender", Selection { sender: Some(SenderIs::Mailbox("crm@sub.example.org".into())), ..all() }, "2/0"),
        ("sender's domain", Selection { sender: Some(SenderIs::Of("example.com".parse().unwrap())), ..all() }, "1/0 1/1"),
        ("null sender", Selection { sender: Some(SenderIs::Null), ..all() }, "3/0"),
        ("author domain", Selection { author_domain: Some("example.org".parse().unwrap()), ..all() }, "2/0"),
        ("stream", Selection { stream: Some(Stream::new("bulk")), ..all() }, "2/0"),
        ("identity", Selection { identity: Some(IdentityName::new("crm")), ..all() }, "2/0"),
        ("reason", Selection { reason: Some(Reason::MailboxFull), ..all() }, "1/1"),
        ("status", Selection { status: Some("4.7".parse().unwrap()), ..all() }, "1/0 1/1"),
        ("another status", Selection { status: Some("4.72".parse().unwrap()), ..all() }, ""),
        ("accepted before", Selection { accepted_before: Some(at(100)), ..all() }, "1/0 1/1 3/0"),
        ("accepted since", Selection { accepted_since: Some(at(100)), ..all() }, "2/0"),
        ("state", Selection { state: Some(State::Held), ..all() }, ""),
        ("two fields", Selection { provider: Some("google".into()), reason: Some(Reason::MailboxFull), ..all() }, ""),
        ("three that fit", Selection { ids: vec![id(1)], state: Some(State::Waiting), provider: Some("other".into()), ..all() }, "1/1"),
    ];
    for (what, selection, expected) in table {
        assert_eq!(names(&spool, &selection).await, expected, "{what}");
    }
}

pub async fn a_walk_goes_page_by_page_to_what_was_there_when_it_began(engine: impl Full) {
    let spool = engine.open(0);
    for number in 1..=5 {
        commit(&spool, mail(number, &["a@x.example", "b@x.example"])).await;
    }
    let (mut seen, mut after, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = spool.list(&Selection::default(), after, many(3), at(1)).await.unwrap();
        assert!(page.entries.len() <= 3);
        seen.extend(page.entries.iter().map(|entry| format!("{}/{}", entry.mail.number(), entry.index)));
        pages += 1;
        // As a client hands it back.
        after = page.next.map(|cursor| cursor.to_string().parse::<Cursor>().unwrap());
        if after.is_none() {
            break;
        }
        commit(&spool, mail(100 + pages, &["late@x.example"])).await;
    }
    assert_eq!(seen, ["1/0", "1/1", "2/0", "2/1", "3/0", "3/1", "4/0", "4/1", "5/0", "5/1"]);
    assert_eq!(pages, 4);
    for text in ["", "1.2", "1.2.3.4", "a.b.c"] {
        assert!(text.parse::<Cursor>().is_err(), "{text}");
    }
}

pub async fn a_page_ends_though_nothing_on_it_was_selected(engine: impl Full) {
    let spool = engine.open(0);
    let to: Vec<String> = (0..1000).map(|number| format!("u{number}@x.example")).collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    for number in 1..=3 {
        commit(&spool, mail(number, &to)).await;
    }
    commit(&spool, mail(4, &["a@y.example"])).await;
    let rare = Selection { domain: Some("y.example".parse().unwrap()), ..Selection::default() };
    let first = spool.list(&rare, None, many(10), at(1)).await.unwrap();
    assert_eq!((first.entries.len(), first.next.is_some()), (0, true), "no reader holds the log for long");
    let second = spool.list(&rare, first.next, many(10), at(1)).await.unwrap();
    assert_eq!((rows(&second.entries).as_str(), second.next), ("4/0 a@y.example waiting mx/y.example@0", None));
    let by_id = Selection { ids: (1..=u64::try_from(IDS_MAX).unwrap()).map(id).collect(), domain: rare.domain, ..Selection::default() };
    assert_eq!(names(&spool, &by_id).await, "4/0");
}

pub async fn sums_say_who_has_how_much_and_what_was_said_last(engine: impl Full) {
    let spool = engine.open(0);
    commit(&spool, mail(1, &["a@x.example", "b@x.example", "c@y.example"])).await;
    commit(&spool, Sealed { accepted_at: at(50), ..mail(2, &["d@y.example"]) }).await;
    commit(&spool, Sealed { stream: Stream::new("bulk"), ..mail(3, &["e@z.example"]) }).await;
    try_once(&spool, "x.example", 10, "google", Reason::RateLimited).await;
    try_once(&spool, "y.example", 20, "google", Reason::MailboxFull).await;
    hold(&spool, &Selection { ids: vec![id(2)], ..Selection::default() }, 30).await;
    let told = async |by| {
        let mut lines: Vec<String> = sums(&spool, by)
            .await
            .values()
            .map(|group| {
                let key = group.key.as_deref().unwrap_or("-");
                let said = group.last.as_ref().map_or_else(String::new, |last| format!(" {}", last.at.unix_seconds() - at(0).unix_seconds()));
                format!("{key} {}m {}r {}h{said}", group.mails, group.recipients, group.held)
            })
            .collect();
        lines.sort();
        lines.join("; ")
    };
    assert_eq!(told(By::Provider).await, "- 1m 1r 0h; google 2m 4r 1h 20");
    assert_eq!(told(By::Domain).await, "x.example 1m 2r 0h 10; y.example 2m 2r 1h 20; z.example 1m 1r 0h");
    assert_eq!(told(By::Queue).await, "mx/x.example 1m 2r 0h 10; mx/y.example 2m 2r 1h 20; mx/z.example 1m 1r 0h");
    assert_eq!(told(By::Reason).await, "- 1m 1r 0h; mailbox-full 2m 2r 1h 20; rate-limited 1m 2r 0h 10");
    assert_eq!(told(By::Stream).await, "bulk 1m 1r 0h; transactional 2m 4r 1h 20");
    let google = &sums(&spool, By::Provider).await[&Some("google".to_owned())];
    assert_eq!((google.oldest, google.next_at), (at(0), Some(at(310))));
}

pub async fn what_a_person_holds_waits_for_a_person(engine: impl Full) {
    let spool = engine.open(0);
    commit(&spool, mail(1, &["a@x.example", "b@y.example"])).await;
    let of_x = Selection { domain: Some("x.example".parse().unwrap()), ..Selection::default() };
    assert_eq!(order(&spool, &of_x, &Order::Hold, 10).await, "1/0 Done");
    assert_eq!(order(&spool, &of_x, &Order::Hold, 11).await, "1/0 Nothing");
    assert_eq!(due(&spool, 20).await, "y.example@0");
    assert_eq!(claim(&spool, "x.example", 20).await.len(), 0);
    spool.close().await;
    // Past its age, over a restart and a sweep: it does not bounce, and it is not lost.
    let late = 6 * 86_400;
    let spool = engine.open(late);
    assert_eq!(spool.sweep(at(late)).await.unwrap().quarantined, []);
    assert_eq!(claim(&spool, "x.example", late).await.len(), 0);
    assert_eq!(counts(&spool).await, "1 2 0");
    let held = spool.list(&Selection { state: Some(State::Held), ..Selection::default() }, None, many(9), at(late)).await.unwrap();
    assert_eq!((rows(&held.entries).as_str(), held.entries[0].held_at), ("1/0 a@x.example held mx/x.example", Some(at(10))));
    let states = spool.states(at(late)).await.unwrap();
    assert_eq!((states.waiting, states.leased, states.held, states.quarantined), (1, 0, 1, 0));
    assert_eq!(order(&spool, &Selection::default(), &Order::Retry, late).await, "1/0 Nothing, 1/1 Done");
    assert_eq!(order(&spool, &Selection::default(), &Order::Release, late).await, "1/0 Done, 1/1 Nothing");
    assert_eq!(due(&spool, late).await, format!("x.example@{late} y.example@{late}"));
    let lease = claim_one(&spool, "x.example", late).await;
    assert_eq!((lease.recipients[0].attempts, lease.recipients[0].unknown_ends), (0, 0));
    let endings = all(&lease, &delivered(late + 1));
    spool.settle(lease, endings, vec![]).await.unwrap();
    assert_eq!(counts(&spool).await, "1 1 0");
}

pub async fn what_is_being_delivered_is_left_alone(engine: impl Full) {
    let spool = engine.open(0);
    commit(&spool, mail(1, &["a@x.example"])).await;
    let lease = claim_one(&spool, "x.example", 0).await;
    for each in [Order::Hold, Order::Retry, Order::Reroute(RouteName::new("ses")), Order::Cancel { silent: true }, Order::Cancel { silent: false }] {
        assert_eq!(order(&spool, &Selection::default(), &each, 10).await, "1/0 Busy", "{each:?}");
    }
    assert_eq!(order(&spool, &Selection::default(), &Order::Release, 10).await, "1/0 Nothing");
    let endings = all(&lease, &delivered(20));
    spool.settle(lease, endings, vec![]).await.unwrap();
    assert_eq!(order(&spool, &Selection::default(), &Order::Hold, 21).await, "");
}

pub async fn a_lease_that_ran_out_is_worth_nothing_after_a_hold(engine: impl Full) {
    for (number, each) in (1..).zip([Order::Hold, Order::Cancel { silent: true }, Order::Reroute(RouteName::new("ses"))]) {
        let spool = engine.open(0);
        let host = format!("x{number}.example");
        commit(&spool, mail(number, &[&format!("a@{host}")])).await;
        let lost = claim_one(&spool, &host, 0).await;
        let one = Selection { ids: vec![id(number)], ..Selection::default() };
        assert_eq!(order(&spool, &one, &each, 600).await, format!("{number}/0 Done"), "{each:?}");
        let endings = all(&lost, &delivered(601));
        assert_eq!(refused(spool.settle(lost, endings, vec![]).await), format!("the lease on mail {} ran out", id(number)));
        let listed = spool.list(&one, None, many(1), at(601)).await.unwrap();
        // Nobody knows how that attempt ended.
        assert_eq!((listed.entries[0].attempts, listed.entries[0].unknown_ends), (1, 1), "{each:?}");
        spool.close().await;
    }
}

pub async fn a_retry_is_due_now_and_its_queue_no_longer_parked(engine: impl Full) {
    let spool = engine.open(0);
    commit(&spool, mail(1, &["a@x.example", "b@y.example"])).await;
    for host in ["x.example", "y.example"] {
        try_once(&spool, host, 1, "other", Reason::Network).await;
        spool.park(&queue(host), at(5000)).await.unwrap();
    }
    assert_eq!(due(&spool, 10).await, "");
    let of_x = Selection { domain: Some("x.example".parse().unwrap()), ..Selection::default() };
    assert_eq!(order(&spool, &of_x, &Order::Retry, 10).await, "1/0 Done");
    assert_eq!(due(&spool, 10).await, "x.example@10");
    assert_eq!(spool.next_due_at().await.unwrap(), Some(at(10)));
    assert_eq!(claim_one(&spool, "x.example", 10).await.recipients[0].attempts, 1);
}

pub async fn a_recipient_can_be_given_another_route(engine: impl Full) {
    let spool = engine.open(0);
    commit(&spool, mail(1, &["a@x.example", "b@x.example"])).await;
    let of_a = Selection { recipient: Some("a@x.example".into()), ..Selection::default() };
    let by = |route: &str| Order::Reroute(RouteName::new(route));
    assert_eq!(order(&spool, &of_a, &by("mx"), 5).await, "1/0 Nothing", "it goes there already");
    assert_eq!(order(&spool, &of_a, &by("ses"), 10).await, "1/0 Done");
    assert_eq!(listing(&spool, &Selection::default(), 10).await, "1/0 a@x.example waiting ses/@10; 1/1 b@x.example waiting mx/x.example@0");
    spool.close().await;
    let spool = engine.open(11);
    assert_eq!(spool.sweep(at(11)).await.unwrap(), postseal::spool::Swept::default());
    let ours = claim_one(&spool, "x.example", 11).await;
    assert_eq!((ours.mail.route.as_str(), ours.mail.rerouted, ours.recipients[0].mailbox.to_string().as_str()), ("mx", false, "b@x.example"));
    let mut theirs = spool.claim(&Queue::stored("ses/"), many(9), at(11), at(600)).await.unwrap();
    let mut moved = theirs.leases.remove(0);
    assert_eq!((moved.mail.route.as_str(), moved.mail.rerouted, moved.recipients[0].mailbox.to_string().as_str()), ("ses", true, "a@x.example"));
    assert_eq!(moved.reverse_path, ours.reverse_path, "bounces of it come home as before");
    spool.renew(&mut moved, at(700)).await.unwrap();
    let endings = all(&moved, &deferred(20, 300));
    spool.settle(moved, endings, vec![]).await.unwrap();
    // And back, held on the way.
    assert_eq!(order(&spool, &of_a, &Order::Hold, 30).await, "1/0 Done");
    assert_eq!(order(&spool, &of_a, &by("mx"), 31).await, "1/0 Done");
    assert_eq!(claim(&spool, "x.example", 32).await.len(), 0, "still held");
    assert_eq!(order(&spool, &of_a, &Order::Release, 33).await, "1/0 Done");
    let back = claim_one(&spool, "x.example", 33).await;
    assert_eq!((back.mail.route.as_str(), back.mail.rerouted, back.recipients[0].attempts), ("mx", false, 1));
}

pub async fn what_is_cancelled_is_settled_with_its_notice_and_history_says_so(engine: impl Full) {
    let spool = engine.open(0);
    commit(&spool, mail(1, &["a@x.example", "b@y.example"])).await;
    let changed = spool.change(&Selection::default(), &Order::Cancel { silent: false }, None, many(10), at(10)).await.unwrap();
    assert_eq!(effects(&changed.entries), "1/0 Done, 1/1 Done");
    let [lease] = <[_; 1]>::try_from(changed.leases).unwrap();
    assert_eq!((lease.recipients.len(), lease.mail.id, &lease.mail.message_id), (2, id(1), &"<1@example.com>".to_owned()));
    // Until it is settled it is held: a crash here loses nothing and sends nothing.
    assert_eq!(listing(&spool, &Selection::default(), 11).await, "1/0 a@x.example held mx/x.example; 1/1 b@y.example held mx/y.example");
    let words = Evidence { status: "5.0.0".parse().unwrap(), ..evidence("cancelled by an operator", 12) };
    let endings = all(&lease, &How::Cancelled(words));
    let notice = Sealed { kind: Kind::Notice, ..mail(2, &["app@home.example"]) };
    spool.settle(lease, endings, vec![notice]).await.unwrap();
    assert_eq!((counts(&spool).await.as_str(), due(&spool, 13).await.as_str()), ("1 1 0", "home.example@0"));
    let history = spool.history(id(1)).await.unwrap().unwrap();
    let told: Vec<_> = history.recipients.iter().map(|who| format!("{:?} {}", who.outcome, who.text.as_deref().unwrap_or("-"))).collect();
    assert_eq!(told, ["Cancelled cancelled by an operator", "Cancelled cancelled by an operator"]);
    assert_eq!(history.closed_at, Some(at(12)));
}

pub async fn an_interrupted_cancel_leaves_its_mail_held(engine: impl Full) {
    let spool = engine.open(0);
    commit(&spool, mail(1, &["a@x.example"])).await;
    let cancel = Order::Cancel { silent: true };
    let interrupted = spool.change(&Selection::default(), &cancel, None, many(10), at(10)).await.unwrap().leases.remove(0);
    spool.close().await;
    let spool = engine.open(20);
    assert_eq!(listing(&spool, &Selection::default(), 20).await, "1/0 a@x.example held mx/x.example");
    let again = spool.change(&Selection::default(), &cancel, None, many(10), at(21)).await.unwrap().leases.remove(0);
    assert_eq!(again.recipients[0].attempts, 0, "nothing was tried");
    let endings = all(&interrupted, &How::Cancelled(evidence("cancelled", 22)));
    assert_eq!(refused(spool.settle(interrupted, endings, vec![]).await), "the lease on mail 0000000001 ran out");
    assert_eq!(order(&spool, &Selection::default(), &Order::Release, 23).await, "1/0 Done");
    let endings = all(&again, &How::Cancelled(evidence("cancelled", 24)));
    assert_eq!(refused(spool.settle(again, endings, vec![]).await), "the lease on mail 0000000001 ran out", "released meanwhile");
    assert_eq!(claim_one(&spool, "x.example", 25).await.recipients[0].attempts, 0);
}

pub async fn orders_are_carried_out_page_by_page(engine: impl Full) {
    let spool = engine.open(0);
    for number in 1..=3 {
        let to: Vec<String> = (0..400).map(|n| format!("u{n}@x.example")).collect();
        commit(&spool, mail(number, &to.iter().map(String::as_str).collect::<Vec<_>>())).await;
    }
    let (mut after, mut sizes) = (None, Vec::new());
    loop {
        let changed = spool.change(&Selection::default(), &Order::Hold, after, many(10_000), at(1)).await.unwrap();
        sizes.push(changed.entries.len());
        after = changed.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(sizes, [ORDER_ROWS_MAX, ORDER_ROWS_MAX, 200]);
    assert_eq!(spool.states(at(2)).await.unwrap().held, 1200);
}

pub async fn a_message_is_shown_with_all_its_recipients(engine: impl Full) {
    let spool = engine.open(0);
    commit(&spool, mail(1, &["a@x.example", "b@y.example"])).await;
    let lease = claim_one(&spool, "x.example", 0).await;
    let endings = all(&lease, &delivered(1));
    spool.settle(lease, endings, vec![]).await.unwrap();
    let shown = spool.show(id(1), at(2)).await.unwrap().unwrap();
    assert_eq!(rows(&shown.recipients), "1/0 a@x.example delivered mx/x.example +1; 1/1 b@y.example waiting mx/y.example@0");
    let facts = shown.mail.unwrap();
    assert_eq!((facts.id, facts.envid.as_deref(), facts.seal.keys().collect::<Vec<_>>()), (id(1), Some("QQ314159"), vec!["s1._domainkey.example.com"]));
    assert_eq!((shown.damage, spool.show(id(2), at(2)).await.unwrap()), (None, None));
}

pub async fn a_key_is_not_kept_for_mail_that_a_person_holds(engine: impl Full) {
    let spool = engine.open(0);
    let key = postseal::mail::KeyId { domain: "example.com".parse().unwrap(), selector: postseal::mail::Selector::new("s1") };
    commit(&spool, mail(1, &["a@x.example"])).await;
    assert_eq!(spool.mentions(&key).await.unwrap(), 1);
    hold(&spool, &Selection::default(), 1).await;
    assert_eq!(spool.mentions(&key).await.unwrap(), 0, "it is sealed again before it is sent");
    order(&spool, &Selection::default(), &Order::Release, 2).await;
    assert_eq!(spool.mentions(&key).await.unwrap(), 1);
}

pub async fn a_recipient_that_was_cancelled_counts_as_settled(engine: impl Full) {
    let spool = engine.open(0);
    commit(&spool, mail(1, &["a@x.example", "b@y.example"])).await;
    let of_a = Selection { recipient: Some("a@x.example".into()), ..Selection::default() };
    let lease = spool.change(&of_a, &Order::Cancel { silent: true }, None, many(1), at(1)).await.unwrap().leases.remove(0);
    let endings = all(&lease, &How::Cancelled(evidence("cancelled", 2)));
    spool.settle(lease, endings, vec![]).await.unwrap();
    assert_eq!(counts(&spool).await, "1 1 0");
    assert_eq!(listing(&spool, &Selection::default(), 3).await, "1/1 b@y.example waiting mx/y.example@0");
    let so_far: Vec<_> = spool.history(id(1)).await.unwrap().unwrap().recipients.iter().map(|who| who.outcome).collect();
    assert_eq!(so_far, [SoFar::Cancelled, SoFar::Waiting]);
    assert_eq!(spool.sweep(at(4)).await.unwrap().quarantined, []);
}

/// Everybody in a queue is deferred for 300 seconds, in these words.
async fn try_once(spool: &impl Spool, host: &str, seconds: i64, provider: &str, reason: Reason) {
    for lease in claim(spool, host, seconds).await {
        let evidence = Evidence {
            status: "4.7.28".parse().unwrap(),
            remote: Some(Remote { host: format!("mx.{host}"), address: "192.0.2.1:25".parse().unwrap() }),
            ..evidence("451 later", seconds)
        };
        let mut endings = all(&lease, &How::Deferred { evidence, next_at: at(seconds + 300), delay_told: false });
        for ending in &mut endings {
            ending.meaning = Some(Meaning { provider: provider.into(), reason: Some(reason), permanent: false });
        }
        spool.settle(lease, endings, vec![]).await.unwrap();
    }
}

async fn hold(spool: &impl Control, selection: &Selection, seconds: i64) {
    order(spool, selection, &Order::Hold, seconds).await;
}

/// `mail/number effect, …`
pub async fn order(spool: &impl Control, selection: &Selection, order: &Order, seconds: i64) -> String {
    effects(&spool.change(selection, order, None, many(500), at(seconds)).await.unwrap().entries)
}

fn effects(entries: &[(postseal::spool::control::Entry, postseal::spool::control::Effect)]) -> String {
    entries.iter().map(|(entry, effect)| format!("{}/{} {effect:?}", entry.mail.number(), entry.index)).collect::<Vec<_>>().join(", ")
}

/// `mail/number recipient state queue@next +attempts; …`
fn rows(entries: &[postseal::spool::control::Entry]) -> String {
    let row = |entry: &postseal::spool::control::Entry| {
        let is_timed = matches!(entry.state, State::Waiting | State::Leased);
        let next_at = if is_timed { format!("@{}", entry.next_at.unix_seconds() - at(0).unix_seconds()) } else { String::new() };
        let tried = if entry.attempts > 0 { format!(" +{}", entry.attempts) } else { String::new() };
        format!("{}/{} {} {} {}{next_at}{tried}", entry.mail.number(), entry.index, entry.recipient, entry.state.as_str(), entry.queue)
    };
    entries.iter().map(row).collect::<Vec<_>>().join("; ")
}

async fn listing(spool: &impl Control, selection: &Selection, seconds: i64) -> String {
    rows(&spool.list(selection, None, many(1000), at(seconds)).await.unwrap().entries)
}

/// `mail/number …` over all pages.
async fn names(spool: &impl Control, selection: &Selection) -> String {
    let (mut names, mut after) = (Vec::new(), None);
    loop {
        let page = spool.list(selection, after, many(2), at(5)).await.unwrap();
        names.extend(page.entries.iter().map(|entry| format!("{}/{}", entry.mail.number(), entry.index)));
        after = page.next;
        if after.is_none() {
            return names.join(" ");
        }
    }
}

async fn sums(spool: &impl Control, by: By) -> BTreeMap<Option<String>, Group> {
    let (mut sums, mut after) = (BTreeMap::<_, Group>::new(), None);
    loop {
        let page = spool.sum_up(&Selection::default(), by, after, at(40)).await.unwrap();
        for group in page.groups {
            match sums.get_mut(&group.key) {
                Some(known) => known.add(group),
                None => drop(sums.insert(group.key.clone(), group)),
            }
        }
        after = page.next;
        if after.is_none() {
            return sums;
        }
    }
}
