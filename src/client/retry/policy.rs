//! The retry policy.

use std::{sync::Arc, time::Duration};

use http::{Extensions, HeaderName, Request, Response};
use tokio::time::Instant;

use crate::{
    client::{
        attempt_tracker::AttemptTracker,
        backoff::random_between,
        retry::{
            budget::Budget,
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

/// The bounds of the default jitter. A shorter one would bring back all clients that were refused together at once.
const MIN_JITTER: Duration = Duration::from_secs(2);
const MAX_JITTER: Duration = Duration::from_secs(5);

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

/// The state of one call, over all its attempts.
#[derive(Clone, Copy, Debug)]
struct CallState {
    begun_at: Instant,
    repeats: u32,
    /// The wait before the last attempt.
    last_wait: Duration,
}

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
        let retryable = self.config.classifier.classify(&RequestView::new(request), outcome)?;
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
        if Protocol::from_request(&RequestView::new(request)) == Protocol::Grpc {
            request.headers_mut().insert(PREVIOUS_ATTEMPTS, self.call.repeats().into());
        }
        if let Some(tracker) = AttemptTracker::from_extensions(request.extensions()) {
            tracker.add_attempt();
        }
        let view = RequestView::new(request);
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

impl CallState {
    fn new() -> Self {
        Self { begun_at: Instant::now(), repeats: 0, last_wait: Duration::ZERO }
    }

    /// Returns the number of retries.
    const fn repeats(&self) -> u32 {
        self.repeats
    }

    /// Lets the time of the call begin here, if it has not been retried yet.
    const fn begin_at(&mut self, sent_at: Instant) {
        if self.repeats == 0 {
            self.begun_at = sent_at;
        }
    }

    /// Returns the wait before another attempt, or `None` if there is to be none.
    fn next_wait(&self, retryable: Retryable, config: &RetryConfig) -> Option<Duration> {
        let is_last = self.repeats.saturating_add(1) >= config.max_attempts;
        if is_last || retryable.stated_wait.is_some_and(|wait| wait > config.max_stated_wait) {
            return None;
        }
        let left = config.max_elapsed.checked_sub(self.begun_at.elapsed())?;
        let Some(stated) = retryable.stated_wait else {
            let backoff = config.backoff_after(retryable.reason);
            return Some(backoff.wait(self.repeats, self.last_wait)).filter(|wait| *wait <= left);
        };
        let wait = stated.max(config.backoff().base());
        let jitter = max_jitter(wait, config.max_jitter).min(left.checked_sub(wait)?);
        Some(wait.saturating_add(random_between(Duration::ZERO, jitter)))
    }

    /// Notes a retry after this wait.
    const fn retry_after(&mut self, wait: Duration) {
        self.repeats = self.repeats.saturating_add(1);
        self.last_wait = wait;
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

/// Returns the largest jitter of a wait. A configured one is never more than the wait itself: a short wait would be lost
/// in it.
fn max_jitter(wait: Duration, configured: Option<Duration>) -> Duration {
    configured.map_or(wait.clamp(MIN_JITTER, MAX_JITTER), |configured| configured.min(wait))
}
