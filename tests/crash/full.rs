//! The disk is filled by others: down to the reserve, then to its last octet, under load; and freed.

use super::clients::{Mix, Style, send};
use super::rig::{Rig, chance, cpu, rounds, skipped};
use super::smtp_client::SmtpClient;
use super::table;
use super::volume::Volume;
use rand::Rng;
use std::time::Duration;

#[test]
fn a_full_disk_is_told_to_clients_and_everything_goes_on_by_itself_once_there_is_room() {
    let mut chance = chance();
    let mut rig = Rig::new("");
    let Some(volume) = Volume::new(&rig, 96) else { return skipped("no ext4 in a loop device (root, Debian: e2fsprogs, util-linux)") };
    rig.relay.start_by(&mut volume.serve(&rig, "loop", ""));
    rig.promise(40, Mix::OURS);
    let rounds = rounds(2, 8);
    for _ in 0..rounds {
        below_the_reserve(&rig);
        to_the_last_octet(&rig, Duration::from_millis(chance.random_range(0..1500)));
    }
    let full = rig.ledger.refused_with("452");
    let balance = rig.finish();
    assert!(full > 10, "{full} were told that the disk is full: {balance:?}");
    balance.assert_nothing_refused_came();
    assert_eq!(balance.duplicates, 0, "an outcome was not written down, and the mail sent again");
    assert_eq!(rig.told("spool.failed"), 0, "{:#?}", rig.alarms);
    table::row("disk full to the last octet, then freed", rounds, &balance, "none there");
}

/// Nothing is accepted, and what is queued goes.
fn below_the_reserve(rig: &Rig) {
    rig.sink.hold();
    rig.promise(30, Mix::OURS);
    Volume::fill(rig, 12 << 20);
    assert_refused(rig);
    assert!(!rig.ledger.missing().is_empty());
    rig.sink.release();
    rig.until("what was queued arrives", Duration::from_mins(1), || rig.ledger.missing().is_empty());
    Volume::make_room(rig);
    rig.until("mail is accepted again", Duration::from_mins(1), || accepts(rig));
}

/// Not even an outcome can be written.
fn to_the_last_octet(rig: &Rig, after: Duration) {
    rig.sink.hold();
    let load = rig.load(Mix { pause: Duration::from_millis(20), ..Mix::OURS });
    std::thread::sleep(Duration::from_millis(300) + after);
    Volume::fill(rig, 0);
    rig.sink.release();
    std::thread::sleep(Duration::from_secs(1));
    let (busy, lines) = (cpu(rig.relay.pid()), rig.relay.log().len());
    let refused = rig.ledger.refused_with("452");
    std::thread::sleep(Duration::from_secs(2));
    let refused = rig.ledger.refused_with("452") - refused;
    let busy = cpu(rig.relay.pid()).saturating_sub(busy);
    assert!(refused > 0, "nobody was refused on a full disk: {:?}", rig.ledger.balance());
    // Each refusal is told by a line or two, and costs its parsing and sealing.
    let lines = rig.relay.log().len() - lines;
    assert!(lines < 100 + 4 * refused, "{lines} lines of log for {refused} refusals");
    assert!(busy < Duration::from_millis(1000 + 30 * refused as u64), "{busy:?} of CPU for {refused} refusals in two seconds");
    Volume::make_room(rig);
    load.stop();
    rig.until("what was queued arrives", Duration::from_mins(1), || rig.ledger.missing().is_empty());
    rig.until("mail is accepted again", Duration::from_mins(1), || accepts(rig));
}

fn assert_refused(rig: &Rig) {
    let mut client = SmtpClient::connect(&rig.submission.to_string()).unwrap();
    let reply = client.send("app@example.com", &["nobody@example.net"], "From: app@example.com\r\nSubject: refused\r\n\r\nx\r\n").unwrap();
    assert!(reply.starts_with("452 4.3.1 "), "{reply}");
    let number = rig.next_number();
    assert!(send(&mut client, &rig.ledger, number, Style::LockStep));
}

fn accepts(rig: &Rig) -> bool {
    let promised = rig.ledger.promised();
    let mut client = SmtpClient::connect(&rig.submission.to_string()).unwrap();
    send(&mut client, &rig.ledger, rig.next_number(), Style::LockStep);
    rig.ledger.promised() > promised
}
