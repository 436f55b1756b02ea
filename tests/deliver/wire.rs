//! Transactions with a scripted next hop: what is sent, and what its answers mean for each recipient.

use crate::support::next_hop::{At, Close, NextHop, Raw, Reset, Rule, Say, Script, Session, Tls, Wait};
use postseal::deliver::connection::Connection;
use postseal::deliver::target::{Target, Timeouts};
use postseal::deliver::tls::{ClientTls, Roots, TlsDemand, TlsSettings};
use postseal::mail::{Mailbox, Notify, OriginalRecipient, Outcome, Ret, ReversePath};
use postseal::smtp::client::{ConnectionEnd, RecipientEnd, Transaction, TransactionEnd, TransactionRecipient};
use std::time::{Duration, Instant};

pub fn target(hop: &NextHop) -> Target {
    Target {
        host: "next-hop.test".to_owned(),
        address: hop.address(),
        tls: TlsDemand::Opportunistic,
        implicit_tls: false,
        lmtp: false,
        auth: None,
        source: None,
        ehlo_name: "relay.example".to_owned(),
        bdat: false,
    }
}

pub fn client_tls() -> ClientTls {
    ClientTls::new(&TlsSettings { roots: Roots::BuiltIn, ca_file: None }).unwrap()
}

/// Long enough for a busy machine, short enough not to wait for.
pub fn timeouts() -> Timeouts {
    let time = Duration::from_secs(20);
    Timeouts {
        connect: time,
        greeting: time,
        ehlo: time,
        starttls: time,
        auth: time,
        mail: time,
        rcpt: time,
        data_init: time,
        data_block: time,
        data_done: time,
        quit: time,
    }
}

async fn open(hop: &NextHop) -> Connection {
    Connection::open(&target(hop), &client_tls(), &timeouts()).await.unwrap()
}

async fn open_bdat(hop: &NextHop) -> Connection {
    Connection::open(&Target { bdat: true, ..target(hop) }, &client_tls(), &timeouts()).await.unwrap()
}

struct Mail {
    from: ReversePath,
    to: Vec<Mailbox>,
    seal: Vec<u8>,
    message: Vec<u8>,
}

fn mail(to: &[&str], message: &[u8]) -> Mail {
    let to = to.iter().map(|to| Mailbox::parse(to).unwrap()).collect();
    Mail { from: Mailbox::parse("a@sender.example").unwrap().into(), to, seal: b"DKIM-Signature: v=1\r\n".to_vec(), message: message.to_vec() }
}

impl Mail {
    async fn over(&self, connection: &mut Connection) -> TransactionEnd {
        self.over_with(connection, async { true }).await
    }

    async fn over_with(&self, connection: &mut Connection, leave: impl Future<Output = bool>) -> TransactionEnd {
        let recipients: Vec<_> = self.to.iter().map(|mailbox| TransactionRecipient { mailbox, notify: Notify::Unspecified, orcpt: None }).collect();
        let transaction = Transaction {
            reverse_path: &self.from,
            recipients: &recipients,
            envid: None,
            ret: None,
            header: &self.seal,
            message: &self.message,
            as_it_is: false,
        };
        connection.transact(&transaction, leave).await
    }

    fn octets(&self) -> Vec<u8> {
        [&self.seal[..], &self.message].concat()
    }
}

const HELLO: &[u8] = b"Subject: hello\r\n\r\nhello\r\n";

/// One line: each recipient's end, then the connection's, then what else there is to say.
fn shown(end: &TransactionEnd) -> String {
    let outcome = |word: &str, evidence: &postseal::mail::Evidence| {
        let reply = evidence.reply.as_ref().map_or(String::new(), |reply| format!(" by {}", reply.code));
        let unknown = if evidence.unknown_end { ", end unknown" } else { "" };
        format!("{word} {}{reply}{unknown}", evidence.status)
    };
    let mut words: Vec<String> = end
        .recipients
        .iter()
        .map(|end| match end {
            RecipientEnd::Ended(Outcome::Delivered(evidence)) => outcome("delivered", evidence),
            RecipientEnd::Ended(Outcome::Deferred(evidence)) => outcome("deferred", evidence),
            RecipientEnd::Ended(Outcome::Failed(evidence)) => outcome("failed", evidence),
            RecipientEnd::TooMany(reply) => format!("too many{}", if reply.is_some() { "" } else { " by RCPTMAX" }),
        })
        .collect();
    words.push(
        match &end.connection {
            ConnectionEnd::Reusable => "reusable",
            ConnectionEnd::Full => "full",
            ConnectionEnd::Closed(_) => "closed",
        }
        .to_owned(),
    );
    words.extend(end.blamed_message.then(|| "message blamed".to_owned()));
    words.extend(end.stale.then(|| "stale".to_owned()));
    words.join("; ")
}

fn commands(session: &Session) -> Vec<String> {
    session.commands.iter().map(|command| command.line.split(':').next().unwrap_or_default().to_owned()).skip(1).collect()
}

/// Sends one message to these recipients, with and without PIPELINING: the end must be the same.
async fn check(script: Script, to: &[&str], expect: &str) {
    for pipelining in [true, false] {
        let mut script = script.clone();
        if !pipelining {
            script.capabilities.retain(|line| line != "PIPELINING");
        }
        let hop = NextHop::start(script.clone());
        let end = mail(to, HELLO).over(&mut open(&hop).await).await;
        assert_eq!(shown(&end), expect, "pipelining: {pipelining}, {end:#?}");
    }
}

fn pipelining() -> Script {
    Script::offering(["PIPELINING", "8BITMIME", "SIZE 100000000"])
}

#[tokio::test]
async fn the_envelope_is_one_write_where_pipelining_is_offered_and_lock_step_where_not() {
    let sent = mail(&["b@x.example", "c@x.example"], HELLO);
    for (script, pipelined) in [(pipelining(), true), (Script::offering(["SIZE"]), false)] {
        let hop = NextHop::start(script);
        let mut connection = open(&hop).await;
        for _ in 0..2 {
            assert_eq!(shown(&sent.over(&mut connection).await), "delivered 2.0.0 by 250; delivered 2.0.0 by 250; reusable");
        }
        connection.quit().await;
        let session = &hop.sessions()[0];
        let expect = ["MAIL FROM", "RCPT TO", "RCPT TO", "DATA", "MAIL FROM", "RCPT TO", "RCPT TO", "DATA", "QUIT"];
        assert_eq!(commands(session), expect);
        let together: Vec<bool> = session.commands[1..5].iter().map(|command| command.pipelined).collect();
        assert_eq!(together, [false, pipelined, pipelined, pipelined]);
        assert_eq!(session.transactions[0].mail, format!("MAIL FROM:<a@sender.example> SIZE={}", sent.octets().len()));
        assert_eq!(session.transactions[1].octets, sent.octets());
    }
}

#[tokio::test]
async fn every_recipient_has_its_own_outcome() {
    let script = pipelining()
        .when(At::rcpt("no@x.example"), [Say("550 5.1.1 no such user")])
        .when(At::rcpt("later@x.example"), [Say("450-4.2.1 slow\r\n450 4.2.1 down")])
        .when(At::rcpt("bare@x.example"), [Say("553 what")]);
    let to = ["b@x.example", "no@x.example", "later@x.example", "bare@x.example", "c@x.example"];
    let expect = "delivered 2.0.0 by 250; failed 5.1.1 by 550; deferred 4.2.1 by 450; failed 5.0.0 by 553; delivered 2.0.0 by 250; reusable";
    check(script, &to, expect).await;
}

#[tokio::test]
async fn without_an_accepted_recipient_no_message_is_sent() {
    let script = pipelining().when(At::Rcpt(None), [Say("550 5.1.1 no")]);
    check(script, &["b@x.example", "c@x.example"], "failed 5.1.1 by 550; failed 5.1.1 by 550; reusable").await;
}

/// RFC 2920 §3.1: DATA may be answered with 354 although every RCPT was refused.
#[tokio::test]
async fn a_354_for_nobody_is_answered_with_a_lone_dot() {
    let script = pipelining().when(At::Rcpt(None), [Say("550 5.1.1 no")]).when(At::Data, [Say("354 go")]).when(At::Message, [Say("554 nobody")]);
    let hop = NextHop::start(script);
    let mut connection = open(&hop).await;
    assert_eq!(shown(&mail(&["b@x.example"], HELLO).over(&mut connection).await), "failed 5.1.1 by 550; reusable");
    assert_eq!(hop.messages()[0].octets, b"");
    assert_eq!(commands(&hop.sessions()[0]), ["MAIL FROM", "RCPT TO", "DATA"]);
}

#[tokio::test]
async fn after_a_refused_transaction_the_connection_is_reset_and_used_again() {
    let script = pipelining().rule(Rule::at(At::Rcpt(None)).in_transaction(0).then([Say("550 5.1.1 no")]));
    let hop = NextHop::start(script);
    let mut connection = open(&hop).await;
    assert_eq!(shown(&mail(&["b@x.example"], HELLO).over(&mut connection).await), "failed 5.1.1 by 550; reusable");
    assert_eq!(shown(&mail(&["c@x.example"], HELLO).over(&mut connection).await), "delivered 2.0.0 by 250; reusable");
    assert_eq!(commands(&hop.sessions()[0]), ["MAIL FROM", "RCPT TO", "DATA", "RSET", "MAIL FROM", "RCPT TO", "DATA"]);
}

#[tokio::test]
async fn a_refused_sender_is_an_answer_for_every_recipient() {
    let to = ["b@x.example", "c@x.example"];
    check(pipelining().when(At::Mail, [Say("553 5.1.8 who?")]), &to, "failed 5.1.8 by 553; failed 5.1.8 by 553; reusable").await;
    check(pipelining().when(At::Mail, [Say("451 4.7.1 later")]), &to, "deferred 4.7.1 by 451; deferred 4.7.1 by 451; reusable").await;
}

/// RFC 5321 §4.5.3.1.10, and what Microsoft and others really say.
#[tokio::test]
async fn recipients_over_the_servers_limit_go_into_another_transaction() {
    let to = ["b@x.example", "c@x.example", "d@x.example"];
    for (reply, third) in [
        ("452 4.5.3 Too many recipients", "too many"),
        ("451 4.5.3 Too many recipients", "too many"),
        ("452 too many", "too many"),
        ("552 too many", "too many"),
        ("552 5.5.3 too many", "too many"),
        ("452 4.2.2 mailbox full", "deferred 4.2.2 by 452"),
        ("552 5.2.2 mailbox full", "failed 5.2.2 by 552"),
    ] {
        let script = pipelining().when(At::rcpt("d@x.example"), [Say(reply)]);
        check(script, &to, &format!("delivered 2.0.0 by 250; delivered 2.0.0 by 250; {third}; reusable")).await;
    }
}

#[tokio::test]
async fn a_first_recipient_that_is_too_many_has_to_wait() {
    for (reply, expect) in [("452 4.5.3 too many", "deferred 4.5.3 by 452; reusable"), ("552 too many", "deferred 4.5.3 by 552; reusable")] {
        check(pipelining().when(At::Rcpt(None), [Say(reply)]), &["b@x.example"], expect).await;
    }
}

#[tokio::test]
async fn limits_announced_at_ehlo_are_kept_without_asking() {
    let mut script = pipelining();
    script.capabilities.push("LIMITS RCPTMAX=2 MAILMAX=2".to_owned());
    let hop = NextHop::start(script);
    let mut connection = open(&hop).await;
    let sent = mail(&["b@x.example", "c@x.example", "d@x.example"], HELLO);
    assert_eq!(shown(&sent.over(&mut connection).await), "delivered 2.0.0 by 250; delivered 2.0.0 by 250; too many by RCPTMAX; reusable");
    assert_eq!(shown(&mail(&["d@x.example"], HELLO).over(&mut connection).await), "delivered 2.0.0 by 250; full");
    assert_eq!(hop.messages()[0].rcpts.len(), 2);
}

#[tokio::test]
async fn a_421_ends_the_connection_wherever_it_comes() {
    let to = ["b@x.example", "c@x.example"];
    let both = "deferred 4.3.2 by 421; deferred 4.3.2 by 421; closed";
    for at in [At::Mail, At::Data, At::Message] {
        check(pipelining().when(at, [Say("421 4.3.2 going down"), Close]), &to, both).await;
    }
    let script = pipelining().when(At::rcpt("b@x.example"), [Say("550 5.1.1 no")]).when(At::rcpt("c@x.example"), [Say("421 4.3.2 bye"), Close]);
    check(script, &to, "failed 5.1.1 by 550; deferred 4.3.2 by 421; closed").await;
    let script = pipelining().when(At::rcpt("c@x.example"), [Say("421 4.3.2 bye"), Close]);
    check(script, &to, both).await;
}

#[tokio::test]
async fn a_refusal_of_the_message_blames_the_message_when_several_were_accepted() {
    let refused = |at| pipelining().when(at, [Say("550 5.7.1 spam")]);
    for at in [At::Data, At::Message] {
        check(refused(at.clone()), &["b@x.example", "c@x.example"], "failed 5.7.1 by 550; failed 5.7.1 by 550; reusable; message blamed").await;
        check(refused(at), &["b@x.example"], "failed 5.7.1 by 550; reusable").await;
    }
    let script = refused(At::Message).when(At::rcpt("no@x.example"), [Say("550 5.1.1 no")]);
    check(script, &["b@x.example", "no@x.example"], "failed 5.7.1 by 550; failed 5.1.1 by 550; reusable").await;
    let later = pipelining().when(At::Message, [Say("451 4.7.1 greylisted")]);
    check(later, &["b@x.example", "c@x.example"], "deferred 4.7.1 by 451; deferred 4.7.1 by 451; reusable; message blamed").await;
}

#[tokio::test]
async fn a_cut_before_the_final_dot_is_a_plain_deferral() {
    for at in [At::Mail, At::Rcpt(None), At::Data] {
        check(pipelining().when(at, [Close]), &["b@x.example"], "deferred 4.4.2; closed").await;
    }
    let hop = NextHop::start(pipelining().receive_buffer(8192).when(At::Body(100_000), [Reset]));
    // More than the buffers between us hold.
    let large = mail(&["b@x.example"], &b"0123456789abcdef0123456789abcdef\r\n".repeat(500_000));
    let end = large.over(&mut open(&hop).await).await;
    assert_eq!(shown(&end), "deferred 4.4.2; closed");
}

#[tokio::test]
async fn a_cut_after_the_final_dot_leaves_the_end_unknown() {
    check(pipelining().when(At::Message, [Close]), &["b@x.example", "c@x.example"], "deferred 4.4.2, end unknown; deferred 4.4.2, end unknown; closed").await;
    let refused = pipelining().when(At::rcpt("no@x.example"), [Say("550 5.1.1 no")]).when(At::Message, [Close]);
    check(refused, &["b@x.example", "no@x.example"], "deferred 4.4.2, end unknown; failed 5.1.1 by 550; closed").await;
}

#[tokio::test]
async fn a_time_out_defers_and_after_the_final_dot_leaves_the_end_unknown() {
    let short = Duration::from_millis(150);
    let slow = [Wait(Duration::from_mins(1)), Close];
    for (at, times, expect) in [
        (At::Mail, Timeouts { mail: short, ..timeouts() }, "deferred 4.4.2; closed"),
        (At::Rcpt(None), Timeouts { rcpt: short, ..timeouts() }, "deferred 4.4.2; closed"),
        (At::Data, Timeouts { data_init: short, ..timeouts() }, "deferred 4.4.2; closed"),
        (At::Message, Timeouts { data_done: short, ..timeouts() }, "deferred 4.4.2, end unknown; closed"),
        (At::Body(1), Timeouts { data_block: short, ..timeouts() }, "deferred 4.4.2; closed"),
    ] {
        let hop = NextHop::start(Script::offering([]).receive_buffer(4096).when(at.clone(), slow.clone()));
        let mut connection = Connection::open(&target(&hop), &client_tls(), &times).await.unwrap();
        let began = Instant::now();
        let end =
            mail(&["b@x.example"], &b"0123456789abcdef0123456789abcdef\r\n".repeat(if at == At::Body(1) { 500_000 } else { 1 })).over(&mut connection).await;
        assert_eq!(shown(&end), expect, "{at:?}");
        assert!(began.elapsed() < Duration::from_secs(15), "{at:?} took {:?}", began.elapsed());
        connection.quit().await;
    }
}

#[tokio::test]
async fn a_refusal_in_the_middle_of_the_message_is_heard() {
    let hop = NextHop::start(pipelining().receive_buffer(8192).when(At::Body(50_000), [Say("552 5.3.4 that is enough"), Close]));
    let large = mail(&["b@x.example", "c@x.example"], &b"0123456789abcdef0123456789abcdef\r\n".repeat(500_000));
    let end = large.over(&mut open(&hop).await).await;
    assert_eq!(shown(&end), "failed 5.3.4 by 552; failed 5.3.4 by 552; closed; message blamed");
}

#[tokio::test]
async fn a_lease_too_short_stops_before_the_end_and_nothing_is_delivered() {
    let large = [b"Subject: x\r\n\r\n".to_vec(), b"0123456789abcdef\r\n".repeat(20_000)].concat();
    for (message, bdat) in [(HELLO, false), (&large, false), (HELLO, true), (&large, true)] {
        let hop = NextHop::start(Script::offering(["PIPELINING", "CHUNKING"]));
        let mut connection = if bdat { open_bdat(&hop).await } else { open(&hop).await };
        let end = mail(&["b@x.example"], message).over_with(&mut connection, async { false }).await;
        assert_eq!(shown(&end), "deferred 4.3.0; closed");
        assert!(!connection.is_open());
        connection.quit().await;
        hop.until(|sessions| sessions[0].ended).await;
        assert_eq!(hop.messages(), []);
        assert!(!commands(&hop.sessions()[0]).contains(&"QUIT".to_owned()));
    }
}

#[tokio::test]
async fn the_lease_is_asked_once_and_only_when_somebody_was_accepted() {
    let asked = std::cell::Cell::new(0);
    let leave = || async {
        asked.set(asked.get() + 1);
        true
    };
    let hop = NextHop::start(pipelining().when(At::rcpt("no@x.example"), [Say("550 5.1.1 no")]));
    let mut connection = open(&hop).await;
    mail(&["no@x.example"], HELLO).over_with(&mut connection, leave()).await;
    assert_eq!(asked.get(), 0);
    mail(&["b@x.example", "no@x.example"], HELLO).over_with(&mut connection, leave()).await;
    assert_eq!(asked.get(), 1);
}

#[tokio::test]
async fn what_the_next_hop_cannot_take_fails_without_being_sent() {
    const EIGHT_BIT: &[u8] = "Subject: x\r\n\r\nfür\r\n".as_bytes();
    const UTF8_HEADER: &[u8] = "Subject: für\r\n\r\nx\r\n".as_bytes();
    for (offered, to, message, expect) in [
        (&["8BITMIME"][..], &["b@x.example"][..], EIGHT_BIT, "delivered 2.0.0 by 250; reusable"),
        (&[], &["b@x.example"], EIGHT_BIT, "failed 5.6.3; reusable"),
        (&["8BITMIME", "SMTPUTF8"], &["b@x.example"], UTF8_HEADER, "delivered 2.0.0 by 250; reusable"),
        (&["8BITMIME"], &["b@x.example"], UTF8_HEADER, "failed 5.6.7; reusable"),
        (&["SMTPUTF8", "8BITMIME"], &["für@x.example"], HELLO, "delivered 2.0.0 by 250; reusable"),
        (&[], &["für@x.example", "b@x.example"], HELLO, "failed 5.6.7; delivered 2.0.0 by 250; reusable"),
        (&["SIZE 46"], &["b@x.example"], HELLO, "delivered 2.0.0 by 250; reusable"),
        (&["SIZE 45"], &["b@x.example"], HELLO, "failed 5.3.4; reusable"),
        (&["SIZE 0"], &["b@x.example"], HELLO, "delivered 2.0.0 by 250; reusable"),
        (&["SIZE"], &["b@x.example"], b"a\nb\r\n", "failed 5.6.0; reusable"),
        (&["SIZE"], &["b@x.example"], b"a\rb\r\n", "failed 5.6.0; reusable"),
    ] {
        let mut script = Script::offering([]);
        script.capabilities = offered.iter().map(|&line| line.to_owned()).collect();
        let hop = NextHop::start(script);
        let end = mail(to, message).over(&mut open(&hop).await).await;
        assert_eq!(shown(&end), expect, "{offered:?} {to:?}");
        let taken = expect.contains("delivered");
        assert_eq!(hop.messages().len(), usize::from(taken));
        assert_eq!(commands(&hop.sessions()[0]).is_empty(), !taken);
    }
}

#[tokio::test]
async fn mail_and_rcpt_say_what_the_message_needs_and_the_next_hop_knows() {
    let hop = NextHop::start(Script::offering(["8BITMIME", "SMTPUTF8", "DSN", "SIZE"]));
    let (from, to) = (ReversePath::Null, Mailbox::parse("für@x.example").unwrap());
    let orcpt = OriginalRecipient { address_type: "rfc822".into(), address: "a+b@y.example".into() };
    let recipients = [TransactionRecipient { mailbox: &to, notify: Notify::Never, orcpt: Some(&orcpt) }];
    let message = "Subject: für\r\n\r\nx\r\n".as_bytes();
    let transaction =
        Transaction { reverse_path: &from, recipients: &recipients, envid: Some("e=1"), ret: Some(Ret::Full), header: b"", message, as_it_is: false };
    assert_eq!(shown(&open(&hop).await.transact(&transaction, async { true }).await), "delivered 2.0.0 by 250; reusable");
    let received = &hop.messages()[0];
    assert_eq!(received.mail, format!("MAIL FROM:<> SIZE={} BODY=8BITMIME SMTPUTF8 RET=FULL ENVID=e+3D1", message.len()));
    assert_eq!(received.rcpts, ["RCPT TO:<für@x.example> NOTIFY=NEVER ORCPT=rfc822;a+2Bb@y.example"]);
}

#[tokio::test]
async fn bdat_carries_large_messages_in_chunks() {
    let large = [b"Subject: x\r\n\r\n".to_vec(), b".0123456789abcdef\r\n..\r\n.\r\n".repeat(100_000)].concat();
    let hop = NextHop::start(Script::offering(["PIPELINING", "CHUNKING"]));
    let mut connection = open_bdat(&hop).await;
    let sent = mail(&["b@x.example"], &large);
    assert_eq!(shown(&sent.over(&mut connection).await), "delivered 2.0.0 by 250; reusable");
    assert_eq!(shown(&mail(&["c@x.example"], HELLO).over(&mut connection).await), "delivered 2.0.0 by 250; reusable");
    let messages = hop.messages();
    assert!(messages.iter().all(|received| received.bdat));
    assert!(messages[0].octets == sent.octets());
    let chunks: Vec<String> = hop.sessions()[0].commands.iter().map(|command| command.line.clone()).filter(|line| line.starts_with("BDAT")).collect();
    let rest = sent.octets().len() - 2 * 1024 * 1024;
    assert_eq!(chunks, ["BDAT 1048576", "BDAT 1048576", &format!("BDAT {rest} LAST"), "BDAT 46 LAST"]);
}

#[tokio::test]
async fn bdat_is_used_only_where_chunking_is_offered() {
    let hop = NextHop::start(pipelining());
    assert_eq!(shown(&mail(&["b@x.example"], HELLO).over(&mut open_bdat(&hop).await).await), "delivered 2.0.0 by 250; reusable");
    assert!(!hop.messages()[0].bdat);
}

#[tokio::test]
async fn bdat_refusals_mean_what_they_mean_at_the_dot() {
    let large = b"0123456789abcdef\r\n".repeat(100_000);
    let offer = || Script::offering(["PIPELINING", "CHUNKING"]);
    for (script, to, message, expect) in [
        (offer().when(At::Message, [Say("550 5.7.1 spam")]), &["b@x.example"][..], HELLO, "failed 5.7.1 by 550; reusable"),
        (
            offer().when(At::Chunk, [Say("552 5.3.4 enough")]),
            &["b@x.example", "c@x.example"],
            &large,
            "failed 5.3.4 by 552; failed 5.3.4 by 552; reusable; message blamed",
        ),
        (offer().when(At::Message, [Close]), &["b@x.example"], HELLO, "deferred 4.4.2, end unknown; closed"),
        (offer().when(At::Chunk, [Close]), &["b@x.example"], &large, "deferred 4.4.2; closed"),
        (offer().when(At::Rcpt(None), [Say("550 5.1.1 no")]), &["b@x.example"], HELLO, "failed 5.1.1 by 550; reusable"),
        (offer().when(At::Mail, [Say("550 5.7.1 no")]), &["b@x.example"], HELLO, "failed 5.7.1 by 550; reusable"),
    ] {
        let hop = NextHop::start(script);
        let mut connection = open_bdat(&hop).await;
        let end = mail(to, message).over(&mut connection).await;
        assert_eq!(shown(&end), expect);
        if end.connection == ConnectionEnd::Reusable {
            assert!(connection.noop().await, "the session is in step");
        }
    }
}

#[tokio::test]
async fn a_connection_closed_in_silence_is_noticed_before_mail() {
    for acts in [[Close, Close], [Say("421 4.4.2 idle too long"), Close]] {
        let script = pipelining().rule(Rule::at(At::Idle).then(acts));
        let hop = NextHop::start(script);
        let mut connection = open(&hop).await;
        let sent = mail(&["b@x.example"], HELLO);
        sent.over(&mut connection).await;
        hop.until(|sessions| sessions[0].ended).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!connection.is_open());
        assert!(!connection.noop().await && !connection.rset().await);
        assert_eq!(shown(&sent.over(&mut connection).await), "deferred 4.4.2; closed; stale");
        assert_eq!(hop.sessions()[0].commands.len(), 4, "nothing more was sent");
    }
}

#[tokio::test]
async fn a_connection_closed_as_mail_is_said_is_stale_too_but_not_a_fresh_one() {
    let script = pipelining().rule(Rule::at(At::Mail).in_transaction(1).then([Close]));
    let hop = NextHop::start(script);
    let mut connection = open(&hop).await;
    let sent = mail(&["b@x.example"], HELLO);
    sent.over(&mut connection).await;
    assert!(connection.is_open());
    assert_eq!(shown(&sent.over(&mut connection).await), "deferred 4.4.2; closed; stale");
    check(pipelining().when(At::Mail, [Close]), &["b@x.example"], "deferred 4.4.2; closed").await;
}

#[tokio::test]
async fn noop_and_rset_keep_a_connection() {
    let hop = NextHop::start(pipelining().rule(Rule::at(At::Noop).times(1).then([Say("250 yes")])).when(At::Noop, [Say("421 no"), Close]));
    let mut connection = open(&hop).await;
    assert!(connection.noop().await && connection.rset().await && connection.is_open());
    assert!(!connection.noop().await);
    assert!(!connection.is_open());
}

#[tokio::test]
async fn glued_and_split_replies_are_read_in_step() {
    let split = [
        Raw(b"250-2.1.5 s".to_vec()),
        Wait(Duration::from_millis(20)),
        Raw(b"low\r\n2".to_vec()),
        Wait(Duration::from_millis(20)),
        Raw(b"50 2.1.5 ok\r\n".to_vec()),
    ];
    check(pipelining().when(At::Rcpt(None), split), &["b@x.example"], "delivered 2.0.0 by 250; reusable").await;

    // All four replies at once, as a server that gathers its output sends them.
    let nothing = || Raw(Vec::new());
    let glued = Raw(b"250 2.1.0 ok\r\n250 2.1.5 ok\r\n550 5.1.1 no\r\n354 go\r\n".to_vec());
    let script = pipelining().when(At::Mail, [nothing()]).when(At::Rcpt(None), [nothing()]).when(At::Data, [glued]);
    let hop = NextHop::start(script);
    let mut connection = open(&hop).await;
    let end = mail(&["b@x.example", "no@x.example"], HELLO).over(&mut connection).await;
    assert_eq!(shown(&end), "delivered 2.0.0 by 250; failed 5.1.1 by 550; reusable");
}

#[tokio::test]
async fn a_server_out_of_step_is_left() {
    // One reply too many: whatever came next would be answered by it.
    check(pipelining().when(At::Message, [Say("250 2.0.0 taken\r\n250 2.0.0 and again")]), &["b@x.example"], "delivered 2.0.0 by 250; closed").await;
    check(pipelining().when(At::Mail, [Say("354 what")]), &["b@x.example"], "deferred 4.5.0; closed").await;
    check(pipelining().when(At::Data, [Say("250 what")]), &["b@x.example"], "deferred 4.5.0; closed").await;
    check(pipelining().when(At::Mail, [Say("hello there")]), &["b@x.example"], "deferred 4.5.0; closed").await;
    check(pipelining().when(At::Message, [Say("hello there")]), &["b@x.example"], "deferred 4.5.0, end unknown; closed").await;
}

/// RFC 2920 §3.1: neither side may wait for the other to read, so a group of commands is bounded.
#[tokio::test]
async fn a_large_envelope_goes_in_groups() {
    let reply: &'static str = Box::leak(format!("250 2.1.5 {}", "x".repeat(480)).into_boxed_str());
    let hop = NextHop::start(pipelining().receive_buffer(4096).when(At::Rcpt(None), [Say(reply)]));
    let to: Vec<String> = (0..250).map(|number| format!("{number}.{}@x.example", "y".repeat(50))).collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    let end = mail(&to, HELLO).over(&mut open(&hop).await).await;
    assert!(end.recipients.iter().all(|end| matches!(end, RecipientEnd::Ended(Outcome::Delivered(_)))));
    assert_eq!(hop.messages()[0].rcpts.len(), 250);
    let commands = &hop.sessions()[0].commands;
    for (number, pipelined) in [(1, false), (2, true), (100, true), (101, false), (102, true), (201, false), (252, true)] {
        assert_eq!(commands[number].pipelined, pipelined, "{number}");
    }
}

#[tokio::test]
async fn a_later_group_for_nobody_has_no_data() {
    let hop = NextHop::start(pipelining().when(At::Rcpt(None), [Say("550 5.1.1 no")]));
    // MAIL and 99 RCPT are a group; with 100 recipients DATA falls into the second together with a RCPT, with 99 it would stand alone.
    for (recipients, data) in [(98, true), (99, false), (100, true)] {
        let to: Vec<String> = (0..recipients).map(|number| format!("{number}@x.example")).collect();
        let to: Vec<&str> = to.iter().map(String::as_str).collect();
        let end = mail(&to, HELLO).over(&mut open(&hop).await).await;
        assert_eq!(end.connection, ConnectionEnd::Reusable);
        assert_eq!(commands(hop.sessions().last().unwrap()).contains(&"DATA".to_owned()), data, "{recipients}");
    }
}

/// It says why, and does not even take the rest: its words count, not the time that ran out.
#[tokio::test]
async fn a_refusal_is_heard_though_the_rest_is_never_taken() {
    let acts = [Say("552 5.3.4 that is enough"), Wait(Duration::from_mins(1)), Close];
    let hop = NextHop::start(pipelining().receive_buffer(8192).when(At::Body(50_000), acts));
    let times = Timeouts { data_block: Duration::from_millis(300), ..timeouts() };
    let mut connection = Connection::open(&target(&hop), &client_tls(), &times).await.unwrap();
    let large = mail(&["b@x.example"], &b"0123456789abcdef0123456789abcdef\r\n".repeat(500_000));
    assert_eq!(shown(&large.over(&mut connection).await), "failed 5.3.4 by 552; closed");
}

#[tokio::test]
async fn a_dropped_transaction_leaves_no_connection_to_use() {
    let hop = NextHop::start(pipelining().when(At::Message, [Wait(Duration::from_mins(1))]));
    let mut connection = open(&hop).await;
    let dropped = tokio::time::timeout(Duration::from_millis(200), mail(&["b@x.example"], HELLO).over(&mut connection)).await;
    assert!(dropped.is_err());
    assert!(!connection.is_open());
}

#[test]
fn any_message_arrives_octet_for_octet_by_data_and_by_bdat() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let guard = runtime.enter();
    let hop = NextHop::start(Script::modern());
    let connections = std::cell::RefCell::new([runtime.block_on(open(&hop)), runtime.block_on(open_bdat(&hop))]);
    let strategy = proptest::collection::vec("[.]{0,3}[.a€]{0,6}", 0..40);
    let mut runner = proptest::test_runner::TestRunner::new(proptest::test_runner::Config { cases: 100, failure_persistence: None, ..Default::default() });
    let result = runner.run(&strategy, |lines| {
        let sent = mail(&["b@x.example"], format!("Subject: x\r\n\r\n{}\r\n", lines.join("\r\n")).as_bytes());
        for connection in &mut *connections.borrow_mut() {
            let end = runtime.block_on(sent.over(connection));
            proptest::prop_assert_eq!(shown(&end), "delivered 2.0.0 by 250; reusable");
        }
        let sessions = hop.sessions();
        for session in &sessions {
            proptest::prop_assert_eq!(&session.transactions.last().unwrap().octets, &sent.octets());
        }
        Ok(())
    });
    assert_eq!(result, Ok(()));
    assert_eq!(hop.sessions().iter().map(|session| session.tls.is_some()).collect::<Vec<_>>(), [true, true]);
    drop(guard);
}

/// A worker is a task: what it awaits must be able to move between threads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_run_in_tasks() {
    let hop = NextHop::start(Script::modern());
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let target = target(&hop);
            tokio::spawn(async move {
                let mut connection = Connection::open(&target, &client_tls(), &timeouts()).await.unwrap();
                let mut lease = 0;
                let renew = async {
                    lease += 1;
                    tokio::task::yield_now().await;
                    lease == 1
                };
                let end = mail(&["b@x.example"], HELLO).over_with(&mut connection, renew).await;
                connection.quit().await;
                shown(&end)
            })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), "delivered 2.0.0 by 250; reusable");
    }
}

#[tokio::test]
async fn large_messages_go_through_tls() {
    for bdat in [false, true] {
        let hop = NextHop::start(Script::modern().tls(Tls::StartTls));
        let mut connection = if bdat { open_bdat(&hop).await } else { open(&hop).await };
        let sent = mail(&["b@x.example"], &[b"Subject: x\r\n\r\n".to_vec(), b".0123456789abcdef0123456789abcdef\r\n".repeat(150_000)].concat());
        assert_eq!(shown(&sent.over(&mut connection).await), "delivered 2.0.0 by 250; reusable");
        assert!(hop.messages()[0].octets == sent.octets());
    }
}
