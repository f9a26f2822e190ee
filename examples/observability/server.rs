//! The server: Kore.ai's matrix, a rule that is tried in shadow, one that counts tokens, and the endpoint for Prometheus.

#[allow(dead_code, reason = "its limiter has other rules")]
#[path = "../kore/server.rs"]
mod kore;

use axum::{Router, routing::get};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tower_quota::{ConfigError, Enforcement, Policy, RateLimiter, Rule, clock::SystemClock, key};

pub(crate) use kore::token;

/// The name of the rule that counts tokens.
pub(crate) const TOKENS: &str = "tokens";

/// The bounds of the waits that callers are told, in seconds.
const WAITS: [f64; 7] = [1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0];
/// The bounds of true costs, as multiples of the estimates.
const RATIOS: [f64; 8] = [0.1, 0.25, 0.5, 0.9, 1.0, 1.5, 3.0, 10.0];
/// The bounds of the durations of decisions on a server, in seconds.
const DURATIONS: [f64; 8] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1];

/// Installs what keeps the metrics of this process, and returns what renders them.
pub(crate) fn install_recorder() -> Result<PrometheusHandle, BuildError> {
    let full = |name: &str| Matcher::Full(format!("tower_quota_{name}"));
    PrometheusBuilder::new()
        .set_buckets_for_metric(full("retry_after_seconds"), &WAITS)?
        .set_buckets_for_metric(full("estimate_ratio"), &RATIOS)?
        .set_buckets_for_metric(full("store_duration_seconds"), &DURATIONS)?
        .install_recorder()
}

/// Returns the limiter. Its metrics are registered now.
pub(crate) fn limiter() -> Result<RateLimiter, ConfigError> {
    // A look before it is turned on: would 20 a second for each app be enough?
    let burst = Rule::new("burst").every_request().key(key::header("auth")).level("app");
    let burst = burst.policy(Policy::per_second(20)).enforcement(Enforcement::Shadow);
    let tokens = Rule::new(TOKENS).no_requests().policy(Policy::per_minute(20_000)).reserve("tokens", 1000);
    kore::builder()?.clock(SystemClock::new()).rule(burst).rule(tokens).build()
}

/// Returns the app. The endpoint for Prometheus is beside the limiter, not behind it.
pub(crate) fn app(limiter: &RateLimiter, metrics: PrometheusHandle) -> Router {
    let counted = limiter.clone();
    let render = move || async move {
        // What was counted last is shown, too.
        counted.flush_metrics();
        metrics.run_upkeep();
        metrics.render()
    };
    Router::new().route("/metrics", get(render)).fallback_service(kore::app(limiter))
}
