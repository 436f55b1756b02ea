//! One domain, driven: what is written down, who is kept out, what goes on after a kill.

use super::world::Simulated;
use postseal::dns::{Answer, Data};
use postseal::keys::lifecycle::{Evidence, Settings};
use postseal::keys::{Algorithm, Ledger, SelectorTemplate, State};
use postseal::mail::{Domain, Selector, Timestamp};
use postseal::rotation::{DomainPlan, Progress, Rotation};
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

#[tokio::test]
async fn a_first_key_goes_all_the_way_and_is_told_of() {
    let (keys, world, rotation) = start();
    begin(&rotation, &plan(), &world).await;
    begin(&rotation, &plan(), &world).await; // asked twice, it makes one
    assert_eq!(step(&rotation, &plan(), &world).await, "a published, a visible | a visible: it is shown everywhere; caches forget by 2026-06-01T01:00:00.000Z");
    soak(&rotation, &plan(), &world).await;
    assert_eq!(step(&rotation, &plan(), &world).await, "a active | ");
    assert_eq!(step(&rotation, &plan(), &world).await, " | ", "and rests");
    let history: Vec<_> = ledger(keys.path()).into_iter().map(|(selector, state, why)| format!("{selector} {state}: {why}")).collect();
    assert_eq!(
        history,
        [
            "ps202606a created: key rotate",
            "ps202606a published: by publisher primary",
            "ps202606a visible: by authoritative ns1.example.com, ns2.example.com",
            "ps202606a active: shown for 60m by authoritative ns1.example.com, ns2.example.com",
        ]
    );
}

#[tokio::test]
async fn the_next_key_takes_over_in_one_write_and_the_old_one_leaves_in_its_time() {
    let (keys, world, rotation) = start();
    signs(&rotation, &world).await;
    begin(&rotation, &plan(), &world).await;
    step(&rotation, &plan(), &world).await;
    soak(&rotation, &plan(), &world).await;
    assert_eq!(step(&rotation, &plan(), &world).await, "b active, a retiring | a retiring: mail it signed may be on its way until 2026-06-08T02:00:00.000Z");
    assert_eq!(active(keys.path()), ["ps202606b"]);
    world.pass(7 * DAY);
    world.with(|inner| inner.queued.insert("ps202606a._domainkey.example.com".to_owned(), 2));
    assert_eq!(step(&rotation, &plan(), &world).await, " | a retiring: 2 queued message(s) are signed by it");
    world.with(|inner| inner.queued.clear());
    assert_eq!(step(&rotation, &plan(), &world).await, "a revoked | a revoked: its record says p= until 2026-07-08T02:00:00.000Z");
    assert_eq!(world.with(|inner| inner.written.last().unwrap().2.clone()).unwrap(), "v=DKIM1; k=ed25519; p=");
    assert!(keys.path().join("example.com/ps202606a.ed25519.pem").exists());
    world.pass(30 * DAY);
    assert_eq!(step(&rotation, &plan(), &world).await, "a removed | ");
    assert_eq!(world.with(|inner| inner.written.last().unwrap().2.clone()), None);
    assert!(!keys.path().join("example.com/ps202606a.ed25519.pem").exists(), "the private key is gone");
    assert!(ledger(keys.path()).iter().any(|(selector, ..)| selector == "ps202606a"), "its name is kept");
}

#[tokio::test]
async fn a_server_that_shows_another_record_holds_everything() {
    let (_keys, world, rotation) = start();
    begin(&rotation, &plan(), &world).await;
    let lies = [
        ("v=DKIM1; k=ed25519; p=", "an empty p="),
        ("v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=", "the record of another key"),
        ("v=spf1 -all", "no key record (\"v=spf1 -all\": it does not begin with v=DKIM1)"),
    ];
    for (lie, told) in lies {
        world.with(|inner| inner.servers[1].lie = Some(Answer::Records { data: vec![Data::Txt(lie.to_owned())], ttl: HOUR }));
        let driven = step(&rotation, &plan(), &world).await;
        assert!(driven.ends_with(&format!("| a published: ns2.example.com shows {told}")), "{driven}");
    }
    let right = world.with(|inner| inner.written[0].2.clone().unwrap());
    world.with(|inner| inner.servers[1].lie = Some(Answer::Records { data: vec![Data::Txt(right.clone()), Data::Txt(right.clone())], ttl: HOUR }));
    assert_eq!(step(&rotation, &plan(), &world).await, " | a published: ns2.example.com shows 2 records where one belongs");
    world.with(|inner| inner.servers[1].lie = Some(Answer::NotAuthoritative));
    let driven = step(&rotation, &plan(), &world).await;
    assert!(driven.starts_with(" | a published: ns2.example.com is silent since"), "{driven}");
    // Written otherwise, it is the same record; t=y is not.
    world
        .with(|inner| inner.servers[1].lie = Some(Answer::Records { data: vec![Data::Txt(right.replace("; ", ";").replace("k=", " k = ") + ";")], ttl: HOUR }));
    assert!(step(&rotation, &plan(), &world).await.starts_with("a visible | "));
    world.with(|inner| inner.servers[1].lie = Some(Answer::Records { data: vec![Data::Txt(right.replace("; k=", "; t=y; k="))], ttl: HOUR }));
    assert!(step(&rotation, &plan(), &world).await.starts_with("a published | "), "lost again");
}

#[tokio::test]
async fn what_cannot_be_written_is_told_and_tried_again() {
    let (_keys, world, rotation) = start();
    begin(&rotation, &plan(), &world).await;
    world.with(|inner| inner.publisher_fault = Some("192.0.2.53 does not know the key \"postseal\"".to_owned()));
    assert_eq!(step(&rotation, &plan(), &world).await, " | a created! 192.0.2.53 does not know the key \"postseal\"");
    world.with(|inner| inner.publisher_fault = None);
    assert!(step(&rotation, &plan(), &world).await.starts_with("a published, a visible | "));
}

#[tokio::test]
async fn who_has_the_ledger_is_told_by_name() {
    let (keys, world, rotation) = start();
    begin(&rotation, &plan(), &world).await;
    let held = Ledger::open(keys.path(), &domain()).unwrap();
    let fault = rotation.drive(&domain(), &plan(), &world).await.unwrap_err().to_string();
    drop(held);
    let expected = format!("process {} (", std::process::id());
    assert!(fault.starts_with(&expected) && fault.ends_with("is changing the keys of example.com; wait until it is done and try again"), "{fault}");
    assert!(rotation.drive(&domain(), &plan(), &world).await.is_ok());
}

#[tokio::test]
async fn a_clock_that_went_back_stops_it() {
    let (_keys, world, rotation) = start();
    signs(&rotation, &world).await;
    world.with(|inner| inner.now = Timestamp::from_unix_seconds(1_600_000_000));
    let fault = rotation.drive(&domain(), &plan(), &world).await.unwrap_err().to_string();
    assert!(fault.starts_with("the clock says 2020-09-13"), "{fault}");
}

#[tokio::test]
async fn the_operators_word_leads_a_key_on_where_it_is_the_evidence() {
    let (keys, world, rotation) = start();
    let manual = with(|settings| (settings.evidence, settings.by_hand) = (Evidence::Manual, true));
    begin(&rotation, &manual, &world).await;
    let wait = " | a created: for you to publish its record and to say so with `postseal key advance --confirm`";
    assert_eq!(step(&rotation, &manual, &world).await, wait);
    world.pass(DAY);
    assert_eq!(step(&rotation, &manual, &world).await, wait, "for ever, if need be");
    let selector = Selector::new("ps202606a");
    rotation.confirm(&domain(), &selector, &manual, &world).await.unwrap();
    assert!(step(&rotation, &manual, &world).await.starts_with(" | a visible: "));
    world.pass(3 * HOUR);
    assert_eq!(step(&rotation, &manual, &world).await, "a active | ");
    assert!(ledger(keys.path()).iter().any(|(_, state, why)| *state == State::Visible && why == "manual: confirmed by operator with key advance --confirm"));
    let fault = rotation.confirm(&domain(), &selector, &manual, &world).await.unwrap_err().to_string();
    assert_eq!(fault, "ps202606a._domainkey.example.com is active: there is nothing to confirm for it now");
    let fault = rotation.confirm(&domain(), &selector, &plan(), &world).await.unwrap_err().to_string();
    assert!(fault.starts_with("evidence is \"authoritative\" for example.com"), "{fault}");
}

#[tokio::test]
async fn a_preview_changes_nothing() {
    let (keys, world, rotation) = start();
    signs(&rotation, &world).await;
    let before = (ledger(keys.path()), world.with(|inner| inner.written.clone()));
    let preview = rotation.preview(&domain(), &plan(), &[Algorithm::Ed25519], &world).await.unwrap();
    assert_eq!(preview.made, [(Selector::new("ps202606b"), Algorithm::Ed25519)]);
    assert_eq!((ledger(keys.path()), world.with(|inner| inner.written.clone())), before);
}

/// The process ends before and behind every act of a whole rotation. Each time a new one goes on, and whatever stands in the ledger
/// as active is at every server.
#[tokio::test]
async fn a_process_may_be_killed_at_every_act() {
    let mut kills = 0;
    for fuse in 0..26 {
        let (keys, world, rotation) = start();
        signs(&rotation, &world).await;
        begin(&rotation, &plan(), &world).await;
        world.with(|inner| inner.fuse = Some(fuse));
        let mut removed = false;
        for round in 0..70 {
            let rotation = Rotation::new(keys.path(), Duration::ZERO); // a new process remembers nothing
            let plan = plan();
            let domain = domain();
            tokio::select! {
                biased;
                driven = rotation.drive(&domain, &plan, &world) => drop(driven.unwrap()),
                () = world.killed.notified() => {
                    kills += 1;
                    world.with(|inner| inner.fuse = None);
                }
            }
            signed_is_shown(keys.path(), &world);
            removed |= ledger(keys.path()).iter().any(|(_, state, _)| *state == State::Removed);
            world.pass(if round % 5 == 4 { 4 * DAY } else { HOUR / 4 });
        }
        assert!(removed, "fuse {fuse}: the old key did not go its way");
        assert_eq!(active(keys.path()), ["ps202606b"], "fuse {fuse}");
    }
    assert!(kills >= 15, "only {kills} kills");
}

fn signed_is_shown(keys: &Path, world: &Simulated) {
    let active = active(keys);
    assert!(!active.is_empty());
    world.with(|inner| {
        for selector in active {
            let key = postseal::mail::KeyId { domain: domain(), selector: Selector::new(&selector) };
            for server in &inner.servers {
                let shown = inner.shown(server, &key, inner.now).unwrap();
                assert!(shown.is_some_and(|text| !text.ends_with("p=")), "{selector} signs and {} does not show it", server.name);
            }
        }
    });
}

/// `a published, a visible | a visible: what it waits for`: what was done, and where the keys that move stand.
async fn step(rotation: &Rotation, plan: &DomainPlan, world: &Simulated) -> String {
    let Progress { taken, keys, .. } = rotation.drive(&domain(), plan, world).await.unwrap();
    let short = |selector: &Selector| selector.as_str().trim_start_matches("ps202606").to_owned();
    let taken: Vec<_> = taken.iter().map(|taken| format!("{} {}", short(&taken.key.selector), taken.to)).collect();
    let waiting = keys.iter().filter_map(|key| match (&key.failed, &key.waiting) {
        (Some(failed), _) => Some(format!("{} {}! {failed}", short(&key.key.selector), key.state)),
        (None, Some(waiting)) => Some(format!("{} {}: {waiting}", short(&key.key.selector), key.state)),
        (None, None) => None,
    });
    format!("{} | {}", taken.join(", "), waiting.collect::<Vec<_>>().join(", "))
}

/// `ps202606a` signs.
async fn signs(rotation: &Rotation, world: &Simulated) {
    begin(rotation, &plan(), world).await;
    step(rotation, &plan(), world).await;
    soak(rotation, &plan(), world).await;
    assert_eq!(step(rotation, &plan(), world).await, "a active | ");
}

/// An hour with a look at each quarter but the last.
async fn soak(rotation: &Rotation, plan: &DomainPlan, world: &Simulated) {
    for _ in 0..3 {
        world.pass(HOUR / 4);
        step(rotation, plan, world).await;
    }
    world.pass(HOUR / 4);
}

async fn begin(rotation: &Rotation, plan: &DomainPlan, world: &Simulated) {
    let now = world.with(|inner| inner.now);
    rotation.begin(&domain(), plan, &plan.algorithms, "key rotate", now).await.unwrap();
}

fn start() -> (TempDir, Simulated, Rotation) {
    let keys = scratch();
    let now = Timestamp::from_unix_seconds(1_780_272_000); // 2026-06-01T00:00:00Z
    let world = Simulated::new(now, &[("ns1.example.com", Duration::ZERO), ("ns2.example.com", Duration::ZERO)]);
    let rotation = Rotation::new(keys.path(), Duration::ZERO);
    (keys, world, rotation)
}

/// In memory where there is such a place: ledgers are written thousands of times, and no power is cut.
pub fn scratch() -> TempDir {
    TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).unwrap()
}

fn plan() -> DomainPlan {
    with(|_| {})
}

fn with(change: impl FnOnce(&mut Settings)) -> DomainPlan {
    let mut lifecycle = Settings {
        evidence: Evidence::Authoritative,
        by_hand: false,
        soak_min: HOUR,
        unreachable_max: DAY,
        retire_for: 7 * DAY,
        removal_after: 30 * DAY,
        check_every: Duration::from_mins(1),
        rotate_every: None,
    };
    change(&mut lifecycle);
    DomainPlan { lifecycle, algorithms: vec![Algorithm::Ed25519], selector: SelectorTemplate::default() }
}

fn domain() -> Domain {
    "example.com".parse().unwrap()
}

fn active(keys: &Path) -> Vec<String> {
    let ledger = Ledger::read(keys, &domain()).unwrap();
    ledger.entries().iter().filter(|(_, entry)| entry.state == State::Active).map(|(selector, _)| selector.to_string()).collect()
}

fn ledger(keys: &Path) -> Vec<(String, State, String)> {
    let ledger = Ledger::read(keys, &domain()).unwrap();
    ledger.entries().iter().flat_map(|(selector, entry)| entry.history.iter().map(|past| (selector.to_string(), past.state, past.why.clone()))).collect()
}
