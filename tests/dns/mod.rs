//! The room *dns*.

mod authority;
#[cfg(feature = "dns-providers")]
mod provider;
mod records;
