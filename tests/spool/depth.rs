//! How deep the queues are: counted rightly, across pages, without holding up the writer for long.

use super::samples::*;
use postseal::mail::{MailIds, Timestamp};
use postseal::seal::Sealed;
use postseal::spool::depth::{Depth, QueueDepth};
use postseal::spool::{Queue, Spool, SqliteSpool};
use std::collections::BTreeMap;

/// All pages as one, and how many there were.
async fn depths(spool: &impl Depth, now: Timestamp) -> (BTreeMap<String, (u64, u64, i64)>, usize) {
    let (mut all, mut from, mut pages): (BTreeMap<String, (u64, u64, i64)>, _, _) = (BTreeMap::new(), None, 0);
    loop {
        let page = spool.depth(from, now).await.unwrap();
        pages += 1;
        for QueueDepth { queue, due, later, oldest } in page.queues {
            let age = i64::try_from(now.since(oldest).as_secs()).unwrap();
            let known = all.entry(queue.as_str().to_owned()).or_insert((0, 0, age));
            *known = (known.0 + due, known.1 + later, known.2.max(age));
        }
        from = page.next;
        if from.is_none() {
            return (all, pages);
        }
    }
}

/// Accepted then, and with an id of that second.
fn accepted(seconds: i64, serial: u32, recipients: &[&str]) -> Sealed {
    Sealed { id: MailIds::reserve(at(seconds), serial, 1).take(), accepted_at: at(seconds), ..mail(1, recipients) }
}

#[tokio::test]
async fn due_later_and_leased_recipients_are_told_apart_with_the_age_of_the_oldest() {
    let directory = scratch();
    let (spool, _) = SqliteSpool::open(settings(directory.path()), at(0)).unwrap();
    assert_eq!(depths(&spool, at(0)).await, (BTreeMap::new(), 1));
    commit(&spool, accepted(-3600, 1, &["a@x.example", "b@x.example"])).await;
    commit(&spool, accepted(-60, 2, &["c@x.example", "d@y.example"])).await;
    commit(&spool, Sealed { due_at: at(900), ..accepted(-30, 3, &["e@y.example"]) }).await;
    let expected = BTreeMap::from([("mx/x.example".to_owned(), (3, 0, 3600)), ("mx/y.example".to_owned(), (1, 1, 60))]);
    assert_eq!(depths(&spool, at(0)).await.0, expected);
    assert_eq!(spool.leased(at(0)).await.unwrap(), vec![]);

    let leases = claim(&spool, "x.example", 0).await;
    assert_eq!(spool.leased(at(0)).await.unwrap(), vec![(queue("x.example"), 3)]);
    assert_eq!(depths(&spool, at(0)).await.0["mx/x.example"], (0, 3, 3600), "under a lease, which ends later");
    assert_eq!(spool.leased(at(601)).await.unwrap(), vec![], "the lease has run out");
    for lease in leases {
        let endings = all(&lease, &delivered(1));
        spool.settle(lease, endings, vec![]).await.unwrap();
    }
    assert_eq!(depths(&spool, at(0)).await.0, BTreeMap::from([("mx/y.example".to_owned(), (1, 1, 60))]));
}

/// One more than a page holds, over several queues, one of which goes on behind the page's end.
#[tokio::test]
async fn what_does_not_fit_a_page_is_counted_on_the_next() {
    const PAGE: usize = 20_000;
    let directory = scratch();
    let (spool, _) = SqliteSpool::open(settings(directory.path()), at(0)).unwrap();
    let names: Vec<String> = (0..PAGE).map(|number| format!("r{number}@{}.example", if number < 15_000 { "a" } else { "b" })).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    commit(&spool, accepted(-10, 1, &names)).await;
    let (all, pages) = depths(&spool, at(0)).await;
    assert_eq!(all.values().map(|(due, later, _)| due + later).sum::<u64>(), 20_000);
    assert_eq!(pages, 2, "a full page may have one behind it");
    commit(&spool, accepted(-20, 2, &["last@b.example", "alone@c.example"])).await;
    let (all, pages) = depths(&spool, at(0)).await;
    let expected = [("mx/a.example", (15_000, 0, 10)), ("mx/b.example", (5_001, 0, 20)), ("mx/c.example", (1, 0, 20))];
    assert_eq!(all, expected.map(|(queue, depth)| (Queue::stored(queue).as_str().to_owned(), depth)).into());
    assert_eq!(pages, 2);
}
