//! The counter of the messages of one request.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::Extensions;
use smallvec::SmallVec;

use crate::{
    error::Unavailable,
    limiter::{
        ChargeMark, ChargeMarks, Decision, HeldCharges, MaybeDecided, PendingDecision, RateLimiter, RulebookRef,
        ShardedRulebook,
    },
    messages::{
        Framing,
        call_end::{CallEnd, EndReason},
    },
    request::Http,
    store::{Detail, Store},
};

/// HeldCharges the messages of one request, and holds back those that are not admitted yet.
pub(super) struct MessageCounter<T: Store> {
    limiter: RateLimiter<Http, T>,
    charges: HeldCharges,
    call_end: Arc<CallEnd>,
    framing: Framing,
    /// Whether no message has begun yet: the first is covered by the charge for the call.
    is_first: bool,
    /// Bytes that have arrived and have not been passed on.
    held: Bytes,
    /// Number of held bytes that may pass.
    admitted: usize,
    /// Number of held bytes that have been searched for messages.
    searched: usize,
    /// The decision about the message that begins after the admitted bytes.
    pending: Option<Pin<Box<PendingDecision<T::Future>>>>,
    end: Option<EndReason>,
}

/// The charges for the messages of a request that are made further out: a limiter that is mounted twice counts messages once.
#[derive(Clone, Debug, Default)]
pub(super) struct CountedMessages(Vec<(Arc<RulebookRef>, ChargeMarks)>);

impl<T: Store> MessageCounter<T> {
    pub(super) fn new(limiter: RateLimiter<Http, T>, charges: HeldCharges, call_end: Arc<CallEnd>) -> Self {
        Self {
            limiter,
            charges,
            call_end,
            framing: Framing::default(),
            is_first: true,
            held: Bytes::new(),
            admitted: 0,
            searched: 0,
            pending: None,
            end: None,
        }
    }

    pub(super) const fn call_end(&self) -> &Arc<CallEnd> {
        &self.call_end
    }

    /// Records in the extensions that these messages are counted, for the layers further in.
    pub(super) fn record_in(&self, extensions: &mut Extensions) {
        CountedMessages::insert(
            extensions,
            Arc::clone(&self.charges.rulebook),
            self.limiter.marks(&self.charges.charges),
        );
    }

    /// Returns the reason why nothing more may pass, if there is one.
    pub(super) const fn end(&self) -> Option<&EndReason> {
        self.end.as_ref()
    }

    /// Returns whether all bytes that have arrived have been passed on.
    pub(super) const fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Takes bytes that have arrived. Must be empty.
    pub(super) fn take(&mut self, data: Bytes) {
        (self.held, self.admitted, self.searched) = (data, 0, 0);
    }

    /// Polls for the bytes that may pass: all held ones, or those before a message that is denied, or not decided yet.
    pub(super) fn poll_admitted(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        loop {
            if let Some(pending) = &mut self.pending {
                match pending.as_mut().poll(cx) {
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
            if !self.find_message() {
                self.admitted = self.held.len();
                return Poll::Ready(self.pass_on());
            }
            if !std::mem::take(&mut self.is_first) {
                self.charge();
            }
        }
    }

    /// Searches for the next message. One that begins is not admitted yet.
    fn find_message(&mut self) -> bool {
        let mut rest = self.held.get(self.searched..).unwrap_or_default();
        let found = self.framing.next_message(&mut rest);
        self.searched = self.held.len() - rest.len();
        if found {
            self.admitted = self.searched - 1;
        }
        found
    }

    fn charge(&mut self) {
        match self.limiter.decide(&self.charges, Detail::OnDenial) {
            MaybeDecided::Ready(decision) => self.conclude(Ok(decision)),
            MaybeDecided::Pending(pending) => self.pending = Some(Box::pin(pending)),
        }
    }

    fn conclude(&mut self, decided: Result<Decision, Unavailable>) {
        self.pending = None;
        self.end = match decided {
            Ok(decision) if decision.is_admitted() => None,
            Ok(decision) => Some(EndReason::Denied(decision)),
            Err(unavailable) => Some(EndReason::Unavailable(unavailable)),
        };
        if let Some(end) = &self.end {
            self.call_end.end(end.clone());
        }
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

impl CountedMessages {
    /// Returns those of this limiter.
    pub(super) fn of_limiter(extensions: &Extensions, rulebook: &ShardedRulebook) -> SmallVec<[ChargeMark; 4]> {
        let counted = extensions.get::<Self>().map_or(&[][..], |counted| &counted.0);
        counted
            .iter()
            .filter(|(counted_by, _)| counted_by.is_of(rulebook))
            .flat_map(|(_, charged)| charged.iter())
            .copied()
            .collect()
    }

    fn insert(extensions: &mut Extensions, rulebook: Arc<RulebookRef>, charged: ChargeMarks) {
        extensions.get_or_insert_default::<Self>().0.push((rulebook, charged));
    }
}
