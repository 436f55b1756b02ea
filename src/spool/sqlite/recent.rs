//! Bodies that were just committed: what is due at once is sent from memory, not read back from what was written a moment ago.
//!
//! Only a shortcut. A body that is not here is read from the disk and held against its checksum, and so is every body after a restart.

use super::writer::lock;
use crate::mail::MailId;
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;

/// The bodies, as many as there is room for; the oldest go first.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    bodies: HashMap<MailId, Bytes>,
    /// In the order in which they came; some are gone.
    order: VecDeque<MailId>,
    octets: usize,
}

impl Recent {
    /// Keeps a body.
    pub fn keep(&self, id: MailId, body: Bytes) {
        let mut kept = lock(&self.0);
        kept.octets += body.len();
        kept.order.push_back(id);
        if let Some(before) = kept.bodies.insert(id, body) {
            kept.octets -= before.len();
        }
        while kept.octets > OCTETS_MAX || kept.order.len() > BODIES_MAX {
            let Some(oldest) = kept.order.pop_front() else { break };
            kept.forget(oldest);
        }
    }

    /// The body, if it is still here.
    pub fn get(&self, id: MailId) -> Option<Bytes> {
        lock(&self.0).bodies.get(&id).cloned()
    }

    /// An attempt is over: whether it was delivered or waits, it is not recent any more.
    pub fn forget(&self, id: MailId) {
        lock(&self.0).forget(id);
    }
}

impl Kept {
    fn forget(&mut self, id: MailId) {
        if let Some(body) = self.bodies.remove(&id) {
            self.octets -= body.len();
        }
    }
}

/// Octets of all that are kept.
const OCTETS_MAX: usize = 8 << 20;
/// How many are kept, those counted that are gone already.
const BODIES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> MailId {
        MailId::from_number(number).unwrap()
    }

    #[test]
    fn the_oldest_make_room() {
        let recent = Recent::default();
        for number in 0..10 {
            recent.keep(id(number), Bytes::from(vec![0; OCTETS_MAX / 8]));
        }
        assert_eq!((0..10).map(|number| recent.get(id(number)).is_some()).collect::<Vec<_>>(), [false, false, true, true, true, true, true, true, true, true]);
        recent.forget(id(9));
        assert_eq!(recent.get(id(9)), None);
        assert_eq!(recent.0.lock().unwrap().octets, OCTETS_MAX / 8 * 7);
        recent.keep(id(2), Bytes::from_static(b"another"));
        assert_eq!(recent.0.lock().unwrap().octets, OCTETS_MAX / 8 * 6 + 7, "one id has one body");
    }

    #[test]
    fn there_are_not_too_many() {
        let recent = Recent::default();
        for number in 0..=BODIES_MAX as u64 {
            recent.keep(id(number), Bytes::from_static(b"x"));
        }
        assert_eq!(recent.get(id(0)), None);
        assert_eq!(recent.0.lock().unwrap().octets, BODIES_MAX);
    }
}
