//! The relay's heartbeat, as the service manager's watchdog wants it felt.

use crate::deliver::Delivery;
use crate::service::heart::{self, Part};
use crate::spool::{Health, Spool as _, SqliteSpool};
use std::sync::Arc;

/// Where the heartbeat of a relay is felt, while it runs.
pub struct Pulse {
    spool: Arc<SqliteSpool>,
    delivery: Arc<Delivery>,
}

impl Pulse {
    pub(super) const fn of(spool: Arc<SqliteSpool>, delivery: Arc<Delivery>) -> Self {
        Self { spool, delivery }
    }
}

impl heart::Pulse for Pulse {
    async fn feel(&self, part: Part) -> Result<(), String> {
        match part {
            Part::Spool => self.spool.beat().await.map_err(|error| error.to_string()),
            Part::Delivery => {
                self.delivery.beat().await;
                Ok(())
            }
        }
    }

    async fn status(&self) -> String {
        let waiting = self.spool.counts().await.map_or_else(|_| String::new(), |counts| waiting(counts.mails, counts.recipients));
        match self.spool.health() {
            Health::Working => format!("taking mail; {waiting}"),
            Health::Full { free, reserve } => {
                format!("taking no mail: {free} octets are free on the spool's disk, and {reserve} are to stay free (spool.reserve_octets); {waiting}")
            }
            Health::Failed(why) => format!("taking no mail: the spool has failed: {why}"),
            Health::Closed => "taking no mail: the spool is closed".to_owned(),
        }
    }
}

fn waiting(mails: u64, recipients: u64) -> String {
    match (mails, recipients) {
        (0, _) => "nothing waits".to_owned(),
        (1, 1) => "1 mail waits for 1 recipient".to_owned(),
        (1, _) => format!("1 mail waits for {recipients} recipients"),
        _ => format!("{mails} mails wait for {recipients} recipients"),
    }
}
