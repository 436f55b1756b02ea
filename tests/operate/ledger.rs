//! `kill -9` in the middle of a load, again and again, with a ledger: every message answered 250 arrives.

use crate::support::next_hop::{NextHop, Script};
use crate::support::relay_process::RelayProcess;
use crate::support::smtp_client::{SmtpClient, message};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const KILLS: usize = 8;
const CLIENTS: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_message_answered_250_arrives_though_the_relay_is_killed() {
    let hop = NextHop::start(Script::modern());
    let relay = Arc::new(Mutex::new(RelayProcess::new(&config(&hop))));
    let address = Arc::new(Mutex::new(String::new()));
    let (promised, over) = (Arc::new(Mutex::new(Vec::<String>::new())), Arc::new(AtomicBool::new(false)));

    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (address, promised, over) = (address.clone(), promised.clone(), over.clone());
            tokio::task::spawn_blocking(move || load(client, &address, &promised, &over))
        })
        .collect();
    let (relay_in, address_in, promised_in) = (relay.clone(), address.clone(), promised.clone());
    tokio::task::spawn_blocking(move || {
        for kill in 0..KILLS {
            let mut relay = relay_in.lock().unwrap();
            relay.start();
            let wanted = promised_in.lock().unwrap().len() + 4;
            *address_in.lock().unwrap() = relay.address("submission");
            std::thread::sleep(Duration::from_millis(150 + 97 * (kill as u64 % 5)));
            let began = Instant::now();
            while promised_in.lock().unwrap().len() < wanted {
                assert!(began.elapsed() < Duration::from_mins(1), "nothing is accepted: no load at all");
                std::thread::sleep(Duration::from_millis(1));
            }
            relay.kill();
            address_in.lock().unwrap().clear();
        }
    })
    .await
    .unwrap();
    over.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.unwrap();
    }

    tokio::task::spawn_blocking({
        let relay = relay.clone();
        move || relay.lock().unwrap().start()
    })
    .await
    .unwrap();
    let promised = promised.lock().unwrap().clone();
    assert!(promised.len() > KILLS * 3, "only {} messages were accepted: no load at all", promised.len());
    let arrived = all_arrived(&hop, &promised).await;

    let lost: Vec<_> = promised.iter().filter(|subject| !arrived.contains_key(*subject)).collect();
    assert!(lost.is_empty(), "{} of {} lost: {lost:?}", lost.len(), promised.len());
    let duplicates: usize = arrived.values().map(|count| count - 1).sum();
    assert!(duplicates <= KILLS * CONNECTIONS_MAX, "{duplicates} duplicates of {}", promised.len());
    assert_eq!(unexplained(&hop), Vec::<String>::new(), "copies taken in a session that ended in peace, and sent again all the same");
    println!("ledger: {} promised, {} arrived, {duplicates} duplicates, 0 lost, {KILLS} kills", promised.len(), arrived.len());

    let seen_by_log: HashSet<u64> = relay.lock().unwrap().log().iter().filter_map(|event| event["unknown_ends"].as_u64()).collect();
    assert!(seen_by_log.iter().all(|count| *count <= KILLS as u64), "more unknown ends than deaths: {seen_by_log:?}");
    let (code, _) = relay.lock().unwrap().stop();
    assert_eq!(code, Some(0), "a drain ends with 0");
}

/// Sends until told to stop, and writes down what was promised.
pub(super) fn load(client: usize, address: &Mutex<String>, promised: &Mutex<Vec<String>>, over: &AtomicBool) {
    let mut number = 0;
    while !over.load(Ordering::SeqCst) {
        let target = address.lock().unwrap().clone();
        let Ok(mut connection) = (if target.is_empty() { Err(std::io::ErrorKind::NotConnected.into()) } else { SmtpClient::connect(&target) }) else {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        };
        loop {
            number += 1;
            let subject = format!("ledger-{client}-{number}");
            match connection.send("app@example.com", &["you@example.net"], &message(&subject)) {
                Ok(reply) if reply.starts_with("250") => promised.lock().unwrap().push(subject),
                Ok(_) => {}
                Err(_) => break,
            }
            if over.load(Ordering::SeqCst) {
                return;
            }
        }
    }
}

/// A second copy has one cause: the process died between the final dot and the durable outcome. So every copy but the last was taken
/// in a session that was cut, without QUIT. Gives the subjects for which that is not so.
fn unexplained(hop: &NextHop) -> Vec<String> {
    let mut copies: HashMap<String, Vec<bool>> = HashMap::new();
    for session in hop.sessions() {
        let was_cut = !session.commands.iter().any(|command| command.line.eq_ignore_ascii_case("QUIT"));
        for received in session.transactions.iter().filter(|received| received.taken) {
            copies.entry(subject(&received.octets)).or_default().push(was_cut);
        }
    }
    copies.retain(|_, cut| cut[..cut.len() - 1].contains(&false));
    copies.into_keys().collect()
}

pub(super) fn subject(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).lines().find_map(|line| line.strip_prefix("Subject: ").map(str::to_owned)).unwrap_or_default()
}

/// Waits until everything promised has arrived, or nothing has for a while; subjects by number of copies.
pub(super) async fn all_arrived(hop: &NextHop, promised: &[String]) -> HashMap<String, usize> {
    let (mut last, mut since) = (0, Instant::now());
    loop {
        let mut arrived: HashMap<String, usize> = HashMap::new();
        for received in hop.messages().iter().filter(|received| received.taken) {
            *arrived.entry(subject(&received.octets)).or_default() += 1;
        }
        if promised.iter().all(|subject| arrived.contains_key(subject)) {
            return arrived;
        }
        if arrived.len() > last {
            (last, since) = (arrived.len(), Instant::now());
        }
        if since.elapsed() > Duration::from_secs(30) {
            return arrived;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Leases are short here, so that what a dead process had in hand comes back soon.
pub(super) fn config(hop: &NextHop) -> String {
    format!(
        r#"
        [server]
        hostname = "relay.example.com"
        [listeners.submission]
        address = "127.0.0.1:0"
        tls = "none"
        [identities.app]
        networks = ["127.0.0.0/8"]
        author_domains = ["example.com"]
        [domains."example.com"]
        [routes]
        default = "hop"
        [smart_hosts.hop]
        host = "{}"
        port = {}
        tls = "opportunistic"
        connections_max = {CONNECTIONS_MAX}
        [spool]
        reserve_octets = "64 MiB"
        wal_octets_max = "32 MiB"
        "#,
        hop.address().ip(),
        hop.address().port()
    )
}

const CONNECTIONS_MAX: usize = 8;
