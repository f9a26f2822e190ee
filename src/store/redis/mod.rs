//! Histories on a Redis or Valkey server.
//!
//! * [`RedisStore`]: what users see of it.
//! * [`OnOutage`]: what happens while it is unavailable.
//! * [`LeaseConfig`]: what a process may take at once.
//! * [`Health`]: how it stands with the servers.
//!
//! One object for each job, the lower ones further down:
//!
//! * [`decider`]: one decision, in the order of things.
//! * [`denials`]: what need not be asked. [`lender`]: what is spent here, from the [`lease_pool`]. [`fallback`]: deciding
//!   without the server.
//! * [`reservation`]: one decision where histories are in several slots of a cluster.
//! * [`batcher`]: those who ask at the same time, in one call. [`waiting`]: who they are; [`handover`]: those who go away.
//! * [`histories`]: calling the script. [`names`]: what keys are called. `script/`: the decision, on the server, which
//!   begins with `header.lua`; [`script`]: its call and its reply; [`log`]: what it is told.
//! * [`routes`]: to which server. [`cluster`]: which node is to be asked, of the [`cluster_nodes`] and by their [`slots`], for
//!   which there is a [`lookout`]. [`sentinels`]: who is the master.
//! * [`node`]: one server. [`circuit_breaker`]: leaving it alone; [`connection`]: the way to it, to a [`target`] and with
//!   [`tls`]; [`journal`]: how it stands with it, for [`health`]; [`failure`]: why there is no answer.
//! * [`timepiece`]: what time it is.

#[cfg(any(test, fuzzing))]
mod any_reply;
mod batcher;
mod circuit_breaker;
mod cluster;
mod cluster_nodes;
mod connection;
mod decider;
mod dial;
mod failure;
mod fallback;
mod handover;
mod health;
mod histories;
mod journal;
mod layout;
mod lease_config;
mod lease_pool;
mod lender;
mod lookout;
mod names;
mod node;
mod outage;
mod recent_denials;
mod reservation;
mod routes;
mod script;
mod sentinels;
mod slots;
mod store;
mod target;
#[cfg(test)]
mod tests;
mod timepiece;
mod tls;
mod waiting;

pub use health::{BreakerState, ConnectionState, Health, NodeHealth};
pub use lease_config::LeaseConfig;
pub use outage::OnOutage;
pub use store::RedisStore;

#[cfg(fuzzing)]
pub(crate) use any_reply::check_replies;
