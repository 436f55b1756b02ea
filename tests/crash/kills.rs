//! `kill -9` at random moments.

use super::clients::Mix;
use super::rig::{Rig, chance, rounds};
use super::table;
use rand::Rng;
use std::time::Duration;

/// What the relay is at when it dies.
#[derive(Clone, Copy, Debug)]
enum During {
    Load,
    /// The start, recovery of what the last death left included.
    Start,
    Reload,
    Drain,
}

#[test]
fn nothing_that_was_promised_is_lost_when_the_process_is_killed() {
    let mut chance = chance();
    let mut rig = Rig::new("");
    let rounds = rounds(25, 300);
    rig.sink.pace(15);
    let load = rig.load(Mix::ALL);
    for round in 0..rounds {
        let during = match chance.random_range(0..10) {
            0..5 => During::Load,
            5..7 => During::Start,
            7 => During::Reload,
            _ => During::Drain,
        };
        if let During::Start = during {
            rig.relay.begin_by(&mut rig.relay.serve());
            std::thread::sleep(Duration::from_millis(chance.random_range(0..400)));
            rig.kill();
            continue;
        }
        rig.relay.start();
        std::thread::sleep(Duration::from_millis(chance.random_range(20..900)));
        let after = Duration::from_millis(chance.random_range(0..250));
        match during {
            During::Load | During::Start => {}
            During::Reload => rig.relay.signal("HUP"),
            During::Drain => rig.relay.signal("TERM"),
        }
        std::thread::sleep(after);
        rig.kill();
        assert_eq!(rig.told("commits.lost") + rig.told("mail.quarantined") + rig.told("spool.failed"), 0, "round {round}, {during:?}: {:#?}", rig.alarms);
    }
    rig.relay.start();
    load.stop();
    let balance = rig.finish();
    assert_eq!(rig.told("commits.lost") + rig.told("mail.quarantined") + rig.told("spool.failed"), 0, "{:#?}", rig.alarms);
    balance.assert_nothing_refused_came();
    assert!(balance.promised > 10 * rounds, "{} promises in {rounds} rounds are no load", balance.promised);
    table::row("`kill -9`, in accepting, delivering, draining, reloading, starting", rounds, &balance, "none there");
}
