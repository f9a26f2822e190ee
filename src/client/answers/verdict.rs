//! Whether an answer is a refusal.

use std::time::Duration;

use http::{HeaderMap, StatusCode};

use crate::{
    client::{
        Advice,
        answers::{
            refusals::{Refusals, forbids_retry},
            retry_after::stated_wait,
            timeline::Timeline,
        },
    },
    grpc::{Outcome, Pushback},
};

const OK: u32 = 0;
const RESOURCE_EXHAUSTED: u32 = 8;
/// What gRPC has where HTTP has 503.
const UNAVAILABLE: u32 = 14;

/// What an answer says about the call that it answers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Verdict {
    pub(super) is_refusal: bool,
    /// The wait that it states in so many words.
    pub(super) stated: Option<Duration>,
    is_failure: bool,
    forbids_retry: bool,
}

impl Verdict {
    pub(super) fn of_http(status: StatusCode, headers: &HeaderMap, timeline: &Timeline, refusals: &Refusals) -> Self {
        let stated = stated_wait(headers, timeline);
        let is_refusal = refusals.include(status, headers, stated.is_some());
        Self {
            is_refusal,
            stated: stated.filter(|_| is_refusal),
            is_failure: status.is_server_error() && !is_refusal,
            forbids_retry: !status.is_success() && forbids_retry(headers),
        }
    }

    /// Of the end of a gRPC call, whose own fields come before the wait that stands in others.
    pub(super) fn of_call(outcome: &Outcome, in_others: Option<Duration>, bare_exhausted: bool) -> Self {
        let pushback = match outcome.pushback() {
            Some(Pushback::After(wait)) => Some(wait),
            Some(Pushback::Never) | None => None,
        };
        let stated = pushback.or(outcome.retry_delay()).or(in_others);
        let stated = stated.filter(|_| [RESOURCE_EXHAUSTED, UNAVAILABLE].contains(&outcome.code()));
        let forbids_retry = outcome.pushback() == Some(Pushback::Never) && outcome.code() != OK;
        // Messages that are too large end so as well, but of them nobody says when to retry.
        let is_exhausted = outcome.code() == RESOURCE_EXHAUSTED && (bare_exhausted || forbids_retry);
        let is_refusal = stated.is_some() || is_exhausted;
        Self { is_refusal, stated, is_failure: outcome.code() != OK && !is_refusal, forbids_retry }
    }

    pub(super) fn advice(self) -> Advice {
        let advice = if self.is_refusal { Advice::none().refused() } else { Advice::none() };
        let advice = if self.is_failure { advice.failed() } else { advice };
        if self.forbids_retry { advice.never_retry() } else { advice }
    }
}
