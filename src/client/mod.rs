//! The side of those who call a limited service.
//!
//! What servers ask of callers is to spread their calls, to stop when the limit is reached, and to come back after the stated
//! time. Each of these is a layer around any client:
//!
//! * [`pace`]: calls wait until a policy has room for them, first come first served. The policies, rules and stores are those of
//!   the server side.
//! * [`retry`]: what was refused all the same is called again, after the stated time or a backoff, and within a budget.
//! * [`answers`]: what a server has said, in whatever dialect, holds back the calls of both.
//!
//! ```
//! use std::time::Duration;
//! use tower::ServiceBuilder;
//! use tower_quota::{Policy, client::{PaceLayer, RetryLayer, RetryPolicy}, key};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! // Each attempt waits for its turn, so retrying is outside of pacing.
//! let stack = ServiceBuilder::new()
//!     .layer(RetryLayer::new(RetryPolicy::default()))
//!     .layer(PaceLayer::new(key::host(), Policy::per_minute(60).and_per_hour(1800)).max_wait(Duration::from_secs(600)));
//! # let _ = stack.service(tower::service_fn(async |_: ()| Ok::<_, ()>(())));
//! # }
//! ```
//!
//! The layers take [`http::Request`]. A client with requests of its own, such as reqwest's, goes into an [`Adapter`].
//!
//! What an answer says about when to call again is [`Advice`], whatever the protocol and the dialect. It can hold calls back
//! and never lets one pass that the caller's own policy has no room for.
//!
//! ```
//! use std::time::Duration;
//! use tower_quota::client::Advice;
//!
//! // 429, Retry-After: 38, and 5 calls within the hour.
//! let advice = Advice::none().refused().wait(Duration::from_secs(38)).allow(5, Duration::from_secs(3600));
//! assert!(advice.is_refusal());
//! assert_eq!(advice.wait_time(), Some(Duration::from_secs(38)));
//! assert_eq!(advice.allowances()[0].remaining(), 5);
//! ```

pub mod answers;
pub mod pace;
pub mod retry;

mod adapter;
mod advice;
mod jitter;
mod journey;

pub use adapter::{Adapter, AdapterFuture};
use advice::Beginning;
pub use advice::{Advice, Allowance};
pub use answers::Answers;
pub use pace::PaceLayer;
pub use retry::{RetryLayer, RetryPolicy};
