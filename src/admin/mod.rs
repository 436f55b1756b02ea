//! What an operator asks the relay over HTTP.

pub mod page;
