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
    /// Takes `wanted`. More than a burst passes when a burst would, and is owed: whoever comes next waits until it is earned. A slot that
    /// was taken late (nobody comes back to the microsecond) is not lost: up to one interval is made good, but never after a rest.
    ///
    /// # Errors
    /// Nothing was taken; the time when it can be.
    pub fn take(&mut self, rate: &Rate, wanted: u32, now: Timestamp) -> Result<(), Timestamp> {
        let interval = rate.interval();
        let micros = now.unix_millis().saturating_mul(1000);
        let of = |count: u32| interval.saturating_mul(i64::from(count));
        let is_rested = self.earned_at < micros.saturating_sub(interval);
        let from = if is_rested { micros } else { self.earned_at };
        let needed = from.saturating_add(of(wanted.min(rate.burst.get())));
        let over = needed.saturating_sub(micros).saturating_sub(of(rate.burst.get()));
        if over > 0 {
            return Err(Timestamp::from_unix_millis(now.unix_millis().saturating_add(over / 1000 + 1)));
        }
        self.earned_at = from.saturating_add(of(wanted));
        Ok(())
    }

    /// What was taken is not used after all.
    pub fn give_back(&mut self, rate: &Rate, taken: u32) {
        self.earned_at = self.earned_at.saturating_sub(rate.interval().saturating_mul(i64::from(taken)));
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
    fn more_than_a_burst_at_once_still_passes_after_a_rest_and_is_earned_afterwards() {
        let (rate, mut bucket) = (rate(1, 1, 3), Bucket::default());
        let start = Timestamp::from_unix_seconds(1_800_000_000);
        assert_eq!(bucket.take(&rate, 100, start), Ok(()));
        let next = bucket.take(&rate, 1, start).unwrap_err();
        assert!((97_990..=98_010).contains(&next.since(start).as_millis()), "{next:?}");
        let full = bucket.take(&rate, 50, start).unwrap_err();
        assert!((99_990..=100_010).contains(&full.since(start).as_millis()), "{full:?}");
        assert_eq!(bucket.take(&rate, 50, full), Ok(()));
        bucket.give_back(&rate, 50);
        assert_eq!(bucket.take(&rate, 1, full), Ok(()), "what was owed is given back whole");
    }

    /// 120 a minute, in messages of 7 recipients each: in an hour as many as the rate says.
    #[test]
    fn messages_of_many_recipients_keep_the_rate() {
        let (rate, mut bucket) = (rate(120, 60, 2), Bucket::default());
        let start = Timestamp::from_unix_seconds(1_800_000_000);
        let (mut now, mut taken) = (start, 0);
        while now.since(start) < Duration::from_hours(1) {
            match bucket.take(&rate, 7, now) {
                Ok(()) => taken += 7,
                Err(next) => now = next,
            }
        }
        assert!((7_100..=7_210).contains(&taken), "{taken}");
    }

    #[test]
    fn a_slot_taken_late_is_not_lost_and_a_rest_earns_no_more_than_the_burst() {
        let (rate, mut bucket) = (rate(2, 1, 1), Bucket::default());
        let start = Timestamp::from_unix_seconds(1_800_000_000);
        let (mut now, mut taken) = (start, 0);
        while now.since(start) < Duration::from_secs(100) {
            match bucket.take(&rate, 1, now) {
                Ok(()) => taken += 1,
                Err(next) => now = next + Duration::from_millis(240), // who waited is never there in time
            }
        }
        assert!((198..=201).contains(&taken), "{taken}");
        let rested = now + Duration::from_mins(1);
        assert_eq!(bucket.take(&rate, 1, rested), Ok(()));
        assert!(bucket.take(&rate, 1, rested).is_err());
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
