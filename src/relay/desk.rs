//! What orders of the queue need of delivery: routes, providers, pauses, notices; and what the log is told of them.

use super::home::Home;
use super::rotation::InForce;
use crate::admin::api::queue::Outbound;
use crate::deliver::{Delivery, Notices, provider};
use crate::mail::Timestamp;
use crate::mail::suppression::Rules;
use crate::spool::Queue;
use crate::spool::control::Order;
use std::sync::Arc;

/// Delivery as a person's orders see it.
pub struct Desk {
    /// Where mail is sent from.
    pub delivery: Arc<Delivery>,
    /// Who writes to submitters.
    pub home: Arc<Home>,
    /// The configuration.
    pub in_force: Arc<InForce>,
}

impl Outbound for Desk {
    fn routes(&self) -> Vec<String> {
        let deliver = &self.in_force.config().deliver;
        let pools = deliver.pools.keys().map(|pool| format!("{}:{pool}", Queue::MX));
        std::iter::once(Queue::MX.to_owned()).chain(pools).chain(deliver.smart_hosts.keys().map(ToString::to_string)).collect()
    }

    fn providers(&self) -> Vec<String> {
        let deliver = &self.in_force.config().deliver;
        let known = deliver.providers.names().map(str::to_owned);
        known.chain(deliver.smart_hosts.keys().map(ToString::to_string)).chain([provider::OTHER.to_owned()]).collect()
    }

    fn resume(&self, provider: &str, host: &str, ends_pause: bool) -> Option<Timestamp> {
        self.delivery.resume(provider, host, ends_pause)
    }

    fn notices(&self) -> Arc<dyn Notices> {
        self.home.clone()
    }

    fn carried_out(&self, order: &Order, recipients: u64) {
        match order {
            Order::Hold => tracing::info!(recipients, "queue.held"),
            Order::Release => tracing::info!(recipients, "queue.released"),
            Order::Retry => tracing::info!(recipients, "queue.retried"),
            Order::Reroute(route) => tracing::info!(recipients, %route, "queue.rerouted"),
            Order::Cancel { .. } => tracing::info!(recipients, "queue.cancelled"),
        }
        self.delivery.wake();
    }

    fn suppression(&self) -> Rules {
        self.in_force.config().deliver.suppression.clone()
    }

    fn list_changed(&self, added: u64, lifted: u64) {
        if added + lifted > 0 {
            tracing::info!(added, lifted, "suppression.edited");
        }
    }
}
