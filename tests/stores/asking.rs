//! Asking without a request: the same keys as requests have, by rules that need not govern any.
#![allow(clippy::unwrap_used, reason = "this is a test")]
#![allow(clippy::needless_borrows_for_generic_args, reason = "what is borrowed is asked with, too")]

use std::{
    borrow::Cow,
    collections::HashMap,
    future::Ready,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode};
use parking_lot::Mutex;
use proptest::prelude::*;
use tower_quota::{
    ConfigError, Enforcement, MatchedRule, OnMissing, Policy, RateLimiter, Rule, RuleHandle,
    http::{PeerAddr, RequestView},
    key::{self, Key, KeyExtractor, KeyParts},
    store::{Charge, MaybeReady, Setup, Store, Unavailable, Verdict},
};
use tower_quota_tests::limiter::frozen;

/// A rule that reads text from a header, and the key that it reads from a request with this text.
fn key_of_text(text: &[u8]) -> (RateLimiter, Key) {
    let limiter = frozen([Rule::new("calls").every_request().key(key::header("x")).policy(Policy::per_minute(9))]);
    let request = Request::get("/").header("x", text).body(()).unwrap();
    let key = limiter.rule("calls").unwrap().key_of(&RequestView::new(&request)).unwrap();
    (limiter, key)
}

/// The key of a peer with this address.
fn key_of_peer(limiter: &RateLimiter, address: IpAddr) -> Key {
    let mut request = Request::new(());
    request.extensions_mut().insert(PeerAddr(SocketAddr::new(address, 4711)));
    limiter.rule("calls").unwrap().key_of(&RequestView::new(&request)).unwrap()
}

#[test]
fn text_and_bytes_in_every_owner_are_the_key_of_a_request_with_that_text() {
    for text in ["acme", "", "an account of more than twenty-seven bytes"] {
        let (limiter, expected) = key_of_text(text.as_bytes());
        let (owned, bytes) = (text.to_owned(), text.as_bytes());
        assert_eq!(limiter.key(text), expected);
        assert_eq!(limiter.key(&text), expected);
        assert_eq!(limiter.key(&owned), expected);
        assert_eq!(limiter.key(Cow::Borrowed(text)), expected);
        assert_eq!(limiter.key(Cow::<str>::Owned(owned.clone())), expected);
        assert_eq!(limiter.key(Box::<str>::from(text)), expected);
        assert_eq!(limiter.key(Arc::<str>::from(text)), expected);
        assert_eq!(limiter.key(Rc::<str>::from(text)), expected);
        assert_eq!(limiter.key(bytes), expected);
        assert_eq!(limiter.key(bytes.to_vec()), expected);
        assert_eq!(limiter.key(&bytes.to_vec()), expected);
        assert_eq!(limiter.key(Cow::Borrowed(bytes)), expected);
        assert_eq!(limiter.key(Arc::<[u8]>::from(bytes)), expected);
        assert_eq!(limiter.key(Bytes::copy_from_slice(bytes)), expected);
        assert_eq!(limiter.key(HeaderValue::from_str(text).unwrap()), expected);
        assert_eq!(limiter.key(owned), expected);
    }
}

#[test]
fn an_array_of_bytes_is_one_part() {
    let (limiter, expected) = key_of_text(b"acme");
    assert_eq!(limiter.key(*b"acme"), expected);
    assert_eq!(limiter.key(b"acme"), expected);
    let uuid = [0x5a; 16];
    assert_eq!(limiter.key(uuid), limiter.key(uuid.as_slice()));
    assert_ne!(limiter.key(key::parts(&[1_u8, 2])), limiter.key([1_u8, 2]));
    assert_eq!(limiter.key(key::parts(&[1_u8, 2])), limiter.key(("1", "2")));
}

#[test]
fn integers_of_all_widths_are_the_key_of_their_digits() {
    let (limiter, expected) = key_of_text(b"42");
    assert_eq!(limiter.key(42), expected);
    assert_eq!([limiter.key(42_u8), limiter.key(42_u16), limiter.key(42_u32), limiter.key(42_u64)], [expected; 4]);
    assert_eq!([limiter.key(42_i8), limiter.key(42_i16), limiter.key(42_i32), limiter.key(42_i64)], [expected; 4]);
    assert_eq!(
        [limiter.key(42_u128), limiter.key(42_i128), limiter.key(42_usize), limiter.key(42_isize)],
        [expected; 4]
    );
    for (number, text) in [(i64::MIN, "-9223372036854775808"), (-1, "-1"), (0, "0"), (i64::MAX, "9223372036854775807")]
    {
        let (limiter, expected) = key_of_text(text.as_bytes());
        assert_eq!(limiter.key(number), expected);
    }
    let (limiter, expected) = key_of_text(u128::MAX.to_string().as_bytes());
    assert_eq!(limiter.key(u128::MAX), expected);
}

#[test]
fn an_address_is_the_key_of_a_client_that_has_it() {
    let rule = |extractor| Rule::new("calls").every_request().key(extractor).policy(Policy::per_minute(9));
    let addresses = [
        "198.51.100.7",
        "::ffff:198.51.100.7",
        "2001:db8:1:2:3:4:5:6",
        "64:ff9b::192.0.2.1",
        "2002:c000:201::1",
        "2001:0:1::3fff:fdfe",
        "64:ff9b:1::192.0.2.1",
        "::1",
    ];
    for address in addresses.map(|text| text.parse::<IpAddr>().unwrap()) {
        for extractor in [key::peer_ip(), key::client_ip().trust(["10.0.0.0/8"])] {
            let limiter = frozen([rule(extractor)]);
            assert_eq!(limiter.key(address), key_of_peer(&limiter, address), "{address}");
            match address {
                IpAddr::V4(address) => assert_eq!(limiter.key(address), limiter.key(IpAddr::V4(address))),
                IpAddr::V6(address) => assert_eq!(limiter.key(address), limiter.key(IpAddr::V6(address))),
            }
        }
        for bits in [32, 48, 56, 128] {
            let extractor = key::client_ip().ipv6_prefix(bits);
            let limiter = frozen([rule(extractor.clone())]);
            assert_eq!(limiter.key(extractor.address(address)), key_of_peer(&limiter, address), "{address} /{bits}");
        }
    }
    let limiter = frozen([rule(key::peer_ip())]);
    let (one, same) = (Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 1), Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 9, 9, 9, 9));
    assert_eq!(limiter.key(one), limiter.key(same), "a client has a whole /64");
    assert_eq!(limiter.key(Ipv4Addr::new(192, 0, 2, 1)), limiter.key([192, 0, 2, 1_u8]));
    assert_ne!(limiter.key(Ipv4Addr::new(192, 0, 2, 1)), limiter.key("192.0.2.1"));
}

#[test]
fn several_parts_are_a_tuple_or_a_list() {
    let rule = Rule::new("calls").every_request().key((key::header("a"), key::header("b"), key::query("c")));
    let limiter = frozen([rule.policy(Policy::per_minute(9))]);
    let request = Request::get("/?c=7").header("a", "acme").header("b", "").body(()).unwrap();
    let expected = limiter.rule("calls").unwrap().key_of(&RequestView::new(&request)).unwrap();
    assert_eq!(limiter.key(("acme", "", 7)), expected);
    assert_eq!(limiter.key((String::from("acme"), Bytes::new(), *b"7")), expected);
    assert_eq!(limiter.key(key::parts(&["acme", "", "7"])), expected);
    assert_eq!(limiter.key(key::parts(&[String::from("acme"), String::new(), String::from("7")])), expected);
    assert_eq!(limiter.key((("acme", ""), 7)), expected, "what is nested is the same parts");
    assert_ne!(limiter.key(("acme", 7)), expected);
}

#[test]
fn a_closure_a_claim_or_a_field_may_read_any_key() {
    #[derive(Clone)]
    struct Claims {
        account: u64,
        team: (String, u32),
    }
    let rule = |name: &str| Rule::new(name).every_request().policy(Policy::per_minute(9));
    let closure = |request: &RequestView<'_>| Some(request.extensions().get::<Claims>()?.team.clone());
    let limiter = RateLimiter::builder()
        .rule(rule("accounts").key(key::claim(|claims: &Claims| &claims.account)))
        .rule(rule("teams").key(closure))
        .build()
        .unwrap();
    let claims = Claims { account: 42, team: ("blue".into(), 7) };
    let request = Request::get("/").extension(claims).body(()).unwrap();
    let keys: Vec<_> = limiter.matching(&RequestView::new(&request)).iter().map(MatchedRule::key).collect();
    assert_eq!(keys, [Some(limiter.key("42")), Some(limiter.key(("blue", "7")))]);

    let jobs = RateLimiter::builder_for::<(u16, &'static str)>()
        .rule(
            Rule::new("jobs").every_request().key(key::field(|job: &(u16, &str)| &job.0)).policy(Policy::per_minute(9)),
        )
        .build()
        .unwrap();
    assert_eq!(jobs.rule("jobs").unwrap().key_of(&(42, "print")), Some(jobs.key("42")));
}

#[test]
fn the_key_of_a_request_is_charged_where_the_layer_charges_it() {
    let client = key::client_ip().trust(["10.0.0.0/8"]);
    let rule = Rule::new("calls").every_request().key((client, key::cookie("sid"))).policy(Policy::per_minute(3));
    let limiter = frozen([rule]);
    let calls = limiter.rule("calls").unwrap();
    let request = |peer: &str, forwarded: &str| {
        let request = Request::get("/").header("x-forwarded-for", forwarded).header("cookie", "sid=%61; other=b");
        let mut request = request.body(()).unwrap();
        request.extensions_mut().insert(PeerAddr(SocketAddr::new(peer.parse().unwrap(), 443)));
        request
    };
    let behind = calls.key_of(&RequestView::new(&request("10.0.0.1", "junk, 198.51.100.7"))).unwrap();
    let direct = calls.key_of(&RequestView::new(&request("198.51.100.7", "192.0.2.1"))).unwrap();
    assert_eq!(behind, direct);
    assert!(calls.admit(behind));
    assert!(calls.check(&direct).is_admitted());
    assert!(calls.check((Ipv4Addr::new(198, 51, 100, 7), "a")).is_admitted());
    assert!(!calls.admit(behind));
    assert!(calls.reset(behind));
    assert!(limiter.is_empty());
}

#[test]
fn the_key_is_read_where_the_route_of_the_request_has_it() {
    let rule = Rule::new("bots")
        .routes(["GET /bots/{id}"])
        .key(key::path("id"))
        .group(key::query("id"), ["POST /import"])
        .policy(Policy::per_minute(9));
    let limiter = RateLimiter::builder()
        .rule(rule)
        .rule(Rule::new("reports").routes(["GET /reports"]).key(key::header("x-account")).policy(Policy::per_minute(9)))
        .build()
        .unwrap();
    let bots = limiter.rule("bots").unwrap();
    let key =
        |rule: &RuleHandle, request: http::request::Builder| rule.key_of(&RequestView::new(&request.body(()).unwrap()));
    assert_eq!(key(&bots, Request::get("/bots/st-1?id=other")), Some(limiter.key("st-1")));
    assert_eq!(key(&bots, Request::post("/import?id=st-1")), Some(limiter.key("st-1")));
    assert_eq!(key(&bots, Request::post("/import")), None);
    assert_eq!(key(&bots, Request::get("/elsewhere?id=st-1")), None, "no route says where it would be");
    let reports = limiter.rule("reports").unwrap();
    let elsewhere = Request::get("/usage").header("x-account", "acme");
    assert_eq!(key(&reports, elsewhere), Some(limiter.key("acme")), "a page of one's usage is governed by no rule");
    assert!(limiter.is_empty(), "to read a key charges nothing");
}

#[test]
fn a_request_without_a_service_is_decided_by_all_its_rules() {
    let rule = |name: &str, most| Rule::new(name).key(key::header("x-account")).policy(Policy::per_minute(most));
    let limiter = frozen([
        rule("api", 2).paths_under(["/api"]),
        rule("export", 1).routes(["POST /api/export"]).on_missing(OnMissing::Reject(StatusCode::UNAUTHORIZED)),
    ]);
    let check = |request: http::request::Builder| {
        limiter.check_request(&RequestView::new(&request.body(()).unwrap())).map(|decision| decision.is_admitted())
    };
    let export = || Request::post("/api/export").header("x-account", "acme");
    assert!(check(export()).unwrap());
    assert!(!check(export()).unwrap(), "one rule of both denies");
    assert!(check(Request::get("/api/x").header("x-account", "acme")).unwrap(), "the other was not charged for that");
    assert!(check(Request::get("/elsewhere")).unwrap(), "no rule governs it");
    let rejected = check(Request::post("/api/export")).unwrap_err();
    assert_eq!((rejected.rule(), rejected.status()), ("export", StatusCode::UNAUTHORIZED));
    assert_eq!(rejected.to_string(), "the request does not carry the key of rule \"export\"");
    assert_eq!(limiter.len(), 2, "a rejected request is charged nowhere");
}

#[test]
fn a_request_is_matched_and_decided_at_once() {
    let rule = |name: &str| Rule::new(name).key(key::header("x-account")).policy(Policy::per_minute(9));
    let limiter = frozen([
        rule("api").every_request().cost("points", |request: &RequestView<'_>| request.uri().path().len() as u64),
        rule("off").every_request().enforcement(Enforcement::Off),
        rule("skip").every_request().on_missing(OnMissing::Skip),
        rule("export").routes(["POST /export"]).on_missing(OnMissing::Reject(StatusCode::UNAUTHORIZED)),
    ]);
    let check = |request: http::request::Builder| {
        let request = request.body(()).unwrap();
        let view = RequestView::new(&request);
        let (matched, decided) = limiter.check_matching(&view);
        let summary = |matched: &[MatchedRule]| {
            let one = |matched: &MatchedRule| (matched.rule().to_owned(), matched.units(), matched.key());
            matched.iter().map(one).collect::<Vec<_>>()
        };
        assert_eq!(summary(&matched), summary(&limiter.matching(&view)));
        let units: Vec<_> = matched.iter().map(|matched| (matched.rule().to_owned(), matched.units())).collect();
        (units, decided.map(|decision| decision.is_admitted()))
    };
    let found =
        |found: &[(&str, u64)]| found.iter().map(|(rule, units)| ((*rule).to_owned(), *units)).collect::<Vec<_>>();
    let (matched, rejected) = check(Request::post("/export"));
    assert_eq!(matched, found(&[("export", 1), ("api", 7), ("off", 1), ("skip", 1)]));
    assert_eq!(rejected.unwrap_err().rule(), "export");
    assert!(limiter.is_empty(), "a rejected request is charged nowhere");
    for (path, is_admitted) in [("/x/y/z", true), ("/x", true), ("/x", false)] {
        let (matched, decided) = check(Request::get(path).header("x-account", "acme"));
        assert_eq!(matched, found(&[("api", path.len() as u64), ("off", 1), ("skip", 1)]));
        assert_eq!(decided.unwrap(), is_admitted, "{path}");
    }
    assert_eq!(limiter.len(), 2, "a rule that is off is not charged");
}

#[test]
fn histories_are_told_apart_by_scope_and_key() {
    let rule = Rule::new("bots").routes(["GET /a/{id}", "GET /b/{id}"]).key(key::path("id")).per_route();
    let limiter = frozen([rule.policy(Policy::per_minute(1))]);
    let history = |path: &str| {
        let request = Request::get(path).body(()).unwrap();
        let matched = limiter.matching(&RequestView::new(&request));
        (matched[0].scope(), matched[0].key())
    };
    assert_eq!(history("/a/1"), history("/a/1?x"));
    assert_ne!(history("/a/1"), history("/b/1"));
    assert_eq!(history("/a/1").1, history("/b/1").1);
}

#[test]
fn the_parts_of_a_key_are_those_of_the_route_of_the_request() {
    let rule = Rule::new("bots")
        .routes(["GET /bots/{id}"])
        .key((key::path("id"), key::peer_ip()))
        .group(key::query("id"), ["POST /import"])
        .policy(Policy::per_minute(9));
    let bots = frozen([rule]).rule("bots").unwrap();
    let parts = |request: http::request::Builder| {
        let request = request.extension(PeerAddr("192.0.2.1:1".parse().unwrap())).body(()).unwrap();
        bots.parts_of(&RequestView::new(&request))
    };
    let long = "a name of more than twenty-seven bytes";
    let found = parts(Request::get(format!("/bots/{}", long.replace(' ', "%20"))));
    assert_eq!(found, Some(vec![long.as_bytes().to_vec(), vec![192, 0, 2, 1]]));
    assert_eq!(parts(Request::post("/import?id=7")), Some(vec![b"7".to_vec()]));
    assert_eq!(parts(Request::post("/import")), None);
}

#[test]
fn requests_without_a_key_can_be_asked_about_by_the_shared_one() {
    let limiter = frozen([Rule::new("calls").every_request().key(key::header("x")).policy(Policy::per_minute(1))]);
    let calls = limiter.rule("calls").unwrap();
    let request = Request::new(());
    let view = RequestView::new(&request);
    assert_eq!((calls.key_of(&view), limiter.matching(&view)[0].key()), (None, None));
    assert!(calls.admit(calls.key_of(&view).unwrap_or(Key::SHARED)));
    assert!(!calls.admit(Key::SHARED));
    assert!(calls.admit(""), "an empty value is not a missing one");
    assert_eq!(limiter.key(Key::SHARED), Key::SHARED);
}

#[test]
fn a_rule_for_asking_only_governs_no_request_and_needs_no_key() {
    let limiter = RateLimiter::builder()
        .rule(Rule::new("jobs").no_requests().policy(Policy::per_minute(1)))
        .rule(Rule::new("mails").no_requests().key(key::header("x")).level("account").policy(Policy::per_minute(1)))
        .rule(Rule::new("rest").unmatched_requests().key(key::constant("all")).policy(Policy::per_minute(1)))
        .build()
        .unwrap();
    let request = Request::get("/").header("x", "acme").body(()).unwrap();
    let view = RequestView::new(&request);
    assert_eq!(limiter.matching(&view).iter().map(MatchedRule::rule).collect::<Vec<_>>(), ["rest"]);
    assert_eq!(limiter.rule("jobs").unwrap().key_of(&view), None);
    assert_eq!(limiter.rule("mails").unwrap().key_of(&view), Some(limiter.key("acme")));
    let levels = ["jobs", "mails"].map(|name| {
        let decision = limiter.rule(name).unwrap().check("acme");
        decision.quotas().map(|quota| quota.level().to_owned()).collect::<Vec<_>>()
    });
    assert_eq!(levels, [["key"], ["account"]]);
    assert!(!limiter.check_all([("jobs", "acme"), ("mails", "bob")]).unwrap().is_admitted());
}

#[test]
fn a_level_without_a_name_is_called_after_its_extractor() {
    fn level(extractor: impl KeyExtractor) -> String {
        let rule = Rule::new("calls").routes(["/{botId}"]).key(extractor).policy(Policy::per_minute(1));
        let request = Request::get("/st-1").body(()).unwrap();
        frozen([rule]).matching(&RequestView::new(&request))[0].level().to_owned()
    }
    let closure = |_: &RequestView<'_>| Some("x");
    assert_eq!(level(key::path("botId")), "botId");
    assert_eq!(level(key::header("X-Account-Id")), "x-account-id");
    assert_eq!(level(key::query("bot id")), "bot-id");
    assert_eq!(level(key::cookie("sid")), "sid");
    assert_eq!(level(key::metadata("tenant-bin")), "tenant-bin");
    assert_eq!(level(key::claim(|claims: &String| claims)), "claim");
    assert_eq!(level(key::host()), "host");
    assert_eq!(level(key::client_ip()), "client_ip");
    assert_eq!(level(key::peer_ip()), "peer_ip");
    assert_eq!(level(key::constant("everybody")), "everybody");
    assert_eq!(level(key::constant("all of us")), "constant");
    assert_eq!(level(closure), "key");
    assert_eq!(level(key::named("agent", closure)), "agent");
    assert_eq!(level((key::claim(|claims: &String| claims), key::path("botId"))), "claim+botId");
    assert_eq!(level((key::named("account", closure), key::path("botId"), key::host())), "account+botId+host");
    assert_eq!(level(key::first_of((key::header("x-bot"), key::query("bot")))), "x-bot");
    let boxed: Box<dyn KeyExtractor> = Box::new(key::first_of([key::header("b"), key::header("a")]));
    assert_eq!(level(boxed), "b");
    let rule = Rule::new("calls").every_request().key(key::named("a b", closure)).policy(Policy::per_minute(1));
    let error = RateLimiter::builder().rule(rule).build().unwrap_err();
    assert_eq!((error.field(), error.value()), ("level", "\"a b\""));
}

type Id = (String, [u8; 28]);

/// A store such as one in a database would be: it knows histories by the name of their scope and the bytes of the key.
#[derive(Clone, Debug, Default)]
struct Rows {
    rows: Arc<Mutex<HashMap<Id, u64>>>,
    setup: Option<Setup>,
}

impl Rows {
    fn id(&self, charge: &Charge) -> Id {
        let scope = self.setup.as_ref().unwrap().scopes().get(charge.scope()).unwrap();
        (scope.name().to_owned(), charge.key().to_bytes())
    }
}

impl Store for Rows {
    type Future = Ready<Result<Verdict, Unavailable>>;

    fn open(&mut self, setup: Setup) -> Result<(), ConfigError> {
        self.setup = Some(setup);
        Ok(())
    }

    fn decide(&self, charges: &[Charge], verdict: &mut Verdict) -> MaybeReady<Self::Future> {
        let mut rows = self.rows.lock();
        *verdict = Verdict::new(charges.iter().all(|charge| rows.get(&self.id(charge)).is_none_or(|used| *used < 2)));
        for charge in charges {
            let used = rows.entry(self.id(charge)).or_default();
            *used += u64::from(verdict.is_admitted());
            verdict.push_quota(*used, Duration::from_secs(60));
        }
        MaybeReady::Ready(())
    }

    fn peek(&self, charges: &[Charge], verdict: &mut Verdict) -> MaybeReady<Self::Future> {
        let rows = self.rows.lock();
        *verdict = Verdict::new(charges.iter().all(|charge| rows.get(&self.id(charge)).is_none_or(|used| *used < 2)));
        MaybeReady::Ready(())
    }

    fn reset(&self, charges: &[Charge], verdict: &mut Verdict) -> MaybeReady<Self::Future> {
        let mut rows = self.rows.lock();
        let found = charges.iter().filter(|charge| rows.remove(&self.id(charge)).is_some()).count();
        *verdict = Verdict::new(found > 0);
        MaybeReady::Ready(())
    }

    fn key_secret(&self) -> Option<[u8; 32]> {
        Some(*b"the secret that all of them have")
    }
}

#[tokio::test]
async fn a_store_outside_of_this_crate_keeps_histories_by_the_bytes_of_keys() {
    let rows = Rows::default();
    let limiter = || {
        let rule = Rule::new("calls").no_requests().policy(Policy::per_minute(2));
        RateLimiter::builder().store(rows.clone()).rule(rule).build().unwrap()
    };
    // Two processes, one database.
    let (here, there) = (limiter(), limiter());
    let long = "a key that is longer than twenty-seven bytes";
    for (number, key) in [("acme", ""), ("", "acme"), (long, "x"), ("x", long)].into_iter().enumerate() {
        assert_eq!(here.key(key).to_bytes(), there.key(key).to_bytes());
        assert!(here.rule("calls").unwrap().check_async(key).await.unwrap().is_admitted());
        assert!(there.rule("calls").unwrap().admit_async(here.key(key)).await.unwrap());
        assert!(!here.rule("calls").unwrap().admit_async(key).await.unwrap());
        assert!(!there.rule("calls").unwrap().peek_async(key).await.unwrap().is_admitted());
        assert_eq!(rows.rows.lock().len(), number + 1);
    }
    assert!(there.rule("calls").unwrap().reset_async(here.key(("acme", ""))).await.unwrap());
    assert!(here.rule("calls").unwrap().admit_async(("acme", "")).await.unwrap());
}

#[test]
fn the_debug_output_of_a_key_has_none_of_its_bytes() {
    let limiter = frozen([Rule::new("calls").no_requests().policy(Policy::per_minute(1))]);
    let key = limiter.key("secret-4711");
    assert!(key.to_bytes().starts_with(b"secret-4711"));
    let debug = format!("{key:?} {key:#?} {:?}", limiter.rule("calls").unwrap());
    assert!(!debug.contains("4711") && !debug.contains("52, 55, 49, 49"), "{debug}");
}

#[test]
fn a_missing_key_is_turned_away_by_its_level() {
    let rule = Rule::new("calls").every_request().key(key::header("X-Account")).policy(Policy::per_minute(1));
    let limiter = frozen([rule.on_missing(OnMissing::Reject(StatusCode::UNAUTHORIZED))]);
    assert_eq!(limiter.matching(&RequestView::new(&Request::new(())))[0].level(), "x-account");
}

fn part() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..40)
}

proptest! {
    #[test]
    fn bytes_are_different_for_different_keys(one in prop::collection::vec(part(), 0..4), other in prop::collection::vec(part(), 0..4)) {
        let limiter = frozen([Rule::new("calls").no_requests().policy(Policy::per_minute(1))]);
        let key = |parts: &[Vec<u8>]| limiter.key(key::parts(parts));
        prop_assert_eq!(key(&one).to_bytes() == key(&other).to_bytes(), one == other);
        prop_assert_eq!(key(&one) == key(&other), one == other);
        prop_assert_eq!(limiter.key(key(&one)), key(&one));
        if let Some((last, first)) = one.split_last() {
            prop_assert_eq!(limiter.key((key(first), last)), key(&one), "a key goes on with its parts");
        }
    }
}

/// Only that this compiles: what is asked with is borrowed or owned, sized or not.
#[allow(dead_code, reason = "the compiler is the test")]
fn anything_is_key_parts(limiter: &RateLimiter, dynamic: &dyn KeyParts, mut owned: String) -> [Key; 3] {
    [limiter.key(dynamic), limiter.key(&mut owned), limiter.key(Box::<dyn KeyParts>::from(Box::new(7)))]
}
