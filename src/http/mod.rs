//! Decisions on HTTP: how a request is read, and how an answer is written.
//!
//! What a refused caller gets is 429 with a problem document (RFC 9457, of the type `quota-exceeded` that
//! draft-ietf-httpapi-ratelimit-headers-11 registers), `Retry-After` (RFC 9110, section 10.2.3; whole seconds, rounded up,
//! never 0) and the draft's two fields:
//!
//! ```text
//! HTTP/1.1 429 Too Many Requests
//! content-type: application/problem+json
//! retry-after: 38
//! ratelimit: "minute";r=0;t=38, "hour";r=1740;t=3578
//! ratelimit-policy: "minute";q=60;w=60, "hour";q=1800;w=3600
//!
//! {"type":"https://iana.org/assignments/http-problem-types#quota-exceeded",
//!  "title":"Request cannot be satisfied as assigned quota has been exceeded","status":429,
//!  "detail":"You've exceeded the per-minute rate limit. Please wait for sometime before retrying.",
//!  "violated-policies":["minute"]}
//! ```
//!
//! All other responses carry the two fields as well, except redirects (the draft asks for care there), 401 (it would
//! tell strangers about somebody's traffic) and refusals by somebody further in (429, 503, and errors with a `Retry-After`: what
//! is left of our quotas is not the point then). Fields that the inner service has set itself are left alone, see
//! [`OnConflict`]. `r` is what is left, `t` the seconds until more is: with `r=0` until there is room.
//!
//! No wait that is told is longer than its window: a unit is recorded up to a millisecond late, and for this surplus nobody is
//! told a second more. (The way of the request takes longer. [`Decision::retry_after`](crate::Decision::retry_after) is exact.)
//!
//! A gRPC call is HTTP as well, but a refusal is written as gRPC has it: see [the crate's page](crate#grpc).
//!
//! A different answer is a closure away, for every [reason](Refusal) at once:
//!
//! ```
//! use http::{Request, Response};
//! use tower::{Layer, ServiceExt, service_fn};
//! use tower_quota::{Policy, RateLimitLayer, http::Refusal, key};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let layer = RateLimitLayer::new(key::constant("everybody"), Policy::per_minute(1))?;
//! let layer = layer.on_refusal(|refusal, request| {
//!     let text = match refusal {
//!         Refusal::Denied(_) => format!("later, please: {}", request.uri().path()),
//!         other => other.message(),
//!     };
//!     let mut response = Response::new(text);
//!     *response.status_mut() = refusal.status();
//!     response
//! });
//! let service = layer.layer(service_fn(|_: Request<()>| async {
//!     Ok::<_, std::convert::Infallible>(Response::new(String::new()))
//! }));
//!
//! assert_eq!(service.clone().oneshot(Request::new(())).await?.status(), 200);
//! let refused = service.oneshot(Request::new(())).await?;
//! assert_eq!(refused.status(), 429);
//! assert!(refused.headers().contains_key("retry-after"));
//! # let body = http_body_util::BodyExt::collect(refused.into_body()).await;
//! # let body = body.map_err(|error| error.to_string())?.to_bytes();
//! assert_eq!(body, "later, please: /");
//! # Ok(())
//! # }
//! ```

mod body;
mod by_hand;
mod caller_protocol;
mod conflict;
mod decision_in;
mod fields;
mod future;
mod header_buf;
mod headers;
mod layer;
mod poll_bytes;
mod preflight;
mod refusal;
mod refusal_body;
mod rejection;
mod response_options;
mod service;

pub use crate::request::{Http, PeerAddr, RequestView};
pub use body::ResponseBody;
pub use caller_protocol::CallerProtocol;
pub use decision_in::DecisionIn;
pub use future::ResponseFuture;
pub use headers::{Headers, LegacyReset};
pub use layer::RateLimitLayer;
pub use refusal::Refusal;
pub use refusal_body::RefusalBody;
pub use response_options::OnConflict;
pub use service::RateLimit;

pub(crate) use fields::{add_fields, add_fields_of_refusal};
pub(crate) use poll_bytes::{BoxError, poll_bytes};
pub(crate) use preflight::is_preflight;
pub(crate) use response_options::{Calendar, OnRefusal, ResponseOptions};
