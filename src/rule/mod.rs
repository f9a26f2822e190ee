//! Rules: which requests are governed, by which key, and under which policy.
//!
//! * [`Rule`]: one row of a rate-limit matrix, with [`OnMissing`] for requests without the key.
//! * [`route`]: the methods and the path template of a route; [`method`]: the methods that exist.
//! * [`path_readings`]: the ways in which one path may be written.
//! * [`table`]: finds the rules that govern a method and a path.
//! * [`conditions`]: the conditions beside the routes, such as a [`path_prefix`] or a [`host_name`]; [`conditional`] has the
//!   methods that set them.
//! * [`costs`]: the units that requests cost, and when that is known; [`costed`] has the methods that set them.
//! * [`exempt`]: the requests that a rule leaves alone.

mod conditional;
mod conditions;
mod costed;
mod costs;
pub mod exempt;
mod host_name;
mod method;
mod path_prefix;
mod path_readings;
mod route;
mod rule;
mod table;
mod tier;

pub use costs::Unsettled;
pub use rule::{OnMissing, Rule};

pub(crate) use conditions::Filter;
pub(crate) use costs::Settling;
pub(crate) use path_readings::PathReadings;
pub(crate) use route::{Route, UnnamedTemplate, canonical_shape, without_param_names};
pub(crate) use rule::{AppliesTo, Group};
pub(crate) use table::{RouteTable, RouteTarget, RuleId};
pub(crate) use tier::{Tier, check_overrides, check_tier_source, check_tiers};
