//! The station *deliver*.

mod wire;
mod wire_open;
