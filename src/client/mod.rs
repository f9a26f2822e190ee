//! The side of those who call a limited service.
//!
//! What servers ask of callers is to spread their calls, to stop when the limit is reached, and to come back after the stated
//! time. Each of these is a layer around any client:
//!
//! * [`pace`]: calls wait until a policy has room for them, first come first served. The policies, rules and stores are those of
//!   the server side.
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

pub mod pace;

pub mod answers;
pub mod retry;

mod advice;

pub use advice::{Advice, Allowance};
pub use answers::Answers;
pub use retry::{RetryLayer, RetryPolicy};
