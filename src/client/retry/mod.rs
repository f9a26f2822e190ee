//! Retries, where they are safe and useful.
//!
//! A [`RetryPolicy`] is a policy of [`tower::retry`]. A [`RetryLayer`] puts it around a client together with a copy of each
//! request's body, since few bodies can be cloned:
//!
//! ```
//! use std::time::Duration;
//!
//! use bytes::Bytes;
//! use http::{Request, Response, StatusCode};
//! use http_body_util::Full;
//! use tokio::time::Instant;
//! use tower::{ServiceBuilder, ServiceExt};
//! use tower_quota::client::{RetryLayer, RetryPolicy};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use std::{convert::Infallible, sync::atomic::{AtomicU32, Ordering}};
//! # use tower_quota::client::retry::ReplayBody;
//! # static CALLS: AtomicU32 = AtomicU32::new(0);
//! # let client = tower::service_fn(|_: Request<ReplayBody<Full<Bytes>>>| async {
//! #     let response = match CALLS.fetch_add(1, Ordering::SeqCst) {
//! #         0 | 1 => Response::builder().status(429).header("retry-after", "38"),
//! #         _ => Response::builder(),
//! #     };
//! #     Ok::<_, Infallible>(response.body(String::new()).unwrap())
//! # });
//! // hyper-util's client, or any other. Here it gets 429 and `Retry-After: 38` twice.
//! let client = ServiceBuilder::new()
//!     .layer(RetryLayer::new(RetryPolicy::default()))
//!     .service(client);
//!
//! let begin = Instant::now();
//! let body = Full::<Bytes>::from("{}");
//! let request = Request::post("https://api.example.com/bots").body(body)?;
//! assert_eq!(client.oneshot(request).await?.status(), StatusCode::OK);
//! assert!(begin.elapsed() >= Duration::from_secs(2 * 38));
//! # Ok(())
//! # }
//! ```
//!
//! A client that takes one type of body, as tonic's `Channel` does, is told how to make that of the copy:
//! `RetryLayer::new(policy).map_body(tonic::body::Body::new)`.
//!
//! # What is retried
//!
//! * A call that was **refused**, whatever its method: it was not executed. That is what
//!   [`Advice::is_refusal`](super::Advice::is_refusal) says: 429, 503 with a `Retry-After`, `RESOURCE_EXHAUSTED` and
//!   `UNAVAILABLE` with a stated wait.
//! * A call that **failed** with 502, 503, 504 or a bare `UNAVAILABLE`, or with an error that
//!   [`retry_errors_if`](RetryPolicyBuilder::retry_errors_if) names, if it is idempotent: GET, HEAD, OPTIONS, TRACE, PUT,
//!   DELETE (RFC 9110, section 9.2.2), or one that [`idempotent_if`](RetryPolicyBuilder::idempotent_if) names. gRPC's
//!   calls are POST, so none of them is by default.
//! * A call that was **not sent**, whatever its method, if [`unsent_if`](RetryPolicyBuilder::unsent_if) recognises the
//!   client's error.
//!
//! A policy can be taught more: [statuses](RetryPolicyBuilder::retry_statuses), the meaning of a
//! [status and its fields](RetryPolicyBuilder::read_advice_with), of a [body](RetryPolicyBuilder::read_response_with) or of an
//! [error](RetryPolicyBuilder::read_error_with), and [further refusals](super::AdviceReader::with_refusal).
//!
//! A call is never retried if the server forbids it (`grpc-retry-pushback-ms: -1`), if its body cannot be sent again, if
//! the attempts, the time or the retry budget are exhausted, or inside of another retry layer: of nested layers the
//! outermost one retries. The response is then handed back as it came.
//!
//! # When
//!
//! After the wait that the server states, never before, and later by a random [jitter](RetryPolicyBuilder::max_jitter),
//! so that clients that were refused together do not return together. If the wait is longer than
//! [`max_stated_wait`](RetryPolicyBuilder::max_stated_wait) then the response is handed back at once: a call before that would be
//! in vain.
//!
//! If no wait is stated, after an exponential [`Backoff`] with jitter, whose draws are independent between calls. After a
//! refusal it is longer than after a failure, since most limits are per minute.
//!
//! All retries of a call begin within [`max_elapsed`](RetryPolicyBuilder::max_elapsed), which counts from when the first
//! attempt reaches the client. A [`PaceLayer`](super::PaceLayer) inside of the [`RetryLayer`] may keep a call waiting
//! before that for as long as it likes.
//!
//! # How often
//!
//! The retry [`Budget`] is shared by all clones of a policy. In any interval there are at most 1.2 attempts to a call,
//! and a reserve of 100 on top, so a server that refuses everything is not called several times as often for it. One
//! budget may serve several policies.
//!
//! # Observing
//!
//! [`inspect_retry`](RetryPolicyBuilder::inspect_retry) sees each retry, and with feature `tracing` there is an event of level
//! DEBUG and target `tower_quota::retry`. [`RetryPolicy::in_backoff`] returns how many calls wait between two attempts, and
//! [`Attempts`] among the extensions of a response how many its call had.
//!
//! # Where to put it
//!
//! Outside of a pacing layer, so that every attempt waits for its turn like any other call; inside of a
//! `tower::timeout`, which bounds the attempt in flight as well. In gRPC each further attempt says by
//! `grpc-previous-rpc-attempts` how many there were.
//!
//! # Bodies
//!
//! While a body is sent it is copied, up to [`RetryLayer::max_body_copy`]: 64 KiB by default. A longer one is passed on
//! all the same, but such a call is not retried. A body in one piece of `Bytes` (`Full<Bytes>`, or the bodies that
//! clients make of text and bytes) is kept as it is, whatever its length. The part that was not sent when the response
//! came is not read ahead: it follows behind the copy. Trailers are kept.
//!
//! A policy may also be used without the layer, in `tower::retry::RetryLayer`, where bodies can be cloned. That cannot tell
//! the layers inside of it that it retries, so let them share its budget.

mod budget;
mod builder;
mod classifier;
mod config;
mod delay;
mod event;
mod future;
mod layer;
mod policy;
mod replay_body;
mod service;
mod shared_body;
mod wrap_service;

pub use crate::client::backoff::Backoff;
pub use budget::Budget;
pub use builder::RetryPolicyBuilder;
pub use delay::RetryDelay;
pub use event::{RetryEvent, RetryReason};
pub use future::{Attempts, ResponseFuture};
pub use layer::RetryLayer;
pub use policy::RetryPolicy;
pub use replay_body::{Identity, ReplayBody, WrapBody};
pub use service::Retry;
