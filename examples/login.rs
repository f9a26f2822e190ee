//! Login attempts: only failed ones count, per address, per name at an address, and per name, in one atomic step.
//!
//! ```sh
//! cargo run --example login
//! ```
//!
//! Each attempt is charged before the password is looked at, and given back if it was right. So guesses that arrive at the same
//! time cannot slip through together, and those who know their password are never kept waiting by their own logins. A caller
//! that hangs up before the answer has guessed all the same.
//!
//! Until the password was right, the name is whatever a stranger says: a limit by name alone would let strangers lock anybody
//! out. So the tight limit is for a name *at an address*, and the one by name alone is wide.
//!
//! The example sends requests through the app without a network and moves a manual clock. It prints the answers, and ends by
//! itself, with an error if one is not as expected.

use std::{
    error::Error,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, State},
    http::{HeaderMap, Request, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::{sync::Semaphore, task::JoinSet};
use tower::ServiceExt;
use tower_quota::{ConfigError, Policy, Quota, RateLimiter, Rule, clock::ManualClock, http::RequestView, key, outcome};

const SECOND: Duration = Duration::from_secs(1);
const QUARTER: Duration = Duration::from_secs(15 * 60);

/// The addresses of the people here.
const OFFICE: [u8; 4] = [192, 0, 2, 1];
const ATTACKER: [u8; 4] = [203, 0, 113, 9];

/// The password check: it takes as long as the gate is closed, and is counted.
#[derive(Clone)]
struct Passwords {
    checks: Arc<AtomicUsize>,
    gate: Arc<Semaphore>,
}

/// A rule for failed logins.
fn failed_logins(name: &str) -> Rule {
    Rule::new(name).routes(["POST /login"]).count_only(outcome::statuses([401]))
}

fn limiter(clock: ManualClock) -> Result<RateLimiter, ConfigError> {
    let address = failed_logins("address").key(key::peer_ip());
    let guesses = failed_logins("guesses").key((claimed_name, key::peer_ip()));
    let name = failed_logins("name").key(claimed_name);
    RateLimiter::builder()
        .rule(address.policy(Policy::per_minute(10).and_per_hour(60)))
        .rule(guesses.policy(Quota::new(5, QUARTER)))
        .rule(name.policy(Policy::per_hour(100)))
        .message("Too many attempts. Please try again in {retry_after} seconds.")
        .clock(clock)
        .build()
}

/// Returns the name that a request claims, right or not.
fn claimed_name(request: &RequestView<'_>) -> Option<String> {
    Some(credentials(request.headers())?.0)
}

/// Reads the name and the password (RFC 7617).
fn credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let encoded = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
    let text = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    let (name, password) = text.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

async fn login(State(passwords): State<Passwords>, headers: HeaderMap) -> Response {
    passwords.checks.fetch_add(1, Ordering::Relaxed);
    // Hashing a password takes a while.
    let _turn = passwords.gate.acquire().await;
    match credentials(&headers) {
        Some((_, password)) if password == "secret" => "welcome".into_response(),
        _ => (StatusCode::UNAUTHORIZED, "wrong name or password").into_response(),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let clock = ManualClock::new();
    let passwords = Passwords { checks: Arc::default(), gate: Arc::new(Semaphore::new(100)) };
    let app = Router::new().route("/login", post(login)).with_state(passwords.clone());
    let app = app.layer(limiter(clock.clone())?.layer());

    println!("Ann logs in as often as she likes: what succeeds is not counted.");
    for _ in 0..200 {
        attempt(&app, OFFICE, "ann", "secret", 200, Silent).await?;
    }
    println!("Fifty guesses at once for her name, from one address:");
    at_once(&app, &passwords).await?;
    println!("After that not even the right password helps there; in the office it does:");
    attempt(&app, ATTACKER, "ann", "secret", 429, Printed).await?;
    attempt(&app, OFFICE, "ann", "secret", 200, Printed).await?;

    println!("Ann mistypes four times. Her login gives back nothing but itself:");
    for (password, status) in [("sceret", 401), ("secert", 401), ("scret", 401), ("seccret", 401), ("secret", 200)] {
        attempt(&app, OFFICE, "ann", password, status, Printed).await?;
    }
    println!("A fifth wrong one, and the quarter of an hour has to pass:");
    for (password, status) in [("sekret", 401), ("secret", 429)] {
        attempt(&app, OFFICE, "ann", password, status, Printed).await?;
    }
    clock.advance(QUARTER);
    attempt(&app, OFFICE, "ann", "secret", 200, Printed).await?;

    println!("One password on many names: ten failures a minute from one address.");
    for name in ["bob", "cat", "dan", "eve", "fay", "gus", "hal", "ivy", "jim", "kay"] {
        attempt(&app, ATTACKER, name, "123456", 401, Silent).await?;
    }
    attempt(&app, ATTACKER, "leo", "123456", 429, Printed).await?;
    clock.advance(SECOND * 60);

    println!("Hanging up before the answer is no way around it:");
    hung_up(&app, &passwords).await?;
    attempt(&app, ATTACKER, "mia", "secret", 429, Printed).await
}

/// Sends fifty guesses before any password has been checked.
async fn at_once(app: &Router, passwords: &Passwords) -> Result<(), Box<dyn Error>> {
    let (before, mut guesses) = (passwords.checks.load(Ordering::Relaxed), JoinSet::new());
    let open = passwords.gate.forget_permits(100);
    for number in 0..50 {
        guesses.spawn(app.clone().oneshot(request(ATTACKER, "ann", &format!("guess-{number}"))?));
    }
    let mut statuses = Vec::new();
    while statuses.len() < 45 {
        let refused = guesses.join_next().await.ok_or("too few are refused")???;
        statuses.push(refused.status());
    }
    passwords.gate.add_permits(open);
    let checked = guesses.join_all().await;
    let checks = passwords.checks.load(Ordering::Relaxed) - before;
    println!("  {checks} reach the password check, {} are refused at once", statuses.len());
    let is_refused = statuses.iter().all(|status| *status == StatusCode::TOO_MANY_REQUESTS);
    if checks == 5 && checked.len() == 5 && is_refused { Ok(()) } else { Err("five were expected".into()) }
}

/// Begins five logins, and drops them while the password is being checked.
async fn hung_up(app: &Router, passwords: &Passwords) -> Result<(), Box<dyn Error>> {
    let open = passwords.gate.forget_permits(100);
    let mut guesses = JoinSet::new();
    for number in 0..5 {
        guesses.spawn(app.clone().oneshot(request(ATTACKER, "mia", &format!("guess-{number}"))?));
    }
    let begun = passwords.checks.load(Ordering::Relaxed) + 5;
    while passwords.checks.load(Ordering::Relaxed) < begun {
        tokio::task::yield_now().await;
    }
    guesses.shutdown().await;
    passwords.gate.add_permits(open);
    Ok(())
}

/// Whether an attempt is printed.
#[derive(Clone, Copy, PartialEq)]
enum Shown {
    Printed,
    Silent,
}

use Shown::{Printed, Silent};

/// Sends one attempt through the app, and fails if the answer is not as expected.
async fn attempt(
    app: &Router,
    address: [u8; 4],
    name: &str,
    password: &str,
    expected: u16,
    shown: Shown,
) -> Result<(), Box<dyn Error>> {
    let (answer, body) = app.clone().oneshot(request(address, name, password)?).await?.into_parts();
    let body = body.collect().await?.to_bytes();
    let status = answer.status.as_u16();
    if shown == Printed {
        let problem: Option<Value> = serde_json::from_slice(&body).ok();
        let detail = problem.as_ref().and_then(|problem| problem.get("detail")?.as_str());
        println!("  {name:<4} {password:<9} {status} {}", detail.unwrap_or(&String::from_utf8_lossy(&body)));
    }
    if status == expected { Ok(()) } else { Err(format!("{name}: {status}, not {expected}").into()) }
}

/// Makes a request that comes from an address.
fn request(address: [u8; 4], name: &str, password: &str) -> Result<Request<Body>, axum::http::Error> {
    let credentials = STANDARD.encode(format!("{name}:{password}"));
    let request = Request::post("/login").header(header::AUTHORIZATION, format!("Basic {credentials}"));
    let mut request = request.body(Body::empty())?;
    // A server does this: `into_make_service_with_connect_info::<SocketAddr>()`.
    request.extensions_mut().insert(ConnectInfo(SocketAddr::from((address, 4711))));
    Ok(request)
}
