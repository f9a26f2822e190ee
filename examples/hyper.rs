//! A hyper server without a framework, for HTTP/1 and HTTP/2: ten requests a minute per address.
//!
//! ```sh
//! cargo run --example hyper # serves until ctrl-c
//! ```
//!
//! Try it: `curl -i http://127.0.0.1:3000/`, eleven times within a minute. The accept loop knows the peer's address, and passes
//! it on as an extension of each request.

use std::convert::Infallible;

use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use tokio::net::TcpListener;
use tower::ServiceBuilder;
use tower_quota::{Policy, RateLimitLayer, http::PeerAddr, key};

async fn hello(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::from("hello\n")))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let layer = RateLimitLayer::new(key::peer_ip(), Policy::per_minute(10))?;
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    loop {
        let (stream, peer) = listener.accept().await?;
        let service = ServiceBuilder::new()
            .map_request(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(PeerAddr(peer));
                request
            })
            .layer(layer.clone())
            .service_fn(hello);
        tokio::spawn(async move {
            let server = Builder::new(TokioExecutor::new());
            if let Err(error) = server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)).await {
                eprintln!("{peer}: {error}");
            }
        });
    }
}
