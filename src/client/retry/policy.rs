//! The retry policy.

use std::{sync::Arc, time::Duration};

use http::{Extensions, HeaderName, Request, Response};

use crate::{
    client::{
        attempt_tracker::AttemptTracker,
        retry::{
            budget::Budget,
            call_state::CallState,
            classifier::Retryable,
            config::RetryConfig,
            delay::RetryDelay,
            event::{RetryEvent, trace},
            replay_body::ReplayBody,
        },
    },
    grpc::Protocol,
    request::RequestView,
};

/// The number of attempts that a call had before this one (gRFC A6).
const PREVIOUS_ATTEMPTS: HeaderName = HeaderName::from_static("grpc-previous-rpc-attempts");

/// Decides which HTTP and gRPC calls are retried, and when.
///
/// It is a [`tower::retry::Policy`]. Clones share one retry budget; the state of a call is in the clone that tower makes
/// for it. See the [module docs](crate::client::retry) for the rules.
///
/// ```
/// use std::time::Duration;
///
/// use tower_quota::client::RetryPolicy;
///
/// let policy = RetryPolicy::builder()
///     .max_attempts(6)
///     .max_elapsed(Duration::from_secs(30))
///     .max_stated_wait(Duration::from_secs(10))
///     .build()?;
/// assert_eq!(policy.budget().balance(), 100);
/// assert_eq!(policy.in_backoff(), 0);
/// # Ok::<(), tower_quota::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct RetryPolicy {
    config: Arc<RetryConfig>,
    call: CallState,
}

/// Marks requests that some layer retries already, among their extensions.
#[derive(Clone, Copy, Debug)]
pub(super) struct RetryMarker;

impl RetryPolicy {
    /// Returns the retry budget, which bounds the retries of all calls together.
    #[must_use]
    pub fn budget(&self) -> &Budget {
        &self.config.budget
    }

    /// Returns the number of calls in backoff: those that wait between two attempts, of all clones of this policy.
    ///
    /// They are in no queue of a pacing layer meanwhile. To count all calls that wait, add
    /// [`PaceHandle::waiting`](crate::client::pace::PaceHandle::waiting).
    #[must_use]
    pub fn in_backoff(&self) -> usize {
        self.config.delays.count()
    }

    pub(super) fn from_config(config: RetryConfig) -> Self {
        Self { config: Arc::new(config), call: CallState::new() }
    }

    /// Begins an attempt. Returns `true` if a copy of the request is to be kept for another one. Before the first attempt
    /// this is where the call begins: tower asks before it makes the clone that stays with the call.
    fn begin_attempt(&mut self, extensions: &Extensions) -> bool {
        if self.call.repeats() == 0 {
            if extensions.get::<RetryMarker>().is_some() {
                return false;
            }
            self.call = CallState::new();
            self.config.budget.deposit();
        }
        self.call.repeats().saturating_add(1) < self.config.max_attempts
    }

    /// Returns the delay before another attempt, or `None` if there is to be none. `take_over` prepares the body for it,
    /// and returns `false` if it cannot be sent again.
    fn delay<B, ResBody, E>(
        &mut self,
        request: &mut Request<B>,
        outcome: &Result<Response<ResBody>, E>,
        take_over: impl FnOnce(&B) -> bool,
    ) -> Option<RetryDelay>
    where
        ResBody: 'static,
        E: 'static,
    {
        let tracker = AttemptTracker::from_extensions(request.extensions());
        if let Some(sent_at) = tracker.and_then(AttemptTracker::first_sent_at) {
            self.call.begin_at(sent_at);
        }
        let retryable = self.config.classifier.classify(&RequestView::of(request), outcome)?;
        let wait = self.call.next_wait(retryable, &self.config)?;
        if !self.config.budget.withdraw() {
            return None;
        }
        if !take_over(request.body()) {
            self.config.budget.give_back();
            return None;
        }
        self.call.retry_after(wait);
        self.announce(request, retryable, wait);
        Some(self.config.delays.delay(wait))
    }

    /// Tells the server and the observers about a retry.
    fn announce<B>(&self, request: &mut Request<B>, retryable: Retryable, wait: Duration) {
        request.extensions_mut().insert(RetryMarker);
        if Protocol::from_request(&RequestView::of(request)) == Protocol::Grpc {
            request.headers_mut().insert(PREVIOUS_ATTEMPTS, self.call.repeats().into());
        }
        if let Some(tracker) = AttemptTracker::from_extensions(request.extensions()) {
            tracker.add_attempt();
        }
        let view = RequestView::of(request);
        let event = RetryEvent::new(&view, self.call.repeats(), wait, retryable.reason);
        trace(&event);
        (self.config.inspect)(&event);
    }
}

impl Default for RetryPolicy {
    /// Creates a policy with the defaults of the [builder](Self::builder).
    fn default() -> Self {
        Self::from_config(RetryConfig::default())
    }
}

/// For `tower::retry::RetryLayer`, around clients whose bodies can be cloned.
impl<B, ResBody, E> tower::retry::Policy<Request<B>, Response<ResBody>, E> for RetryPolicy
where
    B: Clone,
    ResBody: 'static,
    E: 'static,
{
    type Future = RetryDelay;

    fn retry(&mut self, request: &mut Request<B>, outcome: &mut Result<Response<ResBody>, E>) -> Option<RetryDelay> {
        self.delay(request, outcome, |_| true)
    }

    fn clone_request(&mut self, request: &Request<B>) -> Option<Request<B>> {
        self.begin_attempt(request.extensions()).then(|| request.clone())
    }
}

/// For [`RetryLayer`](super::RetryLayer).
impl<B, ResBody, E> tower::retry::Policy<Request<ReplayBody<B>>, Response<ResBody>, E> for RetryPolicy
where
    ResBody: 'static,
    E: 'static,
{
    type Future = RetryDelay;

    fn retry(
        &mut self,
        request: &mut Request<ReplayBody<B>>,
        outcome: &mut Result<Response<ResBody>, E>,
    ) -> Option<RetryDelay> {
        self.delay(request, outcome, ReplayBody::take_over)
    }

    fn clone_request(&mut self, request: &Request<ReplayBody<B>>) -> Option<Request<ReplayBody<B>>> {
        self.begin_attempt(request.extensions()).then(|| replay(request))
    }
}

fn replay<B>(request: &Request<ReplayBody<B>>) -> Request<ReplayBody<B>> {
    let mut replayed = Request::new(request.body().replay());
    *replayed.method_mut() = request.method().clone();
    *replayed.uri_mut() = request.uri().clone();
    *replayed.version_mut() = request.version();
    *replayed.headers_mut() = request.headers().clone();
    *replayed.extensions_mut() = request.extensions().clone();
    replayed
}
