//! What the two directions of a call share.

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

/// Whether a message has ended its call.
#[derive(Debug)]
pub(super) struct CallEnd {
    style: Arc<ResponseOptions>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    end: Option<EndReason>,
    /// Who waits for the response: it must be told when there is no use in waiting.
    waiting: Option<Waker>,
}

/// Why a message was not admitted.
#[derive(Clone, Debug)]
pub(super) enum EndReason {
    Denied(Decision),
    Unavailable(Unavailable),
}

impl CallEnd {
    pub(super) fn new(style: Arc<ResponseOptions>) -> Self {
        Self { style, state: Mutex::default() }
    }

    /// Ends the call.
    pub(super) fn end(&self, end: EndReason) {
        let mut state = self.state.lock();
        let waiting = state.waiting.take();
        state.end = Some(end);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Whether the call has been ended.
    pub(super) fn has_ended(&self) -> bool {
        self.state.lock().end.is_some()
    }

    /// What has ended the call; if nothing has yet, the task of `cx` is woken when something does.
    pub(super) fn poll_end(&self, cx: &Context<'_>) -> Option<EndReason> {
        let mut state = self.state.lock();
        if state.end.is_none() && !state.waiting.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.waiting = Some(cx.waker().clone());
        }
        state.end.clone()
    }

    /// The answer to a call that ends before the inner service has answered.
    pub(super) fn refusal(&self, end: &EndReason) -> Response<RefusalBody> {
        end.why().answer_on_grpc(&self.style)
    }

    /// The end of a call that the inner service has begun to answer.
    pub(super) fn trailers(&self, end: &EndReason) -> HeaderMap {
        end.why().grpc_status(&self.style).trailers()
    }
}

impl EndReason {
    const fn why(&self) -> Refusal<'_> {
        match self {
            Self::Denied(decision) => Refusal::Denied(decision),
            Self::Unavailable(unavailable) => Refusal::Unavailable(unavailable),
        }
    }
}
