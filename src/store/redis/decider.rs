//! One decision, in the order of things.

use std::{panic, sync::Arc, time::Duration};

use tokio::runtime::Handle;

use crate::{
    error::Unavailable,
    key::Charge,
    store::{
        BoxFuture, MaybeReady, Verdict,
        redis::{
            batcher::Batcher,
            failure::Failure,
            fallback::Fallback,
            health::Health,
            histories::Histories,
            lease_pool::Step,
            lender::{Borrowed, Lender},
            node::Deadline,
            recent_denials::RecentDenials,
            reservation::{Reserver, SlotGroup},
        },
    },
};

/// Decides: what is known needs no question, what is lent is spent here, and all else is asked, or done without.
#[derive(Debug)]
pub(super) struct Decider {
    pub(super) histories: Arc<Histories>,
    pub(super) denials: Arc<RecentDenials>,
    pub(super) lender: Arc<Lender>,
    pub(super) batcher: Arc<Batcher>,
    pub(super) reserver: Arc<Reserver>,
    pub(super) fallback: Arc<Fallback>,
}

impl Decider {
    /// The answer if it is known or nobody is to be asked, else a question on its way.
    pub(super) fn decide(self: &Arc<Self>, charges: &[Charge], verdict: &mut Verdict) -> MaybeReady<BoxFuture> {
        if charges.is_empty() {
            *verdict = Verdict::new(true);
            return MaybeReady::Ready(());
        }
        if let Some(known) = self.denials.get(charges, self.histories.timepiece.now()) {
            *verdict = known;
            return MaybeReady::Ready(());
        }
        let next = match self.lender.next(charges) {
            Step::Spent(lent) => {
                self.fallback.note_admitted(charges);
                *verdict = lent;
                return MaybeReady::Ready(());
            }
            next => next,
        };
        if matches!(next, Step::Direct)
            && let Some(failure) = self.left_alone(charges)
        {
            return self.fall_back(charges, failure, verdict);
        }
        let (this, charges) = (Arc::clone(self), charges.to_vec());
        MaybeReady::Pending(Box::pin(async move { this.ask(charges, next).await }))
    }

    /// What would be decided now.
    pub(super) async fn peek(&self, charges: &[Charge]) -> Result<Verdict, Unavailable> {
        let deadline = self.deadline()?;
        let peeked = match self.groups(charges) {
            Some(groups) => self.reserver.peek(charges, &groups, deadline).await,
            None => match self.histories.peek(charges, deadline).await {
                Err(failure) if failure.is_try_again() => {
                    self.reserver.peek(charges, &SlotGroup::one_by_one(charges), deadline).await
                }
                peeked => peeked,
            },
        };
        peeked.map_err(Failure::into_unavailable)
    }

    /// Forgets histories; admits if there was one.
    pub(super) async fn reset(&self, charges: &[Charge]) -> Result<Verdict, Unavailable> {
        let mut found = Ok(false);
        for charge in charges {
            let deleted = self.histories.delete(*charge, self.deadline()?).await;
            found = deleted.and_then(|deleted| found.map(|found| found | deleted));
            if found.is_err() {
                break;
            }
        }
        // Whether all of it is gone or only a part.
        self.denials.clear();
        self.lender.pool.clear();
        charges.iter().for_each(|charge| self.fallback.forget(charge));
        found.map(Verdict::new).map_err(Failure::into_unavailable)
    }

    /// Whether every server can be reached, and decides and writes.
    pub(super) async fn ping(&self) -> Result<(), Unavailable> {
        self.deadline()?;
        self.histories.try_all().await.map_err(Failure::into_unavailable)
    }

    pub(super) fn health(&self) -> Health {
        let (nodes, is_left_alone) = self.histories.routes.health();
        Health::new(nodes, is_left_alone, self.fallback.is_local())
    }

    async fn ask(self: Arc<Self>, charges: Vec<Charge>, next: Step) -> Result<Verdict, Unavailable> {
        let deadline = self.deadline()?;
        if !matches!(next, Step::Direct) {
            match self.lender.borrow(&charges, next, deadline).await {
                Borrowed::Ask => {}
                Borrowed::Denied(verdict) => return Ok(verdict),
                Borrowed::Failed(failure) => return self.fallback.decide(&charges, failure),
                Borrowed::Lent(verdict) => {
                    self.fallback.note_admitted(&charges);
                    return Ok(verdict);
                }
            }
        }
        if let Some(groups) = self.groups(&charges) {
            return self.reserver.decide(charges, groups, deadline).await;
        }
        match self.batcher.decide(&charges, deadline).await {
            Ok(verdict) => {
                if verdict.admitted {
                    self.fallback.note_admitted(&charges);
                }
                Ok(verdict)
            }
            Err(failure) if failure.is_try_again() && charges.len() > 1 => {
                let groups = SlotGroup::one_by_one(&charges);
                self.reserver.decide(charges, groups, deadline).await
            }
            Err(failure) => self.fallback.decide(&charges, failure),
        }
    }

    /// The charges by slot, if they are in several.
    fn groups(&self, charges: &[Charge]) -> Option<Vec<SlotGroup>> {
        let is_one_tenant =
            charges.windows(2).all(|pair| matches!(pair, [one, other] if one.tenant() == other.tenant()));
        (self.histories.routes.is_cluster() && !is_one_tenant).then(|| SlotGroup::by_tenant(charges))
    }

    /// Why no server that would have to be asked is, if so.
    fn left_alone(&self, charges: &[Charge]) -> Option<Failure> {
        let left_alone = |charges: &[Charge]| self.histories.routes.left_alone(self.histories.slot(charges));
        match self.groups(charges) {
            Some(groups) => groups.iter().map(|group| left_alone(&group.charges)).reduce(Option::and)?,
            None => left_alone(charges),
        }
    }

    fn fall_back(&self, charges: &[Charge], failure: Failure, verdict: &mut Verdict) -> MaybeReady<BoxFuture> {
        match self.fallback.decide(charges, failure) {
            Ok(decided) => {
                *verdict = decided;
                MaybeReady::Ready(())
            }
            Err(unavailable) => MaybeReady::Pending(Box::pin(std::future::ready(Err(unavailable)))),
        }
    }

    /// Until when there has to be an answer, if there can be one at all.
    fn deadline(&self) -> Result<Deadline, Unavailable> {
        if Handle::try_current().is_err() {
            return Err(Unavailable::new("there is no tokio runtime here"));
        }
        // There is no other way to find out than to be told by a panic.
        if panic::catch_unwind(|| drop(tokio::time::sleep(Duration::ZERO))).is_err() {
            return Err(Unavailable::new("the tokio runtime here has no timers: build it with `enable_all`"));
        }
        Ok(Deadline::after(self.histories.deadline))
    }
}
