//! A file of rules is read as a whole, or the mistake is named with its line; and what was read can be asked.
//!
//! Input: the file.

use std::env::VarError;

use http::Request;
use tower_quota::{
    ConfigError, RateLimiter, RateLimiterBuilder,
    config::Sources,
    http::{PeerAddr, RequestView},
};

const REQUESTS: [(&str, &str); 5] = [
    ("GET", "/"),
    ("POST", "/bots/st-1/export"),
    ("GET", "/bots/st-1?botId=st-2"),
    ("PUT", "/a%2Fb//../c"),
    ("BREW", "*"),
];

pub(crate) fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    check_store(text);
    let read = RateLimiter::from_toml(text);
    let further_down = RateLimiter::from_toml(&format!("# one line\n{text}"));
    match (read, further_down) {
        (Ok(limiter), Ok(_)) => ask(&limiter),
        (Err(error), Err(below)) => assert_says_where(text, &error, &below),
        (read, below) => panic!("a comment changes {text:?}: {read:?}, {below:?}"),
    }
}

/// A file that chooses the store is read, or its mistake has a line; and no other file is.
fn check_store(text: &str) {
    let reads_files = ["certificate", "client_key", "\\u", "\\x"].iter().any(|part| text.contains(part));
    if reads_files || !text.contains("store") {
        return;
    }
    let read = |text: &str| {
        let sources = Sources::new().environment(|name| match name {
            "URL" => Ok("redis://127.0.0.1".to_owned()),
            _ => Err(VarError::NotPresent),
        });
        RateLimiter::builder().store_from_file().toml(text, &sources).and_then(RateLimiterBuilder::build)
    };
    match (read(text), read(&format!("# one line\n{text}"))) {
        (Ok(_), Ok(_)) => {}
        (Err(error), Err(below)) => assert_says_where(text, &error, &below),
        (read, below) => panic!("a comment changes {text:?}: {read:?}, {below:?}"),
    }
}

fn assert_says_where(text: &str, error: &ConfigError, below: &ConfigError) {
    // The name of a field may be empty, of one that nobody knows.
    assert!(!error.reason().is_empty(), "{error:?}");
    if let Some(line) = error.line() {
        assert!((1..=text.lines().count().max(1) + 1).contains(&line), "{error} of {text:?}");
        // A byte order mark is one at the beginning only.
        let has_no_rules = error.field() == "rule" && error.reason().contains("no rules");
        if !text.starts_with('\u{feff}') && !has_no_rules {
            assert_eq!(below.line(), Some(line + 1), "{error} of {text:?}");
            assert_eq!(below.reason(), error.reason(), "of {text:?}");
        }
    }
}

fn ask(limiter: &RateLimiter) {
    for (method, target) in REQUESTS {
        let mut request = Request::builder().method(method).uri(target).header("cookie", "a=b").body(()).unwrap();
        request.extensions_mut().insert(PeerAddr(([192, 0, 2, 1], 4711).into()));
        let governing = limiter.matching(&RequestView::new(&request));
        for rule in &governing {
            let decision = limiter.rule(rule.rule()).unwrap().check("a");
            let retried = decision.retry_after();
            assert_eq!(retried.is_none(), decision.is_admitted());
            assert_eq!(decision.message().is_none(), decision.is_admitted());
        }
    }
}
