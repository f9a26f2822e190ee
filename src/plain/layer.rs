//! The layer.

use std::{fmt, sync::Arc};

use tower_layer::Layer;

use crate::{
    error::Unavailable,
    limiter::{Decision, MaybeDecided, RateLimiter},
    plain::{RateLimit, Refusal},
    request::Plain,
    store::{MemoryStore, Store, Told},
};

/// Admits the requests that the rules of a [`RateLimiter`] have room for, and answers the others by a closure; made by the
/// `layer` of such a limiter, as the [module docs](crate::plain) show.
///
/// All services it makes share one state, and so do its clones.
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct RateLimitLayer<R: 'static, F, T = MemoryStore> {
    limiter: RateLimiter<Plain<R>, T>,
    refuse: F,
    on_admitted: Option<Arc<OnAdmitted<R>>>,
}

type OnAdmitted<R> = dyn Fn(&mut R, &Decision) + Send + Sync;

impl<R: 'static, T: Store> RateLimiter<Plain<R>, T> {
    /// A layer that enforces the rules, and makes what `refuse` says of the requests that go no further: a response, or
    /// an error of the service. It may be made many times: all share one state.
    pub fn layer<F, A, E>(&self, refuse: F) -> RateLimitLayer<R, F, T>
    where
        F: Fn(R, Refusal) -> Result<A, E>,
    {
        RateLimitLayer { limiter: self.clone(), refuse, on_admitted: None }
    }
}

impl<R: 'static, F, T> RateLimitLayer<R, F, T> {
    /// Shows the decision to every request that rules govern and admit, before the inner service gets it: to keep what is
    /// left of its quotas.
    pub fn on_admitted(mut self, show: impl Fn(&mut R, &Decision) + Send + Sync + 'static) -> Self {
        self.on_admitted = Some(Arc::new(show));
        self
    }

    /// The limiter behind this layer.
    #[must_use]
    pub const fn limiter(&self) -> &RateLimiter<Plain<R>, T> {
        &self.limiter
    }

    /// What `refuse` makes of a request that goes no further.
    pub(super) fn refuse<O>(&self, request: R, refusal: Refusal) -> O
    where
        F: Fn(R, Refusal) -> O,
    {
        (self.refuse)(request, refusal)
    }

    /// Shows an admitted request the decision about it; or says why it is not admitted.
    pub(super) fn conclude(&self, request: &mut R, decided: Result<Decision, Unavailable>) -> Result<(), Refusal> {
        match decided {
            Ok(decision) if decision.is_admitted() => {
                self.on_admitted.iter().for_each(|show| show(request, &decision));
                Ok(())
            }
            Ok(decision) => Err(Refusal::Denied(Box::new(decision))),
            Err(unavailable) => Err(Refusal::Unavailable(unavailable)),
        }
    }
}

impl<R: 'static, F, T: Store> RateLimitLayer<R, F, T> {
    /// What is to be known of the quotas: of an admission only if somebody is shown it.
    const fn told(&self) -> Told {
        if self.on_admitted.is_some() { Told::Always } else { Told::IfDenied }
    }

    /// Decides about a request, and charges it if it is admitted; none if no rule governs it.
    pub(super) fn decide(&self, request: &R) -> Result<Option<MaybeDecided<T::Future>>, Refusal> {
        let missing = |refused| Refusal::KeyMissing { level: self.limiter.level_of(refused).to_owned() };
        self.limiter.decide_request(request, &[], self.told(), false).map_err(missing)
    }
}

impl<R, F: Clone, T> Clone for RateLimitLayer<R, F, T> {
    fn clone(&self) -> Self {
        Self { limiter: self.limiter.clone(), refuse: self.refuse.clone(), on_admitted: self.on_admitted.clone() }
    }
}

impl<R, F, T: fmt::Debug> fmt::Debug for RateLimitLayer<R, F, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitLayer").field("limiter", &self.limiter).finish_non_exhaustive()
    }
}

impl<S, R, F: Clone, T> Layer<S> for RateLimitLayer<R, F, T> {
    type Service = RateLimit<S, Self>;

    fn layer(&self, inner: S) -> RateLimit<S, Self> {
        RateLimit::new(inner, self.clone())
    }
}
