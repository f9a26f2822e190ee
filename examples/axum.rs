//! The smallest app: sixty requests a minute and 1800 an hour for each account.
//!
//! `cargo run --example axum`, and then sixty-one times
//! `curl -i -H 'x-account-id: acme' http://127.0.0.1:3000/cases`

use axum::{Router, routing::get};
use tokio::net::TcpListener;
use tower_quota::{Policy, RateLimitLayer, key};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let layer = RateLimitLayer::new(key::header("x-account-id"), Policy::per_minute(60).and_per_hour(1800))?;
    let app = Router::new().route("/cases", get(async || "the cases\n")).layer(layer);
    axum::serve(TcpListener::bind("127.0.0.1:3000").await?, app).await?;
    Ok(())
}
