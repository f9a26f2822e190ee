//! Behind a real tonic server on a real socket, with tonic's client: what it is told, and whom it is counted as.

use std::{net::SocketAddr, time::Duration};

use http::StatusCode;
use tokio::task::JoinSet;
use tokio_stream::StreamExt;
use tonic::{
    Code, Request, Status,
    metadata::MetadataMap,
    service::{Interceptor, InterceptorLayer},
    transport::Server,
};
use tonic_types::StatusExt;
use tower::ServiceBuilder;
use tower_quota::{
    OnMissing, Policy, RateLimitLayer, RateLimiter, Rule,
    key::{self, KeyParts, MultipleValues},
};
use tower_quota_tests::{
    echo::{Client, Echo, METHODS, listen},
    limiter::{frozen, limiter},
};

/// Room for header lists that are four times as long as hyper takes by itself.
const HEADER_LIST: u32 = 64 * 1024;

/// A rule for all methods, for each tenant.
fn calls(policy: impl Into<Policy>) -> Rule {
    Rule::new("calls").routes(["/echo.Echo/{*method}"]).key(key::metadata("x-tenant")).level("tenant").policy(policy)
}

/// Serves the echo behind a layer of the server, for as long as the test runs.
fn serve(layer: RateLimitLayer) -> (SocketAddr, Echo) {
    let ((address, incoming), echo) = (listen(), Echo::default());
    let server = Server::builder().http2_max_header_list_size(HEADER_LIST).layer(layer).add_service(echo.clone());
    tokio::spawn(server.serve_with_incoming(incoming));
    (address, echo)
}

async fn served_by(rule: Rule) -> (Client, Echo) {
    let (address, echo) = serve(frozen([rule]).layer());
    (Client::connect(address).await, echo)
}

fn used(limiter: &RateLimiter, key: impl KeyParts) -> u64 {
    let decision = limiter.rule("calls").unwrap().peek(key);
    let quota = decision.quotas().next().unwrap();
    quota.limit() - quota.remaining()
}

fn pushback(metadata: &MetadataMap) -> u64 {
    metadata.get("grpc-retry-pushback-ms").unwrap().to_str().unwrap().parse().unwrap()
}

// ---- what a refused caller is told ----

#[tokio::test]
async fn each_kind_of_method_is_served_refused_and_served_again_after_the_wait() {
    let text = "one two three";
    for method in METHODS {
        let (limiter, clock) = limiter([calls(Policy::per_minute(2).and_per_hour(1800))]);
        let (address, echo) = serve(limiter.layer());
        let acme = Client::connect(address).await.with("x-tenant", "acme");
        for _ in 0..2 {
            assert_eq!(acme.call(method, text).await.unwrap(), text, "{method}");
        }
        clock.advance(Duration::from_millis(20_500));

        let refused = acme.call(method, text).await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted, "{method}");
        let message = "You've exceeded the per-minute rate limit. Please wait for sometime before retrying.";
        assert_eq!(refused.message(), message);
        let details = refused.get_error_details();
        let wait = details.retry_info().unwrap().retry_delay.unwrap();
        assert_eq!(wait, Duration::from_millis(39_500));
        let [violation] = &details.quota_failure().unwrap().violations[..] else { panic!("{details:?}") };
        assert_eq!(violation.subject, "level:tenant");
        assert_eq!(violation.description, "calls/minute: 2 per 1m");
        let info = details.error_info().unwrap();
        assert_eq!((&*info.reason, &*info.domain), ("RATE_LIMIT_EXCEEDED", "tower-quota"));
        assert_eq!(refused.metadata().get("retry-after").unwrap(), "40");
        assert!((39_500..=43_450).contains(&pushback(refused.metadata())), "{:?}", refused.metadata());
        assert_eq!(echo.calls(), 2, "{method}: the refused call did not reach the service");

        clock.advance(wait);
        assert_eq!(acme.call(method, text).await.unwrap(), text, "{method}");
    }
}

#[tokio::test]
async fn every_exhausted_quota_is_a_violation_and_the_longest_wait_counts() {
    let (acme, _) = served_by(calls(Policy::per_minute(1).and_per_hour(1).and_per_day(9))).await;
    acme.say("").await.unwrap();
    let refused = acme.say("").await.unwrap_err();
    assert_eq!(refused.message(), "You've exceeded the hourly rate limit. Please wait for sometime before retrying.");
    let details = refused.get_error_details();
    assert_eq!(details.retry_info().unwrap().retry_delay, Some(Duration::from_secs(3600)));
    let violations = details.quota_failure().unwrap().violations.iter().map(|violation| &*violation.description);
    assert_eq!(violations.collect::<Vec<_>>(), ["calls/hour: 1 per 1h", "calls/minute: 1 per 1m"]);
}

/// gRFC A6: clients come back after exactly the pushback, so it is the server that has to spread them.
#[tokio::test]
async fn pushbacks_are_spread_behind_the_wait() {
    for (percent, latest) in [(0, 60_000), (50, 90_000)] {
        let (address, _) = serve(frozen([calls(Policy::per_minute(1))]).layer().pushback_jitter(percent));
        let client = Client::connect(address).await;
        client.say("").await.unwrap();
        let mut pushbacks = Vec::new();
        for _ in 0..30 {
            pushbacks.push(pushback(client.say("").await.unwrap_err().metadata()));
        }
        assert!(pushbacks.iter().all(|pushback| (60_000..=latest).contains(pushback)), "{pushbacks:?}");
        pushbacks.dedup();
        assert_eq!(pushbacks.len() == 1, percent == 0, "{pushbacks:?}");
    }
}

/// F43: neither the caller's own key nor anybody else's.
#[tokio::test]
async fn no_key_comes_back() {
    const KEY: &str = "tenant-4711-of-the-secret-list";
    let limiter = frozen([calls(Policy::per_minute(1))]);
    let client = Client::connect(serve(limiter.layer()).0).await.with("x-tenant", KEY);
    let admitted = client.respond_to("").await.unwrap();
    assert!(!format!("{:?}", admitted.metadata()).contains("4711"), "{:?}", admitted.metadata());
    let refused = client.say("").await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(!format!("{refused:?}").contains("4711"), "{refused:?}");
    assert!(!String::from_utf8_lossy(refused.details()).contains("4711"), "{refused:?}");
    let hash = format!("{:?}", limiter.key(KEY));
    assert!(!format!("{refused:?}").contains(&hash), "{refused:?}");
}

// ---- which calls ----

#[tokio::test]
async fn a_rule_names_a_method_or_all_methods_of_a_service() {
    let all = calls(Policy::per_minute(3));
    let say = Rule::new("say").routes(["POST /echo.Echo/Say"]).key(key::metadata("x-tenant")).level("tenant");
    let (address, echo) = serve(frozen([all, say.policy(Policy::per_minute(1))]).layer());
    let acme = Client::connect(address).await.with("x-tenant", "acme");
    let mut codes = Vec::new();
    for method in ["Say", "Say", "Many", "Collect", "Talk", "Talk", "Many"] {
        codes.push(acme.call(method, "a").await.map_or_else(|status| status.code(), |_| Code::Ok));
    }
    let refused = Code::ResourceExhausted;
    assert_eq!(codes, [Code::Ok, refused, Code::Ok, Code::Ok, Code::Ok, refused, refused]);
    assert_eq!(echo.calls(), 4);
    assert_eq!(acme.with("x-other", "1").admitted_of(2).await, 0, "the tenant is the same");
}

#[tokio::test]
async fn calls_that_no_rule_names_pass() {
    let rule =
        Rule::new("other").routes(["/echo.Other/{*method}"]).key(key::constant("all")).policy(Policy::per_minute(1));
    let (client, echo) = served_by(rule).await;
    assert_eq!(client.admitted_of(5).await, 5);
    assert_eq!(echo.calls(), 5);
}

#[tokio::test]
async fn a_stream_is_charged_once_when_it_opens() {
    let (limiter, clock) = limiter([calls(Policy::per_minute(2))]);
    let (address, echo) = serve(limiter.layer());
    let acme = Client::connect(address).await.with("x-tenant", "acme");

    let (texts, stream) = tokio::sync::mpsc::unbounded_channel();
    let stream = tokio_stream::wrappers::UnboundedReceiverStream::new(stream);
    let mut talk = acme.talk(stream).await.unwrap();
    assert_eq!(used(&limiter, "acme"), 1);
    for number in 0..100 {
        texts.send(number.to_string()).unwrap();
        assert_eq!(talk.next().await.unwrap().unwrap(), number.to_string());
    }
    assert_eq!(acme.many(&"word ".repeat(100)).await.unwrap().len(), 101);
    assert_eq!(used(&limiter, "acme"), 2);

    assert_eq!(acme.code().await, Code::ResourceExhausted);
    texts.send("still open".to_owned()).unwrap();
    assert_eq!(talk.next().await.unwrap().unwrap(), "still open", "what was admitted goes on");
    clock.advance(Duration::from_secs(60));
    texts.send("a minute later".to_owned()).unwrap();
    assert_eq!(talk.next().await.unwrap().unwrap(), "a minute later");
    assert_eq!(used(&limiter, "acme"), 0);
    drop(texts);
    assert!(talk.next().await.is_none());
    assert_eq!(echo.calls(), 2);
}

/// L8, F23: tonic clones the service for every connection and every call.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_and_streams_share_one_limit() {
    let (address, echo) = serve(frozen([calls(Policy::per_minute(77))]).layer());
    let mut clients = JoinSet::new();
    for _ in 0..10 {
        let client = Client::connect(address).await.with("x-tenant", "acme");
        for _ in 0..20 {
            let client = client.clone();
            clients.spawn(async move { client.code().await });
        }
    }
    let codes = clients.join_all().await;
    assert_eq!(codes.iter().filter(|code| **code == Code::Ok).count(), 77);
    assert_eq!(codes.iter().filter(|code| **code == Code::ResourceExhausted).count(), 123);
    assert_eq!(echo.calls(), 77);
}

// ---- whom they are counted as ----

#[tokio::test]
async fn each_tenant_has_its_own_limit() {
    let (client, echo) = served_by(calls(Policy::per_minute(2))).await;
    for tenant in ["acme", "globex", ""] {
        assert_eq!(client.clone().with("x-tenant", tenant).admitted_of(5).await, 2, "{tenant}");
    }
    assert_eq!(echo.calls(), 6);
}

#[tokio::test]
async fn binary_metadata_is_compared_as_the_bytes_it_stands_for() {
    let rule = calls(Policy::per_minute(2)).key(key::metadata("x-id-bin")).level("id");
    let limiter = frozen([rule]);
    let client = Client::connect(serve(limiter.layer()).0).await;
    // With and without the padding it is the same.
    assert_eq!(client.clone().with_header("x-id-bin", b"AP/+").admitted_of(1).await, 1);
    assert_eq!(used(&limiter, b"\x00\xff\xfe".as_slice()), 1);
    for (unit, value) in [b"/w==", &b"/w"[..], b"/w=="].into_iter().enumerate() {
        let code = client.clone().with_header("x-id-bin", value).code().await;
        assert_eq!(code == Code::Ok, unit < 2, "{value:?}");
    }
    assert_eq!(used(&limiter, b"\xff".as_slice()), 2);
}

#[tokio::test]
async fn the_peer_is_who_connects_to_tonic_s_server() {
    let limiter = frozen([calls(Policy::per_minute(2)).key(key::peer_ip()).level("peer")]);
    let (address, _) = serve(limiter.layer());
    let near = Client::connect(address).await;
    let another_of_it = Client::connect(address).await;
    let far = Client::connect_from([127, 0, 0, 2], address).await;
    assert_eq!(near.admitted_of(1).await, 1);
    assert_eq!(another_of_it.with("x-forwarded-for", "192.0.2.1").admitted_of(3).await, 1);
    assert_eq!(near.admitted_of(2).await, 0);
    assert_eq!(far.admitted_of(3).await, 2);
    assert_eq!((used(&limiter, [127, 0, 0, 1].as_slice()), used(&limiter, [127, 0, 0, 2].as_slice())), (2, 2));
}

/// What an authentication leaves for those further in.
#[derive(Clone)]
struct Account(String);

/// Accepts tokens of the form `token-of-<account>`.
fn authenticate() -> impl Interceptor + Clone + Send + Sync + 'static {
    |mut request: Request<()>| {
        let token = request.metadata().get("authorization").and_then(|token| token.to_str().ok());
        let account = token.and_then(|token| token.strip_prefix("token-of-"));
        let account = Account(account.ok_or_else(|| Status::unauthenticated("no token"))?.to_owned());
        request.extensions_mut().insert(account);
        Ok(request)
    }
}

fn by_account() -> Rule {
    calls(Policy::per_minute(2)).key(key::claim(|account: &Account| &account.0)).level("account")
}

/// Two calls of each account pass, and none without a token.
async fn assert_that_accounts_are_counted(address: SocketAddr, echo: &Echo, limiter: &RateLimiter) {
    let client = Client::connect(address).await;
    assert_eq!(client.code().await, Code::Unauthenticated);
    assert!(limiter.is_empty());
    for account in ["acme", "globex"] {
        let token = format!("token-of-{account}");
        assert_eq!(client.clone().with("authorization", &token).admitted_of(4).await, 2, "{account}");
        assert_eq!(used(limiter, account), 2);
    }
    assert_eq!(echo.calls(), 4);
}

#[tokio::test]
async fn an_interceptor_in_front_of_the_service_s_layer_tells_who_is_calling() {
    let (limiter, echo) = (frozen([by_account()]), Echo::default());
    let stack = ServiceBuilder::new().layer(InterceptorLayer::new(authenticate())).layer(limiter.layer());
    let (address, incoming) = listen();
    tokio::spawn(Server::builder().add_service(stack.service(echo.clone())).serve_with_incoming(incoming));
    assert_that_accounts_are_counted(address, &echo, &limiter).await;
}

#[tokio::test]
async fn an_interceptor_in_front_of_the_server_s_layer_tells_who_is_calling() {
    let (limiter, echo) = (frozen([by_account()]), Echo::default());
    let stack = ServiceBuilder::new().layer(InterceptorLayer::new(authenticate())).layer(limiter.layer());
    let (address, incoming) = listen();
    let server = Server::builder().layer(stack.into_inner()).add_service(echo.clone());
    tokio::spawn(server.serve_with_incoming(incoming));
    assert_that_accounts_are_counted(address, &echo, &limiter).await;
}

/// `RateLimit` is a `NamedService` if what it protects is one.
#[tokio::test]
async fn add_service_takes_a_service_behind_the_layer_and_counts_that_service_only() {
    let (limiter, echo) = (frozen([calls(Policy::per_minute(1)).key(key::constant("everybody"))]), Echo::default());
    let limited = ServiceBuilder::new().layer(limiter.layer()).service(echo.clone());
    let (address, incoming) = listen();
    tokio::spawn(Server::builder().add_service(limited).serve_with_incoming(incoming));
    let client = Client::connect(address).await;
    assert_eq!(client.admitted_of(3).await, 1);
    assert_eq!(echo.calls(), 1);
}

/// F24.
#[tokio::test]
async fn on_the_server_and_on_the_service_it_charges_once() {
    let (limiter, echo) = (frozen([calls(Policy::per_minute(4))]), Echo::default());
    let limited = ServiceBuilder::new().layer(limiter.layer()).service(echo.clone());
    let (address, incoming) = listen();
    tokio::spawn(Server::builder().layer(limiter.layer()).add_service(limited).serve_with_incoming(incoming));
    assert_eq!(Client::connect(address).await.with("x-tenant", "acme").admitted_of(9).await, 4);
    assert_eq!(echo.calls(), 4);
}

// ---- metadata that is not as it should be ----

/// Metadata that carries no key, or not one: what the rule says happens.
#[tokio::test]
async fn a_missing_key_is_shared_or_skipped_or_rejected_as_the_rule_says() {
    let outcomes = [
        (OnMissing::Share, [Code::Ok, Code::Ok, Code::ResourceExhausted]),
        (OnMissing::Skip, [Code::Ok, Code::Ok, Code::Ok]),
        (OnMissing::Reject(StatusCode::UNAUTHORIZED), [Code::Unauthenticated; 3]),
        (OnMissing::Reject(StatusCode::SERVICE_UNAVAILABLE), [Code::Unavailable; 3]),
    ];
    let none = |client: Client| client;
    let not_base64 = |client: Client| client.with_header("x-id-bin", b"!!!not base64");
    let two = |client: Client| client.with_header("x-id-bin", b"AA").with_header("x-id-bin", b"AQ");
    let bad: [&dyn Fn(Client) -> Client; 3] = [&none, &not_base64, &two];
    for (outcome, expected) in outcomes {
        for (number, make_bad) in bad.iter().enumerate() {
            let rule = calls(Policy::per_minute(2))
                .key(key::metadata("x-id-bin").multiple_values(MultipleValues::MissingKey))
                .level("id");
            let (client, echo) = served_by(rule.on_missing(outcome)).await;
            let caller = make_bad(client.clone());
            let codes = [caller.code().await, caller.code().await, caller.code().await];
            assert_eq!(codes, expected, "{outcome:?}, number {number}");
            assert_eq!(echo.calls(), expected.iter().filter(|code| **code == Code::Ok).count());
            let good = client.with_header("x-id-bin", b"AAAA");
            assert_eq!(good.admitted_of(3).await, 2, "who has a key is counted by it: {outcome:?}, number {number}");
        }
    }
}

#[tokio::test]
async fn a_rejection_says_what_is_missing_and_gives_no_hint_when_to_retry() {
    let rule = calls(Policy::per_minute(2)).on_missing(OnMissing::Reject(StatusCode::UNAUTHORIZED));
    let (client, _) = served_by(rule).await;
    let rejected = client.say("").await.unwrap_err();
    assert_eq!(rejected.code(), Code::Unauthenticated);
    assert!(rejected.message().contains("tenant"), "{rejected:?}");
    assert!(rejected.get_details_retry_info().is_none());
    for name in ["retry-after", "grpc-retry-pushback-ms", "ratelimit"] {
        assert!(!rejected.metadata().contains_key(name), "{name}: {rejected:?}");
    }
}

/// Of several values the first, all, or none, as the rule says.
#[tokio::test]
async fn several_values_count_as_the_rule_says() {
    let rule =
        |several| calls(Policy::per_minute(2)).key(key::metadata("x-tenant").multiple_values(several)).level("tenant");
    for (several, expected) in [
        (MultipleValues::First, [2, 0, 2]),
        (MultipleValues::Joined, [2, 2, 2]),
        (MultipleValues::MissingKey, [0, 0, 2]),
    ] {
        let rule = rule(several).on_missing(OnMissing::Reject(StatusCode::UNAUTHORIZED));
        let (client, _) = served_by(rule).await;
        let tenants = |first, second| client.clone().with("x-tenant", first).with("x-tenant", second);
        let admitted = [
            tenants("acme", "globex").admitted_of(3).await,
            tenants("acme", "initech").admitted_of(3).await,
            client.clone().with("x-tenant", "globex").admitted_of(3).await,
        ];
        assert_eq!(admitted, expected, "{several:?}");
    }
}

/// A client can send any byte from 128 on in a text value, though gRPC does not allow it.
#[tokio::test]
async fn bytes_that_are_no_text_are_a_key_like_any_other() {
    let limiter = frozen([calls(Policy::per_minute(2))]);
    let client = Client::connect(serve(limiter.layer()).0).await;
    for value in [&b"\xff\xfe\x80"[..], b"\xff\xfe\x81", b"\xc3\xa9", b"a\tb"] {
        let caller = client.clone().with_header("x-tenant", value);
        assert_eq!(caller.admitted_of(3).await, 2, "{value:?}");
        assert_eq!(used(&limiter, value), 2, "{value:?}");
    }
}

#[tokio::test]
async fn values_of_16_kib_are_told_apart_by_their_last_byte_and_keep_no_more_memory_than_others() {
    let limiter = frozen([calls(Policy::per_minute(2))]);
    let client = Client::connect(serve(limiter.layer()).0).await;
    let long = "x".repeat(16 * 1024 - 1);
    for last in ["y", "z"] {
        let caller = client.clone().with("x-tenant", &format!("{long}{last}"));
        assert_eq!(caller.admitted_of(3).await, 2);
        let refused = caller.say("").await.unwrap_err();
        assert!(refused.details().len() < 4096 && !format!("{refused:?}").contains("xxxx"));
    }
    assert_eq!(limiter.len(), 2);
}
