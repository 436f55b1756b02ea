//! `[suppression]`: which failures take an address off those that are written to, for whom and for how long.

use super::super::knob::Knob;
use super::super::reader::Reader;
use super::{DAY, YEAR};
use crate::mail::suppression::{By, Lifetime, Lifetimes, Rules, Why};
use figment::value::Value;
use std::time::Duration;

/// The rules, and how many entries there may be.
pub fn suppression(root: &Reader<'_>) -> (Rules, u64) {
    let table = root.table("suppression");
    let standard = Rules::default();
    let keep = table.table("keep");
    let lifetime = |key: &str, standard: Lifetime| {
        let lifetime = keep.value(key, standard);
        match lifetime {
            Lifetime::For(time) if !(DAY..=YEAR * 10).contains(&time) => {
                keep.fault(key, &lifetime.written(), "between \"1d\" and \"3650d\", \"off\" or \"lasting\"");
                standard
            }
            lifetime => lifetime,
        }
    };
    let lifetimes = Lifetimes {
        user_unknown: lifetime("user_unknown", standard.lifetimes.user_unknown),
        suspended: lifetime("suspended", standard.lifetimes.suspended),
        mailbox_full: lifetime("mailbox_full", standard.lifetimes.mailbox_full),
        domain_not_found: lifetime("domain_not_found", standard.lifetimes.domain_not_found),
        complaint: lifetime("complaint", standard.lifetimes.complaint),
        manual: lifetime("manual", standard.lifetimes.manual),
    };
    if lifetimes.of(Why::Manual) == Lifetime::Never {
        keep.fault("manual", "\"off\", though what a person puts on the list is to be there", "\"lasting\", or a time with its unit");
    }
    let rules = Rules {
        enabled: table.value("enabled", standard.enabled),
        by: table.one_of("scope", &[("domain", By::Domain), ("stream", By::Stream)], standard.by),
        lifetimes,
    };
    (rules, table.within("entries_max", ENTRIES_MAX, ENTRIES))
}

impl Knob for Lifetime {
    const KIND: &'static str = "how long an address stays on the list";
    const AS_IN: &'static str = "\"90d\", \"off\" (it is not put there) or \"lasting\" (until a person lifts it)";
    fn read(value: &Value) -> Result<Self, String> {
        match value.as_str().map(str::trim) {
            Some("off") => Ok(Self::Never),
            Some("lasting") => Ok(Self::Lasting),
            _ => Duration::read(value).map(Self::For),
        }
    }
    fn written(&self) -> String {
        match self {
            Self::Never => "\"off\"".to_owned(),
            Self::For(time) => time.written(),
            Self::Lasting => "\"lasting\"".to_owned(),
        }
    }
}

const ENTRIES_MAX: u64 = 1_000_000;
/// Ten millions are two gigabytes of disk and two hundred megabytes of memory.
const ENTRIES: std::ops::RangeInclusive<u64> = 100..=10_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_read_what_they_write() {
        for text in ["90d", "off", "lasting"] {
            assert_eq!(Lifetime::read(&Value::from(text)).unwrap().written(), format!("\"{text}\""));
        }
        assert_eq!(Lifetime::read(&Value::from("never")), Err("\"never\"".to_owned()));
    }
}
