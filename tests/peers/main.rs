//! Real peers on loopback.
