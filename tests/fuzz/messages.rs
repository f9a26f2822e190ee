//! As many messages are charged as there are, however their bytes are cut; and when there is no room for one, what came
//! before it has passed to the last byte and nothing behind.
//!
//! Input: a digit for the limit, a line of which each byte is the length of a piece, then the bytes of the stream.

use std::{
    convert::Infallible,
    pin::pin,
    sync::LazyLock,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use tower::{Layer, Service, service_fn};
use tower_quota::{
    Policy, RateLimiter, Rule,
    clock::ManualClock,
    grpc::{MessageDenied, MessageLimitLayer, RequestBody},
    http::RequestView,
};

use crate::input::Input;

const PREFIX: usize = 5;

/// What reached the handler.
#[derive(Debug, Default, PartialEq, Eq)]
struct Received {
    bytes: Vec<u8>,
    denials: usize,
    trailers: usize,
}

pub(crate) fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let limit = *input.choice(&[1, 2, 3, 4, 5, 6, 7, 8]);
    let cuts = input.line();
    let stream = input.rest();
    let beginnings = beginnings(stream);
    let (limiter, layer) = &LIMITERS[limit - 1];
    limiter.rule("messages").unwrap().reset("all");

    let received = serve(layer, pieces(stream, cuts));
    let expected = match beginnings.get(limit) {
        Some(denied) => Received { bytes: stream[..*denied].to_vec(), denials: 1, trailers: 0 },
        None => Received { bytes: stream.to_vec(), denials: 0, trailers: 1 },
    };
    assert_eq!(received, expected, "{} messages at a limit of {limit}", beginnings.len());
    let decision = limiter.rule("messages").unwrap().peek("all");
    let used = decision.quotas().map(|quota| quota.limit() - quota.remaining()).next();
    assert_eq!(used, Some(beginnings.len().clamp(1, limit) as u64), "{} messages", beginnings.len());
}

/// Where messages begin. What is announced beyond the end of the stream has begun all the same.
fn beginnings(stream: &[u8]) -> Vec<usize> {
    let (mut at, mut found) = (0, Vec::new());
    while at < stream.len() {
        found.push(at);
        let Some(prefix) = stream.get(at..at + PREFIX) else { break };
        let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]);
        at += PREFIX + length as usize;
    }
    found
}

/// The stream in pieces of these lengths, and the rest of it in one. Some are empty.
fn pieces(mut stream: &[u8], cuts: &[u8]) -> Vec<Bytes> {
    let mut pieces = Vec::new();
    for length in cuts {
        let (piece, rest) = stream.split_at(usize::from(*length).saturating_sub(32).min(stream.len()));
        pieces.push(Bytes::copy_from_slice(piece));
        stream = rest;
    }
    pieces.push(Bytes::copy_from_slice(stream));
    pieces.reverse();
    pieces
}

/// The last piece first; after the first one, trailers.
struct Stream {
    pieces: Vec<Bytes>,
    has_ended: bool,
}

impl Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = self.pieces.pop().map(Frame::data);
        let trailers = || (!std::mem::replace(&mut self.has_ended, true)).then(|| Frame::trailers(HeaderMap::new()));
        Poll::Ready(frame.or_else(trailers).map(Ok))
    }
}

fn serve(layer: &MessageLimitLayer, pieces: Vec<Bytes>) -> Received {
    let (tell, told) = std::sync::mpsc::channel();
    let mut service = layer.layer(service_fn(move |request: Request<RequestBody<Stream>>| {
        tell.send(read(request.into_body())).unwrap();
        std::future::ready(Ok::<_, Infallible>(Response::new(String::new())))
    }));
    let request = Request::post("/chat.Chat/Say").header("content-type", "application/grpc");
    let request = request.body(Stream { pieces, has_ended: false }).unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    assert!(Service::<Request<Stream>>::poll_ready(&mut service, &mut cx).is_ready());
    let answered = pin!(service.call(request)).poll(&mut cx);
    assert!(answered.is_ready());
    told.try_recv().unwrap()
}

/// All that comes. Nothing here has to be waited for.
fn read(body: RequestBody<Stream>) -> Received {
    let mut cx = Context::from_waker(Waker::noop());
    let (mut body, mut received) = (pin!(body), Received::default());
    loop {
        match body.as_mut().poll_frame(&mut cx) {
            Poll::Ready(None) => return received,
            Poll::Ready(Some(Err(error))) => {
                assert!(error.is::<MessageDenied>(), "{error}");
                received.denials += 1;
            }
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => received.bytes.extend(data),
                Err(_) => received.trailers += 1,
            },
            Poll::Pending => panic!("nothing to wait for"),
        }
    }
}

/// By their limits.
static LIMITERS: LazyLock<Vec<(RateLimiter, MessageLimitLayer)>> = LazyLock::new(|| {
    let limited = |limit| {
        let everybody = |_: &RequestView<'_>| Some("all");
        let rule = Rule::new("messages").every_request().key(everybody).level("all").policy(Policy::per_minute(limit));
        let limiter = RateLimiter::builder().rule(rule).clock(ManualClock::new()).max_keys(16).build().unwrap();
        let layer = limiter.layer().per_message(["messages"]).unwrap();
        (limiter, layer)
    };
    (1..=8).map(limited).collect()
});
