//! An instant in UTC, to the millisecond. It is always an argument: only [`crate::clock`] asks the system for one.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// Milliseconds since 1970-01-01T00:00:00Z, leap seconds not counted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The Unix epoch: earlier than anything that happens to mail.
    pub const EPOCH: Self = Self(0);
    /// Later than any due time: "not before anything else changes".
    pub const FAR_FUTURE: Self = Self(253_402_300_799_000);

    /// From whole seconds since the epoch.
    #[must_use]
    pub const fn from_unix_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// From milliseconds since the epoch.
    #[must_use]
    pub const fn from_unix_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Whole seconds since the epoch, rounded down.
    #[must_use]
    pub const fn unix_seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn unix_millis(self) -> i64 {
        self.0
    }

    /// Whole days since the epoch, rounded down.
    #[must_use]
    pub const fn unix_days(self) -> i64 {
        self.0.div_euclid(86_400_000)
    }

    /// How long after `earlier` this is; zero when it is not after it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// As in a `Date` or `Received` field, in UTC: `Sun, 22 Nov 2026 01:18:45 +0000` (RFC 5322 §3.3).
    #[must_use]
    pub fn to_rfc5322(self) -> String {
        self.civil().strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
    }

    /// As in a log line: `2026-11-22T01:18:45.123Z` (RFC 3339).
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        self.civil().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
    }

    /// Reads a date and time with its offset (RFC 3339 §5.6), to the millisecond.
    #[must_use]
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let instant: jiff::Timestamp = text.parse().ok()?;
        Some(Self(instant.as_millisecond()))
    }

    fn civil(self) -> jiff::civil::DateTime {
        let instant = jiff::Timestamp::from_millisecond(self.0).unwrap_or(jiff::Timestamp::MAX);
        jiff::tz::Offset::UTC.to_datetime(instant)
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_rfc3339())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_the_forms_of_the_standards() {
        let t = Timestamp::from_unix_millis(1_795_310_325_123);
        assert_eq!(t.to_rfc5322(), "Sun, 22 Nov 2026 01:18:45 +0000");
        assert_eq!(t.to_rfc3339(), "2026-11-22T01:18:45.123Z");
        assert_eq!(t.unix_days(), 20_779);
    }

    #[test]
    fn reads_what_it_prints() {
        let t = Timestamp::from_unix_millis(1_795_310_325_123);
        assert_eq!(Timestamp::parse_rfc3339("2026-11-22T01:18:45.123Z"), Some(t));
        assert_eq!(Timestamp::parse_rfc3339("2026-11-22T03:18:45.123+02:00"), Some(t));
        for text in ["", "1234", "2026-11-22", "2026-11-22T01:18:45", "2026-13-22T01:18:45Z", "yesterday"] {
            assert_eq!(Timestamp::parse_rfc3339(text), None, "{text}");
        }
    }

    #[test]
    fn since_never_goes_below_zero() {
        let (a, b) = (Timestamp::from_unix_seconds(10), Timestamp::from_unix_seconds(12));
        assert_eq!(b.since(a), Duration::from_secs(2));
        assert_eq!(a.since(b), Duration::ZERO);
    }
}
