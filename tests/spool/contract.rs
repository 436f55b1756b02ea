//! The contract of [`Spool`], [`Records`] and [`Control`], clause by clause (those of the last in `control.rs`, those of standing claims in `standing.rs`). An engine joins by an [`Engine`] and a line at the end.

use super::control::*;
use super::model::{Disk, Fsync, Mischief, Store, Trouble, Work};
use super::samples::*;
use super::standing::*;
use postseal::mail::{Notify, Ret, RouteName};
use postseal::seal::{Kind, Needs, Sealed};
use postseal::spool::journal::{self, Journal};
use postseal::spool::{Control, Ending, Homecomings, How, Queue, Records, SoFar, Spool, SpoolError, SqliteSpool, Suppressions};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// Events that an engine under test keeps, and for how long.
pub const EVENTS_MAX: u64 = 100;
pub const KEEP_DAYS: u32 = 10;

/// A store that outlives its spools.
pub trait Engine {
    /// What it is a store of.
    type Spool: Records;
    fn new() -> Self;
    /// A spool on the store, as after a start.
    fn open(&self, seconds: i64) -> Self::Spool;
}

/// An engine that people can look into.
pub trait Full: Engine<Spool: Control + Homecomings + Journal + Suppressions> {
    /// A spool that is to write no events.
    fn open_without_journal(&self, seconds: i64) -> Self::Spool;
}

/// A clause on each engine.
macro_rules! contract {
    ($($engine:ident: $type:ty),* ; $clauses:tt) => { $( mod $engine { contract!(@clauses $type, $clauses); } )* };
    (@clauses $type:ty, { $($clause:ident)* }) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $clause() {
                super::$clause(<$type as super::Engine>::new()).await;
            }
        )*
    };
}

/// [`SqliteSpool`] in a temporary directory.
pub struct Sqlite(TempDir);

impl Sqlite {
    fn open_with(&self, enabled: bool, seconds: i64) -> SqliteSpool {
        let journal = journal::Settings { enabled, keep: Duration::from_hours(24 * u64::from(KEEP_DAYS)), events_max: EVENTS_MAX };
        // Larger bodies are files from 10,000 octets on, so that small tests meet both kinds.
        let settings = postseal::spool::Settings { body_file_octets_min: 10_000, senders_max: 3, suppressions_max: 40, journal, ..settings(self.0.path()) };
        SqliteSpool::open(settings, at(seconds)).unwrap().0
    }
}

impl Engine for Sqlite {
    type Spool = SqliteSpool;
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }
    fn open(&self, seconds: i64) -> SqliteSpool {
        self.open_with(true, seconds)
    }
}

impl Full for Sqlite {
    fn open_without_journal(&self, seconds: i64) -> SqliteSpool {
        self.open_with(false, seconds)
    }
}

/// The model of the simulation, on a disk that does what it should.
pub struct Model(Disk);

struct Sound;

impl Mischief for Sound {
    fn before<'a>(&'a self, _: &'a Work) -> Pin<Box<dyn Future<Output = Result<(), Trouble>> + Send + 'a>> {
        Box::pin(std::future::ready(Ok(())))
    }
    fn sync(&self) -> Pin<Box<dyn Future<Output = Fsync> + Send + '_>> {
        Box::pin(std::future::ready(Fsync::Done))
    }
}

impl Engine for Model {
    type Spool = Store;
    fn new() -> Self {
        Self(Disk::new())
    }
    fn open(&self, seconds: i64) -> Store {
        Store::open(&self.0, Arc::new(Sound), None, 3, at(seconds))
    }
}

async fn what_is_committed_survives_a_restart(engine: impl Engine) {
    let spool = engine.open(0);
    let (small, large) = (mail(1, &["a@x.example"]), Sealed { message: message(2, 50_000), ..mail(2, &["b@y.example", "c@z.example"]) });
    spool.commit(vec![small.clone(), large.clone()]).await.unwrap();
    spool.close().await;
    let spool = engine.open(1);
    for mail in [&small, &large] {
        assert_eq!(spool.message(mail.id).await.unwrap(), mail.message.octets());
    }
    assert_eq!(due(&spool, 1).await, "x.example@0 y.example@0 z.example@0");
    assert_eq!(counts(&spool).await, "2 3 0");
}

async fn messages_that_name_a_key_are_counted(engine: impl Engine) {
    let spool = engine.open(0);
    let key = |selector: &str| postseal::mail::KeyId { domain: "example.com".parse().unwrap(), selector: postseal::mail::Selector::new(selector) };
    assert_eq!(spool.mentions(&key("s1")).await.unwrap(), 0);
    let sealed_by = |number, selector: &str| {
        let mut mail = mail(number, &["a@x.example"]);
        mail.seal.fields[0].key = Some(key(selector).to_string());
        mail
    };
    // More than are read at a time; one of another key, one of a key with a longer name.
    for first in (1..=1200).step_by(100) {
        spool.commit((first..first + 100).map(|number| sealed_by(number, "s1")).collect()).await.unwrap();
    }
    spool.commit(vec![sealed_by(1201, "s2"), sealed_by(1202, "s11")]).await.unwrap();
    assert_eq!(spool.mentions(&key("s1")).await.unwrap(), 1200);
    assert_eq!((spool.mentions(&key("s2")).await.unwrap(), spool.mentions(&key("s")).await.unwrap()), (1, 0));
    spool.reseal(id(7), sealed_by(7, "s2").seal).await.unwrap();
    let leases = claim(&spool, "x.example", 1).await;
    let one = leases.into_iter().find(|lease| lease.mail.id == id(8)).unwrap();
    let endings = all(&one, &delivered(2));
    spool.settle(one, endings, vec![]).await.unwrap();
    assert_eq!((spool.mentions(&key("s1")).await.unwrap(), spool.mentions(&key("s2")).await.unwrap()), (1198, 2), "one was sealed again, one delivered");
}

async fn every_fact_of_a_mail_comes_back(engine: impl Engine) {
    let spool = engine.open(0);
    let mail = mail(7, &["\"odd one\"@x.example"]);
    commit(&spool, mail.clone()).await;
    let lease = claim_one(&spool, "x.example", 0).await;
    let (kept, who) = (&lease.mail, &lease.recipients[0]);
    assert_eq!(
        (kept.id, kept.accepted_at, kept.expires_at, &kept.identity, kept.kind, &kept.signing_domain),
        (mail.id, mail.accepted_at, mail.expires_at, &mail.identity, mail.kind, &mail.signing_domain)
    );
    assert_eq!(
        (&kept.stream, &kept.route, &kept.original_reverse_path, &kept.envid, kept.ret, kept.needs),
        (&mail.stream, &mail.route, &mail.original_reverse_path, &mail.envid, mail.ret, mail.needs)
    );
    assert_eq!((&kept.message_id, &kept.track_id, &kept.tag, &kept.seal), (&mail.message_id, &mail.track_id, &mail.tag, &mail.seal));
    assert!(kept.trace.is_some() && kept.trace == mail.trace);
    assert_eq!(kept.message_octets, mail.message.octets().len() as u64);
    assert_eq!((&who.mailbox, who.notify, &who.orcpt), (&mail.recipients[0].mailbox, mail.recipients[0].notify, &mail.recipients[0].orcpt));
    assert_eq!((who.index, who.attempts, who.unknown_ends, who.delay_told), (0, 0, 0, false));
    assert_eq!((&lease.reverse_path, lease.until), (&mail.recipients[0].reverse_path, at(600)));
}

async fn facts_that_were_not_given_stay_away(engine: impl Engine) {
    let spool = engine.open(0);
    let mut mail =
        Sealed { kind: Kind::Notice, envid: None, ret: Some(Ret::Full), needs: Needs::default(), track_id: None, tag: None, ..mail(1, &["a@x.example"]) };
    mail.original_reverse_path = null();
    mail.recipients[0].reverse_path = null();
    mail.recipients[0].notify = Notify::Never;
    mail.recipients[0].orcpt = None;
    commit(&spool, mail).await;
    let lease = claim_one(&spool, "x.example", 0).await;
    assert_eq!((lease.mail.kind, &lease.mail.original_reverse_path, &lease.reverse_path), (Kind::Notice, &null(), &null()));
    assert_eq!((&lease.mail.envid, lease.mail.ret, &lease.mail.track_id, &lease.mail.tag), (&None, Some(Ret::Full), &None, &None));
    assert_eq!((lease.recipients[0].notify, &lease.recipients[0].orcpt), (Notify::Never, &None));
}

async fn a_submission_is_kept_whole_or_not_at_all(engine: impl Engine) {
    let spool = engine.open(0);
    commit(&spool, mail(2, &["a@x.example"])).await;
    let batch = vec![mail(1, &["b@y.example"]), Sealed { message: message(2, 50_000), ..mail(2, &["c@z.example"]) }];
    assert_eq!(refused(spool.commit(batch).await), "mail id 0000000002 is taken");
    assert_eq!(due(&spool, 0).await, "x.example@0");
    assert_eq!(counts(&spool).await, "1 1 0");
    assert_eq!(refused(spool.message(id(1)).await), "there is no mail 0000000001");
    assert_eq!(refused(spool.commit(vec![mail(5, &["a@x.example"]), mail(5, &["a@x.example"])]).await), "mail id 0000000005 is taken");
}

async fn an_id_stays_taken_while_its_bounces_may_come(engine: impl Engine) {
    let spool = engine.open(0);
    commit(&spool, mail(1, &["a@x.example"])).await;
    let lease = claim_one(&spool, "x.example", 0).await;
    let endings = all(&lease, &delivered(1));
    spool.settle(lease, endings, vec![]).await.unwrap();
    assert!(matches!(spool.commit(vec![mail(1, &["b@x.example"])]).await, Err(SpoolError::IdTaken(_))));
    spool.sweep(at(31 * 86_400)).await.unwrap();
    commit(&spool, mail(1, &["b@x.example"])).await;
}

async fn queues_are_due_in_the_order_of_their_waiting(engine: impl Engine) {
    let spool = engine.open(0);
    for (number, host, due_at) in [(1, "late.example", 30), (2, "early.example", 10), (3, "middle.example", 20), (4, "early.example", 5)] {
        commit(&spool, Sealed { due_at: at(due_at), ..mail(number, &[&format!("a@{host}")]) }).await;
    }
    assert_eq!(due(&spool, 4).await, "");
    assert_eq!(due(&spool, 20).await, "early.example@5 middle.example@20");
    assert_eq!(spool.next_due_at().await.unwrap(), Some(at(5)));
    assert_eq!(spool.due(at(30), many(2)).await.unwrap().len(), 2);
    let first = spool.claim(&queue("early.example"), many(1), at(10), at(600)).await.unwrap();
    assert_eq!(first.leases[0].mail.id, id(4));
    assert_eq!(due(&spool, 20).await, "early.example@10 middle.example@20");
}

async fn nothing_is_claimed_before_it_is_due(engine: impl Engine) {
    let spool = engine.open(0);
    commit(&spool, Sealed { due_at: at(10), ..mail(1, &["a@x.example"]) }).await;
    assert_eq!(claim(&spool, "x.example", 9).await.len(), 0);
    assert_eq!(claim(&spool, "x.example", 10).await.len(), 1);
    assert_eq!(claim(&spool, "nobody.example", 10).await.len(), 0);
}

async fn one_lease_for_each_message_and_reverse_path(engine: impl Engine) {
    let spool = engine.open(0);
    let mut mixed = mail(1, &["a@x.example", "b@x.example", "c@y.example", "d@x.example"]);
    mixed.recipients[1].reverse_path = mailbox("b9999@b.example.com").into();
    commit(&spool, mixed).await;
    commit(&spool, mail(2, &["e@x.example"])).await;
    let leases = claim(&spool, "x.example", 0).await;
    let told: Vec<String> = leases
        .iter()
        .map(|lease| {
            let who: Vec<String> = lease.recipients.iter().map(|who| format!("{}:{}", who.index, who.mailbox)).collect();
            format!("{} {} {}", lease.mail.id, lease.reverse_path, who.join(" "))
        })
        .collect();
    assert_eq!(
        told,
        [
            "0000000001 <b0123@b.example.com> 0:a@x.example 3:d@x.example",
            "0000000001 <b9999@b.example.com> 1:b@x.example",
            "0000000002 <b0123@b.example.com> 0:e@x.example"
        ]
    );
}

async fn a_smart_host_has_one_queue_for_all_domains(engine: impl Engine) {
    let spool = engine.open(0);
    commit(&spool, Sealed { route: RouteName::new("ses"), ..mail(1, &["a@x.example", "b@y.example"]) }).await;
    let claimed = spool.claim(&Queue::stored("ses/"), many(10), at(0), at(600)).await.unwrap();
    assert_eq!(claimed.leases[0].recipients.len(), 2);
}

async fn a_claim_takes_no_more_than_asked(engine: impl Engine) {
    let spool = engine.open(0);
    let to: Vec<String> = (0..7).map(|number| format!("u{number}@x.example")).collect();
    commit(&spool, mail(1, &to.iter().map(String::as_str).collect::<Vec<_>>())).await;
    for expected in [3, 3, 1, 0] {
        let claimed = spool.claim(&queue("x.example"), many(3), at(0), at(600)).await.unwrap();
        assert_eq!(claimed.leases.iter().map(|lease| lease.recipients.len()).sum::<usize>(), expected);
    }
}

async fn what_is_leased_is_due_again_when_the_lease_runs_out(engine: impl Engine) {
    let spool = engine.open(0);
    commit(&spool, mail(1, &["a@x.example"])).await;
    let lost = claim_one(&spool, "x.example", 0).await;
    assert_eq!(due(&spool, 599).await, "");
    assert_eq!(claim(&spool, "x.example", 599).await.len(), 0);
    assert_eq!(spool.next_due_at().await.unwrap(), Some(at(600)));
    assert_eq!(due(&spool, 600).await, "x.example@600");
    let again = claim_one(&spool, "x.example", 600).await;
    // Nobody knows how the first attempt ended.
    assert_eq!((again.recipients[0].attempts, again.recipients[0].unknown_ends), (1, 1));
    let endings = all(&lost, &delivered(601));
    assert_eq!(refused(spool.settle(lost, endings, vec![]).await), "the lease on mail 0000000001 ran out");
    let endings = all(&again, &delivered(602));
    spool.settle(again, endings, vec![]).await.unwrap();
    assert_eq!(counts(&spool).await, "0 0 0");
}

async fn a_lease_can_be_prolonged_while_it_is_held(engine: impl Engine) {
    let spool = engine.open(0);
    commit(&spool, mail(1, &["a@x.example"])).await;
    let mut lease = claim_one(&spool, "x.example", 0).await;
    spool.renew(&mut lease, at(1000)).await.unwrap();
    assert_eq!(lease.until, at(1000));
    assert_eq!(due(&spool, 999).await, "");
    let mut thief = claim_one(&spool, "x.example", 1000).await;
    assert_eq!(refused(spool.renew(&mut lease, at(2000)).await), "the lease on mail 0000000001 ran out");
    assert_eq!(lease.until, at(1000));
    spool.renew(&mut thief, at(3000)).await.unwrap();
}

async fn a_deferred_recipient_waits_with_its_count(engine: impl Engine) {
    let spool = engine.open(0);
    commit(&spool, mail(1, &["a@x.example"])).await;
    let lease = claim_one(&spool, "x.example", 0).await;
    let mut cut = evidence("cut after the final dot", 1);
    cut.unknown_end = true;
    let endings = all(&lease, &How::Deferred { evidence: cut, next_at: at(300), delay_told: true });
    spool.settle(lease, endings, vec![]).await.unwrap();
    assert_eq!(spool.next_due_at().await.unwrap(), Some(at(300)));
    let lease = claim_one(&spool, "x.example", 300).await;
    assert_eq!((lease.recipients[0].attempts, lease.recipients[0].unknown_ends, lease.recipients[0].delay_told), (1, 1, true));
    let endings = all(&lease, &deferred(301, 400));
    spool.settle(lease, endings, vec![]).await.unwrap();
    let lease = claim_one(&spool, "x.example", 400).await;
    assert_eq!((lease.recipients[0].attempts, lease.recipients[0].unknown_ends, lease.recipients[0].delay_told), (2, 1, true));
}

async fn a_release_counts_no_attempt(engine: impl Engine) {
    let spool = engine.open(0);
    commit(&spool, mail(1, &["a@x.example"])).await;
    let lease = claim_one(&spool, "x.example", 0).await;
    let endings = all(&lease, &How::Released { next_at: at(50) });
    spool.settle(lease, endings, vec![]).await.unwrap();
    assert_eq!(claim_one(&spool, "x.example", 50).await.recipients[0].attempts, 0);
}

async fn recipients_of_a_message_end_each_on_its_own(engine: impl Engine) {
    let spool = engine.open(0);
    let large = Sealed { message: message(1, 50_000), ..mail(1, &["a@x.example", "b@x.example", "c@y.example"]) };
    commit(&spool, large.clone()).await;
    let lease = claim_one(&spool, "x.example", 0).await;
    let endings = vec![Ending::of(1, failed(1)), Ending::of(0, deferred(1, 100))];
    spool.settle(lease, endings, vec![]).await.unwrap();
    assert_eq!(counts(&spool).await, "1 2 0");
    let so_far: Vec<_> = spool.history(id(1)).await.unwrap().unwrap().recipients.iter().map(|who| who.outcome).collect();
    assert_eq!(so_far, [SoFar::Waiting, SoFar::Failed, SoFar::Waiting]);
    for (host, seconds) in [("x.example", 100), ("y.example", 100)] {
        assert_eq!(spool.message(id(1)).await.unwrap(), large.message.octets());
        let lease = claim_one(&spool, host, seconds).await;
        let endings = all(&lease, &delivered(seconds + 1));
        spool.settle(lease, endings, vec![]).await.unwrap();
    }
    assert_eq!(counts(&spool).await, "0 0 0");
    assert_eq!(refused(spool.message(id(1)).await), "there is no mail 0000000001");
    assert_eq!(spool.next_due_at().await.unwrap(), None);
}

async fn history_says_what_became_of_a_message(engine: impl Engine) {
    let spool = engine.open(0);
    commit(&spool, mail(1, &["a@x.example", "b@x.example"])).await;
    let lease = claim_one(&spool, "x.example", 0).await;
    let endings = vec![Ending::of(0, delivered(8)), Ending::of(1, failed(9))];
    spool.settle(lease, endings, vec![]).await.unwrap();
    spool.close().await;
    let spool = engine.open(10);
    let history = spool.history(id(1)).await.unwrap().unwrap();
    assert_eq!((history.accepted_at, history.closed_at), (at(0), Some(at(9))));
    assert_eq!((history.message_id.as_str(), history.track_id.as_deref(), history.tag.as_deref()), ("<1@example.com>", Some("order-7"), Some("receipt")));
    assert_eq!((history.stream.as_str(), history.original_reverse_path.to_string().as_str()), ("transactional", "<app@example.com>"));
    let told: Vec<_> = history.recipients.iter().map(|who| format!("{} {:?} {}", who.mailbox, who.outcome, who.text.as_deref().unwrap_or("-"))).collect();
    assert_eq!(told, ["a@x.example Delivered 250 ok", "b@x.example Failed 550 no such user"]);
    assert_eq!(history.recipients[1].at, Some(at(9)));
    assert_eq!(spool.history(id(2)).await.unwrap(), None);
    // Kept for thirty days, and no longer.
    assert_eq!(spool.sweep(at(30 * 86_400)).await.unwrap().history, 0);
    assert!(spool.history(id(1)).await.unwrap().is_some());
    assert_eq!(spool.sweep(at(30 * 86_400 + 10)).await.unwrap().history, 1);
    assert_eq!(spool.history(id(1)).await.unwrap(), None);
}

async fn notices_are_committed_with_the_ending_they_tell_of(engine: impl Engine) {
    let spool = engine.open(0);
    commit(&spool, mail(1, &["a@x.example"])).await;
    let notice = |number| Sealed { kind: Kind::Notice, ..mail(number, &["app@home.example"]) };
    let lost = claim_one(&spool, "x.example", 0).await;
    let lease = claim_one(&spool, "x.example", 600).await;
    let endings = all(&lost, &failed(601));
    assert!(matches!(spool.settle(lost, endings, vec![notice(2)]).await, Err(SpoolError::LeaseLost(_))));
    assert_eq!(due(&spool, 601).await, "", "a notice of a lost lease tells of nothing");
    let endings = all(&lease, &failed(602));
    spool.settle(lease, endings, vec![notice(2)]).await.unwrap();
    assert_eq!(due(&spool, 602).await, "home.example@0");
    assert_eq!(counts(&spool).await, "1 1 0");
}

async fn an_ending_is_not_lost_over_the_id_of_its_notice(engine: impl Engine) {
    let spool = engine.open(0);
    for number in [1, 2] {
        commit(&spool, mail(number, &["a@x.example"])).await;
    }
    let lease = claim(&spool, "x.example", 0).await.remove(0);
    let endings = all(&lease, &failed(1));
    spool.settle(lease, endings, vec![Sealed { kind: Kind::Notice, ..mail(2, &["app@home.example"]) }]).await.unwrap();
    assert_eq!(claim_one(&spool, "home.example", 1).await.mail.id, id(3));
}

async fn a_new_seal_goes_out_with_the_next_attempt(engine: impl Engine) {
    let spool = engine.open(0);
    commit(&spool, mail(1, &["a@x.example"])).await;
    spool.reseal(id(1), seal("second")).await.unwrap();
    assert_eq!(claim_one(&spool, "x.example", 0).await.mail.seal, seal("second"));
    assert_eq!(refused(spool.reseal(id(9), seal("second")).await), "there is no mail 0000000009");
}

async fn a_parked_queue_is_not_due(engine: impl Engine) {
    let spool = engine.open(0);
    commit(&spool, mail(1, &["a@x.example"])).await;
    spool.park(&queue("x.example"), at(100)).await.unwrap();
    commit(&spool, mail(2, &["b@x.example"])).await;
    assert_eq!(due(&spool, 99).await, "");
    assert_eq!(claim(&spool, "x.example", 99).await.len(), 0);
    assert_eq!(spool.next_due_at().await.unwrap(), Some(at(100)));
    assert_eq!(due(&spool, 100).await, "x.example@100");
    assert_eq!(claim(&spool, "x.example", 100).await.len(), 2);
}

async fn parking_holds_what_comes_later_and_can_be_undone(engine: impl Engine) {
    let spool = engine.open(0);
    spool.park(&queue("x.example"), at(100)).await.unwrap();
    assert_eq!(spool.next_due_at().await.unwrap(), None);
    commit(&spool, mail(1, &["a@x.example"])).await;
    assert_eq!(due(&spool, 99).await, "");
    spool.park(&queue("x.example"), at(20)).await.unwrap();
    assert_eq!(due(&spool, 20).await, "x.example@20");
    let lease = claim_one(&spool, "x.example", 20).await;
    let endings = all(&lease, &delivered(21));
    spool.settle(lease, endings, vec![]).await.unwrap();
    assert_eq!(spool.sweep(at(22)).await.unwrap().queues, 1);
}

async fn a_sender_is_known_from_its_first_mail_on(engine: impl Engine) {
    let spool = engine.open(0);
    assert_eq!(spool.sender(77).await.unwrap(), None);
    commit(&spool, Sealed { sender: Some(sender(77, "App@Example.com")), ..mail(1, &["a@x.example"]) }).await;
    commit(&spool, Sealed { sender: Some(sender(77, "App@example.com")), ..mail(2, &["a@x.example"]) }).await;
    assert_eq!(spool.sender(77).await.unwrap(), Some(mailbox("App@example.com")));
}

async fn a_sender_id_stands_for_one_mailbox(engine: impl Engine) {
    let spool = engine.open(0);
    let from = |number, address| Sealed { sender: Some(sender(77, address)), ..mail(number, &["a@x.example"]) };
    commit(&spool, from(1, "app@example.com")).await;
    assert_eq!(refused(spool.commit(vec![from(2, "other@example.com")]).await), "sender id 000000004d stands for another mailbox");
    assert_eq!(refused(spool.commit(vec![from(3, "APP@example.com")]).await), "sender id 000000004d stands for another mailbox");
    let both = vec![
        Sealed { sender: Some(sender(78, "a@b.example")), ..mail(4, &["a@x.example"]) },
        Sealed { sender: Some(sender(78, "c@b.example")), ..mail(5, &["a@x.example"]) },
    ];
    assert!(matches!(spool.commit(both).await, Err(SpoolError::SenderTaken(78))));
    assert_eq!(spool.sender(78).await.unwrap(), None);
    assert_eq!(counts(&spool).await, "1 1 0");
}

async fn the_table_of_senders_is_bounded(engine: impl Engine) {
    let spool = engine.open(0);
    let from = |number: u64| Sealed { sender: Some(sender(number, &format!("app{number}@example.com"))), ..mail(number, &["a@x.example"]) };
    for number in 1..=3 {
        commit(&spool, from(number)).await;
    }
    assert!(matches!(spool.commit(vec![from(4)]).await, Err(SpoolError::SendersFull(3))));
    commit(&spool, Sealed { sender: Some(sender(3, "app3@example.com")), accepted_at: at(86_400), ..mail(5, &["a@x.example"]) }).await;
    // Forty days on, the two that nobody used on the second day are forgotten.
    assert_eq!(spool.sweep(at(40 * 86_400)).await.unwrap().senders, 0);
    assert_eq!(spool.sweep(at(41 * 86_400)).await.unwrap().senders, 2);
    assert_eq!(spool.sender(1).await.unwrap(), None);
    assert_eq!(spool.sender(3).await.unwrap(), Some(mailbox("app3@example.com")));
    commit(&spool, from(4)).await;
}

async fn queues_are_listed_page_by_page(engine: impl Engine) {
    let spool = engine.open(0);
    commit(&spool, mail(1, &["a@x.example", "b@x.example", "a@y.example", "a@z.example"])).await;
    spool.park(&queue("y.example"), at(100)).await.unwrap();
    let page = spool.queues(None, many(2)).await.unwrap();
    let told: Vec<_> = page.iter().map(|queue| format!("{} {} {:?}", queue.queue, queue.recipients, queue.next_at.unwrap())).collect();
    assert_eq!(told, ["mx/x.example 2 2026-11-22T12:00:00.000Z", "mx/y.example 1 2026-11-22T12:01:40.000Z"]);
    let rest = spool.queues(Some(page[1].queue.clone()), many(2)).await.unwrap();
    assert_eq!(rest.iter().map(|queue| queue.queue.as_str()).collect::<Vec<_>>(), ["mx/z.example"]);
}

async fn no_recipient_is_leased_twice_at_once(engine: impl Engine) {
    let spool = Arc::new(engine.open(0));
    for number in 1..=40 {
        commit(&*spool, mail(number, &["a@x.example"])).await;
    }
    let claims = (0..8).map(|_| {
        let spool = Arc::clone(&spool);
        tokio::spawn(async move { spool.claim(&queue("x.example"), many(7), at(0), at(600)).await.unwrap().leases })
    });
    let mut leased = Vec::new();
    for claim in claims.collect::<Vec<_>>() {
        leased.extend(claim.await.unwrap().iter().map(|lease| lease.mail.id));
    }
    leased.sort_unstable();
    assert_eq!(leased, (1..=40).map(id).collect::<Vec<_>>());
}

async fn a_closed_spool_says_so(engine: impl Engine) {
    let spool = engine.open(0);
    commit(&spool, mail(1, &["a@x.example"])).await;
    spool.close().await;
    assert_eq!(refused(spool.commit(vec![mail(2, &["a@x.example"])]).await), "the spool is closed");
    assert_eq!(refused(spool.due(at(0), many(1)).await), "the spool is closed");
    assert_eq!(refused(spool.counts().await), "the spool is closed");
    assert_eq!(spool.health(), postseal::spool::Health::Closed);
    spool.close().await;
}

contract! {
    sqlite: super::Sqlite, model: super::Model;
    {
        what_is_committed_survives_a_restart
        every_fact_of_a_mail_comes_back
        facts_that_were_not_given_stay_away
        a_submission_is_kept_whole_or_not_at_all
        an_id_stays_taken_while_its_bounces_may_come
        queues_are_due_in_the_order_of_their_waiting
        nothing_is_claimed_before_it_is_due
        one_lease_for_each_message_and_reverse_path
        a_smart_host_has_one_queue_for_all_domains
        a_claim_takes_no_more_than_asked
        what_is_leased_is_due_again_when_the_lease_runs_out
        a_lease_can_be_prolonged_while_it_is_held
        a_deferred_recipient_waits_with_its_count
        a_release_counts_no_attempt
        recipients_of_a_message_end_each_on_its_own
        history_says_what_became_of_a_message
        notices_are_committed_with_the_ending_they_tell_of
        an_ending_is_not_lost_over_the_id_of_its_notice
        a_new_seal_goes_out_with_the_next_attempt
        a_parked_queue_is_not_due
        parking_holds_what_comes_later_and_can_be_undone
        a_sender_is_known_from_its_first_mail_on
        a_sender_id_stands_for_one_mailbox
        the_table_of_senders_is_bounded
        queues_are_listed_page_by_page
        no_recipient_is_leased_twice_at_once
        messages_that_name_a_key_are_counted
        a_closed_spool_says_so
        fresh_mail_is_leased_with_its_commit
        a_standing_claim_takes_messages_whole_and_no_more_than_it_has_room_for
        nobody_stands_in_the_way_of_a_park_or_a_later_time
        what_a_standing_claim_left_is_due_when_its_lease_runs_out
        a_claim_that_is_over_is_granted_nothing
        a_refused_commit_grants_nothing
        granted_mail_is_due_after_a_restart
    }
}

contract! {
    sqlite_control: super::Sqlite;
    {
        a_list_shows_what_waits_and_the_last_words
        every_field_of_a_selection_narrows_it
        a_walk_goes_page_by_page_to_what_was_there_when_it_began
        a_page_ends_though_nothing_on_it_was_selected
        sums_say_who_has_how_much_and_what_was_said_last
        what_a_person_holds_waits_for_a_person
        what_is_being_delivered_is_left_alone
        a_lease_that_ran_out_is_worth_nothing_after_a_hold
        a_retry_is_due_now_and_its_queue_no_longer_parked
        a_recipient_can_be_given_another_route
        what_is_cancelled_is_settled_with_its_notice_and_history_says_so
        an_interrupted_cancel_leaves_its_mail_held
        orders_are_carried_out_page_by_page
        a_message_is_shown_with_all_its_recipients
        a_key_is_not_kept_for_mail_that_a_person_holds
        a_recipient_that_was_cancelled_counts_as_settled
    }
}
