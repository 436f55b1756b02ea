//! The spool: the contract that every engine keeps, what the embedded engine adds, and what it does when killed.

mod backup;
#[macro_use]
mod contract;
mod control;
mod damage;
mod depth;
mod embedded;
mod journal;
mod kill;
mod random;
mod samples;
