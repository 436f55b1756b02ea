//! `[events]`: what is kept of what happened to mail.

use super::super::reader::Reader;
use super::{AGE, DAY};
use crate::spool::journal;

pub fn events(root: &Reader<'_>) -> journal::Settings {
    let table = root.table("events");
    let standard = journal::Settings::default();
    journal::Settings {
        enabled: table.value("enabled", standard.enabled),
        keep: table.within("keep", standard.keep, DAY..=*AGE.end()),
        events_max: table.within("events_max", standard.events_max, EVENTS),
    }
}

/// Fewer are gone before anybody can read them; more belong elsewhere.
const EVENTS: std::ops::RangeInclusive<u64> = 1000..=1_000_000_000;
