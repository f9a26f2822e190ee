//! Decides about one request: from memory, from a lease, by the servers, or without them.

use std::{panic, sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::runtime::Handle;

use crate::{
    error::Unavailable,
    key::Charge,
    store::{
        BoxFuture, MaybeReady, Settlement, Verdict,
        redis::{
            batcher::Batcher,
            counts::{Counts, Leased},
            cross_slot::{CrossSlotDecider, SlotGroup},
            failure::Failure,
            fallback::Fallback,
            health::Health,
            history_commands::HistoryCommands,
            lease_borrower::{BorrowOutcome, LeaseBorrower},
            lease_pool::LeaseStep,
            recent_denials::RecentDenials,
            script::Recorded,
            timer::Deadline,
        },
    },
};

/// Decides about requests. It tries these in order: a remembered denial, a leased unit, the servers, the fallback.
#[derive(Debug)]
pub(super) struct Decider {
    pub(super) commands: Arc<HistoryCommands>,
    pub(super) denials: Arc<RecentDenials>,
    pub(super) leases: Arc<LeaseBorrower>,
    pub(super) batcher: Arc<Batcher>,
    pub(super) cross_slot: Arc<CrossSlotDecider>,
    pub(super) fallback: Arc<Fallback>,
    pub(super) counts: Arc<Counts>,
}

impl Decider {
    /// Decides at once if no server has to be asked, and returns a future otherwise.
    pub(super) fn decide(self: &Arc<Self>, charges: &[Charge], verdict: &mut Verdict) -> MaybeReady<BoxFuture> {
        if charges.is_empty() {
            *verdict = Verdict::new(true);
            return MaybeReady::Ready(());
        }
        // What is remembered and lent is about charges that are enforced.
        let is_enforced = charges.iter().all(|charge| charge.enforcement.is_enforced());
        if let Some(denial) = self.denials.get(charges, self.commands.timer.now()).filter(|_| is_enforced) {
            self.counts.count_known_denial();
            *verdict = denial;
            return MaybeReady::Ready(());
        }
        let next = if is_enforced { self.leases.next_step(charges) } else { LeaseStep::Direct };
        let next = match next {
            LeaseStep::Spent(admitted) => {
                self.counts.count_leased(Leased::Spent, 1);
                self.fallback.record_admitted(charges);
                *verdict = admitted;
                return MaybeReady::Ready(());
            }
            next => next,
        };
        if matches!(next, LeaseStep::Direct)
            && let Some(failure) = self.circuit_open(charges)
        {
            return self.fall_back(charges, failure, verdict);
        }
        let (this, charges) = (Arc::clone(self), charges.to_vec());
        MaybeReady::Pending(Box::pin(async move { this.ask(charges, next).await }))
    }

    /// Returns what would be decided now.
    pub(super) async fn peek(&self, charges: &[Charge]) -> Result<Verdict, Unavailable> {
        let deadline = self.deadline()?;
        let peeked = match self.slot_groups(charges) {
            Some(groups) => self.cross_slot.peek(charges, &groups, deadline).await,
            None => match self.commands.peek(charges, deadline).await {
                Err(failure) if failure.is_try_again() => {
                    self.cross_slot.peek(charges, &SlotGroup::one_by_one(charges), deadline).await
                }
                peeked => peeked,
            },
        };
        peeked.map_err(Failure::into_unavailable)
    }

    /// Deletes the histories of the charges. The verdict is an admission if there was one.
    pub(super) async fn reset(&self, charges: &[Charge]) -> Result<Verdict, Unavailable> {
        let mut found = Ok(false);
        for charge in charges {
            let deleted = self.commands.delete(*charge, self.deadline()?).await;
            found = deleted.and_then(|deleted| found.map(|found| found | deleted));
            if found.is_err() {
                break;
            }
        }
        // Also after a failure: some of the histories may be deleted.
        self.denials.clear();
        self.leases.pool.revoke_all();
        for charge in charges {
            self.fallback.reset(charge);
        }
        found.map(Verdict::new).map_err(Failure::into_unavailable)
    }

    /// Settles costs where they were recorded: one call for each hash slot, all at the same time. None is sent a second time.
    pub(super) async fn settle(&self, settlements: &[Settlement]) -> Result<Verdict, Unavailable> {
        let deadline = self.deadline()?;
        let is_cluster = self.commands.servers.is_cluster();
        let changes =
            settlements.iter().enumerate().filter(|(_, settlement)| settlement.units() != settlement.charge().units);
        let mut slots: Vec<Vec<(usize, &Settlement)>> = Vec::new();
        for (at, settlement) in changes {
            let shares = |slot: &&mut Vec<(usize, &Settlement)>| {
                let first = slot.first().map(|(_, first)| first.charge().tenant());
                !is_cluster || first == Some(settlement.charge().tenant())
            };
            match slots.iter_mut().find(shares) {
                Some(slot) => slot.push((at, settlement)),
                None => slots.push(vec![(at, settlement)]),
            }
        }
        let settled = join_all(slots.iter().map(|slot| self.settle_slot(slot, deadline))).await;
        let mut verdict = Verdict::new(true);
        for moved in settled {
            for (at, units) in moved.map_err(Failure::into_unavailable)? {
                verdict.set_moved(at, units);
            }
        }
        Ok(verdict)
    }

    /// Returns how many units each settlement has moved.
    async fn settle_slot(
        &self,
        settlements: &[(usize, &Settlement)],
        deadline: Deadline,
    ) -> Result<Vec<(usize, u64)>, Failure> {
        let parts = settlements.iter().map(|(_, settlement)| match settlement.debt() {
            0 => (*settlement.charge(), settlement.surplus(), Some(Recorded::from_receipt(settlement.receipt()))),
            debt => (*settlement.charge(), debt, None),
        });
        let moved = self.commands.settle(&parts.collect::<Vec<_>>(), deadline).await?;
        if moved.len() < settlements.len() && moved.iter().all(Result::is_ok) {
            return Err(Failure::other("the server left a settlement out"));
        }
        let moved = settlements.iter().zip(moved).map(|((at, _), units)| Ok((*at, units.map_err(Failure::Server)?)));
        moved.collect()
    }

    /// Checks that every server can be reached, decides and writes.
    pub(super) async fn ping(&self) -> Result<(), Unavailable> {
        self.deadline()?;
        self.commands.ping().await.map_err(Failure::into_unavailable)
    }

    pub(super) fn health(&self) -> Health {
        let (nodes, is_cut_off) = self.commands.servers.health();
        Health::new(nodes, is_cut_off, self.fallback.is_local())
    }

    async fn ask(self: Arc<Self>, charges: Vec<Charge>, next: LeaseStep) -> Result<Verdict, Unavailable> {
        let deadline = self.deadline()?;
        if !matches!(next, LeaseStep::Direct) {
            match self.leases.borrow(&charges, next, deadline).await {
                BorrowOutcome::NoLease => {}
                BorrowOutcome::Denied(verdict) => return Ok(verdict),
                BorrowOutcome::Failed(failure) => return self.fallback.decide(&charges, failure),
                BorrowOutcome::Admitted(verdict) => {
                    self.fallback.record_admitted(&charges);
                    return Ok(verdict);
                }
            }
        }
        if let Some(groups) = self.slot_groups(&charges) {
            return self.cross_slot.decide(charges, groups, deadline).await;
        }
        match self.batcher.decide(&charges, deadline).await {
            Ok(verdict) => {
                if verdict.admitted {
                    self.fallback.record_admitted(&verdict.recorded(&charges));
                }
                Ok(verdict)
            }
            Err(failure) if failure.is_try_again() && charges.len() > 1 => {
                let groups = SlotGroup::one_by_one(&charges);
                self.cross_slot.decide(charges, groups, deadline).await
            }
            Err(failure) => self.fallback.decide(&charges, failure),
        }
    }

    /// Returns the charges by hash slot; `None` if all are in one.
    fn slot_groups(&self, charges: &[Charge]) -> Option<Vec<SlotGroup>> {
        self.commands.spans_slots(charges).then(|| SlotGroup::by_tenant(charges))
    }

    /// Returns the failure of a request if no server would be asked about it, because all circuit breakers are open.
    fn circuit_open(&self, charges: &[Charge]) -> Option<Failure> {
        match self.slot_groups(charges) {
            Some(groups) => {
                groups.iter().map(|group| self.commands.circuit_open(&group.charges)).reduce(Option::and).flatten()
            }
            None => self.commands.circuit_open(charges),
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

    /// Returns the deadline of a request that begins now.
    ///
    /// # Errors
    ///
    /// There is no tokio runtime, or it has no timers.
    fn deadline(&self) -> Result<Deadline, Unavailable> {
        if Handle::try_current().is_err() {
            return Err(Unavailable::new("there is no tokio runtime here"));
        }
        // Tokio says only by a panic whether a runtime has timers.
        if panic::catch_unwind(|| drop(tokio::time::sleep(Duration::ZERO))).is_err() {
            return Err(Unavailable::new("the tokio runtime here has no timers: build it with `enable_all`"));
        }
        Ok(Deadline::after(self.commands.deadline))
    }
}
