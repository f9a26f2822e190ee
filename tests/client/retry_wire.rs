//! Retries over TCP: hyper-util's client and tonic's `Channel`, against servers of ours and such as speak other dialects.
//!
//! Time is tokio's and stands still unless all wait for it; the servers' limits go by it, too.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use axum::{Router, body::Body, routing::post};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{net::TcpListener, time::Instant};
use tonic::{
    Code, IntoStreamingRequest, Status,
    client::Grpc,
    transport::{Channel, Endpoint, Server},
};
use tonic_prost::ProstCodec;
use tonic_types::StatusExt;
use tower::{Layer, ServiceExt};
use tower_quota::{
    Policy, RateLimiter, Rule,
    client::{
        Adapter, AdviceReader, RetryLayer, RetryPolicy,
        answers::Reset,
        retry::{Attempts, Backoff, ReplayBody, Retry, RetryReason},
    },
    clock::TokioClock,
    key,
};
use tower_quota_tests::{
    echo::{Echo, listen},
    serve,
};

fn limiter(policy: Policy) -> RateLimiter {
    let rule = Rule::new("calls").every_request().key(key::constant("all")).level("everybody").policy(policy);
    RateLimiter::builder().clock(TokioClock::new()).rule(rule).build().unwrap()
}

type HyperClient<B> = Retry<Client<HttpConnector, ReplayBody<B>>>;

/// hyper-util's client, with retries.
fn client<B>(answers: AdviceReader) -> HyperClient<B>
where
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let policy = RetryPolicy::builder().advice_reader(answers).build().unwrap();
    RetryLayer::new(policy).layer(Client::builder(TokioExecutor::new()).build_http())
}

async fn send<B>(client: &HyperClient<B>, server: SocketAddr, body: B) -> (StatusCode, Bytes)
where
    B: http_body::Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut request = Request::post(format!("http://{server}/bots")).body(body).unwrap();
    request.headers_mut().insert("trailer", "checksum".parse().unwrap());
    let (parts, body) = client.clone().oneshot(request).await.unwrap().into_parts();
    (parts.status, body.collect().await.unwrap().to_bytes())
}

/// A body of so many KiB, with trailers.
fn stream(kib: usize) -> impl http_body::Body<Data = Bytes, Error = std::io::Error> + Send + Unpin + 'static {
    let data = (0..kib).map(|_| Frame::data(Bytes::from(vec![b'a'; 1024])));
    let trailers = Frame::trailers([("checksum".parse().unwrap(), "7".parse().unwrap())].into_iter().collect());
    let frames: Vec<_> = data.chain([trailers]).map(Ok).collect();
    StreamBody::new(tokio_stream::iter(frames))
}

/// Says what it has been sent: the length, and the trailer.
async fn describe(body: Body) -> String {
    let body = body.collect().await.unwrap();
    let checksum = body.trailers().map(|trailers| trailers["checksum"].to_str().unwrap().to_owned());
    format!("{} {}", body.to_bytes().len(), checksum.unwrap_or_default())
}

// ---- HTTP ----

#[tokio::test(start_paused = true)]
async fn calls_beyond_the_limit_of_our_layer_are_served_after_its_wait() {
    let echo = Router::new().route("/bots", post(async |body: Bytes| body));
    let server = serve(echo.layer(limiter(Policy::per_minute(2)).layer())).await;
    let (client, begun) = (client(AdviceReader::new()), Instant::now());
    for number in 0..6 {
        let text = format!("body {number}");
        let (status, body) = send(&client, server, Full::<Bytes>::from(text.clone())).await;
        assert_eq!((status, body), (StatusCode::OK, text.into()));
    }
    assert!((120..140).contains(&begun.elapsed().as_secs()), "two minutes are full: {:?}", begun.elapsed());
}

/// A server that refuses the first call, in the words of some other, once it has read it; and how often it is called.
async fn refusing_first(
    refusal: impl Fn() -> Response<Body> + Clone + Send + Sync + 'static,
) -> (SocketAddr, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let answer = move |body: Body| {
        let is_first = counted.fetch_add(1, Ordering::SeqCst) == 0;
        let refusal = is_first.then(&refusal);
        async {
            let description = describe(body).await;
            refusal.unwrap_or_else(|| Response::new(description.into()))
        }
    };
    (serve(Router::new().route("/bots", post(answer))).await, calls)
}

/// How long a call takes, that such a server serves the second time.
async fn waited(
    answers: AdviceReader,
    refusal: impl Fn() -> Response<Body> + Clone + Send + Sync + 'static,
) -> Duration {
    let (server, calls) = refusing_first(refusal).await;
    let begun = Instant::now();
    let (status, _) = send(&client(answers), server, Full::<Bytes>::from("body")).await;
    assert_eq!((status, calls.load(Ordering::SeqCst)), (StatusCode::OK, 2));
    begun.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_sent_again_with_its_trailers_unless_it_was_too_long_to_keep() {
    let refusal = || Response::builder().status(429).header("retry-after", "30").body(Body::empty()).unwrap();
    let (server, calls) = refusing_first(refusal).await;
    let (status, told) = send(&client(AdviceReader::new()), server, stream(60)).await;
    assert_eq!((status.as_u16(), &*told, calls.load(Ordering::SeqCst)), (200, &b"61440 7"[..], 2));
    let (status, told) = send(&client(AdviceReader::new()), server, stream(1000)).await;
    assert_eq!((status.as_u16(), &*told), (200, &b"1024000 7"[..]), "it is passed on all the same");

    let (server, calls) = refusing_first(refusal).await;
    let (status, _) = send(&client(AdviceReader::new()), server, stream(100)).await;
    assert_eq!((status.as_u16(), calls.load(Ordering::SeqCst)), (429, 1));
}

#[tokio::test(start_paused = true)]
async fn github_s_epoch_is_waited_for() {
    let refusal = || {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let response = Response::builder().status(403).header("x-ratelimit-limit", "60");
        let response = response.header("x-ratelimit-remaining", "0").header("x-ratelimit-used", "60");
        response.header("x-ratelimit-reset", now.as_secs() + 30).body(Body::empty()).unwrap()
    };
    let waited = waited(AdviceReader::new().github(), refusal).await;
    // The server's date may be one second later, or earlier.
    assert!((29..=36).contains(&waited.as_secs()), "{waited:?}");

    let (server, calls) = refusing_first(refusal).await;
    let (status, _) = send(&client(AdviceReader::new()), server, Full::<Bytes>::from("body")).await;
    assert_eq!((status.as_u16(), calls.load(Ordering::SeqCst)), (403, 1), "elsewhere it forbids");
}

#[tokio::test(start_paused = true)]
async fn milliseconds_as_openai_s_clients_read_them_are_waited_for() {
    let refusal = || {
        let response = Response::builder().status(429).header("retry-after-ms", "1250").header("retry-after", "20");
        response.body(Body::from(r#"{"error":{"type":"tokens"}}"#)).unwrap()
    };
    let waited = waited(AdviceReader::new(), refusal).await;
    assert!((1250..3350).contains(&waited.as_millis()), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn envoy_s_delta_is_waited_for() {
    let refusal = || {
        let response = Response::builder().status(429).header("x-ratelimit-limit", "10, 10;w=60;name=\"per-ip\"");
        let response = response.header("x-ratelimit-remaining", "0").header("x-ratelimit-reset", "17");
        response.header("x-envoy-ratelimited", "true").body(Body::empty()).unwrap()
    };
    let waited = waited(AdviceReader::new().x_rate_limit(Reset::Delta), refusal).await;
    assert!((17..=22).contains(&waited.as_secs()), "{waited:?}");
}

// ---- gRPC ----

type GrpcClient = Grpc<Retry<Channel, fn(ReplayBody<tonic::body::Body>) -> tonic::body::Body>>;

/// Serves the echo behind a layer of ours, and retries around a `Channel` to it.
async fn echo_behind(limiter: &RateLimiter) -> (GrpcClient, Echo) {
    let ((address, incoming), echo) = (listen(), Echo::default());
    tokio::spawn(Server::builder().layer(limiter.layer()).add_service(echo.clone()).serve_with_incoming(incoming));
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    let layer = RetryLayer::new(RetryPolicy::default()).map_body(tonic::body::Body::new as fn(_) -> _);
    (Grpc::new(layer.layer(channel)), echo)
}

async fn say(client: &mut GrpcClient, text: &str) -> Result<String, Status> {
    client.ready().await.unwrap();
    let request = tonic::Request::new(text.to_owned());
    let path = "/echo.Echo/Say".parse().unwrap();
    Ok(client.unary(request, path, ProstCodec::<String, String>::default()).await?.into_inner())
}

async fn collect(client: &mut GrpcClient, words: Vec<String>) -> Result<String, Status> {
    client.ready().await.unwrap();
    let request = tokio_stream::iter(words).into_streaming_request();
    let path = "/echo.Echo/Collect".parse().unwrap();
    Ok(client.client_streaming(request, path, ProstCodec::<String, String>::default()).await?.into_inner())
}

#[tokio::test(start_paused = true)]
async fn unary_and_streaming_calls_over_a_channel_are_made_again_after_the_pushback() {
    let (mut client, echo) = echo_behind(&limiter(Policy::per_minute(2))).await;
    let begun = Instant::now();
    for number in 0..3 {
        let text = format!("text {number}");
        assert_eq!(say(&mut client, &text).await.unwrap(), text);
        let words = (0..9).map(|word| format!("{word}")).collect();
        assert_eq!(collect(&mut client, words).await.unwrap(), "0 1 2 3 4 5 6 7 8");
    }
    assert_eq!(echo.calls(), 6, "refused calls do not reach it");
    assert!((120..145).contains(&begun.elapsed().as_secs()), "two minutes are full: {:?}", begun.elapsed());
}

/// As the documentation has it, with nothing to be said about types.
#[tokio::test(start_paused = true)]
async fn a_channel_is_given_retries_in_one_line() {
    let ((address, incoming), echo) = (listen(), Echo::default());
    let limit = limiter(Policy::per_minute(1)).layer();
    tokio::spawn(Server::builder().layer(limit).add_service(echo.clone()).serve_with_incoming(incoming));
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();

    let channel = RetryLayer::new(RetryPolicy::default()).map_body(tonic::body::Body::new).layer(channel);

    let mut client = Grpc::new(channel);
    for _ in 0..2 {
        client.ready().await.unwrap();
        let (request, path) = (tonic::Request::new("text".to_owned()), "/echo.Echo/Say".parse().unwrap());
        client.unary(request, path, ProstCodec::<String, String>::default()).await.unwrap();
    }
    assert_eq!(echo.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_would_have_to_wait_for_an_hour_fails_at_once_with_all_that_the_server_said() {
    let (mut client, _) = echo_behind(&limiter(Policy::per_hour(1))).await;
    say(&mut client, "one").await.unwrap();
    let begun = Instant::now();
    let refused = say(&mut client, "two").await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let delay = refused.get_error_details().retry_info().unwrap().retry_delay;
    assert_eq!(delay.map(|delay| delay.as_secs()), Some(3600));
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_messages_that_is_longer_than_its_copy_arrives_whole() {
    let (mut client, echo) = echo_behind(&limiter(Policy::per_minute(1))).await;
    let words = (0..100).map(|_| "a".repeat(1023)).collect();
    assert_eq!(collect(&mut client, words).await.unwrap().len(), 100 * 1024 - 1);
    assert_eq!(echo.calls(), 1);
}

#[tokio::test]
async fn reqwest_is_retried_and_what_it_could_not_send_too() {
    let calls = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&calls);
    let app = Router::new().fallback(move |body: String| {
        let refused = seen.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            let status = if refused { StatusCode::TOO_MANY_REQUESTS } else { StatusCode::OK };
            (status, [("retry-after-ms", "1")], body)
        }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move { axum::serve(listener, app).await });

    let unsent = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&unsent);
    let policy = RetryPolicy::builder()
        .backoff(Backoff::full(Duration::from_millis(1), Duration::from_millis(2)))
        .max_jitter(Duration::ZERO)
        .unsent_if(reqwest::Error::is_connect)
        .inspect_retry(move |repeat| {
            _ = counted.fetch_add(u32::from(repeat.reason() == RetryReason::NotSent), Ordering::SeqCst);
        });
    let reqwest = reqwest::Client::builder().no_proxy().build().unwrap();
    let adapter = Adapter::<_, reqwest::Request, reqwest::Body>::new(reqwest.clone());
    let client = RetryLayer::new(policy.build().unwrap()).map_body(reqwest::Body::wrap).layer(adapter);

    let request = reqwest.post(format!("http://{server}/")).body("the body").build().unwrap();
    let response = client.clone().oneshot(request.try_into().unwrap()).await.unwrap();
    assert_eq!(response.extensions().get(), Some(&Attempts(2)));
    assert_eq!(reqwest::Response::from(response).text().await.unwrap(), "the body");
    assert_eq!((calls.load(Ordering::SeqCst), unsent.load(Ordering::SeqCst)), (2, 0));

    serving.abort();
    let _ = serving.await;
    let request = reqwest.post(format!("http://{server}/")).body("the body").build().unwrap();
    client.oneshot(request.try_into().unwrap()).await.unwrap_err();
    assert_eq!(unsent.load(Ordering::SeqCst), 3);
}
