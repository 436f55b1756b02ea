//! What is counted with: atomics and nothing else, so that counting costs a few nanoseconds, waits for nobody and allocates nothing.

use super::words::Word;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// Only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn one(&self) {
        self.many(1);
    }

    /// So many more.
    pub fn many(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// So far.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// One more.
    pub fn up(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// One less.
    pub fn down(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// This and nothing else.
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Now.
    pub fn value(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The upper bounds of a histogram's buckets.
pub trait Buckets: 'static {
    /// In microseconds, ascending. What is longer than the last falls into one more bucket.
    const MICROS: &'static [u64];
}

/// How long things took.
#[derive(Debug)]
pub struct Histogram<B> {
    /// One for each bound and one for what is longer.
    buckets: Box<[Counter]>,
    micros: Counter,
    bounds: PhantomData<B>,
}

impl<B: Buckets> Default for Histogram<B> {
    fn default() -> Self {
        Self { buckets: B::MICROS.iter().map(|_| Counter::default()).chain([Counter::default()]).collect(), micros: Counter::default(), bounds: PhantomData }
    }
}

impl<B: Buckets> Histogram<B> {
    /// One more that took so long.
    pub fn took(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.buckets[B::MICROS.partition_point(|bound| *bound < micros)].one();
        self.micros.many(micros);
    }

    /// Each bound in seconds with how many took no longer, then all of them; and the sum in seconds.
    pub(super) fn read(&self) -> (Vec<(f64, u64)>, u64, f64) {
        let mut so_far = 0;
        let mut below = Vec::with_capacity(B::MICROS.len());
        for (bound, bucket) in B::MICROS.iter().zip(&self.buckets) {
            so_far += bucket.count();
            below.push((Duration::from_micros(*bound).as_secs_f64(), so_far));
        }
        let all = so_far + self.buckets.last().map_or(0, Counter::count);
        (below, all, Duration::from_micros(self.micros.count()).as_secs_f64())
    }
}

/// Within a relay: half a millisecond to half a minute.
#[derive(Debug)]
pub struct Within;

impl Buckets for Within {
    const MICROS: &'static [u64] =
        &[500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 2_000_000, 5_000_000, 10_000_000, 30_000_000];
}

/// Across the net: 5 ms to the ten minutes that a final dot may take (RFC 5321 §4.5.3.2.6).
#[derive(Debug)]
pub struct Across;

impl Buckets for Across {
    const MICROS: &'static [u64] = &[
        5_000,
        10_000,
        20_000,
        50_000,
        100_000,
        200_000,
        500_000,
        1_000_000,
        2_000_000,
        5_000_000,
        10_000_000,
        30_000_000,
        60_000_000,
        120_000_000,
        300_000_000,
        600_000_000,
    ];
}

/// A mail's life: a second to five days.
#[derive(Debug)]
pub struct Life;

impl Buckets for Life {
    const MICROS: &'static [u64] = &[
        1_000_000,
        2_000_000,
        5_000_000,
        10_000_000,
        30_000_000,
        60_000_000,
        300_000_000,
        900_000_000,
        1_800_000_000,
        3_600_000_000,
        14_400_000_000,
        43_200_000_000,
        86_400_000_000,
        259_200_000_000,
        432_000_000_000,
    ];
}

/// One of `T` for each word of a set.
#[derive(Debug)]
pub struct Each<W, T> {
    each: Box<[T]>,
    words: PhantomData<W>,
}

impl<W: Word, T: Default> Default for Each<W, T> {
    fn default() -> Self {
        Self { each: W::ALL.iter().map(|_| T::default()).collect(), words: PhantomData }
    }
}

impl<W: Word, T> Each<W, T> {
    /// That of a word.
    pub fn of(&self, word: W) -> &T {
        &self.each[word.place()]
    }

    /// Each word with its own.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, &T)> {
        W::ALL.iter().map(|word| word.word()).zip(&self.each)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_first_bucket_that_holds_it() {
        let histogram = Histogram::<Within>::default();
        for micros in [0, 500, 501, 30_000_000, 30_000_001] {
            histogram.took(Duration::from_micros(micros));
        }
        let (below, all, sum) = histogram.read();
        assert_eq!((below[0], below[1], below[14]), ((0.0005, 2), (0.001, 3), (30.0, 4)));
        assert_eq!((all, sum), (5, 60.001_002));
    }

    #[test]
    fn bounds_ascend() {
        for bounds in [Within::MICROS, Across::MICROS, Life::MICROS] {
            assert!(bounds.is_sorted_by(|a, b| a < b));
        }
    }
}
