//! Exact rolling-window rate limits for tower services.
//!
//! A [`RateLimitLayer`] admits at most N requests in *any* interval as long as the window, for each key and for several
//! windows, rules and keys at once: all or nothing. It keeps a sliding-window log, the timestamps of the requests it has
//! admitted, so there is no burst of 2N around the edge of a window, as fixed windows and token buckets allow.
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
//! // Around any service of http requests: an axum Router, one of its routes, a hyper service, a ServiceBuilder's.
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
//! A [`Rule`] names the requests that it governs, the key that it counts them by, and a [`Policy`]. A [`RateLimiter`] holds the
//! rules and the histories of all keys. It creates layers, and its rules can be asked without any HTTP, for a job queue or
//! for the items of a batch.
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
//!     .build()?; // every mistake is reported here, with the rule, the field and the value
//!
//! let layer = limiter.layer(); // any number of layers share one state
//! assert!(limiter.rule("bots")?.check("st-1").is_admitted());
//! # let _ = layer;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! With feature `config` the same rules come from a TOML file, see the module `config`.
//!
//! # How rules combine
//!
//! A request is charged to *every* rule that governs it, in one atomic step: it passes only if all of them have room, so the
//! tightest binds. Which rules these are:
//!
//! | a rule with | governs | beside other rules |
//! |---|---|---|
//! | [`routes`](Rule::routes) alone | requests whose most specific template is one of its own | the most specific template of all such rules decides, and hides the others; all rules that have *that* template govern |
//! | conditions: [`paths_under`](Rule::paths_under), [`hosts`](Rule::hosts), [`methods`](Rule::methods), [`when_header`](Rule::when_header), [`when`](Rule::when) | requests for which *all* of them hold | beside all others |
//! | `routes` and conditions | requests that match one of its templates, and for which all conditions hold | beside all others: its templates hide none, and none hides them |
//! | [`every_request`](Rule::every_request) | every request; with conditions, those for which they hold | beside all others |
//! | [`unmatched_requests`](Rule::unmatched_requests) | requests that match no route of a rule whose conditions hold; there is one such rule | beside rules without routes, which do not count as a match |
//! | [`no_requests`](Rule::no_requests) | none: it is asked by name | |
//! | [`exempt`](Rule::exempt) | none of the exempt requests, though otherwise it would | others are not affected; [`RateLimiterBuilder::exempt`] is for all of them |
//!
//! In a list such as `paths_under(["/api", "/v2"])` one has to hold. Routes, prefixes, methods and hosts hold in *any* reading of
//! a request that a router may have, exemptions in *every* one. A broad and a specific rule for one path, both binding:
//!
//! ```
//! use http::Request;
//! use tower_quota::{Policy, RateLimiter, Rule, exempt, http::RequestView, key};
//!
//! let rule = |name: &str, most| Rule::new(name).key(key::header("x-account")).policy(Policy::per_minute(most));
//! let limiter = RateLimiter::builder()
//!     .exempt(exempt::routes(["GET /api/health"]))
//!     .rule(rule("api", 600).paths_under(["/api"]))
//!     .rule(rule("bots", 60).routes(["/api/bots/{bot}/{action}"]))
//!     .rule(rule("export", 6).routes(["POST /api/bots/{bot}/export"]))
//!     .rule(rule("beta", 30).routes(["/api/bots/{*path}"]).when_header("x-plan", "beta"))
//!     .build()?;
//!
//! let rules_of = |request: http::request::Builder| {
//!     let request = request.header("x-account", "acme").body(())?;
//!     let rules = limiter.matching(&RequestView::new(&request));
//!     Ok::<_, http::Error>(rules.iter().map(|rule| rule.rule().to_owned()).collect::<Vec<_>>())
//! };
//! assert_eq!(rules_of(Request::get("/api/cases"))?, ["api"]);
//! assert_eq!(rules_of(Request::get("/api/bots/7/run"))?, ["bots", "api"]);
//! // `bots` has a less specific template than `export`.
//! assert_eq!(rules_of(Request::post("/api/bots/7/export"))?, ["export", "api"]);
//! // `beta` has a condition, so its template neither hides others nor is hidden, nor conflicts with them.
//! assert_eq!(rules_of(Request::post("/api/bots/7/export").header("x-plan", "beta"))?, ["export", "beta", "api"]);
//! assert_eq!(rules_of(Request::get("/api/health"))?, [""; 0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Tiers and reload
//!
//! A rule says what is *remembered*: one history for each key. Its policy and its [tiers](Rule::tier) say what that is
//! *compared with*. So a change of tier, or of the limits, neither refills nor empties: 60 used as free leave 540 of 600 as
//! pro, and back in free there is no room until the minute has passed.
//!
//! A key is in the tier that was [set at run time](RateLimiter::set_tier), else that of an [override](Rule::tier_for) for the
//! key, of the longest pattern that it matches, or which [the request names](Rule::tier_from), else under the rule's own policy.
//! A tier [without limits](Rule::unlimited_tier) is recorded all the same.
//!
//! [`RateLimiter::reload`] replaces all rules while requests go on. Which histories stay:
//!
//! | what changes | the history |
//! |---|---|
//! | limits, windows, tiers, routes | stays, and the new limits judge it from the next request on; a longer window knows what the old ones remembered |
//! | `resolution`, or a limit beyond it | stays, and is converted when its key is next charged |
//! | the [level](Rule::level), or the name | begins afresh; the old one is found again if the old rule comes back in time |
//! | nothing but capitals in the name | stays |
//!
//! Rules with a mistake change nothing. Tiers and [enforcement](RateLimiter::enforce) that were set at run time stay.
//!
//! ```
//! use tower_quota::{Policy, RateLimiter, Rule};
//!
//! let api = |free| {
//!     let rule = Rule::new("api").no_requests().policy(Policy::per_minute(free));
//!     rule.tier("pro", Policy::per_minute(600)).tier_for("acme-*", "pro")
//! };
//! let limiter = RateLimiter::builder().rule(api(60)).build()?;
//! let handle = limiter.rule("api")?;
//! let admitted = |key| (0..1000).filter(|_| handle.admit(key)).count();
//! assert_eq!((admitted("globex"), admitted("acme-eu")), (60, 600));
//!
//! limiter.set_tier("api", "globex", Some("pro"))?;
//! assert_eq!(admitted("globex"), 540);
//!
//! let changes = limiter.reload(|builder| Ok(builder.rule(api(100))))?;
//! assert_eq!(changes.to_string(), r#"rule "api": 60/minute -> 100/minute"#);
//! assert_eq!((admitted("globex"), admitted("initech")), (0, 100));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Trying a limit
//!
//! A rule may be put in [shadow](Enforcement::Shadow) first: it decides as if it were enforced, lets everything through, and says
//! whom it would have denied. A [soft](Enforcement::Soft) one marks the requests beyond its limit, for a handler to treat
//! otherwise. [`RateLimiter::enforce`] changes this while requests go on.
//!
//! ```
//! use tower_quota::{Enforcement, Policy, RateLimiter, Rule, key};
//!
//! let rule = Rule::new("exports").every_request().key(key::header("x-account"));
//! let rule = rule.policy(Policy::per_minute(1)).enforcement(Enforcement::Shadow);
//! let limiter = RateLimiter::builder().rule(rule).build()?;
//!
//! let exports = limiter.rule("exports")?;
//! assert!(exports.admit("acme"));
//! let decision = exports.check("acme");
//! assert!(decision.is_admitted());
//! for quota in decision.would_be_denied_by() {
//!     println!("{} would be denied by {}", "acme", quota.rule());
//! }
//!
//! limiter.enforce("exports", Enforcement::On)?;
//! assert!(!exports.check("acme").is_admitted());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Costs
//!
//! A request need not be one unit. A rule with a [`cost`](Rule::cost) counts tokens, bytes or points; one that
//! [`reserve`](Rule::reserve)s charges an estimate and settles it when the answer has ended; one that
//! [counts only](Rule::count_only) some outcomes gives the others back. All rules of a request are still decided in one atomic
//! step:
//!
//! ```
//! use tower_quota::{Policy, RateLimiter, Rule, Unsettled, cost, key, outcome};
//!
//! let estimate = || cost::header("x-estimated-tokens").or(2000);
//! let limiter: RateLimiter = RateLimiter::builder()
//!     .rule(Rule::new("requests").every_request().key(key::header("x-user")).policy(Policy::per_minute(60)))
//!     .rule(
//!         Rule::new("tokens")
//!             .every_request()
//!             .key(key::header("x-user"))
//!             .policy(Policy::per_minute(20_000).and_per_day(100_000))
//!             .reserve("tokens", estimate())
//!             .unsettled(Unsettled::Observed),
//!     )
//!     .rule(
//!         Rule::new("org-tokens")
//!             .every_request()
//!             .key(key::header("x-org"))
//!             .policy(Policy::per_minute(50_000))
//!             .reserve("tokens", estimate()),
//!     )
//!     .rule(
//!         Rule::new("logins")
//!             .routes(["POST /login"])
//!             .key(key::header("x-user"))
//!             .policy(Policy::per_hour(5))
//!             .count_only(outcome::statuses([401, 403])),
//!     )
//!     .build()?;
//! # let _ = limiter;
//! # Ok::<(), tower_quota::ConfigError>(())
//! ```
//!
//! The handler of a request that reserved finds a [`Reservation`] among its extensions. The module [`cost`] has the picture, the
//! promises, and what happens when nobody settles.
//!
//! # Where to put the layer
//!
//! Put it outside of the services that it protects and inside of the layers that it relies on: behind the layer that
//! authenticates the caller, in front of the handlers, and behind the layer that
//! [answers CORS preflights](RateLimitLayer#cors). A complete program with axum:
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
//! /// Identifies the caller. A real application verifies the token.
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
//!     // A layer that is added later is further out: CORS, authentication, the limit, the handler.
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
//! In axum, `Router::layer` covers the routes added *before* it and the fallback, so it counts requests that match no route;
//! `route_layer` does not. [`RateLimitLayer::disabled`] is for programs whose settings say whether there is a limit at all.
//!
//! Layers that reserve capacity, such as `ConcurrencyLimit` or `Buffer`, may be outside or inside: what a refused request had
//! reserved is given back at once. A layer that rewrites the path belongs outside. In axum, routes are matched against the path
//! as it came in, before any nesting.
//!
//! # The decision
//!
//! Handlers find the [`Decision`] among the request's extensions (as an `Option<Extension<Decision>>` where not every route is
//! governed). Outer layers find it among the extensions of a refusal, or of [any response](RateLimitLayer::decision).
//!
//! A limiter that is [mounted twice](RateLimitLayer#mounted-twice) charges a request once: it recognises its own decision. The
//! [parts of a batch](RateLimitLayer#batches) are requests of their own and are charged one by one, even if the extensions of
//! the batch are copied into them. Of two different limiters, the handler sees the inner one's decision, and the caller sees
//! the inner one's header fields, see [`http::OnConflict`].
//!
//! # gRPC
//!
//! The layer answers in the protocol of the caller, which it reads from the request's `content-type`. gRPC and gRPC-Web callers
//! get the status `RESOURCE_EXHAUSTED` and never a 429, which clients would take for `UNAVAILABLE` and retry at once. Nothing
//! has to be switched on. A service of one protocol alone can [say so](RateLimitLayer::caller_protocol), and no caller is
//! answered in the other for claiming to speak it.
//!
//! The answer is *Trailers-Only*: HTTP 200 without a body. Its header fields are `grpc-status`; `grpc-message` with the same
//! sentence as on HTTP; and `grpc-status-details-bin` with the exact wait (`RetryInfo`), the exhausted quotas (`QuotaFailure`,
//! never with a key) and an `ErrorInfo`. Clients with a retry policy wait for `grpc-retry-pushback-ms`, which includes some
//! [jitter](RateLimitLayer::pushback_jitter), so that they do not all come back at the same time.
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
//! Rules name methods by their paths, `/package.Service/Method` or `/package.Service/{*method}`. The layer goes around the
//! whole server (`Server::builder().layer(..)`) or around one service (`ServiceBuilder`, with feature `tonic`), outside or
//! inside of a layer that translates gRPC-Web. Browsers see the fields only if `Access-Control-Expose-Headers` names them. One
//! port can serve gRPC and HTTP.
//!
//! A stream is charged once, when it opens. [`RateLimitLayer::per_message`] charges each further message too, and ends the call
//! when there is no room for one. It belongs inside of a layer that translates gRPC-Web.
//!
//! # hyper
//!
//! A service behind the layer goes into hyper-util's `TowerToHyperService`, on HTTP/1 and HTTP/2. The code that accepts a
//! connection knows the peer's address, and passes it on as an extension of each request:
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
//! # Other services
//!
//! The [module `plain`](plain) limits requests of any type, for job runners and the like.
//!
//! # Several processes
//!
//! Histories are kept in the memory of the process, unless a limiter gets another [`store`]. With feature `redis` any number of
//! processes share their limits on a Redis or Valkey server, sentinels or a cluster. A script decides about all charges of a
//! request in one atomic step, and decisions that are asked for at the same time share one call as a batch.
//!
//! A decision has a deadline of 50 ms by default. A server that fails three times in a row is left alone by a circuit breaker,
//! which tries it once a second. Until it is back the limiter does what was chosen: it fails open, it fails closed, or
//! it counts in this process against a share of each limit.
//!
//! # Calling others
//!
//! The feature `client` has the other side, in the module `client`: calls are paced by the same policies in a FIFO queue per
//! key, slowed down by what servers say in `Retry-After` and `RateLimit`, and retried with exponential backoff and jitter
//! within a budget.
//!
//! # Guarantees
//!
//! 1. **Never more than N** units in any interval of the window's length, whatever the schedule, the number of threads
//!    and the clock do. Rounding never frees a unit early.
//! 2. **Never denied with room.** Limits of up to 4096 are exact to a tick, which is from 1 us to 1 ms. With larger ones a unit
//!    may come back late by at most 1/4096 of the window ([`Policy::resolution`]), never early.
//! 3. **All or nothing.** A request that several quotas, rules and keys govern is admitted by all of them or charged to
//!    none, in one atomic step, whatever their order.
//! 4. **The wait is true.** After [`Decision::retry_after`] the request is admitted, unless others came first.
//! 5. **A denial costs nothing**, unless the policy says [`Policy::count_denied`].
//! 6. **Memory is bounded and nothing live is forgotten.** Only histories equal to a fresh one are dropped. When the table
//!    is full of live keys, new keys share one history per rule.
//! 7. **An outage is a choice.** Where histories are on a server, each decision has a deadline, and the limiter fails open, fails
//!    closed or counts locally, as chosen.
//! 8. **A cost is settled once, where it was charged.** A [reservation](Rule::reserve) gives back at most what it has recorded,
//!    and never the units of another request. What it cost above its estimate is owed, and counts from then on.
//!
//! Identity is never guessed. No forwarding header is believed unless a trusted proxy sent it ([`key::client_ip`]), and
//! requests without the key share one history, unless the rule says otherwise ([`OnMissing`]).
//!
//! # Warnings
//!
//! Mistakes in a rule are found when the limiter is built. Deployment mistakes show only in requests: each of these is a
//! [warning](observe#warnings) with a code, once, in the log (target `tower_quota`) and in [`RateLimiter::warnings`]. It names the
//! rule and its level, and never a key.
//!
//! The module [`observe`] is the page for operators: events, metrics, alerts, and how to go from a first look to an enforced
//! limit.
//!
//! # Memory
//!
//! A key that has used up to five units takes 64 bytes and its share of the table's free slots, about 100 bytes in all.
//! More units take 4 bytes each, up to the limit of the longest window: 7.4 kB in all for a key that has used all of 60 per
//! minute and 1800 per hour, and at most 16 kB.
//!
//! Limits over 4096 and windows over 12 days take more: 8 bytes for each unit that some quota of at most 4096 still counts,
//! so at most 32 kB, and for each larger quota at most 12 bytes per 1/8192 of its window, so at most 96 kB (at the default
//! [`Policy::resolution`]).
//!
//! # Features
//!
//! | feature | purpose | default |
//! |---|---|---|
//! | `axum` | reads axum's `ConnectInfo`, `MatchedPath` and `OriginalUri` | no |
//! | `client` | paces outgoing calls, reads what servers say, and retries | no |
//! | `config` | reads rules and settings from a TOML file: `RateLimiter::from_toml` | no |
//! | `metrics` | [counts](observe#metrics) through the crate `metrics`, for Prometheus and others | no |
//! | `redis` | keeps histories on a Redis or Valkey server: [`store`] | no |
//! | `redis-tls` | adds TLS to that: `rediss://` | no |
//! | `test-util` | adds virtual time for Redis, and the suite `conformance` for a store of your own | no |
//! | `tonic` | reads the peer's address from tonic's connect info; lets tonic's `add_service` take a service behind the layer | no |
//! | `tracing` | logs [denials](observe#the-log), reloads, and [warnings](observe#warnings) of deployment mistakes | yes |
//! | `tiers` | tiers that have to be looked up: `tiers::Cached` | no |
//! | `watch` | follows the file of the rules, and reloads it: `RateLimiter::watch` | no |

#![cfg_attr(docsrs, feature(doc_cfg))]

#[macro_use]
mod macros;

// rustdoc shows the methods of a type in the order of these modules: how a limiter is built and asked, its layers, and the rest.
mod limiter;

pub mod cost;
pub mod grpc;
pub mod http;
pub mod key;
pub mod observe;
pub mod outcome;
pub mod plain;
pub mod store;

mod error;
mod history;
mod messages;
mod policy;
mod request;
mod response;
mod rule;
mod warn;
mod wire;

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
#[cfg(feature = "tiers")]
pub mod tiers;

pub use error::{CheckError, ConfigError, NoCosts, UnknownRule, UnknownTier};
pub use http::{RateLimit, RateLimitLayer, ResponseFuture};
pub use limiter::{
    AnyRateLimiter, Changes, Decision, HeavyKey, KeyRejected, MatchedRule, QuotaStatus, RateLimiter,
    RateLimiterBuilder, Reservation, RuleHandle,
};
pub use policy::{Enforcement, Policy, Quota};
pub use request::RequestKind;
pub use rule::{OnMissing, Rule, Unsettled, exempt};

/// The examples of the README, as documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
