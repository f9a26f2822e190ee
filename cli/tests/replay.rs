//! `replay`: logs in every format, and what the rules would have done.

use serde_json::Value;

use crate::program::{data, file_of, run, run_with_input};

/// Replays samples, and returns the figures.
fn figures(arguments: &[&str]) -> Value {
    let rules = data("rules.toml");
    let run = run(&[&["replay", "--json", "--rules", &rules], arguments].concat());
    assert_eq!(run.code, 0, "{arguments:?}: {}", run.stderr);
    serde_json::from_str(&run.stdout).unwrap()
}

/// Returns the figures that are the same whatever the format.
fn rules_of(arguments: &[&str]) -> Value {
    let mut figures = figures(arguments);
    assert_eq!((&figures["requests"], &figures["unreadable"]), (&Value::from(160), &Value::from(0)), "{arguments:?}");
    figures["rules"].take()
}

#[test]
fn the_same_requests_are_the_same_in_every_format() {
    let expected = rules_of(&[&data("combined.log")]);
    assert!(expected[0]["refused"].as_u64().unwrap() > 0 && expected[1]["refused"].as_u64().unwrap() > 0);
    assert_eq!(expected[2]["requests"], 0);
    for name in [
        "common.log",
        "envoy.log",
        "alb.log",
        "cloudfront.log",
        "caddy.json",
        "traefik.json",
        "combined.log.gz",
        "combined.log.zst",
    ] {
        assert_eq!(rules_of(&[&data(name)]), expected, "{name}");
    }
    for (name, format) in [
        ("combined.log", "combined"),
        ("combined.log", "common"),
        ("combined.log.gz", "apache=%h %l %u %t \"%r\" %>s"),
        ("combined.log", "nginx=$remote_addr - $remote_user [$time_local] \"$request\" $status"),
        ("nginx.log", "nginx=$msec|$remote_addr|$request_method|$request_uri|$upstream_addr|end"),
        ("envoy.log", "envoy"),
        ("alb.log", "alb"),
        ("cloudfront.log", "w3c"),
        ("caddy.json", "caddy"),
    ] {
        assert_eq!(rules_of(&[&data(name), "--format", format]), expected, "{name} {format}");
    }
    let fields = ["--field", "time=at.ms", "--field", "request=/http.request", "--field", "peer=from"];
    assert_eq!(rules_of(&[&[&*data("custom.json")], &fields[..]].concat()), expected);
}

#[test]
fn several_logs_are_merged_by_time() {
    let text = std::fs::read_to_string(data("combined.log")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..3).map(|part| folder.path().join(part.to_string()).display().to_string()).collect();
    for (part, name) in names.iter().enumerate() {
        let lines = text.lines().skip(part).step_by(3).map(|line| format!("{line}\n"));
        std::fs::write(name, lines.collect::<String>()).unwrap();
    }
    let merged = rules_of(&[&names[2], &names[0], &names[1]]);
    let whole = rules_of(&[&data("combined.log")]);
    // Within a second the order is not known.
    for (merged, whole) in merged.as_array().unwrap().iter().zip(whole.as_array().unwrap()) {
        for field in ["requests", "keys", "quotas"] {
            assert_eq!(merged[field], whole[field], "{field}");
        }
    }
}

#[test]
fn a_log_may_come_from_the_standard_input() {
    let (rules, log) = (data("rules.toml"), std::fs::read(data("combined.log.gz")).unwrap());
    let run = run_with_input(&["replay", "--rules", &rules, "--json", "-"], &log);
    let figures: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(figures["requests"], 160, "{}", run.stderr);
}

#[test]
fn the_figures_of_a_quota_are_those_of_a_limiter_with_that_limit() {
    let quota = &figures(&[&data("combined.log")])["rules"][0]["quotas"][0];
    let refused = |limit: &Value| {
        let text = format!(
            "[[rule]]\nname = 'bots'\nkey = 'path:botId'\nquotas = ['{limit}/minute']\nroutes = ['GET|POST /bots/{{botId}}/export']\n"
        );
        let (_folder, path) = file_of(&text);
        let run = run(&["replay", "--rules", &path, "--json", &data("combined.log")]);
        let figures: Value = serde_json::from_str(&run.stdout).unwrap();
        (figures["rules"][0]["refused"].clone(), figures["rules"][0]["keys_refused"].clone())
    };
    let candidates = quota["candidates"].as_array().unwrap();
    assert!(candidates.len() >= 8, "{candidates:?}");
    for candidate in candidates {
        assert_eq!(
            refused(&candidate["limit"]),
            (candidate["refused"].clone(), candidate["keys"].clone()),
            "{candidate}"
        );
    }
    let peak = quota["smallest_that_refuses_nobody"].as_u64().unwrap();
    assert_eq!(refused(&peak.into()).0, 0);
    assert_ne!(refused(&(peak - 1).into()).0, 0);
}

#[test]
fn lines_that_cannot_be_read_are_counted_and_shown() {
    let rules = data("rules.toml");
    let mut log = std::fs::read_to_string(data("combined.log")).unwrap();
    log.push_str("192.0.2.9 - - [29/Feb/2024:00:00:01 +0000] \"\\x16\\x03\\x01\" 400 0 \"-\" \"-\"\ncut o\n\n");
    let arguments = ["replay", "--rules", &rules, "-"];
    let run = run_with_input(&arguments, log.as_bytes());
    assert_eq!(run.code, 0);
    let expected = "-: combined, 163 lines, 2 unreadable\n  -:161: it has no request: 192.0.2.9 - - [29/Feb/2024:00:00:01 +0000] \
                    \"\\x16\\x03\\x01\" 400 0 \"-\" \"-\"\n  -:162: it has another format: cut o\n";
    assert!(run.stdout.starts_with(expected), "{}", run.stdout);
    assert_eq!(run_with_input(&[&arguments[..], &["--strict"]].concat(), log.as_bytes()).code, 3);
    let clean = std::fs::read(data("combined.log")).unwrap();
    assert_eq!(run_with_input(&[&arguments[..], &["--strict"]].concat(), &clean).code, 0);
}

#[test]
fn the_text_has_what_an_operator_asks_for() {
    let run = run(&["replay", "--rules", &data("rules.toml"), &data("combined.log")]);
    for part in [
        "note: times are of whole seconds, so all requests of a second count at its beginning\n",
        "rule bots (20/minute, 300/hour)\n",
        "rule clients (5/10s, shadow)\n",
        "  would be refused",
        "  first refusal    2024-02-29 00:0",
        "  longest stretch  ",
        "  20/minute alone: the smallest limit that refuses nobody is ",
        "  now\n",
        "  the smallest that refuses nobody\n",
        "a b ",
        "2001:db8:1:2::/64 ",
        "\nrule idle (1/second)\n  requests         0\n",
    ] {
        assert!(run.stdout.contains(part), "{part}: {}", run.stdout);
    }
}

#[test]
fn what_a_rule_reads_and_no_log_has_is_told() {
    let (_folder, path) =
        file_of("[[rule]]\nname = 'a'\nkey = 'header:x-account'\nquotas = ['1/s']\nhosts = ['a.b']\n");
    let run = run(&["replay", "--rules", &path, &data("combined.log")]);
    assert!(run.stdout.contains("note: no request has x-account, which a rule reads"), "{}", run.stdout);
    assert!(run.stdout.contains("160 governed by no rule"), "{}", run.stdout);
}

#[test]
fn a_claim_needs_something_of_the_log_that_stands_for_it() {
    let (_folder, path) =
        file_of("[[rule]]\nname = 'a'\nkey = 'claim:account'\nquotas = ['1/s']\napplies_to = 'every_request'\n");
    let log = b"ann 1709164801 GET /x\nbob 1709164801 GET /x\nann 1709164801 GET /x\n";
    let arguments = [
        "replay",
        "--rules",
        &path,
        "-",
        "--json",
        "--format",
        "nginx=$remote_user $msec $request_method $request_uri",
    ];
    let missing = run_with_input(&arguments, log);
    assert_eq!(
        (missing.code, missing.stderr.contains("--source claim:account=field:remote_user")),
        (64, true),
        "{}",
        missing.stderr
    );
    let run = run_with_input(&[&arguments[..], &["--source", "claim:account=field:remote_user"]].concat(), log);
    let figures: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((&figures["rules"][0]["keys"], &figures["rules"][0]["refused"]), (&Value::from(2), &Value::from(1)));
}

#[test]
fn an_address_that_stands_for_a_claim_is_shown_as_text() {
    let (_folder, path) =
        file_of("[[rule]]\nname = 'a'\nkey = 'claim:account'\nquotas = ['1/s']\napplies_to = 'every_request'\n");
    let log = b"192.0.2.1 1709164801 GET /x\n192.0.2.1 1709164801 GET /x\n";
    let format = "nginx=$remote_addr $msec $request_method $request_uri";
    let arguments = ["replay", "--rules", &path, "-", "--format", format, "--source", "claim:account=peer_ip"];
    let run = run_with_input(&arguments, log);
    assert!(run.stdout.contains("192.0.2.1"), "{}", run.stdout);
}

/// A rule with a unit, and a log of Caddy's with two requests that say what they cost and one that does not.
const TOKENS: &str =
    "[[rule]]\nname = 'chat'\nkey = 'peer_ip'\nquotas = ['1000/minute']\napplies_to = 'every_request'\n";
const TOKENS_LOG: &str = r#"{"ts":1709164801.0,"request":{"remote_ip":"192.0.2.1","uri":"/x"},"usage":{"total":600},"size":900}
{"ts":1709164802.0,"request":{"remote_ip":"192.0.2.1","uri":"/x"},"usage":{"total":"399.5"},"size":0}
{"ts":1709164803.0,"request":{"remote_ip":"192.0.2.1","uri":"/x"},"size":101}
"#;

#[test]
fn a_rule_with_a_unit_costs_what_the_log_says() {
    let (_folder, path) = file_of(&format!("{TOKENS}unit = 'tokens'\nreserve = 500\n"));
    let arguments = ["replay", "--rules", &path, "-", "--json"];
    let replay = |more: &[&str]| {
        let run = run_with_input(&[&arguments[..], more].concat(), TOKENS_LOG.as_bytes());
        assert_eq!(run.code, 0, "{}", run.stderr);
        serde_json::from_str::<Value>(&run.stdout).unwrap()
    };
    let figures = replay(&["--cost", "tokens=json:/usage/total"]);
    let rule = &figures["rules"][0];
    let found = ["unit", "units", "units_refused", "refused"].map(|name| rule[name].clone());
    assert_eq!(found, [Value::from("tokens"), 1500.into(), 500.into(), 1.into()]);
    assert_eq!(rule["quotas"][0]["smallest_that_refuses_nobody"], 1500);
    assert_eq!((&rule["limits"], &rule["top_keys"][0]["units"]), (&Value::from("1000 tokens/minute"), &1500.into()));
    let note = "rule \"chat\": requests without tokens at json:/usage/total: 1, which cost what the rule says (500)";
    assert!(figures["notes"].as_array().unwrap().contains(&note.into()), "{}", figures["notes"]);
    let page = std::path::Path::new(&path).with_file_name("report.html").display().to_string();
    replay(&["--cost", "tokens=json:/usage/total", "--html", &page]);
    let page = std::fs::read_to_string(&page).unwrap();
    for part in [
        "limit in tokens per minute",
        "most tokens of one key per minute",
        "<dt>tokens refused</dt>",
        "1000 tokens/minute",
    ] {
        assert!(page.contains(part), "{part}");
    }
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{text}unsettled = 'release'\n")).unwrap();
    assert_eq!(replay(&["--cost", "tokens=json:/usage/total"])["rules"], figures["rules"], "nothing gives units back");
    let estimated = replay(&[]);
    assert_eq!((&estimated["rules"][0]["units"], &estimated["rules"][0]["refused"]), (&1500.into(), &1.into()));
    let notes = estimated["notes"].to_string();
    assert!(notes.contains("requests are charged their estimates (500 tokens); name what the log says"), "{notes}");
}

#[test]
fn bytes_are_those_of_every_format() {
    let (_folder, path) = file_of(&format!("{TOKENS}unit = 'bytes'\ncost = 'content-length | 7'\n"));
    let units = |cost: &str, log: &[u8]| {
        let run = run_with_input(&["replay", "--rules", &path, "-", "--json", "--cost", cost], log);
        assert_eq!(run.code, 0, "{}", run.stderr);
        serde_json::from_str::<Value>(&run.stdout).unwrap()["rules"][0]["units"].clone()
    };
    assert_eq!(units("bytes=response-bytes", TOKENS_LOG.as_bytes()), 1001);
    for (name, sent, received) in
        [("combined.log", 1920, None), ("envoy.log", 1920, Some(0)), ("alb.log", 1920, Some(5440))]
    {
        let log = std::fs::read(data(name)).unwrap();
        assert_eq!(units("bytes=response-bytes", &log), sent, "{name}");
        if let Some(received) = received {
            assert_eq!(units("bytes=request-bytes", &log), received, "{name}");
        }
    }
    let cloudfront = std::fs::read(data("cloudfront.log")).unwrap();
    assert_eq!(units("bytes=response-bytes", &cloudfront), units("bytes=field:sc-bytes", &cloudfront));
}

#[test]
fn a_cost_that_no_rule_or_no_log_has_is_a_mistake() {
    let rules = data("rules.toml");
    let (_folder, path) = file_of(&format!("{TOKENS}unit = 'tokens'\ncost = 5\n"));
    for (rules, log, cost, reason) in [
        (&rules, "caddy.json", "tokens=json:/x", "no rule has this unit; all rules count requests"),
        (&path, "caddy.json", "token=json:/x", "no rule has this unit; units are tokens"),
        (&path, "combined.log", "tokens=json:/x", "are for logs in JSON, and this is combined"),
        (&path, "combined.log", "tokens=query:x", "no source of costs that a log has"),
    ] {
        let run = run(&["replay", "--rules", rules, &data(log), "--cost", cost]);
        assert_eq!((run.code, run.stderr.contains(reason)), (64, true), "{}", run.stderr);
    }
}

#[test]
fn one_line_of_another_year_makes_no_other_late() {
    let mut log = std::fs::read_to_string(data("combined.log")).unwrap();
    let at = log.match_indices('\n').nth(50).unwrap().0 + 1;
    log.insert_str(at, "192.0.2.9 - - [01/Jan/2038:00:00:01 +0000] \"GET /x HTTP/1.1\" 200 5\n");
    let run = run_with_input(&["replay", "--rules", &data("rules.toml"), "-", "--json"], log.as_bytes());
    let mut figures: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((&figures["late"], &figures["unreadable"]), (&0.into(), &1.into()));
    assert_eq!(figures["unreadable_lines"][0]["line"], 52);
    assert_eq!(figures["rules"].take(), rules_of(&[&data("combined.log")]));
}

#[test]
fn a_rule_that_counts_some_outcomes_says_that_it_counts_all_here() {
    let (_folder, path) = file_of(&format!("{TOKENS}count_only = ['failures']\n"));
    let run = run_with_input(&["replay", "--rules", &path, "-"], TOKENS_LOG.as_bytes());
    assert!(run.stdout.contains("note: rule \"chat\": it counts some outcomes alone"), "{}", run.stdout);
}

#[test]
fn a_log_that_is_none_is_refused() {
    let rules = data("rules.toml");
    let run_of = |arguments: &[&str]| run(&[&["replay", "--rules", &rules], arguments].concat());
    assert!(run_of(&[&rules]).stderr.contains("its lines look like no known format"), "it is no log");
    let nginx =
        run_with_input(&["replay", "--rules", &rules, "-"], b"a [29/Feb/2024:00:00:01 +0000] \"GET /x HTTP/1.1\"\n");
    assert!(nginx.stderr.contains("look like common, and are not: name their format"), "{}", nginx.stderr);
    let other = run_of(&[&data("caddy.json"), "--format", "common"]);
    assert_eq!((other.code, other.stdout.contains("note: no line can be read: is this the format?")), (3, true));
    assert_eq!(run_of(&["/nowhere/access.log"]).code, 1);
    assert_eq!(run_of(&[&data("combined.log"), "--format", "clf"]).code, 64);
    let empty = run_with_input(&["replay", "--rules", &rules, "-"], b"");
    assert!(empty.stdout.contains("0 requests, 0 refused"), "{}", empty.stdout);
}

#[test]
fn a_full_table_is_told() {
    let (_folder, path) = file_of(
        "max_keys = 1\n[[rule]]\nname = 'a'\nkey = 'peer_ip'\nquotas = ['1/hour']\nhosts = ['*']\n"
            .replace("hosts = ['*']", "paths_under = ['/']")
            .as_str(),
    );
    let run = run(&["replay", "--rules", &path, &data("combined.log")]);
    assert!(run.stdout.contains("requests were of keys beyond max_keys = 1"), "{}", run.stdout);
}
