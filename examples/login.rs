//! Login attempts: limited per address and per name in one step, so that neither guessing one password nor trying one
//! password on many names gets far.
//!
//! ```sh
//! cargo run --example login
//! ```
//!
//! The handler asks the limiter itself, since the name is in the body, which no layer reads. An attempt is charged before the
//! password is looked at, so guesses that arrive at the same time cannot slip through together. A login that succeeds
//! gives the name its attempts back, so only failed attempts count there.
//!
//! The example sends requests through the app without a network and moves a manual clock. It prints the answers, and ends by
//! itself.

use std::{error::Error, net::SocketAddr, time::Duration};

use axum::{
    Form, Router,
    body::Body,
    extract::{ConnectInfo, State},
    http::{Request, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use http_body_util::BodyExt;
use serde::Deserialize;
use serde_json::Value;
use tower::ServiceExt;
use tower_quota::{ConfigError, Policy, RateLimiter, Rule, UnknownRule, clock::ManualClock};

/// The form. Until the password was right, the name is whatever a stranger says.
#[derive(Deserialize)]
struct Login {
    name: String,
    password: String,
}

/// Rules that no route leads to: they are asked by name.
fn limiter(clock: ManualClock) -> Result<RateLimiter, ConfigError> {
    RateLimiter::builder()
        .rule(Rule::new("address").no_requests().policy(Policy::per_minute(10).and_per_hour(60)))
        .rule(Rule::new("name").no_requests().policy(Policy::per_minute(3).and_per_hour(10)))
        .message("Too many attempts. Please try again in {retry_after} seconds.")
        .clock(clock)
        .build()
}

async fn login(
    State(limiter): State<RateLimiter>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Form(login): Form<Login>,
) -> Result<Response, StatusCode> {
    // Both rules admit the attempt and are charged, or neither is.
    let charges = [("address", limiter.key(peer.ip())), ("name", limiter.key(&*login.name))];
    let decision = limiter.check_all(charges).map_err(|error| internal(&error))?;
    if !decision.is_admitted() {
        return Ok(decision.into_response());
    }
    if login.password != "secret" {
        return Ok((StatusCode::UNAUTHORIZED, "wrong name or password").into_response());
    }
    limiter.rule("name").map_err(|error| internal(&error))?.reset(&*login.name);
    Ok("welcome".into_response())
}

/// There is no rule of this name: a mistake in this program.
fn internal(error: &UnknownRule) -> StatusCode {
    eprintln!("{error}");
    StatusCode::INTERNAL_SERVER_ERROR
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let clock = ManualClock::new();
    let app = Router::new().route("/login", post(login)).with_state(limiter(clock.clone())?);
    let (office, attacker) = ([192, 0, 2, 1], [203, 0, 113, 9]);

    println!("Three guesses a minute for one name; after that not even the right password helps:");
    for (guess, status) in [("123456", 401), ("password", 401), ("letmein", 401), ("secret", 429)] {
        attempt(&app, attacker, "ann", guess, status).await?;
    }
    println!("From another address it is the same:");
    attempt(&app, office, "ann", "secret", 429).await?;

    println!("A minute later ann mistypes twice, and her login clears the failed attempts:");
    clock.advance(Duration::from_secs(60));
    for (password, status) in [("sceret", 401), ("secert", 401), ("secret", 200), ("secret", 200)] {
        attempt(&app, office, "ann", password, status).await?;
    }
    println!("One password on many names: ten attempts a minute from one address.");
    for name in ["bob", "cat", "dan", "eve", "fay", "gus", "hal", "ivy", "jim", "kay"] {
        attempt(&app, attacker, name, "123456", 401).await?;
    }
    attempt(&app, attacker, "leo", "123456", 429).await
}

/// Sends one attempt through the app, prints the answer, and fails if that is not as expected.
async fn attempt(
    app: &Router,
    address: [u8; 4],
    name: &str,
    password: &str,
    expected: u16,
) -> Result<(), Box<dyn Error>> {
    let mut request = Request::post("/login")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(format!("name={name}&password={password}")))?;
    // A server does this: `into_make_service_with_connect_info::<SocketAddr>()`.
    request.extensions_mut().insert(ConnectInfo(SocketAddr::from((address, 4711))));
    let (answer, body) = app.clone().oneshot(request).await?.into_parts();
    let body = body.collect().await?.to_bytes();
    let problem: Option<Value> = serde_json::from_slice(&body).ok();
    let detail = problem.as_ref().and_then(|problem| problem.get("detail")?.as_str());
    let status = answer.status.as_u16();
    println!("  {name:<4} {password:<9} {status} {}", detail.unwrap_or(&String::from_utf8_lossy(&body)));
    if status == expected { Ok(()) } else { Err(format!("expected {expected}").into()) }
}
