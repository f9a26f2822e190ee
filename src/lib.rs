//! Exact rolling-window rate limits for tower services.
//!
//! A [`RateLimitLayer`] admits at most N requests in *any* interval as long as the window, for each key and for several
//! windows, rules and keys at once: all or nothing. Not twice N around the edge of a window, as fixed windows and token
//! buckets do.
//!
//! ```
//! # use http::{Request, Response, StatusCode};
//! # use tower::{Layer, ServiceExt, service_fn};
//! use tower_quota::{Policy, RateLimitLayer, key};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // 60 per minute and 1800 per hour, for each account.
//! let policy = Policy::per_minute(60).and_per_hour(1800);
//! let layer = RateLimitLayer::new(key::header("x-account-id"), policy)?;
//!
//! // Any service of http requests will do: an axum Router, a route of it, a hyper service, a ServiceBuilder's.
//! let service = layer.layer(service_fn(|_: Request<()>| async {
//!     Ok::<_, std::convert::Infallible>(Response::new(String::from("hello")))
//! }));
//!
//! let request = || Request::get("/").header("x-account-id", "acme").body(());
//! for _ in 0..60 {
//!     assert_eq!(service.clone().oneshot(request()?).await?.status(), StatusCode::OK);
//! }
//! let refused = service.oneshot(request()?).await?;
//! assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
//! assert_eq!(refused.headers()["ratelimit-policy"], r#""minute";q=60;w=60, "hour";q=1800;w=3600"#);
//! # Ok(())
//! # }
//! ```
//!
//! # A matrix of limits
//!
//! A [`Rule`] says which requests it governs, whom it counts and by what [`Policy`]. A [`RateLimiter`] holds the rules and
//! what it remembers of every key; it gives out layers, and its rules are asked without any HTTP.
//!
//! ```
//! use tower_quota::{OnMissing, Policy, RateLimiter, Rule, key};
//! # #[derive(Clone)] struct Claims { account: String }
//!
//! let limiter = RateLimiter::builder()
//!     .rule(
//!         Rule::new("bots")
//!             .routes(["POST /bots/{botId}/export", "POST /bots/{botId}/publish"])
//!             .key(key::path("botId"))
//!             .level("bot")
//!             .policy(Policy::per_minute(60).and_per_hour(1800)),
//!     )
//!     .rule(
//!         Rule::new("tables")
//!             .routes(["GET|PUT /tables/{table}"])
//!             .key((key::claim(|claims: &Claims| &claims.account), key::path("table")))
//!             .level("account+table")
//!             .policy(Policy::per_minute(600).and_per_hour(18_000))
//!             .on_missing(OnMissing::Reject(http::StatusCode::UNAUTHORIZED)),
//!     )
//!     .build()?; // every mistake is found here, with the rule, the field and the value
//!
//! let layer = limiter.layer(); // as often as you like: all layers share one state
//! assert!(limiter.rule("bots")?.check("st-1").is_admitted());
//! # let _ = layer;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! With feature `config` the same rules come from a TOML file, see the module `config`.
//!
//! # What is promised
//!
//! 1. **Never more than N** units in any interval of the window's length, whatever the schedule, the number of threads
//!    and the clock do. Rounding never frees a unit early.
//! 2. **Never denied with room.** Exact to a tick, from 1 us to 1 ms, for quotas of up to 4096; for larger ones a unit may come back
//!    late by at most 1/4096 of the window ([`Policy::resolution`]), never early.
//! 3. **All or nothing.** A request that several quotas, rules and keys govern is admitted by all of them or charged to
//!    none, in one atomic step, whatever their order.
//! 4. **The wait is true.** [`Decision::retry_after`] is when the request would be admitted if nobody else came.
//! 5. **A denial costs nothing**, unless the policy says [`Policy::count_denied`].
//! 6. **Memory is bounded and nothing live is forgotten.** Only histories equal to a fresh one are dropped; when the table
//!    is full of live keys, newcomers share one history per rule.
//! 7. **An outage is a choice.** Where histories are on a server ([`store`]), a decision has a deadline, and what happens
//!    when the server does not answer is what was chosen: open, closed, or a share of each limit in this process.
//!
//! Identity is never guessed: no forwarding header is believed unless a trusted proxy sent it ([`key::client_ip`]), and a
//! request without the key shares one history with all others like it unless the rule says otherwise ([`OnMissing`]).
//!
//! # Where to put the layer
//!
//! Outside of what it protects and inside of what it relies on: behind the layer that verifies who is calling, in front
//! of the handlers. Behind the layer that [answers CORS preflights](RateLimitLayer#cors), too. A complete program with axum:
//!
//! ```no_run
//! use axum::{
//!     Extension, Router,
//!     extract::Request,
//!     http::{HeaderName, StatusCode, header::RETRY_AFTER},
//!     middleware::{self, Next},
//!     response::Response,
//!     routing::get,
//! };
//! use tower_http::cors::{Any, CorsLayer};
//! use tower_quota::{Decision, Policy, RateLimitLayer, key};
//!
//! #[derive(Clone)]
//! struct Claims {
//!     account: String,
//! }
//!
//! /// Finds out who is calling. A real one verifies a token.
//! async fn authenticate(mut request: Request, next: Next) -> Result<Response, StatusCode> {
//!     let token = request.headers().get("authorization").and_then(|value| value.to_str().ok());
//!     let account = token.and_then(|token| token.strip_prefix("Bearer "));
//!     let account = account.ok_or(StatusCode::UNAUTHORIZED)?.to_owned();
//!     request.extensions_mut().insert(Claims { account });
//!     Ok(next.run(request).await)
//! }
//!
//! async fn cases(Extension(decision): Extension<Decision>) -> String {
//!     let left = decision.quotas().map(|quota| quota.remaining()).min();
//!     format!("the cases; calls left: {}", left.unwrap_or_default())
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let policy = Policy::per_minute(60).and_per_hour(1800);
//!     let limit = RateLimitLayer::new(key::claim(|claims: &Claims| &claims.account), policy)?;
//!
//!     let fields = ["ratelimit", "ratelimit-policy"].map(HeaderName::from_static);
//!     let cors = CorsLayer::new().allow_origin(Any).allow_headers(Any);
//!     let cors = cors.expose_headers(fields.into_iter().chain([RETRY_AFTER]).collect::<Vec<_>>());
//!
//!     // What is added later is further out: CORS, authentication, the limit, the handler.
//!     let app = Router::new()
//!         .route("/cases", get(cases))
//!         .layer(limit)
//!         .layer(middleware::from_fn(authenticate))
//!         .layer(cors);
//!     let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//!     axum::serve(listener, app).await?;
//!     Ok(())
//! }
//! ```
//!
//! In axum, `Router::layer` covers the routes added *before* it and the fallback, so it counts requests
//! that match no route; `route_layer` does not. Where a setting says whether there is a limit at all, use
//! [`RateLimitLayer::disabled`].
//!
//! A limiter [mounted twice](RateLimitLayer#mounted-twice) charges a request once: it finds its own [`Decision`] among the
//! request's extensions. The [parts of a batch](RateLimitLayer#batches) are requests of their own, whatever is copied into them.
//! Handlers find the decision there too (as an `Option<Extension<Decision>>` where not every route is governed), and outer
//! layers among the extensions of a refusal, or of [any response](RateLimitLayer::decision). Of two different limiters
//! the inner one's decision is what the handler sees, and its fields are what the caller sees, see [`http::OnConflict`].
//!
//! A `ConcurrencyLimit` or a `Buffer` may be outside or inside: what a refused request had reserved in it is given back at
//! once. A layer that rewrites the path belongs outside; in axum routes are matched against the path as it came in, before
//! any nesting.
//!
//! # gRPC
//!
//! The layer answers in the protocol of the caller, which the request's `content-type` tells: `application/grpc` and
//! gRPC-Web get the status `RESOURCE_EXHAUSTED`, never a 429, which clients would take for `UNAVAILABLE` and try again
//! at once. Nothing has to be switched on. A service that serves one protocol alone may say so
//! ([`RateLimitLayer::caller_protocol`]): then nobody is answered in the other for claiming to speak it.
//!
//! The answer is *Trailers-Only*: HTTP 200, no body, and in the header fields `grpc-status`, the same sentence as on HTTP
//! in `grpc-message`, and `grpc-status-details-bin` with the exact wait (`RetryInfo`), the exhausted quotas
//! (`QuotaFailure`, never with a key) and `ErrorInfo`. `grpc-retry-pushback-ms` tells clients with a retry policy when to
//! come back, not all of them at the same time ([`RateLimitLayer::pushback_jitter`]).
//!
//! ```
//! # use http::{Request, Response};
//! # use tower::{Layer, ServiceExt, service_fn};
//! use tower_quota::{Policy, RateLimitLayer, key};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let account = key::metadata("x-account-id");
//! let layer = RateLimitLayer::new(account, Policy::per_minute(1))?.error_domain("bots.example.com");
//! # let service = layer.layer(service_fn(|_: Request<()>| async {
//! #     Ok::<_, std::convert::Infallible>(Response::new(String::new()))
//! # }));
//!
//! let call = || Request::post("/bots.Bots/Export").header("content-type", "application/grpc").body(());
//! service.clone().oneshot(call()?).await?;
//! let refused = service.oneshot(call()?).await?;
//! assert_eq!((refused.status().as_u16(), &refused.headers()["grpc-status"]), (200, &8.into()));
//! # Ok(())
//! # }
//! ```
//!
//! Rules name methods by their paths, `/package.Service/Method` or `/package.Service/{*method}`. Put the layer around the
//! whole server (`Server::builder().layer(..)`) or around one service (`ServiceBuilder`, with feature `tonic`); outside of
//! one that translates gRPC-Web or inside, as you like. Browsers see the fields only if `Access-Control-Expose-Headers`
//! names them. One port may serve both gRPC and HTTP.
//!
//! A stream is charged once, when it opens. [`RateLimitLayer::per_message`] also charges its further messages, and ends
//! the call when there is no room for one; that belongs inside of a layer that translates gRPC-Web.
//!
//! # hyper
//!
//! A service behind the layer goes into hyper-util's `TowerToHyperService`, on HTTP/1 and HTTP/2. Whoever accepts the
//! connection knows the peer, and tells the layer by an extension of the request:
//!
//! ```
//! use http::{Request, Response};
//! # use tower::{Service, ServiceExt};
//! use tower::ServiceBuilder;
//! use tower_quota::{Policy, RateLimitLayer, http::PeerAddr, key};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let layer = RateLimitLayer::new(key::peer_ip(), Policy::per_minute(1))?;
//!
//! // For each connection, with the peer that its listener's `accept` has returned:
//! # let peer: std::net::SocketAddr = "192.0.2.1:4711".parse()?;
//! let service = ServiceBuilder::new()
//!     .map_request(move |mut request: Request<String>| {
//!         request.extensions_mut().insert(PeerAddr(peer));
//!         request
//!     })
//!     .layer(layer.clone())
//!     .service_fn(async |_: Request<String>| Ok::<_, std::convert::Infallible>(Response::new(String::from("hello"))));
//! # assert_eq!(service.clone().oneshot(Request::new(String::new())).await?.status(), 200);
//! # assert_eq!(service.oneshot(Request::new(String::new())).await?.status(), 429);
//! # Ok(())
//! # }
//! ```
//!
//! # Any other service
//!
//! Requests need not be HTTP's: see the [module `plain`](plain), for job runners and the like.
//!
//! # Warnings
//!
//! Mistakes that can be seen in a rule are found when the limiter is built. Some can be seen only in what comes in: each of these
//! is a warning through `tracing` (target `tower_quota`), once per rule, which names the rule and its level and nobody's key.
//!
//! | `code` | when | it probably means |
//! |---|---|---|
//! | `peer-missing` | a key wants the peer's address, and a request has none | the server does not attach it, or the feature `axum` is off |
//! | `proxy-untrusted` | a request of the own network has `X-Forwarded-For`, and no proxy is trusted | all clients behind the proxy share one history |
//! | `claim-missing` | a hundred requests had no value of the type that a [`key::claim`] looks for, and none ever had | the limiter is in front of the layer that sets it |
//! | `key-missing` | 90 % of a rule's first thousand requests lack the key (all, where [`OnMissing`] is not `Share`) | clients send it elsewhere or by another name |
//! | `rule-idle` | a rule has governed none of the first thousand requests | its routes are not the paths that come in |
//! | `preflight-refused` | a CORS preflight was refused | the limiter is outside of the [CORS layer](RateLimitLayer#cors) |
//!
//! # Memory
//!
//! A key that has used up to five units takes 64 bytes and its share of the table's free places, about 100 bytes in all.
//! More units take 4 bytes each, up to the limit of the longest window: 7.2 kB for a key that has used all of 60 per minute
//! and 1800 per hour, and at most 16 kB.
//!
//! Limits over 4096 and windows over 12 days take more: 8 bytes for each unit that some quota of at most 4096 still counts,
//! so at most 32 kB, and for each larger quota at most 8 bytes per 1/8192 of its window, so at most 64 kB (at the default
//! [`Policy::resolution`]).
//!
//! # Features
//!
//! | feature | what it adds | default |
//! |---|---|---|
//! | `axum` | reads axum's `ConnectInfo`, `MatchedPath` and `OriginalUri` | no |
//! | `client` | the side of those who call: pacing, learning from answers, retrying | no |
//! | `config` | rules from a TOML file: `RateLimiter::from_toml` | no |
//! | `redis` | histories on a Redis or Valkey server: [`store`] | no |
//! | `redis-tls` | reaches that with TLS: `rediss://` | no |
//! | `test-util` | virtual time for that, and a suite to test a store of your own with: `conformance` | no |
//! | `tonic` | reads the peer's address from tonic's connect info; tonic's `add_service` takes a service behind the layer | no |
//! | `tracing` | [warns](self#warnings) of deployment mistakes that only requests can show | yes |

#![cfg_attr(docsrs, feature(doc_cfg))]

#[macro_use]
mod macros;

#[cfg(feature = "client")]
pub mod client;
pub mod clock;
#[cfg(feature = "config")]
pub mod config;
#[cfg(feature = "test-util")]
pub mod conformance;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
pub mod grpc;
pub mod http;
pub mod key;
pub mod plain;
pub mod store;

mod error;
mod history;
mod limiter;
mod messages;
mod policy;
mod request;
mod rule;
mod warn;
mod wire;

pub use error::{CheckError, ConfigError, UnknownRule};
pub use http::{RateLimit, RateLimitLayer, ResponseFuture};
pub use limiter::{AnyRateLimiter, Decision, MatchedRule, QuotaStatus, RateLimiter, RateLimiterBuilder, RuleHandle};
pub use policy::{Policy, Quota};
pub use request::RequestKind;
pub use rule::{OnMissing, Rule};

/// The README's examples compile, too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
