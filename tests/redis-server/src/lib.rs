//! A Redis server of one's own: for unit tests, integration tests and benchmarks.
#![allow(clippy::disallowed_methods, reason = "here the time is that of real servers")]

mod eventually;
mod port;
mod server;

pub use eventually::eventually;
pub use port::free_port;
pub use server::Server;
