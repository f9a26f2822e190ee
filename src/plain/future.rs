//! The future of a response.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{
    error::Unavailable,
    limiter::{Decision, DeferredCall, PendingDecision, ReservationGuard},
    outcome::Outcome,
    plain::enforcer::{Enforcer, Refusal},
    store::{MemoryStore, Store},
};

pin_project! {
    /// The response of a [`RateLimit`](super::RateLimit) service around `S` to a request `R`, with the closure `F` that refuses
    /// requests and the store `T`.
    ///
    /// Dropping it drops the inner response. Units that were charged stay charged, since the request has begun; those that were
    /// [reserved](crate::Rule::reserve) are settled as if the response had come.
    ///
    /// ```
    /// use tower::{Layer, Service, service_fn};
    /// use tower_quota::{Policy, RateLimiter, Rule, key};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let rule = Rule::new("jobs").every_request().key(key::constant("all"));
    /// let rule = rule.level("global").policy(Policy::per_hour(1));
    /// let limiter = RateLimiter::builder_for::<u32>().rule(rule).build()?;
    /// let layer = limiter.layer(|_, refusal| Err(std::io::Error::other(refusal)));
    /// let mut service = layer.layer(service_fn(async |job: u32| Ok(job)));
    ///
    /// // The decision is made in `call`: this response is dropped, and yet is charged.
    /// drop(service.call(7));
    /// assert!(service.call(7).await.is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub struct ResponseFuture<S, R, F, T = MemoryStore>
    where
        S: Service<R>,
        R: 'static,
        T: Store,
    {
        #[pin]
        state: PlainCallState<S, R, F, T>,
    }
}

pin_project! {
    #[project = StateProj]
    enum PlainCallState<S, R, F, T>
    where
        S: Service<R>,
        R: 'static,
        T: Store,
    {
        Deciding { #[pin] decision: PendingDecision<T::Future>, call: Option<Box<DeferredPlainCall<S, R, F, T>>> },
        Admitted { #[pin] inner: S::Future, guard: Option<ReservationGuard> },
        Refused { outcome: Option<Result<S::Response, S::Error>> },
    }
}

type DeferredPlainCall<S, R, F, T> = DeferredCall<S, R, Enforcer<R, F, T>>;

const POLLED_AFTER_COMPLETION: &str = "`ResponseFuture` polled after completion";

impl<S, R, F, T> ResponseFuture<S, R, F, T>
where
    S: Service<R>,
    T: Store,
{
    /// Makes the call if the decision admits it.
    pub(super) fn deciding(decision: PendingDecision<T::Future>, call: DeferredPlainCall<S, R, F, T>) -> Self {
        Self { state: PlainCallState::Deciding { decision, call: Some(Box::new(call)) } }
    }

    pub(super) const fn admitted(inner: S::Future, guard: Option<ReservationGuard>) -> Self {
        Self { state: PlainCallState::Admitted { inner, guard } }
    }

    pub(super) const fn refused(outcome: Result<S::Response, S::Error>) -> Self {
        Self { state: PlainCallState::Refused { outcome: Some(outcome) } }
    }
}

/// Continues as the store has decided.
fn resume<S, R, F, T>(
    call: DeferredPlainCall<S, R, F, T>,
    decided: Result<Decision, Unavailable>,
) -> PlainCallState<S, R, F, T>
where
    S: Service<R>,
    F: Fn(R, Refusal) -> Result<S::Response, S::Error>,
    T: Store,
{
    let DeferredCall { mut service, mut request, context: enforcer } = call;
    match enforcer.conclude(&mut request, decided) {
        Ok(guard) => PlainCallState::Admitted { inner: service.call(request), guard },
        Err(refusal) => PlainCallState::Refused { outcome: Some(enforcer.refuse(request, refusal)) },
    }
}

impl<S, R, F, T> Future for ResponseFuture<S, R, F, T>
where
    S: Service<R>,
    F: Fn(R, Refusal) -> Result<S::Response, S::Error>,
    T: Store,
{
    type Output = Result<S::Response, S::Error>;

    #[expect(clippy::expect_used, reason = "as everywhere, a future is not polled after completion")]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                StateProj::Deciding { decision, call } => {
                    let decided = ready!(decision.poll(cx));
                    resume(*call.take().expect(POLLED_AFTER_COMPLETION), decided)
                }
                StateProj::Admitted { inner, guard } => {
                    let answer = ready!(inner.poll(cx));
                    if let Some(guard) = guard.take() {
                        guard.conclude(Some(&Outcome::from_result(answer.is_err())));
                    }
                    return Poll::Ready(answer);
                }
                StateProj::Refused { outcome } => {
                    return Poll::Ready(outcome.take().expect(POLLED_AFTER_COMPLETION));
                }
            };
            state.set(next);
        }
    }
}

impl<S, R, F, T> fmt::Debug for ResponseFuture<S, R, F, T>
where
    S: Service<R>,
    T: Store,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
