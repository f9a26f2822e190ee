#![no_main]

#[path = "../../tests/fuzz/quotas.rs"]
mod quotas;

libfuzzer_sys::fuzz_target!(|data: &[u8]| quotas::check(data));
