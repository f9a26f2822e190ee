//! Two hundred calls to a server that admits fifty in three seconds: without help, with retries, with pacing, and with pacing
//! that does not know the limit.
//!
//! ```sh
//! cargo run --release --example client
//! ```
//!
//! It takes about half a minute and prints a table. It fails if a paced call is refused, or if pacing takes a window longer
//! than it must: one window may be missed on a busy machine.

mod batch;
mod progress;
mod server;

use std::time::Duration;

use tower::{BoxError, Layer};
use tower_quota::{
    ConfigError, Policy, Quota,
    client::{PaceLayer, RetryLayer, RetryPolicy, retry::Budget},
    key,
};

use batch::{Batch, Row};

const CALLS: u32 = 200;
/// The limit of the server, per account.
const LIMIT: Quota = Quota::new(50, Duration::from_secs(3));
/// The server counts calls when they arrive, and some take longer to arrive than others.
const MARGIN: Duration = Duration::from_millis(100);

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let batch = Batch::new(server::serve(LIMIT).await?, CALLS);
    println!("{CALLS} calls, of which the server admits {LIMIT}:");

    let bare = batch.run("without help", batch.client(), None).await?;

    let retrying = RetryLayer::new(persistent()?);
    let retried = batch.run("retried", retrying.layer(batch.client()), None).await?;

    let known = PaceLayer::new(key::host(), Policy::new(LIMIT).margin(MARGIN));
    let paced = batch.run("paced", known.layer(batch.client()), Some(known.handle())).await?;

    // Any policy that is no tighter than the server's will do.
    let unknown = PaceLayer::new(key::host(), Policy::per_second(1000)).adaptive();
    let adapting = retrying.layer(unknown.layer(batch.client()));
    let adapted = batch.run("limit unknown", adapting, Some(unknown.handle())).await?;

    print_table(&[bare, retried, paced, adapted]);
    // On a busy machine a call may arrive so late that the server asks for a pause, and the last one misses its window.
    if paced.refused > 0 || paced.time > (best_time() + LIMIT.window()).mul_f64(1.05) {
        return Err("the paced calls should not be refused, nor take a window longer than they must".into());
    }
    Ok(())
}

/// Returns the shortest time in which the server can admit all calls.
fn best_time() -> Duration {
    let windows = u64::from(CALLS - 1) / LIMIT.limit();
    LIMIT.window() * windows as u32
}

/// Retries until a call is served. All two hundred calls count here; a service would give up earlier.
fn persistent() -> Result<RetryPolicy, ConfigError> {
    RetryPolicy::builder()
        .max_attempts(20)
        .max_jitter(Duration::from_millis(100))
        .budget(Budget::new(20, 10 * CALLS)?)
        .build()
}

fn print_table(rows: &[Row]) {
    println!("\n{:<14} {:>7} {:>8} {:>10} {:>10}", "", "served", "refused", "time", "of best");
    for row in rows {
        let of_best = row.time.as_secs_f64() / best_time().as_secs_f64();
        let of_best = if row.served == CALLS { format!("{:.1} %", 100.0 * of_best) } else { "-".into() };
        println!(
            "{:<14} {:>7} {:>8} {:>8.2} s {of_best:>10}",
            row.name,
            row.served,
            row.refused,
            row.time.as_secs_f64()
        );
    }
    println!("{:<14} {CALLS:>7} {:>8} {:>8.2} s {:>10}", "the best", 0, best_time().as_secs_f64(), "100.0 %");
}
