//! The room *dns*.

mod authority;
mod records;
