//! The layouts of all plans, made when the first charge of each asks for it.

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::RwLock;

use crate::{
    history::Plan,
    key::Charge,
    store::{
        Scopes,
        redis::{LeaseConfig, layout::Layout},
        scopes::Judge,
    },
};

/// The layouts of all plans. Rules that are reloaded bring plans with new numbers, so nothing here is ever out of date.
#[derive(Debug)]
pub(super) struct Layouts {
    scopes: Scopes,
    lease: Option<LeaseConfig>,
    /// By the number of the plan.
    known: RwLock<HashMap<u32, Arc<PlanLayout>>>,
}

/// How the histories of a plan are described to the script.
#[derive(Debug)]
pub(super) struct PlanLayout {
    pub(super) layout: Layout,
    /// Whether keys may be leased under this plan. Leased units count for longer.
    pub(super) is_leased: bool,
}

impl Layouts {
    pub(super) fn new(scopes: Scopes, lease: Option<LeaseConfig>) -> Self {
        Self { scopes, lease, known: RwLock::default() }
    }

    /// Returns the layout of a charge, or `None` if the charge is of another limiter.
    pub(super) fn get(&self, charge: &Charge) -> Option<Arc<PlanLayout>> {
        let known = self.known.read().get(&charge.plan()).cloned();
        known.or_else(|| self.add(charge.plan()))
    }

    /// Returns `true` if keys may be leased under the plan of each charge.
    pub(super) fn are_leased(&self, charges: &[Charge]) -> bool {
        self.lease.is_some() && charges.iter().all(|charge| self.get(charge).is_some_and(|plan| plan.is_leased))
    }

    #[cold]
    fn add(&self, plan: u32) -> Option<Arc<PlanLayout>> {
        let judge = self.scopes.judge(plan)?;
        let scope = self.scopes.get(judge.scope)?;
        let layout = match self.lease.as_ref().filter(|lease| lease.covers(scope, judge)) {
            Some(lease) => {
                let lengthened = Plan::new(&lease.lengthened(&judge.policy));
                PlanLayout { layout: Layout::new(&lengthened), is_leased: true }
            }
            None if judge.plan.has_costs() => PlanLayout { layout: self.with_costs(judge), is_leased: false },
            None => PlanLayout { layout: Layout::new(&judge.plan), is_leased: false },
        };
        Some(Arc::clone(self.known.write().entry(plan).or_insert_with(|| Arc::new(layout))))
    }
}

impl Layouts {
    /// Returns the layout of a plan with costs. All tiers of its rule have a say in it, so that their logs are alike.
    fn with_costs(&self, judge: &Judge) -> Layout {
        if !judge.is_tier {
            return Layout::with_costs(&judge.policy, std::slice::from_ref(&judge.policy));
        }
        let judges = self.scopes.judges().map(|(_, other)| other);
        let tiers = judges.filter(|other| {
            other.scope == judge.scope
                && other.is_tier
                && other.plan.has_costs()
                && other.plan.has_shape_of(&judge.plan)
        });
        let policies: Vec<_> = tiers.map(|tier| tier.policy.clone()).collect();
        Layout::with_costs(&judge.policy, &policies)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::store::Registration;
    use crate::{
        key::{ChargeTarget, KeyBuilder, KeyHasher},
        policy::Policy,
    };

    fn charge(target: ChargeTarget) -> Charge {
        *KeyBuilder::for_target(target, &KeyHasher::with_secret([0; 32])).charge()
    }

    #[test]
    fn plans_that_come_with_a_reload_have_layouts_and_tiers_are_not_leased() {
        let (scopes, lease) = (Scopes::default(), LeaseConfig::new(9, Duration::from_secs(1)));
        let layouts = Layouts::new(scopes.clone(), Some(lease));
        let register = |policies: &[Policy]| {
            let targets = scopes.register(&Registration::counting_requests("calls", policies)).unwrap();
            targets.into_iter().map(charge).collect::<Vec<_>>()
        };
        let alone = register(&[Policy::per_minute(60)]);
        assert!(layouts.are_leased(&alone));
        // The first of these has the limits of before.
        let tiers = register(&[Policy::per_minute(60), Policy::per_minute(10)]);
        assert!(tiers.iter().all(|tier| !layouts.are_leased(&[*tier])));
        let later = register(&[Policy::per_minute(100)]);
        assert!(layouts.are_leased(&later) && layouts.are_leased(&alone));
    }

    #[test]
    fn all_tiers_of_a_rule_have_logs_of_the_same_windows() {
        let scopes = Scopes::default();
        let policies: Vec<Policy> = ["60/minute", "9000/minute, 100/second", "50000/day"]
            .into_iter()
            .map(|policy| policy.parse().unwrap())
            .chain([[].into_iter().collect()])
            .collect();
        let targets = scopes.register(&Registration::counting_requests("calls", &policies)).unwrap();
        let layouts = Layouts::new(scopes, None);
        let described = targets.into_iter().map(|target| {
            let layout = layouts.get(&charge(target)).unwrap();
            let logs = layout.layout.iter().map(|log| (log.suffix().to_owned(), log.argument()[..6].to_vec()));
            (layout.layout.quotas(), logs.collect::<Vec<_>>())
        });
        let described: Vec<_> = described.collect();
        assert!(described.iter().all(|(_, logs)| *logs == described[0].1), "{described:?}");
        assert_eq!(described.iter().map(|(quotas, _)| *quotas).collect::<Vec<_>>(), [1, 2, 1, 0]);
    }
}
