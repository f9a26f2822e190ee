//! Messages that cost what their length says, behind a real tonic server and around plain bodies.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, StreamBody};
use tokio::sync::mpsc;
use tokio_stream::{StreamExt, wrappers::UnboundedReceiverStream};
use tonic::Code;
use tonic_types::StatusExt;
use tower::{Layer, ServiceExt, service_fn};
use tower_quota::{
    Policy, RateLimiter, Rule,
    cost::{self, MessageHead},
    grpc::{MessageDenied, RequestBody},
    outcome,
};
use tower_quota_tests::{
    echo::METHODS,
    limiter::{frozen, limiter},
};

use crate::messages::{acme, call, framed, in_pieces, read, rule, serve, used};

fn bytes(limit: u64) -> Rule {
    rule("bytes", limit).cost("bytes", 0).message_cost(cost::message_length())
}

/// The bytes of a message with this text: its tag, its length and its letters.
const fn encoded(text: &str) -> u64 {
    2 + text.len() as u64
}

// ---- over a socket ----

#[tokio::test]
async fn each_kind_of_call_costs_the_bytes_of_all_its_messages() {
    let words = encoded("one") + encoded("two") + encoded("three");
    let whole = encoded("one two three");
    for (method, units) in METHODS.into_iter().zip([whole, whole, words, words]) {
        let limiter = frozen([bytes(1000), rule("calls", 100)]);
        let acme = acme(serve(&limiter, &["bytes"])).await;
        acme.call(method, "one two three").await.unwrap();
        assert_eq!((used(&limiter, "bytes"), used(&limiter, "calls")), (units, 1), "{method}");
    }
}

#[tokio::test]
async fn a_conversation_ends_at_the_message_that_does_not_fit_and_shorter_ones_still_do() {
    let (limiter, clock) = limiter([bytes(30)]);
    let acme = acme(serve(&limiter, &["bytes"])).await;
    for _ in 0..2 {
        let (say, texts) = mpsc::unbounded_channel();
        let mut heard = acme.talk(UnboundedReceiverStream::new(texts)).await.unwrap();
        for text in ["ten bytes", "nine byte"] {
            say.send(text.to_owned()).unwrap();
            assert_eq!(heard.next().await.unwrap().unwrap(), text);
        }
        say.send("nothing left".to_owned()).unwrap();
        let refused = heard.next().await.unwrap().unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert!(refused.get_error_details().retry_info().is_some());
        assert_eq!(used(&limiter, "bytes"), 22);
        assert_eq!(acme.say("short").await.unwrap(), "short");
        assert_eq!(used(&limiter, "bytes"), 29);
        clock.advance(Duration::from_secs(60));
    }
}

#[tokio::test]
async fn a_message_that_is_longer_than_the_limit_ends_its_call_for_good() {
    let limiter = frozen([bytes(30)]);
    let acme = acme(serve(&limiter, &["bytes"])).await;
    let refused = acme.say(&"x".repeat(40)).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(refused.message(), "This request costs 42 bytes; at most 30 are admitted per minute.");
    assert_eq!(used(&limiter, "bytes"), 0);
}

#[tokio::test]
async fn rules_for_calls_messages_and_bytes_stand_beside_each_other() {
    let limiter = frozen([rule("calls", 100), rule("messages", 100), bytes(1000)]);
    let acme = acme(serve(&limiter, &["messages", "bytes"])).await;
    acme.collect("one two three").await.unwrap();
    let words = encoded("one") + encoded("two") + encoded("three");
    assert_eq!(["calls", "messages", "bytes"].map(|rule| used(&limiter, rule)), [1, 3, words]);
}

#[test]
fn a_rule_that_settles_its_costs_charges_no_messages() {
    let reserved = || rule("tokens", 100).reserve("tokens", 5);
    let counted = || rule("tokens", 100).count_only(outcome::failures());
    for rule in [reserved(), counted()] {
        let error = frozen([rule]).layer().per_message(["tokens"]).unwrap_err();
        assert_eq!((error.field(), error.value()), ("per_message", "\"tokens\""));
    }
    for rule in [
        rule("bytes", 100).message_cost(cost::message_length()),
        reserved().message_cost(cost::message_length()),
        rule("bytes", 100).cost("bytes", 0).message_cost(101),
        rule("bytes", 100)
            .policy(Policy::per_minute(100).spread_evenly())
            .cost("bytes", 0)
            .message_cost(cost::message_length()),
    ] {
        assert!(RateLimiter::builder().rule(rule).build().is_err());
    }
}

// ---- around plain bodies ----

/// Returns what a handler reads of these pieces, and whether there is an error at the end.
async fn passed_on<B>(limiter: &RateLimiter, rules: &[&'static str], body: B) -> (Vec<u8>, bool)
where
    B: Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    let (tell, mut told) = mpsc::unbounded_channel();
    let handler = service_fn(|request: Request<RequestBody<_>>| {
        let tell = tell.clone();
        async move {
            tokio::spawn(async move { tell.send(read(Box::pin(request.into_body())).await).unwrap() });
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let layer = limiter.layer().per_message(rules.iter().copied()).unwrap();
    layer.layer(handler).oneshot(call(body)).await.unwrap();
    let (bytes, error) = told.recv().await.unwrap();
    if let Some(error) = &error {
        assert!(!error.downcast_ref::<MessageDenied>().unwrap().decision().is_admitted());
    }
    (bytes, error.is_some())
}

#[tokio::test]
async fn nothing_of_a_denied_message_reaches_the_handler_however_the_bytes_are_cut() {
    let texts = ["one", "", "three", "four", "of"];
    for length in 1..40 {
        let limiter = frozen([bytes(9)]);
        let (bytes, is_denied) = passed_on(&limiter, &["bytes"], in_pieces(&framed(&texts), length)).await;
        assert_eq!(bytes, framed(&["one", "", "three"]), "pieces of {length}");
        assert!(is_denied);
        assert_eq!(used(&limiter, "bytes"), 8);
    }
}

#[tokio::test]
async fn all_that_is_admitted_passes_however_the_bytes_are_cut() {
    let texts = ["", "one", "three", "", "", "four"];
    for length in 1..40 {
        let limiter = frozen([bytes(100), rule("messages", 100)]);
        let pieces = in_pieces(&framed(&texts), length);
        let (bytes, is_denied) = passed_on(&limiter, &["bytes", "messages"], pieces).await;
        assert_eq!((bytes, is_denied), (framed(&texts), false), "pieces of {length}");
        assert_eq!((used(&limiter, "bytes"), used(&limiter, "messages")), (12, 6));
    }
}

#[tokio::test]
async fn a_stream_that_ends_in_a_prefix_is_passed_on_with_its_trailers() {
    let trailers = HeaderMap::from_iter([(http::HeaderName::from_static("x-last"), 1.into())]);
    for cut in 1..5 {
        for has_trailers in [false, true] {
            let whole = framed(&["one", "two"]);
            let sent = whole[..8 + cut].to_vec();
            let mut frames = vec![Ok::<_, Infallible>(Frame::data(Bytes::from(sent.clone())))];
            frames.extend(has_trailers.then(|| Ok(Frame::trailers(trailers.clone()))));
            let limiter = frozen([bytes(100)]);
            let handler = service_fn(async |request: Request<RequestBody<_>>| {
                let read = request.into_body().collect().await.unwrap();
                let last = read.trailers().map(|trailers| trailers["x-last"].clone());
                let response = Response::new(read.to_bytes().into_iter().collect::<Vec<u8>>());
                Ok::<_, Infallible>(response.map(|bytes| {
                    assert_eq!(last.is_some(), has_trailers);
                    http_body_util::Full::new(Bytes::from(bytes))
                }))
            });
            let layer = limiter.layer().per_message(["bytes"]).unwrap();
            let body = StreamBody::new(tokio_stream::iter(frames));
            let answer = layer.layer(handler).oneshot(call(body)).await.unwrap();
            assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), sent);
            assert_eq!(used(&limiter, "bytes"), 3);
        }
    }
}

#[tokio::test]
async fn a_message_passes_before_its_payload_has_come() {
    let limiter = frozen([bytes(100)]);
    let (send, pieces) = mpsc::unbounded_channel::<Vec<u8>>();
    let (tell, mut told) = mpsc::unbounded_channel();
    let handler = service_fn(|request: Request<RequestBody<_>>| {
        let tell = tell.clone();
        async move {
            tell.send(Box::pin(request.into_body())).unwrap();
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let pieces = StreamBody::new(
        UnboundedReceiverStream::new(pieces).map(|piece| Ok::<_, Infallible>(Frame::data(Bytes::from(piece)))),
    );
    let layer = limiter.layer().per_message(["bytes"]).unwrap();
    layer.layer(handler).oneshot(call(pieces)).await.unwrap();
    let mut body: Pin<Box<RequestBody<_>>> = told.recv().await.unwrap();
    let mut next = move || match body.as_mut().poll_frame(&mut Context::from_waker(Waker::noop())) {
        std::task::Poll::Ready(frame) => Some(frame.unwrap().unwrap().into_data().unwrap()),
        std::task::Poll::Pending => None,
    };
    let whole = framed(&["eleven byte"]);
    send.send(whole[..2].to_vec()).unwrap();
    assert_eq!(next(), None, "the length is not known");
    send.send(whole[2..7].to_vec()).unwrap();
    assert_eq!(next().as_deref(), Some(&whole[..2]));
    assert_eq!(next().as_deref(), Some(&whole[2..7]));
    assert_eq!(used(&limiter, "bytes"), 11);
    send.send(whole[7..].to_vec()).unwrap();
    assert_eq!(next().as_deref(), Some(&whole[7..]));
}

#[tokio::test]
async fn a_closure_sees_the_length_and_whether_a_message_is_compressed() {
    let cost = |message: MessageHead| u64::from(message.length()) * if message.is_compressed() { 10 } else { 1 };
    let limiter = frozen([rule("bytes", 100).cost("points", 1).message_cost(cost)]);
    let mut sent = framed(&["one", "two"]);
    sent[0] = 1;
    let (bytes, is_denied) = passed_on(&limiter, &["bytes"], in_pieces(&sent, 99)).await;
    assert_eq!((bytes, is_denied), (sent, false));
    assert_eq!(used(&limiter, "bytes"), 1 + 30 + 3, "the call, and its messages");
}
