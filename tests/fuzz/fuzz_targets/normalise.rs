//! `normalise`, see `targets/mod.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| postseal_fuzz::run("normalise", octets));
