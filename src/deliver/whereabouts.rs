//! Which provider the mail of a queue goes to, as it was found when the queue was last worked on: the DNS alone knows, and nobody asks
//! it for the sake of a chart.

use crate::spool::Queue;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Providers by queue.
#[derive(Debug, Default)]
pub struct Whereabouts {
    known: Mutex<HashMap<Queue, Arc<str>>>,
}

impl Whereabouts {
    /// Mail of this queue goes there.
    pub fn note(&self, queue: &Queue, provider: &Arc<str>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= QUEUES_MAX && !known.contains_key(queue) {
            known.clear(); // they are found again as they are worked on
        }
        known.insert(queue.clone(), provider.clone());
    }

    /// The provider's name: a smart host is its own; none where the queue was not worked on yet.
    pub fn of(&self, queue: &Queue) -> Option<Arc<str>> {
        let (route, _) = queue.parts();
        if !Queue::goes_by_mx(route) {
            return Some(route.into());
        }
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(queue).cloned()
    }
}

/// Some megabytes.
const QUEUES_MAX: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_where_it_was_last_found_and_a_smart_host_is_itself() {
        let whereabouts = Whereabouts::default();
        let queue = Queue::stored("mx/gmail.com");
        assert_eq!(whereabouts.of(&queue), None);
        whereabouts.note(&queue, &"other".into());
        whereabouts.note(&queue, &"google".into());
        assert_eq!(whereabouts.of(&queue).as_deref(), Some("google"));
        assert_eq!(whereabouts.of(&Queue::stored("ses/")).as_deref(), Some("ses"));
    }

    #[test]
    fn a_full_table_begins_anew() {
        let whereabouts = Whereabouts::default();
        let queue = |number: usize| Queue::stored(&format!("mx/d{number}.example"));
        (0..QUEUES_MAX).for_each(|number| whereabouts.note(&queue(number), &"google".into()));
        assert!(whereabouts.of(&queue(0)).is_some());
        whereabouts.note(&queue(QUEUES_MAX), &"google".into());
        assert!(whereabouts.of(&queue(0)).is_none() && whereabouts.of(&queue(QUEUES_MAX)).is_some());
    }
}
