//! What the two directions of a call share.

use std::{
    sync::Arc,
    task::{Context, Waker},
};

use bytes::Bytes;
use http::{HeaderMap, Response};
use parking_lot::Mutex;

use crate::{
    decision::Decision,
    ending::Ending,
    http::Style,
    limiter::{Governed, RateLimiter},
};

/// Charges the messages of one call, and knows whether that has ended it.
#[derive(Debug)]
pub(super) struct Meter {
    limiter: RateLimiter,
    governed: Governed,
    style: Arc<Style>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What denied a message.
    denied: Option<Decision>,
    /// Who waits for the response: it must be told when there is no use in waiting.
    waiting: Option<Waker>,
}

impl Meter {
    pub(super) fn new(limiter: RateLimiter, governed: Governed, style: Arc<Style>) -> Self {
        Self { limiter, governed, style, state: Mutex::default() }
    }

    /// Charges a message, or returns the decision that denies it and ends the call.
    pub(super) fn charge_message(&self) -> Option<Decision> {
        let decision = self.limiter.decide(&self.governed.charges, self.governed.rules.clone());
        if decision.is_admitted() {
            return None;
        }
        let mut state = self.state.lock();
        let waiting = state.waiting.take();
        state.denied = Some(decision.clone());
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
        Some(decision)
    }

    /// Whether a message was denied.
    pub(super) fn has_denied(&self) -> bool {
        self.state.lock().denied.is_some()
    }

    /// The answer to a call that ends before the inner service has answered.
    pub(super) fn refusal(&self, decision: &Decision) -> Response<Bytes> {
        Ending::Denied(decision).answer_on_grpc(&self.style)
    }

    /// The end of a call that the inner service has begun to answer.
    pub(super) fn trailers(&self, decision: &Decision) -> HeaderMap {
        Ending::Denied(decision).status(&self.style).trailers()
    }

    /// The decision that denied a message; if none has yet, the task of `cx` is woken when one does.
    pub(super) fn poll_denied(&self, cx: &Context<'_>) -> Option<Decision> {
        let mut state = self.state.lock();
        if state.denied.is_none() && !state.waiting.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.waiting = Some(cx.waker().clone());
        }
        state.denied.clone()
    }
}
