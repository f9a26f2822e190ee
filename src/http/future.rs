//! The response on its way.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{
    error::Unavailable,
    http::{Refusal, RefusalBody, ResponseBody, ResponseOptions, add_fields},
    limiter::{Decision, PendingDecision},
    request::RequestView,
    store::Verdict,
};

pin_project! {
    /// The response of a [`RateLimit`](crate::RateLimit) service around `S`, to a request with body `B`, where `D` is the
    /// [decision](crate::store::Store::Future) of its store.
    ///
    /// Dropping it drops the inner response; what was charged stays charged, since the request has begun.
    pub struct ResponseFuture<S, B, D>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        kind: FutureKind<S, B, D>,
    }
}

pin_project! {
    #[project = KindProj]
    enum FutureKind<S, B, D>
    where
        S: Service<Request<B>>,
    {
        Deciding { #[pin] deciding: PendingDecision<D>, begun: Option<Begun<S, B>>, style: Arc<ResponseOptions> },
        Passed { #[pin] inner: S::Future },
        Admitted { #[pin] inner: S::Future, decision: Option<Decision>, style: Arc<ResponseOptions> },
        Refused { answer: Option<Response<RefusalBody>> },
    }
}

const POLLED_AFTER_COMPLETION: &str = "`ResponseFuture` polled after completion";

/// A request that waits for its decision, and the service that was polled ready for it.
struct Begun<S, B>(Box<(S, Request<B>)>);

impl<S, B, D> ResponseFuture<S, B, D>
where
    S: Service<Request<B>>,
{
    /// The request goes to `ready` if it is admitted.
    pub(crate) fn deciding(
        deciding: PendingDecision<D>,
        ready: S,
        request: Request<B>,
        style: Arc<ResponseOptions>,
    ) -> Self {
        Self { kind: FutureKind::Deciding { deciding, begun: Some(Begun(Box::new((ready, request)))), style } }
    }

    pub(crate) const fn passed(inner: S::Future) -> Self {
        Self { kind: FutureKind::Passed { inner } }
    }

    pub(crate) const fn admitted(inner: S::Future, decision: Decision, style: Arc<ResponseOptions>) -> Self {
        Self { kind: FutureKind::Admitted { inner, decision: Some(decision), style } }
    }

    pub(crate) const fn refused(answer: Response<RefusalBody>) -> Self {
        Self { kind: FutureKind::Refused { answer: Some(answer) } }
    }
}

impl<S, B> Begun<S, B>
where
    S: Service<Request<B>>,
{
    /// Goes on as the store has decided.
    fn go_on<D>(self, decided: Result<Decision, Unavailable>, style: &Arc<ResponseOptions>) -> FutureKind<S, B, D> {
        let (mut ready, mut request) = *self.0;
        let refused = |refusal: Refusal<'_>, request| Some(refusal.answer(&RequestView::new(request), style));
        match decided {
            Ok(mut decision) if decision.is_admitted() => {
                if style.decision.request() {
                    decision.record_in(request.extensions_mut());
                }
                FutureKind::Admitted { inner: ready.call(request), decision: Some(decision), style: Arc::clone(style) }
            }
            Ok(decision) => FutureKind::Refused { answer: refused(Refusal::Denied(&decision), &request) },
            Err(unavailable) => FutureKind::Refused { answer: refused(Refusal::Unavailable(&unavailable), &request) },
        }
    }
}

impl<S, B, ResBody, D> Future for ResponseFuture<S, B, D>
where
    S: Service<Request<B>, Response = Response<ResBody>>,
    ResBody: Body,
    D: Future<Output = Result<Verdict, Unavailable>>,
{
    type Output = Result<Response<ResponseBody<ResBody>>, S::Error>;

    #[expect(clippy::expect_used, reason = "as everywhere, a future is not polled after completion")]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut kind = self.project().kind;
        loop {
            let next = match kind.as_mut().project() {
                KindProj::Deciding { deciding, begun, style } => {
                    let decided = ready!(deciding.poll(cx));
                    begun.take().expect(POLLED_AFTER_COMPLETION).go_on(decided, style)
                }
                KindProj::Passed { inner } => {
                    return Poll::Ready(Ok(ready!(inner.poll(cx))?.map(ResponseBody::inner)));
                }
                KindProj::Admitted { inner, decision, style } => {
                    let mut response = ready!(inner.poll(cx))?;
                    tell(&mut response, decision, style);
                    return Poll::Ready(Ok(response.map(ResponseBody::inner)));
                }
                KindProj::Refused { answer } => {
                    let answer = answer.take().expect(POLLED_AFTER_COMPLETION);
                    return Poll::Ready(Ok(answer.map(ResponseBody::refusal)));
                }
            };
            kind.set(next);
        }
    }
}

impl<S, B, D> fmt::Debug for ResponseFuture<S, B, D>
where
    S: Service<Request<B>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ResponseFuture").field(&self.kind.name()).finish()
    }
}

impl<S, B, D> FutureKind<S, B, D>
where
    S: Service<Request<B>>,
{
    const fn name(&self) -> &'static str {
        match self {
            Self::Deciding { .. } => "deciding",
            Self::Passed { .. } => "passed",
            Self::Admitted { .. } => "admitted",
            Self::Refused { .. } => "refused",
        }
    }
}

/// Tells callers and outer layers of the decision, with the inner service's response.
fn tell<B>(response: &mut Response<B>, made: &mut Option<Decision>, style: &ResponseOptions) {
    if let Some(decision) = made
        && !is_denied_further_in(response)
    {
        add_fields(response, decision, style);
        if style.decision.response()
            && let Some(decision) = made.take()
        {
            response.extensions_mut().insert(decision);
        }
    }
}

/// Whether a limiter further in has denied the request: then its answer is the one that counts.
fn is_denied_further_in<B>(response: &Response<B>) -> bool {
    response.extensions().get::<Decision>().is_some_and(|decision| !decision.is_admitted())
}
