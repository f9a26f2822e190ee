//! What the tests share.

pub mod echo;
pub mod full_store;
pub mod limiter;
pub mod log_lines;
pub mod panics;
pub mod redis;
pub mod slow_store;

mod serve;

pub use serve::serve;
