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

mod applied_decisions;
mod builder;
mod charge_marks;
mod charges;
mod compiled_rule;
mod compiled_rules;
mod decision;
mod handle;
mod matched_rule;
mod message;
mod pending;
mod quota_status;
mod rule_handle;
mod rule_matcher;
mod rulebook;
mod seen;
mod sharded_rulebook;
mod watch;

pub use builder::RateLimiterBuilder;
pub use decision::Decision;
pub use handle::{AnyRateLimiter, RateLimiter};
pub use matched_rule::MatchedRule;
pub use quota_status::QuotaStatus;
pub use rule_handle::RuleHandle;

pub(crate) use applied_decisions::{applied, enter};
#[cfg(feature = "config")]
pub(crate) use builder::{MOST_RULES, too_many_rules};
pub(crate) use charge_marks::{ChargeMark, ChargeMarks};
pub(crate) use charges::{AppliedMarks, Charges, KeyRejected, RuleNumbers};
pub(crate) use compiled_rule::CompiledRule;
pub(crate) use compiled_rules::CompiledRules;
pub(crate) use message::{MessageTemplate, missing_key, whole_seconds};
pub(crate) use pending::{DeferredCall, MaybeDecided, PendingDecision};
pub(crate) use rule_matcher::RuleMatcher;
#[cfg(feature = "config")]
pub(crate) use rule_matcher::UNMATCHED;
pub(crate) use rulebook::Rulebook;
pub(crate) use sharded_rulebook::{RulebookRef, ShardedRulebook};

use watch::Watch;
