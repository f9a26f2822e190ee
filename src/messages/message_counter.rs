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
    cost::MessageHead,
    error::Unavailable,
    key::Charge,
    limiter::{
        ChargeMark, ChargeMarks, Charges, Decision, HeldCharges, MaybeDecided, PendingDecision, RateLimiter,
        RulebookRef, ShardedRulebook,
    },
    messages::{
        call_end::{CallEnd, EndReason},
        framing::{Framing, PREFIX},
    },
    request::Http,
    store::{Detail, Store},
};

/// Charges the messages of one request, and holds back those that are not admitted yet.
pub(super) struct MessageCounter<T: Store> {
    limiter: RateLimiter<Http, T>,
    charges: HeldCharges,
    call_end: Arc<CallEnd>,
    framing: Framing,
    /// Whether no message has begun yet: the first is covered by the charge for the call, under rules without a cost of messages.
    is_first: bool,
    /// Whether some rule has to know what a message costs.
    reads_heads: bool,
    /// The bytes of a prefix that is not complete, or not admitted. They are before the held ones, of an earlier piece.
    begun: Bytes,
    /// Bytes that are to be passed on first.
    passing: Bytes,
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
        let mut costs = charges.charges.rules.iter().map(|used| charges.rulebook.rule(used.rule).message_cost());
        Self {
            reads_heads: costs.any(|cost| cost.is_some()),
            begun: Bytes::new(),
            passing: Bytes::new(),
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
        self.needs_more() && self.begun.is_empty()
    }

    /// Returns whether nothing can pass before more bytes arrive: at most the beginning of a prefix is held back.
    pub(super) const fn needs_more(&self) -> bool {
        self.held.is_empty() && self.passing.is_empty()
    }

    /// Takes what is held back of a prefix: no more bytes will arrive.
    pub(super) fn take_begun(&mut self) -> Bytes {
        std::mem::take(&mut self.begun)
    }

    /// Takes bytes that have arrived. Must need them.
    pub(super) fn take(&mut self, data: Bytes) {
        (self.held, self.admitted, self.searched) = (data, 0, 0);
    }

    /// Polls for the bytes that may pass: all held ones, or those before a message that is denied, or not decided yet. There are
    /// none if all of them are the beginning of a prefix.
    pub(super) fn poll_admitted(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        if !self.passing.is_empty() {
            return Poll::Ready(std::mem::take(&mut self.passing));
        }
        loop {
            if let Some(pending) = &mut self.pending {
                match pending.as_mut().poll(cx) {
                    Poll::Ready(decided) => self.conclude(decided),
                    Poll::Pending if self.admitted == 0 => return Poll::Pending,
                    Poll::Pending => return Poll::Ready(self.pass_on()),
                }
            }
            if self.end.is_some() {
                let admitted = if self.admitted > 0 { self.pass_on() } else { Bytes::new() };
                (self.held, self.begun) = (Bytes::new(), Bytes::new());
                return Poll::Ready(admitted);
            }
            let Some(message) = self.find_message() else { return Poll::Ready(self.pass_on_all()) };
            let is_first = std::mem::take(&mut self.is_first);
            self.charge(message, is_first);
        }
    }

    /// Searches for the next message, and for its head if that has to be known. One that is found is not admitted yet.
    fn find_message(&mut self) -> Option<Option<MessageHead>> {
        let mut rest = self.held.get(self.searched..).unwrap_or_default();
        let found = match self.reads_heads {
            true => self.framing.next_head(&mut rest).map(Some),
            false => self.framing.next_message(&mut rest).then_some(None),
        };
        self.searched = self.held.len() - rest.len();
        if found.is_some() {
            let read = if self.reads_heads { usize::from(PREFIX) } else { 1 };
            self.admitted = self.searched.saturating_sub(read);
        }
        found
    }

    fn charge(&mut self, message: Option<MessageHead>, is_first: bool) {
        let of_message;
        let charges = match message {
            None if is_first => return,
            None => &self.charges,
            Some(head) => {
                of_message = self.charges_of(head, is_first);
                &of_message
            }
        };
        if charges.charges.charges.is_empty() {
            return;
        }
        match self.limiter.decide(charges, Detail::OnDenial) {
            MaybeDecided::Ready(decision) => self.conclude(Ok(decision)),
            MaybeDecided::Pending(pending) => self.pending = Some(Box::pin(pending)),
        }
    }

    /// Returns the charges of a message. The first one is covered by the charge for the call, except where messages have a cost.
    fn charges_of(&self, head: MessageHead, is_first: bool) -> HeldCharges {
        let HeldCharges { charges, rulebook, .. } = &self.charges;
        let mut of_message = Charges::default();
        for (charge, rule) in charges.charges.iter().zip(&charges.rules) {
            match rulebook.rule(rule.rule).message_cost() {
                Some(cost) => of_message.add(*rule, &Charge { units: cost.units(head), ..*charge }),
                None if is_first => {}
                None => of_message.add(*rule, charge),
            }
        }
        HeldCharges { charges: of_message, rulebook: Arc::clone(rulebook), ..self.charges }
    }

    fn conclude(&mut self, decided: Result<Decision, Unavailable>) {
        self.pending = None;
        self.end = match decided {
            Ok(decision) if decision.is_admitted() => {
                // A reload may have given the rule costs that are settled, which a message has not.
                decision.into_answer();
                None
            }
            Ok(decision) => Some(EndReason::Denied(decision)),
            Err(unavailable) => Some(EndReason::Unavailable(unavailable)),
        };
        if let Some(end) = &self.end {
            self.call_end.end(end.clone());
        }
    }

    /// Passes on the bytes that are admitted: those of an earlier piece by themselves, so that none are copied.
    fn pass_on(&mut self) -> Bytes {
        let rest = self.held.split_off(self.admitted.min(self.held.len()));
        self.searched = self.searched.saturating_sub(self.admitted);
        self.admitted = 0;
        let admitted = std::mem::replace(&mut self.held, rest);
        match std::mem::take(&mut self.begun) {
            begun if begun.is_empty() => admitted,
            begun => {
                self.passing = admitted;
                begun
            }
        }
    }

    /// Passes on all bytes but the beginning of a prefix whose end has to be known first. There are four of them at most, so these
    /// are copied: else they would keep the whole piece alive.
    fn pass_on_all(&mut self) -> Bytes {
        let begun = if self.reads_heads { self.framing.begun() } else { 0 };
        self.admitted = self.held.len().saturating_sub(begun);
        let rest = self.held.split_off(self.admitted);
        if begun > rest.len() {
            self.begun = [&*self.begun, &*rest].concat().into();
            self.searched = 0;
            return Bytes::new();
        }
        let admitted = self.pass_on();
        (self.begun, self.searched) = (Bytes::copy_from_slice(&rest), 0);
        admitted
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
