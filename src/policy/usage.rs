//! How much each identity has sent lately: two token buckets each. No clock: the time is an argument.

use super::Settings;
use crate::mail::{IdentityName, Timestamp};
use std::collections::HashMap;
use std::time::Duration;

/// Counters of accepted mail. Bounded by the number of identities: none is kept for a name that is not configured ([`Usage::retain`]).
#[derive(Debug, Default)]
pub struct Usage {
    identities: HashMap<IdentityName, Counters>,
}

#[derive(Debug)]
struct Counters {
    messages: Bucket,
    recipients: Bucket,
}

/// Fills evenly over a minute up to its ceiling. May go below zero: what was taken without asking is paid back before the next is given.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// In 1/60,000 of a piece, so that a ceiling of one a minute adds one unit a millisecond.
    units: i64,
    filled_at: Timestamp,
}

impl Usage {
    /// Counts one message about to begin, if neither ceiling is reached.
    ///
    /// # Errors
    /// How long until it would be.
    pub(super) fn take_message(&mut self, name: &IdentityName, rate: super::Rate, now: Timestamp) -> Result<(), Duration> {
        let counters = self.identities.entry(name.clone()).or_insert_with(|| Counters {
            messages: Bucket::full(rate.messages_per_minute_ceiling, now),
            recipients: Bucket::full(rate.recipients_per_minute_ceiling, now),
        });
        counters.messages.fill(rate.messages_per_minute_ceiling, now);
        counters.recipients.fill(rate.recipients_per_minute_ceiling, now);
        let wait = counters.messages.wait(rate.messages_per_minute_ceiling).max(counters.recipients.wait(rate.recipients_per_minute_ceiling));
        if !wait.is_zero() {
            return Err(wait);
        }
        counters.messages.units -= PIECE;
        Ok(())
    }

    /// Counts recipients that were accepted; they weigh when the next message begins.
    pub fn took_recipients(&mut self, name: &IdentityName, count: usize) {
        if let Some(counters) = self.identities.get_mut(name) {
            let units = i64::try_from(count).unwrap_or(i64::MAX).saturating_mul(PIECE);
            counters.recipients.units = counters.recipients.units.saturating_sub(units);
        }
    }

    /// After a reload: forgets the identities that are no more.
    pub fn retain(&mut self, settings: &Settings) {
        self.identities.retain(|name, _| settings.identities.contains_key(name));
    }
}

impl Bucket {
    fn full(ceiling: u32, now: Timestamp) -> Self {
        Self { units: i64::from(ceiling) * PIECE, filled_at: now }
    }

    fn fill(&mut self, ceiling: u32, now: Timestamp) {
        let millis = i64::try_from(now.since(self.filled_at).as_millis()).unwrap_or(i64::MAX);
        let gained = millis.saturating_mul(i64::from(ceiling));
        self.units = self.units.saturating_add(gained).min(i64::from(ceiling) * PIECE);
        self.filled_at = now; // also when the clock was set back: a bucket never waits for the old time to come again
    }

    /// How long until a whole piece is there.
    fn wait(&self, ceiling: u32) -> Duration {
        let missing = PIECE.saturating_sub(self.units).max(0);
        let millis = missing.div_euclid(i64::from(ceiling).max(1)) + i64::from(missing % i64::from(ceiling).max(1) != 0);
        Duration::from_millis(u64::try_from(millis).unwrap_or(0))
    }
}

/// One message or recipient in units of a [`Bucket`]: the milliseconds of a minute.
const PIECE: i64 = 60_000;
