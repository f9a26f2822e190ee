//! What is counted, as Prometheus would read it.

use std::{collections::BTreeMap, convert::Infallible, future::ready, time::Duration};

use http::{Request, Response};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use tower::{Layer, ServiceExt, service_fn};
use tower_quota::{
    Enforcement, OnMissing, Policy, RateLimiter, Rule, clock::ManualClock, exempt, key, store::AnyStore,
};
use tower_quota_tests::limiter::{limiter, limiter_for};

/// The values of all series, by their names and labels.
struct Scrape(BTreeMap<String, f64>);

impl Scrape {
    /// Scrapes after `run`, whose limiters count for it alone.
    fn after(run: impl FnOnce()) -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, run);
        let text = recorder.handle().render();
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let series = lines.map(|line| line.rsplit_once(' ').unwrap());
        Self(series.map(|(name, value)| (name.to_owned(), value.parse().unwrap())).collect())
    }

    fn of(&self, series: &str) -> f64 {
        *self.0.get(series).unwrap_or_else(|| panic!("no {series} in {:#?}", self.0.keys()))
    }

    /// The series of a name that are not zero, by their labels.
    fn labels(&self, name: &str) -> Vec<(&str, f64)> {
        let series = self.0.iter().filter_map(|(series, value)| Some((series.strip_prefix(name)?, *value)));
        series.filter(|(labels, value)| labels.starts_with('{') && *value != 0.0).collect()
    }
}

fn rule(name: &str, limit: u64) -> Rule {
    Rule::new(name).no_requests().policy(Policy::per_minute(limit))
}

#[test]
fn requests_and_the_answers_of_their_rules_are_counted_apart() {
    let scrape = Scrape::after(|| {
        let shadow = rule("new", 1).enforcement(Enforcement::Shadow);
        let pro = rule("calls", 2).tier("pro", Policy::per_minute(9)).tier_for("acme", "pro");
        let (limiter, _) = limiter([pro, shadow]);
        for admitted in [true, true, false] {
            assert_eq!(limiter.admit_all([("calls", "ann"), ("new", "ann")]).unwrap(), admitted);
        }
        assert!(limiter.rule("calls").unwrap().check("acme").is_admitted());
        let _ = limiter.rule("calls").unwrap().peek("acme");
    });
    assert_eq!(
        scrape.labels("tower_quota_requests_total"),
        [(r#"{outcome="admitted"}"#, 3.0), (r#"{outcome="denied"}"#, 1.0)]
    );
    assert_eq!(
        scrape.labels("tower_quota_decisions_total"),
        [
            (r#"{rule="calls",tier="",outcome="admitted"}"#, 2.0),
            (r#"{rule="calls",tier="",outcome="denied"}"#, 1.0),
            (r#"{rule="calls",tier="pro",outcome="admitted"}"#, 1.0),
            (r#"{rule="new",tier="",outcome="admitted"}"#, 1.0),
            (r#"{rule="new",tier="",outcome="would_deny"}"#, 2.0),
        ]
    );
    assert_eq!(scrape.labels("tower_quota_exhausted_total"), [(r#"{rule="calls",quota="minute"}"#, 1.0)]);
    assert_eq!(scrape.of(r#"tower_quota_retry_after_seconds_count{rule="calls"}"#), 1.0);
    assert_eq!(scrape.of(r#"tower_quota_retry_after_seconds_sum{rule="calls"}"#), 60.0);
}

#[test]
fn one_rule_with_nothing_uncommon_is_counted_however_it_is_asked() {
    let scrape = Scrape::after(|| {
        let (limiter, _) = limiter([rule("calls", 2)]);
        let calls = limiter.rule("calls").unwrap();
        assert!(calls.admit("ann") && calls.check("ann").is_admitted());
        assert!(!calls.admit("ann") && !calls.check("ann").is_admitted() && !calls.admit("ann"));
    });
    let outcomes = [(r#"{outcome="admitted"}"#, 2.0), (r#"{outcome="denied"}"#, 3.0)];
    assert_eq!(scrape.labels("tower_quota_requests_total"), outcomes);
    assert_eq!(scrape.of(r#"tower_quota_decisions_total{rule="calls",tier="",outcome="denied"}"#), 3.0);
    assert_eq!(scrape.of(r#"tower_quota_exhausted_total{rule="calls",quota="minute"}"#), 3.0);
}

#[test]
fn every_outcome_of_a_request_is_counted() {
    let scrape = Scrape::after(|| {
        let calls = Rule::new("calls").routes(["/calls"]).key(key::header("x-account")).policy(Policy::per_minute(9));
        let calls = calls.on_missing(OnMissing::Reject(http::StatusCode::UNAUTHORIZED));
        let tokens = rule("tokens", 10).cost("tokens", 1);
        let builder = RateLimiter::builder().clock(ManualClock::new()).exempt(exempt::routes(["/health"]));
        let limiter: RateLimiter = builder.rule(calls).rule(tokens).build().unwrap();
        assert!(!limiter.rule("tokens").unwrap().admit_cost("ann", 11).unwrap());
        let send = |path: &str, account: Option<&str>| {
            let inner = service_fn(|_: Request<()>| ready(Ok::<_, Infallible>(Response::new(String::new()))));
            let request =
                account.into_iter().fold(Request::get(path), |request, name| request.header("x-account", name));
            let called = limiter.layer().layer(inner).oneshot(request.body(()).unwrap());
            tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(called).unwrap()
        };
        for (path, account) in [("/calls", Some("ann")), ("/calls", None), ("/health", None), ("/other", None)] {
            send(path, account);
        }
    });
    let outcomes = ["admitted", "exempt", "missing_key", "never_possible", "ungoverned"];
    let labels: Vec<_> = outcomes.iter().map(|outcome| format!("{{outcome=\"{outcome}\"}}")).collect();
    let expected: Vec<_> = labels.iter().map(|labels| (&**labels, 1.0)).collect();
    assert_eq!(scrape.labels("tower_quota_requests_total"), expected);
}

#[test]
fn units_and_settlements_of_rules_with_costs_are_counted() {
    let scrape = Scrape::after(|| {
        let (limiter, clock) = limiter([rule("tokens", 100).reserve("tokens", 10), rule("calls", 9)]);
        let tokens = limiter.rule("tokens").unwrap();
        for units in [4, 10, 25] {
            tokens.check("ann").reservation().unwrap().settle("tokens", units);
        }
        drop(tokens.check("ann"));
        let late = tokens.check("ann");
        clock.advance(Duration::from_secs(61));
        late.reservation().unwrap().settle("tokens", 1);
        assert!(limiter.rule("calls").unwrap().admit("ann"));
    });
    assert_eq!(
        scrape.labels("tower_quota_units_total"),
        [
            (r#"{rule="tokens",unit="tokens",kind="charged"}"#, 50.0),
            (r#"{rule="tokens",unit="tokens",kind="owed"}"#, 15.0),
            (r#"{rule="tokens",unit="tokens",kind="returned"}"#, 6.0),
        ]
    );
    let one =
        |outcome: &str| scrape.of(&format!("tower_quota_settlements_total{{rule=\"tokens\",outcome=\"{outcome}\"}}"));
    assert_eq!(["lower", "equal", "higher", "unsettled", "late", "lost"].map(one), [1.0, 1.0, 1.0, 1.0, 1.0, 0.0]);
    assert_eq!(scrape.of(r#"tower_quota_estimate_ratio_count{rule="tokens"}"#), 4.0);
    assert!((scrape.of(r#"tower_quota_estimate_ratio_sum{rule="tokens"}"#) - 4.0).abs() < 1e-9);
}

#[test]
fn a_denial_by_units_in_flight_alone_is_held() {
    let scrape = Scrape::after(|| {
        let (limiter, _) = limiter([rule("tokens", 10).reserve("tokens", 10)]);
        let tokens = limiter.rule("tokens").unwrap();
        let first = tokens.check("ann");
        assert!(!tokens.check("ann").is_admitted());
        drop(first);
    });
    assert_eq!(scrape.of(r#"tower_quota_decisions_total{rule="tokens",tier="",outcome="held"}"#), 1.0);
}

#[test]
fn limits_keys_and_the_full_table_are_shown() {
    let scrape = Scrape::after(|| {
        let policy = Policy::per_minute(60).and_per_hour(1800);
        let calls = Rule::new("calls").no_requests().policy(policy).tier("pro", Policy::per_minute(600));
        let (limiter, clock) = limiter_for(2, [calls]);
        for key in ["a", "b", "c", "d"] {
            assert!(limiter.rule("calls").unwrap().admit(key));
            clock.advance(Duration::from_millis(200));
        }
        assert!(limiter.rule("calls").unwrap().admit("a"));
        limiter.reload(|builder| Ok(builder.rule(rule("calls", 61)))).unwrap();
        limiter.reload(|builder| Ok(builder.rule(rule("calls", 0)))).unwrap_err();
    });
    assert_eq!(scrape.of(r#"tower_quota_limit_units{rule="calls",quota="minute",tier=""}"#), 61.0);
    assert_eq!(scrape.of(r#"tower_quota_limit_units{rule="calls",quota="hour",tier=""}"#), 1800.0);
    assert_eq!(scrape.of(r#"tower_quota_limit_units{rule="calls",quota="minute",tier="pro"}"#), 600.0);
    assert_eq!(scrape.of(r#"tower_quota_window_seconds{rule="calls",quota="hour",tier=""}"#), 3600.0);
    assert_eq!((scrape.of("tower_quota_keys"), scrape.of("tower_quota_keys_limit")), (2.0, 2.0));
    assert_eq!(scrape.of("tower_quota_overflow_decisions_total"), 2.0);
    assert_eq!(scrape.labels("tower_quota_warnings_total"), [(r#"{code="table-full"}"#, 1.0)]);
    assert_eq!(
        scrape.labels("tower_quota_reloads_total"),
        [(r#"{outcome="failed"}"#, 1.0), (r#"{outcome="ok"}"#, 1.0)]
    );
    assert!(scrape.of("tower_quota_rules_loaded_timestamp_seconds") > 1.7e9);
}

/// Returns what has been counted so far of requests that were admitted.
fn admitted(recorder: &PrometheusRecorder) -> u64 {
    let text = recorder.handle().render();
    let line = text.lines().find_map(|line| line.strip_prefix("tower_quota_requests_total{outcome=\"admitted\"} "));
    line.map_or(0, |count| count.parse().unwrap())
}

#[test]
fn counts_are_handed_on_by_the_number_by_the_time_and_when_somebody_asks() {
    let recorder = PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, || {
        let (limiter, clock) = limiter([rule("calls", 1000)]);
        let admit = |times: usize| (0..times).for_each(|_| assert!(limiter.rule("calls").unwrap().admit("ann")));
        clock.advance(Duration::from_secs(1));
        admit(63);
        assert_eq!(admitted(&recorder), 0);
        admit(1);
        assert_eq!(admitted(&recorder), 64, "enough of a kind are handed on at once");
        admit(2);
        assert_eq!(admitted(&recorder), 64);
        clock.advance(Duration::from_millis(100));
        admit(1);
        assert_eq!(admitted(&recorder), 66, "the first decision after a while hands the earlier ones on");
        admit(1);
        limiter.flush_metrics();
        assert_eq!(admitted(&recorder), 68);
        admit(2);
        limiter.reload(|builder| Ok(builder.rule(rule("calls", 2000)))).unwrap();
        admit(1);
        limiter.flush_metrics();
        assert_eq!(admitted(&recorder), 71, "earlier versions of the rules are not forgotten");
    });
}

#[test]
fn a_limiter_that_is_not_to_count_registers_nothing() {
    let scrape = Scrape::after(|| {
        let limiter: RateLimiter = RateLimiter::builder().metrics(false).rule(rule("calls", 1)).build().unwrap();
        assert!(limiter.rule("calls").unwrap().admit("ann"));
        limiter.flush_metrics();
    });
    assert!(scrape.0.is_empty(), "{:?}", scrape.0);
}

#[test]
fn what_the_stores_of_several_limiters_count_is_summed() {
    let scrape = Scrape::after(|| {
        for others in [2, 3] {
            let (limiter, _) = limiter_for(1, [rule("calls", 9)]);
            let calls = limiter.rule("calls").unwrap();
            assert!(calls.admit("ann"));
            (0..others).for_each(|_| assert!(calls.admit("bob")));
            (0..2).for_each(|_| limiter.flush_metrics());
        }
    });
    assert_eq!(scrape.of("tower_quota_overflow_decisions_total"), 5.0);
}

#[test]
fn many_threads_lose_no_count() {
    let scrape = Scrape::after(|| {
        let (limiter, _) = limiter([rule("calls", 1_000_000)]);
        std::thread::scope(|scope| {
            for name in ["a", "b", "c", "d"] {
                let calls = limiter.rule("calls").unwrap();
                scope.spawn(move || {
                    (0..1001).for_each(|_| assert!(calls.admit(name) && calls.check(name).is_admitted()));
                });
            }
        });
    });
    assert_eq!(scrape.of(r#"tower_quota_requests_total{outcome="admitted"}"#), 8008.0);
    assert_eq!(scrape.of(r#"tower_quota_decisions_total{rule="calls",tier="",outcome="admitted"}"#), 8008.0);
}

#[test]
fn a_key_is_in_no_label() {
    let scrape = Scrape::after(|| {
        let (limiter, _) = limiter([rule("tokens", 10).reserve("tokens", 10)]);
        let tokens = limiter.rule("tokens").unwrap();
        drop((tokens.check("secret"), tokens.check("secret"), tokens.check_cost("secret", 99)));
    });
    assert!(!scrape.0.is_empty() && scrape.0.keys().all(|series| !series.contains("secret")), "{:?}", scrape.0);
}

#[test]
fn a_store_that_is_chosen_at_run_time_is_counted_the_same() {
    let scrape = Scrape::after(|| {
        let limiter = RateLimiter::builder().store(AnyStore::memory()).rule(rule("calls", 1)).build().unwrap();
        let calls = limiter.rule("calls").unwrap();
        for admitted in [true, false] {
            assert_eq!(futures_util::FutureExt::now_or_never(calls.admit_async("ann")).unwrap().unwrap(), admitted);
        }
    });
    assert_eq!(scrape.of(r#"tower_quota_requests_total{outcome="denied"}"#), 1.0);
    assert_eq!(scrape.of("tower_quota_keys"), 1.0);
}

#[test]
fn paced_calls_that_wait_are_counted_while_they_wait() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let waiting = metrics::with_local_recorder(&recorder, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let server = service_fn(|_: Request<()>| ready(Ok::<_, Infallible>(Response::new(()))));
            let client = tower_quota::client::PaceLayer::new(key::constant("all"), Policy::per_minute(1)).layer(server);
            client.clone().oneshot(Request::new(())).await.unwrap();
            let mut second = Box::pin(client.oneshot(Request::new(())));
            assert!(futures_util::poll!(&mut second).is_pending());
            let text = recorder.handle().render();
            second.await.unwrap();
            text
        })
    });
    let line = |text: &str, name: &str| text.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    assert!(line(&waiting, "tower_quota_pace_waiting{").ends_with(" 1"), "{waiting}");
    let text = recorder.handle().render();
    assert!(line(&text, "tower_quota_pace_waiting{").ends_with(" 0"), "{text}");
    assert!(line(&text, "tower_quota_pace_wait_seconds_count{").ends_with(" 1"), "{text}");
}

#[test]
fn decisions_without_a_server_are_counted_with_their_reasons() {
    let scrape = Scrape::after(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            // Nobody listens there.
            let store =
                tower_quota::store::RedisStore::new("redis://127.0.0.1:1", tower_quota::store::OnOutage::Closed);
            let limiter = RateLimiter::builder().store(store).rule(rule("calls", 9)).build().unwrap();
            for _ in 0..8 {
                limiter.rule("calls").unwrap().check_async("ann").await.unwrap_err();
            }
        });
    });
    assert!(scrape.of(r#"tower_quota_requests_total{outcome="unavailable"}"#) >= 8.0);
    assert!(scrape.of(r#"tower_quota_store_duration_seconds_count{operation="decide"}"#) >= 8.0);
}
