//! Rules and settings from a TOML file: `examples/limits.toml`, mistakes in it, and what its rules decide.
//!
//! ```sh
//! cargo run --example toml
//! ```
//!
//! Histories are in memory, or on a Redis server: set `QUOTA_REDIS=redis://127.0.0.1` for one that has no histories yet.
//!
//! It ends by itself. A program that reads the file at run time passes the text of `std::fs::read_to_string` in the same
//! way.

use std::{convert::Infallible, error::Error};

use http::{Request, Response, StatusCode};
use tower::{Layer, ServiceExt, service_fn};
use tower_quota::{AnyRateLimiter, ConfigError, RateLimitLayer, RateLimiter, config::Sources, key, store::AnyStore};

const LIMITS: &str = include_str!("limits.toml");

/// The identity of a caller, which a layer in front has verified.
#[derive(Clone)]
struct Claims {
    account: &'static str,
}

/// The key sources that only this program knows; all others have names of their own in the file.
fn sources() -> Sources {
    Sources::new().source("claim:account", key::claim(|claims: &Claims| claims.account))
}

/// Reads a file that also chooses the store.
fn read(text: &str) -> Result<AnyRateLimiter, ConfigError> {
    RateLimiter::builder().store_from_file().toml(text, &sources())?.build()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    println!("Mistakes, each with its line, rule, field and value:");
    for (right, wrong) in [
        (r#"on_outage = "local""#, r#"on_outage = "lokal""#),
        ("share = 0.5", "share = 2"),
        ("{retry_after}", "{retry}"),
        (r#""60/minute""#, r#""60/minuet""#),
        ("path:botId", "path:id"),
        ("claim:account", "claim:acount"),
        ("on_missing = 401", "on_mising = 401"),
        ("units = 10", "units = 101"),
    ] {
        match read(&LIMITS.replacen(right, wrong, 1)) {
            Ok(_) => return Err(format!("{wrong} should be a mistake").into()),
            Err(mistake) => println!("  {mistake}"),
        }
    }

    println!("The file as it is:");
    let limiter = read(LIMITS)?;
    let layer = limiter.layer();
    for (account, call, times, expected) in [
        (Some("acme"), "POST /bots/st-1/export", 61, 60),
        (Some("acme"), "POST /bots/st-1/publish", 1, 0),
        (Some("acme"), "POST /bots/st-2/export", 1, 1),
        (Some("acme"), "GET /tables/orders", 601, 600),
        (Some("globex"), "GET /tables/orders", 1, 1),
        (None, "GET /tables/orders", 1, 0),
        (Some("acme"), "POST /reports", 9, 9),
        (Some("acme"), "GET /cases/7", 11, 10),
        (Some("acme"), "POST /reports", 1, 0),
        (None, "GET /health", 1000, 1000),
    ] {
        let (admitted, last) = send(&layer, account, call, times).await?;
        let name = account.unwrap_or("-");
        println!("  {name:<7} {call:<24} {admitted:>4} of {times:>4} admitted, the last: {last}");
        if admitted != expected {
            return Err(format!("expected {expected}").into());
        }
    }
    Ok(())
}

/// Sends a call many times through the layer, and returns how many times it was admitted and the last status.
async fn send(
    layer: &RateLimitLayer<AnyStore>,
    account: Option<&'static str>,
    call: &str,
    times: usize,
) -> Result<(usize, StatusCode), Box<dyn Error>> {
    let service = layer.layer(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(String::new()))));
    let (method, path) = call.split_once(' ').ok_or("a method and a path")?;
    let (mut admitted, mut last) = (0, StatusCode::OK);
    for _ in 0..times {
        let mut request = Request::builder().method(method).uri(path).body(())?;
        if let Some(account) = account {
            request.extensions_mut().insert(Claims { account });
        }
        last = service.clone().oneshot(request).await?.status();
        admitted += usize::from(last.is_success());
    }
    Ok((admitted, last))
}
