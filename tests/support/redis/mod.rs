//! Redis servers of the tests' own: real ones that can be frozen, killed and started again, and ones that misbehave.
//!
//! Each is on a socket and a port of its own, and is gone when it is dropped.
#![allow(clippy::disallowed_methods, reason = "here the time is that of real servers")]

mod cluster;
mod distance;
mod fake;
mod limiter;
mod proxy;
mod secured;
mod sentinel;
mod turn;

pub use redis_server::{Server, eventually, free_port};

pub use crate::limiter::{remaining, rule};

pub use cluster::{Cluster, port_of};
pub use distance::Distance;
pub use fake::{Fake, Reply};
pub use limiter::{Limiter, admitted, limiter, store};
pub use proxy::{Proxy, Through};
pub use secured::{Certificates, Identity, Secured, authority};
pub use sentinel::{Sentinel, replica_of};
