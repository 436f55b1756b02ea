//! The station *deliver*: due mail goes to its next hop.

pub mod classify;
pub mod ending;
pub mod provider;
pub mod route;
pub mod schedule;
pub mod shaping;
pub mod shaping_file;
pub mod target;
pub mod throttle;
pub mod tls_policy;
