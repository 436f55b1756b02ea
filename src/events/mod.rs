//! The station *report*: every event that a line of the log can tell, how lines are written, and what is counted.

pub mod catalogue;
pub mod event;
pub mod log;
pub mod meters;
pub mod otlp;
pub mod output;
pub mod span;
pub mod traffic;
pub mod webhook;
