//! Pacing, learning and retrying together.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response, StatusCode, response};
use http_body_util::Full;
use parking_lot::Mutex;
use tokio::time::Instant;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn, util::BoxCloneSyncService};
use tower_quota::{
    Policy, Quota, RateLimiter, Rule,
    client::{AdviceReader, PaceLayer, RetryLayer, RetryPolicy, answers::Reset, retry::Budget},
    clock::TokioClock,
    key,
};

const SECOND: Duration = Duration::from_secs(1);

type Server<B> = BoxCloneSyncService<Request<B>, Response<()>, Infallible>;
type Calls = Arc<Mutex<Vec<Duration>>>;

/// A server that answers its calls in turn as `answer` says, and the times at which they came.
fn server<B: Send + 'static>(
    answer: impl Fn(usize) -> response::Builder + Send + Sync + Clone + 'static,
) -> (Server<B>, Calls) {
    let (calls, begin) = (Calls::default(), Instant::now());
    let seen = Arc::clone(&calls);
    let serve = service_fn(move |_: Request<B>| {
        let mut calls = calls.lock();
        let said = answer(calls.len());
        calls.push(begin.elapsed());
        async move { Ok(said.body(()).unwrap()) }
    });
    (BoxCloneSyncService::new(serve), seen)
}

fn served() -> response::Builder {
    Response::builder()
}

fn refused() -> response::Builder {
    Response::builder().status(StatusCode::TOO_MANY_REQUESTS)
}

fn request() -> Request<Full<Bytes>> {
    Request::post("http://api.example.com/").body(Full::default()).unwrap()
}

fn retrying() -> RetryLayer {
    let policy =
        RetryPolicy::builder().max_attempts(20).max_jitter(Duration::ZERO).budget(Budget::new(20, 1000).unwrap());
    RetryLayer::new(policy.build().unwrap())
}

#[tokio::test(start_paused = true)]
async fn each_attempt_waits_for_its_turn_like_any_other_call() {
    let (server, calls) = server(|call| if call == 0 { refused().header("retry-after", "1") } else { served() });
    let paced = PaceLayer::new(key::host(), Quota::new(1, 10 * SECOND));
    let client = ServiceBuilder::new().layer(retrying()).layer(paced).service(server);
    assert_eq!(client.oneshot(request()).await.unwrap().status(), StatusCode::OK);
    assert_eq!(*calls.lock(), [Duration::ZERO, 10 * SECOND]);
}

#[tokio::test(start_paused = true)]
async fn advice_in_any_dialect_holds_back_the_calls_behind_it() {
    let dialects: [(&str, &str, AdviceReader); 5] = [
        ("retry-after", "30", AdviceReader::new()),
        ("retry-after-ms", "30000", AdviceReader::new()),
        ("ratelimit", "\"minute\";r=0;t=30", AdviceReader::new()),
        ("ratelimit", "limit=60, remaining=0, reset=30", AdviceReader::new()),
        ("x-ratelimit-reset", "30", AdviceReader::new().x_rate_limit(Reset::Delta)),
    ];
    for (name, value, answers) in dialects {
        let (server, calls) = server(move |call| match call {
            0 => refused().header(name, value).header("x-ratelimit-remaining", "0"),
            _ => served(),
        });
        let layer =
            PaceLayer::new(key::host(), Policy::per_second(100)).advice_reader(answers).max_jitter(Duration::ZERO);
        let client = layer.layer(server);
        client.clone().oneshot(request()).await.unwrap();
        client.oneshot(request()).await.unwrap();
        assert_eq!(*calls.lock(), [Duration::ZERO, 30 * SECOND], "{name}: {value}");
    }
}

/// The server's fields tell a client how many calls are left, before it is refused anything.
#[tokio::test(start_paused = true)]
async fn a_client_that_knows_no_limit_learns_it_from_the_fields_of_a_server_of_ours() {
    let rule =
        Rule::new("calls").every_request().key(key::constant("")).level("all").policy(Quota::new(20, 10 * SECOND));
    let limiter = RateLimiter::builder().clock(TokioClock::new()).rule(rule).build().unwrap();
    let refusals = Arc::new(Mutex::new(0));
    let count = {
        let refusals = Arc::clone(&refusals);
        move |answer: Response<_>| {
            *refusals.lock() += u32::from(answer.status() == StatusCode::TOO_MANY_REQUESTS);
            answer
        }
    };
    let serve =
        service_fn(async |_: Request<Full<Bytes>>| Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())));
    let server = ServiceBuilder::new().map_response(count).layer(limiter.layer()).service(serve);
    let client = PaceLayer::new(key::host(), Policy::per_second(1000)).adaptive().layer(server);
    let begin = Instant::now();
    // One after the other, as a batch that waits for each answer.
    for _ in 0..100 {
        assert_eq!(client.clone().oneshot(request()).await.unwrap().status(), StatusCode::OK);
    }
    assert_eq!(*refusals.lock(), 0);
    assert!(begin.elapsed() <= 41 * SECOND, "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_refused_in_part_is_served_in_full() {
    let (server, calls) = server(|call| if call % 3 == 0 { refused().header("retry-after", "2") } else { served() });
    let client = ServiceBuilder::new()
        .layer(retrying())
        .layer(PaceLayer::new(key::host(), Policy::per_second(10)))
        .service(server);
    let answers = join_all((0..50).map(|_| client.clone().oneshot(request()))).await;
    assert!(answers.into_iter().all(|answer| answer.unwrap().status() == StatusCode::OK));
    let times = calls.lock();
    assert!(times.windows(11).all(|calls| calls[10] - calls[0] >= SECOND), "{times:?}");
}
