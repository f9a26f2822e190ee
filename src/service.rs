//! The service: decides, and calls the inner service only after admission.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Extensions, Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::{
    decision::Decision,
    ending::Ending,
    error::ConfigError,
    future::ResponseFuture,
    http::{RequestView, ResponseBody, Style},
    limiter::{RateLimiter, RuleNumbers},
};

/// A service behind a [`RateLimitLayer`](crate::RateLimitLayer).
///
/// The decision falls in `call`, before the inner service is called: a request that is not admitted never reaches it.
/// What `poll_ready` reserved in the inner service, such as a permit, is given back then, by going on with a clone; so the
/// inner service is `Clone`, as those of servers are. Put a `tower::buffer::Buffer` around one that is not.
#[derive(Clone, Debug)]
pub struct RateLimit<S> {
    inner: S,
    limiter: Result<RateLimiter, Arc<ConfigError>>,
    style: Arc<Style>,
}

/// What becomes of a request.
enum Outcome {
    /// No rule governs it.
    Ungoverned,
    Admitted(Decision),
    /// It ends here, with this answer.
    Refused(Response<Bytes>),
}

/// The decisions of other limiters that a request has passed, outermost first: the extension holds only the last one.
#[derive(Clone, Debug, Default)]
struct Passed(Vec<Decision>);

impl<S> RateLimit<S> {
    pub(crate) const fn new(inner: S, limiter: Result<RateLimiter, Arc<ConfigError>>, style: Arc<Style>) -> Self {
        Self { inner, limiter, style }
    }

    /// The inner service.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service.
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }

    fn decide<B>(&self, request: &Request<B>) -> Outcome {
        let view = RequestView::of(request);
        let refused = |ending: Ending<'_>| Outcome::Refused(ending.answer(&view, &self.style));
        let limiter = match &self.limiter {
            Ok(limiter) => limiter,
            Err(error) => return refused(Ending::misconfigured(error)),
        };
        match limiter.decide_request(&view, &applied(limiter, request.extensions())) {
            Ok(None) => Outcome::Ungoverned,
            Ok(Some(decision)) if decision.is_admitted() => Outcome::Admitted(decision),
            Ok(Some(decision)) => refused(Ending::Denied(&decision)),
            Err(missing) => refused(Ending::missing_key(limiter.level_of(missing), missing.status)),
        }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for RateLimit<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    ResBody: Body,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        match self.decide(&request) {
            Outcome::Ungoverned => ResponseFuture::ungoverned(self.inner.call(request)),
            Outcome::Admitted(decision) => {
                enter(request.extensions_mut(), decision.entered());
                ResponseFuture::admitted(self.inner.call(request), decision, Arc::clone(&self.style))
            }
            Outcome::Refused(answer) => {
                self.inner = self.inner.clone();
                ResponseFuture::refused(answer)
            }
        }
    }
}

/// The rules of this limiter that the request has passed already: it is mounted twice, and charges once.
fn applied(limiter: &RateLimiter, extensions: &Extensions) -> RuleNumbers {
    let Some(last) = extensions.get::<Decision>() else { return RuleNumbers::new() };
    let earlier = extensions.get::<Passed>().map_or(&[][..], |passed| &passed.0);
    let passed = earlier.iter().chain(std::iter::once(last));
    passed.flat_map(|decision| decision.applied(limiter.rulebook())).copied().collect()
}

fn enter(extensions: &mut Extensions, decision: Decision) {
    if let Some(outer) = extensions.insert(decision) {
        extensions.get_or_insert_default::<Passed>().0.push(outer);
    }
}
