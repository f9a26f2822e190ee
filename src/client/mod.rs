//! Client-side rate limiting: pacing, reading what servers say, and retrying.
//!
//! Servers ask their callers to spread calls, to stop at the limit, and to come back after the stated time. Each of these
//! is a layer around any HTTP client:
//!
//! * [`pace`]: calls queue until a policy has room for them, first in, first out. Policies, rules and stores are those of
//!   the server side.
//! * [`retry`]: calls that were refused nevertheless are made again, after the stated time or an exponential backoff with
//!   jitter, and within a retry budget.
//! * [`answers`]: reads `Retry-After`, `RateLimit` and a dozen other dialects of header fields for both.
//!
//! ```
//! use std::time::Duration;
//!
//! use tower::ServiceBuilder;
//! use tower_quota::{
//!     Policy,
//!     client::{PaceLayer, RetryLayer, RetryPolicy},
//!     key,
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let limit = Policy::per_minute(60).and_per_hour(1800);
//! let stack = ServiceBuilder::new()
//!     // Outermost, so that each attempt waits for its turn.
//!     .layer(RetryLayer::new(RetryPolicy::default()))
//!     .layer(PaceLayer::new(key::host(), limit).max_wait(Duration::from_secs(600)));
//! # let _ = stack.service(tower::service_fn(async |_: ()| Ok::<_, ()>(())));
//! # }
//! ```
//!
//! The layers take [`http::Request`]. Clients with request types of their own, such as reqwest's, go into an [`Adapter`].
//!
//! An [`Advice`] is what a response says about when to call again, whatever its protocol and dialect. It can hold calls
//! back, and never admits one that the caller's own policy has no room for.

pub mod answers;
pub mod pace;
pub mod retry;

mod adapter;
mod advice;
mod attempt_tracker;
mod backoff;

pub use adapter::{Adapter, AdapterFuture};
pub use advice::{Advice, Allowance};
pub use answers::AdviceReader;
pub use pace::PaceLayer;
pub use retry::{RetryLayer, RetryPolicy};
