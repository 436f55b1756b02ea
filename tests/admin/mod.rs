//! What an operator asks the relay over HTTP.

mod page;
