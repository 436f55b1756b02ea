//! Backup, restore, release: a copy of a spool is whole, whatever goes on beside it, and what was restored is not sent unasked.

use super::samples::*;
use postseal::seal::Sealed;
use postseal::spool::sqlite::FileSystems;
use postseal::spool::sqlite::backup::{self, BackupFault, Manifest};
use postseal::spool::{HeldSince, Records, Restored, Spool, SqliteSpool};
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tempfile::TempDir;

fn open(directory: &Path) -> SqliteSpool {
    SqliteSpool::open(settings(directory), at(0)).unwrap().0
}

/// A mail whose body is a file.
fn large(number: u64, recipients: &[&str]) -> Sealed {
    Sealed { message: message(number, 300_000), ..mail(number, recipients) }
}

/// Blocking work beside the tests' runtime, as another process would do it.
async fn back_up(spool: &Path, target: &Path) -> Result<Manifest, BackupFault> {
    let (spool, target) = (spool.to_owned(), target.to_owned());
    tokio::task::spawn_blocking(move || backup::backup(&spool, &target, at(100))).await.unwrap()
}

fn restore(backup: &Path, directory: &Path) -> Result<u64, BackupFault> {
    backup::restore(backup, directory, FileSystems::Any, false, at(200))
}

fn everything_in(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.path().is_dir() { folders.push(entry.path()) } else { found.push(entry.path()) }
        }
    }
    found.sort();
    found
}

struct Place {
    _folder: TempDir,
    spool: PathBuf,
    backup: PathBuf,
    restored: PathBuf,
}

fn place() -> Place {
    let folder = TempDir::new().unwrap();
    let at = |name| folder.path().join(name);
    Place { spool: at("spool"), backup: at("backup"), restored: at("restored"), _folder: folder }
}

#[tokio::test]
async fn a_backup_of_an_open_spool_comes_back_whole_and_held() {
    let place = place();
    let spool = open(&place.spool);
    commit(&spool, mail(1, &["a@x.example", "b@y.example"])).await;
    commit(&spool, large(2, &["c@x.example"])).await;
    let made = back_up(&place.spool, &place.backup).await.unwrap();
    assert_eq!((made.mails, made.recipients, made.bodies, made.damaged), (2, 3, 1, vec![]));
    commit(&spool, mail(3, &["d@x.example"])).await; // after it: not in it
    spool.close().await;

    assert_eq!(restore(&place.backup, &place.restored).unwrap(), 3);
    let (spool, report) = SqliteSpool::open(settings(&place.restored), at(300)).unwrap();
    assert_eq!((report.mails, report.orphans_removed, report.commits_lost), (2, 0, 0));
    assert_eq!(report.restored, Some(HeldSince { at: at(200), recipients: 3 }));
    assert_eq!((due(&spool, 1_000_000).await.as_str(), spool.next_due_at().await.unwrap()), ("", None), "nothing is sent unasked");
    assert_eq!(spool.sweep(at(301)).await.unwrap().quarantined, [], "held mail is not taken for damage");
    assert_eq!(counts(&spool).await, "2 3 0");

    // What is new goes.
    commit(&spool, mail(4, &["e@x.example"])).await;
    let lease = claim_one(&spool, "x.example", 400).await;
    assert_eq!(lease.mail.id, id(4));
    let endings = all(&lease, &delivered(400));
    spool.settle(lease, endings, vec![]).await.unwrap();

    // Until a person says so; and that lasts.
    assert_eq!(spool.release_restored(at(500)).await.unwrap(), 3);
    assert_eq!((spool.restored().await.unwrap(), spool.release_restored(at(501)).await.unwrap()), (None, 0));
    assert_eq!(due(&spool, 500).await, "x.example@500 y.example@500");
    assert_eq!(claim(&spool, "x.example", 500).await.len(), 2);
    assert_eq!(spool.message(id(2)).await.unwrap(), large(2, &["c@x.example"]).message.octets());
    spool.close().await;
    let (spool, report) = SqliteSpool::open(settings(&place.restored), at(600)).unwrap();
    assert_eq!(report.restored, None);
    spool.close().await;
}

/// Commits and settles run all the while: whatever the copy names is whole, and it is a state that there was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_is_a_state_that_there_was() {
    let place = place();
    let spool = Arc::new(open(&place.spool));
    let (over, committed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let loading = tokio::spawn({
        let (spool, over, committed) = (spool.clone(), over.clone(), committed.clone());
        async move {
            for number in 1.. {
                let mail = if number % 3 == 0 { large(number, &["a@x.example"]) } else { mail(number, &["a@x.example", "b@y.example"]) };
                commit(&*spool, mail).await;
                committed.store(number, Ordering::SeqCst);
                if number % 2 == 0 {
                    for lease in claim(&*spool, "x.example", 0).await {
                        let endings = all(&lease, &delivered(1));
                        spool.settle(lease, endings, vec![]).await.unwrap();
                    }
                }
                if over.load(Ordering::SeqCst) {
                    return;
                }
            }
        }
    });
    while committed.load(Ordering::SeqCst) < 10 {
        tokio::task::yield_now().await;
    }
    for round in 0..5 {
        let target = place.backup.join(round.to_string());
        fs::create_dir_all(&place.backup).unwrap();
        let before = committed.load(Ordering::SeqCst);
        let made = back_up(&place.spool, &target).await.unwrap();
        let after = committed.load(Ordering::SeqCst);
        assert!(made.mails > 0 && made.damaged.is_empty(), "{made:?}");
        let checked = backup::check(&target).unwrap();
        assert_eq!((checked.mails, checked.recipients, checked.bodies, checked.damaged), (made.mails, made.recipients, made.bodies, vec![]));

        let directory = place.restored.join(round.to_string());
        fs::create_dir_all(&place.restored).unwrap();
        restore(&target, &directory).unwrap();
        let restored = open(&directory);
        restored.release_restored(at(300)).await.unwrap();
        let mut seen = HashSet::new();
        for host in ["x.example", "y.example"] {
            for lease in claim(&restored, host, 300).await {
                let octets = restored.message(lease.mail.id).await.unwrap();
                assert!(String::from_utf8_lossy(&octets).starts_with(&format!("Subject: {}\r\n", lease.mail.id.number())));
                seen.insert(lease.mail.id.number());
            }
        }
        // Every third goes as a whole once it is settled; of the others one recipient waits for ever: none of those may be missing.
        let expected: Vec<u64> = (1..=before).filter(|number| number % 3 != 0).collect();
        let missing: Vec<u64> = expected.into_iter().filter(|number| !seen.contains(number)).collect();
        assert_eq!(missing, [0; 0], "round {round}");
        assert!(seen.iter().all(|number| *number <= after + 1), "from the future");
        restored.close().await;
    }
    over.store(true, Ordering::SeqCst);
    loading.await.unwrap();
    spool.close().await;
}

/// The writer does not wait for a reader who stays: neither in a commit nor for a checkpoint.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_who_stays_holds_nobody_up() {
    let place = place();
    let (spool, _) = SqliteSpool::open(postseal::spool::Settings { wal_octets_max: 1 << 20, ..settings(&place.spool) }, at(0)).unwrap();
    commit(&spool, mail(1, &["a@x.example"])).await;
    let reader = rusqlite::Connection::open(place.spool.join("spool.db")).unwrap();
    let snapshot = reader.unchecked_transaction().unwrap();
    let _: i64 = snapshot.query_row("SELECT count(*) FROM messages", [], |row| row.get(0)).unwrap();
    let began = std::time::Instant::now();
    for number in 2..=60 {
        commit(&spool, Sealed { message: message(number, 100_000), ..mail(number, &["a@x.example"]) }).await;
    }
    assert!(began.elapsed() < std::time::Duration::from_secs(20), "{:?}: each commit waited for the reader", began.elapsed());
    drop(snapshot);
    spool.close().await;
}

#[tokio::test]
async fn damage_is_found_and_named_and_a_damaged_backup_is_restored_on_demand_only() {
    let place = place();
    let spool = open(&place.spool);
    commit(&spool, mail(1, &["a@x.example"])).await;
    commit(&spool, large(2, &["b@x.example"])).await;
    back_up(&place.spool, &place.backup).await.unwrap();
    spool.close().await;

    let body = everything_in(&place.backup.join("bodies")).remove(0);
    let mut octets = fs::read(&body).unwrap();
    octets[1000] ^= 1;
    fs::remove_file(&body).unwrap(); // it is a link to the spool's own
    fs::write(&body, &octets).unwrap();
    let told = restore(&place.backup, &place.restored).unwrap_err().to_string();
    assert!(told.contains(&format!("mail {}: its body does not fit its checksum", id(2))) && told.contains("--damaged"), "{told}");
    assert!(!place.restored.exists(), "nothing was begun");
    assert_eq!(backup::check(&place.spool).unwrap().damaged, [""; 0], "the spool itself is sound");

    assert_eq!(backup::restore(&place.backup, &place.restored, FileSystems::Any, true, at(200)).unwrap(), 2);
    let restored = open(&place.restored);
    restored.release_restored(at(300)).await.unwrap();
    let leases = claim(&restored, "x.example", 300).await;
    assert_eq!(leases.len(), 2);
    assert!(restored.message(id(1)).await.is_ok());
    assert!(refused(restored.message(id(2)).await).contains("was quarantined"));
    restored.close().await;
}

#[tokio::test]
async fn a_flipped_bit_in_the_tables_of_a_backup_is_found() {
    let place = place();
    let spool = open(&place.spool);
    commit(&spool, mail(1, &["a@x.example"])).await;
    back_up(&place.spool, &place.backup).await.unwrap();
    spool.close().await;
    let database = place.backup.join("spool.db");
    let mut octets = fs::read(&database).unwrap();
    let at = memchr::memmem::find(&octets, b"a@x.example").unwrap();
    octets[at] ^= 2;
    fs::write(&database, octets).unwrap();
    let damaged = backup::check(&place.backup).unwrap().damaged.join("\n");
    assert!(damaged.contains("spool.db: ") && damaged.contains("does not fit its checksum"), "{damaged}");
    assert!(matches!(restore(&place.backup, &place.restored), Err(BackupFault::Damaged(_))));
}

#[tokio::test]
async fn nothing_is_overwritten_and_nothing_half_is_taken_for_whole() {
    let place = place();
    let told = back_up(&place.spool, &place.backup).await.unwrap_err().to_string();
    assert!(told.contains("there is no spool in"), "{told}");
    let spool = open(&place.spool);
    commit(&spool, large(1, &["a@x.example"])).await;
    back_up(&place.spool, &place.backup).await.unwrap();
    assert!(matches!(back_up(&place.spool, &place.backup).await, Err(BackupFault::NotEmpty(_))));
    assert!(matches!(restore(&place.backup, &place.spool), Err(BackupFault::NotEmpty(_))));
    spool.close().await;
    assert!(matches!(restore(&place.backup, &place.spool), Err(BackupFault::NotEmpty(_))), "a spool that stands still is one");

    fs::remove_file(place.backup.join("manifest.json")).unwrap();
    assert!(matches!(restore(&place.backup, &place.restored), Err(BackupFault::NotWhole(_))));
    fs::write(place.backup.join("manifest.json"), "{}").unwrap();
    assert!(matches!(restore(&place.backup, &place.restored), Err(BackupFault::Manifest(..))));
    assert!(!place.restored.exists());

    // A fresh volume has a lost+found, and stays one when something goes wrong.
    fs::create_dir_all(place.restored.join("lost+found")).unwrap();
    fs::remove_dir_all(&place.backup).unwrap();
    back_up(&place.spool, &place.backup).await.unwrap();
    assert_eq!(restore(&place.backup, &place.restored).unwrap(), 1);
}

#[tokio::test]
async fn what_a_person_held_before_the_backup_stays_held_when_the_rest_is_released() {
    let place = place();
    let spool = open(&place.spool);
    commit(&spool, mail(1, &["a@x.example"])).await;
    commit(&spool, mail(2, &["b@x.example"])).await;
    let raw = rusqlite::Connection::open(place.spool.join("spool.db")).unwrap();
    raw.execute("UPDATE recipients SET state = 4, held_at = 7 WHERE message = ?1", [i64::try_from(id(1).number()).unwrap()]).unwrap();
    drop(raw);
    back_up(&place.spool, &place.backup).await.unwrap();
    spool.close().await;
    assert_eq!(restore(&place.backup, &place.restored).unwrap(), 1);
    let restored = open(&place.restored);
    assert_eq!(restored.release_restored(at(300)).await.unwrap(), 1);
    assert_eq!(claim_one(&restored, "x.example", 300).await.mail.id, id(2));
    restored.close().await;
}

#[tokio::test]
async fn an_attempt_under_way_at_the_backup_counts_as_one_of_unknown_end() {
    let place = place();
    let spool = open(&place.spool);
    commit(&spool, mail(1, &["a@x.example"])).await;
    let lease = claim_one(&spool, "x.example", 0).await;
    back_up(&place.spool, &place.backup).await.unwrap();
    drop(lease);
    spool.close().await;
    restore(&place.backup, &place.restored).unwrap();
    let restored = open(&place.restored);
    restored.release_restored(at(300)).await.unwrap();
    let lease = claim_one(&restored, "x.example", 300).await;
    assert_eq!((lease.recipients[0].attempts, lease.recipients[0].unknown_ends), (1, 1));
    restored.close().await;
}
