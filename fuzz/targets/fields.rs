#![no_main]

#[path = "../../tests/fuzz/fields.rs"]
mod fields;
#[allow(dead_code, reason = "not every target takes its bytes apart")]
#[path = "../../tests/fuzz/input.rs"]
mod input;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fields::check(data));
