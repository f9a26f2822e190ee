//! The matrix behind axum, shared by the examples `quickstart` and `kore`.

#[path = "token.rs"]
mod token;

use axum::{
    Router,
    extract::Request,
    http::StatusCode,
    middleware::{self, Next},
    response::Response,
};
use serde::{Deserialize, Serialize};
use tower_quota::{ConfigError, RateLimiter, RateLimiterBuilder, clock::Clock, config::Sources, key};

/// The secret that every app of this demonstration signs its tokens with. A real server knows one secret per app.
const CLIENT_SECRET: &[u8] = b"not a secret";

/// The payload of a token: `{"sub":"1234567890","appId":"cs-.."}`.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Claims {
    sub: String,
    #[serde(rename = "appId")]
    app_id: String,
}

/// Returns a limiter with the eight rules of `limits.toml`.
pub(crate) fn limiter(clock: impl Clock) -> Result<RateLimiter, ConfigError> {
    builder()?.clock(clock).build()
}

/// Returns the builder of that limiter.
pub(crate) fn builder() -> Result<RateLimiterBuilder, ConfigError> {
    let sources = Sources::new().source("claim:appId", key::claim(|claims: &Claims| &claims.app_id));
    RateLimiter::builder().toml(include_str!("limits.toml"), &sources)
}

/// Returns an app that answers every route. A request passes the verification of its token first, then the limiter.
pub(crate) fn app(limiter: &RateLimiter) -> Router {
    Router::new().fallback(async || "ok\n").layer(limiter.layer()).layer(middleware::from_fn(authenticate))
}

/// Returns a token signed by an app.
pub(crate) fn token(app_id: &str) -> Result<String, serde_json::Error> {
    token::sign(&Claims { sub: "1234567890".into(), app_id: app_id.into() }, CLIENT_SECRET)
}

/// Verifies the token, and puts its claims into the request's extensions, where the limiter finds them.
async fn authenticate(mut request: Request, next: Next) -> Result<Response, (StatusCode, &'static str)> {
    let token = request.headers().get("auth").and_then(|token| token.to_str().ok());
    let claims: Option<Claims> = token.and_then(|token| token::verify(token, CLIENT_SECRET));
    let claims = claims.ok_or((StatusCode::UNAUTHORIZED, "no valid token in the header auth\n"))?;
    request.extensions_mut().insert(claims);
    Ok(next.run(request).await)
}
