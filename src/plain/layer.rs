//! The layer.

use std::{fmt, sync::Arc};

use tower_layer::Layer;

use crate::{
    decision::Decision,
    limiter::RateLimiter,
    plain::{Plain, RateLimit, Refusal},
};

/// Admits the requests that the rules of a [`RateLimiter`] have room for, and answers the others by a closure; made by
/// [`RateLimiter::layer`](RateLimiter#method.layer-1).
///
/// All services it makes share one state, and so do its clones. See the [module docs](crate::plain) for its use.
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct RateLimitLayer<R: 'static, F> {
    limiter: RateLimiter<Plain<R>>,
    refuse: F,
    on_admitted: Option<Arc<OnAdmitted<R>>>,
}

type OnAdmitted<R> = dyn Fn(&mut R, &Decision) + Send + Sync;

impl<R: 'static> RateLimiter<Plain<R>> {
    /// A layer that enforces the rules, and makes what `refuse` says of the requests that go no further: a response, or
    /// an error of the service. It may be made many times: all share one state.
    pub fn layer<F, T, E>(&self, refuse: F) -> RateLimitLayer<R, F>
    where
        F: Fn(R, Refusal) -> Result<T, E>,
    {
        RateLimitLayer { limiter: self.clone(), refuse, on_admitted: None }
    }
}

impl<R: 'static, F> RateLimitLayer<R, F> {
    /// Shows the decision to every request that rules govern and admit, before the inner service gets it: to keep what is
    /// left of its quotas.
    pub fn on_admitted(mut self, show: impl Fn(&mut R, &Decision) + Send + Sync + 'static) -> Self {
        self.on_admitted = Some(Arc::new(show));
        self
    }

    /// The limiter behind this layer.
    #[must_use]
    pub const fn limiter(&self) -> &RateLimiter<Plain<R>> {
        &self.limiter
    }

    /// What `refuse` makes of a request that goes no further.
    pub(super) fn refuse<O>(&self, request: R, refusal: Refusal) -> O
    where
        F: Fn(R, Refusal) -> O,
    {
        (self.refuse)(request, refusal)
    }

    /// Decides about a request, and charges it if it is admitted.
    pub(super) fn decide(&self, request: &mut R) -> Result<(), Refusal> {
        match self.limiter.decide_request(request, &[]) {
            Ok(None) => Ok(()),
            Ok(Some(decision)) if decision.is_admitted() => {
                if let Some(show) = &self.on_admitted {
                    show(request, &decision);
                }
                Ok(())
            }
            Ok(Some(decision)) => Err(Refusal::Denied(Box::new(decision))),
            Err(refused) => Err(Refusal::KeyMissing { level: self.limiter.level_of(refused).to_owned() }),
        }
    }
}

impl<R, F: Clone> Clone for RateLimitLayer<R, F> {
    fn clone(&self) -> Self {
        Self { limiter: self.limiter.clone(), refuse: self.refuse.clone(), on_admitted: self.on_admitted.clone() }
    }
}

impl<R, F> fmt::Debug for RateLimitLayer<R, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitLayer").field("limiter", &self.limiter).finish_non_exhaustive()
    }
}

impl<S, R, F: Clone> Layer<S> for RateLimitLayer<R, F> {
    type Service = RateLimit<S, Self>;

    fn layer(&self, inner: S) -> RateLimit<S, Self> {
        RateLimit::new(inner, self.clone())
    }
}
