//! A thousand reloads and then SIGTERM, all under load, with a ledger: nothing is lost, nothing comes twice, nothing leaks.

use super::ledger::{all_arrived, config, load};
use crate::support::http;
use crate::support::next_hop::{NextHop, Script};
use crate::support::relay_process::RelayProcess;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const RELOADS: usize = 1000;
/// After so many, caches and pools have their size.
const WARM: usize = 100;
const CLIENTS: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_reloads_and_a_drain_under_load_lose_and_leak_nothing() {
    let hop = NextHop::start(Script::modern());
    let mut relay = RelayProcess::new(&config(&hop));
    let mut relay = tokio::task::spawn_blocking(move || {
        relay.start();
        relay
    })
    .await
    .unwrap();
    let address = Arc::new(Mutex::new(relay.address("submission")));
    let (promised, over) = (Arc::new(Mutex::new(Vec::<String>::new())), Arc::new(AtomicBool::new(false)));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (address, promised, over) = (address.clone(), promised.clone(), over.clone());
            tokio::task::spawn_blocking(move || load(client, &address, &promised, &over))
        })
        .collect();

    let (pid, admin) = (relay.pid(), relay.admin());
    let (before, after) = tokio::task::spawn_blocking(move || {
        reload(&admin, WARM);
        let before = Held::by(pid);
        reload(&admin, RELOADS - WARM);
        (before, Held::by(pid))
    })
    .await
    .unwrap();
    let accepted = promised.lock().unwrap().len();
    println!("{RELOADS} reloads while {accepted} messages were accepted: {before:?} after {WARM}, {after:?} at the end");
    assert!(accepted > RELOADS / 10, "only {accepted} messages: no load at all");
    assert!(after.descriptors <= before.descriptors + DESCRIPTORS_SLACK, "{before:?} {after:?}");
    assert!(after.resident_kib <= before.resident_kib + RESIDENT_SLACK_KIB, "{before:?} {after:?}");
    // The log is a few milliseconds behind.
    let told = || relay.log().iter().filter(|event| event["event"] == "config.reloaded").count();
    for _ in 0..12_000 {
        if told() >= RELOADS {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(told(), RELOADS, "each reload is told once");

    // SIGTERM with the load still on.
    let (mut relay, code, took) = tokio::task::spawn_blocking(move || {
        let began = Instant::now();
        let (code, log) = relay.stop();
        assert!(log.iter().any(|event| event["event"] == "relay.stopped"), "{:?}", log.last());
        (relay, code, began.elapsed())
    })
    .await
    .unwrap();
    over.store(true, Ordering::SeqCst);
    address.lock().unwrap().clear();
    for client in clients {
        client.await.unwrap();
    }
    assert_eq!(code, Some(0));
    assert!(took < DRAIN + Duration::from_secs(30), "the drain took {took:?}");

    let relay = tokio::task::spawn_blocking(move || {
        relay.start();
        relay
    })
    .await
    .unwrap();
    let promised = promised.lock().unwrap().clone();
    let arrived = all_arrived(&hop, &promised).await;
    let lost: Vec<_> = promised.iter().filter(|subject| !arrived.contains_key(*subject)).collect();
    assert!(lost.is_empty(), "{} of {} lost: {lost:?}", lost.len(), promised.len());
    let twice: Vec<_> = arrived.iter().filter(|(_, copies)| **copies > 1).collect();
    assert!(twice.is_empty(), "nobody was killed, and yet twice: {twice:?}");
    println!("ledger: {} promised, {} arrived, 0 lost, 0 twice; the drain took {took:?}", promised.len(), arrived.len());
    drop(relay);
}

/// Asks for reloads one after the other; each is answered when it is in force.
fn reload(admin: &str, count: usize) {
    for _ in 0..count {
        let answer = http::post(admin, "/api/v1/reload", "{}");
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

/// What a process holds of the system.
#[derive(Debug, Clone, Copy)]
struct Held {
    descriptors: usize,
    resident_kib: u64,
}

impl Held {
    fn by(pid: u32) -> Self {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        Self { descriptors: fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count(), resident_kib: resident.trim().trim_end_matches(" kB").parse().unwrap() }
    }
}

/// Of `server.drain`, as it is by default.
const DRAIN: Duration = Duration::from_secs(20);
/// Connections to the next hop come and go.
const DESCRIPTORS_SLACK: usize = 12;
/// What an allocator keeps; a reload that leaked its configuration, some 100 KiB, would be far above after 900 of them.
const RESIDENT_SLACK_KIB: u64 = 24 << 10;
