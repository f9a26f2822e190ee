//! Decides one request whose histories are in several hash slots of a cluster.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::{runtime::Handle, time::timeout_at};

use crate::{
    clock::Timestamp,
    error::Unavailable,
    key::Charge,
    store::{
        QuotaState, Receipt, Verdict,
        redis::{
            batcher::{Batcher, RefundOnDrop},
            failure::{Failure, RUNTIME_ENDED},
            fallback::Fallback,
            history_commands::HistoryCommands,
            recent_denials::RecentDenials,
            script::Mode,
            timer::Deadline,
        },
    },
};

/// Decides about charges in several hash slots, which no single call can: reserves in each of them, and rolls back if one
/// denies.
#[derive(Debug)]
pub(super) struct CrossSlotDecider {
    pub(super) commands: Arc<HistoryCommands>,
    pub(super) batcher: Arc<Batcher>,
    pub(super) denials: Arc<RecentDenials>,
    pub(super) fallback: Arc<Fallback>,
}

/// Charges in one hash slot, which are decided in one step.
#[derive(Clone, Debug)]
pub(super) struct SlotGroup {
    pub(super) charges: Vec<Charge>,
    /// The position of each charge among all of the request.
    positions: Vec<usize>,
}

/// The reserved charges, with the moment at which they were admitted.
type Reserved = Vec<(Vec<(Charge, Option<Receipt>)>, Timestamp)>;

/// The decision about one group.
type GroupResult = Result<Verdict, Failure>;

impl CrossSlotDecider {
    /// Decides about each group in one atomic step. All groups are reserved at the same time, and if one of them is
    /// denied then the others are rolled back, before this returns if there is time. Charges that are not enforced come after
    /// them, so none of these is ever rolled back.
    ///
    /// So a quota never admits more than it has room for, and a denial costs nothing; but until the rollback has arrived,
    /// other requests may be denied by the reservation. All this runs in a task of its own, so cancelling the request
    /// leaves no reservation behind. Where a node cannot be asked, [`Fallback`] decides about the charges on that node.
    pub(super) async fn decide(
        self: &Arc<Self>,
        charges: Vec<Charge>,
        groups: Vec<SlotGroup>,
        deadline: Deadline,
    ) -> Result<Verdict, Unavailable> {
        let (decider, handle) = (Arc::clone(self), Handle::current());
        let (sender, receiver) = RefundOnDrop::new(move |(_, reserved): (Result<Verdict, Unavailable>, Reserved)| {
            handle.spawn(async move { decider.roll_back(reserved).await });
        });
        let decider = Arc::clone(self);
        tokio::spawn(async move {
            let decided = decider.reserve(&charges, &groups, deadline).await;
            if let Err((_, reserved)) = sender.send(decided) {
                decider.roll_back(reserved).await;
            }
        });
        let (decided, reserved) = receiver.await.ok_or_else(|| Unavailable::new(RUNTIME_ENDED))?;
        for (charges, _) in &reserved {
            let charges: Vec<Charge> = charges.iter().map(|(charge, _)| *charge).collect();
            self.fallback.record_admitted(&charges);
        }
        decided
    }

    /// Returns what would be decided now.
    pub(super) async fn peek(
        &self,
        charges: &[Charge],
        groups: &[SlotGroup],
        deadline: Deadline,
    ) -> Result<Verdict, Failure> {
        let (groups, results) = self.decide_groups(groups, Mode::Peek, deadline).await;
        let verdicts = results.iter().map(Result::as_ref).collect::<Result<Vec<_>, _>>().map_err(Clone::clone)?;
        let admitted = verdicts.iter().all(|verdict| verdict.admitted);
        Ok(self.merge(charges, &groups, &results, admitted, 0))
    }

    /// Returns the decision, with what is reserved if it is an admission.
    async fn reserve(
        self: &Arc<Self>,
        charges: &[Charge],
        groups: &[SlotGroup],
        deadline: Deadline,
    ) -> (Result<Verdict, Unavailable>, Reserved) {
        let asked = self.denials.asked_at(self.commands.timer.now());
        let (enforced, others) = SlotGroup::by_enforcement(groups);
        let (groups, mut results) = self.decide_groups(&enforced, Mode::Decide, deadline).await;
        let groups = groups.as_slice();
        let reserved = groups.iter().zip(&results).filter_map(|(group, result)| {
            let verdict = result.as_ref().ok().filter(|verdict| verdict.admitted)?;
            Some((verdict.refundable(&group.charges), verdict.now))
        });
        let mut reserved: Reserved = reserved.collect();
        let fallen_back = self.fall_back(groups, &mut results);
        let is_admitted = |result: &GroupResult| result.as_ref().map_or(true, |verdict| verdict.admitted);
        if fallen_back.is_ok() && results.iter().all(is_admitted) {
            let is_complete = results.iter().all(Result::is_ok);
            let (others, other_results) = self.decide_groups(&others, Mode::Decide, deadline).await;
            reserved.extend(others.iter().zip(&other_results).filter_map(|(group, result)| {
                let verdict = result.as_ref().ok()?;
                Some((verdict.refundable(&group.charges), verdict.now))
            }));
            let (groups, results) = ([groups, &others].concat(), [results, other_results].concat());
            let merged = self.merge(charges, &groups, &results, true, 0);
            let open = || Verdict { notes: merged.notes.clone(), ..Verdict::new(true) };
            return (Ok(if is_complete { merged } else { open() }), reserved);
        }
        let decider = Arc::clone(self);
        let rollback = tokio::spawn(async move { decider.roll_back(reserved).await });
        drop(timeout_at(deadline.end, rollback).await);
        let (others, other_results) = self.deny_others(&others, deadline).await;
        let (all, all_results) = ([groups, &others].concat(), [results.clone(), other_results].concat());
        let decided = fallen_back.map(|()| self.merge(charges, &all, &all_results, false, groups.len()));
        if let Ok(verdict) = &decided
            && results.iter().all(Result::is_ok)
            && !self.commands.counts_denied(charges)
            && !self.commands.has_costs(charges)
            && charges.iter().all(|charge| charge.enforcement.is_enforced())
        {
            self.denials.insert(charges, verdict, asked, self.commands.timer.now());
        }
        (decided, Reserved::new())
    }

    /// Looks at the charges that are not enforced of a request that is denied. Where denials count they are recorded.
    async fn deny_others(&self, groups: &[SlotGroup], deadline: Deadline) -> (Vec<SlotGroup>, Vec<GroupResult>) {
        let is_counting = |group: &SlotGroup| self.commands.counts_denied(&group.charges);
        let (counting, others): (Vec<_>, Vec<_>) = groups.iter().flat_map(SlotGroup::split).partition(is_counting);
        let (mut groups, mut results) = self.decide_groups(&counting, Mode::Decide, deadline).await;
        let (others, other_results) = self.decide_groups(&others, Mode::Peek, deadline).await;
        groups.extend(others);
        results.extend(other_results);
        (groups, results)
    }

    /// Decides about each group; about the charges of a group one by one while its slot is moving.
    async fn decide_groups(
        &self,
        groups: &[SlotGroup],
        mode: Mode,
        deadline: Deadline,
    ) -> (Vec<SlotGroup>, Vec<GroupResult>) {
        let (mut decided, mut moving) = (Vec::new(), Vec::new());
        let results = join_all(groups.iter().map(|group| self.decide_group(group, mode, deadline))).await;
        for (group, result) in groups.iter().zip(results) {
            match result {
                Err(failure) if failure.is_try_again() && group.charges.len() > 1 => moving.extend(group.split()),
                result => decided.push((group.clone(), result)),
            }
        }
        let results = join_all(moving.iter().map(|group| self.decide_group(group, mode, deadline))).await;
        decided.into_iter().chain(moving.iter().cloned().zip(results)).unzip()
    }

    async fn decide_group(&self, group: &SlotGroup, mode: Mode, deadline: Deadline) -> GroupResult {
        match mode {
            Mode::Decide => self.batcher.decide(&group.charges, deadline).await,
            _ => self.commands.peek(&group.charges, deadline).await,
        }
    }

    /// Decides about the groups whose nodes cannot be asked, unless another group is denied already.
    fn fall_back(&self, groups: &[SlotGroup], results: &mut [GroupResult]) -> Result<(), Unavailable> {
        let is_denied = results.iter().any(|result| result.as_ref().is_ok_and(|verdict| !verdict.admitted));
        let failure = results.iter().find_map(|result| result.as_ref().err().cloned());
        let Some(failure) = failure.filter(|_| !is_denied) else { return Ok(()) };
        let failed = groups.iter().zip(&*results).filter(|(_, result)| result.is_err());
        let charges: Vec<Charge> = failed.flat_map(|(group, _)| group.charges.iter().copied()).collect();
        let verdict = self.fallback.decide(&charges, failure)?;
        let mut states = verdict.states.iter();
        if states.len() < charges.iter().map(|charge| self.quotas(charge)).sum() {
            // The verdict has no quotas: it fails open.
            return Ok(());
        }
        let mut first = 0;
        for (group, result) in groups.iter().zip(results) {
            if result.is_err() {
                let quotas = group.charges.iter().map(|charge| self.quotas(charge)).sum();
                let states = states.by_ref().take(quotas).copied().collect();
                let mut part = Verdict { states, now: verdict.now, ..Verdict::new(verdict.admitted) };
                let full = (0..group.charges.len()).filter(|at| verdict.is_without_room(first + at));
                full.for_each(|at| part.set_without_room(at));
                first += group.charges.len();
                *result = Ok(part);
            }
        }
        Ok(())
    }

    fn quotas(&self, charge: &Charge) -> usize {
        self.commands.scopes.plan(charge).map_or(0, |plan| plan.windows().len())
    }

    async fn roll_back(&self, reserved: Reserved) {
        let deadline = Deadline::after(self.commands.deadline);
        // A node that cannot be reached keeps the unit: too many are counted then, never too few.
        let refunds = reserved.iter().map(|(charges, at)| self.commands.refund(charges, *at, 1, deadline));
        drop(join_all(refunds).await);
    }

    /// Merges the verdicts into one, in the order of the charges and by the clock of the first node. The quotas of nodes
    /// that were not asked count as unused. The first `rolled_back` groups gave back what was admitted.
    fn merge(
        &self,
        charges: &[Charge],
        groups: &[SlotGroup],
        results: &[GroupResult],
        admitted: bool,
        rolled_back: usize,
    ) -> Verdict {
        let now = results.iter().find_map(|result| result.as_ref().ok()).map(|first| first.now).unwrap_or_default();
        let mut merged = Verdict { now, ..Verdict::new(admitted) };
        let mut states = vec![Vec::new(); charges.len()];
        for (number, (group, result)) in groups.iter().zip(results).enumerate() {
            let verdict = result.as_ref().ok();
            let mut known = verdict.into_iter().flat_map(|part| part.states.iter().map(move |state| (part.now, state)));
            let is_rolled_back = number < rolled_back && verdict.is_some_and(|verdict| verdict.admitted);
            for (at, (charge, position)) in group.charges.iter().zip(&group.positions).enumerate() {
                let is_full = verdict.is_some_and(|verdict| verdict.is_without_room(at));
                if is_full {
                    merged.set_without_room(*position);
                }
                let is_refunded = is_rolled_back && !is_full && !self.commands.counts_denied(&[*charge]);
                let refunded = if is_refunded { self.commands.cost(charge) } else { 0 };
                if let Some(receipt) = verdict.and_then(|verdict| verdict.receipt(at)).filter(|_| !is_refunded) {
                    merged.set_receipt(*position, receipt);
                }
                let state = |_| match known.next() {
                    Some((_, state)) if state.changes_at == QuotaState::NEVER => (state.used, Duration::MAX),
                    Some((now, state)) => (state.used.saturating_sub(refunded), now.until(state.changes_at)),
                    None => (0, Duration::ZERO),
                };
                if let Some(states) = states.get_mut(*position) {
                    states.extend((0..self.quotas(charge)).map(state));
                }
            }
        }
        for (used, wait) in states.into_iter().flatten() {
            merged.push_quota(used, wait);
        }
        merged
    }
}

impl SlotGroup {
    /// Groups charges by tenant, whose histories are all in one slot.
    pub(super) fn by_tenant(charges: &[Charge]) -> Vec<Self> {
        let mut groups: Vec<Self> = Vec::new();
        for (position, charge) in charges.iter().enumerate() {
            match groups.iter_mut().find(|group| group.charges.iter().any(|other| other.tenant() == charge.tenant())) {
                Some(group) => {
                    group.charges.push(*charge);
                    group.positions.push(position);
                }
                None => groups.push(Self::single(charge, position)),
            }
        }
        groups
    }

    /// Divides groups into those to reserve and those that deny nothing. If several have charges that are enforced then these alone
    /// are reserved, for they may be rolled back.
    fn by_enforcement(groups: &[Self]) -> (Vec<Self>, Vec<Self>) {
        let is_enforced = |group: &&Self| group.charges.iter().any(|charge| charge.enforcement.is_enforced());
        if groups.iter().filter(is_enforced).count() <= 1 {
            return groups.iter().cloned().partition(|group| is_enforced(&group));
        }
        let parts = groups.iter().flat_map(|group| {
            let (enforced, others): (Vec<_>, Vec<_>) =
                group.split().partition(|single| single.charges.iter().all(|charge| charge.enforcement.is_enforced()));
            [Self::joined(enforced), Self::joined(others)]
        });
        parts.filter(|group| !group.charges.is_empty()).partition(|group| is_enforced(&group))
    }

    fn joined(groups: Vec<Self>) -> Self {
        let mut joined = Self { charges: Vec::new(), positions: Vec::new() };
        for group in groups {
            joined.charges.extend(group.charges);
            joined.positions.extend(group.positions);
        }
        joined
    }

    /// Returns one group for each charge: while a slot moves, only commands with one key are sure to find it.
    pub(super) fn one_by_one(charges: &[Charge]) -> Vec<Self> {
        charges.iter().zip(0..).map(|(charge, position)| Self::single(charge, position)).collect()
    }

    fn split(&self) -> impl Iterator<Item = Self> {
        self.charges.iter().zip(&self.positions).map(|(charge, position)| Self::single(charge, *position))
    }

    fn single(charge: &Charge, position: usize) -> Self {
        Self { charges: vec![*charge], positions: vec![position] }
    }
}
