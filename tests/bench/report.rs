//! Figures as a table, and what they come to against others: the median of the ratios of pairs that were measured in turn, so that
//! what else the machine does, and how it drifts, falls out.

use crate::measure::Seen;
use crate::systems::System;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// All that was measured in one cell, a round after the other.
#[derive(Default)]
pub struct Rounds(BTreeMap<System, Vec<Seen>>);

impl Rounds {
    /// Adds one; the rounds of all systems go in step.
    pub fn add(&mut self, system: System, seen: Seen) {
        self.0.entry(system).or_default().push(seen);
    }

    /// The median over the rounds.
    pub fn median(&self, system: System, figure: impl Fn(&Seen) -> f64) -> f64 {
        median(self.0.get(&system).into_iter().flatten().map(figure).collect())
    }

    /// The median over the rounds of one system's figure by another's.
    pub fn ratio(&self, system: System, to: System, figure: impl Fn(&Seen) -> f64) -> f64 {
        let (Some(ours), Some(theirs)) = (self.0.get(&system), self.0.get(&to)) else { return f64::NAN };
        median(ours.iter().zip(theirs).map(|(ours, theirs)| figure(ours) / figure(theirs)).collect())
    }

    /// A table, a line a system.
    pub fn table(&self) -> String {
        let mut text = String::from(
            "| system | accepted/s | delivered/s | CPU s/1000 | DATA→250 p50 ms | p99 ms | peak MB | written KB/msg | fsyncs/msg | connections |\n|---|---|---|---|---|---|---|---|---|---|\n",
        );
        for (system, seen) in &self.0 {
            let of = |figure: fn(&Seen) -> f64| self.median(*system, figure);
            let fsyncs =
                if seen.iter().all(|seen| seen.fsyncs.is_some()) { format!("{:.2}", of(|seen| seen.fsyncs.unwrap_or(f64::NAN))) } else { "–".to_owned() };
            let _ = writeln!(
                text,
                "| {system} | {:.0} | {:.0} | {:.2} | {:.1} | {:.1} | {:.0} | {:.1} | {fsyncs} | {:.0} |",
                of(|seen| seen.accept_rate),
                of(|seen| seen.through_rate),
                of(|seen| seen.cpu),
                of(|seen| seen.median),
                of(|seen| seen.p99),
                of(|seen| seen.memory),
                of(|seen| seen.written),
                of(|seen| seen.connections),
            ); // a String takes all
        }
        text
    }
}

/// A figure that is held against a bound.
pub struct Target {
    /// What it is.
    pub what: String,
    /// What was measured.
    pub found: f64,
    /// What it is to be.
    pub wanted: Bound,
}

/// What a figure is to be.
#[derive(Clone, Copy)]
pub enum Bound {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
}

impl Target {
    /// Whether it is met.
    pub fn is_met(&self) -> bool {
        match self.wanted {
            Bound::AtMost(most) => self.found <= most,
            Bound::AtLeast(least) => self.found >= least,
        }
    }

    /// A line of the list of targets.
    pub fn line(&self) -> String {
        let wanted = match self.wanted {
            Bound::AtMost(most) => format!("at most {most}"),
            Bound::AtLeast(least) => format!("at least {least}"),
        };
        format!("| {} | {wanted} | {:.3} | {} |\n", self.what, self.found, if self.is_met() { "met" } else { "missed" })
    }
}

/// The middle one, or the mean of the two in the middle.
pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    match figures.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => figures[count / 2],
        count => f64::midpoint(figures[count / 2 - 1], figures[count / 2]),
    }
}
