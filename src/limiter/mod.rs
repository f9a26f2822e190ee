//! The limiter: rules, their histories, and what is asked of them.
//!
//! * [`RateLimiter`]: the handle that everything shares.
//! * [`RuleHandle`]: one of its rules, to be asked.
//! * [`RateLimiterBuilder`]: where every mistake is found.
//! * [`assembly`]: rules, checked against each other and made ready.
//! * [`routing`]: from a request to its rules and keys. Only this depends on the kind of request.
//! * [`governing`]: what it finds; [`MatchedRule`]: what of that is shown.
//! * [`rulebook`]: the rules as decisions speak of them.
//! * [`governed_by`]: one of them.
//! * [`pending`]: a decision that may have to be awaited.
//! * [`stripes`]: the rulebook for many threads.
//! * [`watch`]: signs of a mistake in the deployment.

mod assembly;
mod builder;
mod charged;
mod decision;
mod governed_by;
mod governing;
mod handle;
mod matched_rule;
mod message;
mod passed;
mod pending;
mod quota_status;
mod routing;
mod rule_handle;
mod rulebook;
mod seen;
mod stripes;
mod watch;

pub use builder::RateLimiterBuilder;
pub use decision::Decision;
pub use handle::{AnyRateLimiter, RateLimiter};
pub use matched_rule::MatchedRule;
pub use quota_status::QuotaStatus;
pub use rule_handle::RuleHandle;

pub(crate) use assembly::Assembly;
#[cfg(feature = "config")]
pub(crate) use builder::{MOST_RULES, too_many_rules};
pub(crate) use charged::{Charged, Mark};
pub(crate) use governed_by::GovernedBy;
pub(crate) use governing::{Applied, Governed, Refused, RuleNumbers};
pub(crate) use message::{Template, missing_key, whole_seconds};
pub(crate) use passed::{applied, enter};
pub(crate) use pending::{MaybeDecided, PendingDecision};
pub(crate) use routing::Routing;
#[cfg(feature = "config")]
pub(crate) use routing::UNMATCHED;
pub(crate) use rulebook::Rulebook;
pub(crate) use stripes::{Stripe, Stripes};

use watch::Watch;
