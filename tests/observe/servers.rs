//! What operators see of a Redis server: that it is out and back, and that it evicts histories.

use std::{sync::Arc, time::Duration};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use parking_lot::Mutex;
use tokio::{task::yield_now, time::timeout};
use tower_quota::{
    Policy, RateLimiter, RateLimiterBuilder, Rule,
    http::Http,
    observe::{Check, Event, Warned},
    store::{OnOutage, RedisStore},
};
use tower_quota_tests::redis::{Limiter, Server, store};

/// It never takes so long.
const GUARD: Duration = Duration::from_secs(20);

fn builder(store: RedisStore) -> RateLimiterBuilder<Http, RedisStore> {
    let rule = Rule::new("calls").no_requests().policy(Policy::per_hour(1000));
    // The tests of this process build many limiters.
    RateLimiter::builder().store(store).rule(rule).without(Check::ManyLimiters)
}

/// Runs with the limiter's metrics in a recorder of its own.
fn recorded<F: Future>(run: impl FnOnce(PrometheusRecorder) -> F) {
    let recorder = PrometheusBuilder::new().build_recorder();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { timeout(GUARD, run(recorder)).await.expect("it takes too long") });
}

/// Returns the value of a series.
fn value(limiter: &Limiter, recorder: &PrometheusRecorder, series: &str) -> f64 {
    limiter.flush_metrics();
    let text = recorder.handle().render();
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in {text}")).parse().unwrap()
}

/// Asks until the servers are well, or are not.
async fn ask_until(limiter: &Limiter, is_healthy: bool) {
    while limiter.store().health().unwrap().is_healthy() != is_healthy {
        let _ = limiter.rule("calls").unwrap().admit_async("ann").await;
        yield_now().await;
    }
}

#[test]
fn a_server_that_is_out_is_an_event_and_in_the_metrics_until_it_is_back() {
    recorded(async |recorder| {
        let (server, outages) = (Server::start(), Arc::new(Mutex::new(Vec::new())));
        let told = Arc::clone(&outages);
        let builder =
            builder(RedisStore::new(server.url(), OnOutage::Local { share: 0.5 })).on_decision(move |event| {
                if let Event::Outage(outage) = event {
                    told.lock().push(outage.is_over());
                }
            });
        let limiter = metrics::with_local_recorder(&recorder, || builder.build()).unwrap();
        let of = |series: &str| value(&limiter, &recorder, series);
        assert!(limiter.rule("calls").unwrap().admit_async("ann").await.unwrap());
        assert_eq!((of("tower_quota_breaker_open"), outages.lock().len()), (0.0, 0));

        server.kill();
        ask_until(&limiter, false).await;
        assert_eq!((of("tower_quota_breaker_open"), &**outages.lock()), (1.0, &[false][..]));
        assert!(of(r#"tower_quota_store_failures_total{reason="disconnected"}"#) >= 3.0);
        assert!(of(r#"tower_quota_outage_decisions_total{outcome="admitted"}"#) >= 3.0);
        assert_eq!(of(r#"tower_quota_outage_decisions_total{outcome="unavailable"}"#), 0.0);

        server.restart();
        ask_until(&limiter, true).await;
        assert_eq!((of("tower_quota_breaker_open"), &**outages.lock()), (0.0, &[false, true][..]));
        assert!(of(r#"tower_quota_store_failures_total{reason="breaker"}"#) >= 1.0);
        assert!(of(r#"tower_quota_store_duration_seconds_count{operation="decide"}"#) >= 5.0);
    });
}

#[test]
fn a_request_that_passes_because_the_store_is_out_counts_as_admitted_and_its_units_do_not() {
    recorded(async |recorder| {
        let (server, tokens) = (Server::start(), Rule::new("tokens").no_requests().cost("tokens", 1));
        let tokens = tokens.policy(Policy::per_hour(1000));
        let store = RedisStore::new(server.url(), OnOutage::Open).deadline(GUARD);
        let builder = RateLimiter::builder().store(store).rule(tokens);
        let limiter = metrics::with_local_recorder(&recorder, || builder.build()).unwrap();
        let of = |series: &str| value(&limiter, &recorder, series);
        let tokens = limiter.rule("tokens").unwrap();
        assert!(tokens.admit_cost_async("ann", 5).await.unwrap());
        server.kill();
        assert!(tokens.admit_cost_async("ann", 7).await.unwrap());
        assert_eq!(of(r#"tower_quota_requests_total{outcome="admitted"}"#), 2.0);
        assert_eq!(of(r#"tower_quota_outage_decisions_total{outcome="admitted"}"#), 1.0);
        assert_eq!(of(r#"tower_quota_units_total{rule="tokens",unit="tokens",kind="charged"}"#), 5.0);
    });
}

#[test]
fn a_server_that_evicts_is_a_warning_and_no_decision_fails_for_that() {
    recorded(async |_| {
        let evicting = Server::with(&["--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru"]);
        let limiter = builder(store(evicting.url())).build().unwrap();
        while limiter.warnings().is_empty() {
            assert!(limiter.rule("calls").unwrap().admit_async("ann").await.unwrap());
            yield_now().await;
        }
        let warnings = limiter.warnings();
        assert_eq!(warnings.iter().map(Warned::check).collect::<Vec<_>>(), [Check::RedisEvicts]);
        assert!(warnings[0].text().contains("maxmemory-policy allkeys-lru"), "{}", warnings[0].text());

        // Neither of these is one: the check is off, nothing is ever evicted, nobody may ask.
        let keeping = Server::with(&["--maxmemory", "64mb", "--maxmemory-policy", "noeviction"]);
        let silent =
            Server::with(&["--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru", "--rename-command", "INFO", ""]);
        for builder in [
            builder(store(evicting.url())).without(Check::RedisEvicts),
            builder(store(keeping.url())),
            builder(store(silent.url())),
        ] {
            let limiter = builder.build().unwrap();
            for _ in 0..200 {
                assert!(limiter.rule("calls").unwrap().admit_async("ann").await.unwrap());
            }
            assert!(limiter.warnings().is_empty(), "{:?}", limiter.warnings());
        }
    });
}
