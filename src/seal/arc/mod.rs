//! ARC (RFC 8617): a set of three fields that says what was seen of a message here. Pure.
//!
//! The RFC is being made Historic. This folder, its use in `seal::plan` and `seal::make`, and two kinds of fields are all that knows
//! of it.

pub mod chain;
pub mod set;
pub mod validate;

pub use chain::{Chain, ChainFault, ChainStatus};
pub use validate::Validated;
