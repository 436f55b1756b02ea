//! What all messages being received share: who comes when it is used up is told to come again, and nothing is kept of it.

use super::world::{World, peer, start};
use postseal::smtp::memory::Memory;
use postseal::smtp::server::Dialogue;
use postseal::smtp::settings::Settings;
use std::sync::Arc;

/// A dialogue that shares `memory`, with a transaction open where `recipient` says so.
fn dialogue(memory: &Arc<Memory>, recipient: bool) -> World {
    let settings = Settings { hostname: "relay.example".into(), ..Settings::default() };
    let mut world = World::new(settings.clone(), peer(true));
    world.dialogue = Dialogue::new(Arc::new(settings), peer(true), start()).within(memory.clone());
    world.client_sends(b"EHLO app.example\r\n");
    if recipient {
        world.client_sends(b"MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\n");
    }
    world
}

#[track_caller]
fn says(world: &mut World, octets: &[u8], expected: &str) {
    world.client_sends(octets);
    let last = world.said.iter().rev().find(|line| !line.starts_with('<')).unwrap();
    assert!(last.starts_with(expected), "{last}, expected {expected}");
}

/// A message of so many octets, its end marked.
fn message(octets: usize) -> Vec<u8> {
    [&b"X: "[..], &vec![b'x'; octets - 5], b"\r\n.\r\n"].concat()
}

#[test]
fn an_announced_size_that_does_not_fit_is_refused_at_mail() {
    let memory = Memory::new(1000);
    let mut world = dialogue(&memory, false);
    says(&mut world, b"MAIL FROM:<a@example.com> SIZE=1001\r\n", "452 4.3.1 too many messages");
    says(&mut world, b"MAIL FROM:<a@example.com> SIZE=1000\r\n", "250 ");
}

#[test]
fn messages_take_what_there_is_together_and_the_one_that_asks_for_more_is_refused() {
    let memory = Memory::new(1000);
    let [mut one, mut two, mut late, mut chunked] = std::array::from_fn(|_| dialogue(&memory, true));
    says(&mut one, b"DATA\r\n", "354 ");
    says(&mut two, b"DATA\r\n", "354 ");
    one.client_sends(&message(600)[..600]);
    two.client_sends(&message(400)[..400]);
    says(&mut late, b"DATA\r\n", "452 4.3.1 ");
    says(&mut chunked, b"BDAT 3 LAST\r\nabc", "452 4.3.1 ");

    two.client_sends(b"one more\r\n");
    says(&mut late, b"DATA\r\n", "354 "); // what the refused one had is free at once
    says(&mut two, b".\r\n", "452 4.3.1 ");
    says(&mut one, b".\r\n", "250 2.0.0 accepted");
    says(&mut late, &message(1000), "250 2.0.0 accepted");
    assert_eq!((one.accepted, two.accepted, late.accepted, chunked.accepted), (1, 0, 1, 0));
    assert!(memory.has_room_for(1000), "all was given back");
}

#[test]
fn a_lost_connection_gives_back_what_it_had() {
    let memory = Memory::new(1000);
    let mut world = dialogue(&memory, true);
    world.client_sends(b"BDAT 800\r\n");
    world.client_sends(&message(800)[..800]);
    assert!(!memory.has_room_for(201) && memory.has_room_for(200));
    drop(world);
    assert!(memory.has_room_for(1000));
}
