//! Tiers and overrides of a file are those of the methods, and each mistake has its line.

use std::io;

use http::Request;
use tower_quota::{ConfigError, RateLimiter, config::Sources, http::RequestView};

const RULE: &str =
    "[[rule]]\nname = 'api'\nkey = 'header:x-account'\nquotas = ['60/minute']\napplies_to = 'every_request'\n";
const TIERS: &str = "[rule.tiers]\npro = ['600/minute', '9000/hour']\nstaff = 'unlimited'\n";

fn csv(text: &'static str) -> Sources {
    Sources::new().files(move |path| match path {
        "overrides.csv" => Ok(text.as_bytes().to_vec()),
        _ => Err(io::Error::new(io::ErrorKind::NotFound, "no such file")),
    })
}

fn limiter(fields: &str, sources: &Sources) -> Result<RateLimiter, ConfigError> {
    RateLimiter::builder().toml(&format!("{RULE}{fields}"), sources)?.build()
}

fn limit(limiter: &RateLimiter, key: &str) -> Option<u64> {
    limiter.rule("api").unwrap().peek(key).quotas().next().map(|quota| quota.limit())
}

#[track_caller]
fn assert_mistake(fields: &str, sources: &Sources, message: &str) {
    assert_eq!(limiter(fields, sources).unwrap_err().to_string(), message);
}

#[test]
fn overrides_set_the_tier_of_keys_and_of_prefixes() {
    let fields = format!("{TIERS}[rule.overrides]\nacme = 'pro'\n'initech-*' = 'pro'\nroot = 'staff'");
    let limiter = limiter(&fields, &Sources::new()).unwrap();
    let limits = ["acme", "initech-eu", "root", "globex"].map(|key| limit(&limiter, key));
    assert_eq!(limits, [Some(600), Some(600), None, Some(60)]);
}

#[test]
fn the_tier_is_read_from_the_request_by_any_source() {
    let fields = format!("tier_from = 'header:x-plan'\n{TIERS}");
    let limiter = limiter(&fields, &Sources::new()).unwrap();
    let tier_of = |plan: &str| {
        let request = Request::get("/").header("x-account", "acme").header("x-plan", plan).body(()).unwrap();
        limiter.matching(&RequestView::new(&request))[0].tier().map(str::to_owned)
    };
    assert_eq!(tier_of("pro").as_deref(), Some("pro"));
    assert_eq!(tier_of("nothing"), None);
}

#[test]
fn a_file_of_overrides_stands_beside_those_of_the_table() {
    let fields = format!("overrides_file = 'overrides.csv'\n{TIERS}[rule.overrides]\nacme = 'pro'");
    let limiter = limiter(&fields, &csv("account,tier\nglobex-*,pro\nroot,staff\n")).unwrap();
    assert_eq!(
        ["acme", "globex-1", "root", "b"].map(|key| limit(&limiter, key)),
        [Some(600), Some(600), None, Some(60)]
    );
}

#[test]
#[rustfmt::skip]
fn each_mistake_names_the_rule_the_field_the_value_and_the_line() {
    let none = &Sources::new();
    assert_mistake("tier_from = 'header:x'", none, r#"line 6: rule "api": tier_from "header:x": the rule has no tiers: write pro = ["600/minute"] below [rule.tiers], or leave this out"#);
    assert_mistake("[rule.tiers]\npro = 'many'", none, r#"line 7: rule "api": tiers.pro "many": a tier has quotas: write pro = ["600/minute"], or pro = "unlimited""#);
    assert_mistake("[rule.tiers]\npro = ['0/minute']", none, r#"line 7: rule "api": tiers.pro "0/minute": a quota admits at least 1: write 1 or more"#);
    assert_mistake("[rule.tiers]\npro = 7", none, r#"line 7: rule "api": tiers 7: each value is a string, or an array of strings: write tiers = { pro = ["600/minute"] }"#);
    assert_mistake(&format!("{TIERS}[rule.overrides]\nacme = 'prp'"), none, r#"line 10: rule "api": overrides "prp": the rule has no tier of this name: write "pro", or add it below [rule.tiers]"#);
    assert_mistake(&format!("{TIERS}[rule.overrides]\n'a*b' = 'pro'"), none, r#"line 10: rule "api": overrides "a*b": a * stands for any rest, at the end of a part only: write ** for a star that belongs to the key"#);
    assert_mistake("[rule.overrides]\nacme = 'pro'", none, r#"line 7: rule "api": overrides "pro": the rule has no tiers: write pro = ["600/minute"] below [rule.tiers], or leave this out"#);
}

#[test]
#[rustfmt::skip]
fn each_mistake_in_a_file_of_overrides_names_the_file_and_its_line() {
    let fields = format!("overrides_file = 'overrides.csv'\n{TIERS}[rule.overrides]\nacme = 'pro'");
    for (text, mistake) in [
        ("b,pro\nacme\n", r#"line 2: line "acme": there is one column: write the key and its tier, as in key,tier"#),
        ("b,pro\nc,prp\n", r#"line 2: tier "prp": the rule has no tier of this name: write "pro", or add it below [rule.tiers]"#),
        ("b,pro\nacme,pro\n", r#"line 2: key "acme": [rule.overrides] has this key on its line 11: leave one of them out"#),
    ] {
        assert_mistake(&fields, &csv(text), &format!("line 6: rule \"api\": overrides_file \"overrides.csv\": {mistake}"));
    }
    let fields = format!("overrides_file = 'other.csv'\n{TIERS}");
    assert_mistake(&fields, &csv(""), r#"line 6: rule "api": overrides_file "other.csv": the file cannot be read (no such file): write its path"#);
}
