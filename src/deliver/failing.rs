//! When a whole provider is out of reach, rather than one host or one address: then no single mail's retry is the story, and somebody
//! is told.
//!
//! Pure. A run of failures begins with the first that follows a success and ends with the next success; it is told once, when it is
//! both long and certain. Hosts that no provider claims have nothing in common, so nothing is concluded about them.

use super::provider::OTHER;
use crate::mail::Timestamp;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Runs of failures by provider.
#[derive(Debug, Default)]
pub struct Failing {
    runs: HashMap<Arc<str>, Run>,
}

#[derive(Debug)]
struct Run {
    began_at: Timestamp,
    failures: u32,
    told: bool,
}

impl Failing {
    /// No session came about with an address of this provider. The number of failures, where it is to be told now.
    pub fn failed(&mut self, provider: &Arc<str>, now: Timestamp) -> Option<u32> {
        if **provider == *OTHER {
            return None;
        }
        let run = self.runs.entry(provider.clone()).or_insert(Run { began_at: now, failures: 0, told: false });
        run.failures = run.failures.saturating_add(1);
        let is_certain = run.failures >= FAILURES_MIN && now.since(run.began_at) >= LASTS_MIN;
        let is_news = is_certain && !run.told;
        run.told |= is_certain;
        is_news.then_some(run.failures)
    }

    /// A session was opened. Whether the end of a run is to be told.
    pub fn opened(&mut self, provider: &str) -> bool {
        self.runs.remove(provider).is_some_and(|run| run.told)
    }
}

/// Fewer may be one host.
const FAILURES_MIN: u32 = 5;
/// Shorter may be a hiccup of the network.
const LASTS_MIN: Duration = Duration::from_mins(2);

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

    #[test]
    fn a_run_is_told_once_when_it_is_long_and_certain() {
        let (mut failing, google) = (Failing::default(), Arc::from("google"));
        let at = |seconds| START + Duration::from_secs(seconds);
        for (seconds, told) in [(0, None), (1, None), (2, None), (3, None), (119, None), (120, Some(6)), (121, None), (9_999, None)] {
            assert_eq!(failing.failed(&google, at(seconds)), told, "after {seconds} s");
        }
        assert!(failing.opened("google"));
        assert!(!failing.opened("google"));
    }

    #[test]
    fn few_failures_however_far_apart_and_strangers_are_not_told() {
        let (mut failing, google, other) = (Failing::default(), Arc::from("google"), Arc::from(OTHER));
        for hour in 0..4 {
            assert_eq!(failing.failed(&google, START + Duration::from_hours(hour)), None);
        }
        assert!(!failing.opened("google"), "nothing was told");
        assert_eq!(failing.failed(&google, START + Duration::from_hours(5)), None, "a run of its own");
        assert!((0..100).all(|hour| failing.failed(&other, START + Duration::from_hours(hour)).is_none()));
    }
}
