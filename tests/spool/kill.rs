//! `kill -9` in the middle of a load, again and again on the same spool, and a disk that fails: whatever was acknowledged is there.
//!
//! The process that dies is this test binary, started again with the directory of a spool in its environment.

use super::samples::*;
use postseal::mail::MailId;
use postseal::seal::Sealed;
use postseal::spool::journal::{Filter, Journal, Kind};
use postseal::spool::{Records, Settings, Spool, SpoolError, SqliteSpool};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

const DIRECTORY: &str = "POSTSEAL_TEST_SPOOL";
const ROUND: &str = "POSTSEAL_TEST_ROUND";
const ROUNDS: u64 = 20;
const SESSIONS: u64 = 6;

fn with_files(directory: &Path) -> Settings {
    Settings { body_file_octets_min: 20_000, ..settings(directory) }
}

/// Every mail of a session has its own body; each seventh is large enough to be a file.
fn ledger_mail(number: u64) -> Sealed {
    let octets = if number.is_multiple_of(7) { 25_000 } else { 400 };
    Sealed { message: message(number, octets), ..mail(number, &["a@x.example"]) }
}

fn first_of(round: u64) -> u64 {
    round * SESSIONS * 1_000_000
}

fn say(word: &str, id: MailId) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "ledger {word} {}", id.number()).unwrap();
    out.flush().unwrap();
}

/// The part of the process that is killed. Started by nobody else, it has nothing to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_commits_until_it_is_killed() {
    let (Some(directory), Ok(round)) = (std::env::var_os(DIRECTORY).map(PathBuf::from), std::env::var(ROUND)) else { return };
    let round: u64 = round.parse().unwrap();
    let spool = Arc::new(SqliteSpool::open(with_files(&directory), at(0)).unwrap().0);
    let sessions = (0..SESSIONS).map(|session| {
        let spool = Arc::clone(&spool);
        tokio::spawn(async move {
            for count in 1.. {
                let number = first_of(round) + session * 1_000_000 + count;
                match spool.commit(vec![ledger_mail(number)]).await {
                    Ok(receipt) => say("committed", receipt.id()),
                    Err(SpoolError::Failed(_)) => return,
                    Err(other) => panic!("{other}"),
                }
            }
        })
    });
    let sessions: Vec<_> = sessions.collect();
    let worker = tokio::spawn({
        let spool = Arc::clone(&spool);
        async move {
            loop {
                let Ok(claimed) = spool.claim(&queue("x.example"), many(3), at(0), at(600)).await else { return };
                for lease in claimed.leases {
                    let (id, endings) = (lease.mail.id, all(&lease, &delivered(1)));
                    say("settling", id);
                    if spool.settle(lease, endings, vec![]).await.is_err() {
                        return;
                    }
                    say("settled", id);
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    });
    for session in sessions {
        session.await.unwrap();
    }
    worker.await.unwrap();
    // Only a failed disk ends the sessions. What failed once is not tried again.
    assert!(matches!(spool.commit(vec![ledger_mail(1)]).await, Err(SpoolError::Failed(_))));
    println!("ledger stopped 0");
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Entry {
    Committed,
    Settling,
    Settled,
}

/// Runs the process above and writes down what it says; kills it when it has said `lines_max` lines. Gives whether it ended by itself.
fn run(mut command: Command, directory: &Path, round: u64, lines_max: usize, ledger: &mut BTreeMap<u64, Entry>) -> bool {
    command.env(DIRECTORY, directory).env(ROUND, round.to_string()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stopped = false;
    let mut lines = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
        let Some(said) = line.split("ledger ").nth(1) else { continue };
        let Some((word, Ok(number))) = said.split_once(' ').map(|(word, number)| (word, number.parse::<u64>())) else { continue };
        let entry = match word {
            "committed" => Entry::Committed,
            "settling" => Entry::Settling,
            "settled" => Entry::Settled,
            "stopped" => {
                stopped = true;
                continue;
            }
            _ => continue,
        };
        // A worker may be told of a mail before its session is.
        let known = ledger.entry(number).or_insert(entry);
        *known = (*known).max(entry);
        lines += 1;
        if lines == lines_max {
            // What it said until the signal reached it is read all the same.
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    stopped
}

fn this_binary() -> (PathBuf, [&'static str; 3]) {
    (std::env::current_exe().unwrap(), ["spool::kill::a_process_that_commits_until_it_is_killed", "--exact", "--nocapture"])
}

/// Every mail of the ledger from this number on is where it should be. Gives how many wait.
async fn check(spool: &SqliteSpool, ledger: &BTreeMap<u64, Entry>, first: u64) -> u64 {
    let mut waiting = 0;
    for (number, entry) in ledger.range(first..) {
        let closed = spool.history(id(*number)).await.unwrap().is_some_and(|history| history.closed_at.is_some());
        match entry {
            Entry::Committed => assert!(!closed, "{number} was acknowledged, and is gone"),
            Entry::Settling => {}
            Entry::Settled => assert!(closed, "{number} was settled, and waits again"),
        }
        if !closed {
            assert_eq!(spool.message(id(*number)).await.unwrap(), ledger_mail(*number).message.octets(), "{number}");
            waiting += 1;
        }
        assert_eq!(finals(spool, *number).await, usize::from(closed), "{number}: a final event where it is settled, and nowhere else");
    }
    waiting
}

/// How often the journal says that a mail came to its end.
async fn finals(spool: &SqliteSpool, number: u64) -> usize {
    let filter = Filter { mail: Some(id(number)), ..Filter::default() };
    let events = spool.events(0, filter, many(100)).await.unwrap().events;
    let count = |kind| events.iter().filter(|event| event.news.kind == kind).count();
    assert_eq!(count(Kind::Accepted), 1, "{number}");
    count(Kind::Delivered)
}

#[tokio::test]
async fn what_was_acknowledged_survives_kill_9() {
    let directory = TempDir::new().unwrap();
    let mut ledger = BTreeMap::new();
    let mut lines_max = 7;
    for round in 1..=ROUNDS {
        let (program, arguments) = this_binary();
        let mut command = Command::new(program);
        command.args(arguments);
        // Some die with their first words, some after a few hundred transactions.
        lines_max = (lines_max * 31 + 17) % 397 + 1;
        assert!(!run(command, directory.path(), round, lines_max, &mut ledger), "round {round} was killed");
        let (spool, report) = SqliteSpool::open(with_files(directory.path()), at(0)).unwrap();
        assert_eq!((report.commits_lost, report.quarantined, report.orphans_set_aside), (0, 0, 0), "round {round}: {report:?}");
        // A commit may have become durable unheard: its session died with the 250 on its lips.
        let before: u64 = ledger.range(..first_of(round)).filter(|(_, entry)| **entry < Entry::Settling).count() as u64;
        let waiting = before + check(&spool, &ledger, first_of(round)).await;
        let in_spool = spool.counts().await.unwrap().mails;
        assert!(in_spool >= waiting && in_spool <= waiting + round * (SESSIONS + 3), "round {round}: {in_spool} for {waiting}");
        spool.close().await;
    }
    assert!(ledger.len() > 500, "{} mails are no load", ledger.len());
    let (spool, _) = SqliteSpool::open(with_files(directory.path()), at(0)).unwrap();
    check(&spool, &ledger, 0).await;
    // And all of it can be delivered.
    let spool = Arc::new(spool);
    loop {
        let settles = claim(&*spool, "x.example", 0).await.into_iter().map(|lease| {
            let (spool, endings) = (Arc::clone(&spool), all(&lease, &delivered(1)));
            tokio::spawn(async move { spool.settle(lease, endings, vec![]).await.unwrap() })
        });
        let settles: Vec<_> = settles.collect();
        if settles.is_empty() {
            break;
        }
        for settle in settles {
            settle.await.unwrap();
        }
    }
    assert_eq!(counts(&*spool).await, "0 0 0");
}

#[tokio::test]
async fn a_disk_that_refuses_to_write_stops_the_spool_and_loses_nothing() {
    let directory = TempDir::new().unwrap();
    let (program, arguments) = this_binary();
    // No file over two megabytes, and no signal for trying: the log meets the bound in the middle of a transaction.
    let mut command = Command::new("sh");
    command.arg("-c").arg("ulimit -f 4096; trap '' XFSZ; exec \"$@\"").arg("sh").arg(program).args(arguments);
    let mut ledger = BTreeMap::new();
    assert!(run(command, directory.path(), 1, usize::MAX, &mut ledger), "it said that it stopped");
    assert!(ledger.len() > 20, "{} mails before the bound", ledger.len());
    let (spool, report) = SqliteSpool::open(with_files(directory.path()), at(0)).unwrap();
    assert_eq!(report.commits_lost, 0);
    check(&spool, &ledger, 0).await;
}
