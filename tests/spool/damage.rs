//! Flipped bits, wherever they fall: found before anything is sent, kept, told, and no obstacle to other mail.

use super::control::order;
use super::samples::*;
use postseal::mail::RouteName;
use postseal::seal::Sealed;
use postseal::spool::control::{Order, Selection, State};
use postseal::spool::{Control, Records, Settings, SoFar, Spool, SpoolError, SqliteSpool, Swept};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A spool of two mails to one queue, the first of which is about to suffer.
async fn victim() -> TempDir {
    let directory = scratch();
    let spool = open(directory.path());
    spool
        .commit(vec![Sealed { message: message(1, 20_000), sender: Some(sender(77, "app@example.com")), ..mail(1, &["alice@x.example", "bob@y.example"]) }])
        .await
        .unwrap();
    commit(&spool, mail(2, &["carol@x.example"])).await;
    spool.close().await;
    directory
}

fn open(directory: &Path) -> SqliteSpool {
    SqliteSpool::open(settings(directory), at(0)).unwrap().0
}

fn change(directory: &Path, sql: &str) {
    let changed = rusqlite::Connection::open(directory.join("spool.db")).unwrap().execute(sql, []).unwrap();
    assert_eq!(changed, 1, "{sql}");
}

/// Flips one bit of a file, where `text` stands in it.
fn flip(path: &Path, text: &[u8]) {
    let mut octets = fs::read(path).unwrap();
    let at_octet = octets.windows(text.len()).position(|window| window == text).unwrap();
    octets[at_octet] ^= 1;
    fs::write(path, octets).unwrap();
}

/// The first mail is quarantined by the claim that meets it, for this reason; the second is leased as ever.
async fn check_claim(directory: &Path, why: &str) {
    let spool = open(directory);
    let claimed = claim_all(&spool, "x.example", 0).await;
    assert_eq!(claimed.leases.iter().map(|lease| lease.mail.id).collect::<Vec<_>>(), [id(2)], "{why}");
    assert_eq!(claimed.quarantined.iter().map(|found| found.id).collect::<Vec<_>>(), [id(1)], "{why}");
    assert!(claimed.quarantined[0].why.contains(why), "{:?}", claimed.quarantined);
    assert_eq!(counts(&spool).await, "1 1 1");
    // Told once, kept, never due, in no queue.
    assert_eq!(claim(&spool, "y.example", 599).await.len(), 0, "{why}");
    assert_eq!(due(&spool, 599).await, "", "{why}");
    assert!(matches!(spool.message(id(1)).await, Err(SpoolError::Damaged(..))), "{why}");
    spool.close().await;
    let (spool, report) = SqliteSpool::open(settings(directory), at(0)).unwrap();
    assert_eq!(report.quarantined, 1);
    assert!(matches!(spool.commit(vec![mail(1, &["a@x.example"])]).await, Err(SpoolError::IdTaken(_))), "{why}");
}

#[tokio::test]
async fn a_recipient_who_became_somebody_else_gets_nothing() {
    for set in [
        "mailbox = 'alicf@x.example'",
        "reverse_path = 'b0124@b.example.com'",
        "reverse_path = ''",
        "notify = 1",
        "orcpt = NULL",
        "orcpt_type = 'x400'",
        "mailbox = x'ff'",
        "notify = 'many'",
        "sum = sum + 1",
    ] {
        let directory = victim().await;
        change(directory.path(), &format!("UPDATE recipients SET {set} WHERE message = 1 AND number = 0"));
        check_claim(directory.path(), "recipient 0 does not").await;
    }
}

#[tokio::test]
async fn a_message_whose_facts_changed_is_not_sent() {
    for set in [
        "accepted_at = accepted_at + 1",
        "expires_at = 0",
        "identity = 'shoq'",
        "kind = 1",
        "signing_domain = 'fxample.com'",
        "stream = 'bulk'",
        "original_reverse_path = 'bpp@example.com'",
        "envid = NULL",
        "ret = 1",
        "needs = 0",
        "message_id = '<2@example.com>'",
        "track_id = ''",
        "tag = NULL",
        "seal = replace(seal, 'first', 'fisst')",
        "body_octets = body_octets + 1",
        "body_sum = body_sum + 1",
        "body_file = '01/0000000001.1.0'",
        "recipients = 1",
        "sum = sum + 1",
        "seal = x'00ff'",
    ] {
        let directory = victim().await;
        change(directory.path(), &format!("UPDATE messages SET {set} WHERE id = 1"));
        check_claim(directory.path(), "its row does not").await;
    }
}

#[tokio::test]
async fn a_recipient_in_a_strange_queue_is_not_sent_there() {
    let directory = victim().await;
    change(directory.path(), "UPDATE recipients SET queue = 'mx/x.example' WHERE message = 1 AND number = 1");
    check_claim(directory.path(), "where it does not belong").await;
}

#[tokio::test]
async fn recipients_without_a_message_are_told_of() {
    let directory = victim().await;
    change(directory.path(), "DELETE FROM messages WHERE id = 1");
    let spool = open(directory.path());
    let claimed = claim_all(&spool, "x.example", 0).await;
    assert_eq!((claimed.leases.len(), claimed.quarantined[0].id), (1, id(1)));
    assert_eq!(claim_all(&spool, "x.example", 0).await.quarantined, []);
}

#[tokio::test]
async fn a_bit_flipped_on_the_disk_is_found() {
    let directory = victim().await;
    flip(&directory.path().join("spool.db"), b"alice@x.example\x1c");
    check_claim(directory.path(), "recipient 0 does not").await;
}

/// What reading the body of mail 1 says, in a spool where everything else is sound.
async fn check_body(directory: &Path, settings: Settings, why: &str) {
    let (spool, _) = SqliteSpool::open(settings, at(0)).unwrap();
    let leases = claim(&spool, "x.example", 0).await;
    assert_eq!(leases.len(), 2, "its envelope is sound");
    let told = refused(spool.message(id(1)).await);
    assert!(told.starts_with("mail 0000000001 is damaged: its body") && told.contains(why), "{told}");
    assert_eq!(counts(&spool).await, "1 1 1");
    assert_eq!(due(&spool, 700).await, "x.example@600", "only the sound mail's lease runs out");
    spool.close().await;
    assert!(directory.exists());
}

#[tokio::test]
async fn a_body_that_changed_is_not_sent() {
    let directory = victim().await;
    flip(&directory.path().join("spool.db"), b"000000000000001.");
    check_body(directory.path(), settings(directory.path()), "does not fit its checksum").await;
}

#[tokio::test]
async fn a_body_that_is_gone_is_told_of() {
    let directory = victim().await;
    change(directory.path(), "DELETE FROM bodies WHERE message = 1");
    check_body(directory.path(), settings(directory.path()), "is missing").await;
}

type Harm = fn(&Path);

#[tokio::test]
async fn a_body_file_that_changed_is_not_sent() {
    let harms: [(Harm, &str); 4] = [
        (|file| flip(file, b"000000000000001."), "does not fit its checksum"),
        (|file| fs::write(file, [fs::read(file).unwrap(), vec![b'x']].concat()).unwrap(), "octets and should have"),
        (|file| fs::File::options().write(true).open(file).unwrap().set_len(5).unwrap(), "has 5 octets and should have"),
        (|file| fs::remove_file(file).unwrap(), "No such file"),
    ];
    for (harm, why) in harms {
        let directory = scratch();
        let with_files = || Settings { body_file_octets_min: 10_000, ..settings(directory.path()) };
        let (spool, _) = SqliteSpool::open(with_files(), at(0)).unwrap();
        commit(&spool, Sealed { message: message(1, 20_000), ..mail(1, &["alice@x.example", "bob@y.example"]) }).await;
        commit(&spool, mail(2, &["carol@x.example"])).await;
        spool.close().await;
        harm(&only_file(&directory.path().join("bodies")));
        check_body(directory.path(), with_files(), why).await;
    }
}

fn only_file(bodies: &Path) -> PathBuf {
    let shard = fs::read_dir(bodies).unwrap().next().unwrap().unwrap().path();
    fs::read_dir(shard).unwrap().next().unwrap().unwrap().path()
}

#[tokio::test]
async fn what_was_sent_before_the_damage_was_found_is_still_known() {
    let directory = victim().await;
    flip(&directory.path().join("spool.db"), b"000000000000001.");
    let spool = open(directory.path());
    let lease = claim(&spool, "x.example", 0).await.remove(0);
    assert!(spool.message(id(1)).await.is_err());
    let endings = all(&lease, &delivered(1));
    spool.settle(lease, endings, vec![]).await.unwrap();
    let history = spool.history(id(1)).await.unwrap().unwrap();
    assert_eq!(format!("{:?}", history.recipients.iter().map(|who| who.outcome).collect::<Vec<_>>()), "[Delivered, Waiting]");
    assert_eq!(counts(&spool).await, "1 1 1");
}

/// A name that is in no index any more, and a file whose name in the row is another: the mail is found to be damaged, and is all there.
#[tokio::test]
async fn no_body_file_of_a_message_is_removed_at_a_start() {
    let directory = scratch();
    let with_files = || Settings { body_file_octets_min: 10_000, ..settings(directory.path()) };
    let (spool, _) = SqliteSpool::open(with_files(), at(0)).unwrap();
    commit(&spool, Sealed { message: message(1, 20_000), ..mail(1, &["alice@x.example"]) }).await;
    spool.close().await;
    let file = only_file(&directory.path().join("bodies"));
    change(directory.path(), "UPDATE messages SET body_file = replace(body_file, '.', '/') WHERE id = 1");
    let (spool, report) = SqliteSpool::open(with_files(), at(0)).unwrap();
    assert_eq!((report.orphans_removed, file.exists()), (0, true));
    assert_eq!(claim_all(&spool, "x.example", 0).await.quarantined.len(), 1);
    spool.close().await;
    // The same file is nobody's once there is no such message.
    change(directory.path(), "DELETE FROM messages WHERE id = 1");
    let (_, report) = SqliteSpool::open(with_files(), at(0)).unwrap();
    assert_eq!((report.orphans_removed, file.exists()), (1, false));
}

/// The other recipient ends all the same, once.
#[tokio::test]
async fn a_damaged_row_of_a_settled_recipient_keeps_nobody_from_ending() {
    for sql in [
        "UPDATE recipients SET mailbox = CAST(x'616ce963654078' AS TEXT) WHERE message = 1 AND number = 0",
        "UPDATE recipients SET mailbox = x'616c696365' WHERE message = 1 AND number = 0",
        "UPDATE recipients SET evidence = x'ff00' WHERE message = 1 AND number = 0",
    ] {
        let directory = victim().await;
        let spool = open(directory.path());
        let lease = claim(&spool, "x.example", 0).await.remove(0);
        let endings = all(&lease, &delivered(1));
        spool.settle(lease, endings, vec![]).await.unwrap();
        spool.close().await;
        change(directory.path(), sql);
        let spool = open(directory.path());
        let lease = claim_one(&spool, "y.example", 1).await;
        let endings = all(&lease, &delivered(2));
        spool.settle(lease, endings, vec![]).await.unwrap();
        assert_eq!(counts(&spool).await, "1 1 0", "{sql}");
        assert!(spool.history(id(1)).await.unwrap().is_some(), "{sql}");
    }
}

/// A name in the schedule, and in a lease that a crash left, that is no text.
#[tokio::test]
async fn a_name_that_does_not_read_holds_up_nobody() {
    let directory = victim().await;
    let spool = open(directory.path());
    claim(&spool, "y.example", 0).await;
    spool.close().await;
    change(directory.path(), "UPDATE recipients SET queue = CAST(x'6d782ff9' AS TEXT) WHERE message = 1 AND number = 1");
    open(directory.path()).close().await;

    let directory = victim().await;
    change(directory.path(), "UPDATE queues SET queue = CAST(x'6d782ff8' AS TEXT), next_at = 0 WHERE queue = 'mx/y.example'");
    let spool = open(directory.path());
    assert_eq!(due(&spool, 1000).await, "x.example@0");
    assert_eq!(spool.queues(None, many(10)).await.unwrap().len(), 1);
    spool.sweep(at(0)).await.unwrap();
    assert_eq!(due(&spool, 1000).await, "x.example@0 y.example@0");
    spool.close().await;
    let rows = "SELECT count(*) FROM queues WHERE CAST(queue AS BLOB) = x'6d782ff8'";
    let left: i64 = rusqlite::Connection::open(directory.path().join("spool.db")).unwrap().query_row(rows, [], |row| row.get(0)).unwrap();
    assert_eq!(left, 0, "the sweep removes it");
}

#[tokio::test]
async fn a_damaged_sender_is_nobody_until_it_is_used_again() {
    let directory = victim().await;
    change(directory.path(), "UPDATE senders SET mailbox = 'bpp@example.com'");
    let spool = open(directory.path());
    assert_eq!(spool.sender(77).await.unwrap(), None);
    commit(&spool, Sealed { sender: Some(sender(77, "app@example.com")), ..mail(3, &["a@x.example"]) }).await;
    assert_eq!(spool.sender(77).await.unwrap(), Some(mailbox("app@example.com")));
}

#[tokio::test]
async fn what_damage_hid_from_the_schedule_is_found_again() {
    for sql in [
        "DELETE FROM queues WHERE queue = 'mx/x.example'",
        "UPDATE queues SET next_at = next_at + (1 << 41) WHERE queue = 'mx/x.example'",
        "UPDATE queues SET next_at = NULL WHERE queue = 'mx/x.example'",
    ] {
        let directory = victim().await;
        change(directory.path(), sql);
        let spool = open(directory.path());
        assert_eq!(due(&spool, 0).await, "y.example@0");
        assert_eq!(spool.sweep(at(0)).await.unwrap().rescheduled, 1);
        assert_eq!(due(&spool, 0).await, "x.example@0 y.example@0");
        assert_eq!(spool.sweep(at(0)).await.unwrap(), Swept::default());
    }
}

#[tokio::test]
async fn a_damaged_index_hides_nobody_for_long() {
    let directory = victim().await;
    // In the index of the schedule the time stands before the name: a quarter of a second later than it should be.
    flip(&directory.path().join("spool.db"), b"\xa2\x00mx/y.example");
    let spool = open(directory.path());
    assert_eq!(due(&spool, 0).await, "x.example@0");
    assert_eq!(spool.sweep(at(0)).await.unwrap().rescheduled, 1);
    assert_eq!(due(&spool, 0).await, "x.example@0 y.example@0");
}

#[tokio::test]
async fn a_message_that_lost_a_recipient_is_told_of() {
    for sql in [
        "UPDATE recipients SET state = 1 WHERE message = 1 AND number = 1",
        "DELETE FROM recipients WHERE message = 1 AND number = 1",
        "UPDATE messages SET waiting = 3 WHERE id = 1",
        "UPDATE recipients SET queue = CAST(x'6d782fe5' AS TEXT) WHERE message = 1 AND number = 1",
    ] {
        let directory = victim().await;
        change(directory.path(), sql);
        let spool = open(directory.path());
        let found = spool.sweep(at(0)).await.unwrap().quarantined;
        assert_eq!(found.iter().map(|found| found.id).collect::<Vec<_>>(), [id(1)], "{sql}");
        assert_eq!(claim_one(&spool, "x.example", 0).await.mail.id, id(2));
    }
}

/// What a spool in which one bit is wrong makes of its mail.
async fn fate(directory: &Path) -> Result<String, SpoolError> {
    let (spool, report) = SqliteSpool::open(settings(directory), at(1))?;
    let mut told = format!("{} lost", report.commits_lost).replace("0 lost", "");
    for found in spool.sweep(at(1)).await?.quarantined {
        write!(told, "{} quarantined ", found.id).unwrap();
    }
    for queue in spool.due(at(1), many(100)).await? {
        let claimed = spool.claim(&queue.queue, many(100), at(1), at(600)).await?;
        for found in claimed.quarantined {
            write!(told, "{} quarantined ", found.id).unwrap();
        }
        for lease in claimed.leases {
            let body = match spool.message(lease.mail.id).await {
                Ok(octets) => format!("with {:08x}", crc32c::crc32c(&octets)),
                Err(SpoolError::Damaged(..)) => "quarantined".to_owned(),
                Err(other) => return Err(other),
            };
            for who in lease.recipients {
                write!(told, "{} to {} from {} {body} ", lease.mail.id, who.mailbox, lease.reverse_path).unwrap();
            }
        }
    }
    spool.close().await;
    Ok(told)
}

/// For every mail and recipient: sent as it was meant, or said to be damaged; or the spool as a whole says that it is.
#[tokio::test]
async fn no_flipped_bit_sends_mail_astray_or_loses_it_in_silence() {
    let directory = victim().await;
    let database = directory.path().join("spool.db");
    let sound = fs::read(&database).unwrap();
    let commits = fs::read(directory.path().join("commits")).unwrap();
    let meant = fate(directory.path()).await.unwrap();
    let meant: Vec<&str> = meant.split_inclusive(' ').collect::<Vec<_>>().chunks(7).map(|words| words.concat().leak() as &str).collect();
    assert_eq!(meant.len(), 3, "{meant:?}");
    // Everywhere in the pages, more densely where there is something to harm.
    let places: Vec<usize> = (0..sound.len()).filter(|place| place % 331 == 7 || (sound[*place] != 0 && place % 29 == 0)).collect();
    assert!(places.len() > 300, "{}", places.len());
    let (mut unharmed, mut quarantined, mut refused) = (0, 0, 0);
    for place in places {
        let mut octets = sound.clone();
        octets[place] ^= 1 << (place % 8);
        for rest in ["spool.db-wal", "spool.db-shm"] {
            let _ = fs::remove_file(directory.path().join(rest));
        }
        fs::write(&database, octets).unwrap();
        fs::write(directory.path().join("commits"), &commits).unwrap();
        let told = match tokio::time::timeout(std::time::Duration::from_secs(20), fate(directory.path())).await.expect("an end") {
            Ok(told) => told,
            Err(SpoolError::Unusable { .. } | SpoolError::Failed(_)) => {
                refused += 1;
                until_unlocked(directory.path()).await;
                continue;
            }
            Err(other) => panic!("at {place}: {other}"),
        };
        for (mail, number) in [("0000000001", 0), ("0000000002", 1), ("0000000001", 2)] {
            assert!(told.contains(meant[number]) || told.contains(&format!("{mail} quarantined")) || is_quarantined(&told, mail), "at {place}: {told}");
        }
        for sent in told.split("0000000").filter(|sent| sent.contains(" with ")) {
            let sent = format!("0000000{sent}");
            assert!(meant.iter().any(|meant| sent.contains(*meant)), "at {place}, sent astray: {sent}");
        }
        if told.contains("quarantined") { quarantined += 1 } else { unharmed += 1 }
    }
    assert!(unharmed > 20 && quarantined > 20, "{unharmed} unharmed, {quarantined} quarantined, {refused} refused");
}

/// Its envelope was sound, its body was not.
fn is_quarantined(told: &str, mail: &str) -> bool {
    told.split("0000000").any(|part| format!("0000000{part}").starts_with(mail) && part.trim_end().ends_with("quarantined"))
}

async fn until_unlocked(directory: &Path) {
    for _ in 0..500 {
        let lock = fs::File::options().read(true).write(true).open(directory.join("lock")).unwrap();
        if lock.try_lock().is_ok() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("the lock was not given back");
}

#[tokio::test]
async fn a_person_sees_damaged_mail_and_takes_it_out_but_never_lets_it_go() {
    let directory = victim().await;
    change(directory.path(), "UPDATE recipients SET mailbox = 'alicf@x.example' WHERE message = 1 AND number = 0");
    let spool = open(directory.path());
    assert_eq!(claim_all(&spool, "x.example", 0).await.quarantined.len(), 1);
    let damaged = Selection { state: Some(State::Quarantined), ..Selection::default() };
    let listed = spool.list(&damaged, None, many(10), at(1)).await.unwrap();
    let told: Vec<_> = listed.entries.iter().map(|entry| format!("{} {}", entry.recipient, entry.damage.as_deref().unwrap())).collect();
    let why = "recipient 0 does not fit its checksum";
    assert_eq!(told, [format!("alicf@x.example {why}"), format!("bob@y.example {why}")]);
    assert_eq!(spool.show(id(1), at(1)).await.unwrap().unwrap().damage.as_deref(), Some(why));
    for each in [Order::Hold, Order::Release, Order::Retry, Order::Reroute(RouteName::new("ses")), Order::Cancel { silent: false }] {
        assert_eq!(order(&spool, &damaged, &each, 2).await, "1/0 Damaged, 1/1 Damaged", "{each:?}");
    }
    assert_eq!(spool.states(at(3)).await.unwrap().quarantined, 2);
    assert_eq!(order(&spool, &damaged, &Order::Cancel { silent: true }, 4).await, "1/0 Done, 1/1 Done");
    assert_eq!(counts(&spool).await, "1 1 0");
    let history = spool.history(id(1)).await.unwrap().unwrap();
    assert_eq!(history.recipients.iter().map(|who| who.outcome).collect::<Vec<_>>(), [SoFar::Cancelled, SoFar::Cancelled]);
    spool.close().await;
    // Nothing of it is left behind, the other mail goes on.
    let (spool, report) = SqliteSpool::open(settings(directory.path()), at(5)).unwrap();
    assert_eq!((report.quarantined, report.orphans_removed), (0, 0));
    assert_eq!(spool.sweep(at(5)).await.unwrap().quarantined, []);
}

#[tokio::test]
async fn a_flipped_bit_neither_holds_mail_nor_lets_held_mail_go() {
    let directory = victim().await;
    change(directory.path(), "UPDATE recipients SET state = 4 WHERE message = 1 AND number = 0");
    let spool = open(directory.path());
    assert_eq!(spool.sweep(at(1)).await.unwrap().quarantined.len(), 1, "held by nobody: found, and set aside");
    spool.close().await;

    let directory = victim().await;
    let spool = open(directory.path());
    order(&spool, &Selection { ids: vec![id(1)], ..Selection::default() }, &Order::Hold, 1).await;
    spool.close().await;
    change(directory.path(), "UPDATE recipients SET state = 0 WHERE message = 1 AND number = 0");
    change(directory.path(), "UPDATE queues SET next_at = 0 WHERE queue = 'mx/x.example'");
    check_claim(directory.path(), "recipient 0 waits, and yet a person holds it").await;

    let directory = victim().await;
    let spool = open(directory.path());
    order(&spool, &Selection { ids: vec![id(1)], ..Selection::default() }, &Order::Reroute(RouteName::new("ses")), 1).await;
    spool.close().await;
    change(directory.path(), "UPDATE recipients SET route = 'set' WHERE message = 1 AND number = 0");
    let spool = open(directory.path());
    let claimed = spool.claim(&postseal::spool::Queue::stored("ses/"), many(9), at(2), at(9)).await.unwrap();
    assert_eq!((claimed.leases.len(), claimed.quarantined.len()), (0, 1));
}
