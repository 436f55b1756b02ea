//! How deep the queues are, for who looks on: counted beside the writer and page by page, so that a million recipients hold nobody up.
//!
//! Not one moment's truth: mail that comes or goes meanwhile may be counted or not.

use super::{Queue, Spool, SpoolError};
use crate::mail::Timestamp;
use std::future::Future;

/// A spool whose queues can be counted.
pub trait Depth: Spool {
    /// One page of the recipients that have no outcome, by queue; `from` is what the page before gave, `None` to begin. Leased ones are
    /// not told apart here.
    fn depth(&self, from: Option<DepthCursor>, now: Timestamp) -> impl Future<Output = Result<DepthPage, SpoolError>> + Send;

    /// How many recipients are under a lease, by queue.
    fn leased(&self, now: Timestamp) -> impl Future<Output = Result<Vec<(Queue, u64)>, SpoolError>> + Send;
}

/// Where a page begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DepthCursor {
    pub(super) queue: String,
    pub(super) next_at: i64,
    pub(super) message: i64,
    pub(super) number: i64,
}

/// See [`Depth::depth`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DepthPage {
    /// By queue, in the order of their names; the first may go on from the page before.
    pub queues: Vec<QueueDepth>,
    /// Where the next page begins; `None`: this was the last.
    pub next: Option<DepthCursor>,
}

/// How deep a queue is, or a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueDepth {
    /// Which.
    pub queue: Queue,
    /// Recipients that may be tried now.
    pub due: u64,
    /// Recipients whose time comes later, leased ones among them.
    pub later: u64,
    /// When the oldest mail of these was accepted, to the second.
    pub oldest: Timestamp,
}
