//! Who gets in and how, and the real program: life, death and what it keeps.

mod check;
mod commands;
mod credentials;
mod events;
mod explain;
mod identity;
mod inventory;
mod ledger;
mod life;
mod meters;
mod notices;
mod proxy_protocol;
mod tls;
mod watch;
