//! Behaviour of each room and of the rooms together: data in, text out.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "a test may stop where it stands")]
#![allow(clippy::format_collect, clippy::struct_excessive_bools, clippy::type_complexity, clippy::unused_async, reason = "what is quickest to read in a test")]

mod admin;
mod config;
mod deliver;
mod dns;
mod doctor;
mod events;
mod fuzz;
mod gauntlet;
mod ingress;
mod keys;
mod migrate;
mod normalise;
mod operate;
mod policy;
mod prepare;
mod readdress;
mod returns;
mod rotation;
mod seal;
mod spool;
mod support;
mod tidy;
mod verdict;
