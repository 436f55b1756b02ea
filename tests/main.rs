//! Behaviour of each room and of the rooms together: data in, text out.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "a test may stop where it stands")]

mod config;
//TMP mod deliver;
mod ingress;
mod normalise;
//TMP mod operate;
mod policy;
mod prepare;
mod readdress;
mod seal;
//TMP mod spool;
mod support;
//TMP mod tidy;
mod verdict;
