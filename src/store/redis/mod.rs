//! Histories on a Redis or Valkey server.
//!
//! Public:
//!
//! * [`RedisStore`]: the store and its settings.
//! * [`OnOutage`]: the fate of requests while the server is unavailable: fail open, fail closed, or decide locally.
//! * [`LeaseConfig`]: units that a process may take in advance.
//! * [`Health`]: the state of connections and circuit breakers.
//!
//! The way of a request, from the store to the socket:
//!
//! * [`decider`]: the order of things for one decision. [`recent_denials`]: denials that need no call. [`lease_borrower`]:
//!   units in advance, which are spent from the [`lease_pool`]. [`fallback`]: deciding without the server.
//! * [`batcher`]: requests of the same turn of the scheduler in one call. [`cross_slot`]: one request whose histories are
//!   in several hash slots of a cluster.
//! * [`history_commands`]: the commands on histories. [`key_name`]: names of keys and their hash slots. [`script`]: the
//!   call of the script and its reply; [`layout`]: how a history is described to it, and [`layouts`]: that of each plan.
//!   `script/`: the decision on the server, which begins with `header.lua`.
//! * [`servers`]: one server, or a [`cluster`] of [`cluster_nodes`], whose slot map the [`slot_refresher`] keeps up to date.
//! * [`node`]: one server, with its [`connection`] and its [`circuit_breaker`]. [`sentinels`]: which server is the master.
//!   [`connect`]: clients and TLS. [`failure`]: the reasons why a command has no reply.
//! * [`timer`]: the time in this process, and deadlines.

mod batcher;
#[cfg(any(test, fuzzing))]
mod check_replies;
mod circuit_breaker;
mod cluster;
mod cluster_nodes;
mod connect;
mod connection;
mod counts;
mod cross_slot;
mod decider;
mod eviction;
mod failure;
mod fallback;
mod health;
mod history_commands;
mod key_name;
mod layout;
mod layouts;
mod lease_borrower;
mod lease_config;
mod lease_pool;
mod node;
mod recent_denials;
mod script;
mod sentinels;
mod servers;
mod slot_refresher;
mod store;
#[cfg(test)]
mod tests;
mod timer;

pub use fallback::OnOutage;
pub use health::{BreakerState, ConnectionState, Health, NodeHealth};
pub use lease_config::LeaseConfig;
pub use store::RedisStore;

#[cfg(fuzzing)]
pub(crate) use check_replies::check_replies;
