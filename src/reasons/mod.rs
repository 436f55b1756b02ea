//! What a reply means: a table of rules, read from the top, from what was said to a [`Reason`](crate::mail::Reason).
//!
//! | file | says |
//! |---|---|
//! | [`table`] | rules, providers, and which rule fits |
//! | [`phrase`] | patterns over words, in time linear in the text |
//! | [`file`](mod@file) | how `config/reasons.toml` is read |
//!
//! Pure, and beside the journey: *deliver* asks it about replies it receives, *returns* about those that notices report, so that an
//! application sees one vocabulary. No rule goes by an enhanced code alone: large receivers use them against their registered meaning
//! (Gmail's x.7.27, x.7.29 and x.7.30), so provider, basic code, enhanced code and text are looked at together, and whether waiting
//! helps is read from the first digit of the basic code (RFC 5321 §4.2.1).

pub mod file;
pub mod phrase;
pub mod table;

pub use file::{BUILT_IN, Fault};
pub use table::{Judgement, Said, Table};
