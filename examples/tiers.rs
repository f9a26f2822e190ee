//! Free and pro tenants, more for one of them at run time, new rules while requests go on, and a rule in shadow.
//!
//! ```sh
//! cargo run --example tiers
//! ```
//!
//! It prints what happens, and fails if anything is not so.

use std::{convert::Infallible, error::Error, thread};

use http::{Request, Response, StatusCode};
use tower::{ServiceBuilder, ServiceExt, service_fn, util::MapRequestLayer};
use tower_quota::{Enforcement, Policy, RateLimiter, Rule, clock::ManualClock, key};

/// The claims of a verified token.
#[derive(Clone)]
struct Claims {
    tenant: String,
    plan: String,
}

/// Puts the claims where the limiter reads them. A real layer verifies a token here.
fn authenticate(mut request: Request<()>) -> Request<()> {
    let field = |name: &str| Some(request.headers().get(name)?.to_str().ok()?.to_owned());
    let claims = Claims { tenant: field("x-tenant").unwrap_or_default(), plan: field("x-plan").unwrap_or_default() };
    request.extensions_mut().insert(claims);
    request
}

/// The rule of the API, with this limit for free tenants.
fn api(free: u64) -> Rule {
    Rule::new("api")
        .every_request()
        .key(key::claim(|claims: &Claims| &claims.tenant))
        .level("tenant")
        .policy(Policy::per_minute(free))
        .tier("pro", Policy::per_minute(600))
        .unlimited_tier("internal")
        .tier_from(key::claim(|claims: &Claims| &claims.plan))
        .tier_for("status-page", "internal")
}

/// A rule that is tried on real requests before it denies any.
fn hourly() -> Rule {
    Rule::new("hourly")
        .every_request()
        .key(key::claim(|claims: &Claims| &claims.tenant))
        .policy(Policy::per_hour(100))
        .enforcement(Enforcement::Shadow)
}

/// Sends requests of a tenant, and returns how many passed.
async fn send(limiter: &RateLimiter, tenant: &str, plan: &str, requests: usize) -> Result<usize, Box<dyn Error>> {
    let hello = service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(String::from("hello"))) });
    let layers = ServiceBuilder::new().layer(MapRequestLayer::new(authenticate)).layer(limiter.layer());
    let service = layers.service(hello);
    let mut passed = 0;
    for _ in 0..requests {
        let request = Request::get("/").header("x-tenant", tenant).header("x-plan", plan).body(())?;
        passed += usize::from(service.clone().oneshot(request).await?.status() == StatusCode::OK);
    }
    Ok(passed)
}

/// Prints how many requests passed, and fails if it should be another number.
fn expect(what: &str, passed: usize, expected: usize) -> Result<(), Box<dyn Error>> {
    println!("{what}: {passed} passed");
    if passed == expected { Ok(()) } else { Err(format!("{what}: {expected} should have passed").into()) }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let limiter = RateLimiter::builder().clock(ManualClock::new()).rule(api(60)).rule(hourly()).build()?;

    expect("acme, free", send(&limiter, "acme", "free", 1000).await?, 60)?;
    expect("globex, pro", send(&limiter, "globex", "pro", 1000).await?, 600)?;
    expect("the status page, without limits", send(&limiter, "status-page", "", 1000).await?, 1000)?;

    // Support gives acme more: its 60 requests still count.
    limiter.set_tier("api", "acme", Some("pro"))?;
    expect("acme, pro for today", send(&limiter, "acme", "free", 1000).await?, 540)?;
    limiter.set_tier("api", "acme", None)?;
    expect("acme, free again", send(&limiter, "acme", "free", 1000).await?, 0)?;

    reload_while_requests_go_on(&limiter)?;
    expect("umbrella, free, with the new rules", send(&limiter, "umbrella", "free", 1000).await?, 0)?;

    // The rule in shadow has let all of that through.
    limiter.enforce("hourly", Enforcement::On)?;
    expect("globex, after the hour's limit is enforced", send(&limiter, "globex", "pro", 1).await?, 0)?;
    limiter.enforce_as_configured("hourly")?;

    let mistake = limiter.reload(|builder| Ok(builder.rule(api(0)).rule(hourly())));
    println!("a mistake changes nothing: {}", mistake.err().ok_or("a limit of 0 was taken over")?);
    expect("initech, free", send(&limiter, "initech", "free", 1000).await?, 100)
}

/// Takes over other rules while four threads ask: exactly as many requests are admitted as the larger limit allows.
fn reload_while_requests_go_on(limiter: &RateLimiter) -> Result<(), Box<dyn Error>> {
    let api_rule = limiter.rule("api")?;
    let admitted = thread::scope(|scope| {
        let ask = || (0..1000).filter(|_| api_rule.admit("umbrella")).count();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
        let changes = limiter.reload(|builder| Ok(builder.rule(api(100)).rule(hourly())))?;
        println!("reloaded: {changes}");
        let admitted = threads.into_iter().map(|thread| thread.join().unwrap_or_default()).sum::<usize>();
        Ok::<_, Box<dyn Error>>(admitted + (0..1000).filter(|_| api_rule.admit("umbrella")).count())
    })?;
    expect("umbrella, free, while the rules change", admitted, 100)
}
