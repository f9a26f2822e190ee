//! Processes that keep to one pace together, through Redis.

use std::{
    convert::Infallible,
    env,
    process::{Command, Stdio},
    time::{Duration, SystemTime},
};

use futures_util::future::join_all;
use http::{Request, Response};
use tower::{Layer, ServiceExt, service_fn};
use tower_quota::{Policy, Quota, RateLimiter, Rule, key};
use tower_quota_tests::redis::{Server, store};

const URL: &str = "TOWER_QUOTA_PACE_URL";
const PROCESSES: usize = 3;
const CALLS: usize = 20;
/// Of all processes together.
const LIMIT: Quota = Quota::new(20, Duration::from_secs(2));
/// What a busy machine may put between a decision and its call.
const JITTER: Duration = Duration::from_millis(700);

/// Makes its calls and says when, in microseconds since 1970.
async fn make_calls(url: String) {
    let rule = Rule::new("api.example.com").every_request().key(key::host()).policy(Policy::new(LIMIT));
    let limiter = RateLimiter::builder().store(store(url)).rule(rule).build().unwrap();
    let client = limiter.pace().layer(service_fn(async |_: Request<()>| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        println!("\ncalled {}", now.as_micros());
        Ok::<_, Infallible>(Response::new(()))
    }));
    let request = || Request::get("https://api.example.com/").body(()).unwrap();
    join_all((0..CALLS).map(|_| client.clone().oneshot(request())))
        .await
        .into_iter()
        .for_each(|call| drop(call.unwrap()));
}

/// Started as one of the three, this very test is the process that calls.
#[test]
fn three_processes_share_their_pace_through_redis() {
    if let Ok(url) = env::var(URL) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        return runtime.block_on(make_calls(url));
    }
    let server = Server::start();
    let process = |_| {
        let mut process = Command::new(env::current_exe().unwrap());
        process.args(["--exact", "pace::three_processes_share_their_pace_through_redis", "--nocapture"]);
        process.env(URL, server.url()).stdout(Stdio::piped()).spawn().unwrap()
    };
    let processes: Vec<_> = (0..PROCESSES).map(process).collect();
    let mut calls: Vec<u64> = Vec::new();
    for process in processes {
        let output = process.wait_with_output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        calls.extend(
            text.lines().filter_map(|line| line.strip_prefix("called ")).map(|time| time.parse::<u64>().unwrap()),
        );
    }
    assert_eq!(calls.len(), PROCESSES * CALLS, "each call goes at last");
    calls.sort_unstable();
    let least = LIMIT.window().checked_sub(JITTER).unwrap().as_micros() as u64;
    for calls in calls.windows(LIMIT.limit() as usize + 1) {
        assert!(calls[calls.len() - 1] - calls[0] >= least, "{calls:?}");
    }
}
