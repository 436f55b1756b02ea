//! The spool: the contract that every engine keeps, what the embedded engine adds, and what it does when killed.

mod backup;
#[macro_use]
mod contract;
mod control;
mod damage;
mod depth;
mod embedded;
mod homecoming;
mod journal;
mod kill;
#[path = "../simulation/store.rs"]
#[allow(dead_code, reason = "the simulation uses the rest")]
mod model;
mod random;
mod samples;
mod standing;
mod suppressions;
