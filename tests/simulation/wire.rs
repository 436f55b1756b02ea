//! Connections in memory: two lanes with a latency, a capacity and a fate.
//!
//! | fate | what both ends see |
//! |---|---|
//! | cut | after so many octets of one lane both ends are reset, and what is on its way is lost |
//! | half-open | after so many octets one lane swallows everything; the writer notices when its buffer is full, the reader never |
//! | slow | every piece takes seconds |

use crate::world::World;
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// One end.
pub struct Wire {
    world: Arc<World>,
    name: Arc<str>,
    from: Arc<Mutex<Lane>>,
    to: Arc<Mutex<Lane>>,
    timer: Mutex<Option<Pin<Box<Sleep>>>>,
    /// Counted while it lives.
    open: Option<Arc<AtomicU32>>,
}

/// Octets one way.
struct Lane {
    pieces: VecDeque<Piece>,
    buffered: usize,
    carried: u64,
    read: u64,
    latency: (u64, u64),
    last_at: Instant,
    cut_after: Option<u64>,
    swallows_after: Option<u64>,
    ended_at: Option<Instant>,
    is_reset: bool,
    reader_is_gone: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    marks: VecDeque<(u64, Arc<Fate>)>,
    /// Since when the writer waits for room for the rest of a piece.
    begun: Option<Duration>,
    /// When the writing of the last octet that was read began.
    read_begun: Duration,
}

struct Piece {
    at: Instant,
    octets: VecDeque<u8>,
    begun: Duration,
}

/// What became of what was written.
#[derive(Debug, Default)]
pub struct Fate {
    /// The other side has read it.
    pub heard: AtomicBool,
    /// It will never do.
    pub gone: AtomicBool,
}

impl Fate {
    pub fn is_heard(&self) -> bool {
        self.heard.load(Ordering::SeqCst)
    }

    pub fn is_swallowed(&self) -> bool {
        self.gone.load(Ordering::SeqCst) && !self.is_heard()
    }
}

/// Both ends of a new connection; `open` counts the first one.
pub fn pair(world: &Arc<World>, name: &str, open: Option<Arc<AtomicU32>>) -> (Wire, Wire) {
    let shares = world.plan.shares;
    let slow = world.meets("a slow connection", shares.slow);
    let mut lanes = [0, 1].map(|_| Lane::new(if slow { (200, 6_000) } else { (1, 40) }));
    if world.meets("a connection that is cut", shares.cut) {
        let mut chance = world.chance();
        lanes[usize::from(chance.hits(500))].cut_after = Some(chance.below(4_500));
    }
    if world.meets("a connection that is half open", shares.half_open) {
        let mut chance = world.chance();
        lanes[usize::from(chance.hits(500))].swallows_after = Some(chance.below(4_500));
    }
    let [one, other] = lanes.map(|lane| Arc::new(Mutex::new(lane)));
    let name: Arc<str> = name.into();
    if let Some(open) = &open {
        open.fetch_add(1, Ordering::SeqCst);
    }
    let wire = |from: &Arc<Mutex<Lane>>, to: &Arc<Mutex<Lane>>, open| Wire {
        world: world.clone(),
        name: name.clone(),
        from: from.clone(),
        to: to.clone(),
        timer: Mutex::new(None),
        open,
    };
    (wire(&one, &other, open), wire(&other, &one, None))
}

impl Wire {
    /// Something will be said over this end; what becomes of it.
    pub fn owe(&self) -> Arc<Fate> {
        let (mut lane, fate) = (lock(&self.to), Arc::new(Fate::default()));
        lane.marks.push_back((u64::MAX, fate.clone()));
        if lane.is_reset || lane.reader_is_gone {
            lane.give_up_marks();
        }
        fate
    }

    /// It has been said.
    pub fn said(&self) {
        let mut lane = lock(&self.to);
        let carried = lane.carried;
        lane.marks.iter_mut().filter(|(upto, _)| *upto == u64::MAX).for_each(|(upto, _)| *upto = carried);
    }

    /// When the other side began to write the last octet that was read here; from then on it could not take it back.
    pub fn begun(&self) -> Duration {
        lock(&self.from).read_begun
    }

    /// Both ends are told that there is no connection any more.
    pub fn reset(&self) {
        for lane in [&self.from, &self.to] {
            lock(lane).reset();
        }
    }
}

impl Lane {
    fn new(latency: (u64, u64)) -> Self {
        Self {
            pieces: VecDeque::new(),
            buffered: 0,
            carried: 0,
            read: 0,
            latency,
            last_at: Instant::now(),
            cut_after: None,
            swallows_after: None,
            ended_at: None,
            is_reset: false,
            reader_is_gone: false,
            reader: None,
            writer: None,
            marks: VecDeque::new(),
            begun: None,
            read_begun: Duration::ZERO,
        }
    }

    fn reset(&mut self) {
        self.is_reset = true;
        self.pieces.clear();
        self.give_up_marks();
        self.wake();
    }

    fn give_up_marks(&mut self) {
        self.marks.drain(..).for_each(|(_, fate)| fate.gone.store(true, Ordering::SeqCst));
    }

    fn wake(&mut self) {
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }

    fn arrival(&mut self, world: &World) -> Instant {
        let latency = world.chance().millis(self.latency.0, self.latency.1);
        self.last_at = self.last_at.max(Instant::now() + latency); // pieces do not overtake
        self.last_at
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, space: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        if wire.world.is_dead() {
            return Poll::Pending;
        }
        let mut lane = lock(&wire.from);
        if lane.is_reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let now = Instant::now();
        let mut taken = 0;
        while let Some(piece) = lane.pieces.front_mut().filter(|piece| piece.at <= now) {
            let count = piece.octets.len().min(space.remaining());
            let octets: Vec<u8> = piece.octets.drain(..count).collect();
            let begun = piece.begun;
            if piece.octets.is_empty() {
                lane.pieces.pop_front();
            }
            space.put_slice(&octets);
            taken += count;
            lane.read_begun = begun;
            if space.remaining() == 0 {
                break;
            }
        }
        if taken > 0 {
            lane.buffered -= taken;
            lane.read += taken as u64;
            while lane.marks.front().is_some_and(|(upto, _)| *upto <= lane.read) {
                lane.marks.pop_front().into_iter().for_each(|(_, fate)| fate.heard.store(true, Ordering::SeqCst));
            }
            lane.writer.take().into_iter().for_each(Waker::wake);
            return Poll::Ready(Ok(()));
        }
        lane.reader = Some(cx.waker().clone());
        let next = lane.pieces.front().map(|piece| piece.at).or(lane.ended_at);
        drop(lane);
        match next {
            Some(at) if at <= now => Poll::Ready(Ok(())), // the end
            Some(at) => {
                let timer = wire.timer.get_mut().unwrap();
                let mut sleep = Box::pin(tokio::time::sleep_until(at));
                if sleep.as_mut().poll(cx).is_ready() {
                    cx.waker().wake_by_ref();
                }
                *timer = Some(sleep);
                Poll::Pending
            }
            None => Poll::Pending,
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let wire = self.get_mut();
        let mut lane = lock(&wire.to);
        if wire.world.is_dead() {
            return Poll::Pending;
        }
        if lane.is_reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if lane.reader_is_gone || lane.ended_at.is_some() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let passed = wire.world.passed();
        let begun = *lane.begun.get_or_insert(passed);
        let room = BUFFER_OCTETS.saturating_sub(lane.buffered).min(octets.len());
        if room == 0 {
            lane.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if !wire.world.tick(format_args!("{} {}", wire.name, octets[..room].escape_ascii())) {
            return Poll::Pending;
        }
        if room == octets.len() {
            lane.begun = None;
        }
        lane.carried += room as u64;
        lane.buffered += room;
        if lane.cut_after.is_some_and(|after| lane.carried > after) {
            drop(lane);
            wire.world.note(format_args!("{} is cut", wire.name));
            wire.reset();
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if lane.swallows_after.is_some_and(|after| lane.carried > after) {
            return Poll::Ready(Ok(room)); // it stays in the buffer for good
        }
        let at = lane.arrival(&wire.world);
        lane.pieces.push_back(Piece { at, octets: octets[..room].iter().copied().collect(), begun });
        lane.reader.take().into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(room))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        if wire.world.is_dead() {
            return Poll::Pending;
        }
        wire.finish();
        Poll::Ready(Ok(()))
    }
}

impl Wire {
    fn finish(&self) {
        let mut lane = lock(&self.to);
        let is_swallowed = lane.swallows_after.is_some_and(|after| lane.carried > after);
        if lane.ended_at.is_none() && !lane.is_reset && !is_swallowed {
            let at = lane.arrival(&self.world);
            lane.ended_at = Some(at);
            lane.reader.take().into_iter().for_each(Waker::wake);
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if let Some(open) = &self.open {
            open.fetch_sub(1, Ordering::SeqCst);
        }
        if !self.world.is_dead() {
            self.finish();
        }
        let mut lane = lock(&self.from);
        lane.reader_is_gone = true;
        lane.give_up_marks();
        lane.wake();
    }
}

fn lock(lane: &Mutex<Lane>) -> MutexGuard<'_, Lane> {
    lane.lock().unwrap()
}

/// What one side may send before the other has read it; less than the longest message, so that writers wait.
const BUFFER_OCTETS: usize = 3_000;

/// Longer than any timer of the relay.
pub const FOREVER: Duration = Duration::from_hours(24 * 365);
