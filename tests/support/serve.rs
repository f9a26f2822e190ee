//! An axum server for a test.

use std::net::SocketAddr;

use axum::Router;
use tokio::net::TcpListener;

/// Serves an app on a port of its own for as long as the test runs, and tells it who connects.
pub async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}
