//! Where histories live, and where a request is decided: all its charges in one atomic step.
//!
//! A limiter keeps its histories in a [`MemoryStore`] unless [another store](crate::RateLimiterBuilder::store) is chosen. A
//! store of your own implements [`Store`].

#[cfg(feature = "test-util")]
pub mod conformance;

mod definition;
mod measure;
mod memory;
mod never;
mod overflow;
#[cfg(feature = "redis")]
mod redis;
mod scopes;
mod setup;
mod shards;
mod slot;
mod table;
mod transaction;
mod unavailable;
mod verdict;

#[cfg(feature = "redis")]
pub use self::redis::{OnOutage, RedisStore};
pub use definition::Store;
pub use memory::MemoryStore;
pub use never::Never;
pub use scopes::{Scope, Scopes};
pub use setup::Setup;
pub use unavailable::Unavailable;
pub use verdict::{Charge, Verdict};

pub(crate) use verdict::QuotaState;
