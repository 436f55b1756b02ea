//! One function a section of the file: what was written to the `Settings` of a room.
//!
//! Bounds stand here rather than in the rooms: a room can work within wider ones, but a relay that is set so is a slip of the pen.

pub mod admin;
pub mod events;
pub mod how;
pub mod listeners;
pub mod otlp;
pub mod publication;
pub mod returns;
pub mod rotation;
pub mod sending;
pub mod suppression;
pub mod watch;
pub mod who;

use super::knob::Octets;
use super::reader::Reader;
use crate::mail::Domain;
use std::ops::RangeInclusive;
use std::time::Duration;

/// A wait for somebody: never none, never for ever.
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_hours(24);

/// A wait that may be none.
const PAUSE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(24);

/// An age of mail, or of what is kept about it.
const AGE: RangeInclusive<Duration> = Duration::from_secs(1)..=YEAR;

/// An age that may be none.
const AGE_OR_NONE: RangeInclusive<Duration> = Duration::ZERO..=YEAR;

const YEAR: Duration = Duration::from_hours(365 * 24);

const DAY: Duration = Duration::from_hours(24);

/// A size in octets as the rooms have it.
fn octets(table: &Reader<'_>, key: &str, default: usize, bounds: RangeInclusive<u64>) -> usize {
    let (min, max) = bounds.into_inner();
    let octets = table.within(key, Octets(default as u64), Octets(min)..=Octets(max)).0;
    usize::try_from(octets).unwrap_or(usize::MAX)
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Stands in where a domain is missing, so that reading goes on and finds the other faults.
#[allow(clippy::expect_used, reason = "a constant that is a domain name")]
pub(super) fn nobody() -> Domain {
    Domain::parse("nobody.invalid").expect("a domain name")
}
