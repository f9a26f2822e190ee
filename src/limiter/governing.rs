//! What governs a request.

use hashbrown::HashSet;
use http::StatusCode;
use smallvec::SmallVec;

use crate::{
    key::{Charge, Key},
    limiter::{GovernedBy, Mark},
    policy::Policy,
};

/// Up to so many charges are looked through one by one.
const FEW: usize = 16;

/// The numbers of rules. A limiter has at most 65,536.
pub(crate) type RuleNumbers = SmallVec<[u16; 4]>;

/// What a request has been charged by this limiter already.
pub(crate) type Applied = SmallVec<[Mark; 4]>;

/// What governs a request: charges to decide together, and the rule of each.
#[derive(Clone, Debug, Default)]
pub(crate) struct Governed {
    pub(crate) charges: SmallVec<[Charge; 4]>,
    pub(crate) rules: RuleNumbers,
    /// The charges, as soon as they are many.
    seen: Option<Box<HashSet<Charge>>>,
}

/// A request that a rule turns away because it does not carry the key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refused {
    pub(crate) rule: usize,
    pub(crate) status: StatusCode,
}

/// A rule that governs a request, and whom it counts.
#[derive(Clone, Copy, Debug)]
pub struct Governing<'a> {
    rule: &'a GovernedBy,
    key: Option<Key>,
}

impl<'a> Governing<'a> {
    pub(super) const fn new(rule: &'a GovernedBy, key: Option<Key>) -> Self {
        Self { rule, key }
    }

    /// Whether it is the same rule with the same key.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        std::ptr::eq(self.rule, other.rule) && self.key == other.key
    }

    /// The rule's name.
    #[must_use]
    pub fn rule(&self) -> &'a str {
        self.rule.name()
    }

    /// The enforcement level.
    #[must_use]
    pub fn level(&self) -> &'a str {
        self.rule.level()
    }

    /// The key, as [`RateLimiter::key`](crate::RateLimiter::key) makes it; none if the request does not carry it.
    #[must_use]
    pub const fn key(&self) -> Option<Key> {
        self.key
    }

    /// The policy.
    #[must_use]
    pub const fn policy(&self) -> &'a Policy {
        self.rule.policy()
    }
}

impl Governed {
    /// Adds a charge, once: two readings of a path may lead to the same history.
    pub(super) fn add(&mut self, rule: usize, charge: Charge) {
        if self.is_new(charge) {
            self.charges.push(charge);
            self.rules.push(rule as u16);
        }
    }

    #[inline]
    fn is_new(&mut self, charge: Charge) -> bool {
        if self.charges.len() < FEW { !self.charges.contains(&charge) } else { self.is_new_among_many(charge) }
    }

    #[cold]
    fn is_new_among_many(&mut self, charge: Charge) -> bool {
        let charges = &self.charges;
        self.seen.get_or_insert_with(|| Box::new(charges.iter().copied().collect())).insert(charge)
    }
}
