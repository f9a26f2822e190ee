//! A log against the limiter that a file of rules makes, at the log's own times.
//!
//! * [`Replay`]: the requests of a log, one after another, asked of a [`RateLimiter`](tower_quota::RateLimiter) as a layer asks
//!   it. A [`RequestBuilder`] makes them out of records.
//! * [`RuleStats`]: what is counted of one rule, or of a tier of it; [`KeyTable`] and [`KeyStats`]: of its keys.
//! * [`Trial`]: what one quota alone would refuse at other limits, by the [`Demand`] of each key and its [`Admissions`].
//! * [`Series`]: demand and refusals over time.

mod admissions;
mod demand;
mod epoch;
mod key_stats;
mod key_table;
mod peer;
mod replay;
mod request_builder;
mod rolling_count;
mod rule_stats;
mod series;
mod stretch;
mod trial;

pub(crate) use admissions::Admissions;
pub(crate) use demand::Demand;
pub(crate) use epoch::{Epoch, LONGEST_WINDOW};
pub(crate) use key_stats::KeyStats;
pub(crate) use key_table::{HistoryId, KeyTable};
pub(crate) use peer::{parse_peer, show_part};
pub(crate) use replay::{Replay, Totals};
pub(crate) use request_builder::RequestBuilder;
pub(crate) use rolling_count::RollingCount;
pub(crate) use rule_stats::{Refusal, RuleStats};
pub(crate) use series::Series;
pub(crate) use stretch::Stretch;
pub(crate) use trial::{Candidate, KeyTrial, Trial};
