//! When a deferred recipient is tried again, when its submitter hears of the delay, and when it is given up (RFC 5321 §4.5.4.1).
//!
//! Pure: the time, the start of the process and the seed of the jitter are arguments.

use crate::mail::Timestamp;
use std::time::Duration;

/// The retries of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// The wait after the first, second … attempt; the last one repeats.
    pub waits: Vec<Duration>,
    /// Each wait is made longer or shorter by up to this many hundredths, so that what failed together is not tried together.
    pub jitter_percent: u8,
    /// The submitter is told of a delay, once, at the first deferral after this age; `None`: never.
    pub delay_notice_after: Option<Duration>,
    /// After a start nothing is given up for its age before this has passed: a long stop or a jump of the clock bounces nothing.
    pub grace_after_start: Duration,
    /// How long mail is tried; that long before its end it was due for the first time.
    pub max_age: Duration,
}

/// What follows an attempt that was deferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Try again then.
    Retry(Timestamp),
    /// It is too old.
    GiveUp,
}

/// The facts of one deferral.
#[derive(Debug, Clone, Copy)]
pub struct Deferral {
    /// Attempts that ended before this one.
    pub attempts_before: u32,
    /// When the mail is too old.
    pub expires_at: Timestamp,
    /// When this process started.
    pub started_at: Timestamp,
    /// The present.
    pub now: Timestamp,
    /// Chance.
    pub seed: u64,
}

impl Schedule {
    /// What follows a deferral. A last attempt is made when the mail expires, not earlier and not much later.
    #[must_use]
    pub fn after(&self, deferral: Deferral) -> Next {
        let given_up_at = self.given_up_at(deferral.expires_at, deferral.started_at);
        if deferral.now >= given_up_at {
            return Next::GiveUp;
        }
        let next_at = deferral.now + self.wait(deferral.attempts_before, deferral.seed);
        Next::Retry(next_at.min(given_up_at))
    }

    /// When a mail is given up that is deferred until then.
    #[must_use]
    pub fn given_up_at(&self, expires_at: Timestamp, started_at: Timestamp) -> Timestamp {
        expires_at.max(started_at + self.grace_after_start)
    }

    /// Whether a mail that is deferred once more is to be reported as late. One that was to wait (`X-Postseal-Deliver-After`) is not late for
    /// having waited.
    #[must_use]
    pub fn is_late(&self, accepted_at: Timestamp, expires_at: Timestamp, now: Timestamp) -> bool {
        let due_at = accepted_at.max(expires_at - self.max_age);
        self.delay_notice_after.is_some_and(|after| now.since(due_at) >= after)
    }

    fn wait(&self, attempts_before: u32, seed: u64) -> Duration {
        let step = usize::try_from(attempts_before).unwrap_or(usize::MAX).min(self.waits.len().saturating_sub(1));
        let wait = self.waits.get(step).copied().unwrap_or(WAIT_OF_AN_EMPTY_SCHEDULE);
        let span = u64::from(self.jitter_percent.min(100)) * 2;
        let hundredths = 100 - u64::from(self.jitter_percent.min(100)) + if span == 0 { 0 } else { scramble(seed) % (span + 1) };
        Duration::from_millis(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).saturating_mul(hundredths) / 100)
    }
}

/// Two quick ones for greylisting and restarts, then at RFC 5321's pace of half an hour and more.
impl Default for Schedule {
    fn default() -> Self {
        let minutes = [5, 15, 30, 60, 120, 240];
        Self {
            waits: minutes.iter().map(|minutes| Duration::from_secs(minutes * 60)).collect(),
            jitter_percent: 15,
            delay_notice_after: Some(Duration::from_hours(4)),
            grace_after_start: Duration::from_hours(1),
            max_age: Duration::from_hours(5 * 24),
        }
    }
}

/// Spreads neighbouring seeds over all 64 bits (SplitMix64).
#[must_use]
pub const fn scramble(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

const WAIT_OF_AN_EMPTY_SCHEDULE: Duration = Duration::from_mins(30);

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);
    const DAY: Duration = Duration::from_hours(24);

    fn deferral(attempts_before: u32, seed: u64) -> Deferral {
        Deferral { attempts_before, expires_at: START + 5 * DAY, started_at: START - DAY, now: START, seed }
    }

    #[test]
    fn waits_grow_and_stay_within_their_jitter() {
        let schedule = Schedule::default();
        for (attempts, minutes) in [(0, 5), (1, 15), (2, 30), (3, 60), (4, 120), (5, 240), (6, 240), (4_000_000_000, 240)] {
            let (mut shortest, mut longest) = (Duration::MAX, Duration::ZERO);
            for seed in 0..500 {
                let Next::Retry(at) = schedule.after(deferral(attempts, seed)) else { panic!("given up") };
                let wait = at.since(START);
                shortest = shortest.min(wait);
                longest = longest.max(wait);
            }
            let nominal = Duration::from_secs(minutes * 60);
            assert!(shortest >= nominal * 85 / 100 && shortest < nominal * 90 / 100, "{attempts}: {shortest:?}");
            assert!(longest <= nominal * 115 / 100 && longest > nominal * 110 / 100, "{attempts}: {longest:?}");
        }
    }

    #[test]
    fn the_last_attempt_is_at_the_end_of_life() {
        let schedule = Schedule::default();
        let near = Deferral { expires_at: START + Duration::from_mins(1), ..deferral(5, 1) };
        assert_eq!(schedule.after(near), Next::Retry(START + Duration::from_mins(1)));
        assert_eq!(schedule.after(Deferral { now: near.expires_at, ..near }), Next::GiveUp);
        assert_eq!(schedule.after(Deferral { now: near.expires_at - Duration::from_millis(1), ..near }), Next::Retry(near.expires_at));
    }

    #[test]
    fn after_a_long_stop_nothing_is_given_up_at_once() {
        let schedule = Schedule::default();
        let old = Deferral { expires_at: START - DAY, started_at: START - Duration::from_secs(10), ..deferral(9, 1) };
        let Next::Retry(at) = schedule.after(old) else { panic!("given up") };
        assert_eq!(at, old.started_at + schedule.grace_after_start);
        assert_eq!(schedule.after(Deferral { now: at, ..old }), Next::GiveUp);
    }

    #[test]
    fn a_delay_is_told_after_its_time_only() {
        let schedule = Schedule::default();
        let expires_at = START + 5 * DAY;
        assert!(!schedule.is_late(START, expires_at, START + Duration::from_secs(4 * 3600 - 1)));
        assert!(schedule.is_late(START, expires_at, START + Duration::from_hours(4)));
        assert!(!schedule.is_late(START, expires_at + DAY, START + DAY + Duration::from_hours(3)), "it was to wait for a day");
        assert!(schedule.is_late(START, expires_at + DAY, START + DAY + Duration::from_hours(4)));
        assert!(schedule.is_late(START, expires_at - 4 * DAY, START + Duration::from_hours(4)), "a notice does not come sooner than it may");
        assert!(!Schedule { delay_notice_after: None, ..schedule }.is_late(START, expires_at, START + 9 * DAY));
    }
}
