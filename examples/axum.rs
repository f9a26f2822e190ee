//! A complete axum server: limits per account, behind authentication and CORS, with a health check that is exempt.
//!
//! ```sh
//! cargo run --example axum             # serves until ctrl-c
//! cargo run --example axum -- --check  # asks itself, prints the answers, and ends
//! ```
//!
//! Try it: `curl -i -H 'authorization: Bearer acme' http://127.0.0.1:3000/cases`, sixty-one times within a minute.

use std::error::Error;

use axum::{
    Extension, Router,
    body::Body,
    extract::Request,
    http::{HeaderName, StatusCode, header::RETRY_AFTER},
    middleware::{self, Next},
    response::Response,
    routing::get,
};
use http_body_util::BodyExt;
use tokio::net::TcpListener;
use tower::ServiceExt;
use tower_http::cors::{Any, CorsLayer};
use tower_quota::{ConfigError, Decision, Policy, RateLimitLayer, key};

/// The identity of the caller, which only the authentication layer sets.
#[derive(Clone)]
struct Claims {
    account: String,
}

fn app() -> Result<Router, ConfigError> {
    let policy = Policy::per_minute(60).and_per_hour(1800);
    let limit = RateLimitLayer::new(key::claim(|claims: &Claims| &claims.account), policy)?;

    let fields = [RETRY_AFTER, HeaderName::from_static("ratelimit"), HeaderName::from_static("ratelimit-policy")];
    let cors = CorsLayer::new().allow_origin(Any).allow_headers(Any).expose_headers(fields);

    // A layer covers the routes above it, and the last one is the outermost. A request passes:
    //   CORS, which answers preflights itself -> authentication, which sets the claims -> the limit -> the handler
    Ok(Router::new()
        .route("/cases", get(cases))
        .layer(limit)
        .layer(middleware::from_fn(authenticate))
        .route("/health", get(async || "fine\n")) // Below the limit, so exempt from it.
        .layer(cors))
}

/// Takes the token for the account. A real server verifies it.
async fn authenticate(mut request: Request, next: Next) -> Result<Response, StatusCode> {
    let token = request.headers().get("authorization").and_then(|value| value.to_str().ok());
    let account = token.and_then(|token| token.strip_prefix("Bearer ")).ok_or(StatusCode::UNAUTHORIZED)?.to_owned();
    request.extensions_mut().insert(Claims { account });
    Ok(next.run(request).await)
}

async fn cases(Extension(decision): Extension<Decision>) -> String {
    let left = decision.quotas().map(|quota| quota.remaining()).min();
    format!("the cases; calls left: {}\n", left.unwrap_or_default())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let app = app()?;
    if std::env::args().any(|argument| argument == "--check") {
        return check(app).await;
    }
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    println!("Serving http://{}/cases until ctrl-c.", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}

/// Sends requests through the app as the server would, and fails if an answer is not as expected.
async fn check(app: Router) -> Result<(), Box<dyn Error>> {
    let preflight = Request::options("/cases").header("access-control-request-method", "GET");
    expect(&app, "a preflight", preflight.body(Body::empty())?, 200).await?;
    expect(&app, "no token", Request::get("/cases").body(Body::empty())?, 401).await?;
    for number in 1..=60 {
        expect(&app, &format!("call {number} of acme"), call("acme")?, 200).await?;
    }
    expect(&app, "call 61 of acme", call("acme")?, 429).await?;
    expect(&app, "call 1 of globex", call("globex")?, 200).await?;
    expect(&app, "the health check", Request::get("/health").body(Body::empty())?, 200).await
}

fn call(account: &str) -> axum::http::Result<Request> {
    Request::get("/cases").header("authorization", format!("Bearer {account}")).body(Body::empty())
}

/// Prints the answer to a request: of a refusal all fields, of others the first line.
async fn expect(app: &Router, name: &str, request: Request, expected: u16) -> Result<(), Box<dyn Error>> {
    let (answer, body) = app.clone().oneshot(request).await?.into_parts();
    let body = body.collect().await?.to_bytes();
    println!("{name}: {} {}", answer.status, String::from_utf8_lossy(&body).trim_end());
    if answer.status == StatusCode::TOO_MANY_REQUESTS {
        for (field, value) in &answer.headers {
            println!("  {field}: {}", String::from_utf8_lossy(value.as_bytes()));
        }
    }
    if answer.status == expected { Ok(()) } else { Err(format!("expected {expected}").into()) }
}
