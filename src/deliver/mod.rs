//! (being written)

pub mod connection;
pub mod target;
pub mod tls;
