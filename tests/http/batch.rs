//! Requests that a handler makes of another one, and what they are charged: a copied decision is no pass.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::Arc,
    time::Duration,
};

use axum::{Router, body::Body, extract::Request as AxumRequest, routing::get};
use http::{Request, Response, StatusCode};
use tower::{Layer, Service, ServiceExt, retry, service_fn};
use tower_quota::{
    ConfigError, Decision, OnMissing, Policy, RateLimit, RateLimiter, Rule,
    clock::ManualClock,
    key,
    store::{BoxFuture, Charge, MaybeReady, MemoryStore, Setup, Store, Verdict},
};

const ACCOUNT: &str = "x-account";

fn builder() -> (tower_quota::RateLimiterBuilder, ManualClock) {
    let clock = ManualClock::new();
    let rule =
        Rule::new("calls").every_request().key(key::header(ACCOUNT)).level("account").policy(Policy::per_minute(5));
    (RateLimiter::builder().rule(rule).clock(clock.clone()), clock)
}

fn limiter() -> (RateLimiter, ManualClock) {
    let (builder, clock) = builder();
    (builder.build().unwrap(), clock)
}

fn request(account: &str) -> Request<()> {
    Request::get("/batch").header(ACCOUNT, account).body(()).unwrap()
}

/// A part of a batch, which is given everything that the layers outside have found out about the request.
fn part(of: &Request<()>, account: &str) -> Request<()> {
    let mut part = Request::get("/part").header(ACCOUNT, account).body(()).unwrap();
    *part.extensions_mut() = of.extensions().clone();
    part
}

fn answering() -> impl Service<Request<()>, Response = Response<String>, Error = Infallible, Future = Answered> + Clone
{
    service_fn(|_: Request<()>| ready(Ok(Response::new(String::new()))))
}

type Answered = Ready<Result<Response<String>, Infallible>>;

fn left(limiter: &RateLimiter, account: &str) -> u64 {
    limiter.rule("calls").unwrap().peek(account).quotas().next().unwrap().remaining()
}

/// Has a handler behind the limiter do something with a request of this account.
async fn handle<F>(limiter: &RateLimiter, account: &str, handler: impl FnOnce(Request<()>) -> F + Clone)
where
    F: Future<Output = ()>,
{
    let service = limiter.layer().layer(service_fn(move |request| {
        let handling = handler.clone()(request);
        async move {
            handling.await;
            Ok::<_, Infallible>(Response::new(String::new()))
        }
    }));
    assert_eq!(service.oneshot(request(account)).await.unwrap().status(), 200);
}

/// How many of some requests are served by a service behind the limiter.
async fn served(limiter: &RateLimiter, requests: impl IntoIterator<Item = Request<()>>) -> usize {
    let service = limiter.layer().layer(answering());
    let mut served = 0;
    for request in requests {
        served += usize::from(service.clone().oneshot(request).await.unwrap().status() == 200);
    }
    served
}

#[tokio::test]
async fn the_parts_of_a_batch_are_charged_like_any_other_request() {
    let (limiter, _clock) = limiter();
    let inside = limiter.clone();
    handle(&limiter, "acme", async move |batch: Request<()>| {
        assert_eq!(served(&inside, (0..100).map(|_| part(&batch, "acme"))).await, 4, "the batch itself was the fifth");
    })
    .await;
    assert_eq!(left(&limiter, "acme"), 0);
}

#[tokio::test]
async fn each_part_of_a_batch_is_charged_to_its_own_key() {
    let (limiter, _clock) = limiter();
    let inside = limiter.clone();
    handle(&limiter, "acme", async move |batch: Request<()>| {
        assert_eq!(served(&inside, (0..100).map(|_| part(&batch, "zeta"))).await, 5);
        assert_eq!((left(&inside, "acme"), left(&inside, "zeta")), (4, 0));
    })
    .await;
}

#[tokio::test]
async fn a_copy_that_is_kept_is_no_pass_hours_later() {
    let (limiter, clock) = limiter();
    let inside = limiter.clone();
    handle(&limiter, "acme", async move |batch: Request<()>| {
        clock.advance(Duration::from_secs(2 * 60 * 60));
        assert_eq!(served(&inside, (0..100).map(|_| part(&batch, "acme"))).await, 5);
    })
    .await;
}

/// However the copy is made: of the request, of its extensions, of the decision, or of a copy.
#[tokio::test]
async fn every_kind_of_copy_is_charged() {
    let (limiter, _clock) = limiter();
    let inside = limiter.clone();
    handle(&limiter, "acme", async move |batch: Request<()>| {
        let decision = batch.extensions().get::<Decision>().unwrap().clone();
        let mut extended = request("extended");
        extended.extensions_mut().extend(batch.extensions().clone());
        let mut given = request("given");
        given.extensions_mut().insert(decision);
        let copies = [batch.clone(), part(&part(&batch, ""), "twice"), extended, given];
        assert_eq!(served(&inside, copies).await, 4);
        assert_eq!(left(&inside, "acme"), 3);
        assert_eq!(["twice", "extended", "given"].map(|account| left(&inside, account)), [4; 3]);
        // The original is what was charged.
        assert_eq!(served(&inside, [batch]).await, 1);
        assert_eq!(left(&inside, "acme"), 3);
    })
    .await;
}

/// Nothing of it is left where another limiter has put its own decision in front.
#[tokio::test]
async fn copies_that_passed_two_limiters_are_charged_by_both() {
    let ((one, _), (other, _)) = (limiter(), limiter());
    let (inner, outer) = (other.clone(), one.clone());
    let parts = service_fn(move |batch: Request<()>| {
        let (inner, outer) = (inner.clone(), outer.clone());
        async move {
            assert_eq!(served(&inner, (0..9).map(|_| part(&batch, "acme"))).await, 4);
            assert_eq!(served(&outer, (0..9).map(|_| part(&batch, "acme"))).await, 4);
            Ok::<_, Infallible>(Response::new(String::new()))
        }
    });
    let service = one.layer().layer(other.layer().layer(parts));
    assert_eq!(service.oneshot(request("acme")).await.unwrap().status(), 200);
}

// ---- the same request, further in ----

/// Passes a request on to a service behind a second mount of the limiter, changed.
async fn pass_on(limiter: &RateLimiter, request: Request<()>, change: fn(&mut Request<()>)) -> Vec<StatusCode> {
    let inside = limiter.layer().layer(answering());
    let between = service_fn(move |mut request: Request<()>| {
        change(&mut request);
        inside.clone().oneshot(request)
    });
    let service = limiter.layer().layer(between);
    let mut statuses = Vec::new();
    for _ in 0..6 {
        statuses.push(service.clone().oneshot(request.clone()).await.unwrap().status());
    }
    statuses
}

#[tokio::test]
async fn a_request_that_is_given_another_key_on_its_way_is_charged_to_that_as_well() {
    let (limiter, _clock) = limiter();
    let statuses = pass_on(&limiter, request("acme"), |request| {
        request.headers_mut().insert(ACCOUNT, "zeta".parse().unwrap());
    });
    assert_eq!(statuses.await, [200, 200, 200, 200, 200, 429]);
    assert_eq!((left(&limiter, "acme"), left(&limiter, "zeta")), (0, 0));
}

/// What has been found out of the caller need not be found a second time.
#[tokio::test]
async fn a_rule_that_knew_the_caller_outside_needs_no_key_further_in() {
    for outcome in [OnMissing::Share, OnMissing::Skip, OnMissing::Reject(StatusCode::UNAUTHORIZED)] {
        let rule = Rule::new("calls").every_request().key(key::header(ACCOUNT)).level("account").on_missing(outcome);
        let limiter = RateLimiter::builder().rule(rule.policy(Policy::per_minute(5))).build().unwrap();
        let statuses = pass_on(&limiter, request("acme"), |request| {
            request.headers_mut().remove(ACCOUNT);
        });
        assert_eq!(statuses.await, [200, 200, 200, 200, 200, 429], "{outcome:?}");
        assert_eq!(limiter.len(), 1, "{outcome:?}");
    }
}

/// A caller whom a layer between has found out pays, though the first mount counted a stranger.
#[tokio::test]
async fn a_caller_without_a_key_outside_is_counted_further_in() {
    let (limiter, _clock) = limiter();
    let statuses = pass_on(&limiter, Request::new(()), |request| {
        request.headers_mut().insert(ACCOUNT, "acme".parse().unwrap());
    });
    assert_eq!(statuses.await, [200, 200, 200, 200, 200, 429]);
    assert_eq!(left(&limiter, "acme"), 0);
}

/// Each attempt is a request to what the second mount protects; the first is the one that came in.
#[derive(Clone)]
struct Twice;

impl retry::Policy<Request<()>, Response<String>, Infallible> for Twice {
    type Future = Ready<()>;

    fn retry(&mut self, _: &mut Request<()>, result: &mut Result<Response<String>, Infallible>) -> Option<Ready<()>> {
        result.as_ref().is_ok_and(|response| response.status() == 503).then(|| ready(()))
    }

    fn clone_request(&mut self, request: &Request<()>) -> Option<Request<()>> {
        Some(request.clone())
    }
}

#[tokio::test]
async fn attempts_between_two_mounts_are_charged_but_the_first() {
    let (limiter, _clock) = limiter();
    let tries = Arc::new(parking_lot::Mutex::new(0));
    let counted = Arc::clone(&tries);
    let failing = service_fn(move |_: Request<()>| {
        *counted.lock() += 1;
        let status = if *counted.lock() < 3 { 503 } else { 200 };
        ready(Ok::<_, Infallible>(Response::builder().status(status).body(String::new()).unwrap()))
    });
    let text = |service| {
        ServiceExt::<Request<()>>::map_response(service, |response: Response<_>| response.map(|_| String::new()))
    };
    let attempts = retry::Retry::new(Twice, text(limiter.layer().layer(failing)));
    let response = limiter.layer().layer(attempts).oneshot(request("acme")).await.unwrap();
    assert_eq!((response.status(), *tries.lock(), left(&limiter, "acme")), (StatusCode::OK, 3, 2));
}

// ---- where the store takes its time, and in axum ----

/// A store that is never ready at once.
#[derive(Debug, Default)]
struct Waiting(MemoryStore);

impl Waiting {
    fn later<F>(&self, decide: impl FnOnce(&MemoryStore, &mut Verdict) -> MaybeReady<F>) -> MaybeReady<BoxFuture> {
        let mut verdict = Verdict::default();
        assert!(matches!(decide(&self.0, &mut verdict), MaybeReady::Ready(())));
        MaybeReady::Pending(Box::pin(async {
            tokio::task::yield_now().await;
            Ok(verdict)
        }))
    }
}

impl Store for Waiting {
    type Future = BoxFuture;

    fn open(&mut self, setup: Setup) -> Result<(), ConfigError> {
        self.0.open(setup)
    }

    fn decide(&self, charges: &[Charge], _: &mut Verdict) -> MaybeReady<BoxFuture> {
        self.later(|memory, verdict| Store::decide(memory, charges, verdict))
    }

    fn peek(&self, charges: &[Charge], _: &mut Verdict) -> MaybeReady<BoxFuture> {
        self.later(|memory, verdict| Store::peek(memory, charges, verdict))
    }

    fn reset(&self, charges: &[Charge], _: &mut Verdict) -> MaybeReady<BoxFuture> {
        self.later(|memory, verdict| Store::reset(memory, charges, verdict))
    }
}

#[tokio::test]
async fn the_same_holds_where_the_store_takes_its_time() {
    let limiter = builder().0.store(Waiting::default()).build().unwrap();
    let inside: RateLimit<_, _> = limiter.layer().layer(answering());
    let handler = service_fn(move |batch: Request<()>| {
        let inside = inside.clone();
        async move {
            let mut served = 0;
            for _ in 0..9 {
                served += usize::from(inside.clone().oneshot(part(&batch, "acme")).await.unwrap().status() == 200);
            }
            let itself = inside.oneshot(batch).await.unwrap().status();
            Ok::<_, Infallible>(Response::new(format!("{served} {itself}")))
        }
    });
    let service = limiter.layer().layer(limiter.layer().layer(handler));
    let response = service.oneshot(request("acme")).await.unwrap();
    let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
    assert_eq!(body, "4 200 OK");
}

/// A batch endpoint as it is written in axum: the parts of the request, with another path, sent to the app itself.
#[tokio::test]
async fn a_batch_in_axum_pays_for_its_parts() {
    let (limiter, _clock) = limiter();
    let app = Router::new().route("/item", get(|| async { "item" })).layer(limiter.layer());
    let items = app.clone();
    let batch = async move |request: AxumRequest| {
        let (mut parts, _) = request.into_parts();
        parts.uri = "/item".parse().unwrap();
        let mut statuses = Vec::new();
        for _ in 0..9 {
            let item = AxumRequest::from_parts(parts.clone(), Body::empty());
            statuses.push(items.clone().oneshot(item).await.unwrap().status().as_u16());
        }
        format!("{statuses:?}")
    };
    let app = app.merge(Router::new().route("/batch", get(batch)).layer(limiter.layer()));
    let request = Request::get("/batch").header(ACCOUNT, "acme").body(Body::empty()).unwrap();
    let response = app.oneshot(request).await.unwrap();
    let body = axum::body::to_bytes(response.into_body(), 1000).await.unwrap();
    assert_eq!(body, "[200, 200, 200, 200, 429, 429, 429, 429, 429]");
}
