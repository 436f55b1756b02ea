//! The one source of chance: everything that is drawn in a run is drawn here, in the order of events.

use std::time::Duration;

/// SplitMix64: the same numbers for the same seed on every machine and in every version of every crate.
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    pub const fn from(seed: u64) -> Self {
        Self(seed)
    }

    pub const fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0.
    pub const fn below(&mut self, end: u64) -> u64 {
        self.draw() % end
    }

    /// True `share` times in a thousand.
    pub const fn hits(&mut self, share: u64) -> bool {
        self.below(1000) < share
    }

    pub fn one_of<T: Copy>(&mut self, list: &[T]) -> T {
        list[usize::try_from(self.below(list.len() as u64)).unwrap()]
    }

    pub const fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from + 1))
    }
}
