//! The decision about a request, and the reasons to refuse it.

use smallvec::SmallVec;
use std::{sync::Arc, time::Duration};

use crate::{
    error::Unavailable,
    limiter::{Decision, KeyRejected, MaybeDecided, RateLimiter, Reservation, ReservationGuard, missing_key},
    request::Plain,
    store::{Detail, MaybeReady, Store},
};

/// The rules, and the closures that handle decisions: shared by a layer, its services and their futures.
pub(super) struct Enforcer<R: 'static, F, T> {
    pub(super) limiter: RateLimiter<Plain<R>, T>,
    pub(super) refuse: F,
    pub(super) on_admitted: Option<Arc<OnAdmitted<R>>>,
}

type OnAdmitted<R> = dyn Fn(&mut R, &Decision) + Send + Sync;

/// The reason why a request is refused.
///
/// It displays the text for the caller: `You've exceeded the hourly rate limit. Please wait for sometime before retrying.`
///
/// ```
/// use tower::{Layer, ServiceExt, service_fn};
/// use tower_quota::{Policy, RateLimiter, Rule, key, plain::Refusal};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let rule = Rule::new("jobs").every_request().key(key::constant("all"));
/// let rule = rule.level("global").policy(Policy::per_hour(1));
/// let limiter = RateLimiter::builder_for::<u32>().rule(rule).build()?;
///
/// // Refusals become the errors of the service.
/// let service = limiter
///     .layer(|_, refusal: Refusal| Err(refusal))
///     .layer(service_fn(async |job: u32| Ok::<u32, Refusal>(job)));
/// assert!(service.clone().oneshot(7).await.is_ok());
/// let refusal = service.oneshot(7).await.unwrap_err();
/// assert!(refusal.retry_after().is_some());
/// assert!(refusal.to_string().starts_with("You've exceeded the hourly rate limit."));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A quota is exhausted, or the request costs [more than it admits](Decision::is_never_possible). Nothing was charged, unless
    /// the policy [counts denials](crate::Policy::count_denied).
    #[error("{}", .0.message().unwrap_or_default())]
    Denied(Box<Decision>),
    /// The store could not decide, and the limiter fails closed.
    #[error(transparent)]
    Unavailable(Unavailable),
    /// The request does not carry the key of a rule that [requires](crate::Rule::key_required) it. Nothing was
    /// charged.
    #[error("{}", missing_key(.level))]
    KeyMissing {
        /// The name of the enforcement level, whose key the request does not carry.
        level: String,
    },
}

impl<R: 'static, F, T> Enforcer<R, F, T> {
    /// Returns the outcome of a refused request.
    pub(super) fn refuse<O>(&self, request: R, refusal: Refusal) -> O
    where
        F: Fn(R, Refusal) -> O,
    {
        (self.refuse)(request, refusal)
    }

    /// Shows the decision to an admitted request, or returns the reason to refuse it.
    ///
    /// What is reserved is settled by the guard if the request does not do it.
    pub(super) fn conclude(
        &self,
        request: &mut R,
        decided: Result<Decision, Unavailable>,
    ) -> Result<Option<ReservationGuard>, Refusal> {
        match decided {
            Ok(decision) if decision.is_admitted() => {
                let guard = decision.reservation().and_then(Reservation::guard);
                if let Some(show) = &self.on_admitted {
                    show(request, &decision);
                }
                Ok(guard)
            }
            Ok(decision) => Err(Refusal::Denied(Box::new(decision))),
            Err(unavailable) => Err(Refusal::Unavailable(unavailable)),
        }
    }
}

impl<R: 'static, F, T: Store> Enforcer<R, F, T> {
    /// Returns how much a decision has to report of the quotas: for an admission only if it is shown.
    const fn detail(&self) -> Detail {
        if self.on_admitted.is_some() { Detail::Full } else { Detail::OnDenial }
    }

    /// Decides about a request, and charges it if it is admitted. Returns `None` if no rule governs it.
    pub(super) fn decide(&self, request: &R) -> Result<Option<MaybeDecided<T::Future>>, Refusal> {
        let missing = |rejected: KeyRejected| Refusal::KeyMissing { level: rejected.names().1.to_owned() };
        let mut made = None;
        let asked = self.limiter.decide_request(request, |_| SmallVec::new(), self.detail(), false, &mut made);
        Ok(match asked.map_err(missing)? {
            MaybeReady::Ready(()) => made.map(MaybeDecided::Ready),
            MaybeReady::Pending(decision) => Some(MaybeDecided::Pending(decision)),
        })
    }
}

impl<R, F: Clone, T> Clone for Enforcer<R, F, T> {
    fn clone(&self) -> Self {
        Self { limiter: self.limiter.clone(), refuse: self.refuse.clone(), on_admitted: self.on_admitted.clone() }
    }
}

impl Refusal {
    /// Returns the decision that denied the request, or `None` if the request was refused for another reason.
    #[must_use]
    pub fn decision(&self) -> Option<&Decision> {
        match self {
            Self::Denied(decision) => Some(decision),
            Self::Unavailable(_) | Self::KeyMissing { .. } => None,
        }
    }

    /// Returns how long until the request would be admitted if no other requests came, or `None` if that is not known, or if
    /// the request can never be admitted as it is.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.decision().and_then(Decision::retry_after)
    }
}
