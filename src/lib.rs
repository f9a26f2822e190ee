//! tower-quota
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod clock;
#[cfg(feature = "config")]
pub mod config;
pub mod http;
pub mod key;

mod decision;
mod error;
mod future;
mod history;
mod layer;
mod limiter;
mod message;
mod observe;
mod policy;
mod quota;
mod rule;
mod service;
mod store;

pub use decision::{Decision, QuotaStatus};
pub use error::{ConfigError, UnknownRule};
pub use future::ResponseFuture;
pub use layer::RateLimitLayer;
pub use limiter::{Governing, RateLimiter, RateLimiterBuilder};
pub use policy::Policy;
pub use quota::Quota;
pub use rule::{OnMissing, Rule};
pub use service::RateLimit;
