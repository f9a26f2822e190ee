#![no_main]

#[path = "../../tests/fuzz/answers.rs"]
mod answers;
#[allow(dead_code, reason = "not every target takes its bytes apart")]
#[path = "../../tests/fuzz/input.rs"]
mod input;

libfuzzer_sys::fuzz_target!(|data: &[u8]| answers::check(data));
