//! `admin_values`, see `targets/mod.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| postseal_fuzz::run("admin_values", octets));
