//! What was written becomes what is meant: one TOML file and the environment, to the rooms' `Settings`, with all faults at once.

pub mod document;
pub mod fault;
pub mod knob;
pub mod reader;
mod sections;

pub use document::Document;
pub use fault::{Fault, Faults};
