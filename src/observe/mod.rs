#![doc = include_str!("../../docs/running.md")]

mod event;
mod figures;
mod in_drop;
mod key_view;
#[cfg(feature = "tracing")]
mod log;
#[cfg(feature = "metrics")]
mod meters;
mod names;
mod observer;
mod outcome;
mod stopwatch;
#[cfg(feature = "metrics")]
mod tally;

pub use crate::warn::Check;
pub use event::{Decided, Event, Outage, QuotaUse, Reloaded, RuleDecided, Settled, Warned};
pub use figures::Figures;
pub use key_view::{KeyView, ShowKeys};
pub use outcome::{RequestOutcome, RuleOutcome, SettledOutcome};

#[cfg(any(feature = "metrics", feature = "redis"))]
pub(crate) use figures::ServerFigures;
pub(crate) use in_drop::in_drop;
#[cfg(feature = "tracing")]
pub(crate) use log::{NoRoom, RuleLog, is_on, record_in_span, settled as log_settled};
#[cfg(feature = "metrics")]
pub(crate) use meters::{CountedRule, DecisionMeters};
pub(crate) use observer::{Observer, ObserverSettings};
pub(crate) use stopwatch::Stopwatch;
