//! Mail that is on its way to a commit: a commit may wait for company that is known to come, and need not wait for any that is not.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// All that is on its way.
#[derive(Debug, Default)]
pub(super) struct Expected(Mutex<Entries>);

/// One of them; over when dropped.
#[derive(Debug)]
pub(super) struct One {
    expected: Arc<Expected>,
    number: u64,
}

#[derive(Debug, Default)]
struct Entries {
    next: u64,
    /// Since when, in the order of their coming.
    since: BTreeMap<u64, Instant>,
}

impl Expected {
    /// One more.
    pub fn one(self: &Arc<Self>) -> One {
        let mut entries = self.entries();
        let number = entries.next;
        entries.next += 1;
        entries.since.insert(number, Instant::now());
        One { expected: Arc::clone(self), number }
    }

    /// How many there are, up to `most`, that began no longer ago than `fresh`: a client that takes its time is not waited for.
    pub fn count(&self, most: usize, fresh: Duration) -> usize {
        let entries = self.entries();
        entries.since.values().rev().take(most).take_while(|since| since.elapsed() < fresh).count()
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        // Plain values that are whole at every moment.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for One {
    fn drop(&mut self) {
        self.expected.entries().since.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_hours(1);

    #[test]
    fn what_is_over_and_what_takes_its_time_does_not_count() {
        let expected = Arc::new(Expected::default());
        assert_eq!(expected.count(8, LONG), 0);
        let [first, second, third] = [expected.one(), expected.one(), expected.one()];
        assert_eq!((expected.count(8, LONG), expected.count(2, LONG), expected.count(8, Duration::ZERO)), (3, 2, 0));
        drop(second);
        assert_eq!(expected.count(8, LONG), 2);
        drop((first, third));
        assert_eq!(expected.count(8, LONG), 0);
    }
}
