//! The policy.

use std::{sync::Arc, time::Duration};

use http::{Extensions, HeaderName, Request, Response};

use crate::{
    client::{
        journey::Journey,
        retry::{
            Budget, Pause, Repeat, ReplayBody, RetryPolicyBuilder, judge::Repeatable, repeat::trace, session::Session,
            terms::Terms,
        },
    },
    grpc::Protocol,
    request::RequestView,
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

    /// How many calls wait between two attempts, of all clones of this policy.
    ///
    /// They are in no queue of a pacing layer meanwhile, so what is under way is these and what
    /// [`Pacer`](crate::client::pace::Pacer) tells.
    #[must_use]
    pub fn asleep(&self) -> usize {
        self.terms.asleep.count()
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

    /// The pause before another attempt, which `take_over` prepares, and what that says of the ones before.
    fn pause<B, ResBody, E>(
        &mut self,
        request: &mut Request<B>,
        result: &Result<Response<ResBody>, E>,
        take_over: impl FnOnce(&B) -> bool,
    ) -> Option<Pause>
    where
        ResBody: 'static,
        E: 'static,
    {
        if let Some(reached) = Journey::in_request(request.extensions()).and_then(Journey::reached) {
            self.session.begin_at(reached);
        }
        let repeatable = self.terms.judge.judge(&RequestView::of(request), result)?;
        let wait = self.session.next_wait(repeatable, &self.terms)?;
        if !self.terms.budget.withdraw() {
            return None;
        }
        if !take_over(request.body()) {
            self.terms.budget.give_back();
            return None;
        }
        self.session.repeat_after(wait);
        self.tell(request, repeatable, wait);
        Some(self.terms.asleep.pause(wait))
    }

    /// Tells the server and those who watch.
    fn tell<B>(&self, request: &mut Request<B>, repeatable: Repeatable, wait: Duration) {
        request.extensions_mut().insert(Retried);
        if Protocol::of(&RequestView::of(request)) == Protocol::Grpc {
            request.headers_mut().insert(PREVIOUS_ATTEMPTS, self.session.repeats().into());
        }
        if let Some(journey) = Journey::in_request(request.extensions()) {
            journey.repeat();
        }
        let view = RequestView::of(request);
        let repeat = Repeat::new(&view, self.session.repeats(), wait, repeatable.reason);
        trace(&repeat);
        (self.terms.on_retry)(&repeat);
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
    ResBody: 'static,
    E: 'static,
{
    type Future = Pause;

    fn retry(&mut self, request: &mut Request<B>, result: &mut Result<Response<ResBody>, E>) -> Option<Pause> {
        self.pause(request, result, |_| true)
    }

    fn clone_request(&mut self, request: &Request<B>) -> Option<Request<B>> {
        self.enter(request.extensions()).then(|| request.clone())
    }
}

/// For [`RetryLayer`](super::RetryLayer).
impl<B, ResBody, E> tower::retry::Policy<Request<ReplayBody<B>>, Response<ResBody>, E> for RetryPolicy
where
    ResBody: 'static,
    E: 'static,
{
    type Future = Pause;

    fn retry(
        &mut self,
        request: &mut Request<ReplayBody<B>>,
        result: &mut Result<Response<ResBody>, E>,
    ) -> Option<Pause> {
        self.pause(request, result, ReplayBody::take_over)
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
