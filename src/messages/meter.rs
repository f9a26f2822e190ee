//! Finds the rules that a call's messages are charged to.

use std::sync::Arc;

use http::Response;

use crate::{
    grpc::Protocol,
    http::{Refusal, RefusalBody, Style},
    limiter::RateLimiter,
    messages::{count::Count, counted::Counted, fate::Fate},
    request::{Http, RequestView},
    store::Store,
};

/// The rules that are for every message of a call, and the words of refusals.
#[derive(Debug)]
pub(super) struct MessageMeter<T> {
    /// None if there is no limit at all.
    pub(super) limiter: Option<RateLimiter<Http, T>>,
    pub(super) style: Arc<Style>,
    /// The numbers of the rules.
    pub(super) rules: Arc<[u16]>,
}

/// What becomes of the messages of a request.
pub(super) enum Counting<T: Store> {
    /// No rule is for them.
    Uncounted,
    Counted(Box<Count<T>>),
    /// The request ends here, with this answer: they would escape a rule.
    Refused(Response<RefusalBody>),
}

impl<T: Store> MessageMeter<T> {
    /// Whether and how the messages of this request are counted.
    pub(super) fn count(&self, request: &RequestView<'_>) -> Counting<T> {
        let Some(limiter) = &self.limiter else { return Counting::Uncounted };
        let counted = Counted::of(request.extensions(), limiter.rulebook());
        let style = &self.style;
        if style.passes(request) {
            return Counting::Uncounted;
        }
        match limiter.govern(request, |rule| self.rules.contains(&rule), &counted) {
            Ok(governed) if governed.charges.is_empty() => Counting::Uncounted,
            Ok(_) if Protocol::of(request) != Protocol::Grpc => {
                Counting::Refused(Refusal::NotGrpc.answer(request, style))
            }
            Ok(governed) => {
                let fate = Arc::new(Fate::new(Arc::clone(style)));
                Counting::Counted(Box::new(Count::new(limiter.clone(), governed, fate)))
            }
            Err(missing) => {
                let refusal = Refusal::key_missing(limiter.names_of(missing), missing.status);
                Counting::Refused(refusal.answer(request, style))
            }
        }
    }
}

impl<T> Clone for MessageMeter<T> {
    fn clone(&self) -> Self {
        Self { limiter: self.limiter.clone(), style: Arc::clone(&self.style), rules: Arc::clone(&self.rules) }
    }
}
