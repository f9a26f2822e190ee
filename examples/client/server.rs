//! The server: fifty calls in three seconds for each account.

use std::{io, net::SocketAddr};

use axum::{Router, routing::get};
use tokio::net::TcpListener;
use tower_quota::{Quota, RateLimitLayer, key};

/// Serves until the program ends.
pub(crate) async fn serve(limit: Quota) -> io::Result<SocketAddr> {
    let layer = RateLimitLayer::new(key::header("account"), limit).map_err(io::Error::other)?;
    let app = Router::new().route("/", get(async || "served\n")).layer(layer);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async { axum::serve(listener, app).await });
    Ok(address)
}
