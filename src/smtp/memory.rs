//! Memory that all messages being received share. Each connection alone is bounded; a thousand of them together are not, without this.
//!
//! A message takes its share as it grows and gives it back when its octets are dropped: when it is refused, or handled to the end, even
//! if its client is gone by then.

use crate::mail::{Blame, EnhancedCode, Refusal};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What there is for all messages together.
#[derive(Debug)]
pub struct Memory {
    octets_max: AtomicU64,
    taken: AtomicU64,
}

/// What one message has of it; given back when dropped.
#[derive(Debug, Default)]
pub struct Share {
    /// `None`: there is no bound.
    memory: Option<Arc<Memory>>,
    taken: u64,
    used: u64,
}

impl Memory {
    /// So many octets.
    #[must_use]
    pub fn new(octets_max: u64) -> Arc<Self> {
        Arc::new(Self { octets_max: AtomicU64::new(octets_max), taken: AtomicU64::new(0) })
    }

    /// So many octets from now on; what is taken stays taken.
    pub fn limit(&self, octets_max: u64) {
        self.octets_max.store(octets_max, Ordering::Relaxed);
    }

    /// Whether so many octets are free at the moment.
    #[must_use]
    pub fn has_room_for(&self, octets: u64) -> bool {
        self.taken.load(Ordering::Relaxed).checked_add(octets).is_some_and(|sum| sum <= self.octets_max.load(Ordering::Relaxed))
    }

    /// The share of a message, nothing yet.
    #[must_use]
    pub fn share(self: &Arc<Self>) -> Share {
        Share { memory: Some(Arc::clone(self)), taken: 0, used: 0 }
    }

    fn take(&self, octets: u64) -> bool {
        let octets_max = self.octets_max.load(Ordering::Relaxed);
        let sum = |taken: u64| taken.checked_add(octets).filter(|sum| *sum <= octets_max);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum).is_ok()
    }
}

impl Share {
    /// Takes more; `false` when there is no more, and then nothing was taken.
    pub fn grow(&mut self, octets: u64) -> bool {
        let Some(memory) = &self.memory else { return true };
        let Some(used) = self.used.checked_add(octets) else { return false };
        let missing = used.saturating_sub(self.taken);
        // In steps, so that connections do not meet at one counter line by line; the last octets one by one.
        let Some(got) = [missing.max(STEP_OCTETS), missing].into_iter().find(|step| missing == 0 || memory.take(*step)) else { return false };
        if missing > 0 {
            self.taken += got;
        }
        self.used = used;
        true
    }

    /// Gives all back.
    pub fn give_back(&mut self) {
        if let Some(memory) = &self.memory {
            memory.taken.fetch_sub(self.taken, Ordering::Relaxed);
        }
        (self.taken, self.used) = (0, 0);
    }

    /// Octets that hold their share until the last clone of them is dropped.
    #[must_use]
    pub fn hold(self, octets: Vec<u8>) -> Bytes {
        match self.memory {
            None => octets.into(),
            Some(_) => Bytes::from_owner(Held { octets, _share: self }),
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.give_back();
    }
}

struct Held {
    octets: Vec<u8>,
    _share: Share,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.octets
    }
}

/// The refusal of a message there is no room for now (RFC 1870 §6.1).
#[must_use]
pub fn no_room() -> Refusal {
    let text = "too many messages are being received at once; try again in a moment";
    Refusal { blame: Blame::Operator, ..Refusal::submitter(452, EnhancedCode::new(4, 3, 1), text) }
}

/// Octets that a share takes at a time.
const STEP_OCTETS: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_take_what_there_is_and_no_more_and_give_it_back() {
        let memory = Memory::new(100);
        let (mut one, mut two) = (memory.share(), memory.share());
        assert!(one.grow(60) && two.grow(40));
        assert!(!memory.has_room_for(1) && !one.grow(1) && memory.has_room_for(0));
        drop(two);
        assert!(memory.has_room_for(40) && one.grow(40) && !one.grow(1));
        one.give_back();
        assert!(memory.has_room_for(100) && !memory.has_room_for(101));
        memory.limit(10);
        assert!(one.grow(10) && !one.grow(1));
    }

    #[test]
    fn octets_hold_their_share_until_the_last_clone_goes() {
        let memory = Memory::new(10 * STEP_OCTETS);
        let mut share = memory.share();
        assert!((0..1000).all(|_| share.grow(70)));
        let octets = share.hold(vec![0; 70_000]);
        let clone = octets.slice(5..7);
        drop(octets);
        assert!(!memory.has_room_for(10 * STEP_OCTETS));
        drop(clone);
        assert!(memory.has_room_for(10 * STEP_OCTETS));
    }
}
