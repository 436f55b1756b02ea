//! The contract of [`Suppressions`], clause by clause, and what the embedded engine adds: damage, upgrade, backup.

use super::contract::{Engine, Full, Sqlite};
use super::samples::*;
use postseal::mail::suppression::{Suppression, Why};
use postseal::mail::{Reason, Stream};
use postseal::seal::{Kind as SealKind, Sealed, SealedRecipient};
use postseal::spool::journal::{Filter, Journal, Kind};
use postseal::spool::suppressions::{Key, Listed, Selection, Suppressions, Taken};
use postseal::spool::{Ending, Records, SoFar, Spool, SqliteSpool};
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

const DAY: i64 = 86_400;

fn entry(scope: &str, recipient: &str, why: Why, expires_at: Option<i64>) -> Suppression {
    Suppression {
        scope: scope.parse().unwrap(),
        recipient: mailbox(recipient),
        why,
        since: at(0),
        expires_at: expires_at.map(at),
        message: Some(id(9)),
        detail: "550 5.1.1 no such user".to_owned(),
    }
}

fn unknown(scope: &str, recipient: &str) -> Suppression {
    entry(scope, recipient, Why::Failed(Reason::UserUnknown), Some(90 * DAY))
}

async fn suppress(spool: &impl Suppressions, entries: &[Suppression]) -> String {
    let Taken { added, renewed, kept } = spool.suppress(entries.to_vec()).await.unwrap();
    format!("{added} {renewed} {kept}")
}

/// `reason scope` of those of these recipients that are not to be written to, in mail of example.com's stream `news`.
async fn stopped(spool: &impl Suppressions, recipients: &[&str], seconds: i64) -> Vec<String> {
    stopped_in(spool, "example.com", "news", recipients, seconds).await
}

async fn stopped_in(spool: &impl Suppressions, domain: &str, stream: &str, recipients: &[&str], seconds: i64) -> Vec<String> {
    let recipients = recipients.iter().map(|address| mailbox(address)).collect();
    let found = spool.suppressed(&domain.parse().unwrap(), &Stream::new(stream), recipients, at(seconds)).await.unwrap();
    found.into_iter().map(|(recipient, entry)| format!("{recipient} {} {}", entry.why, entry.scope)).collect()
}

async fn listed(spool: &impl Suppressions, selection: &Selection, seconds: i64) -> Vec<String> {
    let (mut told, mut after) = (Vec::new(), None);
    loop {
        let Listed { entries, damaged, next } = spool.suppressions(selection, after, many(2), at(seconds)).await.unwrap();
        assert!(entries.len() + damaged.len() <= 2);
        told.extend(entries.iter().map(|entry| format!("{} {}", entry.scope, entry.recipient)));
        told.extend(damaged.iter().map(|damaged| format!("! {} {}", damaged.key.scope, damaged.key.recipient)));
        after = next;
        if after.is_none() {
            return told;
        }
    }
}

fn key(scope: &str, recipient: &str) -> Key {
    Key::of(&scope.parse().unwrap(), &mailbox(recipient))
}

async fn what_was_taken_counts_at_once_and_after_a_restart(engine: impl Full) {
    let spool = engine.open(0);
    assert_eq!(suppress(&spool, &[unknown("example.com", "Jane@x.example"), unknown("example.com", "\"a b\"@x.example")]).await, "2 0 0");
    let mut spool = spool;
    for again in 1..3 {
        assert_eq!(stopped(&spool, &["jane@X.example"], 1).await, ["jane@x.example user-unknown example.com"]);
        assert_eq!(stopped(&spool, &["JANE@x.example", "\"A B\"@x.example", "joe@x.example"], 1).await.len(), 2);
        assert_eq!(stopped(&spool, &["jane+news@x.example", "jane@mail.x.example"], 1).await, [""; 0]);
        let found = spool.suppressed(&"example.com".parse().unwrap(), &Stream::new("x"), vec![mailbox("jane@x.example")], at(1)).await.unwrap();
        assert_eq!(found[0].1, Suppression { recipient: mailbox("jane@x.example"), ..unknown("example.com", "jane@x.example") });
        assert_eq!(spool.suppressions_count().0, 2);
        spool.close().await;
        spool = engine.open(again);
    }
}

async fn an_entry_counts_for_its_scope_alone(engine: impl Full) {
    let spool = engine.open(0);
    suppress(&spool, &[unknown("example.com", "a@x.example"), unknown("example.com/news", "b@x.example")]).await;
    let both = ["a@x.example", "b@x.example"];
    assert_eq!(stopped(&spool, &both, 1).await, ["a@x.example user-unknown example.com", "b@x.example user-unknown example.com/news"]);
    assert_eq!(stopped_in(&spool, "example.com", "bills", &both, 1).await, ["a@x.example user-unknown example.com"]);
    for domain in ["news.example.com", "example.org", "com"] {
        assert_eq!(stopped_in(&spool, domain, "news", &both, 1).await, [""; 0], "{domain}");
    }
}

async fn an_entry_ends_with_its_time_and_is_swept(engine: impl Full) {
    let spool = engine.open(0);
    suppress(&spool, &[unknown("example.com", "a@x.example"), entry("example.com", "b@x.example", Why::Manual, None)]).await;
    assert_eq!(stopped(&spool, &["a@x.example"], 90 * DAY - 1).await.len(), 1);
    assert_eq!(stopped(&spool, &["a@x.example", "b@x.example"], 90 * DAY).await, ["b@x.example manual example.com"]);
    assert_eq!(listed(&spool, &Selection::default(), 90 * DAY).await, ["example.com b@x.example"]);
    assert_eq!(spool.sweep(at(90 * DAY - 1)).await.unwrap().suppressions, 0);
    assert_eq!(spool.sweep(at(90 * DAY)).await.unwrap().suppressions, 1);
    assert_eq!(spool.suppressions_count().0, 1);
    // What failed again after its end is there again, anew.
    let again = Suppression { since: at(91 * DAY), expires_at: Some(at(181 * DAY)), ..unknown("example.com", "a@x.example") };
    assert_eq!(suppress(&spool, &[again]).await, "1 0 0");
    assert_eq!(stopped(&spool, &["a@x.example"], 180 * DAY).await.len(), 1);
}

async fn a_later_word_renews_and_a_weaker_one_does_not(engine: impl Full) {
    let spool = engine.open(0);
    let at_x = |why, since, end: Option<i64>| Suppression { since: at(since), ..entry("example.com", "a@x.example", why, end) };
    let failed = Why::Failed(Reason::UserUnknown);
    for (word, fate, expected) in [
        (at_x(failed, 0, Some(90 * DAY)), "1 0 0", "user-unknown 0 90"),
        (at_x(failed, 0, Some(90 * DAY)), "0 0 1", "user-unknown 0 90"),
        // A short reason does not shorten what lasts longer.
        (at_x(Why::Failed(Reason::MailboxFull), DAY, Some(8 * DAY)), "0 1 0", "mailbox-full 1 90"),
        (at_x(Why::Complaint, 2 * DAY, None), "0 1 0", "complaint 2 lasting"),
        (at_x(failed, 3 * DAY, Some(93 * DAY)), "0 0 1", "complaint 2 lasting"),
        (at_x(Why::Manual, 4 * DAY, Some(5 * DAY)), "0 1 0", "manual 4 lasting"),
        (at_x(Why::Complaint, 4 * DAY, None), "0 0 1", "manual 4 lasting"),
    ] {
        assert_eq!(suppress(&spool, std::slice::from_ref(&word)).await, fate, "{word:?}");
        let page = spool.suppressions(&Selection::default(), None, many(9), at(5 * DAY)).await.unwrap();
        let [known] = &page.entries[..] else { panic!("{page:?}") };
        let days = |time: postseal::mail::Timestamp| time.since(at(0)).as_secs() / 86_400;
        let end = known.expires_at.map_or_else(|| "lasting".to_owned(), |end| days(end).to_string());
        assert_eq!(format!("{} {} {end}", known.why, days(known.since)), expected, "{word:?}");
    }
}

async fn what_is_lifted_is_written_to_again(engine: impl Full) {
    let spool = engine.open(0);
    suppress(&spool, &[unknown("example.com", "a@x.example"), unknown("example.com/news", "a@x.example"), unknown("example.com", "b@x.example")]).await;
    let lifted = spool.lift(vec![key("example.com", "A@x.example"), key("example.com", "c@x.example")]).await.unwrap();
    assert_eq!(lifted, [key("example.com", "a@x.example")]);
    assert_eq!(stopped(&spool, &["a@x.example"], 1).await, ["a@x.example user-unknown example.com/news"]);
    spool.lift(vec![key("example.com/news", "a@x.example")]).await.unwrap();
    assert_eq!(stopped(&spool, &["a@x.example", "b@x.example"], 1).await, ["b@x.example user-unknown example.com"]);
    spool.close().await;
    let spool = engine.open(1);
    assert_eq!(stopped(&spool, &["a@x.example", "b@x.example"], 1).await.len(), 1);
    assert_eq!(spool.suppressions_count().0, 1);
}

async fn a_list_goes_page_by_page_through_what_is_selected(engine: impl Full) {
    let spool = engine.open(0);
    let scopes = ["example.com", "example.com/news", "example.com-x.example", "example.org", "a.example.com"];
    let addresses = ["a@x.example", "b@x.example", "a@y.example"];
    let mut entries: Vec<Suppression> = scopes.iter().flat_map(|scope| addresses.map(|address| unknown(scope, address))).collect();
    entries[0] = Suppression { since: at(DAY), ..entry("example.com", "a@x.example", Why::Complaint, None) };
    suppress(&spool, &entries).await;
    let count = async |selection: Selection| listed(&spool, &selection, 2).await.len();
    assert_eq!(count(Selection::default()).await, 15);
    assert_eq!(count(Selection { author_domain: Some("example.com".parse().unwrap()), ..Selection::default() }).await, 6);
    assert_eq!(count(Selection { stream: Some(Stream::new("news")), ..Selection::default() }).await, 3);
    assert_eq!(count(Selection { recipient: Some(mailbox("A@X.example")), ..Selection::default() }).await, 5);
    assert_eq!(count(Selection { recipient_domain: Some("y.example".parse().unwrap()), ..Selection::default() }).await, 5);
    assert_eq!(count(Selection { since: Some(at(1)), ..Selection::default() }).await, 1);
    let selection = Selection {
        author_domain: Some("example.com".parse().unwrap()),
        recipient: Some(mailbox("a@x.example")),
        why: Some(Why::Complaint),
        ..Selection::default()
    };
    assert_eq!(listed(&spool, &selection, 2).await, ["example.com a@x.example"]);
    let all = listed(&spool, &Selection::default(), 2).await;
    assert!(all.is_sorted(), "{all:?}");
}

async fn a_list_is_bounded(engine: impl Full) {
    let spool = engine.open(0);
    let (_, most) = spool.suppressions_count();
    let entries: Vec<Suppression> = (0..most).map(|number| unknown("example.com", &format!("n{number}@x.example"))).collect();
    suppress(&spool, &entries[..entries.len() - 1]).await;
    let two = [entries[entries.len() - 1].clone(), unknown("example.com", "more@x.example")];
    assert!(
        refused(spool.suppress(two.to_vec()).await).starts_with(&format!("the suppression list holds its maximum of {most}; raise suppression.entries_max"))
    );
    assert_eq!(spool.suppressions_count().0, most - 1, "none of a page, or all");
    assert_eq!(suppress(&spool, &two[..1]).await, "1 0 0");
    assert_eq!(suppress(&spool, &two[..1]).await, "0 0 1", "what is there needs no room");
    // A failure for which there is no room is settled all the same.
    commit(&spool, mail(1, &["late@x.example"])).await;
    let lease = claim_one(&spool, "x.example", 0).await;
    let ending = Ending { suppression: Some(Box::new(unknown("example.com", "late@x.example"))), ..Ending::of(0, failed(1)) };
    spool.settle(lease, vec![ending], vec![]).await.unwrap();
    assert_eq!(spool.suppressions_count().0, most);
    assert_eq!(spool.history(id(1)).await.unwrap().unwrap().recipients[0].outcome, SoFar::Failed);
}

async fn an_entry_is_written_with_the_ending_it_follows_from(engine: impl Full) {
    let spool = engine.open(0);
    commit(&spool, mail(1, &["a@x.example", "b@x.example"])).await;
    let lease = claim_one(&spool, "x.example", 0).await;
    let late = claim(&spool, "x.example", 601).await.remove(0);
    let endings = |lease: &postseal::spool::Lease| -> Vec<Ending> {
        let entry = Some(Box::new(unknown("example.com", "a@x.example")));
        lease.recipients.iter().map(|who| Ending { suppression: entry.clone().filter(|_| who.index == 0), ..Ending::of(who.index, failed(1)) }).collect()
    };
    // Somebody else has the recipients: nothing of it is kept.
    let told = endings(&lease);
    assert!(spool.settle(lease, told, vec![]).await.is_err());
    assert_eq!(stopped(&spool, &["a@x.example"], 2).await, [""; 0]);
    let told = endings(&late);
    spool.settle(late, told, vec![]).await.unwrap();
    assert_eq!(stopped(&spool, &["a@x.example", "b@x.example"], 2).await, ["a@x.example user-unknown example.com"]);
}

/// One of the recipients, who is on the list.
fn spared(address: &str) -> SealedRecipient {
    SealedRecipient { suppressed: Some(Arc::new(unknown("example.com", address))), ..recipient(address) }
}

fn notice(number: u64) -> Sealed {
    Sealed { kind: SealKind::Notice, original_reverse_path: null(), ..mail(number, &["app@example.com"]) }
}

async fn a_suppressed_recipient_is_settled_with_the_commit_and_the_others_go_on(engine: impl Full) {
    let spool = engine.open(0);
    let mixed = Sealed { recipients: vec![recipient("a@x.example"), spared("gone@x.example"), recipient("b@y.example")], ..mail(1, &[]) };
    spool.commit(vec![mixed, notice(2)]).await.unwrap();
    assert_eq!(counts(&spool).await, "2 3 0", "two recipients and the notice's");
    assert_eq!(due(&spool, 0).await, "example.com@0 x.example@0 y.example@0");
    let lease = claim_one(&spool, "x.example", 0).await;
    assert_eq!(lease.recipients.iter().map(|who| who.mailbox.to_string()).collect::<Vec<_>>(), ["a@x.example"]);
    let endings = all(&lease, &delivered(1));
    spool.settle(lease, endings, vec![]).await.unwrap();
    let lease = claim_one(&spool, "y.example", 0).await;
    let endings = all(&lease, &delivered(2));
    spool.settle(lease, endings, vec![]).await.unwrap();
    let history = spool.history(id(1)).await.unwrap().unwrap();
    let outcomes: Vec<_> = history.recipients.iter().map(|who| (who.mailbox.to_string(), who.outcome, who.status.clone(), who.reason.clone())).collect();
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(outcomes[1], ("gone@x.example".to_owned(), SoFar::Failed, text("5.1.1"), text("user-unknown")));
    assert!(outcomes[0].1 == SoFar::Delivered && outcomes[2].1 == SoFar::Delivered && history.closed_at.is_some(), "{history:?}");
    assert!(history.recipients[1].text.as_ref().unwrap().starts_with("not sent: gone@x.example is on the suppression list of example.com since 2026-11-22"));
    let page = spool.events(0, Filter { mail: Some(id(1)), kinds: vec![Kind::Suppressed], ..Filter::default() }, many(9)).await.unwrap();
    let [event] = &page.events[..] else { panic!("{page:?}") };
    let about = &event.news.about;
    assert_eq!(event.news.recipient, Some(mailbox("gone@x.example")));
    assert_eq!(
        (&about.reason, &about.scope, about.since, &about.track_id),
        (&text("user-unknown"), &text("example.com"), Some(at(0).unix_millis()), &text("order-7"))
    );
}

async fn a_mail_whose_recipients_are_all_suppressed_is_closed_at_once(engine: impl Full) {
    let spool = engine.open(0);
    let small = Sealed { recipients: vec![spared("a@x.example"), spared("b@y.example")], ..mail(1, &[]) };
    let large = Sealed { recipients: vec![spared("a@x.example")], message: message(2, 50_000), ..mail(2, &[]) };
    spool.commit(vec![small, large, notice(3)]).await.unwrap();
    assert_eq!(counts(&spool).await, "1 1 0");
    assert_eq!(due(&spool, 0).await, "example.com@0", "the notice alone");
    spool.close().await;
    let spool = engine.open(1);
    for number in [1, 2] {
        let history = spool.history(id(number)).await.unwrap().unwrap();
        assert!(history.closed_at.is_some() && history.recipients.iter().all(|who| who.outcome == SoFar::Failed), "{history:?}");
    }
    let swept = spool.sweep(at(1)).await.unwrap();
    assert!(swept.quarantined.is_empty() && swept.rescheduled == 0, "{swept:?}");
    assert!(refused(spool.commit(vec![mail(1, &["a@x.example"])]).await).contains("is taken"));
}

contract! {
    sqlite: super::Sqlite;
    {
        what_was_taken_counts_at_once_and_after_a_restart
        an_entry_counts_for_its_scope_alone
        an_entry_ends_with_its_time_and_is_swept
        a_later_word_renews_and_a_weaker_one_does_not
        what_is_lifted_is_written_to_again
        a_list_goes_page_by_page_through_what_is_selected
        a_list_is_bounded
        an_entry_is_written_with_the_ending_it_follows_from
        a_suppressed_recipient_is_settled_with_the_commit_and_the_others_go_on
        a_mail_whose_recipients_are_all_suppressed_is_closed_at_once
    }
}

fn open(directory: &Path, seconds: i64) -> SqliteSpool {
    SqliteSpool::open(settings(directory), at(seconds)).unwrap().0
}

#[tokio::test]
async fn a_damaged_entry_is_told_and_not_believed() {
    for set in ["recipient = 'b@x.example'", "reason = 'manual'", "scope = 'example.org'", "expires_at = NULL", "since = 0", "detail = x'ff'", "sum = sum + 1"]
    {
        let directory = scratch();
        let spool = open(directory.path(), 0);
        suppress(&spool, &[unknown("example.com", "a@x.example"), unknown("example.com", "c@x.example")]).await;
        spool.close().await;
        let sql = format!("UPDATE suppressions SET {set} WHERE recipient = 'a@x.example'");
        assert_eq!(rusqlite::Connection::open(directory.path().join("spool.db")).unwrap().execute(&sql, []).unwrap(), 1);
        let spool = open(directory.path(), 1);
        for domain in ["example.com", "example.org"] {
            assert_eq!(stopped_in(&spool, domain, "news", &["a@x.example", "b@x.example"], 1).await, [""; 0], "{set}");
        }
        assert_eq!(stopped(&spool, &["c@x.example"], 1).await.len(), 1, "{set}");
        let list = listed(&spool, &Selection::default(), 1).await;
        let [damaged] = &list.iter().filter_map(|line| line.strip_prefix("! ")).collect::<Vec<_>>()[..] else { panic!("{set}: {list:?}") };
        let (scope, recipient) = damaged.split_once(' ').unwrap();
        let damaged = Key { scope: scope.to_owned(), recipient: recipient.to_owned() };
        assert_eq!(spool.lift(vec![damaged.clone()]).await.unwrap(), [damaged], "{set}");
        assert_eq!(listed(&spool, &Selection::default(), 1).await, ["example.com c@x.example"], "{set}");
        assert_eq!(suppress(&spool, &[unknown("example.com", "a@x.example")]).await, "1 0 0", "{set}");
        assert_eq!(stopped(&spool, &["a@x.example"], 1).await.len(), 1, "{set}");
    }
}

#[tokio::test]
async fn a_damaged_entry_is_written_anew_by_the_next_failure() {
    let directory = scratch();
    let spool = open(directory.path(), 0);
    suppress(&spool, &[unknown("example.com", "a@x.example")]).await;
    spool.close().await;
    rusqlite::Connection::open(directory.path().join("spool.db")).unwrap().execute("UPDATE suppressions SET since = 7", []).unwrap();
    let spool = open(directory.path(), 1);
    assert_eq!(suppress(&spool, &[unknown("example.com", "a@x.example")]).await, "0 1 0");
    assert_eq!(stopped(&spool, &["a@x.example"], 1).await.len(), 1);
    assert_eq!(spool.suppressions_count().0, 1);
}

#[tokio::test]
async fn a_list_of_the_tables_before_is_kept_by_the_upgrade() {
    let directory = TempDir::new().unwrap();
    {
        let db = rusqlite::Connection::open(directory.path().join("spool.db")).unwrap();
        db.execute_batch(include_str!("../../src/spool/schema/0001.sql")).unwrap();
        db.execute_batch(include_str!("../../src/spool/schema/0002.sql")).unwrap();
        // A row as a program of that version would have written it, its sum included.
        let made = scratch();
        let spool = open(made.path(), 0);
        suppress(&spool, &[unknown("example.com", "a@x.example")]).await;
        spool.close().await;
        db.execute("ATTACH ?1 AS made", [made.path().join("spool.db").display().to_string()]).unwrap();
        db.execute("INSERT INTO main.suppressions SELECT * FROM made.suppressions", []).unwrap();
        db.execute("UPDATE main.spool SET version = 2", []).unwrap();
    }
    let spool = open(directory.path(), 1);
    assert_eq!(spool.suppressions_count().0, 1);
    assert_eq!(stopped(&spool, &["a@x.example"], 1).await, ["a@x.example user-unknown example.com"]);
    assert_eq!(listed(&spool, &Selection { recipient: Some(mailbox("a@x.example")), ..Selection::default() }, 1).await.len(), 1);
}

#[tokio::test]
async fn a_backup_has_the_list() {
    use postseal::spool::sqlite::{FileSystems, backup};
    let place = scratch();
    let (spool, copy, restored) = (place.path().join("spool"), place.path().join("copy"), place.path().join("restored"));
    let running = open(&spool, 0);
    suppress(&running, &[unknown("example.com", "a@x.example"), unknown("example.com/news", "b@x.example")]).await;
    backup::backup(&spool, &copy, at(1)).unwrap();
    suppress(&running, &[unknown("example.com", "later@x.example")]).await;
    running.close().await;
    backup::restore(&copy, &restored, FileSystems::Any, false, at(2)).unwrap();
    let spool = open(&restored, 3);
    assert_eq!(stopped(&spool, &["a@x.example", "b@x.example", "later@x.example"], 3).await.len(), 2);
    assert_eq!(spool.suppressions_count().0, 2);
}

/// The sieve is filled beside the writer: a list longer than its pages counts from the first moment on, and so does what is added meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_list_counts_while_it_is_still_being_read() {
    let directory = scratch();
    let spool = open(directory.path(), 0);
    for page in 0..50 {
        let entries: Vec<Suppression> = (0..1000).map(|number| unknown("example.com", &format!("n{page}-{number}@x.example"))).collect();
        spool.suppress(entries).await.unwrap();
    }
    spool.close().await;
    let spool = open(directory.path(), 1);
    for round in 0..200 {
        let (known, added) = (format!("n{}-{}@x.example", round % 50, round * 5), format!("new{round}@x.example"));
        assert_eq!(stopped(&spool, &[&known], 1).await.len(), 1, "{known}");
        assert_eq!(stopped(&spool, &[&added], 1).await.len(), 0, "{added}");
        suppress(&spool, &[unknown("example.com", &added)]).await;
        assert_eq!(stopped(&spool, &[&added], 1).await.len(), 1, "{added}");
        spool.lift(vec![key("example.com", &added), key("example.com", &known)]).await.unwrap();
        assert_eq!(stopped(&spool, &[&added, &known], 1).await.len(), 0, "{added}");
    }
    assert_eq!(spool.suppressions_count().0, 49_800);
}

/// What a look costs a submission, with a long list and with none. Figures on demand: `POSTSEAL_FIGURES=1`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_costs_next_to_nothing_where_nobody_is_on_the_list() {
    let entries = std::env::var("POSTSEAL_FIGURES").map_or(20_000, |_| 1_000_000);
    let directory = scratch();
    let spool = SqliteSpool::open(postseal::spool::Settings { suppressions_max: entries, ..settings(directory.path()) }, at(0)).unwrap().0;
    let look = async |count: u64, on_the_list: bool| {
        let began = std::time::Instant::now();
        for round in 0..count {
            let recipient = if on_the_list { mailbox(&format!("n{}@x.example", round * 7919 % entries)) } else { mailbox(&format!("w{round}@y.example")) };
            let found = spool.suppressed(&"example.com".parse().unwrap(), &Stream::new("news"), vec![recipient], at(1)).await.unwrap();
            assert_eq!(found.len(), usize::from(on_the_list));
        }
        began.elapsed() / u32::try_from(count).unwrap()
    };
    let empty = look(20_000, false).await;
    for page in 0..entries / 1000 {
        let page = (0..1000).map(|number| unknown("example.com", &format!("n{}@x.example", page * 1000 + number))).collect();
        spool.suppress(page).await.unwrap();
    }
    let commits = async |first: u64| {
        let began = std::time::Instant::now();
        for number in first..first + 500 {
            commit(&spool, mail(number, &["a@x.example"])).await;
        }
        began.elapsed() / 500
    };
    let (long, hit, one_commit) = (look(20_000, false).await, look(2000, true).await, commits(1).await);
    spool.close().await;
    let began = std::time::Instant::now();
    let spool_again = SqliteSpool::open(postseal::spool::Settings { suppressions_max: entries, ..settings(directory.path()) }, at(0)).unwrap();
    println!(
        "entries {entries}: a look in an empty list {empty:?}, in a long one {long:?}, a hit {hit:?}; a commit {one_commit:?}; opening {:?}",
        began.elapsed()
    );
    // Bounds that a busy machine keeps: a look is no read of the disk.
    assert!(long < one_commit, "a look of {long:?} beside a commit of {one_commit:?}");
    assert!(long < empty * 20 + std::time::Duration::from_micros(20), "{long:?} with a long list, {empty:?} with none");
    drop(spool_again);
}
