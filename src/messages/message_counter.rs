//! Messages, counted as they arrive.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::Extensions;

use crate::{
    error::Unavailable,
    limiter::{Charges, Decision, MaybeDecided, PendingDecision, RateLimiter},
    messages::{
        Framing,
        call_end::{CallEnd, EndReason},
        counted_messages::CountedMessages,
    },
    request::Http,
    store::{Detail, Store},
};

/// Charges the messages of one request, and holds back what is not yet admitted.
pub(super) struct MessageCounter<T: Store> {
    limiter: RateLimiter<Http, T>,
    governed: Charges,
    fate: Arc<CallEnd>,
    framing: Framing,
    /// The first message is covered by the charge for the call.
    is_first: bool,
    /// Bytes that have come and have not been passed on.
    held: Bytes,
    /// How many of them may pass.
    admitted: usize,
    /// How many of them have been searched for messages.
    searched: usize,
    /// The decision about the message that begins behind those that may pass.
    deciding: Option<Pin<Box<PendingDecision<T::Future>>>>,
    end: Option<EndReason>,
}

impl<T: Store> MessageCounter<T> {
    pub(super) fn new(limiter: RateLimiter<Http, T>, governed: Charges, fate: Arc<CallEnd>) -> Self {
        Self {
            limiter,
            governed,
            fate,
            framing: Framing::default(),
            is_first: true,
            held: Bytes::new(),
            admitted: 0,
            searched: 0,
            deciding: None,
            end: None,
        }
    }

    pub(super) const fn fate(&self) -> &Arc<CallEnd> {
        &self.fate
    }

    /// Tells those further in that these messages are counted.
    pub(super) fn note_in(&self, extensions: &mut Extensions) {
        CountedMessages::note(
            extensions,
            Arc::clone(self.limiter.rulebook().local()),
            self.limiter.marks(&self.governed),
        );
    }

    /// Why nothing more may pass.
    pub(super) const fn end(&self) -> Option<&EndReason> {
        self.end.as_ref()
    }

    /// Whether what has come has been passed on.
    pub(super) const fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Takes what has come. Nothing is held at that time.
    pub(super) fn take(&mut self, data: Bytes) {
        (self.held, self.admitted, self.searched) = (data, 0, 0);
    }

    /// What may pass: all that is held, or what comes before a message that is not admitted, or not yet.
    pub(super) fn poll_admitted(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        loop {
            if let Some(deciding) = &mut self.deciding {
                match deciding.as_mut().poll(cx) {
                    Poll::Ready(decided) => self.conclude(decided),
                    Poll::Pending if self.admitted == 0 => return Poll::Pending,
                    Poll::Pending => return Poll::Ready(self.pass_on()),
                }
            }
            if self.end.is_some() {
                let admitted = self.pass_on();
                self.held = Bytes::new();
                return Poll::Ready(admitted);
            }
            if !self.finds_a_message() {
                self.admitted = self.held.len();
                return Poll::Ready(self.pass_on());
            }
            if !std::mem::take(&mut self.is_first) {
                self.charge();
            }
        }
    }

    /// Searches on; a message that begins is not admitted yet.
    fn finds_a_message(&mut self) -> bool {
        let mut rest = self.held.get(self.searched..).unwrap_or_default();
        let found = self.framing.reads_a_beginning(&mut rest);
        self.searched = self.held.len() - rest.len();
        if found {
            self.admitted = self.searched - 1;
        }
        found
    }

    fn charge(&mut self) {
        match self.limiter.decide(&self.governed, Detail::OnDenial) {
            MaybeDecided::Ready(decision) => self.conclude(Ok(decision)),
            MaybeDecided::Pending(deciding) => self.deciding = Some(Box::pin(deciding)),
        }
    }

    fn conclude(&mut self, decided: Result<Decision, Unavailable>) {
        self.deciding = None;
        self.end = match decided {
            Ok(decision) if decision.is_admitted() => None,
            Ok(decision) => Some(EndReason::Denied(decision)),
            Err(unavailable) => Some(EndReason::Unavailable(unavailable)),
        };
        self.end.iter().for_each(|end| self.fate.end(end.clone()));
    }

    fn pass_on(&mut self) -> Bytes {
        let rest = self.held.split_off(self.admitted.min(self.held.len()));
        self.searched = self.searched.saturating_sub(self.admitted);
        self.admitted = 0;
        std::mem::replace(&mut self.held, rest)
    }
}

impl<T: Store> fmt::Debug for MessageCounter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageCounter").field("framing", &self.framing).field("end", &self.end).finish_non_exhaustive()
    }
}
