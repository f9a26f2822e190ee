#![no_main]
#![allow(dead_code, unused_imports, reason = "the command line has more use for these modules than the property")]

#[path = "../../cli/src/failure.rs"]
mod failure;
#[path = "../../cli/src/fuzzing.rs"]
mod fuzzing;
#[path = "../../cli/src/log/mod.rs"]
mod log;
#[path = "../../cli/src/replay"]
mod replay {
    mod peer;
    mod request_builder;

    pub(crate) use peer::parse_peer;
    pub(crate) use request_builder::RequestBuilder;
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzing::check(data));
