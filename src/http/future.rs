//! The future of a response.

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
    http::{AdmissionOptions, Conclusion, Refusal, RefusalBody, ResponseBody, ResponseOptions, add_fields},
    limiter::{Decision, DeferredCall, PendingDecision},
    request::RequestView,
    store::Verdict,
};

pin_project! {
    /// The response of a [`RateLimit`](crate::RateLimit) service around `S`, to a request with body `B`, where `D` is the
    /// [decision](crate::store::Store::Future) of its store.
    ///
    /// Dropping it drops the inner response. Units that were charged stay charged, since the request has begun; those that were
    /// [reserved](crate::Rule::reserve) are settled as if the response had ended.
    ///
    /// ```
    /// use http::{Request, Response};
    /// use tower::{Layer, Service, service_fn};
    /// use tower_quota::{Policy, RateLimitLayer, key};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let layer = RateLimitLayer::new(key::constant("all"), Policy::per_minute(1))?;
    /// let mut service = layer.layer(service_fn(async |_: Request<()>| {
    ///     Ok::<_, std::io::Error>(Response::new(String::new()))
    /// }));
    ///
    /// // The decision is made in `call`: this response is dropped, and yet is charged.
    /// drop(service.call(Request::new(())));
    /// assert_eq!(service.call(Request::new(())).await?.status(), 429);
    /// # Ok(())
    /// # }
    /// ```
    pub struct ResponseFuture<S, B, D>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: HttpCallState<S, B, D>,
    }
}

pin_project! {
    #[project = StateProj]
    enum HttpCallState<S, B, D>
    where
        S: Service<Request<B>>,
    {
        Deciding { #[pin] decision: PendingDecision<D>, call: Option<Box<DeferredHttpCall<S, B>>> },
        Passed { #[pin] inner: S::Future, conclusion: Option<Box<Conclusion>> },
        Admitted {
            #[pin]
            inner: S::Future,
            decision: Option<Decision>,
            options: AdmissionOptions,
            conclusion: Option<Box<Conclusion>>,
        },
        Refused { answer: Option<Response<RefusalBody>> },
    }
}

type DeferredHttpCall<S, B> = DeferredCall<S, Request<B>, Arc<ResponseOptions>>;

const POLLED_AFTER_COMPLETION: &str = "`ResponseFuture` polled after completion";

impl<S, B, D> ResponseFuture<S, B, D>
where
    S: Service<Request<B>>,
{
    /// Makes the call if the decision admits it.
    pub(crate) fn deciding(decision: PendingDecision<D>, call: DeferredHttpCall<S, B>) -> Self {
        Self { state: HttpCallState::Deciding { decision, call: Some(Box::new(call)) } }
    }

    pub(crate) const fn passed(inner: S::Future, conclusion: Option<Box<Conclusion>>) -> Self {
        Self { state: HttpCallState::Passed { inner, conclusion } }
    }

    pub(crate) const fn admitted(
        inner: S::Future,
        decision: Option<Decision>,
        options: AdmissionOptions,
        conclusion: Option<Box<Conclusion>>,
    ) -> Self {
        Self { state: HttpCallState::Admitted { inner, decision, options, conclusion } }
    }

    pub(crate) const fn refused(answer: Response<RefusalBody>) -> Self {
        Self { state: HttpCallState::Refused { answer: Some(answer) } }
    }
}

/// Continues as the store has decided.
fn resume<S, B, D>(call: DeferredHttpCall<S, B>, decided: Result<Decision, Unavailable>) -> HttpCallState<S, B, D>
where
    S: Service<Request<B>>,
{
    let DeferredCall { mut service, mut request, context: options } = call;
    let refused = |refusal: Refusal<'_>, request| Some(refusal.answer(&RequestView::new(request), &options));
    match decided {
        Ok(mut decision) if decision.is_admitted() => {
            if options.settings.decision.request() {
                decision.record_in(request.extensions_mut());
            }
            let conclusion = options.begin(decision.reservation(), &mut request);
            let options = AdmissionOptions::new(&options);
            HttpCallState::Admitted { inner: service.call(request), decision: Some(decision), options, conclusion }
        }
        Ok(decision) => HttpCallState::Refused { answer: refused(Refusal::Denied(&decision), &request) },
        Err(unavailable) => HttpCallState::Refused { answer: refused(Refusal::Unavailable(&unavailable), &request) },
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
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                StateProj::Deciding { decision, call } => {
                    let decided = ready!(decision.poll(cx));
                    resume(*call.take().expect(POLLED_AFTER_COMPLETION), decided)
                }
                StateProj::Passed { inner, conclusion } => {
                    let answer = ready!(inner.poll(cx));
                    return Poll::Ready(answered(answer, conclusion.take(), None));
                }
                StateProj::Admitted { inner, decision, options, conclusion } => {
                    let answer = ready!(inner.poll(cx));
                    return Poll::Ready(answered(answer, conclusion.take(), Some((decision, options))));
                }
                StateProj::Refused { answer } => {
                    let answer = answer.take().expect(POLLED_AFTER_COMPLETION);
                    return Poll::Ready(Ok(answer.map(ResponseBody::refusal)));
                }
            };
            state.set(next);
        }
    }
}

impl<S, B, D> fmt::Debug for ResponseFuture<S, B, D>
where
    S: Service<Request<B>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ResponseFuture").field(&self.state.name()).finish()
    }
}

impl<S, B, D> HttpCallState<S, B, D>
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

/// Hands on what the inner service has answered, and with it what is shown and what is left to conclude. An error is no response.
fn answered<B, E>(
    answer: Result<Response<B>, E>,
    conclusion: Option<Box<Conclusion>>,
    shown: Option<(&mut Option<Decision>, &AdmissionOptions)>,
) -> Result<Response<ResponseBody<B>>, E>
where
    B: Body,
{
    answer.map(|mut response| {
        if let Some((decision, options)) = shown {
            show_decision(&mut response, decision, options);
        }
        match conclusion {
            Some(conclusion) => ResponseBody::concluding(response, conclusion),
            None => response.map(ResponseBody::inner),
        }
    })
}

/// Adds a decision to the inner service's response, for callers and outer layers.
fn show_decision<B>(response: &mut Response<B>, made: &mut Option<Decision>, options: &AdmissionOptions) {
    if let Some(decision) = made
        && !is_denied_further_in(response)
    {
        add_fields(response, decision, options);
        if options.decision.response()
            && let Some(decision) = made.take()
        {
            response.extensions_mut().insert(decision);
        }
    }
}

/// Returns whether a limiter further in has denied the request: its answer takes precedence then.
fn is_denied_further_in<B>(response: &Response<B>) -> bool {
    response.extensions().get::<Decision>().is_some_and(|decision| !decision.is_admitted())
}
