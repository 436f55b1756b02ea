//! The spool: the contract that every engine keeps, what the embedded engine adds, and what it does when killed.

mod backup;
mod contract;
mod damage;
mod embedded;
mod kill;
mod random;
mod samples;
