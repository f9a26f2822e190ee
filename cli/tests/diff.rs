//! `diff`: what is changed, and who has less.

use crate::program::{file_of, run};

const OLD: &str = "[[rule]]\nname = 'a'\nkey = 'peer_ip'\nquotas = ['60/minute']\nroutes = ['GET /x']\n";

#[test]
fn changes_are_told_and_so_is_who_has_less() {
    let (_old, old) = file_of(OLD);
    let (_new, new) = file_of(&OLD.replace("60/minute", "30/minute").replace("GET /x", "GET /y"));
    let run = run(&["diff", &old, &new]);
    let expected = "Limits:\n  rule \"a\": 60/minute -> 30/minute\nBesides:\n  rule \"a\": routes: +\"GET /y\" -\"GET /x\"\n\
                    Who has less now:\n  rule \"a\": keys without a tier: 60/minute -> 30/minute\n";
    assert_eq!((run.code, &*run.stdout), (0, expected));
}

#[test]
fn more_for_all_is_less_for_nobody() {
    let (_old, old) = file_of(OLD);
    let (_new, new) = file_of(&OLD.replace("60/minute", "90/minute"));
    assert_eq!(
        run(&["diff", &old, &new]).stdout,
        "Limits:\n  rule \"a\": 60/minute -> 90/minute\nNobody has less now.\n"
    );
    assert_eq!(run(&["diff", &old, &old]).stdout, "Nothing is changed.\n");
}

#[test]
fn a_mistake_in_either_file_is_told() {
    let (_old, old) = file_of(OLD);
    let (_new, new) = file_of("[[rule]]");
    for files in [[&old, &new], [&new, &old]] {
        let run = run(&["diff", files[0], files[1]]);
        assert_eq!((run.code, run.stderr.starts_with(&format!("error: {new}: line 1: "))), (1, true), "{}", run.stderr);
    }
}
