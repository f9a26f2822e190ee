//! Calls of a few apps, one of which sends too many.

use std::time::Duration;

use axum::{Router, body::Body, extract::Request};
use tower::ServiceExt;
use tower_quota::RateLimiter;

use super::{Result, server};

const APPS: [&str; 4] = ["cs-acme", "cs-globex", "cs-initech", "cs-umbrella"];

/// Calls on and on, ten times a second.
pub(crate) async fn run(app: Router, limiter: RateLimiter) {
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    for round in 0.. {
        ticks.tick().await;
        if let Err(error) = send(&app, &limiter, round).await {
            eprintln!("{error}");
        }
    }
}

/// Sends the calls of one round: one of each app, more of the first, and some without a token.
pub(crate) async fn send(app: &Router, limiter: &RateLimiter, round: u64) -> Result<()> {
    for name in APPS.iter().copied().chain([APPS[0]; 3]) {
        call(app, "GET", "/api/public/bots", name).await?;
        call(app, "POST", &format!("/api/public/bot/st-{}/export", round % 3), name).await?;
    }
    call(app, "GET", "/not/limited", APPS[1]).await?;
    // Every fourth prompt says nothing of its cost, and every tenth costs more than was expected.
    let decision = limiter.rule(server::TOKENS)?.check(APPS[(round % 4) as usize]);
    if let Some(reservation) = decision.reservation().filter(|_| !round.is_multiple_of(4)) {
        reservation.settle("tokens", if round.is_multiple_of(10) { 1800 } else { 300 + 50 * (round % 10) });
    }
    Ok(())
}

async fn call(app: &Router, method: &str, path: &str, name: &str) -> Result<()> {
    let request = Request::builder().method(method).uri(path).header("auth", server::token(name)?);
    let _answer = app.clone().oneshot(request.body(Body::empty())?).await?;
    Ok(())
}
