//! The one place that asks the system for the time. A shell; everything else is given a [`Timestamp`].

use crate::mail::Timestamp;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Tells the time, to those who must live under another one in a test.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The system's.
#[must_use]
pub fn system() -> Clock {
    Arc::new(now)
}

/// The present, in UTC.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp::from_unix_millis(i64::try_from(since_epoch().as_millis()).unwrap_or(i64::MAX))
}

/// The present in nanoseconds since 1970, for what takes less than a millisecond.
#[must_use]
pub fn nanos() -> u64 {
    u64::try_from(since_epoch().as_nanos()).unwrap_or(u64::MAX)
}

fn since_epoch() -> Duration {
    #[allow(clippy::disallowed_methods, reason = "this is the clock")]
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
