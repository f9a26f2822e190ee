//! `explain`: which rules govern a request.

use crate::program::{data, file_of, run};

#[test]
fn a_rule_with_a_unit_says_what_the_request_costs() {
    let (_folder, path) = file_of(
        "[[rule]]\nname = 'a'\nkey = 'peer_ip'\nquotas = ['50/minute']\napplies_to = 'every_request'\nunit = 'points'\n\
         cost = 'header:x-points | 5'\n",
    );
    let explain = |more: &[&str]| run(&[&["explain", "--rules", &path, "GET /x"], more].concat()).stdout;
    let missing = explain(&[]);
    assert!(missing.contains("governs it: 50 points/minute\n") && missing.contains("it costs 5 points"), "{missing}");
    assert!(missing.contains("(an address is named with --peer)"), "{missing}");
    let found = explain(&["--peer", "192.0.2.1", "-H", "x-points: 7"]);
    assert!(found.contains("by peer_ip: 192.0.2.1\n  it costs 7 points\n"), "{found}");
}

#[test]
fn rules_that_govern_come_first_and_the_others_say_why_not() {
    let rules = data("rules.toml");
    let run = run(&["explain", "--rules", &rules, "POST /bots/7/export?x=1", "--peer", "192.0.2.1"]);
    let expected = "POST /bots/7/export?x=1\n\n\
                    rule \"bots\" governs it: 20/minute, 300/hour\n  by path:botId: 7\n\n\
                    rule \"clients\" governs it: 5/10s, shadow\n  by peer_ip: 192.0.2.1\n\n\
                    rule \"idle\" does not:\n  no route of it is that of POST /bots/7/export\n";
    assert_eq!((run.code, &*run.stdout), (0, expected));
}

#[test]
fn header_fields_and_claims_belong_to_the_request() {
    let (_folder, path) = file_of(
        "[[rule]]\nname = 'a'\nkey = ['claim:account', 'header:x-app']\nquotas = ['1/s']\nwhen_header = { x-plan = 'beta' }\n",
    );
    let arguments = ["explain", "--rules", &path, "/x", "-H", "x-app: shop", "-H", "X-Plan: beta"];
    let with_claim = run(&[&arguments[..], &["--source", "claim:account=acme"]].concat());
    assert!(with_claim.stdout.contains("by claim:account + header:x-app: acme + shop"), "{}", with_claim.stdout);
    let without = run(&arguments);
    assert!(without.stdout.contains("which the request does not carry: it shares one history"), "{}", without.stdout);
    let other = run(&arguments[..6]);
    assert!(other.stdout.contains("No rule governs it."), "{}", other.stdout);
    assert!(other.stdout.contains("the header field x-plan is missing, and has to be \"beta\""), "{}", other.stdout);
}

#[test]
fn what_is_no_request_is_refused() {
    let rules = data("rules.toml");
    for wrong in
        [&["GET"][..], &["G(T /x"], &["GET /x", "-H", "x"], &["GET /x", "--peer", "host"], &["GET /x", "--source", "a"]]
    {
        let run = run(&[&["explain", "--rules", &rules], wrong].concat());
        assert_eq!(run.code, 64, "{wrong:?}: {}", run.stdout);
    }
}
