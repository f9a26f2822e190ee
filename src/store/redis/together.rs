//! One decision where histories are on several nodes of a cluster.

use std::sync::Arc;

use futures_util::future::join_all;

use crate::{
    history::Plan,
    store::{
        Charge, Verdict,
        redis::{ask::Asker, link::Failure, script::Mode},
    },
};

/// Charges whose histories are in one slot, and where they stand among all of the request.
struct Group {
    charges: Vec<Charge>,
    places: Vec<usize>,
}

impl Asker {
    /// Charges that share a slot are decided in one atomic step. Those of several slots are reserved at the same time, and
    /// if one of these steps denies then the others are given back before this returns.
    ///
    /// So never is more admitted than a quota has room for, and a denial costs nothing. Only while a reservation is about
    /// to be given back somebody else may be denied by it.
    pub(super) async fn decide_together(self: &Arc<Self>, charges: &[Charge], mode: Mode) -> Result<Verdict, Failure> {
        let groups = grouped(charges);
        if groups.len() == 1 {
            return self.evaluate(charges, mode).await;
        }
        let decided = join_all(groups.iter().map(|group| self.evaluate(&group.charges, mode))).await;
        let admitted = decided.iter().all(|decided| decided.as_ref().is_ok_and(|verdict| verdict.admitted));
        if !admitted && mode == Mode::Decide {
            self.give_back(&groups, &decided).await;
        }
        let verdicts = decided.into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok(self.combined(charges, &groups, verdicts, admitted, mode))
    }

    async fn give_back(&self, groups: &[Group], decided: &[Result<Verdict, Failure>]) {
        let reserved = groups.iter().zip(decided).filter_map(|(group, decided)| {
            let verdict = decided.as_ref().ok().filter(|verdict| verdict.admitted)?;
            let charges: Vec<Charge> =
                group.charges.iter().copied().filter(|charge| !self.counts_denied(&[*charge])).collect();
            (!charges.is_empty()).then_some((charges, verdict.now))
        });
        // Who cannot be reached keeps the unit: too much is counted then, never too little.
        let given_back = reserved.map(async |(charges, admitted_at)| self.refund(&charges, admitted_at, 1).await);
        drop(join_all(given_back).await);
    }

    /// Whether a denial is charged anywhere there too.
    pub(super) fn counts_denied(&self, charges: &[Charge]) -> bool {
        charges.iter().filter_map(|charge| self.scopes.plan(charge.scope)).any(Plan::counts_denied)
    }

    /// One verdict of several, in the order of the charges and by the clock of the first.
    fn combined(
        &self,
        charges: &[Charge],
        groups: &[Group],
        verdicts: Vec<Verdict>,
        admitted: bool,
        mode: Mode,
    ) -> Verdict {
        let now = verdicts.first().map(|verdict| verdict.now).unwrap_or_default();
        let mut combined = Verdict { now, ..Verdict::new(admitted) };
        let mut states = vec![Vec::new(); charges.len()];
        for (group, verdict) in groups.iter().zip(verdicts) {
            let is_given_back = verdict.admitted && !admitted && mode == Mode::Decide;
            let mut told = verdict.states.iter();
            for (charge, place) in group.charges.iter().zip(&group.places) {
                let quotas = self.scopes.plan(charge.scope).map_or(0, |plan| plan.windows().len());
                let given_back = u32::from(is_given_back && !self.counts_denied(&[*charge]));
                let told = told.by_ref().take(quotas);
                let told =
                    told.map(|state| (state.used.saturating_sub(given_back), verdict.now.until(state.changes_at)));
                if let Some(states) = states.get_mut(*place) {
                    states.extend(told);
                }
            }
        }
        states.into_iter().flatten().for_each(|(used, wait)| combined.tell(used, wait));
        combined
    }
}

fn grouped(charges: &[Charge]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (place, charge) in charges.iter().enumerate() {
        match groups.iter_mut().find(|group| group.charges.iter().any(|other| other.tenant == charge.tenant)) {
            Some(group) => {
                group.charges.push(*charge);
                group.places.push(place);
            }
            None => groups.push(Group { charges: vec![*charge], places: vec![place] }),
        }
    }
    groups
}
