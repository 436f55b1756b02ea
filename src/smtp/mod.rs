//! The protocol without sockets (RFC 5321 and its extensions): what is on the wire, and whose turn it is.
//!
//! It knows neither socket nor clock nor configuration. Octets and answers go in, replies and wishes come out; the shells
//! (`ingress/connection.rs`, `deliver/connection.rs`) carry them.

pub mod chunk;
pub mod client;
pub mod command;
pub mod data;
pub mod line;
pub mod memory;
pub mod reply;
pub mod server;
pub mod settings;
