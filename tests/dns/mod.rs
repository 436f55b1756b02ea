//! The room *dns*.

mod authority;
