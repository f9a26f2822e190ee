//! Which requests a policy governs.
//!
//! * [`Rule`]: one row of a rate-limit matrix.
//! * [`route`]: a method and a path template.
//! * [`spelling`]: the ways in which one path may be written.
//! * [`table`]: from a method and a path to the rules that govern it.
//! * [`params`]: the values that a path gives to a template.

mod definition;
mod params;
mod route;
mod spelling;
mod table;

pub use definition::{OnMissing, Rule};

pub(crate) use definition::AppliesTo;
pub(crate) use params::Params;
pub(crate) use route::Route;
pub(crate) use spelling::Spellings;
pub(crate) use table::{RouteTable, Target};
