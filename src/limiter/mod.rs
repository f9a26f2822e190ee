//! The limiter: rules that are checked and compiled, and the decisions about requests.
//!
//! * [`RateLimiter`]: the handle that all layers share; [`RateLimiterBuilder`] checks everything that it is built from.
//! * [`operations`]: what operators change while requests go on; [`settling`] is the limiter as reservations know it.
//! * [`RuleHandle`]: one rule of a limiter, to check keys without a request.
//! * [`RuleMatcher`]: from a request to [`Charges`]. Only this depends on the kind of request; [`watch`] looks for signs of
//!   deployment mistakes there.
//! * [`Rules`]: the rules in one version, which a reload replaces as a whole.
//! * [`Rulebook`]: the names and texts of all rules, one [`CompiledRule`] each; a [`MatchedRule`] is what users see of it.
//! * [`switches`]: how each rule is enforced at the moment.
//! * [`Decision`]: the verdict on a request, with the names from the rulebook; [`QuotaStatus`] is its view of one quota.
//! * [`Reservation`]: the units that a request has reserved, until they are settled; [`held_units`] counts those in flight,
//!   and [`reserve_more`] adds to it.
//! * [`Observation`]: the observer and what it keeps; [`report`] tells decisions to the hook, to metrics and to the log, and
//!   [`batch`] does so with reservations.
//! * [`AnswerSettings`]: the settings of answers; [`MessageTemplate`] is the sentence that a refused caller reads.

mod answer_settings;
mod batch;
mod batch_entry;
mod builder;
mod changes;
mod charges;
mod compiled_rule;
mod decision;
mod handle;
mod heaviest;
mod held_units;
mod matched_rule;
mod message;
mod observation;
mod operations;
mod policy_field;
mod quota_status;
mod report;
mod reservation;
mod reserve_more;
mod rule_handle;
mod rule_matcher;
mod rulebook;
mod rules;
mod seen;

mod settling;
mod switches;
mod thread_shard;
mod tiers;
#[cfg(all(feature = "client", feature = "metrics"))]
mod waiting;
mod watch;

pub use builder::RateLimiterBuilder;
pub use changes::Changes;
pub use charges::KeyRejected;
pub use decision::Decision;
pub use handle::{AnyRateLimiter, RateLimiter};
pub use heaviest::HeavyKey;
pub use matched_rule::MatchedRule;
pub use quota_status::QuotaStatus;
pub use reservation::Reservation;
pub use rule_handle::RuleHandle;

pub(crate) use answer_settings::AnswerSettings;
#[cfg(feature = "config")]
pub(crate) use builder::too_many_rules;
pub(crate) use charges::{AppliedMarks, ChargeMark, ChargeMarks, Charges, HeldCharges, RuleTiers, verdict_under};
pub(crate) use compiled_rule::{CompiledRule, CompiledTier, RuleTargets, RuleTier, Version};
pub(crate) use decision::{DeferredCall, MaybeDecided, PendingDecision, already_applied};
pub(crate) use message::{MessageTemplate, missing_key, whole_seconds};
pub(crate) use observation::Observation;
pub(crate) use reservation::{ReservationGuard, Settler};
pub(crate) use rule_matcher::RuleMatcher;
#[cfg(feature = "config")]
pub(crate) use rule_matcher::UNMATCHED;
pub(crate) use rulebook::{Rulebook, RulebookRef, ShardedRulebook};
pub(crate) use rules::Rules;
#[cfg(all(feature = "client", feature = "metrics"))]
pub(crate) use waiting::Waiting;

use watch::Watch;
