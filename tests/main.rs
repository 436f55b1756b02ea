//! Behaviour of each room and of the rooms together: data in, text out.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "a test may stop where it stands")]

mod admin;
mod config;
mod deliver;
mod dns;
mod doctor;
mod events;
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
