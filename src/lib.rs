//! postseal: an outbound mail relay that makes what an application sends acceptable to Gmail, Yahoo and Outlook.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod cli;
pub mod clock;
pub mod config;
pub mod deliver;
pub mod dns;
pub mod events;
pub mod ingress;
pub mod keys;
pub mod mail;
pub mod normalise;
pub mod policy;
pub mod prepare;
pub mod readdress;
pub mod relay;
pub mod seal;
pub mod smtp;
pub mod spool;
pub mod verdict;
