//! What the system says of this process: `/proc` of Linux. Elsewhere nothing is said.

use crate::events::meters::{Meters, catalogue};
use rustix::process::Resource;

/// What `/proc/self/stat` says (proc(5)).
struct Stat {
    cpu_seconds: f64,
    threads: u64,
    started_seconds: f64,
    resident_bytes: u64,
}

/// Has the page show it.
pub fn register(meters: &Meters) {
    meters.register(&catalogue::CPU, |family| stat().iter().for_each(|stat| family.value(&[], stat.cpu_seconds)));
    meters.register(&catalogue::MEMORY, |family| stat().iter().for_each(|stat| family.value(&[], stat.resident_bytes)));
    meters.register(&catalogue::THREADS, |family| stat().iter().for_each(|stat| family.value(&[], stat.threads)));
    meters.register(&catalogue::STARTED, |family| {
        let started = booted_at().zip(stat()).map(|(booted_at, stat)| booted_at + stat.started_seconds);
        if let Some(at) = started {
            family.value(&[], at);
        }
    });
    meters.register(&catalogue::DESCRIPTORS, |family| {
        let open = std::fs::read_dir("/proc/self/fd").map(Iterator::count);
        if let Ok(count) = open {
            family.value(&[], count);
        }
    });
    meters.register(&catalogue::DESCRIPTORS_MAX, |family| {
        let limit = rustix::process::getrlimit(Resource::Nofile).current;
        if let Some(limit) = limit {
            family.value(&[], limit);
        }
    });
}

fn stat() -> Option<Stat> {
    read(&std::fs::read_to_string("/proc/self/stat").ok()?, rustix::param::clock_ticks_per_second(), rustix::param::page_size() as u64)
}

/// The second field is the program's name in parentheses, which may hold anything; the third begins behind the last of them.
fn read(text: &str, ticks_a_second: u64, page_bytes: u64) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let field = |number: usize| rest.split_whitespace().nth(number - 3)?.parse::<u64>().ok();
    #[allow(clippy::cast_precision_loss, reason = "ticks of a hundredth of a second, for centuries")]
    let seconds = |ticks: u64| ticks as f64 / ticks_a_second as f64;
    Some(Stat {
        cpu_seconds: seconds(field(14)? + field(15)?),
        threads: field(20)?,
        started_seconds: seconds(field(22)?),
        resident_bytes: field(24)? * page_bytes,
    })
}

/// Seconds since 1970.
fn booted_at() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_hides_nothing() {
        let text = "12 (a (b) c) S 1 12 12 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 7 0 3000 123456 42 18446744073709551615 1 1 0";
        let stat = read(text, 100, 4096).unwrap();
        assert_eq!((stat.threads, stat.resident_bytes), (7, 42 * 4096));
        assert!((stat.cpu_seconds - 2.0).abs() < 1e-9 && (stat.started_seconds - 30.0).abs() < 1e-9);
        assert!(read("12 (short) S 1", 100, 4096).is_none());
    }
}
