//! Rules that are for every message of a gRPC call, behind a real tonic server and around plain bodies.
#![cfg(feature = "tonic")]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "this is a test")]

#[path = "support/echo.rs"]
mod echo;

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, StreamBody};
use tokio::sync::mpsc;
use tokio_stream::{StreamExt, wrappers::UnboundedReceiverStream};
use tonic::{Code, Status, transport::Server};
use tonic_types::StatusExt;
use tower::{Layer, ServiceExt, service_fn};
use tower_quota::{
    Policy, Quota, RateLimiter, RateLimiterBuilder, Rule,
    clock::ManualClock,
    grpc::{MessageDenied, RequestBody},
    key,
};

use echo::{Client, Echo, METHODS, listen};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

fn rule(name: &str, limit: u32) -> Rule {
    let rule = Rule::new(name).routes(["/echo.Echo/{*method}"]).level("tenant", key::metadata("x-tenant"));
    rule.policy(Quota::per_minute(limit))
}

fn limiter(rules: impl IntoIterator<Item = Rule>) -> (RateLimiter, ManualClock) {
    let clock = ManualClock::new();
    let builder = RateLimiter::builder().clock(clock.clone());
    (rules.into_iter().fold(builder, RateLimiterBuilder::rule).build().unwrap(), clock)
}

/// Serves the echo, with `messages` charged for each message.
fn serve(limiter: &RateLimiter) -> SocketAddr {
    let (address, incoming) = listen();
    let layer = limiter.layer().per_message(["messages"]).unwrap();
    tokio::spawn(Server::builder().layer(layer).add_service(Echo::default()).serve_with_incoming(incoming));
    address
}

async fn acme(server: SocketAddr) -> Client {
    Client::connect(server).await.with("x-tenant", "acme")
}

fn used(limiter: &RateLimiter, rule: &str) -> u32 {
    let decision = limiter.peek(rule, "acme").unwrap();
    let quota = decision.quotas().next().unwrap();
    quota.limit() - quota.remaining()
}

fn assert_tells_everything(refused: &Status) {
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let message = "You've exceeded the per-minute rate limit. Please wait for sometime before retrying.";
    assert_eq!(refused.message(), message);
    let details = refused.get_error_details();
    assert_eq!(details.retry_info().unwrap().retry_delay, Some(Duration::from_secs(60)));
    let violations = &details.quota_failure().unwrap().violations;
    assert!(violations.iter().all(|violation| violation.description.starts_with("messages/minute: ")));
    assert!(refused.metadata().contains_key("grpc-retry-pushback-ms"));
}

// ---- over a socket ----

#[tokio::test]
async fn a_conversation_ends_when_the_policy_runs_out_and_goes_on_a_minute_later() {
    let (limiter, clock) = limiter([rule("messages", 3)]);
    let acme = acme(serve(&limiter)).await;
    for _ in 0..2 {
        let (say, texts) = mpsc::unbounded_channel();
        let mut heard = acme.talk(UnboundedReceiverStream::new(texts)).await.unwrap();
        for text in ["one", "two", "three"] {
            say.send(text.to_owned()).unwrap();
            assert_eq!(heard.next().await.unwrap().unwrap(), text);
        }
        say.send("four".to_owned()).unwrap();
        assert_tells_everything(&heard.next().await.unwrap().unwrap_err());
        assert!(heard.next().await.is_none());
        assert_eq!(used(&limiter, "messages"), 3);
        clock.advance(Duration::from_secs(60));
    }
}

#[tokio::test]
async fn an_upload_that_is_too_long_is_refused_before_it_is_answered() {
    let (limiter, _clock) = limiter([rule("messages", 3)]);
    let acme = acme(serve(&limiter)).await;
    assert_tells_everything(&acme.collect("one two three four five").await.unwrap_err());
    assert_eq!(used(&limiter, "messages"), 3);
}

#[tokio::test]
async fn each_kind_of_call_costs_as_many_units_as_it_has_messages() {
    for (method, units) in METHODS.into_iter().zip([1, 1, 3, 3]) {
        let (limiter, _clock) = limiter([rule("messages", 100), rule("calls", 100)]);
        let acme = acme(serve(&limiter)).await;
        acme.call(method, "one two three").await.unwrap();
        assert_eq!((used(&limiter, "messages"), used(&limiter, "calls")), (units, 1), "{method}");
    }
}

#[tokio::test]
async fn a_call_is_refused_as_it_opens_when_nothing_is_left() {
    let (limiter, _clock) = limiter([rule("messages", 3)]);
    let acme = acme(serve(&limiter)).await;
    assert_eq!(acme.collect("one two three").await.unwrap(), "one two three");
    for method in METHODS {
        assert_tells_everything(&acme.call(method, "more").await.unwrap_err());
    }
}

#[tokio::test]
async fn tenants_talk_undisturbed_by_each_other() {
    let (limiter, _clock) = limiter([rule("messages", 3)]);
    let server = serve(&limiter);
    assert!(acme(server).await.collect("one two three four").await.is_err());
    let globex = Client::connect(server).await.with("x-tenant", "globex");
    assert_eq!(globex.collect("one two three").await.unwrap(), "one two three");
}

#[test]
fn a_rule_that_does_not_exist_is_an_error() {
    let (limiter, _clock) = limiter([rule("messages", 3)]);
    let error = limiter.layer().per_message(["Messages", "massages"]).unwrap_err();
    assert_eq!(error.name(), "massages");
}

// ---- around plain bodies ----

/// The bytes of messages with these texts.
fn framed(texts: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for text in texts {
        bytes.push(0);
        bytes.extend((text.len() as u32).to_be_bytes());
        bytes.extend(text.as_bytes());
    }
    bytes
}

fn in_pieces(bytes: &[u8], length: usize) -> impl Body<Data = Bytes, Error = Infallible> + Send + 'static {
    let pieces: Vec<_> = bytes.chunks(length).map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece)))).collect();
    StreamBody::new(tokio_stream::iter(pieces))
}

fn call<B>(body: B) -> Request<B> {
    let call = Request::post("/echo.Echo/Talk").header("content-type", "application/grpc").header("x-tenant", "acme");
    call.body(body).unwrap()
}

/// All that a handler gets of a request, and the error at its end.
async fn read(mut body: impl Body<Data = Bytes, Error = BoxError> + Unpin) -> (Vec<u8>, Option<BoxError>) {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => bytes.extend(frame.into_data().unwrap_or_default()),
            Err(error) => return (bytes, Some(error)),
        }
    }
    (bytes, None)
}

#[tokio::test]
async fn nothing_of_a_denied_message_reaches_the_handler_however_the_bytes_are_cut() {
    let texts = ["one", "", "three", "four", ""];
    for length in 1..40 {
        let (limiter, _clock) = limiter([rule("messages", 3)]);
        let (tell, mut told) = mpsc::unbounded_channel();
        let handler = service_fn(|request: Request<RequestBody<_>>| {
            let tell = tell.clone();
            async move {
                // A handler that reads in the background goes on when its call has ended.
                tokio::spawn(async move { tell.send(read(Box::pin(request.into_body())).await).unwrap() });
                Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
            }
        });
        let layer = limiter.layer().per_message(["messages"]).unwrap();
        layer.layer(handler).oneshot(call(in_pieces(&framed(&texts), length))).await.unwrap();
        let (bytes, error) = told.recv().await.unwrap();
        assert_eq!(bytes, framed(&["one", "", "three"]), "pieces of {length}");
        let error = error.unwrap().downcast::<MessageDenied>().unwrap();
        assert!(!error.decision().is_admitted());
        assert_eq!(Status::from_error(error).code(), Code::ResourceExhausted, "as tonic's handlers see it");
    }
}

#[tokio::test]
async fn an_answer_that_waits_for_something_else_ends_too() {
    let (limiter, _clock) = limiter([rule("messages", 1)]);
    let held = Arc::new(());
    let handler = service_fn(|request: Request<RequestBody<_>>| {
        // Runs only when the answer is being waited for.
        tokio::spawn(read(Box::pin(request.into_body())));
        let held = Arc::clone(&held);
        async move {
            std::future::pending::<()>().await;
            drop(held);
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let layer = limiter.layer().per_message(["messages"]).unwrap();
    let answer = layer.layer(handler).oneshot(call(in_pieces(&framed(&["a", "b"]), 99))).await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "8");
    assert!(answer.headers().contains_key("retry-after"));
    assert!(answer.body().is_end_stream());
    assert_eq!(Arc::strong_count(&held), 1, "what the handler was doing is dropped");
}

#[tokio::test]
async fn an_answer_that_has_begun_ends_with_the_trailers_of_a_refusal() {
    let (limiter, _clock) = limiter([rule("messages", 1)]);
    let (send, texts) = mpsc::unbounded_channel();
    let handler = service_fn(|request: Request<RequestBody<_>>| {
        let rest = StreamBody::new(tokio_stream::pending::<Result<Frame<Bytes>, Infallible>>());
        tokio::spawn(read(Box::pin(request.into_body())));
        async { Ok::<_, Infallible>(Response::new(rest)) }
    });
    let request = StreamBody::new(
        UnboundedReceiverStream::new(texts).map(|bytes: Vec<u8>| Ok::<_, Infallible>(Frame::data(Bytes::from(bytes)))),
    );
    let layer = limiter.layer().per_message(["messages"]).unwrap();
    let mut answer = layer.layer(handler).oneshot(call(request)).await.unwrap();
    assert!(!answer.headers().contains_key("grpc-status"));
    let waiting = tokio::spawn(async move { answer.frame().await.unwrap().unwrap().into_trailers().unwrap() });
    send.send(framed(&["a", "b"])).unwrap();
    let trailers: HeaderMap = waiting.await.unwrap();
    assert_eq!(trailers["grpc-status"], "8");
    assert!(!trailers.contains_key("ratelimit"), "the draft forbids it in trailers");
}

#[tokio::test]
async fn other_protocols_and_calls_that_no_such_rule_governs_pass_as_they_are() {
    let (limiter, _clock) = limiter([rule("messages", 1)]);
    let handler = service_fn(async |request: Request<RequestBody<_>>| {
        let (bytes, error) = read(Box::pin(request.into_body())).await;
        assert!(error.is_none());
        Ok::<_, Infallible>(Response::new(http_body_util::Full::new(Bytes::from(bytes))))
    });
    let service = limiter.layer().per_message(["messages"]).unwrap().layer(handler);
    let bytes = framed(&["a", "b", "c"]);
    let mut http = call(in_pieces(&bytes, 4));
    http.headers_mut().insert("content-type", "application/octet-stream".parse().unwrap());
    let mut elsewhere = call(in_pieces(&bytes, 4));
    *elsewhere.uri_mut() = "/other.Service/Talk".parse().unwrap();
    for request in [http, elsewhere] {
        let answer = service.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.body().size_hint().exact(), Some(bytes.len() as u64));
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), bytes);
    }
}

#[tokio::test]
async fn a_flood_of_empty_messages_in_one_frame_is_charged_one_by_one() {
    let (limiter, _clock) = limiter([rule("messages", 1000).policy(Policy::per_minute(1000).and_per_hour(2000))]);
    let handler = service_fn(async |request: Request<RequestBody<_>>| {
        let (bytes, error) = read(Box::pin(request.into_body())).await;
        assert_eq!((bytes.len(), error.is_some()), (5000, true));
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    });
    let service = limiter.layer().per_message(["messages"]).unwrap().layer(handler);
    let flood = in_pieces(&framed(&[""; 100_000]), usize::MAX);
    assert_eq!(service.oneshot(call(flood)).await.unwrap().headers()["grpc-status"], "8");
    assert_eq!(used(&limiter, "messages"), 1000);
}
