//! `proxy_header`, see `targets/mod.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| postseal_fuzz::run("proxy_header", octets));
