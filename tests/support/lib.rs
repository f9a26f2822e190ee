//! What several tests begin with.

pub mod echo;
pub mod limiting;
pub mod panics;
pub mod redis;
pub mod slow_store;
