//! One seed, from the first connection until everything is at rest: life after life of the relay over one disk.

use crate::client::Errand;
use crate::keys::Keys;
use crate::ledger::Sums;
use crate::plan::{Kill, Plan};
use crate::relay::Relay;
use crate::store::Disk;
use crate::world::World;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a seed came to.
pub struct Report {
    pub seed: u64,
    /// Of everything that happened.
    pub hash: u64,
    pub steps: u64,
    /// Simulated time.
    pub passed: Duration,
    pub faults: BTreeMap<&'static str, u64>,
    pub sums: Sums,
    pub violations: Vec<String>,
    /// The last things that happened.
    pub lines: Vec<String>,
}

/// How a life ended.
enum End {
    AtRest,
    /// By a step that nobody survived, or the time of a kill.
    Killed,
    /// As SIGTERM does it.
    Orderly,
    /// An operator puts another disk in.
    DiskFailed,
    /// Something that cannot be.
    Violated,
}

pub fn run(plan: Plan) -> Report {
    let world = World::new(plan);
    let errands: Arc<Mutex<Vec<Errand>>> = Arc::default();
    for number in 0..world.plan.submissions {
        let errand = Errand::drawn(&world, number);
        errands.lock().unwrap().push(errand);
    }
    let (disk, keys) = (Disk::new(), Arc::new(Keys::new()));
    let mut kills = world.plan.kills.clone().into_iter();
    for _ in 0..LIVES_MAX {
        let kill = kills.next();
        let end = live(&world, &disk, &keys, &errands, kill);
        let at = world.passed();
        let mut lied = false;
        match end {
            End::AtRest => world.ledger().close(&disk.image(), at),
            End::Orderly => {
                world.ledger().sums.restarts += 1;
                world.ledger().disturb(at);
            }
            // What a failed write or fsync left behind is anybody's guess.
            End::DiskFailed => lied = lose(&world, &disk),
            End::Killed => {
                let is_power = matches!(kill, Some(Kill::PowerAtStep(_) | Kill::PowerAfter(_)));
                world.ledger().disturb(at);
                if is_power {
                    world.ledger().sums.power_losses += 1;
                    world.met("a power failure");
                    lied = lose(&world, &disk);
                } else {
                    world.ledger().sums.kills += 1;
                    world.met("a kill of the process");
                }
            }
            End::Violated => {}
        }
        if matches!(end, End::AtRest | End::Violated) || !world.ledger().violations().is_empty() {
            break;
        }
        let image = disk.after_start();
        world.ledger().reconcile(&image, lied, at);
    }
    let (sums, violations) = {
        let ledger = world.ledger();
        (ledger.sums, ledger.violations().to_vec())
    };
    Report {
        seed: world.plan.seed,
        hash: world.hash(),
        steps: world.steps(),
        passed: world.passed(),
        faults: world.faults(),
        sums,
        violations,
        lines: world.lines(),
    }
}

/// Of what was written since the last fsync, a part reaches the disk. Whether an fsync had said that more of it was there.
fn lose(world: &World, disk: &Disk) -> bool {
    let found = disk.lose_power(|unsynced| usize::try_from(world.chance().below(unsynced as u64 + 1)).unwrap());
    (0..found.lost).for_each(|_| world.met("a write that is lost or torn"));
    found.lied_about > 0
}

fn live(world: &Arc<World>, disk: &Disk, keys: &Arc<Keys>, errands: &Arc<Mutex<Vec<Errand>>>, kill: Option<Kill>) -> End {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let end = runtime.block_on(async {
        let steps_max = match kill {
            Some(Kill::ProcessAtStep(steps) | Kill::PowerAtStep(steps)) => Some(steps),
            _ => None,
        };
        world.begin(steps_max);
        let relay = Relay::start(world, disk, keys);
        for (place, errand) in errands.lock().unwrap().iter().enumerate().filter(|(_, errand)| !errand.is_done) {
            let errands = errands.clone();
            let done = move |errand: &Errand| errands.lock().unwrap()[place] = errand.clone();
            tokio::spawn(errand.clone().run(world.clone(), relay.clone(), done));
        }
        let end = tokio::select! {
            biased;
            () = world.died.notified() => End::Killed,
            end = watch(world, disk, keys, errands, &relay, kill) => end,
        };
        world.end();
        end
    });
    drop(runtime); // and with it everything that was under way
    end
}

/// Minute by minute: time for mischief, for an operator, for the end.
async fn watch(world: &Arc<World>, disk: &Disk, keys: &Keys, errands: &Mutex<Vec<Errand>>, relay: &Relay, kill: Option<Kill>) -> End {
    let began = world.passed();
    let mut failed_since = None;
    loop {
        tokio::time::sleep(MINUTE / 4).await;
        if !world.ledger().violations().is_empty() {
            return End::Violated;
        }
        let now = world.passed();
        match kill {
            Some(Kill::ProcessAfter(time) | Kill::PowerAfter(time)) if now.saturating_sub(began) >= time => return End::Killed,
            Some(Kill::OrderlyAfter(time)) if now.saturating_sub(began) >= time => {
                world.met("an orderly restart");
                relay.drain().await;
                return End::Orderly;
            }
            _ => {}
        }
        if relay.has_failed() {
            let since = *failed_since.get_or_insert(now);
            if now.saturating_sub(since) >= MINUTE * 3 {
                world.met("a restart after the disk failed");
                relay.drain().await;
                return End::DiskFailed;
            }
        }
        if world.is_calm() {
            let is_at_rest = errands.lock().unwrap().iter().all(|errand| errand.is_done) && disk.image().waiting().next().is_none();
            if is_at_rest {
                return End::AtRest;
            }
            if now > world.plan.calm_from + REST_WITHIN {
                let waiting: Vec<String> = disk.image().waiting().map(|((id, _), row)| format!("{id} to {}", row.leased.mailbox)).collect();
                world.ledger().violate(format!("nothing fails any more, and the queue does not drain: {waiting:?}"));
                return End::Violated;
            }
        } else {
            disturb(world, keys, relay);
        }
    }
}

fn disturb(world: &World, keys: &Keys, relay: &Relay) {
    let shares = world.plan.shares;
    if world.meets("a clock that jumps ahead", shares.clock_jump / 2) {
        let by = world.chance().millis(1_000, 10_800_000);
        world.set_clock(i64::try_from(by.as_millis()).unwrap());
    }
    if world.meets("a clock that is set back", shares.clock_jump / 2) {
        let by = world.chance().millis(1_000, 3_600_000);
        world.set_clock(-i64::try_from(by.as_millis()).unwrap());
    }
    if world.meets("a new key", shares.new_key) {
        keys.rotate();
        relay.reload(0);
    }
    if world.meets("a key that is revoked while mail waits", shares.new_key / 2) {
        keys.revoke(world.passed());
        relay.reload(1);
    }
    if world.meets("a reload of the configuration", shares.reload) {
        let variant = world.chance().below(6);
        relay.reload(variant);
    }
}

const MINUTE: Duration = Duration::from_mins(1);
/// Once nothing fails any more: the longest wait between two attempts, a delayed host, an hour of grace after a start, and some.
const REST_WITHIN: Duration = Duration::from_hours(6);
const LIVES_MAX: usize = 1_000;
