//! Who gets in and how, and the real program: life, death and what it keeps.

mod check;
mod commands;
mod credentials;
mod events;
mod explain;
mod handover;
mod hostile_returns;
mod identity;
mod inventory;
mod ledger;
mod life;
mod meters;
mod notices;
mod proxy_protocol;
mod queue;
mod reloads;
mod restored;
mod returns;
mod service;
mod suppression;
mod through;
mod tls;
mod traces;
mod watch;
