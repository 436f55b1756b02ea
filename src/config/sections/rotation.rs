//! `[rotation]`, and what `[domains.NAME]` says differently: how keys come and go.

use super::super::reader::Reader;
use super::{DAY, YEAR};
use crate::keys::SelectorTemplate;
use crate::keys::lifecycle::Evidence;
use crate::rotation::Settings;
use std::ops::RangeInclusive;
use std::time::Duration;

pub fn rotation(root: &Reader<'_>) -> Settings {
    let table = root.table("rotation");
    let standard = Settings::default();
    Settings {
        rotate_every: checked(&table, Some(table.within("rotate_every", Duration::ZERO, ROTATE_EVERY))),
        evidence: table.one_of("evidence", EVIDENCE, standard.evidence),
        soak_min: table.within("soak_min", standard.soak_min, Duration::ZERO..=DAY * 30),
        unreachable_max: table.within("unreachable_max", standard.unreachable_max, SECOND..=DAY * 30),
        retire_min: table.within("retire_min", standard.retire_min, SECOND..=YEAR),
        removal_after: table.within("removal_after", standard.removal_after, SECOND..=YEAR),
        check_every: table.within("check_every", standard.check_every, SECOND..=Duration::from_hours(1)),
        selector: selector(&table),
    }
}

/// What one domain wants otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainRotation {
    /// How old its active keys become; `None`: until somebody rotates.
    pub rotate_every: Option<Duration>,
    /// What counts as seen.
    pub evidence: Evidence,
}

impl DomainRotation {
    /// That of a domain that says nothing.
    pub(super) const fn standard(rotation: &Settings) -> Self {
        Self { rotate_every: rotation.rotate_every, evidence: rotation.evidence }
    }
}

pub fn domain(table: &Reader<'_>, rotation: &Settings) -> DomainRotation {
    let rotate_every = table.optional_within("rotate_every", ROTATE_EVERY);
    let evidence = table.optional::<String>("evidence").and_then(|word| {
        let known = EVIDENCE.iter().find(|(name, _)| *name == word).map(|(_, evidence)| *evidence);
        if known.is_none() {
            table.fault("evidence", &format!("\"{word}\""), "one of \"authoritative\", \"resolver\", \"manual\"");
        }
        known
    });
    DomainRotation {
        rotate_every: if rotate_every.is_some() { checked(table, rotate_every) } else { rotation.rotate_every },
        evidence: evidence.unwrap_or(rotation.evidence),
    }
}

/// Nothing is a wish; a few seconds are a slip.
fn checked(table: &Reader<'_>, every: Option<Duration>) -> Option<Duration> {
    let every = every.filter(|every| !every.is_zero())?;
    if every < ROTATE_EVERY_MIN {
        table.fault("rotate_every", &crate::config::knob::Knob::written(&every), "at least \"1m\" (and months, in earnest), or \"0s\" for never");
    }
    Some(every)
}

fn selector(table: &Reader<'_>) -> SelectorTemplate {
    let standard = SelectorTemplate::default();
    let text = table.value("selector", standard.to_string());
    text.parse().unwrap_or_else(|fault: crate::keys::TemplateError| {
        table.fault("selector", &fault.to_string(), "");
        standard
    })
}

const EVIDENCE: &[(&str, Evidence)] = &[("authoritative", Evidence::Authoritative), ("resolver", Evidence::Resolver), ("manual", Evidence::Manual)];

const SECOND: Duration = Duration::from_secs(1);

/// Ten years are for ever.
const ROTATE_EVERY: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(10 * 365 * 24);

/// Labs are in a hurry.
const ROTATE_EVERY_MIN: Duration = Duration::from_mins(1);
