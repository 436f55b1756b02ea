//! Connections that are open: who may open one, and which idle ones wait for more mail to the same target. A shell around
//! [`super::shaping`], which decides.
//!
//! Every open connection holds a [`Permit`], idle ones too. A connection is used again only for an equal [`Target`]: host, address,
//! TLS demand, source, EHLO name and credentials.

use super::connection::Connection;
use super::provider::{Place, Reaction};
use super::shaping::{Admission, Shaping};
use super::target::Target;
use crate::clock::Clock;
use crate::events::meters;
use crate::mail::Timestamp;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// Admits connections and keeps the idle ones.
pub struct Pool {
    shaping: Mutex<Shaping>,
    idle: Mutex<Idle>,
    /// Lanes without a connection, by the group they wait for.
    waiting: Mutex<HashMap<Arc<str>, usize>>,
    changes: watch::Sender<u64>,
    clock: Clock,
    meters: Arc<meters::Deliver>,
}

/// The right to one open connection to a place; given back when dropped.
pub struct Permit {
    pool: Arc<Pool>,
    place: Place,
}

/// A lane that has no connection and waits for one; over when dropped.
pub struct Waiting {
    pool: Arc<Pool>,
    group: Arc<str>,
}

/// An open connection between two messages.
pub struct Kept {
    /// The session.
    pub connection: Connection,
    /// Its right to be open.
    pub permit: Permit,
    /// What it was opened for.
    pub target: Target,
    /// The recipient domains it has carried mail for (RFC 9422 RCPTDOMAINMAX).
    pub domains: HashSet<String>,
}

#[derive(Default)]
struct Idle {
    next: u64,
    count: usize,
    by_target: HashMap<Target, Vec<(u64, Kept)>>,
}

impl Pool {
    /// An empty pool.
    #[must_use]
    pub fn new(clock: Clock, meters: Arc<meters::Deliver>) -> Arc<Self> {
        Self::shaped(Shaping::default(), clock, meters)
    }

    /// One for smart hosts that are waited for, see [`Shaping::starting_whole`].
    #[must_use]
    pub fn starting_whole(clock: Clock, meters: Arc<meters::Deliver>) -> Arc<Self> {
        Self::shaped(Shaping::starting_whole(), clock, meters)
    }

    fn shaped(shaping: Shaping, clock: Clock, meters: Arc<meters::Deliver>) -> Arc<Self> {
        let shaping = Mutex::new(shaping);
        Arc::new(Self { shaping, idle: Mutex::default(), waiting: Mutex::default(), changes: watch::Sender::new(0), clock, meters })
    }

    /// Asks for the right to open a connection. Where only idle connections to other hosts of the group stand in the way, one of them is closed.
    ///
    /// # Errors
    /// Why not now.
    pub fn admit(self: &Arc<Self>, place: &Place) -> Result<Permit, Admission> {
        let now = (self.clock)();
        match self.shaping().admit(place, now) {
            Admission::Granted => {
                self.meters.of(&place.provider).connections.up();
                return Ok(Permit { pool: self.clone(), place: place.clone() });
            }
            refusal @ (Admission::Paused(_) | Admission::Down(_)) => return Err(refusal),
            Admission::Full => {}
        }
        if let Some(kept) = self.take_where(|_, kept| kept.permit.place.group == place.group) {
            tokio::spawn(kept.close());
        }
        Err(Admission::Full)
    }

    /// An idle connection to this target that is still open.
    pub fn take(&self, target: &Target) -> Option<Kept> {
        loop {
            let mut kept = lock(&self.idle).take_latest(target)?;
            if kept.connection.is_open() {
                return Some(kept);
            }
        }
    }

    /// Keeps a connection for others, or closes it: when it has carried enough, is one too many, or there is no room.
    pub fn keep(self: &Arc<Self>, mut kept: Kept, for_how_long: Duration, idle_max: usize) {
        let place = &kept.permit.place;
        let is_spent = kept.connection.transactions() >= place.limits.messages_per_connection_max || self.has_surplus(place);
        if is_spent || for_how_long.is_zero() || !kept.connection.is_open() || lock(&self.idle).count >= idle_max {
            tokio::spawn(kept.close());
            return;
        }
        let id = {
            let mut idle = lock(&self.idle);
            (idle.next, idle.count) = (idle.next + 1, idle.count + 1);
            let id = idle.next;
            idle.by_target.entry(kept.target.clone()).or_default().push((id, kept));
            id
        };
        let pool = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(for_how_long).await;
            if let Some(kept) = pool.take_id(id) {
                kept.close().await;
            }
        });
        self.changed();
    }

    /// A lane waits for its first connection to a group. Those that have several give one up, see [`Self::is_waited_for`].
    #[must_use]
    pub fn wait_for(self: &Arc<Self>, group: &Arc<str>) -> Waiting {
        *lock(&self.waiting).entry(group.clone()).or_default() += 1;
        self.changed();
        Waiting { pool: self.clone(), group: group.clone() }
    }

    /// Somebody waits for a first connection to this group: a queue with a long backlog must not keep all of them.
    #[must_use]
    pub fn is_waited_for(&self, group: &str) -> bool {
        lock(&self.waiting).contains_key(group)
    }

    /// Closes all idle connections.
    pub async fn close(&self) {
        let kept: Vec<Kept> = {
            let mut idle = lock(&self.idle);
            idle.count = 0;
            let mut all: Vec<_> = idle.by_target.drain().flat_map(|(_, list)| list).collect();
            all.sort_by_key(|(number, _)| *number); // in the order they came: that of a hash is another each time
            all.into_iter().map(|(_, kept)| kept).collect()
        };
        let closing: tokio::task::JoinSet<()> = kept.into_iter().map(Kept::close).collect();
        closing.join_all().await;
    }

    /// Idle connections.
    #[must_use]
    pub fn idle_connections(&self) -> usize {
        lock(&self.idle).count
    }

    /// Tells of every change that may let a connection in.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// May one more message be sent there?
    ///
    /// # Errors
    /// Not before then.
    pub fn may_send(&self, place: &Place) -> Result<(), Timestamp> {
        self.shaping().may_send(place, (self.clock)())
    }

    /// A connection of this place is to be closed after its message.
    #[must_use]
    pub fn has_surplus(&self, place: &Place) -> bool {
        self.shaping().has_surplus(place, (self.clock)())
    }

    /// A message was taken there.
    pub fn taken(&self, place: &Place) {
        if self.shaping().taken(place, (self.clock)()) {
            self.changed();
        }
    }

    /// A reply asked us to slow down, or not.
    pub fn slow_down(&self, place: &Place, reaction: Reaction) {
        self.shaping().slow_down(place, reaction, (self.clock)());
    }

    /// Until when nothing is to be sent there.
    #[must_use]
    pub fn pause(&self, place: &Place) -> Option<Timestamp> {
        self.shaping().paused(place, (self.clock)())
    }

    /// The host answered.
    pub fn answered(&self, place: &Place) {
        self.shaping().answered(place, (self.clock)());
    }

    /// No address of the host could be talked to; until when it is left alone.
    pub fn silent(&self, place: &Place) -> Timestamp {
        self.shaping().silent(place, (self.clock)())
    }

    /// Has mail go to a host again, see [`Shaping::resume`].
    pub fn resume(&self, group: &str, host: &str, ends_pause: bool) -> Option<Timestamp> {
        let until = self.shaping().resume(group, host, ends_pause, (self.clock)());
        self.changed();
        until
    }

    /// How many recipients to name in one transaction there.
    #[must_use]
    pub fn recipients_max(&self, place: &Place) -> usize {
        usize::try_from(self.shaping().recipients_max(place, (self.clock)())).unwrap_or(usize::MAX)
    }

    /// The host took only so many recipients.
    pub fn took_only(&self, place: &Place, recipients: usize) {
        self.shaping().took_only(place, u32::try_from(recipients).unwrap_or(u32::MAX), (self.clock)());
    }

    /// Connections open to a group, and those allowed now.
    #[must_use]
    pub fn connections(&self, group: &str) -> (u32, u32) {
        self.shaping().connections(group)
    }

    /// Providers (or hosts without one) that asked for a pause, and until when.
    #[must_use]
    pub fn pauses(&self) -> Vec<(Arc<str>, Timestamp)> {
        self.shaping().pauses((self.clock)())
    }

    fn take_id(&self, id: u64) -> Option<Kept> {
        self.take_first(|_, known, _| known == id)
    }

    fn take_where(&self, wanted: impl Fn(&Target, &Kept) -> bool) -> Option<Kept> {
        self.take_first(|target, _, kept| wanted(target, kept))
    }

    fn take_first(&self, wanted: impl Fn(&Target, u64, &Kept) -> bool) -> Option<Kept> {
        let mut idle = lock(&self.idle);
        let youngest = idle.by_target.iter().filter_map(|(target, list)| {
            let at = list.iter().rposition(|(id, kept)| wanted(target, *id, kept))?;
            Some((list[at].0, target, at))
        });
        let (target, at) = youngest.max_by_key(|(id, ..)| *id).map(|(_, target, at)| (target.clone(), at))?;
        let list = idle.by_target.get_mut(&target)?;
        let (_, kept) = list.remove(at);
        if list.is_empty() {
            idle.by_target.remove(&target);
        }
        idle.count -= 1;
        Some(kept)
    }

    fn shaping(&self) -> MutexGuard<'_, Shaping> {
        lock(&self.shaping)
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }
}

impl Idle {
    /// The one that was kept last: the one most likely to be open.
    fn take_latest(&mut self, target: &Target) -> Option<Kept> {
        let list = self.by_target.get_mut(target)?;
        let (_, kept) = list.pop()?;
        if list.is_empty() {
            self.by_target.remove(target);
        }
        self.count -= 1;
        Some(kept)
    }
}

impl Permit {
    /// Where it holds.
    #[must_use]
    pub const fn place(&self) -> &Place {
        &self.place
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.pool.shaping().leave(&self.place, (self.pool.clock)());
        self.pool.meters.of(&self.place.provider).connections.down();
        self.pool.changed();
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut waiting = lock(&self.pool.waiting);
        match waiting.get_mut(&self.group) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(waiting.remove(&self.group)),
        }
        drop(waiting);
        self.pool.changed();
    }
}

impl Kept {
    /// A session that was just opened.
    #[must_use]
    pub fn new(connection: Connection, permit: Permit, target: Target) -> Self {
        Self { connection, permit, target, domains: HashSet::new() }
    }

    /// Whether mail for one more recipient domain may go over it.
    #[must_use]
    pub fn has_room_for(&self, domain: &str) -> bool {
        let most = self.connection.capabilities().limits.rcpt_domain_max.map_or(usize::MAX, |max| usize::try_from(max.get()).unwrap_or(usize::MAX));
        self.domains.len() < most || self.domains.contains(domain)
    }

    /// Ends the session; its permit lasts until it is closed.
    pub async fn close(self) {
        self.connection.quit().await;
        drop(self.permit);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
