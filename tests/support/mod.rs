//! What tests of several rooms share.

pub mod next_hop;
