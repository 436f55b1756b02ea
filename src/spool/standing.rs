//! Standing claims: fresh mail is leased in the transaction that commits it. Where its queue is being worked on and has nothing else to do,
//! that spares it a transaction, a round through the schedule, and a reading of what was just written.

use super::{Lease, Queue};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

/// A claim on what will be committed to a queue; over when ended or dropped. What was granted before a drop is due again when its lease runs out.
#[derive(Debug)]
pub struct StandingClaim {
    claims: Arc<StandingClaims>,
    queue: Queue,
    number: u64,
    /// None: the spool knows no standing claims.
    leases: Option<UnboundedReceiver<Vec<Lease>>>,
}

/// The standing claims of a spool, one a queue; for engines.
#[derive(Debug, Default)]
pub struct StandingClaims(Mutex<Standings>);

#[derive(Debug, Default)]
struct Standings {
    next: u64,
    by_queue: HashMap<Queue, Standing>,
}

#[derive(Debug)]
struct Standing {
    number: u64,
    /// Recipients that may still be granted.
    room: usize,
    lease: Duration,
    give: UnboundedSender<Vec<Lease>>,
}

/// Recipients that a standing claim takes, once they are committed.
#[derive(Debug)]
pub struct Grant {
    /// For so long after the mail was accepted.
    pub lease: Duration,
    give: UnboundedSender<Vec<Lease>>,
}

impl StandingClaims {
    /// A claim on `queue`, without any room yet. An earlier one on it is over.
    #[must_use]
    pub fn begin(self: &Arc<Self>, queue: &Queue) -> StandingClaim {
        let (give, leases) = mpsc::unbounded_channel();
        let mut standings = self.standings();
        standings.next += 1;
        let number = standings.next;
        standings.by_queue.insert(queue.clone(), Standing { number, room: 0, lease: Duration::ZERO, give });
        StandingClaim { claims: Arc::clone(self), queue: queue.clone(), number, leases: Some(leases) }
    }

    /// Whether so many recipients of one message, due at once, are leased with their commit. Their room is taken.
    #[must_use]
    pub fn grant(&self, queue: &Queue, recipients: usize) -> Option<Grant> {
        let mut standings = self.standings();
        let claim = standings.by_queue.get_mut(queue).filter(|claim| claim.room >= recipients)?;
        claim.room -= recipients;
        Some(Grant { lease: claim.lease, give: claim.give.clone() })
    }

    fn standings(&self) -> MutexGuard<'_, Standings> {
        // Plain values that are whole at every moment.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Grant {
    /// To be called when they are committed.
    pub fn give(self, leases: Vec<Lease>) {
        // Whoever went away without ending its claim leaves them to their time.
        drop(self.give.send(leases));
    }
}

impl StandingClaim {
    /// One that is granted nothing.
    #[must_use]
    pub fn none(queue: &Queue) -> Self {
        Self { claims: Arc::default(), queue: queue.clone(), number: 0, leases: None }
    }

    /// From now on up to so many recipients are granted, each for so long.
    pub fn allow(&self, recipients: usize, lease: Duration) {
        if let Some(standing) = self.claims.standings().by_queue.get_mut(&self.queue).filter(|standing| standing.number == self.number) {
            (standing.room, standing.lease) = (recipients, lease);
        }
    }

    /// All that was granted by now. Waits for ever where nothing is.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn granted(&mut self) -> Vec<Lease> {
        let Some(leases) = &mut self.leases else { return std::future::pending().await };
        let Some(mut granted) = leases.recv().await else { return std::future::pending().await }; // another claim took its place
        while let Ok(mut more) = leases.try_recv() {
            granted.append(&mut more);
        }
        granted
    }

    /// Ends it; gives what was granted meanwhile, once that is committed.
    pub async fn end(mut self) -> Vec<Lease> {
        self.step_down();
        let mut granted = Vec::new();
        if let Some(mut leases) = self.leases.take() {
            while let Some(mut more) = leases.recv().await {
                granted.append(&mut more);
            }
        }
        granted
    }

    fn step_down(&self) {
        let mut standings = self.claims.standings();
        if standings.by_queue.get(&self.queue).is_some_and(|standing| standing.number == self.number) {
            standings.by_queue.remove(&self.queue);
        }
    }
}

impl Drop for StandingClaim {
    fn drop(&mut self) {
        self.step_down();
    }
}
