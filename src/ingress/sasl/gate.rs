//! What stands before every password check, one for the process: few checks at once, verified credentials remembered, guessing slowed.
//!
//! A shell: it has a clock (tokio's, which tests can turn), chance, threads.

use super::credential::Credential;
use crate::mail::{EnhancedCode, Refusal};
use aws_lc_rs::hmac;
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use zeroize::Zeroizing;

/// The bounds of authentication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Password checks at once. Each takes a core for tens of milliseconds and, by argon2's defaults, 19 MiB.
    pub checks_at_once: usize,
    /// Clients waiting for one; the next is told 454 4.7.0.
    pub checks_waiting_max: usize,
    /// How long one waits before it is told the same.
    pub wait: Duration,
    /// Verified credentials remembered; the oldest goes first.
    pub remembered_max: usize,
    /// For how long. A changed credential is never honoured, whatever this says.
    pub remembered_for: Duration,
    /// Failed attempts of one address (an IPv6 /64 counts as one) before further ones are told 454 4.7.0 unlooked at.
    /// A credential that is remembered is honoured all the same, so that who is known is not locked out by others behind its address;
    /// SCRAM shows no credential, so there nothing can be remembered.
    pub failures_max: u32,
    /// An address starts anew so long after its first failure.
    pub failures_window: Duration,
    /// The answer to the first failure waits so long, doubled for each further one, up to `failure_delay_max`.
    pub failure_delay: Duration,
    /// See `failure_delay`.
    pub failure_delay_max: Duration,
    /// Addresses counted; the one that failed first longest ago goes first.
    pub addresses_max: usize,
}

impl Default for Limits {
    /// As many checks at once as there are cores; 64 waiting, 10 s; 10,000 remembered for 10 minutes; 20 failures in 10 minutes, answered
    /// after 250 ms to 8 s; 10,000 addresses.
    fn default() -> Self {
        Self {
            checks_at_once: std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get),
            checks_waiting_max: 64,
            wait: Duration::from_secs(10),
            remembered_max: 10_000,
            remembered_for: Duration::from_mins(10),
            failures_max: 20,
            failures_window: Duration::from_mins(10),
            failure_delay: Duration::from_millis(250),
            failure_delay_max: Duration::from_secs(8),
            addresses_max: 10_000,
        }
    }
}

/// The process's gate. Survives changes of the users.
#[derive(Debug)]
pub struct Gate {
    limits: Limits,
    /// Known to this process alone: what is remembered is of no use outside.
    key: hmac::Key,
    checks: Arc<Semaphore>,
    waiting: AtomicUsize,
    remembered: Mutex<Remembered>,
    failures: Mutex<Failures>,
}

/// HMAC of user, password and credential.
type CacheKey = [u8; 32];

#[derive(Debug, Default)]
struct Remembered {
    until: HashMap<CacheKey, Instant>,
    /// Oldest first; every key of `until` once.
    order: VecDeque<CacheKey>,
}

#[derive(Debug, Default)]
struct Failures {
    by_address: HashMap<IpAddr, Count>,
    /// Oldest first; every address of `by_address` once.
    order: VecDeque<IpAddr>,
}

#[derive(Debug)]
struct Count {
    failures: u32,
    since: Instant,
}

/// An attempt under way. It counts as failed until [`Attempt::succeeded`] says otherwise, so that attempts side by side count too.
pub(super) struct Attempt<'a> {
    gate: &'a Gate,
    address: Option<IpAddr>,
    /// Which failure of the address this would be, from 1.
    number: u32,
}

impl Gate {
    /// A gate with nothing remembered.
    #[must_use]
    pub fn new(limits: Limits) -> Arc<Self> {
        let mut key = Zeroizing::new([0; 32]);
        fill_random(&mut *key);
        Arc::new(Self {
            limits,
            key: hmac::Key::new(hmac::HMAC_SHA256, &*key),
            checks: Arc::new(Semaphore::new(limits.checks_at_once.clamp(1, Semaphore::MAX_PERMITS))),
            waiting: AtomicUsize::new(0),
            remembered: Mutex::default(),
            failures: Mutex::default(),
        })
    }

    /// Names a verified pair. Another credential, another key: nothing old is honoured.
    pub(super) fn cache_key(&self, user: &str, password: &str, credential: &Credential) -> CacheKey {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [user.as_bytes(), password.as_bytes(), credential.fingerprint().as_ref()] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut key = [0; 32];
        key.copy_from_slice(context.sign().as_ref()); // HMAC-SHA-256 has 32 octets
        key
    }

    /// Whether the pair was verified lately.
    pub(super) fn remembers(&self, key: &CacheKey) -> bool {
        lock(&self.remembered).until.get(key).is_some_and(|until| Instant::now() < *until)
    }

    pub(super) fn remember(&self, key: CacheKey) {
        if self.limits.remembered_max == 0 {
            return;
        }
        let now = Instant::now();
        let mut remembered = lock(&self.remembered);
        if remembered.until.insert(key, now + self.limits.remembered_for).is_some() {
            remembered.order.retain(|known| *known != key); // only after it ran out, or when two checked at once
        }
        remembered.order.push_back(key);
        while let Some(oldest) = remembered.order.front().copied() {
            let full = remembered.order.len() > self.limits.remembered_max;
            if !full && remembered.until.get(&oldest).is_some_and(|until| now < *until) {
                break;
            }
            remembered.order.pop_front();
            remembered.until.remove(&oldest);
        }
    }

    /// Checks a prepared password on a thread of its own, when there is room.
    ///
    /// # Errors
    /// 454 4.7.0: too many are waiting, or it took too long to get a turn.
    ///
    /// # Cancel safety
    /// A check that has begun keeps its place until it is done.
    pub(super) async fn verify(&self, credential: Credential, password: Zeroizing<String>) -> Result<bool, Refusal> {
        let place = self.place().await?;
        let check = tokio::task::spawn_blocking(move || {
            let right = credential.is_password(&password);
            drop(place);
            right
        });
        check.await.map_err(|_| Refusal::ourselves())
    }

    async fn place(&self) -> Result<tokio::sync::OwnedSemaphorePermit, Refusal> {
        if let Ok(place) = self.checks.clone().try_acquire_owned() {
            return Ok(place);
        }
        let overloaded = || Refusal::operator(454, EnhancedCode::new(4, 7, 0), "too many authentications at once, try again later");
        let queue = Queue(&self.waiting);
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.limits.checks_waiting_max {
            drop(queue);
            return Err(overloaded());
        }
        let place = tokio::time::timeout(self.limits.wait, self.checks.clone().acquire_owned()).await;
        place.ok().and_then(Result::ok).ok_or_else(overloaded)
    }

    /// Begins an attempt.
    ///
    /// # Errors
    /// 454 4.7.0: the address has failed too often.
    pub(super) fn attempt(&self, address: Option<IpAddr>) -> Result<Attempt<'_>, Refusal> {
        let Some(address) = address.map(counted_as) else { return Ok(Attempt { gate: self, address: None, number: 1 }) };
        let now = Instant::now();
        let mut failures = lock(&self.failures);
        failures.forget(now, self.limits.failures_window, self.limits.addresses_max.saturating_sub(1), address);
        if !failures.by_address.contains_key(&address) {
            failures.order.push_back(address);
        }
        let count = failures.by_address.entry(address).or_insert(Count { failures: 0, since: now });
        if count.failures >= self.limits.failures_max {
            let seconds = (count.since + self.limits.failures_window).saturating_duration_since(now).as_secs() + 1;
            let text = format!("too many failed authentications from your address, try again in {seconds} s");
            return Err(Refusal { blame: crate::mail::Blame::Submitter, ..Refusal::operator(454, EnhancedCode::new(4, 7, 0), text) });
        }
        count.failures += 1;
        Ok(Attempt { gate: self, address: Some(address), number: count.failures })
    }
}

impl Attempt<'_> {
    /// It was right, or was not looked at.
    pub(super) fn succeeded(self) {
        let Some(address) = self.address else { return };
        if let Some(count) = lock(&self.gate.failures).by_address.get_mut(&address) {
            count.failures = count.failures.saturating_sub(1);
        }
    }

    /// It was wrong: returns when the answer may be given.
    pub(super) async fn failed(self) {
        let limits = &self.gate.limits;
        let doubled = limits.failure_delay.saturating_mul(1u32.checked_shl(self.number.saturating_sub(1)).unwrap_or(u32::MAX));
        tokio::time::sleep(doubled.min(limits.failure_delay_max)).await;
    }
}

impl Failures {
    /// Drops what ran out, and the oldest until at most `others_max` are left beside `kept`.
    fn forget(&mut self, now: Instant, window: Duration, others_max: usize, kept: IpAddr) {
        while let Some(oldest) = self.order.front().copied() {
            let over = self.by_address.get(&oldest).is_none_or(|count| now.saturating_duration_since(count.since) >= window);
            let full = self.order.len() > others_max && !self.by_address.contains_key(&kept);
            if !over && !full {
                break;
            }
            self.order.pop_front();
            self.by_address.remove(&oldest);
        }
    }
}

/// A place in the queue, given back when dropped.
struct Queue<'a>(&'a AtomicUsize);

impl Drop for Queue<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An IPv6 host owns a /64; counting single addresses would count nothing.
fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// The server's half of a nonce: 24 octets of chance in base64.
pub(super) fn random_nonce() -> String {
    use base64::Engine as _;
    let mut octets = [0; 24];
    fill_random(&mut octets);
    base64::engine::general_purpose::STANDARD.encode(octets)
}

/// # Panics
/// When the system has no randomness, which aws-lc itself treats as fatal: going on would be worse.
pub(super) fn fill_random(octets: &mut [u8]) {
    #[allow(clippy::expect_used, reason = "no randomness, no security")]
    aws_lc_rs::rand::fill(octets).expect("the system gives randomness");
}

/// What is behind these locks is right between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
