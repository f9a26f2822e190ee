//! A gRPC server that admits two calls a minute per tenant, and a client that reads the details of the refusal.
//!
//! ```sh
//! cargo run --example tonic
//! ```
//!
//! It ends by itself.

use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Request,
    transport::{Endpoint, Server},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_types::StatusExt;
use tower_quota::{Policy, RateLimiter, Rule, key};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let limiter = RateLimiter::builder()
        .rule(
            Rule::new("health")
                .routes(["/grpc.health.v1.Health/{*method}"])
                .key(key::metadata("x-tenant"))
                .level("tenant")
                .policy(Policy::per_minute(2).and_per_hour(60)),
        )
        .build()?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (_, health) = tonic_health::server::health_reporter();
    let server = Server::builder().layer(limiter.layer()).add_service(health);
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));

    let channel = Endpoint::from_shared(format!("http://{address}"))?.connect().await?;
    let mut client = HealthClient::new(channel);
    for _ in 0..3 {
        let mut request = Request::new(HealthCheckRequest::default());
        request.metadata_mut().insert("x-tenant", "acme".parse()?);
        match client.check(request).await {
            Ok(answer) => println!("{:?}", answer.into_inner().status()),
            Err(refused) => {
                let details = refused.get_error_details();
                println!("{:?}: {}", refused.code(), refused.message());
                println!("{:?}", details.retry_info());
                println!("{:?}", details.quota_failure());
            }
        }
    }
    Ok(())
}
