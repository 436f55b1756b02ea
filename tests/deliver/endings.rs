//! How recipients end: retries, failures, splits, unknown ends, who is told, and what a drain leaves.

use super::rig::{Rig, field, lab, recipient};
use crate::support::next_hop::{At, Close, NextHop, Rule, Say, Script, Wait};
use postseal::mail::{Notify, ReversePath};
use postseal::seal::{FieldKind, Kind, Seal, Sealed, SealedRecipient};
use postseal::spool::Spool;
use std::time::Duration;

const ZONE: &str = "
    example.com     MX 10 mx.example.com
    mx.example.com  A 127.0.0.1
";
const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn each_recipient_has_its_own_outcome() {
    let script = Script::modern()
        .when(At::rcpt("gone@example.com"), [Say("550 5.1.1 no such user")])
        .when(At::rcpt("full@example.com"), [Say("452 4.2.2 mailbox full")]);
    let hop = NextHop::start(script);
    let rig = Rig::start(ZONE, &hop).await;
    rig.send(&["a@example.com", "gone@example.com", "full@example.com"]).await;
    rig.until(1, 1, 1).await;
    assert_eq!(hop.messages().len(), 1);
    assert_eq!(rig.told_lines(), ["failed 5.1.1 gone@example.com: in reply to RCPT"]);
    let told = rig.told.told.lock().unwrap();
    assert_eq!(told[0].1.evidence.reply.as_ref().unwrap().to_string(), "550 5.1.1 no such user");
}

#[tokio::test]
async fn a_deferred_recipient_is_tried_again_on_schedule_and_told_of_late_once() {
    let hop = NextHop::start(Script::modern().rule(Rule::at(At::Rcpt(None)).times(3).then([Say("450 4.2.0 greylisted")])));
    let rig = Rig::start(ZONE, &hop).await;
    rig.send(&["a@example.com"]).await;
    rig.until(0, 1, 0).await;
    let wait = rig.next_due_in().await;
    assert!(wait > SECOND * 250 && wait < SECOND * 350, "{wait:?}");
    rig.advance(Duration::from_secs(350));
    rig.until(0, 2, 0).await;
    let wait = rig.next_due_in().await;
    assert!(wait > SECOND * 760 && wait < SECOND * 1040, "{wait:?}");
    assert_eq!(rig.told_lines(), Vec::<String>::new());
    rig.advance(Duration::from_hours(4));
    rig.until(0, 3, 0).await;
    assert_eq!(rig.told_lines(), ["delayed 4.2.0 a@example.com: in reply to RCPT"]);
    rig.advance(Duration::from_hours(2));
    rig.until(1, 3, 0).await;
    assert_eq!(rig.told_lines().len(), 1);
}

#[tokio::test]
async fn what_is_too_old_is_given_up_after_a_last_attempt() {
    let hop = NextHop::start(Script::modern().when(At::Rcpt(None), [Say("450 4.2.0 never today")]));
    let rig = Rig::start(ZONE, &hop).await;
    let mail = rig.mail(&["a@example.com"]);
    rig.commit(Sealed { expires_at: rig.now() + SECOND * 1800, ..mail }).await;
    rig.until(0, 1, 0).await;
    rig.advance(SECOND * 1900);
    rig.until(0, 2, 0).await; // too old, but this process has not run for an hour: a long stop bounces nothing
    rig.advance(SECOND * 3600);
    rig.until(0, 2, 1).await;
    let told = rig.told_lines();
    assert!(told[0].starts_with("failed 4.4.7 a@example.com: given up after 1 hours; in reply to RCPT"), "{told:?}");
}

#[tokio::test]
async fn too_many_recipients_are_sent_in_further_transactions_at_once() {
    let full = |who: &str, transaction| Rule::at(At::rcpt(who)).in_transaction(transaction).then([Say("452 4.5.3 too many recipients")]);
    let script = Script::modern().rule(full("c@example.com", 0)).rule(full("d@example.com", 0)).rule(full("e@example.com", 0)).rule(full("e@example.com", 1));
    let hop = NextHop::start(script);
    let rig = Rig::start(ZONE, &hop).await;
    rig.send(&["a@example.com", "b@example.com", "c@example.com", "d@example.com", "e@example.com"]).await;
    rig.until(5, 0, 0).await;
    let counts = || hop.messages().iter().map(|message| message.rcpts.len()).collect::<Vec<_>>();
    assert_eq!(counts(), [2, 2, 1]);
    // It is remembered: nobody is refused again.
    rig.send(&["a@example.com", "b@example.com", "c@example.com"]).await;
    rig.until(8, 0, 0).await;
    assert_eq!(counts(), [2, 2, 1, 2, 1]);
}

#[tokio::test]
async fn a_message_refused_for_several_is_tried_for_each_before_anybody_fails() {
    let script = Script::modern()
        .when(At::rcpt("gone@example.com"), [Say("550 5.1.1 no such user")])
        .rule(Rule::at(At::Message).in_transaction(0).then([Say("554 5.7.1 one of you does not want it")]))
        .rule(Rule::at(At::Message).in_transaction(2).then([Say("554 5.7.1 you do not want it")]));
    let hop = NextHop::start(script);
    let rig = Rig::start(ZONE, &hop).await;
    rig.send(&["a@example.com", "b@example.com", "gone@example.com"]).await;
    rig.until(1, 0, 2).await;
    assert_eq!(rig.told_lines(), ["failed 5.1.1 gone@example.com: in reply to RCPT", "failed 5.7.1 b@example.com: in reply to the final dot"]);
    let rcpts: Vec<usize> = hop.messages().iter().map(|message| message.rcpts.len()).collect();
    assert_eq!(rcpts, [2, 1, 1]);
}

#[tokio::test]
async fn a_cut_after_the_final_dot_is_one_unknown_end_and_no_second_try_at_once() {
    let hop = NextHop::start(Script::modern().rule(Rule::at(At::Message).times(1).then([Close])));
    let rig = Rig::start(ZONE, &hop).await;
    rig.send(&["a@example.com"]).await;
    rig.until(0, 1, 0).await;
    assert_eq!(rig.tally(|tally| &tally.unknown_ends), 1);
    assert_eq!(hop.messages().len(), 1);
    rig.advance(SECOND * 360);
    rig.until(1, 1, 0).await;
    assert_eq!((rig.tally(|tally| &tally.unknown_ends), hop.messages().len()), (1, 2));
}

#[tokio::test]
async fn what_is_waited_for_is_not_sent_again_when_the_clock_jumps_ahead() {
    let hop = NextHop::start(Script::modern().rule(Rule::at(At::Message).times(1).then([Wait(SECOND * 3), Say("250 2.0.0 taken")])));
    let rig = Rig::start(ZONE, &hop).await;
    rig.send(&["a@example.com"]).await;
    while hop.messages().is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    rig.advance(Duration::from_hours(1)); // past every lease
    rig.until(1, 0, 0).await;
    assert_eq!(hop.messages().len(), 1);
}

#[tokio::test]
async fn a_cut_before_the_final_dot_is_tried_again_at_once_on_another_host() {
    let hop = NextHop::start(Script::modern().when(At::Mail, [Close]));
    let other = NextHop::start_at(std::net::SocketAddr::new([127, 0, 0, 2].into(), hop.address().port()), Script::modern());
    let zone = "
        example.com MX 10 a.example.com
        example.com MX 20 b.example.com
        a.example.com A 127.0.0.1
        b.example.com A 127.0.0.2
    ";
    let rig = Rig::start(zone, &hop).await;
    rig.send(&["a@example.com"]).await;
    rig.until(1, 0, 0).await;
    assert_eq!((hop.sessions().len(), other.messages().len()), (1, 1));
}

#[tokio::test]
async fn sessions_that_break_are_not_begun_for_ever() {
    let hop = NextHop::start(Script::modern().when(At::Mail, [Close]));
    let zone = (1..=9).map(|n| format!("example.com MX {n} h{n}.example.com\nh{n}.example.com A 127.0.0.1")).collect::<Vec<_>>().join("\n");
    let rig = Rig::start(&zone, &hop).await;
    rig.send(&["a@example.com"]).await;
    rig.until(0, 1, 0).await;
    assert_eq!(hop.sessions().len(), 3);
}

#[tokio::test]
async fn an_idle_connection_closed_in_silence_is_nobodys_fault() {
    let hop = NextHop::start(Script::modern().when(At::Idle, [Wait(Duration::from_millis(50)), Close]));
    let mut settings = lab(hop.address().port());
    settings.idle = SECOND * 5;
    let rig = Rig::start_with(ZONE, settings).await;
    for n in 1..=3 {
        rig.send(&["a@example.com"]).await;
        rig.until(n, 0, 0).await;
        hop.until(|sessions| sessions.iter().all(|session| session.ended)).await;
    }
    assert_eq!(hop.sessions().len(), 3);
}

#[tokio::test]
async fn submitters_are_told_as_they_asked_and_nobody_else() {
    let hop = NextHop::start(Script::modern().when(At::rcpt("gone@example.com"), [Say("550 5.1.1 no such user")]));
    let rig = Rig::start(ZONE, &hop).await;
    let asking = |to: &str, notify| SealedRecipient { notify, ..recipient(to) };
    let success = Notify::On { success: true, failure: false, delay: false };
    let mail = rig.mail(&["x@example.com"]);
    let recipients = vec![asking("a@example.com", success), asking("gone@example.com", Notify::Never)];
    rig.commit(Sealed { recipients, ..mail }).await;
    let null = rig.mail(&["gone@example.com"]);
    rig.commit(Sealed { original_reverse_path: ReversePath::Null, ..null }).await;
    let notice = rig.mail(&["gone@example.com"]);
    rig.commit(Sealed { kind: Kind::Notice, ..notice }).await;
    rig.until(1, 0, 3).await;
    assert_eq!(rig.told_lines(), ["relayed 2.0.0 a@example.com: in reply to the final dot"]);
}

#[tokio::test]
async fn a_next_hop_with_dsn_takes_over_success_notices() {
    let mut script = Script::modern();
    script.capabilities.push("DSN".to_owned());
    let hop = NextHop::start(script);
    let rig = Rig::start(ZONE, &hop).await;
    let mail = rig.mail(&["x@example.com"]);
    let notify = Notify::On { success: true, failure: true, delay: false };
    rig.commit(Sealed { recipients: vec![SealedRecipient { notify, ..recipient("a@example.com") }], ..mail }).await;
    rig.until(1, 0, 0).await;
    assert_eq!(rig.told_lines(), Vec::<String>::new());
    assert!(hop.messages()[0].rcpts[0].ends_with("NOTIFY=SUCCESS,FAILURE"), "{:?}", hop.messages()[0].rcpts);
}

#[tokio::test]
async fn a_seal_whose_key_is_gone_is_made_again() {
    let hop = NextHop::start(Script::modern());
    let rig = Rig::start(ZONE, &hop).await;
    let mail = rig.mail(&["a@example.com"]);
    let seal = Seal { fields: vec![field(FieldKind::Rsa, "old")], ..mail.seal.clone() };
    rig.commit(Sealed { seal, ..mail }).await;
    rig.until(1, 0, 0).await;
    assert!(hop.messages()[0].octets.starts_with(b"DKIM-Signature: v=1; b=new\r\n"));
}

#[tokio::test]
async fn a_drain_waits_for_the_final_reply_and_begins_nothing() {
    let hop = NextHop::start(Script::modern().when(At::Message, [Wait(SECOND), Say("250 2.0.0 taken")]));
    let rig = Rig::start(ZONE, &hop).await;
    rig.send(&["a@example.com"]).await;
    hop.until(|sessions| sessions.iter().any(|session| session.transactions.iter().any(|received| received.complete))).await;
    rig.delivery.drain(SECOND * 10).await;
    assert_eq!(rig.counts(), (1, 0, 0));
    rig.send(&["b@example.com"]).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!((rig.counts(), hop.sessions().len()), ((1, 0, 0), 1));
    assert!(rig.next_due_in().await < SECOND);
}

#[tokio::test]
async fn a_drain_ends_in_time_and_tells_what_may_have_arrived_from_what_has_not() {
    let hop = NextHop::start(Script::modern().when(At::rcpt("slow@example.com"), [Wait(SECOND * 60)]).when(At::Message, [Wait(SECOND * 60)]));
    let rig = Rig::start(ZONE, &hop).await;
    rig.send(&["slow@example.com"]).await;
    rig.send(&["a@example.com"]).await;
    hop.until(|sessions| {
        sessions.iter().any(|session| session.commands.iter().any(|command| command.line.starts_with("RCPT TO:<slow@")))
            && sessions.iter().any(|session| session.transactions.iter().any(|received| received.complete))
    })
    .await;
    let began = std::time::Instant::now();
    rig.delivery.drain(Duration::from_millis(300)).await;
    assert!(began.elapsed() < SECOND * 20, "{:?}", began.elapsed());
    assert_eq!((rig.counts(), rig.tally(|tally| &tally.unknown_ends)), ((0, 1, 0), 1));
    // The other one was given back without an attempt counted: it is due now.
    assert_eq!(rig.spool.due(rig.now(), std::num::NonZeroUsize::MIN).await.unwrap().len(), 1);
    assert_eq!(rig.spool.counts().await.unwrap().recipients, 2);
}

#[tokio::test]
async fn nothing_is_sent_once_the_spool_has_failed() {
    let hop = NextHop::start(Script::modern().when(At::Message, [Wait(Duration::from_millis(300)), Say("250 2.0.0 taken")]));
    let rig = Rig::start(ZONE, &hop).await;
    let mails = (0..20).map(|_| rig.mail(&["a@example.com"])).collect();
    rig.spool.commit(mails).await.unwrap();
    rig.delivery.wake();
    hop.until(|sessions| sessions.iter().any(|session| !session.transactions.is_empty())).await;
    let sabotage = rusqlite::Connection::open(rig.directory().join("spool.db")).unwrap();
    let refuse = "CREATE TRIGGER disk BEFORE UPDATE ON recipients BEGIN SELECT RAISE(ABORT, 'disk I/O error'); END;
        CREATE TRIGGER disk_too BEFORE DELETE ON recipients BEGIN SELECT RAISE(ABORT, 'disk I/O error'); END";
    sabotage.busy_timeout(SECOND * 5).unwrap();
    sabotage.execute_batch(refuse).unwrap();
    tokio::time::sleep(SECOND * 3).await;
    let sent = hop.messages().len();
    // Each of four connections is at its next message while the ending of the first is being written.
    assert!(sent <= 8, "{sent} messages were sent, and of none is it known");
    tokio::time::sleep(SECOND).await;
    assert_eq!(hop.messages().len(), sent);
}

/// There would be nothing to tell its submitter of it.
#[tokio::test]
async fn nobody_fails_whose_message_cannot_be_read() {
    let hop = NextHop::start(Script::modern());
    let rig = Rig::start("nomail.example MX 0 .", &hop).await;
    let mail = rig.mail(&["a@nomail.example"]);
    let due_at = rig.now() + SECOND * 60;
    rig.commit(Sealed { due_at, ..mail }).await;
    rusqlite::Connection::open(rig.directory().join("spool.db")).unwrap().execute_batch("DELETE FROM bodies").unwrap();
    rig.advance(SECOND * 61);
    for _ in 0..6000 {
        if rig.spool.counts().await.unwrap().quarantined == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!((rig.spool.counts().await.unwrap().quarantined, rig.counts()), (1, (0, 0, 0)));
}

#[tokio::test]
async fn a_lease_is_renewed_while_its_attempt_runs() {
    let hop = NextHop::start(Script::modern().when(At::Rcpt(None), [Wait(SECOND * 10), Say("250 2.1.5 at last")]));
    let mut settings = lab(hop.address().port());
    (settings.timeouts.rcpt, settings.timeouts.data_done) = (SECOND * 60, SECOND * 4);
    (settings.lease, settings.lease_margin) = (SECOND * 8, SECOND);
    let rig = Rig::start_with(ZONE, settings).await;
    rig.send(&["a@example.com"]).await;
    rig.until(1, 0, 0).await;
    assert_eq!((hop.messages().len(), hop.sessions().len()), (1, 1));
}

#[tokio::test]
async fn no_final_dot_is_sent_under_a_lease_that_would_not_last() {
    let hop = NextHop::start(Script::modern());
    let mut settings = lab(hop.address().port());
    settings.timeouts.data_done = SECOND * 60; // more than the lease
    settings.lease = SECOND * 30;
    let rig = Rig::start_with(ZONE, settings).await;
    rig.send(&["a@example.com"]).await;
    hop.until(|sessions| sessions.iter().any(|session| session.ended && !session.transactions.is_empty())).await;
    assert_eq!((hop.messages().len(), rig.counts()), (0, (0, 0, 0)));
}
