//! The scopes of a limiter: which histories there are, and the plans that judge them.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
};

use hashbrown::HashMap;
use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::{
    error::ConfigError,
    history::Plan,
    key::{Charge, ChargeTarget},
    policy::Policy,
};

/// A slot of the memory store has 31 bits for the number of a shape.
const MOST_SHAPES: usize = 1 << 31;

/// The scopes of a limiter, by their numbers, and the policies that judge their histories.
///
/// The list is shared with the limiter and grows when its rules are [reloaded](crate::RateLimiter::reload): a number is
/// never used again for something else. So a store that looks up each charge when it decides needs to do nothing for a
/// reload. Looking up takes no lock.
///
/// A scope says what is *remembered*, a policy what it is *compared with*: the tiers of a rule are policies that judge the
/// same histories. Rules that are set back to earlier limits get their earlier numbers again.
///
/// ```
/// use tower_quota::store::{Charge, Scopes};
///
/// /// Returns the name of a history on a server.
/// fn name_of(scopes: &Scopes, charge: &Charge) -> Option<String> {
///     let scope = scopes.get(charge.scope())?;
///     Some(format!("{}:{:02x?}", scope.identity(), charge.key().to_bytes()))
/// }
/// ```
#[derive(Clone, Default)]
pub struct Scopes(Arc<Registry>);

/// A scope: histories of one rule, or of one of its routes, one for each key.
///
/// ```
/// use tower_quota::store::Scopes;
///
/// /// Returns the names of all scopes, for a table of a database.
/// fn names(scopes: &Scopes) -> Vec<&str> {
///     scopes.iter().map(|scope| scope.name()).collect()
/// }
/// ```
#[derive(Debug)]
pub struct Scope {
    name: String,
    identity: String,
    /// Its histories may have several shapes.
    is_reshaped: AtomicBool,
}

/// Three lists that only grow.
#[derive(Default)]
struct Registry {
    scopes: boxcar::Vec<Scope>,
    shapes: boxcar::Vec<Shape>,
    judges: Judges,
    /// What was registered for each identity. Locked while something is added.
    registered: Mutex<HashMap<String, Registered>>,
}

/// The windows and the form of histories, whatever the limits are.
#[derive(Debug)]
struct Shape {
    scope: u32,
    /// The number of a plan of this shape.
    plan: u32,
    /// The last version of the rules that [wanted](Scopes::want) it. Histories are not moved to the shape of an earlier
    /// version. Shared by the copies of the scopes.
    version: Arc<AtomicU64>,
}

/// All policies, by their numbers: those of the first rules in one piece of memory, which is read with fewer steps, and those
/// that came with other rules.
#[derive(Default)]
struct Judges {
    first: Box<[OnceLock<Judge>]>,
    later: boxcar::Vec<Judge>,
    count: AtomicU32,
}

/// A policy, and the histories that it judges.
#[derive(Debug)]
pub(crate) struct Judge {
    #[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "the store on a server asks for it"))]
    pub(crate) scope: u32,
    pub(crate) policy: Policy,
    pub(crate) plan: Plan,
    /// Whether it is one of several policies that judge the histories in one version of the rules.
    pub(crate) is_tier: bool,
    /// Whether its charges may be settled.
    pub(crate) settles: bool,
}

/// A rule, or one of its routes, that has histories of its own.
#[derive(Clone, Debug)]
pub(crate) struct Registration<'a> {
    /// The same in all versions of the rules.
    pub(crate) identity: String,
    pub(crate) name: &'a str,
    /// The policies that judge its histories.
    pub(crate) policies: &'a [Policy],
    /// Whether requests may cost other than one unit, or may be given back.
    pub(crate) has_costs: bool,
    /// Whether its charges may be settled.
    pub(crate) settles: bool,
}

/// The numbers of one scope, and of its shapes and plans.
#[derive(Debug)]
struct Registered {
    scope: u32,
    targets: SmallVec<[ChargeTarget; 1]>,
}

#[cfg(test)]
impl<'a> Registration<'a> {
    /// Creates one of a rule that counts requests, whose name is its identity.
    pub(crate) fn counting_requests(name: &'a str, policies: &'a [Policy]) -> Self {
        Self { identity: name.to_owned(), name, policies, has_costs: false, settles: false }
    }
}

impl Scopes {
    /// Creates a registry for rules with this many policies in all, and others later.
    pub(crate) fn with_capacity(policies: usize) -> Self {
        let first = std::iter::repeat_with(OnceLock::new).take(policies).collect();
        Self(Arc::new(Registry { judges: Judges { first, ..Judges::default() }, ..Registry::default() }))
    }

    /// Returns the scope that a charge [refers to](Charge::scope).
    #[must_use]
    pub fn get(&self, number: u32) -> Option<&Scope> {
        self.0.scopes.get(number as usize)
    }

    /// Returns the policy that [judges](Charge::plan) a charge. That of a tier without limits has no quotas.
    #[must_use]
    pub fn policy(&self, plan: u32) -> Option<&Policy> {
        self.0.judges.get(plan).map(|judge| &judge.policy)
    }

    /// Returns all scopes in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = &Scope> {
        self.0.scopes.iter().map(|(_, scope)| scope)
    }

    /// Returns `true` if the charge may be settled.
    pub(crate) fn settles(&self, charge: &Charge) -> bool {
        self.0.judges.get(charge.target.plan).is_some_and(|judge| judge.settles)
    }

    #[inline]
    pub(crate) fn plan(&self, charge: &Charge) -> Option<&Plan> {
        self.0.judges.get(charge.target.plan).map(|judge| &judge.plan)
    }

    /// Returns the judge of this number, which is that of its plan.
    #[cfg(feature = "redis")]
    pub(crate) fn judge(&self, plan: u32) -> Option<&Judge> {
        self.0.judges.get(plan)
    }

    /// Returns all judges with their scopes.
    #[cfg(feature = "redis")]
    pub(crate) fn judges(&self) -> impl Iterator<Item = (&Scope, &Judge)> {
        self.0.judges.iter().filter_map(|judge| Some((self.get(judge.scope)?, judge)))
    }

    /// Adds what a `copy` of these scopes lacks, number for number: the same scopes and shapes, and the same policies with other
    /// limits. So a charge means the same history in both.
    #[cfg(feature = "redis")]
    pub(crate) fn copy_to(&self, copy: &Self, change: impl Fn(u64) -> u64) {
        // Nothing is registered meanwhile, so that all three lists are of the same moment.
        let _registering = self.0.registered.lock();
        let _copying = copy.0.registered.lock();
        for (_, scope) in self.0.scopes.iter().skip(copy.0.scopes.count()) {
            let (name, identity) = (scope.name.clone(), scope.identity.clone());
            copy.0.scopes.push(Scope { name, identity, is_reshaped: AtomicBool::new(true) });
        }
        for (_, shape) in self.0.shapes.iter().skip(copy.0.shapes.count()) {
            copy.0.shapes.push(Shape { version: Arc::clone(&shape.version), ..*shape });
        }
        for judge in self.0.judges.iter().skip(copy.0.judges.count()) {
            let (policy, plan) = (judge.policy.with_limits(&change), judge.plan.with_limits(&change));
            copy.0.judges.push(Judge { policy, plan, ..*judge });
        }
    }

    /// Returns `true` if histories of this scope may have another shape than a charge wants.
    pub(crate) fn is_reshaped(&self, scope: u32) -> bool {
        self.get(scope).is_some_and(|scope| scope.is_reshaped.load(Ordering::Acquire))
    }

    /// Returns the charge of a history with this shape, by a plan that has it.
    pub(crate) fn target_of_shape(&self, shape: u32) -> Option<ChargeTarget> {
        let of_number = self.0.shapes.get(shape as usize)?;
        Some(ChargeTarget { scope: of_number.scope, shape, plan: of_number.plan })
    }

    /// Returns the plan of charges with this target.
    pub(crate) fn plan_of(&self, target: ChargeTarget) -> Option<&Plan> {
        self.0.judges.get(target.plan).map(|judge| &judge.plan)
    }

    /// Returns a plan of this shape.
    pub(crate) fn plan_of_shape(&self, shape: u32) -> Option<&Plan> {
        let of_number = self.0.shapes.get(shape as usize)?;
        self.0.judges.get(of_number.plan).map(|judge| &judge.plan)
    }

    /// Returns the target of charges by the newest rules that keep histories in a scope.
    pub(crate) fn newest_target(&self, scope: u32) -> Option<ChargeTarget> {
        let shapes = self.0.shapes.iter().filter(|(_, shape)| shape.scope == scope);
        let (number, shape) = shapes.max_by_key(|(_, shape)| shape.version.load(Ordering::Acquire))?;
        Some(ChargeTarget { scope, shape: number as u32, plan: shape.plan })
    }

    /// Returns `true` if histories may be moved from one shape to the other: no newer version of the rules wants the first.
    pub(crate) fn may_move(&self, from: u32, to: u32) -> bool {
        let version = |shape: u32| self.0.shapes.get(shape as usize).map(|shape| shape.version.load(Ordering::Acquire));
        version(to) >= version(from)
    }

    /// Notes that rules of this version judge histories of this shape: those of a lower version move to it from then on, and
    /// requests under rules of a lower version are told to ask again. So this is called at the very moment when these
    /// rules come into force, not when they are compiled.
    pub(crate) fn want(&self, target: ChargeTarget, version: u64) {
        if let Some(shape) = self.0.shapes.get(target.shape as usize) {
            shape.version.fetch_max(version, Ordering::AcqRel);
        }
    }

    /// Returns the targets of charges to a scope: one for each of the policies that judge its histories. The scope is that of an
    /// earlier call with the same identity, if there was one.
    ///
    /// # Errors
    ///
    /// If there are too many shapes.
    pub(crate) fn register(&self, wanted: &Registration<'_>) -> Result<Vec<ChargeTarget>, ConfigError> {
        let mut registered = self.0.registered.lock();
        let entry = registered.entry(wanted.identity.clone()).or_insert_with_key(|identity| {
            let (name, identity) = (wanted.name.to_owned(), identity.clone());
            let scope = self.0.scopes.push(Scope { name, identity, is_reshaped: AtomicBool::new(false) });
            Registered { scope: scope as u32, targets: SmallVec::new() }
        });
        wanted.policies.iter().map(|policy| self.target(entry, policy, wanted)).collect()
    }

    /// Returns the target of charges that one of the policies of a scope judges. Equal plans get equal numbers.
    fn target(
        &self,
        entry: &mut Registered,
        policy: &Policy,
        wanted: &Registration<'_>,
    ) -> Result<ChargeTarget, ConfigError> {
        let all = wanted.policies;
        let plan = if wanted.has_costs { Plan::for_costs_among(policy, all) } else { Plan::among(policy, all) };
        let judge = |target: &ChargeTarget| self.0.judges.get(target.plan);
        let (is_tier, settles) = (all.len() > 1, wanted.settles);
        let is_as = |plan: &Plan, judge: &Judge| {
            judge.policy == *policy && judge.plan == *plan && (judge.is_tier, judge.settles) == (is_tier, settles)
        };
        let plan = match &*entry.targets {
            [] => plan,
            // Rules that change nothing leave the history to the one plan that may take the short ways.
            [only] if judge(only).is_some_and(|judge| is_as(&plan, judge)) => return Ok(*only),
            _ => plan.with_siblings(),
        };
        let is_equal = |judge: &Judge| is_as(&plan, judge);
        if let Some(known) = entry.targets.iter().find(|target| judge(target).is_some_and(is_equal)) {
            return Ok(*known);
        }
        let is_alike = |target: &&ChargeTarget| judge(target).is_some_and(|judge| judge.plan.has_shape_of(&plan));
        let shape = entry.targets.iter().find(is_alike).map(|target| target.shape);
        let judge = Judge { scope: entry.scope, policy: policy.clone(), plan, is_tier, settles };
        let number = self.0.judges.push(judge);
        let shape = match shape {
            Some(shape) => shape,
            None => self.new_shape(entry.scope, number)?,
        };
        if let Some(scope) = self.get(entry.scope).filter(|_| !entry.targets.is_empty()) {
            scope.is_reshaped.store(true, Ordering::Release);
        }
        let target = ChargeTarget { scope: entry.scope, shape, plan: number };
        entry.targets.push(target);
        Ok(target)
    }

    fn new_shape(&self, scope: u32, plan: u32) -> Result<u32, ConfigError> {
        let shapes = self.0.shapes.count();
        if shapes >= MOST_SHAPES {
            let reason = "the windows of the rules have changed too often: restart the process";
            return Err(ConfigError::new("quotas", shapes, reason));
        }
        Ok(self.0.shapes.push(Shape { scope, plan, version: Arc::default() }) as u32)
    }
}

impl Judges {
    #[inline]
    fn get(&self, number: u32) -> Option<&Judge> {
        match self.first.get(number as usize) {
            Some(first) => first.get(),
            None => self.later.get(number as usize - self.first.len()),
        }
    }

    #[cfg(feature = "redis")]
    fn count(&self) -> usize {
        self.count.load(Ordering::Acquire) as usize
    }

    #[cfg(feature = "redis")]
    fn iter(&self) -> impl Iterator<Item = &Judge> {
        (0..self.count() as u32).filter_map(|number| self.get(number))
    }

    /// Adds a policy, and returns its number. To be called under the lock of the registry.
    fn push(&self, judge: Judge) -> u32 {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        match self.first.get(number as usize) {
            Some(first) => drop(first.set(judge)),
            None => drop(self.later.push(judge)),
        }
        number
    }
}

impl Scope {
    /// Returns the rule's name, followed by the route if that has histories of its own.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns what tells the scope's histories from all others, in every process with such a rule: the rule's name in lower
    /// case, followed by the route if that has histories of its own, and in a line of its own the
    /// [level](crate::Rule::level).
    ///
    /// Stores that share histories with other processes, or keep them for longer than a process lasts, find them by this and
    /// the key.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.identity
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(Scope::name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn register(scopes: &Scopes, identity: &str, policies: &[Policy], version: u64) -> Vec<ChargeTarget> {
        let targets = scopes.register(&Registration::counting_requests(identity, policies)).unwrap();
        targets.iter().for_each(|target| scopes.want(*target, version));
        targets
    }

    fn per_minute(limit: u64) -> Policy {
        Policy::per_minute(limit)
    }

    fn per_hour(limit: u64) -> Policy {
        Policy::per_hour(limit)
    }

    #[test]
    fn equal_policies_of_one_identity_have_equal_numbers_in_all_versions() {
        let scopes = Scopes::with_capacity(1);
        let first = register(&scopes, "a", &[per_minute(1)], 1);
        let second = register(&scopes, "a", &[per_minute(2)], 2);
        assert_ne!(first[0].plan, second[0].plan);
        assert_eq!((first[0].scope, first[0].shape), (second[0].scope, second[0].shape));
        assert_eq!(register(&scopes, "a", &[per_minute(2)], 3), second);
        assert_eq!(scopes.iter().count(), 1);
        for (target, limit) in [(first[0], 1), (second[0], 2)] {
            assert_eq!(scopes.policy(target.plan), Some(&per_minute(limit)));
        }
    }

    #[test]
    fn a_policy_that_stays_the_only_one_keeps_its_number() {
        let scopes = Scopes::with_capacity(1);
        let first = register(&scopes, "a", &[per_minute(1)], 1);
        assert_eq!(register(&scopes, "a", &[per_minute(1)], 2), first);
        assert!(!scopes.is_reshaped(first[0].scope));
        // Among others it is another one, whose denials are not remembered over theirs.
        register(&scopes, "a", &[per_minute(2)], 3);
        assert_ne!(register(&scopes, "a", &[per_minute(1)], 4), first);
    }

    #[test]
    fn other_identities_have_scopes_of_their_own() {
        let scopes = Scopes::with_capacity(2);
        let [a, b] = ["a", "b"].map(|name| register(&scopes, name, &[per_minute(1)], 1)[0]);
        assert!(a.scope != b.scope && a.shape != b.shape && a.plan != b.plan);
        assert_eq!([a, b].map(|target| scopes.get(target.scope).unwrap().name()), ["a", "b"]);
        assert!(scopes.get(2).is_none() && scopes.policy(2).is_none() && scopes.plan_of_shape(2).is_none());
    }

    #[test]
    fn tiers_share_a_scope_and_a_shape() {
        let scopes = Scopes::with_capacity(2);
        let tiers = register(&scopes, "a", &[per_minute(1), per_minute(9).and_per_hour(100)], 1);
        assert_eq!((tiers[0].scope, tiers[0].shape), (tiers[1].scope, tiers[1].shape));
        assert_ne!(tiers[0].plan, tiers[1].plan);
    }

    #[test]
    fn histories_move_to_the_shape_of_newer_rules_alone() {
        let scopes = Scopes::with_capacity(1);
        let old = register(&scopes, "a", &[per_minute(1)], 1)[0];
        assert!(!scopes.is_reshaped(old.scope));
        let new = register(&scopes, "a", &[per_minute(1).and_per_hour(9)], 2)[0];
        assert!(scopes.is_reshaped(old.scope) && old.shape != new.shape);
        assert!(scopes.may_move(old.shape, new.shape) && !scopes.may_move(new.shape, old.shape));
        assert_eq!(register(&scopes, "a", &[per_minute(1)], 3)[0].shape, old.shape);
        assert!(!scopes.may_move(old.shape, new.shape) && scopes.may_move(new.shape, old.shape));
        assert_eq!(scopes.target_of_shape(new.shape), Some(new));
    }

    #[test]
    fn rules_that_are_not_in_force_yet_move_no_history() {
        let scopes = Scopes::with_capacity(1);
        let old = register(&scopes, "a", &[per_minute(1)], 1)[0];
        let new = register(&scopes, "a", &[per_hour(9)], 2)[0];
        let third = scopes.register(&Registration::counting_requests("a", &[per_minute(1)])).unwrap()[0];
        assert_eq!(third.shape, old.shape);
        assert!(scopes.may_move(third.shape, new.shape), "requests under the second rules go on");
        scopes.want(third, 3);
        assert!(!scopes.may_move(third.shape, new.shape));
    }
}
