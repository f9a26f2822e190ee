//! Rules that count only some outcomes: every request is charged first, so they cannot be raced.

use std::{
    convert::Infallible,
    future::{pending, ready},
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpSocket,
    sync::{Semaphore, mpsc},
    task::JoinSet,
};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_quota::{
    Policy, Quota, RateLimiter, Rule,
    http::{DecisionIn, Headers},
    key,
    outcome::{self, Outcome},
};
use tower_quota_tests::{
    limiter::{frozen, limiter, remaining, rule},
    panics::caught,
};

use crate::settlements_over_tcp::serve;

const QUARTER: Duration = Duration::from_secs(15 * 60);

/// Five failed logins in a quarter of an hour, for everybody.
fn logins() -> Rule {
    rule("logins", Quota::new(5, QUARTER)).count_only(outcome::statuses([401, 403]))
}

fn left(limiter: &RateLimiter) -> u64 {
    remaining(&limiter.rule("logins").unwrap().peek("everybody"))[0]
}

/// Sends a request that is answered with this status, reads the body, and returns the status that arrives.
async fn status(limiter: &RateLimiter, status: u16) -> u16 {
    let mut answer = Response::new("text".to_owned());
    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
    let inner = service_fn(move |_: Request<()>| ready(Ok::<_, Infallible>(answer.clone())));
    let response = limiter.layer().layer(inner).oneshot(Request::new(())).await.unwrap();
    let status = response.status().as_u16();
    response.into_body().collect().await.unwrap();
    status
}

#[tokio::test]
async fn failures_are_counted_and_successes_given_back() {
    let limiter = frozen([logins()]);
    for _ in 0..100 {
        assert_eq!(status(&limiter, 200).await, 200);
    }
    for answer in [401, 500, 403, 401, 204, 401, 401] {
        assert_eq!(status(&limiter, answer).await, answer);
    }
    assert_eq!(status(&limiter, 200).await, 429, "not even the right password helps");
}

#[tokio::test]
async fn each_helper_counts_what_it_says() {
    let limits = || Policy::per_minute(100);
    let failures = frozen([rule("logins", limits()).count_only(outcome::failures())]);
    let successes = frozen([rule("logins", limits()).count_only(outcome::successes())]);
    let not_found = |outcome: &Outcome<'_>| outcome.status() == Some(StatusCode::NOT_FOUND);
    let predicate = frozen([rule("logins", limits()).count_only(not_found)]);
    for limiter in [&failures, &successes, &predicate] {
        for answer in [200, 301, 404, 422, 503] {
            assert_eq!(status(limiter, answer).await, answer);
        }
    }
    assert_eq!([&failures, &successes, &predicate].map(left), [97, 98, 99]);
}

#[tokio::test]
async fn the_head_of_the_response_is_there_for_the_predicate() {
    let wrong = |outcome: &Outcome<'_>| outcome.headers().is_some_and(|headers| headers.contains_key("x-wrong"));
    let limiter = frozen([rule("logins", Policy::per_minute(9)).count_only(wrong)]);
    for (name, expected) in [("x-right", 9), ("x-wrong", 8)] {
        let inner = service_fn(async |_: Request<()>| {
            Response::builder().header(name, "").body(String::new()).map_err(io::Error::other)
        });
        let response = limiter.layer().layer(inner).oneshot(Request::new(())).await.unwrap();
        assert!(response.headers().contains_key(name));
        drop(response);
        assert_eq!(left(&limiter), expected);
    }
}

#[tokio::test]
async fn a_request_without_a_response_counts_whatever_the_rule_says() {
    let nothing = |_: &Outcome<'_>| false;
    let limiter = frozen([rule("logins", Policy::per_minute(9)).count_only(nothing)]);
    let hidden = limiter.layer().headers(Headers::none()).decision(DecisionIn::Neither);
    for (layer, before) in [(limiter.layer(), 9), (hidden, 7)] {
        let failing = service_fn(|_: Request<()>| ready(Err::<Response<String>, _>(io::Error::other("broken"))));
        assert!(layer.layer(failing).oneshot(Request::new(())).await.is_err());
        assert_eq!(left(&limiter), before - 1);
        let silent = service_fn(|_: Request<()>| pending::<io::Result<Response<String>>>());
        drop(layer.layer(silent).call(Request::new(())));
        assert_eq!(left(&limiter), before - 2);
        let answering = service_fn(|_: Request<()>| ready(io::Result::Ok(Response::new(String::new()))));
        drop(layer.layer(answering).oneshot(Request::new(())).await);
        assert_eq!(left(&limiter), before - 2);
    }
}

#[tokio::test]
async fn a_predicate_that_panics_fails_its_own_request_which_counts() {
    let fussy = |outcome: &Outcome<'_>| {
        assert_ne!(outcome.status(), Some(StatusCode::IM_A_TEAPOT), "no tea");
        false
    };
    let limiter = frozen([rule("logins", Policy::per_minute(9)).count_only(fussy)]);
    let teapot = service_fn(|_: Request<()>| {
        ready(Response::builder().status(418).body("tea".to_owned()).map_err(io::Error::other))
    });
    let response = limiter.layer().layer(teapot).oneshot(Request::new(())).await.unwrap();
    assert!(caught(|| drop(response)).is_none());
    assert_eq!(left(&limiter), 8);
    assert_eq!(status(&limiter, 200).await, 200);
    assert_eq!(left(&limiter), 8);
}

/// A body that panics is dropped while the stack unwinds: asking the predicate then could end the process.
#[tokio::test]
async fn a_body_that_panics_counts_and_the_predicate_is_not_asked() {
    let limiter = frozen([rule("logins", Policy::per_minute(9)).count_only(|_: &Outcome<'_>| panic!("no tea"))]);
    let inner = service_fn(|_: Request<()>| ready(io::Result::Ok(Response::new("text".to_owned()))));
    let response = limiter.layer().layer(inner).oneshot(Request::new(())).await.unwrap();
    let finished: Option<()> = caught(move || {
        let _response = response;
        panic!("no words")
    });
    assert!(finished.is_none());
    assert_eq!(left(&limiter), 8);
}

/// In flight and counted are at most five: the sixth is told that this may change at any moment.
#[tokio::test]
async fn a_denial_because_of_requests_in_flight_asks_the_caller_back_in_a_second() {
    let (limiter, clock) = limiter([logins()]);
    for _ in 0..3 {
        status(&limiter, 401).await;
    }
    clock.advance(Duration::from_secs(60));
    let inner = service_fn(|_: Request<()>| ready(io::Result::Ok(Response::new("text".to_owned()))));
    let service = limiter.layer().layer(inner);
    let open: Vec<_> =
        vec![service.clone().oneshot(Request::new(())).await, service.clone().oneshot(Request::new(())).await];
    assert_eq!(left(&limiter), 0);

    let refused = service.clone().oneshot(Request::new(())).await.unwrap();
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_eq!(refused.headers()["ratelimit"], "\"15m\";r=0;t=1");
    let decision = refused.extensions().get::<tower_quota::Decision>().unwrap();
    assert!(decision.quotas().all(|quota| quota.is_held()));
    drop(open);
    assert_eq!(service.clone().oneshot(Request::new(())).await.unwrap().status(), 200);

    for _ in 0..2 {
        assert_eq!(status(&limiter, 401).await, 401);
    }
    let refused = service.oneshot(Request::new(())).await.unwrap();
    assert_eq!(refused.headers()["retry-after"], "840", "these have failed for good");
}

// ---- over TCP ----

/// A login whose password check says when it begins and when it is left, and waits to be let go on.
#[derive(Clone, Debug)]
struct Login {
    checks: Arc<AtomicUsize>,
    gate: Arc<Semaphore>,
    left: mpsc::UnboundedSender<()>,
    begun: mpsc::UnboundedSender<()>,
}

struct Leaving(mpsc::UnboundedSender<()>);

impl Drop for Leaving {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

impl Login {
    async fn answer(self, _: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let _leaving = Leaving(self.left.clone());
        self.checks.fetch_add(1, Ordering::SeqCst);
        let _ = self.begun.send(());
        self.gate.acquire().await.unwrap().forget();
        let mut answer = Response::new(Full::from("wrong password"));
        *answer.status_mut() = StatusCode::UNAUTHORIZED;
        Ok(answer)
    }
}

/// Sends a login over a connection of its own, from an address of this machine.
async fn login(server: SocketAddr, from: Ipv4Addr) -> Option<StatusCode> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket.connect(server).await.unwrap())).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post("/login").header("host", "a").header("x-name", "ann").body(Empty::<Bytes>::new());
    Some(sender.send_request(request.unwrap()).await.ok()?.status())
}

struct LoginServer {
    address: SocketAddr,
    login: Login,
    begun: mpsc::UnboundedReceiver<()>,
    left: mpsc::UnboundedReceiver<()>,
    limiter: RateLimiter,
}

async fn login_server() -> LoginServer {
    let rule = Rule::new("logins").routes(["POST /login"]).key(key::header("x-name")).policy(Quota::new(5, QUARTER));
    let limiter = frozen([rule.count_only(outcome::statuses([401, 403]))]);
    let ((begun, begun_receiver), (left, left_receiver)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
    let login = Login { checks: Arc::default(), gate: Arc::new(Semaphore::new(0)), left, begun };
    let inner = login.clone();
    let address = serve(limiter.layer().layer(service_fn(move |request| inner.clone().answer(request)))).await;
    LoginServer { address, login, begun: begun_receiver, left: left_receiver, limiter }
}

#[tokio::test]
async fn fifty_wrong_passwords_at_once_from_fifty_addresses_are_five_checks() {
    let mut server = login_server().await;
    let mut attempts = JoinSet::new();
    for number in 1..=50 {
        attempts.spawn(login(server.address, Ipv4Addr::new(127, 0, 0, number)));
    }
    // All others have been refused before any check is done.
    let mut statuses = Vec::new();
    while statuses.len() < 45 {
        statuses.push(attempts.join_next().await.unwrap().unwrap().unwrap().as_u16());
    }
    for _ in 0..5 {
        server.begun.recv().await.unwrap();
    }
    server.login.gate.add_permits(100);
    statuses.extend(attempts.join_all().await.into_iter().map(|status| status.unwrap().as_u16()));
    assert_eq!(server.login.checks.load(Ordering::SeqCst), 5);
    assert_eq!(statuses.iter().filter(|status| **status == 429).count(), 45);
    assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 5);
}

#[tokio::test]
async fn of_eight_connections_that_are_cut_before_the_answer_five_reach_the_check() {
    let mut server = login_server().await;
    for attempt in 0..8 {
        let mut client = tokio::spawn(login(server.address, Ipv4Addr::LOCALHOST));
        tokio::select! {
            _ = server.begun.recv() => {
                // With the task goes the request, and with it the connection.
                client.abort();
                server.left.recv().await.unwrap();
            }
            status = &mut client => assert_eq!((attempt >= 5, status.unwrap()), (true, Some(StatusCode::TOO_MANY_REQUESTS))),
        }
    }
    assert_eq!(server.login.checks.load(Ordering::SeqCst), 5);
    let decision = server.limiter.rule("logins").unwrap().peek("ann");
    assert_eq!(remaining(&decision), [0]);
    assert!(decision.quotas().all(|quota| !quota.is_held()), "they have ended");
}
