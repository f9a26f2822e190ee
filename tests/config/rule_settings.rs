//! What a rule of a file says of spacing, margins and several values is what the methods say.

use std::time::Duration;

use http::Request;
use tower_quota::{
    Policy, RateLimiter, Rule,
    http::RequestView,
    key::{self, MultipleValues},
};

fn policy_of(fields: &str) -> Policy {
    let rule =
        "name = 'calls'\nkey = 'constant:all'\nquotas = ['60/minute', '1800/hour']\napplies_to = 'every_request'";
    let limiter = RateLimiter::from_toml(&format!("[[rule]]\n{rule}\n{fields}")).unwrap();
    limiter.matching(&RequestView::new(&Request::new(())))[0].policy().clone()
}

#[test]
fn spacing_and_margin_are_those_of_the_policy() {
    let policy = || Policy::per_minute(60).and_per_hour(1800);
    let (gap, margin) = (Duration::from_millis(500), Duration::from_millis(50));
    assert_eq!(policy_of("spaced_by = '500ms'"), policy().spaced_by(gap));
    assert_eq!(policy_of("spread_evenly = true"), policy().spread_evenly());
    assert_eq!(policy_of("spread_evenly = false"), policy());
    assert_eq!(policy_of("margin = '50ms'"), policy().margin(margin));
    assert_eq!(policy_of("margin = '50ms'\nspread_evenly = true"), policy().spread_evenly().margin(margin));
    let all = "resolution = 64\ncount_denied = true\nspaced_by = '0.5s'";
    assert_eq!(policy_of(all), policy().spaced_by(gap).count_denied().resolution(64));
}

#[test]
fn of_several_values_that_one_counts_which_the_file_says() {
    let request = Request::get("/?id=a&id=b").header("x-id", "c").header("x-id", "d").body(()).unwrap();
    let words = [
        ("first", MultipleValues::First),
        ("last", MultipleValues::Last),
        ("joined", MultipleValues::Joined),
        ("missing_key", MultipleValues::MissingKey),
    ];
    for (word, values) in words {
        let text = format!(
            "[[rule]]\nname = 'a'\nkey = ['query:id', 'header:x-id']\nmultiple_values = '{word}'\nquotas = ['1/s']\n\
             applies_to = 'every_request'"
        );
        let code = (key::query("id").multiple_values(values), key::header("x-id").multiple_values(values));
        let code = Rule::new("a").every_request().key(code).policy(Policy::per_second(1));
        let [file, code] = [RateLimiter::from_toml(&text), RateLimiter::builder().rule(code).build()].map(|limiter| {
            let limiter = limiter.unwrap();
            let key = limiter.matching(&RequestView::new(&request))[0].key();
            let candidates = [limiter.key(("a", "c")), limiter.key(("b", "d")), limiter.key(("a", "b", "c", "d"))];
            candidates.iter().position(|candidate| Some(*candidate) == key)
        });
        assert_eq!(file, code, "{word}");
    }
}

#[test]
fn a_group_has_its_own_treatment_of_several_values() {
    let text = "[[rule]]\nname = 'a'\nkey = 'query:id'\nquotas = ['1/s']\nroutes = ['/x']\n\
                [[rule.group]]\nkey = 'query:id'\nmultiple_values = 'last'\nroutes = ['/y']";
    let limiter = RateLimiter::from_toml(text).unwrap();
    let request = Request::get("/y?id=a&id=b").body(()).unwrap();
    assert_eq!(limiter.matching(&RequestView::new(&request))[0].key(), Some(limiter.key("b")));
}
