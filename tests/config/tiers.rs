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
    assert_mistake("[rule.tiers]\npro = 7", none, r#"line 7: rule "api": tiers 7: each value is a string, or an array of at least one: write tiers = { pro = ["600/minute"] }"#);
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

#[test]
#[rustfmt::skip]
fn a_key_that_the_rule_cannot_have_is_a_mistake() {
    let none = &Sources::new();
    let csv_of = |text| csv(text);
    let fields = format!("overrides_file = 'overrides.csv'\n{TIERS}");
    assert_mistake(&fields, &csv_of("acme,pro\nacme\n"), r#"line 6: rule "api": overrides_file "overrides.csv": line 2: line "acme": there is one column: write the key and its tier, as in key,tier"#);
    assert_mistake(&fields, &csv_of("acme,orders,pro\n"), r#"line 6: rule "api": overrides_file "overrides.csv": line 1: key "acme", "orders": keys of the rule have 1 part, and this has 2: write as many"#);
    assert_mistake(&fields, &csv_of("a,pro\nb-*,pro\na,staff\n"), r#"line 6: rule "api": overrides_file "overrides.csv": line 3: key "a": line 1 is for the same key: leave one of them out"#);

    let rule = |key: &str, fields: &str| {
        let rule = RULE.replace("'header:x-account'", key);
        RateLimiter::builder().toml(&format!("[client_ip]\n{rule}{fields}"), none).unwrap_err().to_string()
    };
    let fields = format!("{TIERS}[rule.overrides]\n'10.0.0.1' = 'pro'");
    let address = r#"line 11: rule "api": overrides "10.0.0.1": no key of the rule can be this one: this part is an address, not a text: set its tier at run time, with RateLimiter::set_tier"#;
    assert_eq!(rule("'client_ip'", &fields), address);
    assert_eq!(rule("'peer_ip | client_ip'", &fields), address);
    let fields = format!("{TIERS}[rule.overrides]\n'acme*' = 'pro'");
    assert_eq!(rule("['header:x-account', 'constant:eu']", &fields), r#"line 11: rule "api": overrides "acme*": keys of the rule have 2 parts, and this has 1: write as many, in a CSV that overrides_file names"#);
    assert_eq!(rule("'constant:all'", &fields), r#"line 11: rule "api": overrides "acme*": no key of the rule can be this one: this part is always "all""#);
}

#[test]
#[rustfmt::skip]
fn a_tier_without_quotas_and_a_file_of_overrides_without_tiers_are_mistakes() {
    let none = &Sources::new();
    assert_mistake("[rule.tiers]\npro = []", none, r#"line 7: rule "api": tiers []: each value is a string, or an array of at least one: write tiers = { pro = ["600/minute"] }"#);
    assert_mistake("overrides_file = 'overrides.csv'", &csv("acme,pro\n"), r#"line 6: rule "api": overrides_file "overrides.csv": the rule has no tiers: write pro = ["600/minute"] below [rule.tiers], or leave this out"#);
}
