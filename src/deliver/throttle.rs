//! Rates as a generic cell rate algorithm: so many in so long, with a burst, in one number per counted thing.
//!
//! Knows no clock and sends nothing. Identities and streams that are over their rate are delayed, never refused, and told when to come back.

use crate::mail::Timestamp;
use std::collections::HashMap;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::time::Duration;

/// `count` in each `per`, of which `burst` may come at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub count: NonZeroU32,
    /// In how long.
    pub per: Duration,
    /// How many at once after a rest.
    pub burst: NonZeroU32,
}

/// What is left of a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bucket {
    /// When all that was taken will have been earned, in microseconds since the epoch.
    earned_at: i64,
}

/// One bucket a key, created full, forgotten when full again.
#[derive(Debug)]
pub struct Throttle<K> {
    kept: HashMap<K, Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    bucket: Bucket,
    /// The last time handed out to somebody who had to wait: the next one comes after it, so that they do not all come back at once.
    promised_until: Timestamp,
}

impl Rate {
    /// A rate whose burst is what a second brings, at least one.
    #[must_use]
    pub fn per_second(count: NonZeroU32) -> Self {
        Self { count, per: Duration::from_secs(1), burst: count }
    }

    /// Microseconds in which one is earned.
    fn interval(&self) -> i64 {
        i64::try_from(self.per.as_micros() / u128::from(self.count.get())).unwrap_or(i64::MAX).max(1)
    }
}

impl Bucket {
    /// Takes `wanted` (no more than a burst is counted).
    ///
    /// # Errors
    /// Nothing was taken; the time when it can be.
    pub fn take(&mut self, rate: &Rate, wanted: u32, now: Timestamp) -> Result<(), Timestamp> {
        let interval = rate.interval();
        let micros = now.unix_millis().saturating_mul(1000);
        let cost = interval.saturating_mul(i64::from(wanted.min(rate.burst.get())));
        let earned_at = self.earned_at.max(micros).saturating_add(cost);
        let over = earned_at.saturating_sub(micros).saturating_sub(interval.saturating_mul(i64::from(rate.burst.get())));
        if over > 0 {
            return Err(Timestamp::from_unix_millis(now.unix_millis().saturating_add(over / 1000 + 1)));
        }
        self.earned_at = earned_at;
        Ok(())
    }

    /// What was taken is not used after all.
    pub fn give_back(&mut self, rate: &Rate, taken: u32) {
        self.earned_at = self.earned_at.saturating_sub(rate.interval().saturating_mul(i64::from(taken.min(rate.burst.get()))));
    }
}

impl<K: Hash + Eq + Clone> Throttle<K> {
    /// Nobody has taken anything yet.
    #[must_use]
    pub fn new() -> Self {
        Self { kept: HashMap::new() }
    }

    /// Takes `wanted` from the bucket of `key`.
    ///
    /// # Errors
    /// Nothing was taken; when to come back, for each caller another time.
    pub fn take(&mut self, key: &K, rate: &Rate, wanted: u32, now: Timestamp) -> Result<(), Timestamp> {
        if self.kept.len() >= KEYS_MAX && !self.kept.contains_key(key) {
            self.kept.retain(|_, kept| kept.bucket.earned_at > now.unix_millis().saturating_mul(1000) || kept.promised_until > now);
        }
        let kept = self.kept.entry(key.clone()).or_default();
        kept.bucket.take(rate, wanted, now).map_err(|earliest| {
            let apart = Duration::from_micros(u64::try_from(rate.interval()).unwrap_or(0).saturating_mul(u64::from(wanted.max(1))));
            let turn = earliest.max(kept.promised_until + apart);
            kept.promised_until = turn;
            turn
        })
    }
}

impl<K: Hash + Eq> Throttle<K> {
    /// What was taken is not used after all.
    pub fn give_back(&mut self, key: &K, rate: &Rate, taken: u32) {
        if let Some(kept) = self.kept.get_mut(key) {
            kept.bucket.give_back(rate, taken);
        }
    }
}

impl<K: Hash + Eq + Clone> Default for Throttle<K> {
    fn default() -> Self {
        Self::new()
    }
}

/// Keys come from the configuration; above this many the full buckets are forgotten.
const KEYS_MAX: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(count: u32, seconds: u64, burst: u32) -> Rate {
        Rate { count: NonZeroU32::new(count).unwrap(), per: Duration::from_secs(seconds), burst: NonZeroU32::new(burst).unwrap() }
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let (rate, mut bucket) = (rate(10, 1, 5), Bucket::default());
        let start = Timestamp::from_unix_seconds(1_800_000_000);
        for _ in 0..5 {
            assert_eq!(bucket.take(&rate, 1, start), Ok(()));
        }
        let later = bucket.take(&rate, 1, start).unwrap_err();
        assert!(later.since(start) >= Duration::from_millis(100) && later.since(start) <= Duration::from_millis(102), "{later:?}");
        assert_eq!(bucket.take(&rate, 1, later), Ok(()));
        assert!(bucket.take(&rate, 1, later).is_err());
        // In the long run exactly the rate: 10 a second for 100 seconds, after the burst.
        let (mut now, mut taken) = (later, 0);
        while now.since(later) < Duration::from_secs(100) {
            match bucket.take(&rate, 1, now) {
                Ok(()) => taken += 1,
                Err(next) => now = next,
            }
        }
        assert!((985..=1000).contains(&taken), "{taken}");
    }

    #[test]
    fn more_than_a_burst_at_once_still_passes_after_a_rest() {
        let (rate, mut bucket) = (rate(1, 1, 3), Bucket::default());
        let start = Timestamp::from_unix_seconds(1_800_000_000);
        assert_eq!(bucket.take(&rate, 100, start), Ok(()));
        assert!(bucket.take(&rate, 1, start).is_err());
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let (rate, mut throttle) = (rate(1, 10, 2), Throttle::new());
        let start = Timestamp::from_unix_seconds(1_800_000_000);
        for _ in 0..10 {
            assert_eq!(throttle.take(&"shop", &rate, 2, start), Ok(()));
            throttle.give_back(&"shop", &rate, 2);
        }
        assert_eq!(throttle.take(&"shop", &rate, 2, start), Ok(()));
        assert!(throttle.take(&"shop", &rate, 1, start).is_err());
    }

    #[test]
    fn those_who_wait_are_given_different_times() {
        let (rate, mut throttle) = (rate(1, 10, 1), Throttle::new());
        let start = Timestamp::from_unix_seconds(1_800_000_000);
        assert_eq!(throttle.take(&"shop", &rate, 1, start), Ok(()));
        let turns: Vec<Timestamp> = (0..3).map(|_| throttle.take(&"shop", &rate, 1, start).unwrap_err()).collect();
        assert!(turns[1].since(turns[0]) >= Duration::from_secs(10) && turns[2].since(turns[1]) >= Duration::from_secs(10), "{turns:?}");
        assert_eq!(throttle.take(&"other", &rate, 1, start), Ok(()));
        assert_eq!(throttle.take(&"shop", &rate, 1, turns[0]), Ok(()));
    }
}
