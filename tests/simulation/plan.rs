//! What a seed decides before anything happens: how much mail, which faults and how many of them.

use crate::chance::Chance;
use crate::store::Defect;
use std::time::Duration;

/// Everything that two runs of one seed share.
#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    /// Submissions, retries of clients not counted.
    pub submissions: u64,
    /// They come within this time.
    pub busy: Duration,
    /// From then on nothing fails any more.
    pub calm_from: Duration,
    /// A defect built into the spool.
    pub defect: Option<Defect>,
    pub shares: Shares,
    /// Lives that end by a kill; the steps each may take.
    pub kills: Vec<Kill>,
    /// Octets of incoming messages in memory at a time.
    pub memory_octets_max: u64,
    /// Transactions of which a next hop takes one recipient only.
    pub few_recipients: bool,
}

/// How a life ends.
#[derive(Debug, Clone, Copy)]
pub enum Kill {
    /// At this step, wherever everybody is: the process is gone, what it wrote is in the page cache.
    ProcessAtStep(u64),
    /// At this step, and the disk keeps only a prefix of what was not synced.
    PowerAtStep(u64),
    /// When so much time has passed.
    ProcessAfter(Duration),
    PowerAfter(Duration),
    /// In order: a drain, a close.
    OrderlyAfter(Duration),
}

/// How often each thing goes wrong, in thousandths of its chances.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shares {
    pub cut: u64,
    pub half_open: u64,
    pub slow: u64,
    pub connect: u64,
    pub handshake: u64,
    /// Of replies: refusals at every stage.
    pub refuse: u64,
    pub refuse_for_good: u64,
    /// Of final dots.
    pub swallow: u64,
    pub stall: u64,
    pub dns: u64,
    /// Of disk operations.
    pub busy_disk: u64,
    pub full_disk: u64,
    pub failing_disk: u64,
    pub lying_disk: u64,
    /// Of minutes.
    pub clock_jump: u64,
    pub reload: u64,
    pub new_key: u64,
    /// Of clients.
    pub client: u64,
}

impl Plan {
    pub fn of(seed: u64) -> Self {
        let mut chance = Chance::from(seed ^ 0x5eed);
        // Some seeds have a few kinds of faults in plenty, some all of them, some hardly any: what hides in one shows in another.
        let mut share = |most: u64| match chance.below(4) {
            0 => 0,
            1 => most,
            _ => 1 + chance.below(most),
        };
        let shares = Shares {
            cut: share(60),
            half_open: share(20),
            slow: share(150),
            connect: share(120),
            handshake: share(150),
            refuse: share(120),
            refuse_for_good: share(40),
            swallow: share(120),
            stall: share(60),
            dns: share(250),
            busy_disk: share(15),
            full_disk: share(40),
            failing_disk: share(4),
            lying_disk: share(30) / 3,
            clock_jump: share(30),
            reload: share(60),
            new_key: share(30),
            client: share(250),
        };
        let kills = (0..chance.below(5)).map(|_| Kill::drawn(&mut chance)).collect();
        let busy = Duration::from_mins(1 + chance.below(90));
        Self {
            seed,
            submissions: 4 + chance.below(14),
            busy,
            calm_from: busy + Duration::from_mins(30 + chance.below(240)),
            defect: None,
            shares,
            kills,
            memory_octets_max: chance.one_of(&[20_000, 1 << 30, 1 << 30]),
            few_recipients: chance.hits(200),
        }
    }
}

impl Kill {
    fn drawn(chance: &mut Chance) -> Self {
        let step = 20 + chance.below(4000);
        let after = Duration::from_millis(chance.below(5_400_000));
        match chance.below(10) {
            0..=2 => Self::ProcessAtStep(step),
            3..=5 => Self::PowerAtStep(step),
            6 => Self::ProcessAfter(after),
            7 => Self::PowerAfter(after),
            _ => Self::OrderlyAfter(after),
        }
    }
}
