//! The station *deliver*.

mod dns;
mod endings;
mod lmtp;
mod pace;
mod rig;
mod routes;
mod wire;
mod wire_dialogue;
mod wire_open;
