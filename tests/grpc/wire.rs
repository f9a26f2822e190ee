//! What gRPC callers get, frame by frame and byte by byte, over HTTP/2 and over gRPC-Web.

use std::{
    future::poll_fn,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use h2::{RecvStream, SendStream, client::SendRequest};
use http::{HeaderMap, Request, Response, StatusCode, header::CONTENT_TYPE};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tonic::{Code, Status, transport::Server};
use tonic_types::StatusExt;
use tonic_web::GrpcWebLayer;
use tower_quota::{OnMissing, Policy, RateLimiter, Rule, key};
use tower_quota_tests::{
    echo::{Echo, listen},
    limiter::{calls_per_minute, frozen, rule},
};

use crate::refusal::FIELDS;

fn serve(limiter: &RateLimiter) -> SocketAddr {
    let (address, incoming) = listen();
    let server = Server::builder().layer(limiter.layer()).add_service(Echo::default());
    tokio::spawn(server.serve_with_incoming(incoming));
    address
}

/// A server whose quota is used up.
fn exhausted() -> SocketAddr {
    let limiter = calls_per_minute(1);
    assert!(limiter.rule("calls").unwrap().check("everybody").is_admitted());
    serve(&limiter)
}

/// The message "hello" of gRPC and of gRPC-Web: no compression, the length, field 1 with its length.
const HELLO: &[u8] = b"\x00\x00\x00\x00\x07\x0a\x05hello";

// ---- HTTP/2 (F41) ----

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const END_STREAM: u8 = 0x1;

/// A frame as the server sent it (RFC 9113, section 4.1).
#[derive(Debug)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
}

impl Frame {
    fn all_of(mut bytes: &[u8]) -> Vec<Self> {
        let mut frames = Vec::new();
        while let Some((&[a, b, c, kind, flags, s, t, u, v], rest)) = bytes.split_first_chunk() {
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            frames.push(Self { kind, flags, stream: u32::from_be_bytes([s, t, u, v]) });
            bytes = &rest[length.min(rest.len())..];
        }
        frames
    }

    const fn ends_stream(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }
}

/// A connection that remembers what came in.
struct Recorder<T> {
    stream: T,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl<T: AsyncRead + Unpin> AsyncRead for Recorder<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let before = into.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, into);
        self.seen.lock().extend_from_slice(&into.filled()[before..]);
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Recorder<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A client that speaks HTTP/2 and knows nothing of gRPC.
struct H2 {
    requests: SendRequest<Bytes>,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl H2 {
    async fn connect(server: SocketAddr) -> Self {
        Self::over(TcpStream::connect(server).await.unwrap()).await
    }

    async fn over(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        let seen = Arc::default();
        let recorder = Recorder { stream, seen: Arc::clone(&seen) };
        let (requests, connection) = h2::client::handshake(recorder).await.unwrap();
        tokio::spawn(connection);
        Self { requests, seen }
    }

    /// Begins a call, and returns the response and the rest of the request.
    async fn send(&self, content_type: Option<&str>, is_complete: bool) -> (Response<RecvStream>, SendStream<Bytes>) {
        let request = Request::post("http://localhost/echo.Echo/Say").header("te", "trailers");
        let mut request = request.body(()).unwrap();
        if let Some(content_type) = content_type {
            request.headers_mut().insert(CONTENT_TYPE, content_type.parse().unwrap());
        }
        let (response, mut body) = self.requests.clone().ready().await.unwrap().send_request(request, false).unwrap();
        body.send_data(Bytes::from_static(HELLO), is_complete).unwrap();
        (response.await.unwrap(), body)
    }

    async fn call(&self, content_type: Option<&str>) -> Response<RecvStream> {
        self.send(content_type, true).await.0
    }

    /// The frames of the first call.
    fn frames(&self) -> Vec<Frame> {
        Frame::all_of(&self.seen.lock()).into_iter().filter(|frame| frame.stream == 1).collect()
    }
}

async fn read(mut body: RecvStream) -> (Vec<u8>, Option<HeaderMap>) {
    let mut read = Vec::new();
    while let Some(data) = body.data().await {
        read.extend_from_slice(&data.unwrap());
    }
    (read, body.trailers().await.unwrap())
}

/// So that what the next test sees means something.
#[tokio::test]
async fn an_admitted_call_has_headers_data_and_trailers() {
    let client = H2::connect(serve(&calls_per_minute(1))).await;
    let (body, trailers) = read(client.call(Some("application/grpc")).await.into_body()).await;
    assert_eq!(body, HELLO);
    assert_eq!(trailers.unwrap()["grpc-status"], "0");
    let frames = client.frames();
    let kinds: Vec<_> = frames.iter().map(|frame| (frame.kind, frame.ends_stream())).collect();
    assert_eq!(kinds[..3], [(HEADERS, false), (DATA, false), (HEADERS, true)], "{frames:?}");
}

/// F41: Trailers-Only, or clients in other languages take it for a broken stream.
#[tokio::test]
async fn a_refused_call_is_one_headers_frame_that_ends_the_stream() {
    let server = exhausted();
    for content_type in ["application/grpc", "application/grpc+proto", "application/grpc-web+proto"] {
        let client = H2::connect(server).await;
        let refused = client.call(Some(content_type)).await;
        assert_eq!(refused.status(), 200);
        assert_eq!(refused.headers()["grpc-status"], "8");
        assert_eq!(read(refused.into_body()).await, (Vec::new(), None));
        let frames = client.frames();
        assert!(frames[0].kind == HEADERS && frames[0].ends_stream(), "{frames:?}");
        assert!(frames[1..].iter().all(|frame| frame.kind == RST_STREAM), "{frames:?}");
    }
}

/// PROTOCOL-HTTP2.md: a server that answers early says with NO_ERROR that it needs no more of the request.
#[tokio::test]
async fn a_refused_stream_whose_request_is_open_is_closed_without_an_error() {
    let client = H2::connect(exhausted()).await;
    let (refused, mut request) = client.send(Some("application/grpc"), false).await;
    assert_eq!(refused.headers()["grpc-status"], "8");
    assert_eq!(read(refused.into_body()).await, (Vec::new(), None));
    assert_eq!(poll_fn(|cx| request.poll_reset(cx)).await.unwrap(), h2::Reason::NO_ERROR);
    let kinds: Vec<_> = client.frames().iter().map(|frame| (frame.kind, frame.ends_stream())).collect();
    assert_eq!(kinds, [(HEADERS, true), (RST_STREAM, false)]);
}

/// Trailers-only, as the refusal above, and with the code of the status.
#[tokio::test]
async fn a_call_without_a_required_key_is_refused_as_grpc_has_it() {
    let rule = Rule::new("calls").every_request().key(key::metadata("x-tenant")).level("tenant");
    for (status, code) in [(401, "16"), (403, "7"), (503, "14")] {
        let outcome = OnMissing::Reject(StatusCode::from_u16(status).unwrap());
        let rule = rule.clone().policy(Policy::per_minute(1)).on_missing(outcome);
        let limiter = RateLimiter::builder().rule(rule).build().unwrap();
        let client = H2::connect(serve(&limiter)).await;
        let rejected = client.call(Some("application/grpc")).await;
        assert_eq!(
            (rejected.status().as_u16(), &rejected.headers()["content-type"]),
            (200, &"application/grpc".parse().unwrap())
        );
        assert_eq!(rejected.headers()["grpc-status"], code);
        assert_eq!(read(rejected.into_body()).await, (Vec::new(), None));
        assert!(client.frames()[0].ends_stream(), "{:?}", client.frames());
        assert!(limiter.is_empty());
    }
}

#[tokio::test]
async fn the_fields_of_a_refusal_are_those_of_grpc_and_small() {
    let refused = H2::connect(exhausted()).await.call(Some("application/grpc")).await;
    let fields = refused.headers();
    let mut names: Vec<_> = fields.keys().map(http::HeaderName::as_str).filter(|name| *name != "date").collect();
    names.sort_unstable();
    assert_eq!(names, FIELDS);
    let message = fields["grpc-message"].to_str().unwrap();
    assert!(message.bytes().all(|byte| (0x20..=0x7e).contains(&byte)), "{message}");
    let details = fields["grpc-status-details-bin"].to_str().unwrap();
    assert!(!details.contains('='), "unpadded: {details}");
    let size: usize = fields.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
    assert!(size < 2048, "clients may take no more than 8 KiB, and this is {size}");

    let status = Status::from_header_map(fields).unwrap();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(
        status.message(),
        "You've exceeded the per-minute rate limit. Please wait for sometime before retrying."
    );
    assert_eq!(status.get_details_retry_info().unwrap().retry_delay, Some(Duration::from_secs(60)));
}

/// Clients may take no more than 8 KiB of fields (PROTOCOL-HTTP2.md), and grpc-core drops answers beyond that.
#[tokio::test]
async fn a_refusal_by_a_hundred_rules_is_no_larger_than_clients_take() {
    let name = |number| format!("a-rule-with-a-long-name-and-number-{number}");
    let rules = (0..100).map(|number| rule(&name(number), Policy::per_minute(1).and_per_hour(1)));
    let client = H2::connect(serve(&frozen(rules))).await;
    assert_eq!(client.call(Some("application/grpc")).await.status(), 200);
    let refused = client.call(Some("application/grpc")).await;
    let size: usize = refused.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
    assert!(size < 8 * 1024, "{size}");
    let status = Status::from_header_map(refused.headers()).unwrap();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(status.get_details_retry_info().unwrap().retry_delay, Some(Duration::from_secs(3600)));
    assert!(!status.get_details_quota_failure().unwrap().violations.is_empty());
}

// ---- what is gRPC (B11) ----

#[tokio::test]
async fn the_content_type_decides_how_a_refusal_is_written() {
    let server = exhausted();
    let grpc = [
        "application/grpc",
        "application/grpc+proto",
        "application/grpc+json",
        "application/grpc;x=y",
        "APPLICATION/GRPC+proto; charset=x",
    ];
    let web = [
        "application/grpc-web",
        "application/grpc-web+proto",
        "application/grpc-web-text",
        "application/grpc-web-text+proto",
    ];
    let http = ["application/grpcfoo", "application/grpc-foo", "application/grp", "application/json", "text/plain", ""];
    for content_type in grpc {
        let refused = H2::connect(server).await.call(Some(content_type)).await;
        let expected = (StatusCode::OK, &"application/grpc".parse().unwrap(), &"8".parse().unwrap());
        let fields = refused.headers();
        assert_eq!((refused.status(), &fields["content-type"], &fields["grpc-status"]), expected, "{content_type}");
    }
    for content_type in web {
        let refused = H2::connect(server).await.call(Some(content_type)).await;
        let expected = (StatusCode::OK, &content_type.parse().unwrap(), &"8".parse().unwrap());
        let fields = refused.headers();
        assert_eq!((refused.status(), &fields["content-type"], &fields["grpc-status"]), expected, "{content_type}");
        assert_eq!(read(refused.into_body()).await, (Vec::new(), None), "{content_type}");
    }
    for content_type in http.into_iter().map(Some).chain([None]) {
        let refused = H2::connect(server).await.call(content_type).await;
        assert_eq!(refused.status(), 429, "{content_type:?}");
        assert_eq!(refused.headers()["content-type"], "application/problem+json", "{content_type:?}");
        assert!(!refused.headers().contains_key("grpc-status"), "{content_type:?}");
        assert!(!read(refused.into_body()).await.0.is_empty(), "{content_type:?}");
    }
}

// ---- who connects ----

/// F12: tonic's connect info for a Unix socket has no address, and neither has ours.
#[cfg(unix)]
#[tokio::test]
async fn callers_on_a_unix_socket_have_no_address() {
    for (outcome, expected) in [
        (OnMissing::Share, ["0", "8"]),
        (OnMissing::Reject(StatusCode::FORBIDDEN), ["7", "7"]),
        (OnMissing::Skip, ["0", "0"]),
    ] {
        let rule = Rule::new("calls").every_request().key(key::peer_ip()).level("peer").on_missing(outcome);
        let limiter = RateLimiter::builder().rule(rule.policy(Policy::per_minute(1))).build().unwrap();
        let (near, far) = tokio::net::UnixStream::pair().unwrap();
        let server = Server::builder().layer(limiter.layer()).add_service(Echo::default());
        tokio::spawn(server.serve_with_incoming(tokio_stream::iter([Ok::<_, std::io::Error>(far)])));
        let client = H2::over(near).await;
        for status in expected {
            let response = client.call(Some("application/grpc")).await;
            let at_once = response.headers().get("grpc-status").cloned();
            let trailers = read(response.into_body()).await.1;
            let found = at_once.or_else(|| trailers?.get("grpc-status").cloned());
            assert_eq!(found.unwrap(), status, "{outcome:?}");
        }
    }
}

// ---- gRPC-Web over HTTP/1.1 ----

/// Serves the echo to gRPC-Web clients, behind a layer that is further out than the translation, or further in.
fn serve_web(limiter: &RateLimiter, is_outside: bool) -> SocketAddr {
    let (address, incoming) = listen();
    let server = Server::builder().accept_http1(true);
    if is_outside {
        let server = server.layer(limiter.layer()).layer(GrpcWebLayer::new()).add_service(Echo::default());
        tokio::spawn(server.serve_with_incoming(incoming));
    } else {
        let server = server.layer(GrpcWebLayer::new()).layer(limiter.layer()).add_service(Echo::default());
        tokio::spawn(server.serve_with_incoming(incoming));
    }
    address
}

async fn call_web(server: SocketAddr, content_type: &str) -> reqwest::Response {
    let body = if content_type.contains("text") { STANDARD.encode(HELLO).into() } else { HELLO.to_vec() };
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.post(format!("http://{server}/echo.Echo/Say")).body(body);
    request.header("content-type", content_type).header("accept", content_type).send().await.unwrap()
}

/// The message and the trailers of an answer, which is text if its type says so.
async fn read_web(answer: reqwest::Response) -> (Vec<u8>, String) {
    let is_text = answer.headers()["content-type"].to_str().unwrap().contains("text");
    let mut bytes = answer.bytes().await.unwrap().to_vec();
    if is_text {
        // Each part of the answer has been padded by itself.
        bytes = bytes.chunks(4).flat_map(|four| STANDARD.decode(four).unwrap()).collect();
    }
    let trailers = bytes.split_off(HELLO.len());
    assert_eq!(trailers[0], 0x80, "{trailers:?}");
    (bytes, String::from_utf8(trailers[5..].to_vec()).unwrap())
}

#[tokio::test]
async fn grpc_web_is_served_and_refused_outside_and_inside_of_its_translation() {
    for is_outside in [true, false] {
        for content_type in ["application/grpc-web+proto", "application/grpc-web-text+proto"] {
            let place = format!("{content_type}, outside: {is_outside}");
            let limiter = calls_per_minute(2);
            let server = serve_web(&limiter, is_outside);
            for _ in 0..2 {
                let served = call_web(server, content_type).await;
                assert_eq!((served.status().as_u16(), served.version()), (200, http::Version::HTTP_11), "{place}");
                let (message, trailers) = read_web(served).await;
                assert_eq!(message, HELLO, "{place}");
                assert!(trailers.contains("grpc-status:0"), "{place}: {trailers}");
            }
            let refused = call_web(server, content_type).await;
            assert_eq!(refused.status(), 200, "{place}");
            assert_eq!(refused.headers()["content-type"], content_type, "{place}");
            let status = Status::from_header_map(refused.headers()).unwrap();
            assert_eq!(status.code(), Code::ResourceExhausted, "{place}");
            let wait = status.get_details_retry_info().unwrap().retry_delay;
            assert_eq!(wait, Some(Duration::from_secs(60)), "{place}");
            assert_eq!(refused.headers()["retry-after"], "60", "{place}");
            assert!(refused.headers().contains_key("grpc-retry-pushback-ms"), "{place}");
            assert!(!refused.headers().contains_key("ratelimit"), "{place}");
            assert!(refused.bytes().await.unwrap().is_empty(), "{place}: trailers are among the headers");
        }
    }
}

/// What is refused is no gRPC, and on HTTP/1.1.
#[tokio::test]
async fn other_callers_of_a_grpc_web_server_are_refused_with_429() {
    let limiter = calls_per_minute(1);
    assert!(limiter.rule("calls").unwrap().check("everybody").is_admitted());
    let refused = call_web(serve_web(&limiter, true), "application/json").await;
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["content-type"], "application/problem+json");
}
