//! Costs: requests that count for more than one unit, or for a number that is known only afterwards.
//!
//! A rule counts requests, unless it is given a [cost](crate::Rule::cost): a name for its units, and a source of the number
//! that each request costs. The source is a number, a closure over the request, or one of the functions here.
//!
//! ```
//! use http::Request;
//! use tower_quota::{Policy, RateLimiter, Rule, cost, http::RequestView, key};
//!
//! // A field that a service of ours has set, in front of this one.
//! let searches = Rule::new("searches")
//!     .every_request()
//!     .key(key::header("x-account"))
//!     .policy(Policy::per_minute(100))
//!     .cost("points", cost::header("x-points").or(5));
//! let limiter = RateLimiter::builder().rule(searches).build()?;
//!
//! let searches = limiter.rule("searches")?;
//! assert_eq!(searches.check_cost("acme", 60)?.quotas().next().map(|quota| quota.remaining()), Some(40));
//! assert!(!searches.check_cost("acme", 60)?.is_admitted());
//! assert!(searches.check_cost("acme", 101)?.is_never_possible());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Where a cost comes from
//!
//! A cost is a whole number of units; scale weights, so that 0.2 and 1 become 1 and 5. The number that a *client* names is no
//! cost: it would name 0. Read header fields that a service of yours sets, and has the proxy in front remove from what
//! clients send. The `Content-Length` is different: servers hold clients to it.
//!
//! Costs are read before any history is locked. A closure that panics fails its own request alone.
//!
//! # A cost of zero, and one above the limit
//!
//! A request that costs nothing is recorded nowhere. It is denied only if more units count than the limit admits, as after a
//! request that cost more than its [estimate](crate::Rule::reserve).
//!
//! A request that costs more than a limit is [never possible](crate::Decision::is_never_possible): waiting does not help, so it
//! is told no wait, and a layer answers with 413 rather than 429.

mod cost;
mod message_cost;
mod message_head;
mod stated;

pub use cost::Cost;
pub use message_cost::{MessageCost, MessageLength, message_length};
pub use message_head::MessageHead;
pub use stated::{Stated, StatedOr, content_length, header};
