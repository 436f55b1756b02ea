//! What tests of several rooms share.

pub mod anyone;
pub mod dns;
pub mod http;
pub mod next_hop;
pub mod odd_signatures;
pub mod outlook;
pub mod ports;
pub mod receiver;
pub mod relay_process;
pub mod scrape;
pub mod smtp_client;
pub mod spf_zone;
