//! Which requests a policy governs.
//!
//! * [`Rule`]: one row of a rate-limit matrix.
//! * [`OnMissing`]: what happens to a request without the key.
//! * [`applies_to`]: which requests a rule governs.
//! * [`route`]: methods and a path template; [`method`]: which methods there are.
//! * [`spelling`]: the ways in which one path may be written.
//! * [`table`]: from a method and a path to the rules that govern it.
//! * [`template`]: templates, whatever their parameters are called.
//! * [`params`]: the values that a path gives to a template.

mod applies_to;
mod definition;
mod method;
mod on_missing;
mod path_readings;
mod route;
mod table;
mod template;

pub use definition::Rule;
pub use on_missing::OnMissing;

pub(crate) use applies_to::AppliesTo;
pub(crate) use definition::no_policy;
pub(crate) use path_readings::PathReadings;
pub(crate) use route::{Route, canonical_shape};
pub(crate) use table::{RouteTable, RouteTarget, RuleId};
pub(crate) use template::{Anonymous, anonymous};
