//! A progress bar for a batch of calls to a limited service: how many are done, under way, queued and backing off, and how
//! long the rest will take.
//!
//! ```sh
//! cargo run --example progress
//! ```
//!
//! Without a terminal (`cargo run --example progress 2>&1 | cat`) it prints a line each second. It ends by itself.

use std::{
    io::{IsTerminal, stderr, stdout},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{Router, routing::get};
use http::Request;
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::{
    net::TcpListener,
    task::JoinSet,
    time::{Instant, interval},
};
use tower::{BoxError, ServiceBuilder, ServiceExt};
use tower_quota::{
    Policy, Quota, RateLimitLayer,
    client::{
        PaceLayer, RetryLayer, RetryPolicy,
        pace::{PaceHandle, QueueStatus},
    },
    key,
};

const CALLS: u64 = 200;
/// The limit that the client assumes.
const BELIEVED: Quota = Quota::new(50, Duration::from_secs(2));
/// The limit of the server: a little lower, so that some calls are refused and retried.
const ADMITTED: Quota = Quota::new(45, Duration::from_secs(2));

/// The state of a batch, and the bar that shows it.
struct Progress {
    bar: ProgressBar,
    handle: PaceHandle,
    retries: RetryPolicy,
    begun: Instant,
    /// Calls that have begun and not ended.
    open: Arc<AtomicU64>,
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let server = serve().await?;
    let retries = RetryPolicy::builder().max_attempts(10).max_jitter(Duration::from_millis(500)).build()?;
    let pace = PaceLayer::new(key::host(), BELIEVED);
    let progress = Progress::new(pace.handle(), retries.clone());
    let client = ServiceBuilder::new()
        .layer(RetryLayer::new(retries))
        .layer(pace)
        .service(Client::builder(TokioExecutor::new()).build_http());

    let mut calls = JoinSet::new();
    for _ in 0..CALLS {
        let (client, open) = (client.clone(), Arc::clone(&progress.open));
        let request = Request::get(format!("http://{server}/")).body(Empty::<Bytes>::new())?;
        open.fetch_add(1, Ordering::Relaxed);
        calls.spawn(async move {
            let answer = client.oneshot(request).await;
            open.fetch_sub(1, Ordering::Relaxed);
            answer.map(|answer| answer.status().is_success())
        });
    }

    let mut tick = interval(progress.interval());
    let mut served = 0;
    loop {
        tokio::select! {
            call = calls.join_next() => match call {
                Some(call) => {
                    served += u64::from(call??);
                    progress.bar.inc(1);
                }
                None => break,
            },
            _ = tick.tick() => progress.show(),
        }
    }
    progress.show();
    progress.bar.finish();
    println!("{served} of {CALLS} calls served in {:.1} s", progress.begun.elapsed().as_secs_f64());
    Ok(())
}

impl Progress {
    fn new(handle: PaceHandle, retries: RetryPolicy) -> Self {
        let style = ProgressStyle::with_template("{bar:30} {pos:>4}/{len}\n{msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        // The bar goes to stderr and the result to stdout: if one of them is no terminal, they would not fit together.
        let is_seen = stderr().is_terminal() && stdout().is_terminal();
        let target = if is_seen { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(CALLS), target).with_style(style);
        Self { bar, handle, retries, begun: Instant::now(), open: Arc::default() }
    }

    /// Returns the time between two updates: short for a bar that moves, longer for lines that are read.
    fn interval(&self) -> Duration {
        if self.bar.is_hidden() { Duration::from_secs(1) } else { Duration::from_millis(100) }
    }

    fn show(&self) {
        let (waiting, backing_off) = (self.handle.waiting() as u64, self.retries.in_backoff() as u64);
        let in_flight = self.open.load(Ordering::Relaxed).saturating_sub(waiting + backing_off);
        let to_go = self.time_to_go().as_secs_f64();
        let message = format!(
            "{in_flight:>3} under way, {waiting:>3} waiting, {backing_off:>2} backing off, {to_go:>4.1} s to go"
        );
        if self.bar.is_hidden() {
            println!(
                "{:4.1} s: {:>4} of {CALLS} done, {message}",
                self.begun.elapsed().as_secs_f64(),
                self.bar.position()
            );
        }
        self.bar.set_message(message);
    }

    /// Returns how long a call that came now would wait, which is at least as long as the queued ones take.
    fn time_to_go(&self) -> Duration {
        self.handle.queues().iter().map(QueueStatus::forecast).max().unwrap_or_default()
    }
}

/// Serves in the background.
async fn serve() -> Result<SocketAddr, BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let limit = RateLimitLayer::new(key::peer_ip(), Policy::new(ADMITTED))?;
    let app = Router::new().route("/", get(async || "served")).layer(limit);
    tokio::spawn(async move { axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await });
    Ok(address)
}
