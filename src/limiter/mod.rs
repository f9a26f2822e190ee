//! The limiter: rules, their histories, and what is asked of them.
//!
//! * [`RateLimiter`]: the handle that everything shares.
//! * [`RateLimiterBuilder`]: where every mistake is found.
//! * [`rulebook`]: the rules as the limiter looks them up.
//! * [`governing`]: which rules govern a request, and by which keys.

mod builder;
mod governing;
mod handle;
mod rulebook;

pub use builder::RateLimiterBuilder;
pub use governing::Governing;
pub use handle::RateLimiter;

pub(crate) use governing::{Governed, Refused, RuleNumbers};
pub(crate) use rulebook::{GovernedBy, Rulebook};
