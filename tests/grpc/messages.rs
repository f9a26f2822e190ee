//! Rules that are for every message of a gRPC call, behind a real tonic server and around plain bodies.

use std::{
    convert::Infallible,
    fmt::Debug,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Wake, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, StreamBody};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::{StreamExt, wrappers::UnboundedReceiverStream};
use tonic::{Code, Status, transport::Server};
use tonic_types::StatusExt;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, limit::ConcurrencyLimit, service_fn};
use tower_quota::{
    OnMissing, Policy, Quota, RateLimiter, Rule,
    grpc::{MessageDenied, RequestBody},
    key,
};
use tower_quota_tests::{
    echo::{Client, Echo, METHODS, listen},
    limiter::{frozen, limiter},
};

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

pub(crate) fn rule(name: &str, limit: u64) -> Rule {
    let rule = Rule::new(name).routes(["/echo.Echo/{*method}"]).key(key::metadata("x-tenant")).level("tenant");
    rule.policy(Quota::per_minute(limit))
}

/// Serves the echo, with these rules charged for each message.
pub(crate) fn serve(limiter: &RateLimiter, rules: &[&'static str]) -> SocketAddr {
    let (address, incoming) = listen();
    let layer = limiter.layer().per_message(rules.iter().copied()).unwrap();
    tokio::spawn(Server::builder().layer(layer).add_service(Echo::default()).serve_with_incoming(incoming));
    address
}

pub(crate) async fn acme(server: SocketAddr) -> Client {
    Client::connect(server).await.with("x-tenant", "acme")
}

pub(crate) fn used(limiter: &RateLimiter, rule: &str) -> u64 {
    let decision = limiter.rule(rule).unwrap().peek("acme");
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
    let acme = acme(serve(&limiter, &["messages"])).await;
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
    let limiter = frozen([rule("messages", 3)]);
    let acme = acme(serve(&limiter, &["messages"])).await;
    assert_tells_everything(&acme.collect("one two three four five").await.unwrap_err());
    assert_eq!(used(&limiter, "messages"), 3);
}

#[tokio::test]
async fn each_kind_of_call_costs_as_many_units_as_it_has_messages() {
    for (method, units) in METHODS.into_iter().zip([1, 1, 3, 3]) {
        let limiter = frozen([rule("messages", 100), rule("calls", 100)]);
        let acme = acme(serve(&limiter, &["messages"])).await;
        acme.call(method, "one two three").await.unwrap();
        assert_eq!((used(&limiter, "messages"), used(&limiter, "calls")), (units, 1), "{method}");
    }
}

#[tokio::test]
async fn a_call_is_refused_as_it_opens_when_nothing_is_left() {
    let limiter = frozen([rule("messages", 3)]);
    let acme = acme(serve(&limiter, &["messages"])).await;
    assert_eq!(acme.collect("one two three").await.unwrap(), "one two three");
    for method in METHODS {
        assert_tells_everything(&acme.call(method, "more").await.unwrap_err());
    }
}

#[tokio::test]
async fn tenants_talk_undisturbed_by_each_other() {
    let limiter = frozen([rule("messages", 3)]);
    let server = serve(&limiter, &["messages"]);
    assert!(acme(server).await.collect("one two three four").await.is_err());
    let globex = Client::connect(server).await.with("x-tenant", "globex");
    assert_eq!(globex.collect("one two three").await.unwrap(), "one two three");
}

#[test]
fn a_rule_that_does_not_exist_and_no_rule_at_all_are_errors() {
    let limiter = frozen([rule("messages", 3)]);
    let error = limiter.layer().per_message(["Messages", "massages"]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "per_message \"massages\": there is no rule of this name: the rules are \"messages\""
    );
    assert_eq!(limiter.layer().per_message([]).unwrap_err().field(), "per_message");
}

// ---- around plain bodies ----

/// The bytes of messages with these texts.
pub(crate) fn framed(texts: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for text in texts {
        bytes.push(0);
        bytes.extend((text.len() as u32).to_be_bytes());
        bytes.extend(text.as_bytes());
    }
    bytes
}

pub(crate) fn in_pieces(
    bytes: &[u8],
    length: usize,
) -> impl Body<Data = Bytes, Error = Infallible> + Send + 'static + use<> {
    let pieces: Vec<_> = bytes.chunks(length).map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece)))).collect();
    StreamBody::new(tokio_stream::iter(pieces))
}

pub(crate) fn call<B>(body: B) -> Request<B> {
    let call = Request::post("/echo.Echo/Talk").header("content-type", "application/grpc").header("x-tenant", "acme");
    call.body(body).unwrap()
}

/// All that a handler gets of a request, and the error at its end.
pub(crate) async fn read(mut body: impl Body<Data = Bytes, Error = BoxError> + Unpin) -> (Vec<u8>, Option<BoxError>) {
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
        let limiter = frozen([rule("messages", 3)]);
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
    let limiter = frozen([rule("messages", 1)]);
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

/// A body that reads nothing of the request, which somebody else does.
type Silent = StreamBody<tokio_stream::Pending<Result<Frame<Bytes>, Infallible>>>;

/// An answer that is begun at once, to a request that is sent through the channel.
async fn begun(
    limiter: &RateLimiter,
) -> (mpsc::UnboundedSender<Vec<u8>>, impl Body<Data = Bytes, Error: Debug> + Unpin) {
    let (send, pieces) = mpsc::unbounded_channel();
    let handler = service_fn(|request: Request<RequestBody<_>>| {
        tokio::spawn(read(Box::pin(request.into_body())));
        async { Ok::<_, Infallible>(Response::new(Silent::new(tokio_stream::pending()))) }
    });
    let framed = |bytes: Vec<u8>| Ok::<_, Infallible>(Frame::data(Bytes::from(bytes)));
    let request = StreamBody::new(UnboundedReceiverStream::new(pieces).map(framed));
    let layer = limiter.layer().per_message(["messages"]).unwrap();
    let answer = layer.layer(handler).oneshot(call(request)).await.unwrap();
    assert!(!answer.headers().contains_key("grpc-status"));
    (send, answer.into_body())
}

fn is_ready<B: Body + Unpin>(body: &mut B, waker: &Waker) -> bool {
    Pin::new(body).poll_frame(&mut Context::from_waker(waker)).is_ready()
}

#[tokio::test]
async fn an_answer_that_has_begun_ends_with_the_trailers_of_a_refusal() {
    let limiter = frozen([rule("messages", 1)]);
    let (send, mut answer) = begun(&limiter).await;
    send.send(framed(&["a", "b"])).unwrap();
    let trailers: HeaderMap = answer.frame().await.unwrap().unwrap().into_trailers().unwrap();
    assert_eq!(trailers["grpc-status"], "8");
    assert!(!trailers.contains_key("ratelimit"), "the draft forbids it in trailers");
    assert!(answer.is_end_stream());
    assert!(answer.frame().await.is_none());
}

#[tokio::test]
async fn the_last_call_in_the_queue_is_woken_when_the_policy_runs_out() {
    let limiter = frozen([rule("messages", 1)]);
    let (send, mut answer) = begun(&limiter).await;
    let (first, last) = (Arc::new(Flag::default()), Arc::new(Flag::default()));
    assert!(!is_ready(&mut answer, &Waker::from(Arc::clone(&first))));
    assert!(!is_ready(&mut answer, &Waker::from(Arc::clone(&last))));
    send.send(framed(&["a", "b"])).unwrap();
    tokio::task::yield_now().await;
    assert_eq!((first.is_woken(), last.is_woken()), (false, true));
    assert!(is_ready(&mut answer, Waker::noop()));
}

/// Whether it was woken.
#[derive(Default)]
struct Flag(AtomicBool);

impl Flag {
    fn is_woken(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn a_handler_that_always_has_something_to_say_is_cut_off() {
    let limiter = frozen([rule("messages", 1)]);
    let handler = service_fn(|request: Request<RequestBody<_>>| {
        tokio::spawn(read(Box::pin(request.into_body())));
        let endless = std::iter::repeat_with(|| Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"more"))));
        async move { Ok::<_, Infallible>(Response::new(StreamBody::new(tokio_stream::iter(endless)))) }
    });
    let layer = limiter.layer().per_message(["messages"]).unwrap();
    let mut answer = layer.layer(handler).oneshot(call(in_pieces(&framed(&["a", "b"]), 99))).await.unwrap();
    assert!(answer.frame().await.unwrap().unwrap().is_data());
    tokio::task::yield_now().await; // for whoever reads the request
    let last = answer.frame().await.unwrap().unwrap();
    assert_eq!(last.into_trailers().unwrap()["grpc-status"], "8");
    assert!(answer.frame().await.is_none());
}

#[tokio::test]
async fn an_answer_that_has_ended_is_not_ended_again() {
    let limiter = frozen([rule("messages", 1)]);
    let (send, pieces) = mpsc::unbounded_channel();
    let handler = service_fn(|request: Request<RequestBody<_>>| {
        tokio::spawn(read(Box::pin(request.into_body())));
        let trailers = HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), 0.into())]);
        let last = tokio_stream::once(Ok::<_, Infallible>(Frame::<Bytes>::trailers(trailers)));
        async move { Ok::<_, Infallible>(Response::new(StreamBody::new(last))) }
    });
    let framed_piece = |bytes: Vec<u8>| Ok::<_, Infallible>(Frame::data(Bytes::from(bytes)));
    let request = StreamBody::new(UnboundedReceiverStream::new(pieces).map(framed_piece));
    let layer = limiter.layer().per_message(["messages"]).unwrap();
    let mut answer = layer.layer(handler).oneshot(call(request)).await.unwrap().into_body();
    assert_eq!(answer.frame().await.unwrap().unwrap().into_trailers().unwrap()["grpc-status"], "0");
    send.send(framed(&["a", "b"])).unwrap();
    tokio::task::yield_now().await;
    assert_eq!(used(&limiter, "messages"), 1);
    assert!(answer.is_end_stream());
    assert!(answer.frame().await.is_none());
}

#[tokio::test]
async fn a_handler_that_drains_its_stream_whatever_comes_gets_to_the_end() {
    let limiter = frozen([rule("messages", 1)]);
    let handler = service_fn(async |request: Request<RequestBody<_>>| {
        let (mut body, mut errors) = (Box::pin(request.into_body()), 0);
        while let Some(frame) = body.frame().await {
            errors += usize::from(frame.is_err());
        }
        assert_eq!((errors, body.is_end_stream()), (1, true));
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    });
    let layer = limiter.layer().per_message(["messages"]).unwrap();
    let answer = layer.layer(handler).oneshot(call(in_pieces(&framed(&["a", "b"]), 99))).await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "8");
}

#[tokio::test]
async fn calls_that_no_such_rule_governs_pass_as_they_are() {
    let limiter = frozen([rule("messages", 1)]);
    let handler = service_fn(async |request: Request<RequestBody<_>>| {
        let (bytes, error) = read(Box::pin(request.into_body())).await;
        assert!(error.is_none());
        Ok::<_, Infallible>(Response::new(http_body_util::Full::new(Bytes::from(bytes))))
    });
    let service = limiter.layer().per_message(["messages"]).unwrap().layer(handler);
    let bytes = framed(&["a", "b", "c"]);
    for content_type in ["application/grpc", "application/octet-stream"] {
        let mut elsewhere = call(in_pieces(&bytes, 4));
        *elsewhere.uri_mut() = "/other.Service/Talk".parse().unwrap();
        elsewhere.headers_mut().insert("content-type", content_type.parse().unwrap());
        let answer = service.clone().oneshot(elsewhere).await.unwrap();
        assert_eq!(answer.body().size_hint().exact(), Some(bytes.len() as u64));
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), bytes);
    }
}

/// Servers serve it without looking at its content type, so that must not be a way around the limit.
#[tokio::test]
async fn requests_without_a_grpc_content_type_are_refused_where_messages_count() {
    let limiter = frozen([rule("messages", 9)]);
    let handler = service_fn(async |_: Request<RequestBody<_>>| -> Result<Response<Empty<Bytes>>, Infallible> {
        panic!("not to be reached")
    });
    let service = limiter.layer().per_message(["messages"]).unwrap().layer(handler);
    let bytes = framed(&["a", "b", "c"]);
    for content_type in
        ["application/grpcfoo", "text/plain", "application/grpc-web+proto", "application/grpc-web-text", ""]
    {
        let mut request = call(in_pieces(&bytes, 4));
        request.headers_mut().insert("content-type", content_type.parse().unwrap());
        let answer = service.clone().oneshot(request).await.unwrap();
        let grpc_status = answer.headers().get("grpc-status").map(|status| status.to_str().unwrap().to_owned());
        match content_type.contains("grpc-web") {
            true => assert_eq!(grpc_status.as_deref(), Some("9"), "{content_type}"),
            false => assert_eq!(answer.status(), 415, "{content_type}"),
        }
    }
}

#[tokio::test]
async fn a_key_that_is_gone_when_messages_are_counted_is_no_free_pass() {
    let limiter = frozen([rule("messages", 3).on_missing(OnMissing::Reject(StatusCode::UNAUTHORIZED))]);
    let handler = service_fn(async |request: Request<RequestBody<_>>| {
        read(Box::pin(request.into_body())).await;
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    });
    let stripped = ServiceBuilder::new()
        .layer(limiter.layer())
        .map_request(|mut request: Request<_>| {
            request.headers_mut().remove("x-tenant");
            request
        })
        .layer(limiter.layer().per_message(["messages"]).unwrap())
        .service(handler);
    let answer = stripped.oneshot(call(in_pieces(&framed(&["a", "b", "c", "d"]), 99))).await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "16");
}

#[tokio::test]
async fn a_limiter_that_is_mounted_twice_counts_messages_once() {
    let limiter = frozen([rule("messages", 9)]);
    let handler = service_fn(async |request: Request<RequestBody<RequestBody<_>>>| {
        read(Box::pin(request.into_body())).await;
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    });
    let layer = || limiter.layer().per_message(["messages"]).unwrap();
    layer().layer(layer().layer(handler)).oneshot(call(in_pieces(&framed(&["a", "b", "c"]), 99))).await.unwrap();
    assert_eq!(used(&limiter, "messages"), 3);
}

/// The messages of a call that a handler makes are its own, whatever it has copied from the call that it serves.
#[tokio::test]
async fn messages_of_a_copied_call_are_counted() {
    let limiter = frozen([rule("messages", 9)]);
    let layer = || limiter.layer().per_message(["messages"]).unwrap();
    let inside = layer().layer(service_fn(async |request: Request<RequestBody<_>>| {
        read(Box::pin(request.into_body())).await;
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    }));
    let handler = service_fn(move |request: Request<RequestBody<_>>| {
        let inside = inside.clone();
        async move {
            let mut copy = call(in_pieces(&framed(&["a", "b", "c"]), 99));
            *copy.extensions_mut() = request.extensions().clone();
            read(Box::pin(request.into_body())).await;
            inside.oneshot(copy).await
        }
    });
    let answer = layer().layer(handler).oneshot(call(in_pieces(&framed(&["a", "b"]), 99))).await.unwrap();
    assert!(!answer.headers().contains_key("grpc-status"));
    assert_eq!(used(&limiter, "messages"), 5);
}

#[tokio::test]
async fn a_call_that_is_dropped_gives_its_permit_back_and_its_charges_stay() {
    let limiter = frozen([rule("messages", 9)]);
    let permits = Arc::new(Semaphore::new(1));
    let handler = service_fn(|request: Request<RequestBody<_>>| async {
        read(Box::pin(request.into_body())).await;
        std::future::pending::<Result<Response<Empty<Bytes>>, Infallible>>().await
    });
    let limited = ConcurrencyLimit::with_semaphore(handler, Arc::clone(&permits));
    let service = limiter.layer().per_message(["messages"]).unwrap().layer(limited);
    for units in [3, 6, 9] {
        let mut answer = Box::pin(service.clone().oneshot(call(in_pieces(&framed(&["a", "b", "c"]), 99))));
        assert!(answer.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert_eq!((permits.available_permits(), used(&limiter, "messages")), (0, units));
        drop(answer);
        assert_eq!((permits.available_permits(), used(&limiter, "messages")), (1, units));
    }
    // With nothing left, and through a service that lives on.
    let mut service = service;
    assert!(service.ready().await.is_ok());
    let refused = service.call(call(in_pieces(&[], 1))).await.unwrap();
    assert_eq!((refused.headers()["grpc-status"].as_bytes(), permits.available_permits()), (&b"8"[..], 1));
}

#[tokio::test]
async fn a_flood_of_empty_messages_in_one_frame_is_charged_one_by_one() {
    let limiter = frozen([rule("messages", 1000).policy(Policy::per_minute(1000).and_per_hour(2000))]);
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
