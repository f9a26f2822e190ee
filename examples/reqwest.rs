//! reqwest's client, paced and retried.
//!
//! ```sh
//! cargo run --example reqwest
//! ```
//!
//! A server of its own admits ten calls per two seconds for each address. The client knows that limit but for the network,
//! and makes thirty calls at once: it keeps them back so that none is refused, and would repeat one that was.

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
    // What was never sent may be sent again, whatever its method; what was refused may be, too.
    let policy = RetryPolicy::builder()
        .unsent_if(reqwest::Error::is_connect)
        .inspect_retry(|repeat| println!("again in {:?}, since it was {}", repeat.wait(), repeat.reason()))
        .build()?;
    // Some calls take longer to arrive than others, so the client leaves a margin.
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
        println!("{:4.1} s: {text} ({attempts} attempt)", begun.elapsed().as_secs_f64());
    }
    println!("{CALLS} calls of {LIMIT} took {:.1} s; they cannot take less than 4", begun.elapsed().as_secs_f64());
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
