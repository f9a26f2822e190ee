//! Behind a plain hyper server on a real socket: HTTP/1 and HTTP/2, and the peer's address as the acceptor knows it.

use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Empty, Full};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};
use tower::{Layer, ServiceBuilder, limit::ConcurrencyLimit, service_fn};
use tower_quota::{Policy, RateLimitLayer, http::PeerAddr, key};

async fn hello(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.unwrap().to_bytes();
    Ok(Response::new(Full::new(body)))
}

/// Serves with at most one request at a time, whose permit is returned.
async fn serve(layer: RateLimitLayer) -> (SocketAddr, Arc<Semaphore>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, permits) = (listener.local_addr().unwrap(), Arc::new(Semaphore::new(1)));
    let limited = layer.layer(ConcurrencyLimit::with_semaphore(service_fn(hello), Arc::clone(&permits)));
    tokio::spawn(async move {
        loop {
            let (stream, peer) = listener.accept().await.unwrap();
            let with_peer = move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(PeerAddr(peer));
                request
            };
            let service = ServiceBuilder::new().map_request(with_peer).service(limited.clone());
            tokio::spawn(async move {
                let server = Builder::new(TokioExecutor::new());
                drop(server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)).await);
            });
        }
    });
    (address, permits)
}

/// Connects from one of the addresses that a machine has for itself.
async fn connect(server: SocketAddr, from: Ipv4Addr) -> TokioIo<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    TokioIo::new(socket.connect(server).await.unwrap())
}

/// Sends a request over a connection of its own.
async fn get(server: SocketAddr, from: Ipv4Addr, version: Version) -> (StatusCode, HeaderMap, Bytes) {
    let io = connect(server, from).await;
    let request = Request::get(format!("http://{server}/")).header("host", "example.org").body(Empty::<Bytes>::new());
    let response = if version == Version::HTTP_2 {
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request.unwrap()).await.unwrap()
    } else {
        let (mut sender, connection) = http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request.unwrap()).await.unwrap()
    };
    assert_eq!(response.version(), version);
    let (parts, body) = response.into_parts();
    (parts.status, parts.headers, body.collect().await.unwrap().to_bytes())
}

const ANN: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
const BOB: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

#[tokio::test]
async fn one_limit_for_both_versions_and_all_connections_of_a_peer() {
    let (server, permits) = serve(RateLimitLayer::new(key::peer_ip(), Policy::per_hour(4)).unwrap()).await;
    for version in [Version::HTTP_11, Version::HTTP_2, Version::HTTP_11, Version::HTTP_2] {
        assert_eq!(get(server, ANN, version).await.0, 200);
    }
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let (status, headers, body) = get(server, ANN, version).await;
        assert_eq!(status, 429, "{version:?}");
        assert_eq!(headers["content-type"], "application/problem+json");
        assert_eq!(headers["ratelimit-policy"], "\"hour\";q=4;w=3600");
        assert!(headers.contains_key("retry-after"));
        assert!(String::from_utf8_lossy(&body).contains("You've exceeded the hourly rate limit."));
        assert_eq!(get(server, BOB, version).await.0, 200, "another peer");
    }
    assert_eq!(permits.available_permits(), 1);
}

#[tokio::test]
async fn a_hundred_connections_that_send_at_once_share_the_limit() {
    let (server, permits) = serve(RateLimitLayer::new(key::constant("everybody"), Policy::per_hour(40)).unwrap()).await;
    let mut requests = JoinSet::new();
    for number in 0..100 {
        let version = if number % 2 == 0 { Version::HTTP_11 } else { Version::HTTP_2 };
        requests.spawn(get(server, ANN, version));
    }
    let answers = requests.join_all().await;
    assert_eq!(answers.iter().filter(|(status, ..)| *status == StatusCode::OK).count(), 40);
    assert_eq!(answers.iter().filter(|(status, ..)| *status == StatusCode::TOO_MANY_REQUESTS).count(), 60);
    assert_eq!(permits.available_permits(), 1);
}

/// A denied request on a connection that stays open must not hold what an inner service gave it.
#[tokio::test]
async fn a_refused_connection_that_stays_open_keeps_nothing_from_the_others() {
    let (server, permits) = serve(RateLimitLayer::new(key::peer_ip(), Policy::per_hour(1)).unwrap()).await;
    let (mut sender, connection) = http1::handshake(connect(server, ANN).await).await.unwrap();
    tokio::spawn(connection);
    for expected in [200, 429, 429] {
        let request = Request::get("/").header("host", "example.org").body(Empty::<Bytes>::new()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), expected);
        response.into_body().collect().await.unwrap();
    }
    assert_eq!(permits.available_permits(), 1);
    assert_eq!(get(server, BOB, Version::HTTP_2).await.0, 200);
}
