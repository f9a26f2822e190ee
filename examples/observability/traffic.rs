//! Calls of a few apps, one of which sends too many at times.

use std::time::Duration;

use axum::{Router, body::Body, extract::Request};
use tower::ServiceExt;
use tower_quota::RateLimiter;

use super::{Result, server};

/// The apps, each with the number of rounds between two of its calls.
const APPS: [(&str, u64); 4] = [("cs-acme", 15), ("cs-globex", 12), ("cs-initech", 20), ("cs-umbrella", 30)];

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

/// Sends the calls of one round: those of the apps whose turn it is, and in a third of the time too many of the first.
pub(crate) async fn send(app: &Router, limiter: &RateLimiter, round: u64) -> Result<()> {
    let wild = if round % 900 < 300 { 2 } else { 0 };
    let due = APPS.iter().filter(|(_, rounds)| round.is_multiple_of(*rounds));
    for (name, _) in due.chain(std::iter::repeat_n(&APPS[0], wild)) {
        call(app, "GET", "/api/public/bots", name).await?;
        call(app, "POST", &format!("/api/public/bot/st-{}/export", round % 3), name).await?;
    }
    call(app, "GET", "/not/limited", APPS[1].0).await?;
    if round.is_multiple_of(4) { prompt(limiter, round / 4) } else { Ok(()) }
}

/// Reserves tokens. Every fifth prompt says nothing of its cost, and every tenth costs more than was expected.
fn prompt(limiter: &RateLimiter, number: u64) -> Result<()> {
    let decision = limiter.rule(server::TOKENS)?.check(APPS[(number % 4) as usize].0);
    if let Some(reservation) = decision.reservation().filter(|_| !number.is_multiple_of(5)) {
        reservation.settle("tokens", if number % 10 == 3 { 1800 } else { 300 + 50 * (number % 10) });
    }
    Ok(())
}

async fn call(app: &Router, method: &str, path: &str, name: &str) -> Result<()> {
    let request = Request::builder().method(method).uri(path).header("auth", server::token(name)?);
    let _answer = app.clone().oneshot(request.body(Body::empty())?).await?;
    Ok(())
}
