#![no_main]

#[path = "../../tests/fuzz/client_address.rs"]
mod client_address;
#[allow(dead_code, reason = "not every target takes its bytes apart")]
#[path = "../../tests/fuzz/input.rs"]
mod input;

libfuzzer_sys::fuzz_target!(|data: &[u8]| client_address::check(data));
