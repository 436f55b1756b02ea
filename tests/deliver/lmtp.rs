//! Delivery agents: an answer for each recipient (RFC 2033), and mail that is passed on as a stranger wrote it.

use super::wire::{client_tls, target, timeouts};
use crate::support::next_hop::{At, Close, NextHop, Say, Script};
use postseal::deliver::connection::Connection;
use postseal::deliver::target::Target;
use postseal::mail::{Mailbox, Notify, Outcome, ReversePath};
use postseal::smtp::client::{ConnectionEnd, RecipientEnd, Transaction, TransactionEnd, TransactionRecipient};

async fn agent(hop: &NextHop) -> Connection {
    Connection::open(&Target { lmtp: true, ..target(hop) }, &client_tls(), &timeouts()).await.unwrap()
}

async fn send(connection: &mut Connection, to: &[&str], message: &[u8], as_it_is: bool) -> TransactionEnd {
    let mailboxes: Vec<Mailbox> = to.iter().map(|to| to.parse().unwrap()).collect();
    let recipients: Vec<_> = mailboxes.iter().map(|mailbox| TransactionRecipient { mailbox, notify: Notify::Never, orcpt: None }).collect();
    let transaction = Transaction { reverse_path: &ReversePath::Null, recipients: &recipients, envid: None, ret: None, header: b"", message, as_it_is };
    connection.transact(&transaction, async { true }).await
}

fn shown(end: &TransactionEnd) -> String {
    let one = |end: &RecipientEnd| match end {
        RecipientEnd::Ended(Outcome::Delivered(evidence)) => format!("delivered {}", evidence.status),
        RecipientEnd::Ended(Outcome::Deferred(evidence)) => format!("deferred {}{}", evidence.status, if evidence.unknown_end { "?" } else { "" }),
        RecipientEnd::Ended(Outcome::Failed(evidence)) => format!("failed {}", evidence.status),
        RecipientEnd::TooMany(_) => "too many".to_owned(),
    };
    let recipients: Vec<String> = end.recipients.iter().map(one).collect();
    format!("{}; {}", recipients.join(", "), if matches!(end.connection, ConnectionEnd::Reusable) { "reusable" } else { "closed" })
}

const HELLO: &[u8] = b"Subject: hello\r\n\r\n.hello\r\n";

#[tokio::test]
async fn each_recipient_of_a_delivery_agent_has_an_answer_of_its_own() {
    let full = "552 5.2.2 the mailbox is full";
    for capabilities in [&["PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES"][..], &["ENHANCEDSTATUSCODES"], &["PIPELINING", "CHUNKING"]] {
        let mut script = Script::offering([])
            .lmtp()
            .when(At::rcpt("gone@x.example"), [Say("550 5.1.1 no such user")])
            .when(At::MessageFor("full@x.example".to_owned()), [Say(full)])
            .when(At::MessageFor("busy@x.example".to_owned()), [Say("451 4.3.0 later")]);
        script.capabilities = capabilities.iter().map(|line| (*line).to_owned()).collect();
        let hop = NextHop::start(script);
        let mut connection = agent(&hop).await;
        let end = send(&mut connection, &["a@x.example", "gone@x.example", "full@x.example", "busy@x.example", "b@x.example"], HELLO, false).await;
        assert_eq!(shown(&end), "delivered 2.0.0, failed 5.1.1, failed 5.2.2, deferred 4.3.0, delivered 2.0.0; reusable", "{capabilities:?}");
        assert!(!end.blamed_message, "each was asked");
        let end = send(&mut connection, &["c@x.example"], HELLO, false).await;
        assert_eq!(shown(&end), "delivered 2.0.0; reusable", "the answers of one message are not taken for those of the next");
        assert_eq!(hop.messages().iter().map(|received| received.octets.as_slice()).collect::<Vec<_>>(), [HELLO, HELLO]);
        let verbs: Vec<String> = hop.sessions()[0].commands.iter().map(|command| command.line.split(' ').next().unwrap().to_owned()).collect();
        assert_eq!(verbs[0], "LHLO");
    }
}

#[tokio::test]
async fn who_was_not_answered_when_the_agent_went_is_in_doubt() {
    let script = Script::modern().lmtp().when(At::MessageFor("b@x.example".to_owned()), [Close]);
    let hop = NextHop::start(script);
    let end = send(&mut agent(&hop).await, &["a@x.example", "b@x.example", "c@x.example"], HELLO, false).await;
    assert_eq!(shown(&end), "delivered 2.0.0, deferred 4.4.2?, deferred 4.4.2?; closed");
}

#[tokio::test]
async fn where_nobody_is_taken_nothing_is_waited_for() {
    let refused = Script::modern().lmtp().when(At::Rcpt(None), [Say("550 5.1.1 no such user")]);
    for (script, expect) in
        [(refused.clone(), "failed 5.1.1, failed 5.1.1; reusable"), (refused.when(At::Data, [Say("354 odd")]), "failed 5.1.1, failed 5.1.1; closed")]
    {
        let hop = NextHop::start(script);
        let mut connection = Connection::open(&Target { lmtp: true, bdat: false, ..target(&hop) }, &client_tls(), &timeouts()).await.unwrap();
        assert_eq!(shown(&send(&mut connection, &["a@x.example", "b@x.example"], HELLO, false).await), expect);
    }
}

#[tokio::test]
async fn a_server_of_smtp_is_no_delivery_agent() {
    let hop = NextHop::start(Script::modern());
    let fault = Connection::open(&Target { lmtp: true, ..target(&hop) }, &client_tls(), &timeouts()).await.unwrap_err();
    assert!(fault.to_string().starts_with("EHLO refused: 500"), "{fault}");
}

#[tokio::test]
async fn what_a_stranger_wrote_is_sent_as_it_is() {
    let ugly = [b"Subject: \xc3\xa4\xff\r\nno field\r\n\r\n".to_vec(), vec![b'x'; 5000], b"\xe4\r\n.\r\n..\r\n".to_vec()].concat();
    for (capabilities, mail) in [
        (vec![], "MAIL FROM:<>"),
        (vec!["8BITMIME".to_owned(), "SMTPUTF8".to_owned()], "MAIL FROM:<> BODY=8BITMIME SMTPUTF8"),
        (vec!["8BITMIME".to_owned()], "MAIL FROM:<> BODY=8BITMIME"),
    ] {
        let mut script = Script::offering([]).lmtp();
        script.capabilities = capabilities;
        let hop = NextHop::start(script);
        let end = send(&mut agent(&hop).await, &["a@x.example"], &ugly, true).await;
        assert_eq!(shown(&end), "delivered 2.0.0; reusable");
        assert_eq!((hop.messages()[0].mail.as_str(), &hop.messages()[0].octets), (mail, &ugly));
        let end = send(&mut agent(&hop).await, &["a@x.example"], &ugly, false).await;
        assert!(shown(&end).starts_with("failed 5.6.0"), "{end:?}");
    }
}
