//! Readiness: how a relay stands in, every reason against it out.

use super::office::{Admin, local, token, well};
use crate::support::http;
use postseal::admin::health::{PATIENCE, StoreLook, readiness};
use postseal::admin::{Settings, Standing};
use postseal::mail::Domain;
use postseal::spool::{Health, Spool as _};
use std::time::Duration;

fn told(standing: &Standing, store: &StoreLook) -> String {
    let readiness = readiness(standing, store);
    assert_eq!(readiness.ready, readiness.reasons.is_empty());
    readiness.reasons.iter().map(|reason| format!("{}: {}", reason.code, reason.message)).collect::<Vec<_>>().join("\n")
}

const WORKS: &StoreLook = &StoreLook::Answered(Health::Working);

#[test]
fn a_relay_that_takes_mail_is_ready() {
    assert_eq!(told(&well(), WORKS), "");
}

#[test]
fn a_store_that_takes_nothing_is_a_reason() {
    let stores = [
        (Health::Full { free: 5, reserve: 10 }, "disk: the spool's disk has 5 octets free, less than the reserve of 10; make room"),
        (Health::Failed("I/O error".to_owned()), "spool: the spool failed: I/O error; mend the disk and restart"),
        (Health::Closed, "spool: the spool is closed"),
    ];
    for (health, expected) in stores {
        assert_eq!(told(&well(), &StoreLook::Answered(health)), expected);
    }
    assert_eq!(told(&well(), &StoreLook::Refused("locked".to_owned())), "spool: locked");
    assert_eq!(told(&well(), &StoreLook::Silent), "spool: the spool did not answer within 800 ms; look at its disk");
    assert!(PATIENCE < Duration::from_secs(1), "a probe of Kubernetes waits for a second");
}

#[test]
fn no_listener_one_that_died_a_drain_and_a_next_hop_out_of_reach_are_reasons_and_a_held_spool_is_none() {
    let none = Standing { listeners: Vec::new(), ..well() };
    assert_eq!(told(&none, WORKS), "listeners: no listener is open yet");
    let mut dead = well();
    dead.listeners[0].is_open = false;
    assert_eq!(told(&dead, WORKS), "listeners: listener \"app\" at 127.0.0.1:2525 takes no connections; restart, and see the log");
    let ending = Standing { is_draining: true, ..none };
    assert_eq!(told(&ending, WORKS), "draining: the relay is ending and takes no new connections");
    let held = Standing { held: Some("restored: release it with `postseal spool release`".to_owned()), ..well() };
    assert_eq!(told(&held, WORKS), told(&well(), WORKS), "new mail flows");
    let alone = Standing { next_hop: Some("smart host \"central\" has not been reached".to_owned()), ..well() };
    assert_eq!(told(&alone, WORKS), "next_hop: smart host \"central\" has not been reached");
}

#[test]
fn each_domain_without_a_key_is_a_reason() {
    let keyless = ["a.example", "b.example"].map(|name| Domain::parse(name).unwrap()).to_vec();
    let expected = "\
keys: there is no active RSA key for a.example, so its mail is refused; make one with `postseal key create a.example`
keys: there is no active RSA key for b.example, so its mail is refused; make one with `postseal key create b.example`";
    assert_eq!(told(&Standing { keyless, ..well() }, WORKS), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_is_told_by_status_and_reasons() {
    let admin = Admin::start(|_| {});
    let ready = http::get(&admin.address, "/readyz");
    assert_eq!((ready.status, ready.body.as_str()), (200, r#"{"ready":true,"reasons":[]}"#));
    admin.relay.standing.lock().unwrap().is_draining = true;
    let draining = http::get(&admin.address, "/readyz");
    let expected = r#"{"ready":false,"reasons":[{"code":"draining","message":"the relay is ending and takes no new connections"}]}"#;
    assert_eq!((draining.status, draining.body.as_str()), (503, expected));
    let alive = http::get(&admin.address, "/healthz");
    assert_eq!((alive.status, alive.body.as_str()), (200, r#"{"alive":true}"#), "a drain is no reason to be killed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_spool_is_seen_at_the_next_look() {
    let admin = Admin::start(|_| {});
    assert_eq!(http::get(&admin.address, "/readyz").status, 200);
    admin.spool.close().await;
    let closed = http::get(&admin.address, "/readyz");
    assert_eq!((closed.status, closed.body.as_str()), (503, r#"{"ready":false,"reasons":[{"code":"spool","message":"the spool is closed"}]}"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_learns_yes_or_no() {
    let admin = Admin::start(|settings| *settings = Settings { token_always: true, tokens: vec![token("ops", "postseal_ops", false)], ..local() });
    admin.relay.standing.lock().unwrap().is_draining = true;
    let stranger = http::get(&admin.address, "/readyz");
    assert_eq!((stranger.status, stranger.body.as_str()), (503, r#"{"ready":false}"#));
    let known = http::ask(&admin.address, &format!("GET /readyz HTTP/1.1\nHost: {}\nAuthorization: Bearer postseal_ops\n", admin.address), "");
    assert!(known.status == 503 && known.body.contains("draining"), "{known:?}");
}
