//! Keys that come and go: when each step is due, and what becomes of a domain that is driven through them, killed, lied to and left alone.

mod drive;
mod lifecycle;
mod months;
mod world;
