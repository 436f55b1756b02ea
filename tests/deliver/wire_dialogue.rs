//! The transaction as a value, with no sockets: dialogues in lines, and whatever a server may come up with.

use postseal::mail::outcome::Remote;
use postseal::mail::{Mailbox, Notify, Outcome, RemoteReply, ReversePath, Timestamp};
use postseal::smtp::client::{
    Capabilities, ConnectionEnd, Dialogue, Next, Peer, RecipientEnd, ReplyReader, Stage, Transaction, TransactionEnd, TransactionRecipient,
};
use proptest::prelude::*;
use std::collections::VecDeque;

/// What the other side does when a reply is read.
#[derive(Debug, Clone)]
enum Turn {
    Reply(RemoteReply),
    Cut,
    Nonsense,
}

/// A whole transaction against these turns, the last of which repeats; gives the end, what was sent, and what each reply answered.
fn play(recipients: usize, offered: &Capabilities, bdat: bool, leave: bool, turns: Vec<Turn>) -> (TransactionEnd, String, Vec<(Stage, u16)>) {
    let peer = Peer { remote: Remote { host: "mx.example".to_owned(), address: "192.0.2.1:25".parse().unwrap() }, tls: None };
    let from = ReversePath::from(Mailbox::parse("a@sender.example").unwrap());
    let to: Vec<Mailbox> = (0..recipients).map(|number| Mailbox::parse(&format!("r{number}@x.example")).unwrap()).collect();
    let to: Vec<_> = to.iter().map(|mailbox| TransactionRecipient { mailbox, notify: Notify::Unspecified, orcpt: None }).collect();
    let transaction =
        Transaction { reverse_path: &from, recipients: &to, envid: None, ret: None, header: b"A: b\r\n", message: b"\r\n.c\r\n", as_it_is: false };
    let at = Timestamp::EPOCH;
    let mut dialogue = Dialogue::new(&transaction, offered, bdat, peer, at);
    let (mut sent, mut answered, mut turns) = (String::new(), Vec::new(), VecDeque::from(turns));
    for _ in 0..10 * (recipients + 5) {
        match dialogue.proceed() {
            Next::Write(_) => {
                sent.push_str(std::str::from_utf8(dialogue.octets()).unwrap());
                dialogue.written();
            }
            Next::Read(stage) => {
                let turn = if turns.len() > 1 { turns.pop_front().unwrap() } else { turns[0].clone() };
                match turn {
                    Turn::Reply(reply) => {
                        answered.push((stage, reply.code));
                        dialogue.reply(reply, at);
                    }
                    Turn::Cut => dialogue.lost("cut", at),
                    Turn::Nonsense => dialogue.confused("nonsense", at),
                }
            }
            Next::AskToEnd => dialogue.may_end(leave, at),
            Next::Over => return (dialogue.end(at), sent, answered),
        }
    }
    panic!("it never ends; sent {sent:?}");
}

fn replies(lines: &str) -> Vec<Turn> {
    let mut reader = ReplyReader::default();
    reader.feed(lines.replace('/', "\r\n").as_bytes());
    let mut turns = Vec::new();
    while let Some(reply) = reader.next_reply().unwrap() {
        turns.push(Turn::Reply(reply));
    }
    turns
}

#[test]
fn dialogues_read_as_they_are_sent() {
    const ENVELOPE: &str = "MAIL FROM:<a@sender.example>\r\nRCPT TO:<r0@x.example>\r\nRCPT TO:<r1@x.example>\r\n";
    for (pipelining, bdat, server, expect) in [
        (true, false, "250 ok/250 ok/550 no/354 go/250 taken/", format!("{ENVELOPE}DATA\r\nA: b\r\n\r\n..c\r\n.\r\n")),
        (false, false, "250 ok/250 ok/550 no/354 go/250 taken/", format!("{ENVELOPE}DATA\r\nA: b\r\n\r\n..c\r\n.\r\n")),
        (true, true, "250 ok/250 ok/550 no/250 taken/", format!("{ENVELOPE}BDAT 12 LAST\r\nA: b\r\n\r\n.c\r\n")),
        (true, false, "250 ok/550 no/550 no/554 nobody/250 reset/", format!("{ENVELOPE}DATA\r\nRSET\r\n")),
        (true, false, "250 ok/550 no/550 no/354 go/554 nobody/", format!("{ENVELOPE}DATA\r\n.\r\n")),
        (false, false, "250 ok/550 no/550 no/250 reset/", format!("{ENVELOPE}RSET\r\n")),
        (false, false, "550 no/", "MAIL FROM:<a@sender.example>\r\n".to_owned()),
        (true, true, "250 ok/250 ok/550 no/550 spam/250 reset/", format!("{ENVELOPE}BDAT 12 LAST\r\nA: b\r\n\r\n.c\r\nRSET\r\n")),
    ] {
        let offered = Capabilities { pipelining, chunking: true, ..Capabilities::default() };
        let (end, sent, _) = play(2, &offered, bdat, true, replies(server));
        assert_eq!(sent, expect, "{server}");
        assert_eq!(end.connection, ConnectionEnd::Reusable, "{server}");
    }
}

fn turn() -> impl Strategy<Value = Turn> {
    let code = prop_oneof![
        6 => Just(250_u16),
        3 => Just(354),
        1 => prop_oneof![Just(421), Just(450), Just(451), Just(452), Just(503), Just(550), Just(552), Just(554), Just(251), 200_u16..=599]
    ];
    prop_oneof![
        20 => code.prop_map(|code| Turn::Reply(RemoteReply { code, enhanced: None, lines: vec!["x".to_owned()] })),
        1 => Just(Turn::Cut),
        1 => Just(Turn::Nonsense),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 10_000, ..ProptestConfig::default() })]

    /// Whatever a server says: it ends, every recipient has one end, delivered is only what a 2xx to the end of the message confirmed, and
    /// an end is unknown only where the end of the message was sent and not answered.
    #[test]
    fn no_server_can_confuse_a_transaction(
        turns in proptest::collection::vec(turn(), 1..12), recipients in 1_usize..5, pipelining: bool, chunking: bool, leave in prop::bool::weighted(0.9)
    ) {
        let offered = Capabilities { pipelining, chunking, ..Capabilities::default() };
        let (end, sent, answered) = play(recipients, &offered, true, leave, turns);
        prop_assert_eq!(end.recipients.len(), recipients);
        let confirmed = answered.iter().any(|(stage, code)| *stage == Stage::DataDone && code / 100 == 2);
        let ended = sent.contains("..c\r\n.\r\n") || sent.contains("LAST\r\n");
        let accepted = answered.iter().filter(|(stage, code)| *stage == Stage::Rcpt && code / 100 == 2).count();
        let mut delivered = 0;
        for recipient in &end.recipients {
            match recipient {
                RecipientEnd::Ended(Outcome::Delivered(evidence)) => {
                    prop_assert!(confirmed && ended && leave && !evidence.unknown_end);
                    delivered += 1;
                }
                RecipientEnd::Ended(Outcome::Deferred(evidence)) => prop_assert!(!evidence.unknown_end || (ended && leave && !confirmed)),
                RecipientEnd::Ended(Outcome::Failed(evidence)) => prop_assert!(!evidence.unknown_end && evidence.reply.as_ref().is_some_and(|reply| reply.code >= 500)),
                RecipientEnd::TooMany(reply) => prop_assert!(reply.is_some() && accepted > 0),
            }
        }
        prop_assert!(delivered <= accepted);
        if !leave {
            prop_assert!(!ended, "the message was ended without leave");
        }
        let closing = answered.iter().any(|(_, code)| *code == 421);
        prop_assert!(!(closing && end.connection == ConnectionEnd::Reusable));
    }
}
