//! Python's grpcio, which is gRPC's C core, against a real tonic server behind the layer.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use http::Request;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tonic::{body::Body, transport::Server};
use tower::ServiceBuilder;
use tower_quota::{
    Policy, Quota, RateLimiter, Rule,
    clock::{Clock, ManualClock, SystemClock},
    key,
};
use tower_quota_tests::echo::{Echo, listen};

/// A server, and the attempts that came to it: how many times each says it has been retried.
struct Site {
    address: SocketAddr,
    echo: Echo,
    attempts: Arc<Mutex<Vec<u32>>>,
}

impl Site {
    fn serve(policy: impl Into<Policy>, clock: impl Clock) -> Self {
        let rule = Rule::new("calls").routes(["/echo.Echo/{*method}"]).key(key::metadata("x-tenant")).level("tenant");
        let limiter = RateLimiter::builder().rule(rule.policy(policy)).clock(clock).build().unwrap();
        let (echo, attempts) = (Echo::default(), Arc::<Mutex<Vec<u32>>>::default());
        let seen = Arc::clone(&attempts);
        let observe = move |request: Request<Body>| {
            let retries = request.headers().get("grpc-previous-rpc-attempts");
            seen.lock().push(retries.map_or(0, |retries| retries.to_str().unwrap().parse().unwrap()));
            request
        };
        let stack = ServiceBuilder::new().map_request(observe).layer(limiter.layer());
        let (address, incoming) = listen();
        let server = Server::builder().layer(stack.into_inner()).add_service(echo.clone());
        tokio::spawn(server.serve_with_incoming(incoming));
        Self { address, echo, attempts }
    }

    /// Runs the client, and returns what it reports.
    async fn client(&self, what: &str) -> Value {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/client.py");
        let mut client = tokio::process::Command::new(python());
        client.arg(script).arg(self.address.to_string()).arg(what).kill_on_drop(true);
        let output = client.output().await.unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{out}\n{err}");
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}\n{err}"))
    }
}

/// The interpreter that `tests/run` installs into the target folder.
fn python() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let python = target.join("python/bin/python");
    assert!(python.exists(), "there is no {}: run ./tests/run, which installs it", python.display());
    python
}

#[tokio::test]
async fn grpcio_sees_why_it_is_refused_and_when_to_come_back() {
    let site = Site::serve(Policy::per_minute(2).and_per_hour(1800), ManualClock::new());
    let seen = site.client("see").await;
    assert_eq!(seen["answers"], json!(["call 0", "call 1"]));
    assert_eq!(seen["code"], "RESOURCE_EXHAUSTED");
    assert_eq!(seen["message"], "You've exceeded the per-minute rate limit. Please wait for sometime before retrying.");
    assert_eq!(seen["retry_delay_ms"], 60_000);
    assert_eq!(seen["violations"], json!([["level:tenant", "calls/minute: 2 per 1m"]]));
    assert_eq!((&seen["reason"], &seen["domain"]), (&json!("RATE_LIMIT_EXCEEDED"), &json!("tower-quota")));
    assert_eq!(seen["initial"], json!([]), "it is Trailers-Only");
    let trailing = &seen["trailing"];
    assert_eq!(trailing["retry-after"], "60");
    let pushback: u64 = trailing["grpc-retry-pushback-ms"].as_str().unwrap().parse().unwrap();
    assert!((60_000..=66_000).contains(&pushback), "{pushback}");
    assert_eq!(site.echo.calls(), 2);
}

/// gRFC A6: its own backoff of 10 ms would have used up all attempts long before there is room again.
#[tokio::test]
async fn grpcio_with_a_retry_policy_waits_for_the_pushback_and_is_served() {
    let site = Site::serve(Quota::new(2, Duration::from_secs(2)), SystemClock::new());
    let seen = site.client("wait").await;
    assert_eq!(seen["answers"], json!(["call 0", "call 1", "call 2"]));
    assert_eq!(*site.attempts.lock(), [0, 0, 0, 1], "the third call came, was refused, and came back once");
    assert_eq!(site.echo.calls(), 3);
}
