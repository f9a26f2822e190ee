//! Costs of gRPC calls: what a refused caller is told, and calls that count by the code with which they end.

use std::{
    convert::Infallible,
    future::ready,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use prost::Message;
use tonic::{Code, client::Grpc, transport::Server};
use tonic_prost::ProstCodec;
use tonic_types::{StatusExt, pb};
use tower::{Layer, ServiceExt, service_fn};
use tower_quota::{
    Policy, RateLimiter, Reservation, Unsettled, cost,
    http::ResponseBody,
    outcome::{self, Outcome},
};
use tower_quota_tests::{
    echo::{Client, Echo, listen},
    limiter::{frozen, remaining, rule},
};

const GRPC: &str = "application/grpc";

fn call() -> Request<()> {
    Request::post("/echo.Echo/Say").header("content-type", GRPC).body(()).unwrap()
}

/// What everybody has left of ten calls a minute.
fn left(limiter: &RateLimiter) -> u64 {
    remaining(&limiter.rule("calls").unwrap().peek("everybody"))[0]
}

/// Ten calls a minute of those that count.
fn calls(counts: impl Fn(&Outcome<'_>) -> bool + Send + Sync + 'static) -> RateLimiter {
    frozen([rule("calls", Policy::per_minute(10)).count_only(counts)])
}

type StreamedBody = StreamBody<tokio_stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>;

/// A response with a message in its body, and these trailers.
fn response(code: Option<&'static str>) -> Response<StreamedBody> {
    let mut frames = vec![Ok(Frame::data(Bytes::from_static(&[0; 5])))];
    if let Some(code) = code {
        let trailers = [("grpc-status".parse().unwrap(), HeaderValue::from_static(code))].into_iter().collect();
        frames.push(Ok(Frame::trailers(trailers)));
    }
    let body = StreamBody::new(tokio_stream::iter(frames));
    Response::builder().header("content-type", GRPC).body(body).unwrap()
}

async fn answered(limiter: &RateLimiter, code: Option<&'static str>) -> ResponseBody<StreamedBody> {
    let inner = service_fn(move |_: Request<()>| ready(Ok::<_, Infallible>(response(code))));
    limiter.layer().layer(inner).oneshot(call()).await.unwrap().into_body()
}

#[tokio::test]
async fn a_call_counts_by_the_code_in_its_trailers_whatever_its_status_is() {
    let limiter = calls(outcome::grpc_codes([16, 7]));
    for (code, expected) in [("0", 10), ("16", 9), ("5", 9), ("7", 8), ("junk", 8)] {
        answered(&limiter, Some(code)).await.collect().await.unwrap();
        assert_eq!(left(&limiter), expected, "{code}");
    }
    let limiter = calls(outcome::failures());
    for (code, expected) in [("0", 10), ("16", 9), ("junk", 8)] {
        answered(&limiter, Some(code)).await.collect().await.unwrap();
        assert_eq!(left(&limiter), expected, "{code}");
    }
}

#[tokio::test]
async fn a_call_is_settled_with_its_trailers_and_not_only_after_them() {
    let limiter = calls(outcome::failures());
    let mut body = answered(&limiter, Some("0")).await;
    body.frame().await.unwrap().unwrap();
    assert_eq!(left(&limiter), 9);
    assert!(body.frame().await.unwrap().unwrap().is_trailers());
    assert_eq!(left(&limiter), 10);
}

/// Nobody knows what has come of it.
#[tokio::test]
async fn a_call_that_ends_without_a_code_has_failed_and_one_that_is_cut_off_counts_in_any_case() {
    let limiter = calls(outcome::failures());
    answered(&limiter, None).await.collect().await.unwrap();
    assert_eq!(left(&limiter), 9, "its code is UNKNOWN");
    let limiter = calls(|_: &Outcome<'_>| false);
    drop(answered(&limiter, Some("0")).await);
    assert_eq!(left(&limiter), 9);
}

#[tokio::test]
async fn a_head_that_is_trailers_as_well_has_the_code() {
    let seen = Arc::new(AtomicU32::new(0));
    let note = Arc::clone(&seen);
    let limiter = calls(move |outcome: &Outcome<'_>| {
        note.store(outcome.grpc_code().unwrap(), Ordering::Relaxed);
        outcome.is_failure()
    });
    let inner = service_fn(async |_: Request<()>| {
        Response::builder().header("content-type", GRPC).header("grpc-status", "12").body(String::new())
    });
    drop(limiter.layer().layer(inner).oneshot(call()).await.unwrap());
    assert_eq!((seen.load(Ordering::Relaxed), left(&limiter)), (12, 9));
}

fn serve(limiter: &RateLimiter) -> SocketAddr {
    let (address, incoming) = listen();
    let server = Server::builder().layer(limiter.layer()).add_service(Echo::default());
    tokio::spawn(server.serve_with_incoming(incoming));
    address
}

#[tokio::test]
async fn tonic_s_answers_count_by_their_codes() {
    let limiter = calls(outcome::grpc_codes([Code::Unimplemented as u32]));
    let address = serve(&limiter);
    let client = Client::connect(address).await;
    for method in ["Say", "Many", "Collect", "Talk"] {
        assert_eq!(client.call(method, "one two").await.unwrap(), "one two");
        assert_eq!(left(&limiter), 10, "{method}");
    }
    let channel =
        tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    for expected in [9, 8] {
        let mut grpc = Grpc::new(channel.clone());
        grpc.ready().await.unwrap();
        let (request, path) = (tonic::Request::new("anything".to_owned()), "/echo.Echo/Sing".parse().unwrap());
        let failed = grpc.unary(request, path, ProstCodec::<String, String>::default()).await.unwrap_err();
        assert_eq!((failed.code(), left(&limiter)), (Code::Unimplemented, expected));
    }
}

// ---- never possible ----

#[tokio::test]
async fn a_call_that_is_never_possible_is_told_not_to_retry_and_no_delay() {
    let rule = rule("tokens", Policy::per_minute(20_000)).cost("tokens", cost::header("x-tokens").or(1));
    let limiter = frozen([rule]);
    let inner = service_fn(|_: Request<()>| ready(Ok::<_, Infallible>(Response::new(String::new()))));
    let mut request = call();
    request.headers_mut().insert("x-tokens", 20_001.into());
    let refused = limiter.layer().layer(inner).oneshot(request).await.unwrap();
    assert_eq!(refused.status(), 200);
    assert_eq!(
        (&refused.headers()["grpc-status"], &refused.headers()["grpc-retry-pushback-ms"]),
        (&"8".parse().unwrap(), &"-1".parse().unwrap())
    );
    assert!(!refused.headers().contains_key("retry-after"));

    let status = tonic::Status::from_header_map(refused.headers()).unwrap();
    assert_eq!(status.message(), "This request costs 20001 tokens; at most 20000 are admitted per minute.");
    let details = status.get_error_details();
    assert!(details.retry_info().is_none());
    assert_eq!(details.quota_failure().unwrap().violations[0].description, "tokens/minute: 20000 tokens per 1m");
    let metadata = &details.error_info().unwrap().metadata;
    assert_eq!(
        (metadata["cost"].as_str(), metadata["unit"].as_str(), metadata["limit"].as_str()),
        ("20001", "tokens", "20000")
    );
    let written = pb::Status::decode(status.details()).unwrap();
    assert_eq!(written.details.len(), 2, "QuotaFailure and ErrorInfo");
}

#[tokio::test]
async fn a_denied_cost_states_its_wait_and_a_held_one_a_second() {
    let tokens = |unsettled| rule("calls", Policy::per_minute(10)).reserve("tokens", 6).unsettled(unsettled);
    let limiter = frozen([tokens(Unsettled::Release)]);
    let open = answered(&limiter, Some("0")).await;
    let layer = limiter.layer().pushback_jitter(0);
    let refused = async || -> HeaderMap {
        let inner = service_fn(|_: Request<()>| ready(Ok::<_, Infallible>(Response::new(String::new()))));
        layer.layer(inner).oneshot(call()).await.unwrap().headers().clone()
    };
    let headers = refused().await;
    assert_eq!(
        (&headers["retry-after"], &headers["grpc-retry-pushback-ms"]),
        (&"1".parse().unwrap(), &"1000".parse().unwrap())
    );
    drop(open);
    assert_eq!(left(&limiter), 10);

    limiter.rule("calls").unwrap().check_cost("everybody", 6).unwrap().reservation().unwrap().settle("tokens", 6);
    let headers = refused().await;
    assert_eq!(
        (&headers["retry-after"], &headers["grpc-retry-pushback-ms"]),
        (&"60".parse().unwrap(), &"60000".parse().unwrap())
    );
}

// ---- streams ----

#[tokio::test]
async fn a_stream_settles_what_its_handler_has_observed() {
    let limiter =
        frozen([rule("calls", Policy::per_minute(1000)).reserve("tokens", 100).unsettled(Unsettled::Observed)]);
    let inner = service_fn(async |request: Request<()>| {
        request.extensions().get::<Reservation>().unwrap().observe("tokens", 30);
        Ok::<_, Infallible>(response(Some("0")))
    });
    let response = limiter.layer().layer(inner).oneshot(call()).await.unwrap();
    assert_eq!(left(&limiter), 900);
    response.into_body().collect().await.unwrap();
    assert_eq!(left(&limiter), 970);
}

#[test]
fn rules_that_settle_at_the_end_of_a_call_are_none_for_messages() {
    let plain = rule("plain", Policy::per_minute(9)).cost("points", 2);
    let reserving = rule("reserving", Policy::per_minute(9)).reserve("tokens", 2);
    let counting = rule("counting", Policy::per_minute(9)).count_only(outcome::failures());
    let limiter = frozen([plain, reserving, counting]);
    assert!(limiter.layer().per_message(["plain"]).is_ok());
    for name in ["reserving", "counting"] {
        let error = limiter.layer().per_message(["plain", name]).unwrap_err();
        assert_eq!((error.field(), error.value()), ("per_message", &*format!("{name:?}")));
        assert!(error.reason().contains("a message has nothing to settle"), "{error}");
    }
}
