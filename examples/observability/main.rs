//! Kore.ai's matrix with metrics: serves the APIs and a Prometheus endpoint, and calls itself, so that the dashboard has something
//! to show.
//!
//! `cargo run --example observability --features metrics`, or with Prometheus and Grafana around it: see `README.md` here.
//! `--quiet` leaves the calls to you, and `--listen 0.0.0.0:3000` lets containers reach it.

mod server;
mod traffic;

use std::env;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let listen = arguments.iter().position(|argument| argument == "--listen").and_then(|at| arguments.get(at + 1));
    let listen = listen.map_or("127.0.0.1:3000", String::as_str);
    // Before the limiter is built: that registers its metrics.
    let metrics = server::install_recorder()?;
    let limiter = server::limiter()?;
    let app = server::app(&limiter, metrics);
    if !arguments.iter().any(|argument| argument == "--quiet") {
        tokio::spawn(traffic::run(app.clone(), limiter.clone()));
    }
    let listener = tokio::net::TcpListener::bind(listen).await?;
    println!("http://{}/metrics", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}
