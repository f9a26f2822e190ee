//! The end of a call, shared by its request and its response.

use std::{
    sync::Arc,
    task::{Context, Waker},
};

use http::{HeaderMap, Response};
use parking_lot::Mutex;

use crate::{
    error::Unavailable,
    http::{Refusal, RefusalBody, ResponseOptions},
    limiter::Decision,
};

/// The end that a denied message puts to its call, if any.
#[derive(Debug)]
pub(super) struct CallEnd {
    options: Arc<ResponseOptions>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    end: Option<EndReason>,
    /// The task that waits for the response, which is woken at the end of the call.
    waker: Option<Waker>,
}

/// The reason why a message was not admitted.
#[derive(Clone, Debug)]
pub(super) enum EndReason {
    Denied(Decision),
    Unavailable(Unavailable),
}

impl CallEnd {
    pub(super) fn new(options: Arc<ResponseOptions>) -> Self {
        Self { options, state: Mutex::default() }
    }

    /// Ends the call.
    pub(super) fn end(&self, end: EndReason) {
        let mut state = self.state.lock();
        let waker = state.waker.take();
        state.end = Some(end);
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Returns whether the call has been ended.
    pub(super) fn has_ended(&self) -> bool {
        self.state.lock().end.is_some()
    }

    /// Returns the end of the call, or `None` if there is none yet. Then the task of `cx` is woken at the end.
    pub(super) fn poll_end(&self, cx: &Context<'_>) -> Option<EndReason> {
        let mut state = self.state.lock();
        if state.end.is_none() && !state.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.waker = Some(cx.waker().clone());
        }
        state.end.clone()
    }

    /// Returns the answer to a call that ends before the inner service has answered.
    pub(super) fn refusal(&self, end: &EndReason) -> Response<RefusalBody> {
        end.refusal().grpc_answer(&self.options)
    }

    /// Returns the trailers of a call that the inner service has begun to answer.
    pub(super) fn trailers(&self, end: &EndReason) -> HeaderMap {
        end.refusal().grpc_status(&self.options).trailers()
    }
}

impl EndReason {
    const fn refusal(&self) -> Refusal<'_> {
        match self {
            Self::Denied(decision) => Refusal::Denied(decision),
            Self::Unavailable(unavailable) => Refusal::Unavailable(unavailable),
        }
    }
}
