//! Refusals that are not the standard ones: made by the closure of a layer, or of a decision by hand.

use std::{convert::Infallible, future::ready, sync::atomic::Ordering, time::Duration};

use axum::{Json, body::Body, response::IntoResponse};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::{BodyExt, Full, StreamBody};
use tower::{Layer, ServiceExt, service_fn};
use tower_quota::{
    Decision, OnMissing, Policy, RateLimitLayer, RateLimiter, Rule,
    http::{DecisionIn, Headers, LegacyReset, Refusal, RefusalBody, RequestView},
    key,
    store::Store,
};

use tower_quota_tests::{limiter::frozen, slow_store::SlowStore};

fn rule() -> Rule {
    Rule::new("calls").every_request().key(key::header("x-account")).level("account").policy(Policy::per_minute(1))
}

/// The second of two answers to the same request, before it its status and the names of its fields.
async fn second<T: Store>(layer: &RateLimitLayer<T>, method: Method) -> (StatusCode, Vec<String>, Response<Bytes>) {
    let service = layer.layer(service_fn(|_: Request<()>| ready(Ok::<_, Infallible>(Response::new(String::new())))));
    let request = || Request::builder().method(method.clone()).uri("/cases").body(()).unwrap();
    drop(service.clone().oneshot(request()).await.unwrap());
    let (parts, body) = service.oneshot(request()).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let names = parts.headers.keys().map(ToString::to_string).collect();
    (parts.status, names, Response::from_parts(parts, body))
}

fn named(refusal: &Refusal<'_>, request: &RequestView<'_>) -> Response<String> {
    let reason = match refusal {
        Refusal::Denied(decision) => format!("denied by {}", decision.exhausted().count()),
        Refusal::KeyMissing { rule, level, status, .. } => format!("{rule} wants {level}, or {status}"),
        Refusal::Unavailable(unavailable) => unavailable.reason().to_owned(),
        other => panic!("{other:?}"),
    };
    Response::builder().status(418).body(format!("{} {}: {reason}", request.method(), request.uri())).unwrap()
}

// ---- one closure ----

#[tokio::test]
async fn one_closure_answers_denials_and_requests_without_a_key() {
    let (status, names, answer) = second(&frozen([rule()]).layer().on_refusal(named), Method::PUT).await;
    assert_eq!((status, &answer.body()[..]), (StatusCode::IM_A_TEAPOT, &b"PUT /cases: denied by 1"[..]));
    assert_eq!(names, ["retry-after", "ratelimit", "ratelimit-policy"], "a denial is told in any case");

    let insisting = frozen([rule().on_missing(OnMissing::Reject(StatusCode::UNAUTHORIZED))]);
    let (status, names, answer) = second(&insisting.layer().on_refusal(named), Method::GET).await;
    let expected = b"GET /cases: calls wants account, or 401 Unauthorized";
    assert_eq!((status, &answer.body()[..]), (StatusCode::IM_A_TEAPOT, &expected[..]));
    assert!(names.is_empty(), "nothing was decided: {names:?}");
}

#[tokio::test(start_paused = true)]
async fn the_same_closure_answers_when_the_store_cannot() {
    let store = SlowStore::new(Duration::from_millis(1));
    store.is_down.store(true, Ordering::Relaxed);
    let limiter = RateLimiter::builder().store(store).rule(rule()).build().unwrap();
    let (status, names, answer) = second(&limiter.layer().on_refusal(named), Method::GET).await;
    assert_eq!((status, &answer.body()[..]), (StatusCode::IM_A_TEAPOT, &b"GET /cases: it is down"[..]));
    assert!(names.is_empty(), "{names:?}");
    let standard = second(&limiter.layer(), Method::GET).await.2;
    assert_eq!((standard.status(), &standard.headers()["retry-after"]), (StatusCode::SERVICE_UNAVAILABLE, &1.into()));
    assert!(!standard.body().windows(7).any(|bytes| bytes == b"is down"), "that is for the operator");
}

#[tokio::test]
async fn the_answer_may_have_a_body_of_any_kind() {
    fn making<B: Into<RefusalBody>>(body: impl Fn() -> B + Send + Sync + 'static) -> RateLimitLayer {
        frozen([rule()]).layer().on_refusal(move |_, _| Response::new(body()))
    }
    let layers = [
        making(|| "text"),
        making(|| String::from("text")),
        making(|| b"text".to_vec()),
        making(|| &b"text"[..]),
        making(|| Bytes::from_static(b"text")),
        making(|| Body::from("text")),
        making(|| RefusalBody::new(Full::<&[u8]>::new(b"text"))),
    ];
    for layer in layers {
        assert_eq!(second(&layer, Method::GET).await.2.body(), "text");
        let head = second(&layer, Method::HEAD).await.2;
        assert_eq!((&head.headers()["content-length"], head.body().len()), (&4.into(), 0));
    }
    let json = frozen([rule()]).layer().on_refusal(|refusal, _| (refusal.status(), Json([1, 2])).into_response());
    let (status, _, answer) = second(&json, Method::GET).await;
    assert_eq!((status, &answer.body()[..]), (StatusCode::TOO_MANY_REQUESTS, &b"[1,2]"[..]));
    assert_eq!(answer.headers()["content-type"], "application/json");
    let nothing = making(|| ());
    assert!(second(&nothing, Method::GET).await.2.body().is_empty());
}

#[tokio::test]
async fn a_body_that_fails_is_no_body_that_ends() {
    let layer = frozen([rule()]).layer().on_refusal(|_, _| {
        let frames = [Ok(http_body::Frame::data(Bytes::from_static(b"te"))), Err("it broke")];
        Response::new(RefusalBody::new(StreamBody::new(futures_util::stream::iter(frames))))
    });
    let service = layer.layer(service_fn(|_: Request<()>| ready(Ok::<_, Infallible>(Response::new(String::new())))));
    drop(service.clone().oneshot(Request::new(())).await.unwrap());
    let mut body = service.oneshot(Request::new(())).await.unwrap().into_body();
    assert!(!body.is_end_stream() && body.size_hint().exact().is_none());
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "te");
    assert_eq!(body.frame().await.unwrap().unwrap_err().to_string(), "it broke");
    assert!(body.frame().await.is_none());
}

// ---- by hand ----

#[tokio::test]
async fn a_decision_answers_as_a_layer_does() {
    let by_layer = second(&frozen([rule()]).layer(), Method::GET).await.2;
    let by_hand = frozen([rule()]);
    let request = Request::get("/cases").body(()).unwrap();
    let view = RequestView::new(&request);
    assert!(by_hand.rule("calls").unwrap().check("ann").refusal(&view).is_none());
    let denied = by_hand.rule("calls").unwrap().check("ann");
    let answer = denied.refusal(&view).unwrap();
    assert_eq!((answer.status(), answer.headers()), (by_layer.status(), by_layer.headers()));
    assert!(answer.extensions().get::<Decision>().is_some());
    assert_eq!(&answer.into_body().collect().await.unwrap().to_bytes(), by_layer.body());

    let call = Request::post("/a.B/C").header("content-type", "application/grpc").body(()).unwrap();
    let answer = denied.refusal(&RequestView::new(&call)).unwrap();
    assert_eq!((answer.status(), &answer.headers()["grpc-status"]), (StatusCode::OK, &8.into()));

    let answer = denied.into_response();
    assert_eq!((answer.status(), answer.headers()), (by_layer.status(), by_layer.headers()));
    assert_eq!(&answer.into_body().collect().await.unwrap().to_bytes(), by_layer.body());
}

#[tokio::test]
async fn a_decision_that_admits_is_an_empty_200_that_tells_what_is_left() {
    let answer = frozen([rule()]).rule("calls").unwrap().check("ann").into_response();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["ratelimit"], "\"minute\";r=0;t=60");
    assert!(answer.into_body().collect().await.unwrap().to_bytes().is_empty());
}

// ---- what is told ----

#[tokio::test]
async fn a_refusal_has_the_fields_that_were_chosen() {
    let draft = ["ratelimit", "ratelimit-policy"];
    let old = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];
    for (headers, chosen) in [
        (Headers::none(), vec![]),
        (Headers::on_refusals(), draft.to_vec()),
        (Headers::rate_limit(), draft.to_vec()),
        (Headers::none().with_legacy(LegacyReset::Delta), old.to_vec()),
        (Headers::rate_limit().with_legacy(LegacyReset::Epoch), [&draft[..], &old].concat()),
    ] {
        let layer = frozen([rule()]).layer().headers(headers);
        let (status, names, _) = second(&layer, Method::GET).await;
        assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(names, [&["content-type", "retry-after"][..], &chosen].concat(), "{headers:?}");
    }
}

#[tokio::test]
async fn a_decision_is_where_it_was_asked_for() {
    for (place, in_request, in_response) in [
        (DecisionIn::Request, true, false),
        (DecisionIn::Response, false, true),
        (DecisionIn::Both, true, true),
        (DecisionIn::Neither, false, false),
    ] {
        let layer = frozen([rule()]).layer().decision(place);
        let service = layer.layer(service_fn(|request: Request<()>| {
            let seen = request.extensions().get::<Decision>().is_some();
            ready(Ok::<_, Infallible>(Response::new(seen.to_string())))
        }));
        let answer = service.clone().oneshot(Request::new(())).await.unwrap();
        assert_eq!(answer.extensions().get::<Decision>().is_some(), in_response, "{place:?}");
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), in_request.to_string(), "{place:?}");
        let refused = service.oneshot(Request::new(())).await.unwrap();
        assert!(refused.extensions().get::<Decision>().is_some(), "{place:?}");
    }
}
