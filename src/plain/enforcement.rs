//! The decision about a request, and what comes of it.

use std::sync::Arc;

use crate::{
    error::Unavailable,
    limiter::{Decision, MaybeDecided, RateLimiter},
    plain::Refusal,
    request::Plain,
    store::{Detail, Store},
};

/// The rules, and the closures that make something of a decision: what a layer, its services and their futures share.
pub(super) struct Enforcement<R: 'static, F, T> {
    pub(super) limiter: RateLimiter<Plain<R>, T>,
    pub(super) refuse: F,
    pub(super) on_admitted: Option<Arc<OnAdmitted<R>>>,
}

type OnAdmitted<R> = dyn Fn(&mut R, &Decision) + Send + Sync;

impl<R: 'static, F, T> Enforcement<R, F, T> {
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

impl<R: 'static, F, T: Store> Enforcement<R, F, T> {
    /// What is to be known of the quotas: of an admission only if somebody is shown it.
    const fn told(&self) -> Detail {
        if self.on_admitted.is_some() { Detail::Full } else { Detail::OnDenial }
    }

    /// Decides about a request, and charges it if it is admitted; none if no rule governs it.
    pub(super) fn decide(&self, request: &R) -> Result<Option<MaybeDecided<T::Future>>, Refusal> {
        let missing = |refused| Refusal::KeyMissing { level: self.limiter.level_of(refused).to_owned() };
        self.limiter.decide_request(request, &[], self.told(), false).map_err(missing)
    }
}

impl<R, F: Clone, T> Clone for Enforcement<R, F, T> {
    fn clone(&self) -> Self {
        Self { limiter: self.limiter.clone(), refuse: self.refuse.clone(), on_admitted: self.on_admitted.clone() }
    }
}
