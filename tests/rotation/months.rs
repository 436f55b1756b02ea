//! Months of a domain that rotates by itself while it sends, on a clock that is told the time. Servers lag, fall silent and come back,
//! the process is killed, and every message has to verify at every server when it arrives, and to have been verifiable for whoever
//! looked before it was signed and remembers that.

use super::world::{NEGATIVE_TTL, Simulated};
use postseal::keys::lifecycle::{Evidence, Settings};
use postseal::keys::{Algorithm, Keyring, SelectorTemplate, State};
use postseal::mail::{Domain, KeyId, Timestamp};
use postseal::rotation::{DomainPlan, Rotation};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use std::collections::VecDeque;
use std::time::Duration;

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

#[tokio::test]
async fn no_message_of_months_fails() {
    let seeds = std::env::var("POSTSEAL_SEED").map_or(vec![1], |seed| vec![seed.parse().unwrap()]);
    for seed in seeds {
        let told = months(seed).await;
        assert!(told.rotations >= 5 && told.messages > 4000 && told.kills > 5, "seed {seed}: {told:?}");
    }
}

#[derive(Debug, Default)]
struct Told {
    rotations: usize,
    messages: usize,
    kills: usize,
}

struct Message {
    key: KeyId,
    arrives_at: Timestamp,
}

async fn months(seed: u64) -> Told {
    let mut chance = StdRng::seed_from_u64(seed);
    let begin = Timestamp::from_unix_seconds(1_767_225_600);
    let keys = super::drive::scratch();
    let world =
        Simulated::new(begin, &[("ns1.example.com", Duration::ZERO), ("ns2.example.com", HOUR * chance.random_range(0..9)), ("ns3.example.net", HOUR / 2)]);
    silences(&world, &mut chance, begin);
    let (mut told, mut queue) = (Told::default(), VecDeque::<Message>::new());
    let mut rotation = Rotation::new(keys.path(), Duration::ZERO);
    rotation.begin(&domain(), &plan(), &[], "", begin).await.unwrap();
    let (mut drive_at, mut signers) = (begin, Vec::new());
    for hour in 0..24 * 210 {
        let now = begin + HOUR * hour;
        world.with(|inner| inner.now = now);
        if now >= drive_at {
            let (plan, domain) = (plan(), domain());
            world.with(|inner| inner.fuse = chance.random_bool(0.2).then(|| chance.random_range(0..8)));
            tokio::select! {
                biased;
                driven = rotation.drive(&domain, &plan, &world) => {
                    let driven = driven.unwrap();
                    told.rotations += driven.taken.iter().filter(|taken| taken.to == State::Active).count();
                    drive_at = driven.again_at;
                }
                () = world.killed.notified() => {
                    told.kills += 1;
                    rotation = Rotation::new(keys.path(), Duration::ZERO);
                }
            }
            world.with(|inner| inner.fuse = None);
            let ring = Keyring::load(keys.path()).unwrap();
            signers = ring.keys(&domain).iter().filter(|key| key.state == State::Active).map(|key| key.id.clone()).collect();
        }
        for key in &signers {
            remembered_absence_is_over(&world, key, now, seed);
            // Most arrive at once, some after days in the queue.
            let waits = if chance.random_bool(0.2) { HOUR * chance.random_range(0..120) } else { Duration::ZERO };
            world.with(|inner| *inner.queued.entry(key.to_string()).or_default() += 1);
            queue.push_back(Message { key: key.clone(), arrives_at: now + waits });
        }
        queue.retain(|message| {
            if message.arrives_at > now {
                return true;
            }
            verifies(&world, &message.key, now, seed);
            world.with(|inner| *inner.queued.get_mut(&message.key.to_string()).unwrap() -= 1);
            told.messages += 1;
            false
        });
    }
    told
}

/// At every server that answers at all.
fn verifies(world: &Simulated, key: &KeyId, now: Timestamp, seed: u64) {
    world.with(|inner| {
        for server in &inner.servers {
            if let Ok(shown) = inner.shown(server, key, now) {
                assert!(shown.is_some_and(|text| !text.ends_with("p=")), "seed {seed}, {now:?}: {} does not show {key}", server.name);
            }
        }
    });
}

/// Who asked any server shortly before and was told that there is nothing may not believe it any more.
fn remembered_absence_is_over(world: &Simulated, key: &KeyId, now: Timestamp, seed: u64) {
    verifies(world, key, now - NEGATIVE_TTL, seed);
}

/// Hours to days, one server at a time.
fn silences(world: &Simulated, chance: &mut StdRng, begin: Timestamp) {
    for day in (0..210).step_by(4) {
        let (server, from) = (chance.random_range(0..3), begin + DAY * day + HOUR * chance.random_range(0..24));
        let lasts = HOUR * chance.random_range(1..70);
        world.with(|inner| inner.servers[server].down.push((from, from + lasts)));
    }
}

fn plan() -> DomainPlan {
    DomainPlan {
        lifecycle: Settings {
            evidence: Evidence::Authoritative,
            by_hand: false,
            soak_min: HOUR,
            unreachable_max: DAY,
            retire_for: 7 * DAY,
            removal_after: 30 * DAY,
            check_every: HOUR,
            rotate_every: Some(30 * DAY),
        },
        algorithms: vec![Algorithm::Ed25519],
        selector: SelectorTemplate::default(),
    }
}

fn domain() -> Domain {
    "example.com".parse().unwrap()
}
