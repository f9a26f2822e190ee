//! Histories on a Redis or Valkey server.
//!
//! * [`RedisStore`]: what users see of it.
//! * [`OnOutage`]: what happens while it is unavailable.
//! * [`Lease`]: what a process may take at once.
//! * [`ask`]: one decision, in the order of things; [`evaluate`]: a call of the script, within a deadline.
//! * [`turn`]: those who ask at the same time; [`share`]: asking for them in one call.
//! * [`leases`]: what this process has been lent; [`lend`]: how it gets and returns it.
//! * [`together`]: one decision where histories are on several nodes of a cluster.
//! * [`breaker`]: leaving a server alone that does not answer.
//! * [`denials`]: what need not be asked.
//! * [`link`]: the connection; [`topology`]: to what; [`tls`]: in secret.
//! * [`names`]: what keys are called.
//! * `decide.lua`: the decision, on the server; [`script`]: its call and its reply; [`log`]: what it is told.

#[cfg(any(test, fuzzing))]
mod any_reply;
mod ask;
mod breaker;
mod denials;
mod evaluate;
mod lease;
mod leases;
mod lend;
mod link;
mod log;
mod names;
mod outage;
mod script;
#[cfg(test)]
mod server;
mod share;
mod store;
#[cfg(test)]
mod tests;
mod tls;
mod together;
mod topology;
mod turn;

pub use lease::Lease;
pub use outage::OnOutage;
pub use store::RedisStore;

#[cfg(fuzzing)]
pub(crate) use any_reply::check_replies;
