//! The policy.

use std::sync::Arc;

use http::{Extensions, HeaderName, Request, Response};
use tokio::time::{Sleep, sleep};

use crate::{
    client::retry::{Budget, ReplayBody, RetryPolicyBuilder, session::Session, terms::Terms},
    grpc::Protocol,
    http::RequestView,
};

/// gRFC A6: how many attempts a call had before this one.
const PREVIOUS_ATTEMPTS: HeaderName = HeaderName::from_static("grpc-previous-rpc-attempts");

/// Says of HTTP and gRPC calls which are made again, and when.
///
/// See the [module docs](crate::client::retry) for its use. Clones share one budget; what is remembered of a call is in the
/// clone that tower makes for it.
#[derive(Clone, Debug)]
pub struct RetryPolicy {
    terms: Arc<Terms>,
    session: Session,
}

/// Among the extensions of a request: some layer retries it already.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retried;

impl RetryPolicy {
    /// A policy to be made.
    pub fn builder() -> RetryPolicyBuilder {
        RetryPolicyBuilder::default()
    }

    /// What bounds the attempts of all calls together.
    #[must_use]
    pub fn budget(&self) -> &Budget {
        &self.terms.budget
    }

    pub(super) fn of(terms: Terms) -> Self {
        Self { terms: Arc::new(terms), session: Session::begin() }
    }

    /// Whether a copy of the request is to be kept. Before the first attempt this is where the call begins: tower asks
    /// before it makes the clone that stays with the call.
    fn enter(&mut self, extensions: &Extensions) -> bool {
        if self.session.repeats() == 0 {
            if extensions.get::<Retried>().is_some() {
                return false;
            }
            self.session = Session::begin();
            self.terms.budget.deposit();
        }
        self.session.repeats().saturating_add(1) < self.terms.attempts
    }

    /// The pause before another attempt, and what that says of the ones before.
    fn pause<B, ResBody, E: 'static>(
        &mut self,
        request: &mut Request<B>,
        result: &Result<Response<ResBody>, E>,
    ) -> Option<Sleep> {
        let view = RequestView::of(request);
        let is_grpc = Protocol::of(&view) == Protocol::Grpc;
        let repeatable = self.terms.judge(&view, result)?;
        let wait = self.session.next_wait(repeatable.stated, &self.terms)?;
        if !self.terms.budget.withdraw() {
            return None;
        }
        self.session.repeat_after(wait);
        request.extensions_mut().insert(Retried);
        if is_grpc {
            request.headers_mut().insert(PREVIOUS_ATTEMPTS, self.session.repeats().into());
        }
        Some(sleep(wait))
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self::of(Terms::default())
    }
}

/// For `tower::retry::RetryLayer`, around clients whose bodies can be cloned.
impl<B, ResBody, E> tower::retry::Policy<Request<B>, Response<ResBody>, E> for RetryPolicy
where
    B: Clone,
    E: 'static,
{
    type Future = Sleep;

    fn retry(&mut self, request: &mut Request<B>, result: &mut Result<Response<ResBody>, E>) -> Option<Sleep> {
        self.pause(request, result)
    }

    fn clone_request(&mut self, request: &Request<B>) -> Option<Request<B>> {
        self.enter(request.extensions()).then(|| request.clone())
    }
}

/// For [`RetryLayer`](super::RetryLayer).
impl<B, ResBody, E> tower::retry::Policy<Request<ReplayBody<B>>, Response<ResBody>, E> for RetryPolicy
where
    E: 'static,
{
    type Future = Sleep;

    fn retry(
        &mut self,
        request: &mut Request<ReplayBody<B>>,
        result: &mut Result<Response<ResBody>, E>,
    ) -> Option<Sleep> {
        if !request.body().can_be_sent() {
            return None;
        }
        self.pause(request, result).filter(|_| request.body().take_over())
    }

    fn clone_request(&mut self, request: &Request<ReplayBody<B>>) -> Option<Request<ReplayBody<B>>> {
        self.enter(request.extensions()).then(|| again(request))
    }
}

fn again<B>(request: &Request<ReplayBody<B>>) -> Request<ReplayBody<B>> {
    let mut again = Request::new(request.body().again());
    *again.method_mut() = request.method().clone();
    *again.uri_mut() = request.uri().clone();
    *again.version_mut() = request.version();
    *again.headers_mut() = request.headers().clone();
    *again.extensions_mut() = request.extensions().clone();
    again
}
