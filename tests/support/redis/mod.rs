//! Redis servers of the tests' own: real ones that can be frozen, killed and started again, and ones that misbehave.
//!
//! Each is on a socket and a port of its own, and is gone when it is dropped.
#![allow(dead_code, clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "this is for tests")]
#![allow(unused_imports, reason = "each test uses its part")]
#![allow(clippy::disallowed_methods, reason = "here the time is that of real servers")]

mod cluster;
mod distance;
mod fake;
mod limiting;
mod proxy;
mod secured;
mod sentinel;
mod server;

pub(crate) use cluster::Cluster;
pub(crate) use distance::Distance;
pub(crate) use fake::{Fake, Reply};
pub(crate) use limiting::{Limiter, admitted, limiter, remaining, rule, store};
pub(crate) use proxy::{Proxy, Through};
pub(crate) use secured::{Identity, Secured, authority};
pub(crate) use sentinel::{Sentinel, replica_of};
pub(crate) use server::{Server, eventually, free_port};
