//! The limiter: rules, their histories, and what is asked of them.
//!
//! * [`RateLimiter`]: the handle that everything shares.
//! * [`RateLimiterBuilder`]: where every mistake is found.
//! * [`rulebook`]: the rules as the limiter looks them up.
//! * [`governed_by`]: one of them.
//! * [`stripes`]: the rulebook for many threads.
//! * [`governing`]: which rules govern a request, and by which keys.

mod builder;
mod governed_by;
mod governing;
mod handle;
mod rulebook;
mod stripes;

pub use builder::RateLimiterBuilder;
pub use governing::Governing;
pub use handle::RateLimiter;

pub(crate) use governed_by::GovernedBy;
pub(crate) use governing::{Governed, Refused, RuleNumbers};
pub(crate) use rulebook::Rulebook;
pub(crate) use stripes::{Stripe, Stripes};
