//! The properties that are fuzzed (`fuzz/`), with what is kept of the inputs that were found.

mod answers;
mod client_address;
mod fields;
mod input;
mod messages;
mod paths;
mod quotas;
mod rules;
mod status;
mod verdicts;

use std::{fs, path::Path};

/// Checks a property with everything that is kept for it.
fn replay(name: &str, check: fn(&[u8])) {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/fuzz").join(name);
    let files: Vec<_> = fs::read_dir(&kept).unwrap().map(|file| file.unwrap().path()).collect();
    assert!(!files.is_empty(), "nothing is kept for {name}");
    for file in files {
        // Beside a panic, so that it says which input it is about.
        println!("{}", file.display());
        check(&fs::read(&file).unwrap());
    }
}

#[test]
fn a_server_s_answer_is_believed_no_further_than_is_said() {
    replay("answers", answers::check);
}

#[test]
fn a_client_s_address_is_what_trusted_proxies_tell() {
    replay("client_address", client_address::check);
}

#[test]
fn a_key_is_what_was_sent_whatever_else_was() {
    replay("fields", fields::check);
}

#[test]
fn messages_are_counted_however_their_bytes_are_cut() {
    replay("messages", messages::check);
}

#[test]
fn whatever_a_router_routes_is_governed_by_the_rule_of_its_route() {
    replay("paths", paths::check);
}

#[test]
fn a_quota_that_is_printed_is_read_as_the_same() {
    replay("quotas", quotas::check);
}

#[test]
fn a_file_is_read_or_its_mistake_is_named() {
    replay("rules", rules::check);
}

#[test]
fn a_status_is_read_by_others_and_theirs_here() {
    replay("status", status::check);
}

#[test]
fn whatever_a_store_says_callers_are_told_what_they_can_read() {
    replay("verdicts", verdicts::check);
}
