//! Exemptions: requests that a rule, or the whole limiter, leaves alone.
//!
//! An [`Exemption`] belongs to one rule ([`Rule::exempt`](crate::Rule::exempt)) or to all rules of a limiter
//! ([`RateLimiterBuilder::exempt`](crate::RateLimiterBuilder::exempt)). Of several, any one is enough. An exempt request
//! is charged nothing, has no [`Decision`](crate::Decision) from that rule, and needs no key: it is as if the rule were
//! not there, in every layer and in [`RateLimiter::matching`](crate::RateLimiter::matching).
//!
//! | exemption | requests |
//! |---|---|
//! | [`routes`] | to these routes, such as a health check |
//! | [`networks`] | of clients in these networks, by their verified address |
//! | [`preflights`] | CORS preflights |
//! | [`grpc_health`] | gRPC health checks |
//! | a closure | for which it returns `true`; requests [of other kinds](crate::plain) have closures alone |
//!
//! ```
//! use http::Request;
//! use tower_quota::{Policy, RateLimiter, Rule, exempt, http::RequestView, key};
//!
//! let limiter = RateLimiter::builder()
//!     .exempt(exempt::routes(["GET /healthz", "GET /metrics"]))
//!     .exempt(exempt::networks(key::client_ip().trust(["10.0.0.1"]), ["192.0.2.0/24"]))
//!     .rule(
//!         Rule::new("calls")
//!             .every_request()
//!             .exempt(|request: &RequestView<'_>| request.headers().contains_key("x-verified-partner"))
//!             .key(key::header("x-account"))
//!             .policy(Policy::per_minute(60)),
//!     )
//!     .build()?;
//!
//! let is_exempt = |uri: &str| {
//!     let request = Request::get(uri).body(())?;
//!     Ok::<_, http::Error>(limiter.matching(&RequestView::new(&request)).is_empty())
//! };
//! assert!(is_exempt("/healthz")?);
//! assert!(!is_exempt("/cases")?);
//! // A router may read this as a path of its own, so it is not exempt.
//! assert!(!is_exempt("/healthz/")?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # In doubt, a request is not exempt
//!
//! A rule [governs](crate::Rule::routes) a path if *any* reading of it matches, because a request must not escape by another
//! spelling. An exemption is a way around the limit, so it takes the opposite side: it has to hold in *every* reading.
//! [`routes`] and [`networks`] say what that means for a path and for an address.
//!
//! A closure that panics fails its own request and no other, as an extractor does: nothing is charged, and nothing is
//! poisoned.

mod exemption;
mod networks;
mod routes;

pub use exemption::{Exemption, preflights};
pub use networks::networks;
pub use routes::{grpc_health, routes};
