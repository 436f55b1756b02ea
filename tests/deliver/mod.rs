//! The station *deliver*.

mod wire;
mod wire_dialogue;
mod wire_open;
