//! What a request has reserved is settled by its handler, or else at the end of its response, however that comes.

use std::{
    convert::Infallible,
    future::{pending, ready},
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use axum::{Extension, Router, routing::get};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use tokio::{
    runtime,
    sync::mpsc::{UnboundedSender, unbounded_channel},
    time::{Instant, sleep_until},
};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_quota::{
    Decision, Policy, RateLimitLayer, RateLimiter, Reservation, Rule, Unsettled, exempt,
    http::{CountedBody, DecisionIn, Headers, RequestView, ResponseBody},
};
use tower_quota_tests::{
    limiter::{frozen, per_minute, remaining, rule},
    panics::caught,
    slow_store::SlowStore,
};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A thousand tokens a minute for everybody, of which each request reserves a hundred.
fn tokens() -> Rule {
    rule("tokens", Policy::per_minute(1000)).reserve("tokens", 100)
}

/// What everybody has left.
fn left(limiter: &RateLimiter) -> u64 {
    remaining(&limiter.rule("tokens").unwrap().peek("everybody"))[0]
}

/// The layers of a limiter that differ in what is shown of an admission, so that they go different ways.
fn layers(limiter: &RateLimiter) -> [RateLimitLayer; 2] {
    [limiter.layer(), limiter.layer().headers(Headers::none()).decision(DecisionIn::Neither)]
}

/// The response to a request whose handler is given its reservation.
async fn answered<B: Body>(
    layer: RateLimitLayer,
    handler: impl Fn(Reservation) -> Response<B>,
) -> Response<ResponseBody<B>> {
    let inner = |request: Request<()>| {
        let reservation = request.extensions().get::<Reservation>().expect("every request has one");
        ready(Ok::<_, Infallible>(handler(reservation.clone())))
    };
    layer.layer(service_fn(inner)).oneshot(Request::new(())).await.unwrap()
}

type StreamedBody = StreamBody<UnboundedReceiverStream<io::Result<Frame<Bytes>>>>;

/// A body that sends what the test gives it, and does not know its end before.
fn streamed() -> (UnboundedSender<io::Result<Frame<Bytes>>>, Response<StreamedBody>) {
    let (sender, frames) = unbounded_channel();
    (sender, Response::new(StreamBody::new(UnboundedReceiverStream::new(frames))))
}

fn data(text: &'static str) -> io::Result<Frame<Bytes>> {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

// ---- by the handler ----

#[tokio::test]
async fn the_first_to_settle_counts_and_the_end_of_the_response_changes_nothing() {
    for layer in 0..2 {
        let limiter = frozen([tokens()]);
        let response = answered(layers(&limiter)[layer].clone(), |reservation| {
            assert_eq!(reservation.reserved("tokens"), 100);
            reservation.clone().settle("tokens", 30);
            reservation.settle("tokens", 70);
            Response::new("text".to_owned())
        });
        let response = response.await;
        assert_eq!(left(&limiter), 970);
        response.into_body().collect().await.unwrap();
        assert_eq!(left(&limiter), 970);
    }
}

#[tokio::test]
async fn a_handler_may_settle_in_the_middle_of_its_stream_and_not_after_its_end() {
    let limiter = frozen([tokens()]);
    let (frames, streamed) = streamed();
    let streamed = std::cell::Cell::new(Some(streamed));
    let (sender, mut receiver) = unbounded_channel();
    let response = answered(limiter.layer(), |reservation| {
        sender.send(reservation).unwrap();
        streamed.take().unwrap()
    });
    let mut body = response.await.into_body();
    let reservation = receiver.recv().await.unwrap();

    frames.send(data("a")).unwrap();
    assert!(body.frame().await.unwrap().is_ok());
    assert_eq!((left(&limiter), reservation.reserved("tokens")), (900, 100));
    drop(frames);
    assert!(body.frame().await.is_none());
    assert_eq!((left(&limiter), reservation.reserved("tokens")), (900, 0));
    reservation.settle("tokens", 1);
    assert_eq!(left(&limiter), 900, "the response has settled it");
}

#[tokio::test]
async fn more_than_the_estimate_is_owed_and_nobody_is_admitted_until_it_has_drained() {
    let limiter = frozen([tokens()]);
    let settle = |reservation: Reservation| {
        reservation.settle("tokens", 1001);
        Response::new(String::new())
    };
    let response = answered(limiter.layer(), settle).await;
    assert_eq!(response.headers()["ratelimit"], "\"minute\";r=900;t=60", "as of the decision");
    let refused = answered(limiter.layer(), settle).await;
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["ratelimit"]),
        (429, &"\"minute\";r=0;t=60".parse().unwrap())
    );
}

#[tokio::test]
async fn what_is_taken_from_the_response_is_settled_by_the_handle() {
    let limiter = frozen([tokens().unsettled(Unsettled::Release)]);
    let (sender, mut taken) = unbounded_channel();
    let response = answered(limiter.layer(), |reservation| {
        sender.send(reservation.take()).unwrap();
        Response::new(String::new())
    });
    response.await.into_body().collect().await.unwrap();
    assert_eq!(left(&limiter), 900, "a queue has it");
    let taken = taken.recv().await.unwrap();
    taken.settle("tokens", 40);
    assert_eq!(left(&limiter), 960);

    let (sender, mut forgotten) = unbounded_channel();
    let response = answered(limiter.layer(), |reservation| {
        sender.send(reservation.take()).unwrap();
        Response::new(String::new())
    });
    drop(response.await);
    assert_eq!(left(&limiter), 860);
    drop(forgotten.recv().await);
    assert_eq!(left(&limiter), 960, "nobody has settled it");
}

// ---- by the end of the response ----

/// What is left after responses that were observed to cost 30, and after others, under one treatment and each way to end.
async fn left_after_ends(unsettled: Unsettled) -> Vec<[u64; 2]> {
    let mut all = Vec::new();
    for layer in 0..2 {
        for end in 0..4 {
            all.push([
                left_after(unsettled, layer, end, Some(30)).await,
                left_after(unsettled, layer, end, None).await,
            ]);
        }
    }
    all.dedup();
    all
}

async fn left_after(unsettled: Unsettled, layer: usize, end: usize, observed: Option<u64>) -> u64 {
    let limiter = frozen([tokens().unsettled(unsettled)]);
    let (frames, streamed) = streamed();
    let streamed = std::cell::Cell::new(Some(streamed));
    let response = answered(layers(&limiter)[layer].clone(), |reservation| {
        if let Some(observed) = observed {
            reservation.observe("tokens", 9);
            reservation.observe("tokens", observed - 5);
            reservation.observe_more("tokens", 5);
        }
        streamed.take().unwrap()
    });
    let mut body = response.await.into_body();
    frames.send(data("a")).unwrap();
    body.frame().await.unwrap().unwrap();
    assert_eq!(left(&limiter), 900, "it goes on");
    match end {
        0 => drop(body),
        1 => {
            drop(frames);
            assert!(body.frame().await.is_none());
        }
        2 => {
            frames.send(Err(io::Error::other("broken"))).unwrap();
            assert!(body.frame().await.unwrap().is_err());
        }
        _ => {
            frames.send(Ok(Frame::trailers(HeaderMap::new()))).unwrap();
            assert!(body.frame().await.unwrap().unwrap().is_trailers());
        }
    }
    left(&limiter)
}

#[tokio::test]
async fn what_nobody_has_settled_is_treated_alike_at_the_end_of_a_body_its_failure_and_its_drop() {
    assert_eq!(left_after_ends(Unsettled::Keep).await, [[900, 900]]);
    assert_eq!(left_after_ends(Unsettled::Observed).await, [[970, 900]]);
    assert_eq!(left_after_ends(Unsettled::Release).await, [[1000, 1000]]);
}

/// Servers stop polling then.
#[tokio::test]
async fn a_body_that_says_that_it_has_ended_is_not_polled_again_for_the_settlement() {
    let limiter = frozen([tokens().unsettled(Unsettled::Release)]);
    let response = answered(limiter.layer(), |_| Response::new(Full::new(Bytes::from_static(b"text")))).await;
    let mut body = response.into_body();
    assert_eq!(left(&limiter), 900);
    body.frame().await.unwrap().unwrap();
    assert!(body.is_end_stream());
    assert_eq!(left(&limiter), 1000, "after its only frame");

    let response = answered(limiter.layer(), |_| Response::new(Empty::<Bytes>::new())).await;
    assert!(response.body().is_end_stream());
    assert_eq!(left(&limiter), 1000, "before any frame");
}

#[tokio::test]
async fn an_error_of_the_inner_service_is_the_end() {
    for layer in 0..2 {
        let limiter = frozen([tokens().unsettled(Unsettled::Observed)]);
        let failing = service_fn(async |request: Request<()>| {
            request.extensions().get::<Reservation>().unwrap().observe("tokens", 7);
            Err::<Response<String>, _>(io::Error::other("broken"))
        });
        let mut answer = Box::pin(layers(&limiter)[layer].layer(failing).oneshot(Request::new(())));
        assert!((&mut answer).await.is_err());
        assert_eq!(left(&limiter), 993, "though the future is there still");
    }
}

#[test]
fn a_response_that_nobody_waits_for_is_the_end() {
    for layer in 0..2 {
        let limiter = frozen([tokens().unsettled(Unsettled::Release)]);
        let silent = service_fn(|_: Request<()>| pending::<io::Result<Response<String>>>());
        let mut response = pin!(Some(layers(&limiter)[layer].layer(silent).call(Request::new(()))));
        assert!(response.as_mut().as_pin_mut().unwrap().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert_eq!(left(&limiter), 900);
        response.set(None);
        assert_eq!(left(&limiter), 1000);
    }
}

#[test]
fn a_handler_that_panics_is_the_end() {
    for layer in 0..2 {
        let limiter = frozen([tokens().unsettled(Unsettled::Observed)]);
        let at_once = service_fn(|request: Request<()>| -> std::future::Ready<io::Result<Response<String>>> {
            request.extensions().get::<Reservation>().unwrap().observe("tokens", 7);
            panic!("no words")
        });
        assert!(caught(|| layers(&limiter)[layer].layer(at_once).call(Request::new(()))).is_none());
        assert_eq!(left(&limiter), 993);

        let later = service_fn(async |request: Request<()>| -> io::Result<Response<String>> {
            request.extensions().get::<Reservation>().unwrap().observe("tokens", 7);
            panic!("no words")
        });
        let mut response = Box::pin(layers(&limiter)[layer].layer(later).call(Request::new(())));
        assert!(caught(|| poll_once(&mut response)).is_none());
        drop(response);
        assert_eq!(left(&limiter), 986);
    }
}

#[tokio::test]
async fn a_refused_request_has_nothing_to_settle() {
    let limiter = frozen([tokens().unsettled(Unsettled::Release)]);
    let used = limiter.rule("tokens").unwrap().check_cost("everybody", 950).unwrap();
    let refused = answered(limiter.layer(), |_| -> Response<String> { panic!("it is not reached") }).await;
    assert_eq!(refused.status(), 429);
    let decision = refused.extensions().get::<Decision>().unwrap();
    assert!(decision.reservation().is_none());
    refused.into_body().collect().await.unwrap();
    assert_eq!(left(&limiter), 50);
    drop(used);
}

// ---- every request has one ----

async fn reserved(Extension(reservation): Extension<Reservation>) -> String {
    reservation.settle("tokens", 1);
    reservation.reserved("tokens").to_string()
}

#[tokio::test]
async fn every_request_that_is_let_through_has_a_reservation_be_it_an_empty_one() {
    let tokens = per_minute("tokens", 1000).routes(["GET /chat"]).reserve("tokens", 100);
    let calls = per_minute("calls", 1000).routes(["GET /chat", "GET /cases"]);
    let limiter = RateLimiter::builder().rule(tokens).rule(calls).exempt(exempt::routes(["GET /healthz"]));
    let limiter = limiter.build().unwrap();
    let hidden = limiter.layer().headers(Headers::none()).decision(DecisionIn::Neither);
    let preflights = limiter.layer().limit_preflights(false);
    for layer in [limiter.layer(), hidden, preflights, RateLimitLayer::disabled()] {
        let app = Router::new().fallback(get(reserved).options(reserved)).layer(layer);
        for path in ["/chat", "/cases", "/healthz", "/elsewhere"] {
            let request = Request::get(path).body(axum::body::Body::empty()).unwrap();
            assert_eq!(app.clone().oneshot(request).await.unwrap().status(), 200, "{path}");
        }
        let preflight = Request::options("/chat").header("origin", "a").header("access-control-request-method", "GET");
        let preflight = preflight.body(axum::body::Body::empty()).unwrap();
        assert_eq!(app.oneshot(preflight).await.unwrap().status(), 200);
    }
    let decision = limiter.rule("tokens").unwrap().peek("everybody");
    assert_eq!(remaining(&decision), [997], "three layers, one token each");
}

#[tokio::test]
async fn no_extension_is_added_where_no_rule_settles() {
    let limiter =
        frozen([rule("calls", Policy::per_minute(9)), rule("points", Policy::per_minute(9)).cost("points", 2)]);
    let inner = service_fn(async |request: Request<()>| {
        assert!(request.extensions().get::<Reservation>().is_none());
        Ok::<_, Infallible>(Response::new(String::new()))
    });
    for layer in layers(&limiter) {
        assert_eq!(layer.layer(inner).oneshot(Request::new(())).await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn a_limiter_that_is_mounted_twice_reserves_once_and_two_limiters_settle_together() {
    let (limiter, other) =
        (frozen([tokens()]), frozen([tokens().reserve("tokens", 300).unsettled(Unsettled::Release)]));
    let inner = service_fn(async |request: Request<()>| {
        let reservation = request.extensions().get::<Reservation>().unwrap();
        assert_eq!(reservation.reserved("tokens"), 300, "the most of both");
        if request.uri().path() == "/settled" {
            reservation.settle("tokens", 10);
        }
        Ok::<_, Infallible>(Response::new(String::new()))
    });
    let service = limiter.layer().layer(other.layer().layer(limiter.layer().layer(inner)));
    let request = Request::get("/settled").body(()).unwrap();
    service.clone().oneshot(request).await.unwrap().into_body().collect().await.unwrap();
    assert_eq!([left(&limiter), left(&other)], [990, 990]);

    service.oneshot(Request::new(())).await.unwrap().into_body().collect().await.unwrap();
    assert_eq!([left(&limiter), left(&other)], [890, 990], "each as it says");
}

#[tokio::test]
async fn further_units_that_one_of_two_limiters_denies_stay_charged_in_none() {
    let (outer, inner) = (frozen([tokens()]), frozen([tokens().reserve("tokens", 900)]));
    let handler = service_fn(async |request: Request<()>| {
        let reservation = request.extensions().get::<Reservation>().unwrap();
        for _ in 0..3 {
            assert!(!reservation.reserve_more("tokens", 200).unwrap().is_admitted());
        }
        assert!(reservation.reserve_more_async("tokens", 50).await.unwrap().is_admitted());
        Ok::<_, Infallible>(Response::new(String::new()))
    });
    let service = outer.layer().layer(inner.layer().layer(handler));
    service.oneshot(Request::new(())).await.unwrap().into_body().collect().await.unwrap();
    assert_eq!([left(&outer), left(&inner)], [850, 50]);
}

#[tokio::test]
async fn a_part_of_a_batch_settles_its_own_reservation_and_not_that_of_the_batch() {
    let limiter = frozen([tokens().when(|request: &RequestView<'_>| request.uri().path() != "/free")]);
    let part = service_fn(async |request: Request<()>| {
        request.extensions().get::<Reservation>().unwrap().settle("tokens", 30);
        Ok::<_, Infallible>(Response::new(String::new()))
    });
    let parts = limiter.layer().layer(part);
    let batch = limiter.layer().layer(service_fn(move |batch: Request<()>| {
        let parts = parts.clone();
        async move {
            for path in ["/item", "/free", "/item"] {
                let mut part = Request::get(path).body(()).unwrap();
                *part.extensions_mut() = batch.extensions().clone();
                parts.clone().oneshot(part).await?;
            }
            let reservation = batch.extensions().get::<Reservation>().unwrap();
            assert_eq!(reservation.reserved("tokens"), 100);
            reservation.settle("tokens", 5);
            Ok::<_, Infallible>(Response::new(String::new()))
        }
    }));
    batch.oneshot(Request::new(())).await.unwrap().into_body().collect().await.unwrap();
    assert_eq!(left(&limiter), 1000 - 30 - 30 - 5);
}

// ---- bytes ----

#[tokio::test]
async fn the_bytes_of_responses_are_observed_up_to_where_the_caller_hangs_up() {
    let bytes = || rule("tokens", Policy::per_minute(1000)).reserve("bytes", 400).unsettled(Unsettled::Observed);
    let limiter = frozen([bytes()]);
    let layer = limiter.layer().observe_response_bytes("bytes");
    let (frames, response) = streamed();
    let response = std::cell::Cell::new(Some(response));
    let mut body = answered(layer.clone(), |_| response.take().unwrap()).await.into_body();
    for text in ["seven b", "three", "not read"] {
        frames.send(data(text)).unwrap();
    }
    for _ in 0..2 {
        body.frame().await.unwrap().unwrap();
    }
    assert_eq!(left(&limiter), 600);
    drop(body);
    assert_eq!(left(&limiter), 988);

    drop(answered(layer, |_| Response::new(Empty::<Bytes>::new())).await);
    assert_eq!(left(&limiter), 988, "nothing has been sent");
}

#[tokio::test]
async fn the_bytes_of_an_upload_are_observed_as_they_are_read() {
    let rule = rule("tokens", Policy::per_minute(1000)).reserve("bytes", 400).unsettled(Unsettled::Observed);
    let limiter = frozen([rule]);
    let upload = service_fn(async |request: Request<Full<Bytes>>| {
        let reservation = request.extensions().get::<Reservation>().unwrap().clone();
        let body = CountedBody::new(request.into_body(), reservation, "bytes");
        assert_eq!(body.size_hint().exact(), Some(5));
        Ok::<_, BoxError>(Response::new(Full::new(body.collect().await?.to_bytes())))
    });
    let service = limiter.layer().layer(upload);
    let response = service.oneshot(Request::new(Full::new(Bytes::from_static(b"bytes")))).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "bytes");
    assert_eq!(left(&limiter), 995);
}

// ---- costs, reloads, stores ----

#[test]
fn a_cost_that_panics_fails_its_own_request_and_nothing_is_charged() {
    let is_broken = Arc::new(AtomicBool::new(true));
    let broken = Arc::clone(&is_broken);
    let cost = move |_: &RequestView<'_>| if broken.load(Ordering::Relaxed) { panic!("no idea") } else { 10 };
    let limiter = frozen([rule("tokens", Policy::per_minute(1000)).reserve("tokens", cost)]);
    let answering = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(String::new())));
    let mut service = limiter.layer().layer(answering);
    assert!(caught(|| service.call(Request::new(()))).is_none());
    assert_eq!(left(&limiter), 1000);
    is_broken.store(false, Ordering::Relaxed);
    assert!(matches!(poll_once(&mut Box::pin(service.call(Request::new(())))), Poll::Ready(Ok(_))));
    assert_eq!(left(&limiter), 990);
}

#[tokio::test]
async fn a_reload_in_flight_does_not_keep_a_settlement_from_its_history() {
    let limiter = frozen([tokens()]);
    let (reservation, response) = in_flight(&limiter).await;
    let tokens = || rule("tokens", Policy::per_minute(500)).reserve("tokens", 50);
    limiter.reload(|builder| Ok(builder.rule(tokens()))).unwrap();
    assert_eq!(left(&limiter), 400);
    reservation.settle("tokens", 30);
    assert_eq!(left(&limiter), 470);
    drop(response);
    assert_eq!(left(&limiter), 470);
}

/// A reservation in flight, and what holds its response open.
async fn in_flight(limiter: &RateLimiter) -> (Reservation, Response<ResponseBody<String>>) {
    let (sender, mut receiver) = unbounded_channel();
    let response = answered(limiter.layer(), |reservation| {
        sender.send(reservation).unwrap();
        Response::new("text".to_owned())
    });
    let response = response.await;
    (receiver.recv().await.unwrap(), response)
}

#[tokio::test]
async fn a_change_of_tier_in_flight_does_not_keep_a_settlement_from_its_history() {
    let limiter = frozen([tokens().tier("pro", Policy::per_minute(5000))]);
    let (reservation, response) = in_flight(&limiter).await;
    limiter.set_tier("tokens", "everybody", Some("pro")).unwrap();
    assert_eq!(left(&limiter), 4900);
    reservation.settle("tokens", 30);
    assert_eq!(left(&limiter), 4970);
    drop(response);
    limiter.set_tier("tokens", "everybody", None).unwrap();
    assert_eq!(left(&limiter), 970);
}

#[tokio::test]
async fn a_rule_that_is_gone_and_comes_back_has_been_settled_meanwhile() {
    let limiter = frozen([tokens()]);
    let (reservation, response) = in_flight(&limiter).await;
    limiter.reload(|builder| Ok(builder.rule(rule("calls", Policy::per_minute(9))))).unwrap();
    reservation.settle("tokens", 30);
    drop(response);
    limiter.reload(|builder| Ok(builder.rule(tokens()))).unwrap();
    assert_eq!(left(&limiter), 970);
}

#[tokio::test]
async fn a_reset_in_flight_leaves_nothing_to_give_back() {
    let limiter = frozen([tokens()]);
    let (reservation, _response) = in_flight(&limiter).await;
    limiter.rule("tokens").unwrap().reset("everybody");
    let (_other, _open) = in_flight(&limiter).await;
    reservation.settle("tokens", 30);
    assert_eq!(left(&limiter), 900, "the other's hundred are its own");
}

#[tokio::test]
async fn an_estimate_of_nothing_reserves_one_or_an_exhausted_key_could_start_for_ever() {
    let rule = rule("tokens", Policy::per_minute(2)).reserve("tokens", |_: &RequestView<'_>| 0);
    let limiter = frozen([rule]);
    for expected in [200, 200, 429] {
        assert_eq!(answered(limiter.layer(), |_| Response::new(String::new())).await.status(), expected);
    }
}

/// A limiter in a store that takes a second for everything.
fn slow(unsettled: Unsettled) -> RateLimiter<tower_quota::http::Http, SlowStore> {
    let store = SlowStore::new(Duration::from_secs(1));
    RateLimiter::builder().rule(tokens().unsettled(unsettled)).store(store).build().unwrap()
}

async fn slow_left(limiter: &RateLimiter<tower_quota::http::Http, SlowStore>) -> u64 {
    remaining(&limiter.rule("tokens").unwrap().peek_async("everybody").await.unwrap())[0]
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_not_in_this_process_is_told_by_a_task_and_the_response_does_not_wait() {
    let limiter = slow(Unsettled::Observed);
    let inner = service_fn(async |request: Request<()>| {
        request.extensions().get::<Reservation>().unwrap().observe("tokens", 7);
        Ok::<_, Infallible>(Response::new("text".to_owned()))
    });
    let service = limiter.layer().layer(inner);
    let begin = Instant::now();
    let response = service.oneshot(Request::new(())).await.unwrap();
    response.into_body().collect().await.unwrap();
    assert_eq!(begin.elapsed(), Duration::from_secs(1), "that was the decision");
    sleep_until(begin + Duration::from_millis(2500)).await;
    assert_eq!(slow_left(&limiter).await, 993);
}

#[tokio::test(start_paused = true)]
async fn an_outage_at_the_settlement_leaves_the_response_alone() {
    let limiter = slow(Unsettled::Release);
    let inner = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new("text".to_owned())));
    let response = limiter.layer().layer(inner).oneshot(Request::new(())).await.unwrap();
    limiter.store().is_down.store(true, Ordering::Relaxed);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "text");
}

/// The settlement is lost with the runtime; nothing panics, and the estimate stays.
#[test]
fn a_runtime_that_ends_takes_its_responses_with_it() {
    for unsettled in [Unsettled::Keep, Unsettled::Release] {
        let runtime = runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let (here, away) = (frozen([tokens().unsettled(unsettled)]), slow(unsettled));
        let silent = || service_fn(|_: Request<()>| pending::<io::Result<Response<String>>>());
        let away =
            away.layer().layer(service_fn(async |_: Request<()>| io::Result::Ok(Response::new("text".to_owned()))));
        let response = runtime.block_on(away.oneshot(Request::new(()))).unwrap();
        runtime.spawn(here.layer().layer(silent()).oneshot(Request::new(())));
        runtime.block_on(tokio::task::yield_now());
        assert_eq!(left(&here), 900);
        drop(runtime);
        assert_eq!(left(&here), if unsettled == Unsettled::Keep { 900 } else { 1000 });
        drop(response);
    }
}
