//! What the embedded engine promises beyond the contract: its directory, its disk, its start.

use super::samples::*;
use postseal::seal::{Kind, Sealed};
use postseal::spool::control::{Effect, Order, Selection};
use postseal::spool::sqlite::FileSystems;
use postseal::spool::{Control, Health, Homecoming, Homecomings, How, Records, RecoveryReport, Settings, SoFar, Spool, SpoolError, SqliteSpool};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tempfile::TempDir;

fn open(directory: &Path) -> (SqliteSpool, RecoveryReport) {
    SqliteSpool::open(settings(directory), at(0)).unwrap()
}

/// The directory as a crash would leave it: copied while the spool is open.
fn crash_image(directory: &Path) -> TempDir {
    let image = TempDir::new().unwrap();
    copy(directory, image.path());
    image
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else if entry.file_name() != "spool.db-shm" {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let shards = fs::read_dir(directory.join("bodies")).unwrap().map(|shard| shard.unwrap().path());
    shards.flat_map(|shard| fs::read_dir(shard).unwrap().map(|file| file.unwrap().path())).collect()
}

async fn until(what: &str, mut is: impl FnMut() -> bool) {
    for _ in 0..500 {
        if is() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("never: {what}");
}

/// Settles everything that is due.
async fn deliver(spool: &impl Spool, host: &str) {
    for lease in claim(spool, host, 0).await {
        let endings = all(&lease, &delivered(1));
        spool.settle(lease, endings, vec![]).await.unwrap();
    }
}

fn raw(directory: &Path) -> rusqlite::Connection {
    rusqlite::Connection::open(directory.join("spool.db")).unwrap()
}

/// A command that revokes a key asks a spool that nobody has open; who has it open knows better.
#[tokio::test]
async fn a_spool_at_rest_is_counted_and_one_at_work_is_left_alone() {
    let directory = TempDir::new().unwrap();
    let key = postseal::mail::KeyId { domain: "example.com".parse().unwrap(), selector: postseal::mail::Selector::new("s1") };
    let count = || SqliteSpool::mentions_at_rest(directory.path(), &key);
    assert_eq!(count().unwrap(), 0, "none was made yet");
    let (spool, _) = open(directory.path());
    commit(&spool, mail(1, &["a@x.example"])).await;
    assert!(matches!(count(), Err(SpoolError::Locked(_))));
    spool.close().await;
    drop(spool);
    assert_eq!(count().unwrap(), 1);
    let (_, report) = open(directory.path());
    assert!(report.warnings.is_empty() && report.commits_lost == 0, "{report:?}");
}

#[tokio::test]
async fn a_second_process_is_told_who_has_the_spool() {
    let directory = TempDir::new().unwrap();
    let (first, _) = open(directory.path());
    let told = refused(SqliteSpool::open(settings(directory.path()), at(0)));
    assert_eq!(
        told,
        format!("the spool {} (process {}) is in use by another process; one process may use a spool", directory.path().display(), std::process::id())
    );
    first.close().await;
    open(directory.path()).0.close().await;
}

#[tokio::test]
async fn a_spool_that_is_only_dropped_is_given_back_too() {
    let directory = TempDir::new().unwrap();
    let (spool, _) = open(directory.path());
    commit(&spool, mail(1, &["a@x.example"])).await;
    drop(spool);
    until("the lock is free", || SqliteSpool::open(settings(directory.path()), at(0)).is_ok()).await;
}

#[tokio::test]
async fn a_newer_spool_is_refused() {
    let directory = TempDir::new().unwrap();
    open(directory.path()).0.close().await;
    raw(directory.path()).execute("UPDATE spool SET version = version + 1", []).unwrap();
    let told = refused(SqliteSpool::open(settings(directory.path()), at(0)));
    assert!(
        told.ends_with("its tables have version 4 and this program knows up to 3; run the newer postseal that wrote it, or give this one another directory"),
        "{told}"
    );
}

#[tokio::test]
async fn an_older_spool_is_brought_up_to_date_and_keeps_its_numbers() {
    let directory = TempDir::new().unwrap();
    raw(directory.path()).execute_batch(include_str!("../../src/spool/schema/0001.sql")).unwrap();
    raw(directory.path()).execute("UPDATE spool SET fence = 41", []).unwrap();
    let (spool, report) = open(directory.path());
    assert!(!report.created && report.commits_lost == 0, "{report:?}");
    commit(&spool, mail(1, &["a@x.example"])).await;
    assert_eq!(claim_one(&spool, "x.example", 0).await.recipients.len(), 1);
    spool.close().await;
    let (version, fence): (i64, i64) = raw(directory.path()).query_row("SELECT version, fence FROM spool", [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    assert_eq!((version, fence), (3, 42));
}

#[tokio::test]
async fn what_is_no_spool_is_not_touched() {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("spool.db"), "this is somebody's letter, not a database. ".repeat(100)).unwrap();
    let told = refused(SqliteSpool::open(settings(directory.path()), at(0)));
    assert!(told.contains("file is not a database; restore a backup"), "{told}");
    assert!(fs::read_to_string(directory.path().join("spool.db")).unwrap().starts_with("this is somebody's letter"));
}

#[tokio::test]
async fn an_opened_spool_says_what_it_found() {
    let directory = TempDir::new().unwrap();
    let (spool, report) = open(directory.path());
    assert!(report.created && report.commits_lost == 0 && report.mails == 0, "{report:?}");
    commit(&spool, mail(1, &["a@x.example"])).await;
    let lost = claim_one(&spool, "x.example", 0).await;
    let image = crash_image(directory.path());
    let (spool, report) = SqliteSpool::open(settings(image.path()), at(5)).unwrap();
    assert!(!report.created && report.wal_octets > 0, "{report:?}");
    assert_eq!((report.commits_lost, report.leases_ended, report.mails), (0, 1, 1));
    // Whoever held the lease died with the process: no need to wait for its end, but the mail may have gone out.
    assert_eq!(due(&spool, 5).await, "x.example@5");
    let again = claim_one(&spool, "x.example", 5).await;
    assert_eq!((again.recipients[0].attempts, again.recipients[0].unknown_ends), (1, 1));
    drop(lost);
}

#[tokio::test]
async fn commits_that_the_log_lost_are_reported() {
    let directory = TempDir::new().unwrap();
    let (spool, _) = open(directory.path());
    let wal = |directory: &Path| directory.join("spool.db-wal");
    let mut sizes = Vec::new();
    for number in 1..=4 {
        commit(&spool, Sealed { message: message(number, 300_000), ..mail(number, &["a@x.example"]) }).await;
        sizes.push(fs::metadata(wal(directory.path())).unwrap().len());
    }
    let whole = crash_image(directory.path());
    assert_eq!(open(whole.path()).1.commits_lost, 0);

    let torn = crash_image(directory.path());
    fs::File::options().write(true).open(wal(torn.path())).unwrap().set_len(sizes[1] + 100).unwrap();
    let (spool, report) = open(torn.path());
    assert_eq!((report.commits_lost, report.mails), (2, 2));
    // Their bodies may be all that is left of them, with what stands in the log behind the damage.
    assert_eq!((report.orphans_set_aside, report.orphans_removed), (2, 0));
    assert_eq!(fs::read_dir(torn.path().join("lost")).unwrap().count(), 3);
    assert_eq!(fs::metadata(torn.path().join("lost/spool.db-wal.2")).unwrap().len(), sizes[1] + 100);
    assert!(report.warnings.iter().any(|warning| warning.contains("lost/spool.db-wal.2")), "{:?}", report.warnings);
    spool.close().await;
    assert_eq!(open(torn.path()).1.commits_lost, 0, "told once");
}

#[tokio::test]
async fn a_flipped_bit_in_the_log_is_noticed_at_the_start() {
    let directory = TempDir::new().unwrap();
    let (spool, _) = open(directory.path());
    for number in 1..=3 {
        commit(&spool, mail(number, &["a@x.example"])).await;
    }
    let image = crash_image(directory.path());
    let path = image.path().join("spool.db-wal");
    let mut octets = fs::read(&path).unwrap();
    let at_octet = octets.windows(15).position(|window| window == b"<2@example.com>").unwrap();
    octets[at_octet] ^= 1;
    fs::write(&path, octets).unwrap();
    assert_eq!(open(image.path()).1.commits_lost, 2);
}

#[tokio::test]
async fn a_large_body_is_a_file_as_long_as_its_message_waits() {
    let directory = TempDir::new().unwrap();
    let (spool, _) = open(directory.path());
    let head = mail(1, &[]).message.octets().len() - 100;
    for (number, octets, expected) in [(1, (256 << 10) - 1, 0), (2, 256 << 10, 1)] {
        commit(&spool, Sealed { message: message(number, octets - head), ..mail(number, &["a@x.example"]) }).await;
        assert_eq!(files(directory.path()).len(), expected, "{octets} octets");
    }
    deliver(&spool, "x.example").await;
    until("the body is removed", || files(directory.path()).is_empty()).await;
}

#[tokio::test]
async fn a_refused_submission_leaves_no_file() {
    let directory = TempDir::new().unwrap();
    let (spool, _) = open(directory.path());
    let large = || Sealed { message: message(1, 300_000), ..mail(1, &["a@x.example"]) };
    commit(&spool, large()).await;
    assert!(matches!(spool.commit(vec![large()]).await, Err(SpoolError::IdTaken(_))));
    until("one body is left", || files(directory.path()).len() == 1).await;
    assert_eq!(spool.message(id(1)).await.unwrap(), large().message.octets());
}

#[tokio::test]
async fn orphans_are_swept_at_the_start() {
    let directory = TempDir::new().unwrap();
    let (spool, _) = open(directory.path());
    commit(&spool, Sealed { message: message(1, 300_000), ..mail(1, &["a@x.example"]) }).await;
    spool.close().await;
    let body = files(directory.path()).remove(0);
    fs::write(body.with_file_name("0000000009.1.5"), "of a commit that a crash cut short").unwrap();
    fs::write(directory.path().join("tmp/0000000009.1.6"), "half a bo").unwrap();
    let (spool, report) = open(directory.path());
    assert_eq!(report.orphans_removed, 2);
    assert_eq!(files(directory.path()), [body]);
    assert!(spool.message(id(1)).await.is_ok());
}

#[tokio::test]
async fn nothing_is_accepted_below_the_reserve_and_what_is_queued_goes_on() {
    let directory = TempDir::new().unwrap();
    let (spool, _) = open(directory.path());
    commit(&spool, mail(1, &["a@x.example"])).await;
    assert_eq!(spool.health(), Health::Working);
    spool.close().await;
    let full = Settings { reserve_octets: u64::MAX, ..settings(directory.path()) };
    let (spool, _) = SqliteSpool::open(full, at(0)).unwrap();
    assert!(matches!(spool.commit(vec![mail(2, &["a@x.example"])]).await, Err(SpoolError::Full { reserve: u64::MAX, .. })));
    assert!(matches!(spool.health(), Health::Full { .. }));
    let lease = claim_one(&spool, "x.example", 0).await;
    let endings = all(&lease, &failed(1));
    let notice = Sealed { kind: Kind::Notice, message: message(3, 300_000), ..mail(3, &["app@home.example"]) };
    spool.settle(lease, endings, vec![notice]).await.unwrap();
    assert_eq!(counts(&spool).await, "1 1 0");
}

#[tokio::test]
async fn the_reserve_counts_what_is_about_to_be_written() {
    let directory = TempDir::new().unwrap();
    let facts = rustix::fs::statvfs(directory.path()).unwrap();
    let free = facts.f_bavail * facts.f_frsize;
    // Other tests write to the same disk: leave them room, and ask for more than that.
    let slack = 4 << 30;
    if free < 3 * slack {
        eprintln!("skipped: the disk has too little room to tell");
        return;
    }
    let (spool, _) = SqliteSpool::open(Settings { reserve_octets: free - slack, ..settings(directory.path()) }, at(0)).unwrap();
    commit(&spool, mail(1, &["a@x.example"])).await;
    spool.close().await;
    let (spool, _) = SqliteSpool::open(Settings { reserve_octets: free + slack, ..settings(directory.path()) }, at(0)).unwrap();
    assert!(matches!(spool.commit(vec![mail(2, &["a@x.example"])]).await, Err(SpoolError::Full { .. })));
}

/// What strangers send is refused while there is still room for a submission.
#[tokio::test]
async fn what_comes_home_leaves_more_room_than_a_submission() {
    let directory = TempDir::new().unwrap();
    let facts = rustix::fs::statvfs(directory.path()).unwrap();
    let free = facts.f_bavail * facts.f_frsize;
    let slack = 4 << 30;
    if free < 4 * slack {
        eprintln!("skipped: the disk has too little room to tell");
        return;
    }
    let homecoming = |number: u64| Homecoming { id: id(number), at: at(0), octets: 100, mails: Vec::new(), spent: Vec::new(), tidings: Vec::new() };
    let (spool, _) = SqliteSpool::open(Settings { reserve_octets: free - slack, ..settings(directory.path()) }, at(0)).unwrap();
    commit(&spool, mail(1, &["a@x.example"])).await;
    assert!(matches!(spool.come_home(homecoming(2)).await, Err(SpoolError::Full { reserve, .. }) if reserve == 2 * (free - slack)));
    assert_eq!(spool.health(), Health::Working);
    spool.close().await;
    let (spool, _) = SqliteSpool::open(Settings { reserve_octets: (free - slack) / 2, ..settings(directory.path()) }, at(0)).unwrap();
    spool.come_home(homecoming(2)).await.unwrap();
}

#[tokio::test]
async fn a_disk_in_memory_is_no_disk_unless_that_was_meant() {
    let Ok(directory) = TempDir::new_in("/dev/shm") else {
        eprintln!("skipped: no /dev/shm here");
        return;
    };
    let with = |file_systems| SqliteSpool::open(Settings { file_systems, ..settings(directory.path()) }, at(0));
    let told = refused(with(FileSystems::Durable));
    assert!(told.contains("it lies on tmpfs, which does not outlive the machine's power or the pod"), "{told}");
    for remedy in ["PersistentVolumeClaim", "spool.mode = \"through\"", "spool.file_systems = \"volatile\" together with server.upstream"] {
        assert!(told.contains(remedy), "{told}");
    }
    let (spool, report) = with(FileSystems::Volatile).unwrap();
    assert!(report.warnings[0].contains("a 250 does not outlive the machine's power"), "{report:?}");
    spool.close().await;
}

#[tokio::test]
async fn a_failed_write_stops_the_spool_for_good() {
    let directory = TempDir::new().unwrap();
    let (spool, _) = open(directory.path());
    commit(&spool, mail(1, &["a@x.example"])).await;
    let mut lease = claim_one(&spool, "x.example", 0).await;
    let sabotage = raw(directory.path());
    sabotage.execute_batch("CREATE TRIGGER disk BEFORE INSERT ON messages BEGIN SELECT RAISE(ABORT, 'disk I/O error'); END").unwrap();
    let first = refused(spool.commit(vec![mail(2, &["b@x.example"])]).await);
    assert_eq!(first, "the spool failed: disk I/O error; nothing more is accepted until postseal is restarted on a working disk");
    // It works again; but who knows what was lost.
    sabotage.execute_batch("DROP TRIGGER disk").unwrap();
    assert_eq!(refused(spool.commit(vec![mail(3, &["c@x.example"])]).await), first);
    assert_eq!(refused(spool.renew(&mut lease, at(900)).await), first);
    let endings = all(&lease, &delivered(1));
    assert_eq!(refused(spool.settle(lease, endings, vec![]).await), first);
    assert_eq!(spool.health(), Health::Failed("disk I/O error".to_owned()));
    spool.close().await;
    let (spool, report) = open(directory.path());
    assert_eq!((report.mails, report.commits_lost), (1, 0));
    assert_eq!(due(&spool, 0).await, "x.example@0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_who_waits_hears_of_a_failure() {
    let directory = TempDir::new().unwrap();
    let (spool, _) = SqliteSpool::open(Settings { linger: Duration::from_millis(20), ..settings(directory.path()) }, at(0)).unwrap();
    let spool = Arc::new(spool);
    raw(directory.path())
        .execute_batch("CREATE TRIGGER disk BEFORE INSERT ON messages WHEN NEW.id = 20 BEGIN SELECT RAISE(ABORT, 'disk I/O error'); END")
        .unwrap();
    let commits: Vec<_> = (1..=40)
        .map(|number| {
            let spool = Arc::clone(&spool);
            tokio::spawn(async move { spool.commit(vec![mail(number, &["a@x.example"])]).await.map(|receipt| receipt.id()) })
        })
        .collect();
    let mut acknowledged = 0;
    for commit in commits {
        match commit.await.unwrap() {
            Ok(_) => acknowledged += 1,
            Err(error) => assert!(matches!(error, SpoolError::Failed(_)), "{error}"),
        }
    }
    assert!(acknowledged < 40);
    spool.close().await;
    let (_, report) = open(directory.path());
    assert_eq!(report.mails, acknowledged, "those that heard of success, and no others");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_sessions_share_one_transaction() {
    let directory = TempDir::new().unwrap();
    let (spool, _) = SqliteSpool::open(Settings { linger: Duration::from_millis(10), ..settings(directory.path()) }, at(0)).unwrap();
    let spool = Arc::new(spool);
    let last = spool.expect();
    let commits: Vec<_> = (1..=64)
        .map(|number| {
            let spool = Arc::clone(&spool);
            tokio::spawn(async move { commit(&*spool, mail(number, &["a@x.example"])).await })
        })
        .collect();
    for commit in commits {
        commit.await.unwrap();
    }
    drop(last);
    let work = spool.work();
    assert_eq!(work.jobs, 64);
    assert!(work.transactions <= 16, "{work:?}");
}

/// A minute's patience would be seen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_waits_for_mail_on_its_way_and_for_no_other() {
    let directory = TempDir::new().unwrap();
    let (spool, _) = SqliteSpool::open(Settings { linger: Duration::from_mins(1), ..settings(directory.path()) }, at(0)).unwrap();
    let spool = Arc::new(spool);
    commit(&*spool, mail(1, &["a@x.example"])).await; // alone, at once
    let coming = spool.expect();
    let first = tokio::spawn({
        let spool = Arc::clone(&spool);
        async move { commit(&*spool, mail(2, &["a@x.example"])).await }
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!((spool.work().transactions, first.is_finished()), (1, false), "somebody else is on the way");
    drop(coming);
    commit(&*spool, mail(3, &["a@x.example"])).await;
    first.await.unwrap();
    assert_eq!(spool.work().transactions, 2, "both in one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_looks_for_what_is_under_lease_already() {
    let directory = TempDir::new().unwrap();
    let (spool, _) = open(directory.path());
    let standing = spool.stand(&queue("x.example"));
    standing.allow(10, Duration::from_mins(1));
    let receipts = [mail(1, &["a@x.example"]), mail(2, &["a@x.example", "a@y.example"]), Sealed { due_at: at(9), ..mail(3, &["a@x.example"]) }];
    let mut taken_on = Vec::new();
    for mail in receipts {
        taken_on.push(spool.commit(vec![mail]).await.unwrap().is_taken_on());
    }
    assert_eq!(taken_on, [true, false, false]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ending_shares_the_transaction_of_the_next_commit() {
    let directory = TempDir::new().unwrap();
    let (spool, _) = SqliteSpool::open(Settings { endings_linger: Duration::from_mins(1), ..settings(directory.path()) }, at(0)).unwrap();
    let spool = Arc::new(spool);
    commit(&*spool, mail(1, &["a@x.example"])).await;
    let lease = claim_one(&*spool, "x.example", 0).await;
    let before = spool.work().transactions;
    let settled = tokio::spawn({
        let (spool, endings) = (Arc::clone(&spool), all(&lease, &delivered(1)));
        async move { spool.settle(lease, endings, vec![]).await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!((spool.work().transactions, settled.is_finished()), (before, false), "nothing else asks for the disk");
    commit(&*spool, mail(2, &["a@y.example"])).await;
    settled.await.unwrap().unwrap();
    assert_eq!(spool.work().transactions, before + 1);
    assert_eq!(spool.counts().await.unwrap().mails, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ending_that_nobody_joins_is_written_in_its_time() {
    for linger in [Duration::ZERO, Duration::from_millis(200)] {
        let directory = TempDir::new().unwrap();
        let (spool, _) = SqliteSpool::open(Settings { endings_linger: linger, ..settings(directory.path()) }, at(0)).unwrap();
        commit(&spool, mail(1, &["a@x.example"])).await;
        let lease = claim_one(&spool, "x.example", 0).await;
        let (endings, began) = (all(&lease, &delivered(1)), std::time::Instant::now());
        spool.settle(lease, endings, vec![]).await.unwrap();
        assert!(began.elapsed() >= linger, "{:?}", began.elapsed());
        let image = crash_image(directory.path());
        assert_eq!(open(image.path()).1.mails, 0, "it is as durable as any once it is answered");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endings_that_wait_when_the_spool_is_closed_are_written() {
    let directory = TempDir::new().unwrap();
    let (spool, _) = SqliteSpool::open(Settings { endings_linger: Duration::from_mins(1), ..settings(directory.path()) }, at(0)).unwrap();
    let spool = Arc::new(spool);
    commit(&*spool, mail(1, &["a@x.example"])).await;
    let lease = claim_one(&*spool, "x.example", 0).await;
    let settled = tokio::spawn({
        let (spool, endings) = (Arc::clone(&spool), all(&lease, &delivered(1)));
        async move { spool.settle(lease, endings, vec![]).await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    spool.close().await;
    settled.await.unwrap().unwrap();
    assert_eq!(open(directory.path()).1.mails, 0);
}

/// A message all of whose recipients end at once takes a shorter way out; what is kept of it is the same.
#[tokio::test]
async fn history_does_not_show_which_way_a_message_went() {
    let directory = TempDir::new().unwrap();
    let (spool, _) = open(directory.path());
    let ended = |lease: &postseal::spool::Lease| {
        let mut endings = all(lease, &delivered(3));
        endings.iter_mut().filter(|ending| ending.index == 1).for_each(|ending| ending.how = failed(4));
        endings
    };
    for number in [1, 2] {
        commit(&spool, mail(number, &["a@x.example", "b@x.example"])).await;
    }
    for lease in claim(&spool, "x.example", 0).await {
        let mut endings = ended(&lease);
        if lease.mail.id == id(2) {
            endings[1].how = deferred(1, 60);
        }
        spool.settle(lease, endings, vec![]).await.unwrap();
    }
    let again = claim_one(&spool, "x.example", 60).await;
    let endings = ended(&again);
    spool.settle(again, endings, vec![]).await.unwrap();
    let (at_once, in_turn) = (spool.history(id(1)).await.unwrap().unwrap(), spool.history(id(2)).await.unwrap().unwrap());
    assert_eq!((at_once.closed_at, &at_once.recipients), (in_turn.closed_at, &in_turn.recipients));
    assert_eq!(at_once.recipients.len(), 2);
    assert_eq!(spool.counts().await.unwrap().mails, 0);
}

#[tokio::test]
async fn the_log_begins_anew_in_the_file_as_it_is() {
    let directory = TempDir::new().unwrap();
    let (spool, _) = SqliteSpool::open(Settings { wal_octets_max: 16 << 20, ..settings(directory.path()) }, at(0)).unwrap();
    let file = || fs::metadata(directory.path().join("spool.db-wal")).unwrap().len();
    let (mut longest, mut begun_anew) = (0, 0);
    for number in 1..=300 {
        let used = spool.work().wal_octets;
        commit(&spool, Sealed { message: message(number, 30_000), ..mail(number, &["a@x.example"]) }).await;
        begun_anew += usize::from(spool.work().wal_octets < used);
        assert!(file() >= longest, "{} after {longest}", file());
        longest = file();
    }
    assert!(begun_anew >= 2, "{begun_anew}");
    assert!(longest < 8 << 20, "{longest}");
    spool.close().await;
    assert_eq!(fs::metadata(directory.path().join("spool.db-wal")).map_or(0, |facts| facts.len()), 0);
}

#[tokio::test]
async fn the_log_stays_short_under_load() {
    let directory = TempDir::new().unwrap();
    let (spool, _) = SqliteSpool::open(Settings { wal_octets_max: 4 << 20, ..settings(directory.path()) }, at(0)).unwrap();
    let mut longest = 0;
    for number in 1..=400 {
        commit(&spool, Sealed { message: message(number, 30_000), ..mail(number, &["a@x.example"]) }).await;
        longest = longest.max(fs::metadata(directory.path().join("spool.db-wal")).unwrap().len());
    }
    // The last transaction may go over the bound, which is what makes the writer wait.
    assert!(longest < (4 << 20) + 300_000, "{longest}");
    assert!(fs::metadata(directory.path().join("spool.db")).unwrap().len() > 8 << 20);
}

#[tokio::test]
async fn a_delivered_queue_gives_its_room_back_when_the_disk_is_low() {
    let directory = TempDir::new().unwrap();
    let large_rows = Settings { body_file_octets_min: u64::MAX, ..settings(directory.path()) };
    let (spool, _) = SqliteSpool::open(large_rows.clone(), at(0)).unwrap();
    spool.commit((1..=24).map(|number| Sealed { message: message(number, 1 << 20), ..mail(number, &["a@x.example"]) }).collect()).await.unwrap();
    deliver(&spool, "x.example").await;
    spool.close().await;
    let octets = || fs::metadata(directory.path().join("spool.db")).unwrap().len();
    assert!(octets() > 24 << 20);
    let (_spool, _) = SqliteSpool::open(Settings { reserve_octets: u64::MAX, ..large_rows }, at(0)).unwrap();
    until("the file has shrunk", || octets() < 1 << 20).await;
}

#[tokio::test]
async fn a_hundred_thousand_recipients_are_one_commit() {
    let directory = TempDir::new().unwrap();
    let (spool, _) = open(directory.path());
    let mut large = mail(1, &[]);
    large.recipients = (0..100_000).map(|number| recipient(&format!("u{number}@d{}.example", number % 1000))).collect();
    commit(&spool, large).await;
    assert_eq!(counts(&spool).await, "1 100000 0");
    assert_eq!(spool.due(at(0), many(2000)).await.unwrap().len(), 1000);
    assert_eq!(claim_one(&spool, "d7.example", 0).await.recipients.len(), 100);
}

/// One domain of a large queue is cancelled in pages while another one is delivered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_recipients_are_cancelled_in_pages_while_claims_go_on() {
    const MAILS: u64 = 100;
    let directory = scratch();
    let spool = Arc::new(SqliteSpool::open(settings(directory.path()), at(0)).unwrap().0);
    let to: Vec<String> = (0..1000).map(|number| format!("u{number}@{}.example", if number % 4 == 0 { "x" } else { "y" })).collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    for number in 1..=MAILS {
        commit(&*spool, mail(number, &to)).await;
    }
    let over = Arc::new(AtomicBool::new(false));
    let delivering = tokio::spawn({
        let (spool, over) = (spool.clone(), over.clone());
        async move {
            let mut delivered_to = 0;
            while !over.load(Ordering::Relaxed) {
                for lease in spool.claim(&queue("y.example"), many(200), at(1), at(600)).await.unwrap().leases {
                    delivered_to += lease.recipients.len();
                    let endings = all(&lease, &delivered(2));
                    spool.settle(lease, endings, vec![]).await.unwrap();
                }
            }
            delivered_to
        }
    });
    let of_x = Selection { domain: Some("x.example".parse().unwrap()), ..Selection::default() };
    let (mut after, mut cancelled, mut pages) = (None, 0, 0);
    loop {
        let changed = spool.change(&of_x, &Order::Cancel { silent: true }, after, many(500), at(3)).await.unwrap();
        assert!(changed.entries.len() <= 500 && changed.entries.iter().all(|(_, effect)| *effect == Effect::Done));
        for lease in changed.leases {
            cancelled += lease.recipients.len();
            let endings = all(&lease, &How::Cancelled(evidence("cancelled", 4)));
            spool.settle(lease, endings, vec![]).await.unwrap();
        }
        pages += 1;
        after = changed.next;
        if after.is_none() {
            break;
        }
    }
    over.store(true, Ordering::Relaxed);
    let delivered_to = delivering.await.unwrap();
    assert!(pages >= 50 && delivered_to > 0, "{pages} pages, {delivered_to} delivered meanwhile");
    assert_eq!(cancelled, 25_000);
    let states = spool.states(at(5)).await.unwrap();
    assert_eq!((states.waiting, states.held), (75_000 - delivered_to as u64, 0));
    let mut outcomes = [0, 0];
    for number in 1..=MAILS {
        let history = spool.history(id(number)).await.unwrap().unwrap();
        outcomes[0] += history.recipients.iter().filter(|who| who.outcome == SoFar::Cancelled).count();
        outcomes[1] += history.recipients.iter().filter(|who| who.outcome == SoFar::Delivered).count();
    }
    assert_eq!(outcomes, [25_000, delivered_to]);
    spool.close().await;
}
