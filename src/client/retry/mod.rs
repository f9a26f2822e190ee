//! Calling again, when it may help and does no harm.
//!
//! A [`RetryPolicy`] is a policy of [`tower::retry`], and a [`RetryLayer`] puts it around a client together with a copy of
//! each request's body, since few bodies can be cloned:
//!
//! ```
//! # use std::{convert::Infallible, sync::atomic::{AtomicU32, Ordering}};
//! # use bytes::Bytes;
//! # use http_body_util::Full;
//! use http::{Request, Response, StatusCode};
//! use tower::{ServiceBuilder, ServiceExt};
//! use tower_quota::client::{RetryLayer, RetryPolicy, retry::ReplayBody};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let calls = AtomicU32::new(0);
//! # let calls: &'static AtomicU32 = Box::leak(Box::new(calls));
//! # let client = tower::service_fn(move |_: Request<ReplayBody<Full<Bytes>>>| async move {
//! #     let refused = calls.fetch_add(1, Ordering::SeqCst) < 2;
//! #     let response = if refused { Response::builder().status(429).header("retry-after", "38") } else { Response::builder() };
//! #     Ok::<_, Infallible>(response.body(String::new()).unwrap())
//! # });
//! // Around hyper-util's client, or any other; this one answers with 429 and `Retry-After: 38` at first.
//! let client = ServiceBuilder::new().layer(RetryLayer::new(RetryPolicy::default())).service(client);
//!
//! let begun = tokio::time::Instant::now();
//! let request = Request::post("https://api.example.com/bots").body(Full::<Bytes>::from("{}"))?;
//! assert_eq!(client.oneshot(request).await?.status(), StatusCode::OK);
//! assert!(begun.elapsed().as_secs() >= 2 * 38, "it was refused twice");
//! # Ok(())
//! # }
//! ```
//!
//! A client that takes one type of body, as tonic's `Channel` does, is told how to make that of the copy:
//! `RetryLayer::new(policy).body(tonic::body::Body::new)`.
//!
//! ```
//! use std::time::Duration;
//!
//! use tower_quota::client::{
//!     Answers, RetryPolicy,
//!     retry::{Backoff, Budget},
//! };
//!
//! let policy = RetryPolicy::builder()
//!     .attempts(6)
//!     .deadline(Duration::from_secs(30))
//!     .backoff(Backoff::decorrelated(Duration::from_millis(50), Duration::from_secs(5)))
//!     .longest_wait(Duration::from_secs(10))
//!     .budget(Budget::new(50, 20)?)
//!     .answers(Answers::new().github())
//!     .idempotent(|request| request.headers().contains_key("idempotency-key"))
//!     .build()?;
//! # let _ = policy;
//!
//! let error = RetryPolicy::builder().attempts(0).build().unwrap_err();
//! assert_eq!(error.to_string(), "attempts 0: the first one counts, so there is at least 1");
//! # Ok::<(), tower_quota::ConfigError>(())
//! ```
//!
//! # What is called again
//!
//! * A call that was **refused**, whatever its method: it was not executed. That is what
//!   [`Advice::is_refusal`](super::Advice::is_refusal) says: 429, 503 with a `Retry-After`, `RESOURCE_EXHAUSTED` and
//!   `UNAVAILABLE` with a stated wait.
//! * A call that **failed** with 502, 503, 504 or a bare `UNAVAILABLE`, or with an error that
//!   [`on_error`](RetryPolicyBuilder::on_error) names, if it is idempotent: GET, HEAD, OPTIONS, TRACE, PUT, DELETE
//!   (RFC 9110, section 9.2.2), or what [`idempotent`](RetryPolicyBuilder::idempotent) says. gRPC's calls are POST, so
//!   none of them is unless it is said.
//! * A call that was **never sent**, whatever its method, if [`never_sent`](RetryPolicyBuilder::never_sent) is told how the
//!   client says so.
//!
//! A policy can be taught more: [statuses](RetryPolicyBuilder::retry_statuses), what a
//! [status and its fields](RetryPolicyBuilder::advised_by), a [body](RetryPolicyBuilder::advised_by_response) or an
//! [error](RetryPolicyBuilder::advised_by_error) says, and [what is a refusal](super::Answers::refusal).
//!
//! It is never called again if the server forbids it (`grpc-retry-pushback-ms: -1`), if its body cannot be sent again, if
//! the attempts, the time or the budget are used up, or inside of another retry: where layers are nested, the outermost one
//! retries. The answer is then handed back as it came.
//!
//! # When
//!
//! After what the server has stated, never before, and later by a random time of up to
//! [`spread`](RetryPolicyBuilder::spread), so that all who were refused together do not return together. If it states more
//! than [`longest_wait`](RetryPolicyBuilder::longest_wait) then the answer is handed back at once: to call before that
//! would be in vain.
//!
//! Where nothing is stated, after an exponential [`Backoff`] with jitter, whose draws are independent between calls. After a
//! refusal it is longer than after a failure: most limits are per minute.
//!
//! The [`deadline`](RetryPolicyBuilder::deadline) begins when the first attempt reaches the client. A
//! [`PaceLayer`](super::PaceLayer) inside of the [`RetryLayer`] may keep a call waiting before that for as long as it likes.
//!
//! # How often
//!
//! The [`Budget`] is shared by all clones of a policy. In any time there are at most 1.2 attempts to a call, and a reserve
//! of 100 on top, so a server that refuses everything is not called several times as often for it. One budget may serve
//! several policies.
//!
//! # Who can see it
//!
//! [`on_retry`](RetryPolicyBuilder::on_retry) is told of each repeat, and with feature `tracing` an event of level DEBUG and
//! target `tower_quota::retry` tells of it. [`RetryPolicy::asleep`] says how many calls wait between two attempts, and
//! [`Attempts`] among the extensions of a response how many its call had.
//!
//! # Where to put it
//!
//! Outside of a pacing layer, so that every attempt waits for its turn like any other call; inside of a
//! `tower::timeout`, which bounds the attempt that is under way as well. In gRPC each further attempt says by
//! `grpc-previous-rpc-attempts` how many there were.
//!
//! # Bodies
//!
//! While a body is sent it is copied, up to [`RetryLayer::copy_at_most`]: 64 KiB unless said otherwise. A longer one is
//! passed on all the same, but such a call is not repeated. A body in one piece of `Bytes` (`Full<Bytes>`, or what clients make
//! of text and bytes) is kept as it is, whatever its length. What was not sent yet when the answer came is not read ahead: it
//! follows behind the copy. Trailers are kept.
//!
//! A policy may also be used without the layer, in `tower::retry::RetryLayer`, where bodies can be cloned. That cannot tell
//! the layers inside of it that it retries, so let them share its budget.

mod asleep;
mod attempt;
mod backoff;
mod body;
mod budget;
mod builder;
mod future;
mod judge;
mod layer;
mod policy;
mod repeat;
mod service;
mod session;
mod terms;

pub use asleep::Pause;
pub use attempt::Attempt;
pub use backoff::Backoff;
pub use body::{AsIs, ReplayBody, WrapBody};
pub use budget::Budget;
pub use builder::RetryPolicyBuilder;
pub use future::{Attempts, ResponseFuture};
pub use layer::RetryLayer;
pub use policy::RetryPolicy;
pub use repeat::{Reason, Repeat};
pub use service::Retry;
