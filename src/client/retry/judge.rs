//! What became of an attempt, and whether another may help.

use std::{any::Any, fmt, sync::Arc, time::Duration};

use http::{HeaderMap, Response, StatusCode};

use crate::{
    client::{Advice, Answers, pace::PaceError, retry::repeat::Reason},
    grpc::{Outcome, is_trailers_only},
    request::RequestView,
};

/// UNAVAILABLE
const GRPC_UNAVAILABLE: u32 = 14;
/// Of gateways whose server did not answer.
const FAILURES: [StatusCode; 3] =
    [StatusCode::BAD_GATEWAY, StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT];

/// Decides whether a call may be made again, for all that is known of it.
#[derive(Clone)]
pub(super) struct Judge {
    pub(super) answers: Answers,
    pub(super) read_fields: Option<Arc<ReadFields>>,
    pub(super) read_response: Option<Arc<ReadOutcome>>,
    pub(super) read_error: Option<Arc<ReadOutcome>>,
    pub(super) failures: Vec<StatusCode>,
    pub(super) left_out: Vec<StatusCode>,
    pub(super) is_idempotent: Arc<IsIdempotent>,
    pub(super) is_passing: Arc<IsError>,
    pub(super) is_unsent: Arc<IsError>,
}

pub(super) type ReadFields = dyn Fn(&RequestView<'_>, StatusCode, &HeaderMap) -> Advice + Send + Sync;
/// None of what is not of the type that it reads, or says nothing.
pub(super) type ReadOutcome = dyn Fn(&RequestView<'_>, &dyn Any) -> Option<Advice> + Send + Sync;
pub(super) type IsIdempotent = dyn Fn(&RequestView<'_>) -> bool + Send + Sync;
pub(super) type IsError = dyn Fn(&dyn Any) -> bool + Send + Sync;

/// A call that may be made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Repeatable {
    pub(super) reason: Reason,
    /// The wait that the server has stated.
    pub(super) stated: Option<Duration>,
}

impl Default for Judge {
    fn default() -> Self {
        Self {
            answers: Answers::new(),
            read_fields: None,
            read_response: None,
            read_error: None,
            failures: FAILURES.to_vec(),
            left_out: Vec::new(),
            is_idempotent: Arc::new(|_| false),
            is_passing: Arc::new(|_| false),
            is_unsent: Arc::new(|_| false),
        }
    }
}

impl Judge {
    /// Whether a call that ended like this may be made again.
    pub(super) fn judge<B, E>(&self, request: &RequestView<'_>, result: &Result<Response<B>, E>) -> Option<Repeatable>
    where
        B: 'static,
        E: 'static,
    {
        match result {
            Ok(response) => self.judge_response(request, response),
            Err(error) => self.judge_error(request, error),
        }
    }

    fn judge_response<B: 'static>(&self, request: &RequestView<'_>, response: &Response<B>) -> Option<Repeatable> {
        let (status, headers) = (response.status(), response.headers());
        if self.left_out.contains(&status) {
            return None;
        }
        let told = self.read_response.as_ref().and_then(|read| read(request, response));
        let advice = told.unwrap_or_else(|| self.read_fields(request, status, headers));
        self.conclude(request, &advice, || self.has_failed(status, headers))
    }

    fn judge_error(&self, request: &RequestView<'_>, error: &dyn Any) -> Option<Repeatable> {
        if let Some(advice) = self.read_error.as_ref().and_then(|read| read(request, error)) {
            return self.conclude(request, &advice, || advice.is_failure());
        }
        if (self.is_unsent)(error) {
            return Some(Repeatable { reason: Reason::NeverSent, stated: None });
        }
        let may_repeat = (self.is_passing)(error) && self.is_idempotent(request);
        may_repeat.then_some(Repeatable { reason: Reason::Failed, stated: None })
    }

    fn conclude(
        &self,
        request: &RequestView<'_>,
        advice: &Advice,
        has_failed: impl FnOnce() -> bool,
    ) -> Option<Repeatable> {
        if advice.forbids_retry() {
            return None;
        }
        let stated = advice.wait_time();
        if advice.is_refusal() {
            return Some(Repeatable { reason: Reason::Refused, stated });
        }
        (has_failed() && self.is_idempotent(request)).then_some(Repeatable { reason: Reason::Failed, stated })
    }

    fn read_fields(&self, request: &RequestView<'_>, status: StatusCode, headers: &HeaderMap) -> Advice {
        match &self.read_fields {
            Some(read) => read(request, status, headers),
            None => self.answers.read(status, headers),
        }
    }

    fn is_idempotent(&self, request: &RequestView<'_>) -> bool {
        request.method().is_idempotent() || (self.is_idempotent)(request)
    }

    /// Whether a response is no answer, but what somebody on the way says in its place.
    fn has_failed(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        match Outcome::of(headers).filter(|_| is_trailers_only(headers)) {
            Some(outcome) => outcome.code() == GRPC_UNAVAILABLE,
            None => self.failures.contains(&status),
        }
    }
}

/// The client's error, which a pacing layer may have wrapped.
pub(super) fn error_of_client<E: 'static>(error: &dyn Any) -> Option<&E> {
    let paced = || match error.downcast_ref() {
        Some(PaceError::Inner(inner)) => Some(inner),
        _ => None,
    };
    error.downcast_ref().or_else(paced)
}

impl fmt::Debug for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Judge")
            .field("answers", &self.answers)
            .field("failures", &self.failures)
            .field("left_out", &self.left_out)
            .finish_non_exhaustive()
    }
}
