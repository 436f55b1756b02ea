//! Who gets in, and how: what an operator sets up.

mod credentials;
mod identity;
mod proxy_protocol;
mod tls;
