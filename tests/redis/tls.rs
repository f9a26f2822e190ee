//! The Redis store over TLS, against a real server with a certificate of its own.
#![allow(clippy::disallowed_methods, reason = "here the time is that of real servers")]

use tower_quota::{
    Policy, RateLimiter,
    store::{OnOutage, RedisStore},
};
use tower_quota_tests::redis::{Identity, Secured, admitted, authority, limiter, rule, store};

#[tokio::test]
async fn a_server_with_a_certificate_that_is_trusted_decides() {
    let secured = Secured::start();
    let Identity { certificate, key } = &secured.client;
    let trusting = store(secured.url()).root_certificate(secured.root.as_str());
    let limiter =
        limiter(trusting.client_certificate(certificate.as_str(), key.as_str()), [rule("calls", Policy::per_hour(5))]);
    limiter.store().ping().await.unwrap();
    assert_eq!(admitted(&limiter, "calls", "ann", 8).await, 5);
    assert_eq!(secured.server.calls_of("evalsha"), 8 + 1, "and one of the ping");
}

#[tokio::test]
async fn a_server_that_nobody_vouches_for_is_told_nothing() {
    let secured = Secured::start();
    let stranger = authority().pem();
    for trusting in [store(secured.url()), store(secured.url()).root_certificate(stranger)] {
        let limiter = limiter(trusting, [rule("calls", Policy::per_hour(5))]);
        let error = limiter.store().ping().await.unwrap_err();
        assert!(error.reason().to_lowercase().contains("certificate"), "{error}");
        assert!(limiter.check_async("calls", "ann").await.is_err());
    }
    assert_eq!(secured.server.calls_of("evalsha") + secured.server.calls_of("eval"), 0);
}

#[tokio::test]
async fn a_client_without_a_certificate_is_turned_away_where_one_is_asked_for() {
    let secured = Secured::start();
    let limiter =
        limiter(store(secured.url()).root_certificate(secured.root.as_str()), [rule("calls", Policy::per_hour(5))]);
    assert!(limiter.store().ping().await.is_err());
}

#[test]
fn mistakes_in_certificates_are_found_when_the_limiter_is_built() {
    let refusal = |store: RedisStore| {
        RateLimiter::builder().store(store).rule(rule("calls", Policy::per_hour(5))).build().map(drop).unwrap_err()
    };
    let at = |url: &str| RedisStore::new(url, OnOutage::Closed);
    let certificate = authority().pem();
    for store in [
        at("rediss://localhost").client_certificate("no certificate", "no key"),
        at("redis://localhost").root_certificate(certificate.as_str()),
        at("rediss://localhost").root_certificate(""),
        at("rediss://localhost").root_certificate("not in PEM"),
        RedisStore::cluster(["rediss://localhost"], OnOutage::Open).root_certificate("\n"),
        RedisStore::sentinel(["redis://localhost"], "rediss://main", OnOutage::Open).root_certificate(""),
        RedisStore::sentinel(["rediss://localhost"], "main", OnOutage::Open).root_certificate(certificate.as_str()),
    ] {
        let error = refusal(store);
        assert!(error.field().starts_with("redis "), "{error}");
    }
}
