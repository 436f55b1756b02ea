//! The station *report*: every event that a line of the log can tell, and how lines are written.

pub mod catalogue;
pub mod log;
pub mod pulse;
