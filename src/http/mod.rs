//! Rate limits on HTTP: how requests are read, and how answers are written.
//!
//! A refused caller gets 429 Too Many Requests with a problem document (RFC 9457, of the type `quota-exceeded` that
//! draft-ietf-httpapi-ratelimit-headers-11 registers), `Retry-After` (RFC 9110, section 10.2.3; whole seconds, rounded up,
//! never 0) and the two fields of the draft:
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
//! All other responses carry the two fields as well, except redirects (the draft asks for care there), 401 (it would reveal
//! another caller's traffic to strangers) and refusals of the inner service (429, 503, and errors with a `Retry-After`: our
//! remaining units would be misleading then). Fields that the inner service has set itself are left alone, see [`OnConflict`].
//! `r` is the number of remaining units, and `t` the seconds until there are more: with `r=0`, until there is room.
//!
//! No stated wait is longer than its window. A unit is recorded up to a millisecond late, which is not worth another second to
//! the caller. ([`Decision::retry_after`](crate::Decision::retry_after) is exact.)
//!
//! A gRPC call is HTTP as well, but is refused with a gRPC status: see [the crate's page](crate#grpc).
//!
//! To answer differently, for every [reason](Refusal), set a closure:
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

mod admission_options;
mod answer;
mod body;
mod field_set;
mod fields;
mod future;
mod header_buf;
mod layer;
mod mount;
mod refusal;
mod response_options;
mod service;

pub use crate::request::{Http, PeerAddr, RequestView};
pub use crate::response::{CallerProtocol, DecisionIn, Headers, LegacyReset, OnConflict, RefusalFormat};
pub use body::{RefusalBody, ResponseBody};
pub use future::ResponseFuture;
pub use layer::RateLimitLayer;
pub use refusal::Refusal;
pub use service::RateLimit;

pub(crate) use admission_options::AdmissionOptions;
pub(crate) use body::{BoxError, poll_bytes};
pub(crate) use fields::{add_fields, add_fields_of_refusal};
pub(crate) use mount::Mount;
pub(crate) use response_options::{Calendar, OnRefusal, ResponseOptions};
