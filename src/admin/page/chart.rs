//! Small charts: counts become bars of an SVG, and a sentence for those who do not see it. Pure.

use super::view::Span;
use super::words::{hour_minute, thousands};
use crate::events::traffic::{Beat, Counts, Series};

/// One chart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chart {
    /// In ids and classes.
    pub key: &'static str,
    /// Its title.
    pub name: &'static str,
    /// Recipients of the last minute.
    pub now: String,
    /// Those of the whole span.
    pub total: String,
    /// The number at the upper line.
    pub top: String,
    /// Stretches in which something happened.
    pub bars: Vec<Bar>,
    /// What it shows, in a sentence.
    pub told: String,
    /// The counts, for the script: those of `09:12` and so on.
    pub counts: String,
}

/// A bar; the chart is [`WIDTH`] by [`HEIGHT`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bar {
    /// Left.
    pub x: String,
    /// Top.
    pub y: String,
    /// From left to right.
    pub width: String,
    /// From top to bottom.
    pub height: String,
    /// `09:12: 131`.
    pub label: String,
}

/// One row of the table of figures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figures {
    /// When the stretch began.
    pub time: String,
    /// In the order of [`Beat::ALL`].
    pub counts: [String; Beat::ALL.len()],
}

/// The four charts of the first page.
#[must_use]
pub fn charts(last_minute: &Counts, series: &Series, span: Span) -> Vec<Chart> {
    let shown = [
        ("accepted", "Accepted", Beat::Accepted),
        ("delivered", "Delivered", Beat::Delivered),
        ("deferred", "Deferred", Beat::Deferred),
        ("refused", "Refused", Beat::Refused),
    ];
    shown.into_iter().map(|(key, name, beat)| chart(key, name, beat, last_minute, series, span)).collect()
}

/// The same as a table, the newest first.
#[must_use]
pub fn figures(series: &Series) -> Vec<Figures> {
    let rows =
        series.counts.iter().enumerate().map(|(at, counts)| Figures { time: time(series, at), counts: Beat::ALL.map(|beat| thousands(counts.of(beat))) });
    let mut rows: Vec<Figures> = rows.collect();
    rows.reverse();
    rows
}

fn chart(key: &'static str, name: &'static str, beat: Beat, last_minute: &Counts, series: &Series, span: Span) -> Chart {
    let counts: Vec<u64> = series.counts.iter().map(|counts| counts.of(beat)).collect();
    let peak = counts.iter().copied().max().unwrap_or(0);
    let top = ceiling(peak);
    let total = thousands(series.total(beat));
    let stretch = match span {
        Span::Hour => "minute",
        Span::Day => "hour",
    };
    let busiest = counts.iter().rposition(|count| *count == peak).map(|at| time(series, at)).unwrap_or_default();
    let told = match peak {
        0 => format!("{name}: nobody in the last {}.", span.word()),
        _ => format!("{name}: {total} recipients in the last {}; at most {} in a {stretch}, at {busiest} UTC.", span.word(), thousands(peak)),
    };
    let now = thousands(last_minute.of(beat));
    Chart { key, name, now, total, top: thousands(top), bars: bars(&counts, top, series), told, counts: list(&counts) }
}

#[allow(clippy::cast_precision_loss, reason = "places in a picture")]
fn bars(counts: &[u64], top: u64, series: &Series) -> Vec<Bar> {
    let pitch = WIDTH / counts.len().max(1) as f64;
    let bar = |at: usize, count: u64| {
        let height = (count as f64 / top as f64 * HEIGHT).max(HEIGHT_MIN);
        Bar {
            x: format!("{:.1}", at as f64 * pitch),
            y: format!("{:.1}", HEIGHT - height),
            width: format!("{:.1}", pitch * FILL),
            height: format!("{height:.1}"),
            label: format!("{}: {}", time(series, at), thousands(count)),
        }
    };
    counts.iter().enumerate().filter(|(_, count)| **count > 0).map(|(at, count)| bar(at, *count)).collect()
}

/// A round number that is not below: 4, 10, 20, 50, 100 …
fn ceiling(peak: u64) -> u64 {
    if peak <= 4 {
        return 4;
    }
    let mut unit = 1_u64;
    loop {
        for step in [1, 2, 4, 5, 6, 8] {
            if peak <= unit.saturating_mul(step) {
                return unit.saturating_mul(step);
            }
        }
        unit = unit.saturating_mul(10);
    }
}

fn time(series: &Series, at: usize) -> String {
    hour_minute(series.begins_at + series.step * u32::try_from(at).unwrap_or(u32::MAX))
}

fn list(counts: &[u64]) -> String {
    counts.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// Of a chart, in its own units.
pub const WIDTH: f64 = 300.0;
/// Of a chart, in its own units.
pub const HEIGHT: f64 = 64.0;
/// A bar that is there can be seen.
const HEIGHT_MIN: f64 = 1.5;
/// How much of its place a bar fills.
const FILL: f64 = 0.72;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upper_line_is_round_and_never_below_the_peak() {
        assert_eq!([0, 1, 4, 5, 9, 11, 21, 41, 99, 100, 101, 7_300].map(ceiling), [4, 4, 4, 5, 10, 20, 40, 50, 100, 100, 200, 8_000]);
        assert!(ceiling(u64::MAX - 1) >= u64::MAX - 1);
    }
}
