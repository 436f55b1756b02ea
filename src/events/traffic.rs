//! Traffic: recipients accepted, refused, delivered, deferred and failed in each second of the last minute, each minute of the last
//! hour and each hour of the last day. A few kilobytes that never grow; forgotten at a restart. The time is an argument.

use crate::mail::Timestamp;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What is counted, in recipients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Beat {
    /// In the spool and promised.
    Accepted,
    /// Not accepted: at MAIL, at RCPT or after the message.
    Refused,
    /// The next hop has it.
    Delivered,
    /// Not now: it is tried again.
    Deferred,
    /// Never.
    Failed,
}

/// The counts.
#[derive(Debug, Default)]
pub struct Traffic(Mutex<Rings>);

/// Counts of equal stretches of time, the oldest first; the last one has just begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    /// When the first stretch began.
    pub begins_at: Timestamp,
    /// How long each is.
    pub step: Duration,
    /// Of each stretch, what happened in it.
    pub counts: Vec<Counts>,
}

/// How many recipients of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts([u64; Beat::ALL.len()]);

impl Beat {
    /// In the order of a mail's life.
    pub const ALL: [Self; 5] = [Self::Accepted, Self::Refused, Self::Delivered, Self::Deferred, Self::Failed];

    const fn place(self) -> usize {
        match self {
            Self::Accepted => 0,
            Self::Refused => 1,
            Self::Delivered => 2,
            Self::Deferred => 3,
            Self::Failed => 4,
        }
    }
}

impl Counts {
    /// How many of these.
    #[must_use]
    pub const fn of(&self, beat: Beat) -> u64 {
        self.0[beat.place()]
    }

    /// With so many more of these.
    #[must_use]
    pub const fn with(mut self, beat: Beat, recipients: u64) -> Self {
        self.0[beat.place()] = self.0[beat.place()].saturating_add(recipients);
        self
    }
}

impl Series {
    /// All stretches together.
    #[must_use]
    pub fn total(&self, beat: Beat) -> u64 {
        self.counts.iter().map(|counts| counts.of(beat)).sum()
    }
}

impl Traffic {
    /// So many recipients, at this time.
    pub fn note(&self, beat: Beat, recipients: u64, at: Timestamp) {
        if recipients == 0 {
            return;
        }
        let mut rings = self.rings();
        rings.seconds.note(beat, recipients, at);
        rings.minutes.note(beat, recipients, at);
        rings.hours.note(beat, recipients, at);
    }

    /// The last sixty seconds.
    #[must_use]
    pub fn seconds(&self, now: Timestamp) -> Series {
        self.rings().seconds.series(now)
    }

    /// The last sixty minutes.
    #[must_use]
    pub fn minutes(&self, now: Timestamp) -> Series {
        self.rings().minutes.series(now)
    }

    /// The last twenty-four hours.
    #[must_use]
    pub fn hours(&self, now: Timestamp) -> Series {
        self.rings().hours.series(now)
    }

    fn rings(&self) -> MutexGuard<'_, Rings> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
struct Rings {
    seconds: Ring<60, 1>,
    minutes: Ring<60, 60>,
    hours: Ring<24, 3600>,
}

/// The last `SLOTS` stretches of `SECONDS` each.
#[derive(Debug)]
struct Ring<const SLOTS: usize, const SECONDS: i64> {
    /// Of the stretch with number n, at n modulo `SLOTS`.
    slots: [Counts; SLOTS],
    /// The newest stretch that was written; stretches are numbered since the epoch.
    newest: i64,
}

impl<const SLOTS: usize, const SECONDS: i64> Default for Ring<SLOTS, SECONDS> {
    fn default() -> Self {
        Self { slots: [Counts::default(); SLOTS], newest: 0 }
    }
}

impl<const SLOTS: usize, const SECONDS: i64> Ring<SLOTS, SECONDS> {
    /// A clock that went back counts in the newest stretch until it has caught up.
    fn note(&mut self, beat: Beat, recipients: u64, at: Timestamp) {
        let stretch = Self::stretch(at).max(self.newest);
        let passed = usize::try_from(stretch - self.newest).unwrap_or(SLOTS).min(SLOTS);
        for skipped in 0..passed {
            self.slots[Self::place(stretch - i64::try_from(skipped).unwrap_or(0))] = Counts::default();
        }
        self.newest = stretch;
        let slot = &mut self.slots[Self::place(stretch)];
        *slot = slot.with(beat, recipients);
    }

    fn series(&self, now: Timestamp) -> Series {
        let last = Self::stretch(now).max(self.newest);
        let slots = i64::try_from(SLOTS).unwrap_or(i64::MAX);
        let first = last - slots + 1;
        let is_known = |stretch: i64| stretch <= self.newest && stretch > self.newest - slots;
        let counts = (first..=last).map(|stretch| if is_known(stretch) { self.slots[Self::place(stretch)] } else { Counts::default() });
        Series { begins_at: Timestamp::from_unix_seconds(first * SECONDS), step: Duration::from_secs(SECONDS.unsigned_abs()), counts: counts.collect() }
    }

    const fn stretch(at: Timestamp) -> i64 {
        at.unix_seconds().div_euclid(SECONDS)
    }

    fn place(stretch: i64) -> usize {
        usize::try_from(stretch.rem_euclid(i64::try_from(SLOTS).unwrap_or(i64::MAX))).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_seconds(1_795_310_280 + seconds) // a full minute
    }

    #[test]
    fn a_minute_is_forgotten_after_sixty() {
        let traffic = Traffic::default();
        traffic.note(Beat::Accepted, 3, at(0));
        traffic.note(Beat::Accepted, 4, at(59));
        traffic.note(Beat::Delivered, 5, at(60));
        let hour = traffic.minutes(at(119));
        assert_eq!(hour.counts.len(), 60);
        assert_eq!((hour.counts[58].of(Beat::Accepted), hour.counts[59].of(Beat::Delivered)), (7, 5));
        assert_eq!(traffic.minutes(at(59 * 60)).counts[0].of(Beat::Accepted), 7);
        assert_eq!(traffic.minutes(at(60 * 60)).total(Beat::Accepted), 0);
        assert_eq!(traffic.minutes(at(60 * 60)).total(Beat::Delivered), 5);
        assert_eq!(traffic.minutes(at(1_000_000)).total(Beat::Delivered), 0);
        assert_eq!(traffic.hours(at(23 * 3600)).total(Beat::Accepted), 7);
    }

    #[test]
    fn what_comes_after_a_long_silence_stands_alone() {
        let traffic = Traffic::default();
        (0..200).for_each(|minute| traffic.note(Beat::Deferred, 1, at(minute * 60)));
        assert_eq!(traffic.minutes(at(199 * 60)).total(Beat::Deferred), 60);
        traffic.note(Beat::Deferred, 2, at(230 * 60));
        let hour = traffic.minutes(at(230 * 60));
        assert_eq!((hour.total(Beat::Deferred), hour.counts[59].of(Beat::Deferred)), (31, 2));
        traffic.note(Beat::Deferred, 1, at(1000 * 60));
        assert_eq!(traffic.minutes(at(1000 * 60)).total(Beat::Deferred), 1);
    }

    #[test]
    fn a_clock_that_goes_back_loses_nothing() {
        let traffic = Traffic::default();
        traffic.note(Beat::Failed, 1, at(600));
        traffic.note(Beat::Failed, 1, at(0));
        assert_eq!(traffic.minutes(at(600)).counts[59].of(Beat::Failed), 2);
        assert_eq!(traffic.minutes(at(0)).total(Beat::Failed), 2);
    }

    #[test]
    fn the_last_minute_slides_by_the_second() {
        let traffic = Traffic::default();
        traffic.note(Beat::Refused, 9, at(30));
        assert_eq!(traffic.seconds(at(89)).total(Beat::Refused), 9);
        assert_eq!(traffic.seconds(at(90)).total(Beat::Refused), 0);
    }
}
