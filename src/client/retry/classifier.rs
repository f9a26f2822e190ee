//! The classifier: decides whether a call may be retried.

use std::{any::Any, fmt, sync::Arc, time::Duration};

use http::{HeaderMap, Response, StatusCode};

use crate::{
    client::{advice::Advice, answers::AdviceReader, pace::PaceError, retry::event::RetryReason},
    grpc::{CallStatus, is_trailers_only},
    request::RequestView,
};

const GRPC_UNAVAILABLE: u32 = 14;
/// The statuses of gateways whose server did not answer.
const GATEWAY_FAILURES: [StatusCode; 3] =
    [StatusCode::BAD_GATEWAY, StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT];

/// Decides whether a call may be retried, by all that is known of it.
#[derive(Clone)]
pub(super) struct RetryClassifier {
    pub(super) reader: AdviceReader,
    pub(super) read_advice: Option<Arc<ReadFieldsFn>>,
    pub(super) read_response: Option<Arc<ReadOutcomeFn>>,
    pub(super) read_error: Option<Arc<ReadOutcomeFn>>,
    pub(super) failures: Vec<StatusCode>,
    pub(super) never_retried: Vec<StatusCode>,
    pub(super) is_idempotent: Arc<RequestPredicate>,
    pub(super) is_transient: Arc<ErrorPredicate>,
    pub(super) is_unsent: Arc<ErrorPredicate>,
}

pub(super) type ReadFieldsFn = dyn Fn(&RequestView<'_>, StatusCode, &HeaderMap) -> Advice + Send + Sync;
/// Returns `None` for values of another type, and for those that say nothing.
pub(super) type ReadOutcomeFn = dyn Fn(&RequestView<'_>, &dyn Any) -> Option<Advice> + Send + Sync;
pub(super) type RequestPredicate = dyn Fn(&RequestView<'_>) -> bool + Send + Sync;
pub(super) type ErrorPredicate = dyn Fn(&dyn Any) -> bool + Send + Sync;

/// A call that may be retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Retryable {
    pub(super) reason: RetryReason,
    pub(super) stated_wait: Option<Duration>,
}

impl Default for RetryClassifier {
    fn default() -> Self {
        Self {
            reader: AdviceReader::new(),
            read_advice: None,
            read_response: None,
            read_error: None,
            failures: GATEWAY_FAILURES.to_vec(),
            never_retried: Vec::new(),
            is_idempotent: Arc::new(|_| false),
            is_transient: Arc::new(|_| false),
            is_unsent: Arc::new(|_| false),
        }
    }
}

impl RetryClassifier {
    /// Classifies the outcome of an attempt. Returns `None` if the call must not be retried.
    pub(super) fn classify<B, E>(
        &self,
        request: &RequestView<'_>,
        outcome: &Result<Response<B>, E>,
    ) -> Option<Retryable>
    where
        B: 'static,
        E: 'static,
    {
        match outcome {
            Ok(response) => self.classify_response(request, response),
            Err(error) => self.classify_error(request, error),
        }
    }

    fn classify_response<B: 'static>(&self, request: &RequestView<'_>, response: &Response<B>) -> Option<Retryable> {
        let (status, headers) = (response.status(), response.headers());
        if self.never_retried.contains(&status) {
            return None;
        }
        let advice = self.read_response.as_ref().and_then(|read| read(request, response));
        let advice = advice.unwrap_or_else(|| self.read_fields(request, status, headers));
        self.conclude(request, &advice, || self.has_failed(status, headers))
    }

    fn classify_error(&self, request: &RequestView<'_>, error: &dyn Any) -> Option<Retryable> {
        if let Some(advice) = self.read_error.as_ref().and_then(|read| read(request, error)) {
            return self.conclude(request, &advice, || advice.is_failure());
        }
        if (self.is_unsent)(error) {
            return Some(Retryable { reason: RetryReason::NotSent, stated_wait: None });
        }
        let may_retry = (self.is_transient)(error) && self.is_idempotent(request);
        may_retry.then_some(Retryable { reason: RetryReason::Failed, stated_wait: None })
    }

    fn conclude(
        &self,
        request: &RequestView<'_>,
        advice: &Advice,
        has_failed: impl FnOnce() -> bool,
    ) -> Option<Retryable> {
        if advice.forbids_retry() {
            return None;
        }
        let stated_wait = advice.wait_time();
        if advice.is_refusal() {
            return Some(Retryable { reason: RetryReason::Refused, stated_wait });
        }
        let may_retry = has_failed() && self.is_idempotent(request);
        may_retry.then_some(Retryable { reason: RetryReason::Failed, stated_wait })
    }

    fn read_fields(&self, request: &RequestView<'_>, status: StatusCode, headers: &HeaderMap) -> Advice {
        match &self.read_advice {
            Some(read) => read(request, status, headers),
            None => self.reader.read(status, headers),
        }
    }

    fn is_idempotent(&self, request: &RequestView<'_>) -> bool {
        request.method().is_idempotent() || (self.is_idempotent)(request)
    }

    /// Returns `true` if the response comes from an intermediary, or from a gRPC server that is unavailable.
    fn has_failed(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        match CallStatus::from_trailers(headers).filter(|_| is_trailers_only(headers)) {
            Some(outcome) => outcome.code() == GRPC_UNAVAILABLE,
            None => self.failures.contains(&status),
        }
    }
}

/// Returns the client's error, which a pacing layer may have wrapped.
pub(super) fn error_of_client<E: 'static>(error: &dyn Any) -> Option<&E> {
    match error.downcast_ref() {
        Some(PaceError::Inner(inner)) => Some(inner),
        _ => error.downcast_ref(),
    }
}

impl fmt::Debug for RetryClassifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryClassifier")
            .field("reader", &self.reader)
            .field("failures", &self.failures)
            .field("never_retried", &self.never_retried)
            .finish_non_exhaustive()
    }
}
