//! The layer.

use std::{fmt, sync::Arc};

use tower_layer::Layer;

use crate::{
    limiter::{Decision, RateLimiter},
    plain::{RateLimit, Refusal, enforcement::Enforcement},
    request::Plain,
    store::{MemoryStore, Store},
};

/// Admits the requests that the rules of a [`RateLimiter`] have room for, and answers the others by a closure; made by the
/// `layer` of such a limiter, as the [module docs](crate::plain) show.
///
/// All services it makes share one state, and so do its clones.
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct RateLimitLayer<R: 'static, F, T = MemoryStore> {
    enforcement: Enforcement<R, F, T>,
}

impl<R: 'static, T: Store> RateLimiter<Plain<R>, T> {
    /// A layer that enforces the rules, and makes what `refuse` says of the requests that go no further: a response, or
    /// an error of the service. It may be made many times: all share one state.
    pub fn layer<F, A, E>(&self, refuse: F) -> RateLimitLayer<R, F, T>
    where
        F: Fn(R, Refusal) -> Result<A, E>,
    {
        RateLimitLayer { enforcement: Enforcement { limiter: self.clone(), refuse, on_admitted: None } }
    }
}

impl<R: 'static, F, T> RateLimitLayer<R, F, T> {
    /// Shows the decision to every request that rules govern and admit, before the inner service gets it: to keep what is
    /// left of its quotas.
    pub fn on_admitted(mut self, show: impl Fn(&mut R, &Decision) + Send + Sync + 'static) -> Self {
        self.enforcement.on_admitted = Some(Arc::new(show));
        self
    }

    /// The limiter behind this layer.
    #[must_use]
    pub const fn limiter(&self) -> &RateLimiter<Plain<R>, T> {
        &self.enforcement.limiter
    }
}

impl<R, F: Clone, T> Clone for RateLimitLayer<R, F, T> {
    fn clone(&self) -> Self {
        Self { enforcement: self.enforcement.clone() }
    }
}

impl<R, F, T: fmt::Debug> fmt::Debug for RateLimitLayer<R, F, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitLayer").field("limiter", &self.enforcement.limiter).finish_non_exhaustive()
    }
}

impl<S, R, F: Clone, T> Layer<S> for RateLimitLayer<R, F, T> {
    type Service = RateLimit<S, R, F, T>;

    fn layer(&self, inner: S) -> Self::Service {
        RateLimit::new(inner, self.enforcement.clone())
    }
}
