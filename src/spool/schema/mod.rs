//! The tables, as numbered steps that both engines share in shape. A step that was released is never edited: the next change is a new step.

/// Step N is the N-th element; a spool's version is the number of steps it has seen.
pub(super) const STEPS: [&str; 3] = [include_str!("0001.sql"), include_str!("0002.sql"), include_str!("0003.sql")];

/// The version this program writes; it refuses a newer one.
#[allow(clippy::cast_possible_wrap, reason = "a handful of steps")]
pub(super) const VERSION: i64 = STEPS.len() as i64;
