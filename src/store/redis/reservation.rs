//! One decision where histories are in several slots of a cluster.

use std::sync::Arc;

use futures_util::future::join_all;
use tokio::{runtime::Handle, time::timeout_at};

use crate::{
    clock::Timestamp,
    error::Unavailable,
    key::Charge,
    store::{
        Verdict,
        redis::{
            batcher::Batcher, failure::Failure, fallback::Fallback, handover::Awaited, histories::Histories,
            node::Deadline, recent_denials::RecentDenials, script::Mode,
        },
    },
};

/// Decides about charges that no single step can decide about.
#[derive(Debug)]
pub(super) struct Reserver {
    pub(super) histories: Arc<Histories>,
    pub(super) batcher: Arc<Batcher>,
    pub(super) denials: Arc<RecentDenials>,
    pub(super) fallback: Arc<Fallback>,
}

/// Charges whose histories are decided in one step, and where they stand among all of the request.
#[derive(Clone, Debug)]
pub(super) struct SlotGroup {
    pub(super) charges: Vec<Charge>,
    places: Vec<usize>,
}

/// What was reserved: these charges, at this moment.
type Reserved = Vec<(Vec<Charge>, Timestamp)>;

/// What is known of a group.
type SlotVerdict = Result<Verdict, Failure>;

impl Reserver {
    /// Charges of one group are decided in one atomic step. Those of several are reserved at the same time, and if one of
    /// these steps denies then the others are given back, before this returns if they can be in time.
    ///
    /// So never is more admitted than a quota has room for, and a denial costs nothing. Only while a reservation is about
    /// to be given back somebody else may be denied by it. A task of its own sees to all that: who waits may go away. Where
    /// a node cannot be asked, what is to happen without it concerns only what it has.
    pub(super) async fn decide(
        self: &Arc<Self>,
        charges: Vec<Charge>,
        groups: Vec<SlotGroup>,
        deadline: Deadline,
    ) -> Result<Verdict, Unavailable> {
        let (reserver, handle) = (Arc::clone(self), Handle::current());
        let (tell, told) = Awaited::new(move |(decided, reserved): (Result<Verdict, Unavailable>, Reserved)| {
            drop(decided);
            handle.spawn(async move { reserver.give_back(reserved).await });
        });
        let reserver = Arc::clone(self);
        tokio::spawn(async move {
            let decided = reserver.reserve(&charges, &groups, deadline).await;
            if let Err((_, reserved)) = tell.send(decided) {
                reserver.give_back(reserved).await;
            }
        });
        let ended = || Unavailable::new("the runtime of the task that asks has ended");
        let (decided, reserved) = told.await.ok_or_else(ended)?;
        reserved.iter().for_each(|(charges, _)| self.fallback.note_admitted(charges));
        decided
    }

    /// What would be decided now.
    pub(super) async fn peek(
        &self,
        charges: &[Charge],
        groups: &[SlotGroup],
        deadline: Deadline,
    ) -> Result<Verdict, Failure> {
        let (groups, parts) = self.parts(groups, Mode::Peek, deadline).await;
        let verdicts = parts.iter().map(Result::as_ref).collect::<Result<Vec<_>, _>>().map_err(Clone::clone)?;
        let admitted = verdicts.iter().all(|verdict| verdict.admitted);
        Ok(self.combined(charges, &groups, &parts, admitted, false))
    }

    /// What is decided, and what it has reserved if it is an admission.
    async fn reserve(
        self: &Arc<Self>,
        charges: &[Charge],
        groups: &[SlotGroup],
        deadline: Deadline,
    ) -> (Result<Verdict, Unavailable>, Reserved) {
        let question = self.denials.question(self.histories.timepiece.now());
        let (groups, mut parts) = self.parts(groups, Mode::Decide, deadline).await;
        let groups = groups.as_slice();
        let reserved = groups.iter().zip(&parts).filter_map(|(group, part)| {
            let verdict = part.as_ref().ok().filter(|verdict| verdict.admitted)?;
            Some((group.charges.clone(), verdict.now))
        });
        let reserved: Reserved = reserved.collect();
        let without = self.fall_back(groups, &mut parts);
        let admitted = without.is_ok() && parts.iter().all(|part| part.as_ref().map_or(true, |part| part.admitted));
        if admitted {
            let is_known = parts.iter().all(Result::is_ok);
            let verdict = || self.combined(charges, groups, &parts, true, false);
            return (Ok(if is_known { verdict() } else { Verdict::new(true) }), reserved);
        }
        let reserver = Arc::clone(self);
        let giving_back = tokio::spawn(async move { reserver.give_back(reserved).await });
        drop(timeout_at(deadline.end, giving_back).await);
        let decided = without.map(|()| self.combined(charges, groups, &parts, false, true));
        if let Ok(verdict) = &decided
            && parts.iter().all(Result::is_ok)
            && !self.histories.counts_denied(charges)
        {
            self.denials.remember(charges, verdict, question, self.histories.timepiece.now());
        }
        (decided, Reserved::new())
    }

    /// What is decided about each group; about charges one by one where only one key at a time is sure to be somewhere.
    async fn parts(&self, groups: &[SlotGroup], mode: Mode, deadline: Deadline) -> (Vec<SlotGroup>, Vec<SlotVerdict>) {
        let (mut settled, mut moving) = (Vec::new(), Vec::new());
        let parts = join_all(groups.iter().map(|group| self.part(group, mode, deadline))).await;
        for (group, part) in groups.iter().zip(parts) {
            match part {
                Err(failure) if failure.is_try_again() && group.charges.len() > 1 => moving.extend(group.apart()),
                part => settled.push((group.clone(), part)),
            }
        }
        let parts = join_all(moving.iter().map(|group| self.part(group, mode, deadline))).await;
        settled.into_iter().chain(moving.iter().cloned().zip(parts)).unzip()
    }

    async fn part(&self, group: &SlotGroup, mode: Mode, deadline: Deadline) -> SlotVerdict {
        match mode {
            Mode::Decide => self.batcher.decide(&group.charges, deadline).await,
            _ => self.histories.peek(&group.charges, deadline).await,
        }
    }

    /// Decides what the nodes that cannot be asked would have had to, unless somebody has denied already.
    fn fall_back(&self, groups: &[SlotGroup], parts: &mut [SlotVerdict]) -> Result<(), Unavailable> {
        let is_denied = parts.iter().any(|part| part.as_ref().is_ok_and(|part| !part.admitted));
        let failure = parts.iter().find_map(|part| part.as_ref().err().cloned());
        let Some(failure) = failure.filter(|_| !is_denied) else { return Ok(()) };
        let missing = || groups.iter().zip(&*parts).filter(|(_, part)| part.is_err());
        let charges: Vec<Charge> = missing().flat_map(|(group, _)| group.charges.iter().copied()).collect();
        let verdict = self.fallback.decide(&charges, failure)?;
        let mut states = verdict.states.iter();
        if states.len() == 0 {
            // It says nothing of any quota.
            return Ok(());
        }
        for (group, part) in groups.iter().zip(parts) {
            if part.is_err() {
                let quotas = group.charges.iter().map(|charge| self.quotas(charge)).sum();
                let states = states.by_ref().take(quotas).copied().collect();
                *part = Ok(Verdict { states, now: verdict.now, ..Verdict::new(verdict.admitted) });
            }
        }
        Ok(())
    }

    fn quotas(&self, charge: &Charge) -> usize {
        self.histories.scopes.plan(charge.scope).map_or(0, |plan| plan.windows().len())
    }

    async fn give_back(&self, reserved: Reserved) {
        let deadline = Deadline::after(self.histories.deadline);
        // Who cannot be reached keeps the unit: too much is counted then, never too little.
        let given_back = reserved.iter().map(|(charges, at)| self.histories.refund(charges, *at, 1, deadline));
        drop(join_all(given_back).await);
    }

    /// One verdict of several, in the order of the charges and by the clock of the first. Of a node that was not asked it
    /// says that nothing is used.
    fn combined(
        &self,
        charges: &[Charge],
        groups: &[SlotGroup],
        parts: &[SlotVerdict],
        admitted: bool,
        is_given_back: bool,
    ) -> Verdict {
        let now = parts.iter().find_map(|part| part.as_ref().ok()).map(|part| part.now).unwrap_or_default();
        let mut combined = Verdict { now, ..Verdict::new(admitted) };
        let mut states = vec![Vec::new(); charges.len()];
        for (group, part) in groups.iter().zip(parts) {
            let part = part.as_ref().ok();
            let mut told = part.into_iter().flat_map(|part| part.states.iter().map(move |state| (part, state)));
            let is_given_back = is_given_back && part.is_some_and(|part| part.admitted);
            for (charge, place) in group.charges.iter().zip(&group.places) {
                let quotas = self.quotas(charge);
                let given_back = u32::from(is_given_back && !self.histories.counts_denied(&[*charge]));
                let state = |_| match told.next() {
                    Some((part, state)) => (state.used.saturating_sub(given_back), part.now.until(state.changes_at)),
                    None => (0, std::time::Duration::ZERO),
                };
                if let Some(states) = states.get_mut(*place) {
                    states.extend((0..quotas).map(state));
                }
            }
        }
        states.into_iter().flatten().for_each(|(used, wait)| combined.push_quota(used, wait));
        combined
    }
}

impl SlotGroup {
    fn apart(&self) -> impl Iterator<Item = Self> {
        let alone = |(charge, place): (&Charge, &usize)| Self { charges: vec![*charge], places: vec![*place] };
        self.charges.iter().zip(&self.places).map(alone)
    }

    /// One for each tenant, whose histories are in one slot.
    pub(super) fn by_tenant(charges: &[Charge]) -> Vec<Self> {
        let mut groups: Vec<Self> = Vec::new();
        for (place, charge) in charges.iter().enumerate() {
            match groups.iter_mut().find(|group| group.charges.iter().any(|other| other.tenant() == charge.tenant())) {
                Some(group) => {
                    group.charges.push(*charge);
                    group.places.push(place);
                }
                None => groups.push(Self { charges: vec![*charge], places: vec![place] }),
            }
        }
        groups
    }

    /// One for each charge: while a slot moves, only one key at a time is sure to be somewhere.
    pub(super) fn one_by_one(charges: &[Charge]) -> Vec<Self> {
        let alone = |(place, charge): (usize, &Charge)| Self { charges: vec![*charge], places: vec![place] };
        charges.iter().enumerate().map(alone).collect()
    }
}
