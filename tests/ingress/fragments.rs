//! However the network cuts what a client says, the dialogue is the same; and a client that is gone leaves nothing behind.

use super::dialogues::{Script, Turn, scripts};
use super::world::World;
use proptest::prelude::*;

fn in_pieces(world: &mut World, octets: &[u8], mut length: impl FnMut() -> usize) {
    let mut rest = octets;
    while !rest.is_empty() {
        let (piece, tail) = rest.split_at(length().clamp(1, rest.len()));
        world.client_sends(piece);
        rest = tail;
    }
}

fn untimed() -> impl Iterator<Item = Script> {
    scripts().into_iter().filter(|script| !script.timing)
}

#[test]
fn octet_by_octet_the_dialogue_is_the_same() {
    for script in untimed() {
        script.run(&mut |world, octets| in_pieces(world, octets, || 1));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn cut_anywhere_the_dialogue_is_the_same(lengths in prop::collection::vec(1_usize..80, 1..40)) {
        for script in untimed() {
            let mut lengths = lengths.iter().copied().cycle();
            script.run(&mut |world, octets| in_pieces(world, octets, || lengths.next().unwrap_or(1)));
        }
    }

    /// Wherever a dialogue stands, any octets may come.
    #[test]
    fn any_octets_are_borne_at_any_point(octets in prop::collection::vec(any::<u8>(), 0..600), turns in 0_usize..8) {
        for script in untimed() {
            let mut world = script.world();
            for turn in script.turns.iter().take(turns) {
                if let Turn::Client(said) = turn {
                    world.client_sends(said);
                }
            }
            world.client_sends(&octets);
            let ended = world.said.last().is_some_and(|line| line == "<close>" || line == "<begin tls>");
            prop_assert!(world.dialogue.wants_octets() || ended);
        }
    }

    #[test]
    fn any_commands_in_any_order_are_answered_once_each(picks in prop::collection::vec(0..COMMANDS.len(), 1..60)) {
        let script = Script::read("any", "S: 220…");
        let mut world = script.world();
        for pick in picks {
            let said = world.said.len();
            world.client_sends(COMMANDS[pick].as_bytes());
            let replies = world.said[said..].iter().filter(|line| line.as_bytes().get(3) == Some(&b' ') && !line.starts_with('<')).count();
            if world.dialogue.wants_octets() {
                prop_assert_eq!(replies, 1, "{} -> {:?}", COMMANDS[pick], &world.said[said..]);
            } else {
                prop_assert!(world.said.last().is_some_and(|line| line == "<close>"));
                break;
            }
            if world.said.last().is_some_and(|line| line.starts_with("354")) {
                world.client_sends(b"Subject: x\r\n\r\n.\r\n");
            }
        }
    }
}

const COMMANDS: &[&str] = &[
    "EHLO a.example\r\n",
    "HELO a.example\r\n",
    "MAIL FROM:<a@a.example>\r\n",
    "RCPT TO:<b@b.example>\r\n",
    "RCPT TO:<nobody@b.example>\r\n",
    "DATA\r\n",
    "BDAT 5\r\nabcde",
    "BDAT 4 LAST\r\nab\r\n",
    "RSET\r\n",
    "NOOP\r\n",
    "VRFY x\r\n",
    "STARTTLS\r\n",
    "AUTH PLAIN\r\n",
    "MAIL FROM:<x\r\n",
];

/// A client that goes away before the last octet of its message leaves nothing accepted, wherever the cut is.
#[test]
fn a_disconnect_at_any_point_leaves_nothing_accepted() {
    let envelope = "C: EHLO a.example\nC: MAIL FROM:<a@a.example>\nC: RCPT TO:<b@b.example>\n";
    let data = (format!("S: 220…\n{envelope}C: DATA\n"), &b"Subject: x\r\n\r\n..\r\n.\r\n"[..]);
    let chunks = (format!("S: 220…\n{envelope}"), &b"BDAT 5\r\nSubjeBDAT 0\r\nBDAT 9 LAST\r\nct: x\r\n\r\n"[..]);
    for (text, message) in [data, chunks] {
        let script = Script::read("disconnect", &text);
        for cut in 0..=message.len() {
            let mut world = script.world();
            for turn in &script.turns {
                if let Turn::Client(octets) = turn {
                    in_pieces(&mut world, octets, || 7);
                }
            }
            world.client_sends(&message[..cut]);
            assert_eq!(world.accepted, usize::from(cut == message.len()), "cut at {cut}");
        }
    }
}
