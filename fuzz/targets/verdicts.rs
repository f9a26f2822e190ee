#![no_main]

#[allow(dead_code, reason = "not every target takes its bytes apart")]
#[path = "../../tests/fuzz/input.rs"]
mod input;
#[path = "../../tests/fuzz/verdicts.rs"]
mod verdicts;

libfuzzer_sys::fuzz_target!(|data: &[u8]| verdicts::check(data));
