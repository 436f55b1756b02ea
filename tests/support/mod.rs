//! What tests of several rooms share.

pub mod dns;
pub mod next_hop;
