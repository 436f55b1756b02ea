//! The one place that asks the system for the time. A shell; everything else is given a [`Timestamp`].

use crate::mail::Timestamp;
use std::time::{SystemTime, UNIX_EPOCH};

/// The present, in UTC.
#[must_use]
pub fn now() -> Timestamp {
    #[allow(clippy::disallowed_methods, reason = "this is the clock")]
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_unix_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}
