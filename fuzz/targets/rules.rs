#![no_main]

#[path = "../../tests/fuzz/rules.rs"]
mod rules;

libfuzzer_sys::fuzz_target!(|data: &[u8]| rules::check(data));
