//! What *seal* promises: every signature verifies wherever the message goes, and nothing else does.

mod arc;
mod dkim;
mod examine;
mod rfc8463;
mod rules;
pub mod support;
