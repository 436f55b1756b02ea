//! `[watch]`: how the records of keys that sign are watched, and what follows when one is gone.

use super::super::reader::Reader;
use super::DAY;
use crate::keys::watch;
use crate::seal::LostKey;
use std::ops::RangeInclusive;
use std::time::Duration;

/// How keys are watched, and what follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchSettings {
    /// How.
    pub looks: watch::Settings,
    /// What follows.
    pub lost_key: LostKey,
}

impl WatchSettings {
    /// How long held mail rests before it is looked at again.
    #[must_use]
    pub fn held_pause(&self) -> Duration {
        self.looks.every_min.saturating_mul(LOOKS_A_REST)
    }
}

pub fn watch(root: &Reader<'_>) -> WatchSettings {
    let table = root.table("watch");
    let standard = watch::Settings::default();
    let looks = watch::Settings {
        looks: table.within("looks", standard.looks, 1..=100),
        every_min: table.within("every_min", standard.every_min, EVERY),
        every_max: table.within("every_max", standard.every_max, EVERY),
    };
    if looks.every_max < looks.every_min {
        use super::super::knob::Knob as _;
        table.fault("every_max", &looks.every_max.written(), &format!("at least every_min, {}", looks.every_min.written()));
    }
    WatchSettings { looks, lost_key: table.one_of("lost_key", LOST_KEY, LostKey::default()) }
}

const LOST_KEY: &[(&str, LostKey)] = &[("other-key", LostKey::OtherKey), ("hold", LostKey::Hold), ("warn", LostKey::Warn)];

/// Labs are in a hurry; a record that nobody looks at for a day is not watched.
const EVERY: RangeInclusive<Duration> = Duration::from_millis(100)..=DAY;

/// The queue is not worked through as often as the DNS is asked.
const LOOKS_A_REST: u32 = 5;
