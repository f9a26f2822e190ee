//! What a layer enforces.

use std::sync::Arc;

use crate::{error::ConfigError, limiter::RateLimiter, request::Http};

/// What a layer enforces.
#[derive(Debug)]
pub(crate) enum Enforced<T> {
    Rules(RateLimiter<Http, T>),
    /// All requests pass.
    Nothing,
    /// It was not built right: none passes.
    Mistake(Arc<ConfigError>),
}

impl<T> Enforced<T> {
    /// The limiter; none if there is none.
    pub(crate) const fn limiter(&self) -> Option<&RateLimiter<Http, T>> {
        match self {
            Self::Rules(limiter) => Some(limiter),
            Self::Nothing | Self::Mistake(_) => None,
        }
    }
}

impl<T> From<Result<RateLimiter<Http, T>, ConfigError>> for Enforced<T> {
    fn from(built: Result<RateLimiter<Http, T>, ConfigError>) -> Self {
        built.map_or_else(|error| Self::Mistake(Arc::new(error)), Self::Rules)
    }
}

impl<T> Clone for Enforced<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Rules(limiter) => Self::Rules(limiter.clone()),
            Self::Nothing => Self::Nothing,
            Self::Mistake(error) => Self::Mistake(Arc::clone(error)),
        }
    }
}
