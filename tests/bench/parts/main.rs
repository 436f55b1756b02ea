//! What the parts of the way cost, each by itself: `cargo bench --bench parts`, or with a word for those whose names contain it.
//!
//! `sealing`, `normalise`, `smtp`, `token` and `classify` are computation; `spool` waits for the disk below the temporary folder;
//! `million` fills a spool with a million due recipients first, which takes some seconds.

#![allow(missing_docs, reason = "criterion's macros document nothing")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench may stop where it stands")]

mod computed;
mod stored;

use criterion::{Criterion, criterion_group, criterion_main};
use std::time::Duration;

fn settings() -> Criterion {
    Criterion::default().sample_size(20).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(3)).without_plots()
}

criterion_group! {
    name = parts;
    config = settings();
    targets = computed::sealing, computed::normalise, computed::smtp, computed::token, computed::classify, stored::commits, stored::million
}
criterion_main!(parts);
