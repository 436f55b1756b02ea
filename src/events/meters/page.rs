//! The page that Prometheus reads: the text format, version 0.0.4, with `HELP` and `TYPE`.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>

use super::catalogue::{Kind, Meter};
use super::count::{Buckets, Histogram};
use std::fmt::{Display, Write as _};

/// The media type of the page.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// One metric on the page, while its values are written.
#[derive(Debug)]
pub struct Family<'a> {
    meter: &'static Meter,
    page: &'a mut String,
}

impl<'a> Family<'a> {
    pub(super) fn begin(meter: &'static Meter, page: &'a mut String) -> Self {
        let kind = match meter.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        line(page, format_args!("# HELP {} {}", meter.name, meter.means.replace('\\', "\\\\").replace('\n', "\\n")));
        line(page, format_args!("# TYPE {} {kind}", meter.name));
        Self { meter, page }
    }

    /// One value; `labels` in the order in which the catalogue declares them.
    pub fn value(&mut self, labels: &[&str], value: impl Display) {
        self.sample("", labels, None, value);
    }

    /// One histogram.
    pub fn histogram<B: Buckets>(&mut self, labels: &[&str], histogram: &Histogram<B>) {
        let (below, all, sum) = histogram.read();
        for (bound, count) in below {
            self.sample("_bucket", labels, Some(bound), count);
        }
        self.sample("_bucket", labels, Some(f64::INFINITY), all);
        self.sample("_sum", labels, None, sum);
        self.sample("_count", labels, None, all);
    }

    fn sample(&mut self, suffix: &str, labels: &[&str], bound: Option<f64>, value: impl Display) {
        debug_assert_eq!(labels.len(), self.meter.labels.len(), "{} has other labels", self.meter.name);
        let mut written = String::new();
        for (label, value) in self.meter.labels.iter().zip(labels) {
            let comma = if written.is_empty() { "" } else { "," };
            let _ = write!(written, "{comma}{}=\"{}\"", label.name, escaped(value));
        }
        if let Some(bound) = bound {
            let comma = if written.is_empty() { "" } else { "," };
            let bound = if bound.is_infinite() { "+Inf".to_owned() } else { bound.to_string() };
            let _ = write!(written, "{comma}le=\"{bound}\"");
        }
        let name = self.meter.name;
        if written.is_empty() {
            line(self.page, format_args!("{name}{suffix} {value}"));
        } else {
            line(self.page, format_args!("{name}{suffix}{{{written}}} {value}"));
        }
    }
}

/// A label's value may hold any character; three of them are escaped.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Writing to a string does not fail.
fn line(page: &mut String, what: std::fmt::Arguments<'_>) {
    let _ = page.write_fmt(what);
    page.push('\n');
}

#[cfg(test)]
mod tests {
    use super::super::catalogue::{Label, Set};
    use super::super::count::Within;
    use super::*;
    use std::time::Duration;

    static ODD: Meter =
        Meter { name: "postseal_odd_things", kind: Kind::Gauge, labels: &[Label { name: "a", set: Set::Providers }], means: "One\\\ntwo.", remedy: "Nothing." };
    static SLOW: Meter = Meter { name: "postseal_slow_seconds", kind: Kind::Histogram, labels: &[], means: "Slow.", remedy: "Nothing." };

    #[test]
    fn what_would_break_a_line_is_escaped() {
        let mut page = String::new();
        Family::begin(&ODD, &mut page).value(&["say \"no\\yes\"\n"], 1.5);
        assert_eq!(
            page,
            "# HELP postseal_odd_things One\\\\\\ntwo.\n# TYPE postseal_odd_things gauge\npostseal_odd_things{a=\"say \\\"no\\\\yes\\\"\\n\"} 1.5\n"
        );
    }

    #[test]
    fn a_histogram_has_cumulative_buckets_a_sum_and_a_count() {
        let histogram = Histogram::<Within>::default();
        histogram.took(Duration::from_millis(3));
        histogram.took(Duration::from_mins(1));
        let mut page = String::new();
        Family::begin(&SLOW, &mut page).histogram(&[], &histogram);
        for line in [
            "postseal_slow_seconds_bucket{le=\"0.002\"} 0",
            "postseal_slow_seconds_bucket{le=\"0.005\"} 1",
            "postseal_slow_seconds_bucket{le=\"30\"} 1",
            "postseal_slow_seconds_bucket{le=\"+Inf\"} 2",
            "postseal_slow_seconds_sum 60.003",
            "postseal_slow_seconds_count 2",
        ] {
            assert!(page.lines().any(|written| written == line), "{line} is not in\n{page}");
        }
    }
}
