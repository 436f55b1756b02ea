//! The trouble that a disk makes, drawn by the seed, and what must be true of the spool after each transaction.

use crate::store::{Fsync, Image, Kept, Mischief, Trouble, Work};
use crate::world::World;
use postseal::mail::Timestamp;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub struct DiskTrouble {
    world: Arc<World>,
    /// Until then there is no room.
    full_until: Mutex<Duration>,
    /// Until then fsync says what is not so.
    lies_until: Mutex<Duration>,
    claim_recipients_max: usize,
}

impl DiskTrouble {
    pub fn new(world: &Arc<World>, claim_recipients_max: usize) -> Self {
        Self { world: world.clone(), full_until: Mutex::default(), lies_until: Mutex::default(), claim_recipients_max }
    }

    async fn trouble(&self, work: Work) -> Result<(), Trouble> {
        let world = &self.world;
        world.step(format!("disk {work:?}")).await;
        let shares = world.plan.shares;
        let latency = world.chance().millis(0, 3);
        world.wait(latency).await;
        if world.meets("EIO", shares.failing_disk) {
            return Err(Trouble::Failed);
        }
        if work == Work::Commit {
            let now = world.passed();
            if *self.full_until.lock().unwrap() > now {
                return Err(Trouble::Full);
            }
            if world.meets("ENOSPC", shares.full_disk) {
                *self.full_until.lock().unwrap() = now + world.chance().millis(0, 1_200_000);
                return Err(Trouble::Full);
            }
        }
        if matches!(work, Work::Commit | Work::Read | Work::Body) && world.meets("a spool that is busy", shares.busy_disk) {
            return Err(Trouble::Busy);
        }
        Ok(())
    }

    /// A disk that lies does so for a while.
    fn lies(&self) -> bool {
        let world = &self.world;
        let mut until = self.lies_until.lock().unwrap();
        let now = world.passed();
        if *until > now && !world.is_calm() {
            world.met("an fsync that lies");
            return true;
        }
        let begins = world.meets("an fsync that lies", world.plan.shares.lying_disk);
        if begins {
            *until = now + world.chance().millis(0, 1_800_000);
        }
        begins
    }

    fn check(&self, image: &Image) -> Option<String> {
        let now = self.world.now();
        let is_far = |at: Timestamp| at.since(now) > FAR;
        for ((id, index), row) in image.waiting() {
            if !image.mails.contains_key(id) {
                return Some(format!("recipient {index} of {id} waits, and its message is gone"));
            }
            if is_far(row.next_at) {
                return Some(format!("{} of {id} is neither due, nor leased, nor settled: {:?} lies beyond every wait", row.leased.mailbox, row.next_at));
            }
        }
        let parked = image.parked.iter().find(|(_, until)| is_far(**until));
        parked.map(|(queue, until)| format!("the queue {queue} is parked until {until:?}, beyond every pause"))
    }
}

impl Mischief for DiskTrouble {
    fn before<'a>(&'a self, work: &'a Work) -> Pin<Box<dyn Future<Output = Result<(), Trouble>> + Send + 'a>> {
        Box::pin(self.trouble(*work))
    }

    fn sync(&self) -> Pin<Box<dyn Future<Output = Fsync> + Send + '_>> {
        Box::pin(async {
            let world = &self.world;
            world.step("disk fsync").await;
            let latency = world.chance().millis(1, 25);
            world.wait(latency).await;
            let shares = world.plan.shares;
            world.step("disk fsynced").await;
            if world.meets("an fsync that fails", shares.failing_disk) {
                Fsync::Failed
            } else if self.lies() {
                Fsync::Lied
            } else {
                Fsync::Done
            }
        })
    }

    fn kept(&self, kept: &Kept) {
        if self.world.is_dead() {
            return;
        }
        match kept {
            Kept::Committed(mail) => self.world.note(format_args!("committed {} {}", mail.id, mail.message_id)),
            Kept::Claimed { mail, recipients } => {
                self.world.note(format_args!("claimed {recipients} of {mail}"));
                self.world.ledger().bound("recipients of one claim", *recipients, self.claim_recipients_max);
            }
            Kept::Settled { mail, recipient, how } => {
                let words = how.evidence().map_or_else(String::new, |evidence| {
                    let reply = evidence.reply.as_ref().map(ToString::to_string).unwrap_or_default();
                    format!("{} {reply} {}", evidence.status, evidence.text)
                });
                let kind = format!("{how:?}");
                let kind = kind.split(['(', ' ']).next().unwrap_or_default();
                self.world.note(format_args!("settled {} {recipient} {kind} {words}", mail.message_id));
            }
        }
        let at = self.world.passed();
        self.world.ledger().kept(kept, at);
    }

    fn failed(&self) {
        let at = self.world.passed();
        self.world.ledger().disturb(at);
    }

    fn look(&self, image: &Image) {
        if let Some(violation) = self.check(image) {
            self.world.ledger().violate(violation);
        }
    }
}

/// Longer than any wait between two attempts, any pause, and any step that the clock is set back by.
const FAR: Duration = Duration::from_hours(24);
