//! Every mistake in a configuration is found when the limiter is built, and the error names rule, field and value.

use std::time::Duration;

use http::{HeaderName, StatusCode};
use tower_quota::{
    ConfigError, OnMissing, Policy, Quota, RateLimiter, RateLimiterBuilder, Rule,
    key::{self, ForwardedHeader},
};
use tower_quota_tests::limiter::with_rules;

const MINUTE: Duration = Duration::from_secs(60);
const CENTURY: Duration = Duration::from_secs(36_525 * 24 * 60 * 60);

/// A rule without a mistake.
fn good(name: &str) -> Rule {
    Rule::new(name)
        .routes([format!("GET /{name}/{{id}}")])
        .key(key::path("id"))
        .level("bot")
        .policy(Policy::per_minute(60))
}

/// A rule for every request without a mistake, to make one in.
fn every(name: &str) -> Rule {
    Rule::new(name).every_request().key(key::constant("everybody")).policy(Policy::per_minute(60))
}

/// A rule with these routes and no need of their parameters.
fn routed(routes: &[&str]) -> Rule {
    Rule::new("bad").routes(routes.iter().copied()).key(key::constant("everybody")).policy(Policy::per_minute(60))
}

fn builder(rules: impl IntoIterator<Item = Rule>) -> RateLimiterBuilder {
    with_rules(RateLimiter::builder(), rules)
}

/// What is wrong with rule `bad` between two that are right.
#[track_caller]
fn mistake_of(rule: Rule) -> ConfigError {
    let error = builder([good("one"), rule, good("two")]).build().unwrap_err();
    assert_eq!(error.rule(), Some("bad"), "{error}");
    assert!(error.to_string().starts_with("rule \"bad\": "), "{error}");
    error
}

#[track_caller]
fn assert_error(error: &ConfigError, field: &str, value: &str, reason: &str) {
    let text = error.to_string();
    assert_eq!((error.field(), error.value()), (field, value), "{text}");
    assert!(error.reason().contains(reason), "{text}");
    assert!([field, &value.replace('\n', "\\n"), reason].iter().all(|part| text.contains(part)), "{text}");
    assert_eq!(error.line(), None, "there is no file");
}

#[track_caller]
fn assert_mistake(rule: Rule, field: &str, value: &str, reason: &str) {
    assert_error(&mistake_of(rule), field, value, reason);
}

#[track_caller]
fn assert_policy_mistake(policy: impl Into<Policy>, field: &str, value: &str, reason: &str) {
    assert_mistake(every("bad").policy(policy), field, value, reason);
}

// ---- quotas (B1, B2) ----

#[test]
fn a_quota_of_zero_is_refused() {
    let reason = "at least 1";
    assert_policy_mistake(Policy::per_minute(0), "quota \"minute\": limit", "0", reason);
    assert_policy_mistake(Policy::per_minute(60).and_per_hour(0), "quota \"hour\": limit", "0", reason);
    assert_policy_mistake(Quota::new(0, MINUTE).named("burst"), "quota \"burst\": limit", "0", reason);
}

#[test]
fn a_limit_beyond_48_bits_is_refused() {
    let reason = "at most 281474976710655: write that or less, or leave the quota out";
    for limit in [Quota::MAX_LIMIT + 1, u64::MAX] {
        let text = limit.to_string();
        assert_policy_mistake(Policy::per_minute(limit), "quota \"minute\": limit", &text, reason);
        assert_policy_mistake(Policy::per_minute(60).and_per_day(limit), "quota \"day\": limit", &text, reason);
        let error = format!("{limit}/hour").parse::<Quota>().unwrap_err();
        assert_error(&error, "quota", &format!("\"{limit}/hour\""), reason);
    }
}

#[test]
fn a_window_that_is_too_short_or_too_long_is_refused() {
    for (window, text) in [
        (Duration::ZERO, "0ns"),
        (Duration::from_nanos(1), "1ns"),
        (Duration::from_nanos(999_999), "999.999\u{b5}s"),
        (CENTURY + Duration::from_nanos(1), "3155760000.000000001s"),
        (Duration::MAX, "18446744073709551615.999999999s"),
    ] {
        let policy = Policy::per_minute(60).and(Quota::new(1, window).named("odd"));
        assert_policy_mistake(policy, "quota \"odd\": window", text, "from 1 ms to 100 years");
        // Without a name it has one made of its window, which must not be the mistake that is found.
        let error = mistake_of(every("bad").policy(Quota::new(1, window)));
        assert!(error.field().ends_with(": window"), "{error}");
        assert_eq!(error.value(), text);
    }
    assert_policy_mistake(Policy::per_minute(1).spaced_by(Duration::ZERO), "quota \"spacing\": window", "0ns", "1 ms");
}

#[test]
fn the_outermost_limits_and_windows_build_and_decide() {
    for quota in [
        Quota::new(1, Duration::from_millis(1)),
        Quota::new(Quota::MAX_LIMIT, Duration::from_millis(1)),
        Quota::new(1, CENTURY),
        Quota::new(Quota::MAX_LIMIT, CENTURY),
        Quota::new(7, Duration::from_nanos(1_000_001)),
    ] {
        for resolution in [16, 4_096, 65_536] {
            let policy = Policy::new(quota.clone()).resolution(resolution);
            let limiter = builder([every("calls").policy(policy)]).build().unwrap();
            for _ in 0..3 {
                let decision = limiter.rule("calls").unwrap().check("everybody");
                let wait = decision.retry_after().unwrap_or_default();
                assert!(wait <= quota.window() + Duration::from_millis(2), "{quota}: {wait:?}");
            }
        }
    }
}

#[test]
fn a_policy_has_one_to_sixteen_quotas() {
    let quotas = |count: u64| (1..=count).map(|millis| Quota::new(1, Duration::from_millis(millis)));
    assert_policy_mistake(Policy::from_iter([]), "quotas", "[]", "at least one quota");
    assert_policy_mistake(Policy::from_iter(quotas(17)), "quotas", "17", "at most 16 quotas");
    assert!(builder([every("calls").policy(Policy::from_iter(quotas(16)))]).build().is_ok());
}

#[test]
fn a_resolution_out_of_range_is_refused() {
    for resolution in [0, 15, 65_537, u32::MAX] {
        let policy = Policy::per_minute(60).resolution(resolution);
        assert_policy_mistake(policy, "resolution", &resolution.to_string(), "from 16 to 65536");
    }
}

#[test]
fn two_quotas_of_one_name_are_refused_ignoring_case() {
    let hour = |name: &'static str| Quota::per_hour(5).named(name);
    let reason = "has this name already";
    let both = "two quotas for this window: keep that of 5, or name one, as in";
    assert_policy_mistake(Policy::per_minute(60).and_per_minute(5), "quota name", "\"minute\"", both);
    assert_policy_mistake(Policy::per_minute(60).and(hour("MINUTE")), "quota name", "\"MINUTE\"", reason);
    assert_policy_mistake(Policy::new(hour("Burst")).and(hour("bUrst")), "quota name", "\"bUrst\"", reason);
    assert_policy_mistake(Policy::per_hour(60).and(Quota::new(5, 60 * MINUTE)), "quota name", "\"hour\"", both);
}

/// In header fields a quota is called by its rule and its name: `rule/name`.
#[test]
fn two_quotas_of_different_rules_that_would_have_one_name_on_the_wire_are_refused() {
    let inner = every("A/b").policy(Quota::per_minute(1).named("c"));
    let outer = every("a").policy(Quota::per_minute(1).named("B/C"));
    let error = builder([inner, outer]).build().unwrap_err();
    assert_eq!(error.rule(), Some("a"));
    assert_error(&error, "quota name", "\"a/B/C\"", "rule \"A/b\"");
}

// ---- names ----

const NO_NAMES: [(&str, &str); 9] = [
    ("", r#""""#),
    ("\u{e9}", "\"\u{e9}\""),
    ("a b", r#""a b""#),
    (" a", r#"" a""#),
    ("a\"b", r#""a\"b""#),
    ("a\\b", r#""a\\b""#),
    ("a\nb", r#""a\nb""#),
    ("a\tb", r#""a\tb""#),
    ("a\u{7f}", r#""a\u{7f}""#),
];

/// F42: a name goes into header fields and JSON.
#[test]
fn names_outside_visible_ascii_are_refused() {
    for (name, shown) in NO_NAMES {
        let error = builder([good("one"), every(name)]).build().unwrap_err();
        assert_eq!(error.rule(), Some(name));
        assert_error(&error, "name", shown, "visible ASCII");
        assert_mistake(every("bad").key(key::constant("everybody")).level(name), "level", shown, "visible ASCII");
        assert_policy_mistake(Quota::per_minute(1).named(name), "quota name", shown, "visible ASCII");
    }
}

#[test]
fn two_rules_of_one_name_are_refused_ignoring_case() {
    for (name, twin) in [("calls", "calls"), ("calls", "CALLS"), ("Data.Tables", "data.tableS")] {
        let error = builder([good(name), every("other"), good(twin)]).build().unwrap_err();
        assert_eq!(error.rule(), Some(twin));
        assert_error(&error, "name", &format!("\"{twin}\""), &format!("rule \"{name}\" has this name already"));
    }
}

#[test]
fn a_rule_that_is_asked_for_and_not_there_is_named() {
    let limiter = builder([good("one")]).build().unwrap();
    for error in [limiter.rule("two").unwrap_err(), limiter.check_all([("one", "x"), ("two", "x")]).unwrap_err()] {
        assert_eq!((error.name(), &*error.to_string()), ("two", "no rule is named \"two\": the rules are \"one\""));
    }
    assert!(limiter.is_empty(), "nothing is charged for half a question");
    assert!(limiter.rule("ONE").is_ok(), "names are compared ignoring case");
}

// ---- what a rule lacks ----

#[test]
fn a_rule_without_routes_is_refused() {
    let rule = || Rule::new("bad").key(key::constant("everybody")).policy(Policy::per_minute(60));
    assert_mistake(rule(), "routes", "[]", "write .routes([\"POST /bots/{id}\"])");
    assert_mistake(rule().routes([""; 0]), "routes", "[]", "write .routes([\"POST /bots/{id}\"])");
    assert_mistake(rule().group(key::constant("key"), [""; 0]), "routes", "[]", "write .routes([\"POST /bots/{id}\"])");
}

#[test]
fn a_rule_without_a_policy_is_refused() {
    assert_mistake(
        Rule::new("bad").routes(["/x"]).key(key::constant("all")).level("everybody"),
        "policy",
        "",
        "write .policy(",
    );
}

#[test]
fn a_rule_without_a_key_is_refused() {
    let rule = || Rule::new("bad").policy(Policy::per_minute(60));
    let reason = "has no key to count by: write .key(";
    assert_mistake(rule().routes(["/x"]), "key", "", reason);
    assert_mistake(rule().every_request(), "key", "", reason);
    assert_mistake(rule().unmatched_requests(), "key", "", reason);
    // Other routes having an extractor does not help those that have none.
    let half = rule().routes(["/x"]).group(key::header("x-id"), ["/y"]);
    assert_mistake(half, "key", "", reason);
}

#[test]
fn a_rule_for_every_request_or_unmatched_ones_has_no_routes() {
    let reason = "has no routes of its own";
    assert_mistake(routed(&["GET /x"]).every_request(), "route", "\"GET /x\"", reason);
    assert_mistake(routed(&["GET /x"]).no_requests(), "route", "\"GET /x\"", reason);
    assert_mistake(routed(&["GET /x"]).unmatched_requests(), "route", "\"GET /x\"", reason);
    assert_mistake(every("bad").group(key::constant("key"), ["/y"]), "route", "\"/y\"", reason);
}

#[test]
fn a_rejection_has_a_status_of_an_error() {
    for status in [StatusCode::CONTINUE, StatusCode::OK, StatusCode::FOUND, StatusCode::from_u16(600).unwrap()] {
        let rule = every("bad").on_missing(OnMissing::Reject(status));
        assert_mistake(rule, "on_missing", &status.to_string(), "from 400 to 599");
    }
}

// ---- routes ----

#[test]
fn a_route_that_is_none_is_refused() {
    for (route, reason) in [
        ("", "begins with /"),
        ("GET", "begins with /"),
        ("x", "begins with /"),
        ("GET x", "begins with /"),
        ("/a b", "begins with /"),
        ("https://example.com/x", "begins with /"),
        ("get /x", "capital letters"),
        ("GET,POST /x", "capital letters"),
        ("GET| /x", "capital letters"),
        ("HEAD /x", "write GET"),
        ("GET|HEAD /x", "write GET"),
        ("/{}", "has a name"),
        ("/{a", "not closed"),
        ("/a}", "unpaired"),
        ("/{a}/{a}", "occurs twice"),
        ("/{a}{b}", "one parameter"),
        ("/{a}-b", "one parameter"),
        ("/{*a}/b", "end of a route"),
    ] {
        let error = mistake_of(routed(&["/fine", route]));
        assert_eq!((error.field(), error.value()), ("route", &*format!("\"{route}\"")), "{error}");
        assert!(error.reason().to_lowercase().contains(&reason.to_lowercase()), "{error}");
    }
}

/// A path never holds a `?` or a `#`: such a route would govern nothing, and nobody would notice.
#[test]
fn a_route_with_a_query_or_a_fragment_is_refused() {
    for route in ["GET /cases?accountId={id}", "/cases?", "/cases#top"] {
        let error = mistake_of(routed(&["/fine", route]));
        assert_eq!((error.field(), error.value()), ("route", &*format!("\"{route}\"")), "{error}");
    }
}

/// `%7B` is a brace of the path and not of the template.
#[test]
fn an_encoded_brace_is_no_parameter() {
    let limiter = builder([routed(&["/a/%7Bx%7D"])]).build();
    let governed = limiter.map(|limiter| {
        ["/a/other", "/a/%7Bx%7D", "/a/{x}"].map(|path| {
            let request = http::Request::builder().uri(path).body(()).unwrap();
            limiter.matching(&tower_quota::http::RequestView::new(&request)).len()
        })
    });
    match governed {
        Ok(governed) => assert_eq!(governed, [0, 1, 1]),
        Err(error) => assert_eq!((error.field(), error.value()), ("route", "\"/a/%7Bx%7D\"")),
    }
}

#[test]
fn a_route_that_stands_twice_in_a_rule_is_refused() {
    for (first, second) in [
        ("GET /x", "GET /x"),
        ("/x", "ANY /x/"),
        ("GET|POST /x", "POST|PUT /x"),
        ("GET /a/{x}", "GET /a/{y}"),
        ("GET /x", "GET //%78/"),
        ("/{*x}", "* /{*y}"),
    ] {
        let (value, reason) = (format!("\"{second}\""), format!("has the route already, as \"{first}\""));
        assert_mistake(routed(&[first, "/other", second]), "route", &value, &reason);
        assert_mistake(routed(&[first]).group(key::constant("key"), [second]), "route", &value, &reason);
    }
    let different = ["GET /x", "POST /x", "/x/{y}", "GET /a/{x}", "GET /a/{x}/b", "GET /a/b"];
    assert!(builder([routed(&different)]).build().is_ok());
}

#[test]
fn templates_that_conflict_are_refused_and_both_are_named() {
    for (first, second) in [
        ("GET /a/{x}", "GET /a/{*rest}"),
        ("/a/{x}", "POST /a/{*rest}"),
        ("GET|PUT /{one}/{two}", "PUT /{*all}"),
        ("GET /a/{x}/b", "GET /a/{*rest}"),
        ("GET /a/{*rest}", "GET /a/{x}/b"),
        ("/{x}", "/{*rest}"),
    ] {
        let rules = [good("one"), routed(&[first]), good("two"), every("last")];
        let error = builder(rules)
            .rule(Rule::new("late").routes([second]).key(key::constant("all")).policy(Policy::per_minute(1)))
            .build();
        let Err(error) = error else {
            eprintln!("NOCONFLICT {first} {second}");
            continue;
        };
        assert_eq!(error.rule(), Some("late"), "{error}");
        assert_error(&error, "route", &format!("\"{second}\""), &format!("conflicts with the route \"{first}\""));
    }
    let error = mistake_of(routed(&["GET /a/{x}", "GET /a/{*rest}"]));
    assert_error(&error, "route", "\"GET /a/{*rest}\"", "conflicts with the route \"GET /a/{x}\"");
}

// ---- keys ----

#[test]
fn a_path_parameter_that_the_template_lacks_is_refused() {
    let rule = || Rule::new("bad").policy(Policy::per_minute(60));
    let (value, reason) = ("\"path:botId\"", "no parameter of this name (route \"POST /bots/{id}/run\")");
    let routes = ["POST /bots/{botId}/export", "POST /bots/{id}/run"];
    assert_mistake(rule().routes(routes).key(key::path("botId")).level("bot"), "key", value, reason);
    let pair = (key::header("x-account"), key::path("botId"));
    assert_mistake(rule().routes(routes).key(pair).level("bot"), "key", value, reason);
    let elsewhere = rule().routes(["/x"]).key(key::constant("all")).group(key::path("botId"), [routes[1]]);
    assert_mistake(elsewhere, "key", value, reason);
    assert_mistake(rule().routes(["/bots/{botid}"]).key(key::path("botId")).level("bot"), "key", value, "no parameter");
    assert_mistake(
        rule().routes(["/{*rest}"]).key(key::path("*rest")).level("rest"),
        "key",
        "\"path:*rest\"",
        "write \"path:rest\"",
    );
    let places = key::first_of((key::path("botId"), key::path("streamId")));
    assert_mistake(rule().routes(["/x/{id}"]).key(places).level("bot"), "key", value, "no parameter");
}

#[test]
fn among_several_parameters_one_that_the_template_has_is_enough() {
    let places = || key::first_of((key::path("botId"), key::path("id")));
    for route in ["/bots/{botId}", "/bots/{id}"] {
        assert!(builder([every("other"), routed(&[route]).key(places()).level("bot")]).build().is_ok());
    }
}

#[test]
fn a_text_that_is_not_the_name_of_a_header_is_refused() {
    for name in ["", "x y", "x:", "\u{e9}", "x\n"] {
        let value = format!("\"header:{name}\"");
        assert_mistake(every("bad").key(key::header(name)).level("account"), "key", &value, "not the name of a header");
        assert_mistake(
            routed(&["/x/{id}"]).key((key::path("id"), key::header(name))).level("account"),
            "key",
            &value,
            "name",
        );
        let places = key::first_of([key::header(name), key::header(name)]);
        assert_mistake(every("bad").key(places).level("account"), "key", &value, "not the name of a header");
    }
}

/// A place that can never have the key is a slip of the pen, also beside one that can.
#[test]
fn a_bad_header_name_is_refused_beside_good_alternatives_too() {
    let places = key::first_of((key::header("x account"), key::query("accountId")));
    assert_mistake(
        every("bad").key(places).level("account"),
        "key",
        "\"header:x account\"",
        "not the name of a header",
    );
}

/// P8: nor is believing everybody made good by a second place.
#[test]
fn networks_are_checked_beside_good_alternatives_too() {
    for (network, reason) in [("10.0.0.0/33", "not a network"), ("0.0.0.0/0", "every client chooses its key")] {
        let places = key::first_of((key::client_ip().trust([network]), key::constant("nobody")));
        let value = format!("\"{network}\"");
        assert_mistake(every("bad").key(places).level("client"), "client_ip.trust", &value, reason);
    }
}

#[test]
fn a_text_that_is_not_a_network_is_refused() {
    for network in ["", "10.0.0.0/33", "10.0.0.1/8", "10.0.0", "010.0.0.0/8", "::/129", "proxy.example", "10.0.0.0/"] {
        let rule = every("bad").key(key::client_ip().trust(["192.0.2.0/24", network])).level("client");
        assert_mistake(rule, "client_ip.trust", &format!("\"{network}\""), "");
    }
    for everybody in ["0.0.0.0/0", "::/0"] {
        let rule = every("bad").key(key::client_ip().trust([everybody])).level("client");
        assert_mistake(rule, "client_ip.trust", &format!("\"{everybody}\""), "every client chooses its key");
    }
}

#[test]
fn the_other_settings_of_a_client_address_are_checked_as_well() {
    for bits in [0, 31, 129, 255] {
        let rule = every("bad").key(key::client_ip().ipv6_prefix(bits)).level("client");
        assert_mistake(rule, "client_ip.ipv6_prefix", &bits.to_string(), "32 to 128");
    }
    for name in ["forwarded", "x-forwarded-for"] {
        let single = ForwardedHeader::Single(HeaderName::from_static(name));
        let rule = every("bad").key(key::client_ip().header(single)).level("client");
        assert_mistake(rule, "client_ip.header", &format!("\"{name}\""), "a list of addresses");
    }
}

// ---- the limiter ----

#[test]
fn a_limiter_without_rules_is_refused() {
    assert_error(&RateLimiter::builder().build().unwrap_err(), "rules", "[]", "at least one rule");
}

#[test]
fn a_limiter_without_room_for_a_key_is_refused() {
    let error = builder([good("one")]).max_keys(0).build().unwrap_err();
    assert_eq!(error.rule(), None);
    assert_error(&error, "max_keys", "0", "at least one history");
    assert!(builder([good("one")]).max_keys(1).build().is_ok());
    assert!(builder([good("one")]).max_keys(usize::MAX).build().is_ok());
}

#[test]
fn two_rules_for_the_unmatched_requests_are_refused() {
    let unmatched =
        |name: &str| Rule::new(name).unmatched_requests().key(key::constant("all")).policy(Policy::per_minute(1));
    let error = builder([unmatched("first"), good("one"), unmatched("bad")]).build().unwrap_err();
    assert_eq!(error.rule(), Some("bad"));
    assert_error(&error, "unmatched_requests", "", "rule \"first\" is for the unmatched requests already");
    assert!(builder([every("first"), every("second"), unmatched("third")]).build().is_ok());
}

#[test]
fn a_message_with_an_unknown_place_is_refused() {
    for (message, reason) in [
        ("wait {seconds}", "{seconds} is unknown"),
        ("{Limit}", "{Limit} is unknown"),
        ("{ limit }", "{ limit } is unknown"),
        ("{}", "{} is unknown"),
        ("{limit", "stands alone"),
        ("limit}", "stands alone"),
        ("{{{limit}}", "stands alone"),
    ] {
        let error = builder([good("one")]).message(message).build().unwrap_err();
        assert_eq!(error.rule(), None);
        assert_error(&error, "message", &format!("{message:?}"), reason);
    }
    for message in ["", "{{}}", "{rule}{level}{quota}{limit}{window}{retry_after}", "\u{2603}"] {
        assert!(builder([good("one")]).message(message).build().is_ok(), "{message}");
    }
}

/// Each mistake in code, and what is said of it: what is wrong, where, and what to write in its place.
#[test]
fn a_mistake_is_told_with_what_to_write() {
    let rule = || Rule::new("bad").policy(Policy::per_minute(60));
    let spaced = Policy::per_second(5).spaced_by(Duration::from_millis(200));
    #[rustfmt::skip]
    let mistakes = [
        (rule().every_request(), r#"key: the rule has no key to count by: write .key(key::header("x-account")), or another extractor"#),
        (rule().every_request().key(tower_quota::key::constant("all")).level("a b"), r#"level "a b": a name is one or more visible ASCII characters without spaces, " and \: write one such as "a-b""#),
        (rule().key(tower_quota::key::constant("all")), r#"routes []: the rule governs no request: write .routes(["POST /bots/{id}"]), .every_request(), a condition such as .paths_under(["/bots"]), or .no_requests() if it is only asked by name"#),
        (Rule::new("bad").every_request().key(tower_quota::key::constant("all")), "policy: the rule has no policy: write .policy(Policy::per_minute(60))"),
        (every("bad").per_route(), "per_route true: a rule without routes has one history per key: leave it out"),
        (every("bad").routes(["/x"]), r#"route "/x": a rule for every request, for unmatched ones or for none has no routes of its own: leave out the one or the other"#),
        (routed(&["/x"]).group(tower_quota::key::constant("k"), [""; 0]), r#"routes []: a group has at least one route: write .group(key::query("botId"), ["POST /bots/import"])"#),
        (routed(&["/x", "ANY /x"]), r#"route "ANY /x": this rule has the route already, as "/x": leave one of them out"#),
        (every("bad").on_missing(OnMissing::Reject(StatusCode::OK)), "on_missing 200 OK: a rejection has a status from 400 to 599: write one such as OnMissing::Reject(StatusCode::UNAUTHORIZED)"),
        (every("bad").policy(Policy::per_minute(0)), r#"quota "minute": limit 0: a quota admits at least 1: write 1 or more"#),
        (every("bad").policy(Quota::new(1, Duration::ZERO)), r#"quota "0s": window 0ns: a window is from 1 ms to 100 years: write one such as 1s or 1day"#),
        (every("bad").policy(Policy::per_minute(60).and_per_minute(5)), r#"quota name "minute": there are two quotas for this window: keep that of 5, or name one, as in "slow=5/minute""#),
        (every("bad").policy(Policy::per_minute(60).and(Quota::per_hour(5).named("MINUTE"))), r#"quota name "MINUTE": 60/minute has this name already (names are compared ignoring case): name one otherwise"#),
        (every("bad").policy(spaced.clone().spaced_by(MINUTE)), r#"quota name "spacing": the policy is spaced twice (spaced_by and spread_evenly): keep the longer spacing"#),
        (every("bad").policy(spaced.spread_evenly()), r#"quota name "spacing": the policy is spaced twice (spaced_by and spread_evenly): keep the longer spacing"#),
        (every("bad").policy(Policy::from_iter([])), "quotas []: a policy has at least one quota: write one such as 60/minute"),
        (every("bad").policy(Policy::per_minute(60).resolution(1)), "resolution 1: a resolution is from 16 to 65536: leave it out for 4096"),
    ];
    for (rule, message) in mistakes {
        assert_eq!(mistake_of(rule).to_string(), format!("rule \"bad\": {message}"));
    }
    for (builder, message) in [
        (builder([]), r#"rules []: a limiter has at least one rule: add one with .rule(Rule::new("calls"))"#),
        (
            builder([good("one")]).max_keys(0),
            "max_keys 0: a limiter keeps at least one history: write a number such as 1000000",
        ),
        (
            builder([good("one")]).message("{limits}"),
            r#"message "{limits}": {limits} is unknown: write {limit}, or {{limits}} for the braces themselves"#,
        ),
    ] {
        assert_eq!(builder.build().unwrap_err().to_string(), message);
    }
}

/// A name may come from a file or a caller: a log shows it on one line, in the order in which it is written.
#[test]
fn invisible_characters_are_shown_by_their_numbers() {
    let name = "a\nb\u{1b}[31m\u{202e}c\u{2028}";
    let shown = r#"a\nb\u{1b}[31m\u{202e}c\u{2028}"#;
    let error = builder([every(name)]).build().unwrap_err();
    assert!(error.to_string().starts_with(&format!("rule \"{shown}\": name \"{shown}\": ")), "{error}");
    assert_eq!(error.rule(), Some(name), "a program reads it as it is");
    let unknown = builder([good("one")]).build().unwrap().rule(name).unwrap_err();
    assert_eq!(unknown.to_string(), format!("no rule is named \"{shown}\": the rules are \"one\""));
    let error = name.parse::<Quota>().unwrap_err();
    assert!(error.to_string().starts_with(&format!("quota \"{shown}\": ")), "{error}");
    assert!(error.to_string().len() < 200 + name.len() * 8);
    assert!("x".repeat(100_000).parse::<Quota>().unwrap_err().to_string().len() < 1_000);
}

#[test]
fn an_unknown_rule_is_answered_with_the_names_most_like_it() {
    let names = ["tables", "bots", "exports", "boot", "imports", "search", "robots"];
    let limiter = builder(names.map(good)).build().unwrap();
    assert_eq!(
        limiter.rule("bot").unwrap_err().to_string(),
        r#"no rule is named "bot": the rules are "bots", "boot", "robots", "tables", "exports" and 2 more"#
    );
}

#[test]
fn a_thousand_rules_are_found_by_their_names_ignoring_case() {
    let limiter = builder((0..1_000).map(|number| every(&format!("Rule{number}")))).build().unwrap();
    for name in ["Rule0", "rule999", "RULE500"] {
        assert!(limiter.rule(name).unwrap().check("x").is_admitted());
    }
    assert!(limiter.rule("rule1000").is_err());
}

#[test]
fn the_first_mistake_is_the_one_reported() {
    let error =
        builder([good("one"), every("bad").policy(Policy::per_minute(0)), every("worse").policy(Policy::per_hour(0))])
            .build()
            .unwrap_err();
    assert_eq!(error.rule(), Some("bad"));
}

#[test]
fn an_error_prints_rule_field_value_and_reason_in_one_line() {
    let error = builder([every("calls").policy(Policy::per_minute(0))]).build().unwrap_err();
    assert_eq!(
        error.to_string(),
        "rule \"calls\": quota \"minute\": limit 0: a quota admits at least 1: write 1 or more"
    );
    let error: Box<dyn std::error::Error + Send + Sync> = error.into();
    assert!(error.source().is_none());
}

// ---- texts ----

#[test]
fn texts_of_quotas_are_checked_where_they_are_read() {
    for text in [
        "",
        "60",
        "0/minute",
        "-1/minute",
        "1.5/minute",
        "60/",
        "/minute",
        "60/fortnight",
        "281474976710656/hour",
        "1/0s",
    ] {
        let error = text.parse::<Quota>().unwrap_err();
        assert_error(&error, "quota", &format!("\"{text}\""), "");
        let error = format!("1/second, {text}").parse::<Policy>().unwrap_err();
        assert_error(&error, "quota", &format!("\"{text}\""), "");
    }
    let twins = "60/minute, 5/60s".parse::<Policy>();
    let error = twins.map(|policy| mistake_of(every("bad").policy(policy))).unwrap();
    assert_error(&error, "quota name", "\"minute\"", "two quotas for this window: keep that of 5, or name one");
}
