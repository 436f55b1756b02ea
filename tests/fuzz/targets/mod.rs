//! One function for each parser of octets from outside: it takes any octets and panics where a promise is broken.
//!
//! They are run twice over: by libFuzzer, instrumented (`tests/fuzz/run`), and by the tests, with the corpora and seeded mutations of them
//! (`tests/fuzz/mod.rs`). The promises are those that the rooms state; where a second, independent way to the same answer exists, the two are
//! held against each other.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "a target stops where it stands")]

mod admin_values;
mod client_dialogue;
mod commands;
mod configuration;
mod dns;
mod draw;
mod foreign;
mod normaliser;
mod notices;
mod proxy;
mod sasl;
mod server_dialogue;
mod token;

/// Every target by name.
pub const ALL: &[(&str, fn(&[u8]))] = &[
    ("smtp_server", server_dialogue::run),
    ("smtp_client", client_dialogue::run),
    ("smtp_replies", client_dialogue::replies),
    ("smtp_command", commands::run),
    ("address", commands::address),
    ("proxy_header", proxy::run),
    ("sasl", sasl::run),
    ("normalise", normaliser::run),
    ("mime", normaliser::structure),
    ("token", token::run),
    ("returned", notices::returned),
    ("dsn", notices::printed),
    ("foreign_seals", foreign::run),
    ("dns_records", dns::records),
    ("dns_replies", dns::replies),
    ("configuration", configuration::run),
    ("admin_values", admin_values::run),
];

/// Runs one target.
///
/// # Panics
/// There is none of that name, or it found something.
pub fn run(name: &str, octets: &[u8]) {
    let (_, target) = ALL.iter().find(|(known, _)| *known == name).expect("a target of that name");
    target(octets);
}
