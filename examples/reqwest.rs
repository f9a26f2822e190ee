//! A reqwest client with pacing and retries: thirty calls at once, to a server that admits ten in two seconds.
//!
//! ```sh
//! cargo run --example reqwest
//! ```
//!
//! The client queues its calls so that the server refuses none; it would retry one that was refused, after the wait that the
//! server states. The server is part of the example, which ends by itself after four seconds.

use std::{net::SocketAddr, time::Duration};

use axum::{Router, routing::post};
use tokio::{net::TcpListener, task::JoinSet, time::Instant};
use tower::{BoxError, ServiceBuilder, ServiceExt};
use tower_quota::{
    Policy, Quota, RateLimitLayer,
    client::{Adapter, PaceLayer, RetryLayer, RetryPolicy, retry::Attempts},
    key,
};

const CALLS: u32 = 30;
const LIMIT: Quota = Quota::new(10, Duration::from_secs(2));

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let server = serve().await?;

    let reqwest = reqwest::Client::builder().no_proxy().build()?;
    // A refused call may always be sent again; one that failed to connect too, since the server has not seen it.
    let policy = RetryPolicy::builder()
        .unsent_if(reqwest::Error::is_connect)
        .inspect_retry(|retry| println!("retrying in {:?}: {}", retry.wait(), retry.reason()))
        .build()?;
    // Some calls take longer to arrive than others: the margin keeps them apart.
    let pace = PaceLayer::new(key::host(), Policy::new(LIMIT).margin(Duration::from_millis(50)));
    let client = ServiceBuilder::new()
        .layer(RetryLayer::new(policy).map_body(reqwest::Body::wrap))
        .layer(pace)
        .service(Adapter::<_, reqwest::Request, reqwest::Body>::new(reqwest.clone()));

    let begun = Instant::now();
    let mut calls = JoinSet::new();
    for number in 0..CALLS {
        let (client, request) = (client.clone(), reqwest.post(format!("http://{server}/")).body(number.to_string()));
        calls.spawn(async move {
            let response = client.oneshot(request.build()?.try_into()?).await?;
            let Attempts(attempts) = *response.extensions().get().ok_or("it came through the layer")?;
            let text = reqwest::Response::from(response).error_for_status()?.text().await?;
            Ok::<_, BoxError>((text, attempts))
        });
    }
    while let Some(call) = calls.join_next().await {
        let (text, attempts) = call??;
        println!("{:4.1} s: {text} (attempts: {attempts})", begun.elapsed().as_secs_f64());
    }
    println!(
        "{CALLS} calls at {LIMIT} took {:.1} s; no client could be faster than 4 s",
        begun.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Serves in the background.
async fn serve() -> Result<SocketAddr, BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let limit = RateLimitLayer::new(key::peer_ip(), LIMIT)?;
    let app = Router::new().route("/", post(async |body: String| format!("served {body}"))).layer(limit);
    tokio::spawn(async move { axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await });
    Ok(address)
}
