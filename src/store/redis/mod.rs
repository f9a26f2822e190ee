//! Histories on a Redis or Valkey server.
//!
//! * [`RedisStore`]: what users see of it.
//! * [`OnOutage`]: what happens while it is unavailable.
//! * [`ask`]: one decision, within a deadline.
//! * [`together`]: one decision where histories are on several nodes of a cluster.
//! * [`breaker`]: leaving a server alone that does not answer.
//! * [`denials`]: what need not be asked.
//! * [`link`]: the connection; [`topology`]: to what.
//! * [`names`]: what keys are called.
//! * `decide.lua`: the decision, on the server; [`script`]: its call and its reply; [`log`]: what it is told.

mod ask;
mod breaker;
mod denials;
mod link;
mod log;
mod names;
mod outage;
mod script;
#[cfg(test)]
mod server;
mod store;
#[cfg(test)]
mod tests;
mod together;
mod topology;

pub use outage::OnOutage;
pub use store::RedisStore;
