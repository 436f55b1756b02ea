//! The service manager that started us (systemd), in both directions: what it is told of our state, and the sockets it hands us.
//!
//! | file | says | kind |
//! |---|---|---|
//! | [`notify`] | our state, told by sd_notify(3) | shell |
//! | [`heart`] | when we say that we live, and when we keep silent so that we are started anew | shell around a pure [`heart::Rhythm`] |
//! | [`sockets`] | listening sockets that were passed by sd_listen_fds(3), and which listener takes which | shell around pure claims |
//!
//! Where nobody started us in that way, nothing is told and nothing passed. It does not know what a relay is: [`heart::Pulse`] is
//! felt where [`crate::relay`] lends it.

pub mod heart;
pub mod notify;
pub mod sockets;
