//! What extractors find in odd places, which names they refuse, and what the debug output keeps to itself.

use std::net::SocketAddr;

use axum::extract::connect_info::{ConnectInfo, MockConnectInfo};
use http::{Request, Version};
use tower_quota::{
    Policy, RateLimiter, Rule,
    http::{PeerAddr, RequestView},
    key::{self, Key, KeyExtractor, MultipleValues},
};
use tower_quota_tests::limiter::one_per_minute;

fn mistake(extractor: impl KeyExtractor) -> String {
    let rule = Rule::new("calls").every_request().key(extractor).level("who").policy(Policy::per_minute(1));
    RateLimiter::builder().rule(rule).build().unwrap_err().to_string()
}

fn found<B>(limiter: &RateLimiter, request: &Request<B>) -> Option<Key> {
    limiter.matching(&RequestView::new(request))[0].key()
}

#[test]
fn query_values_that_are_no_text_are_keys_of_their_own() {
    let limiter = one_per_minute(key::query("id"));
    let of = |query: &str| found(&limiter, &Request::get(format!("/?id={query}")).body(()).unwrap());
    assert_eq!(of("%ff"), Some(limiter.key(&[0xff_u8][..])));
    assert_ne!(of("%ff"), of("%fe"));
    assert_ne!(of("a+%ff"), of("a+%fe"));
    assert_ne!(of("%ff"), of("%EF%BF%BD"));
}

#[test]
fn the_host_is_found_in_the_target_where_http_2_has_it() {
    let limiter = one_per_minute(key::header("Host"));
    let h2 = Request::get("https://me:secret@a.example:8443/").version(Version::HTTP_2).body(()).unwrap();
    assert_eq!(found(&limiter, &h2), Some(limiter.key("a.example:8443")));
    let both = Request::get("https://a.example/").header("host", "b.example").body(()).unwrap();
    assert_eq!(found(&limiter, &both), Some(limiter.key("b.example")));
    assert_eq!(found(&limiter, &Request::get("/").body(()).unwrap()), None);
}

#[test]
fn among_several_header_lines_the_chosen_one_counts() {
    let request = Request::get("/").header("x-id", "a").header("x-id", "b").body(()).unwrap();
    for (several, value) in [(MultipleValues::First, "a"), (MultipleValues::Last, "b")] {
        for limiter in [
            one_per_minute(key::header("x-id").multiple_values(several)),
            one_per_minute(key::metadata("x-id").multiple_values(several)),
        ] {
            assert_eq!(found(&limiter, &request), Some(limiter.key(value)), "{several:?}");
        }
    }
}

#[test]
fn a_mocked_address_counts_where_there_is_no_real_one() {
    let limiter = one_per_minute(key::peer_ip());
    let address = |text: &str| text.parse::<SocketAddr>().unwrap();
    let mocked = || Request::get("/").extension(MockConnectInfo(address("192.0.2.1:1")));
    let key = |octets: [u8; 4]| Some(limiter.key(&octets[..]));
    assert_eq!(found(&limiter, &mocked().body(()).unwrap()), key([192, 0, 2, 1]));
    let connected = mocked().extension(ConnectInfo(address("192.0.2.2:1")));
    assert_eq!(found(&limiter, &connected.body(()).unwrap()), key([192, 0, 2, 2]));
    let attached = mocked().extension(PeerAddr(address("192.0.2.3:1")));
    assert_eq!(found(&limiter, &attached.body(()).unwrap()), key([192, 0, 2, 3]));
}

#[test]
fn no_credential_is_in_the_debug_output_of_a_request() {
    let request = Request::get("https://me:swordfish@a.example/path?token=swordfish")
        .header("authorization", "Bearer swordfish")
        .header("cookie", "sid=swordfish")
        .extension("swordfish")
        .body(())
        .unwrap();
    let view = RequestView::new(&request);
    for shown in [format!("{view:?}"), format!("{view:#?}")] {
        assert!(!shown.contains("swordfish"), "{shown}");
        assert!(shown.contains("/path") && shown.contains("authorization"), "{shown}");
    }
}

#[test]
fn names_that_no_request_can_carry_are_refused_wherever_they_stand() {
    let cookie = "rule \"calls\": key \"cookie: sid\": not the name of a cookie: write \"cookie:sid\"";
    assert_eq!(mistake(key::cookie(" sid")), cookie);
    assert_eq!(mistake((key::header("x-id"), key::cookie(" sid"))), cookie);
    assert_eq!(mistake(key::first_of((key::header("x-id"), key::cookie(" sid")))), cookie);
    let boxed: Box<dyn KeyExtractor> = Box::new(key::cookie(" sid"));
    assert_eq!(mistake(boxed), cookie);
    let table: [(Box<dyn KeyExtractor>, &str); 7] = [
        (Box::new(key::cookie("")), "\"cookie:\": not the name of a cookie: write \"cookie:NAME\""),
        (Box::new(key::cookie("sid=")), "write \"cookie:sid\""),
        (Box::new(key::header("")), "write \"header:NAME\""),
        (Box::new(key::header("x ")), "write \"header:x\""),
        (Box::new(key::query("a=b")), "write \"query:a\""),
        (Box::new(key::metadata("x-bin ")), "\"metadata:x-bin \": not the name of metadata: write \"metadata:x-bin\""),
        (Box::new(key::path("{botId}")), "write \"path:botId\""),
    ];
    for (extractor, expected) in table {
        let mistake = mistake(extractor);
        assert!(mistake.contains(expected), "{mistake}");
    }
}
