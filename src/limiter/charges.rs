//! The charges of one request, and the marks that they leave in it.

use std::{cell::RefCell, fmt, hash::BuildHasher, sync::Arc};

use hashbrown::{DefaultHashBuilder, HashSet};
use http::StatusCode;
use smallvec::SmallVec;

use crate::{
    error::Unavailable,
    key::{Charge, Key, RawParts},
    limiter::{RuleTier, RulebookRef, Version},
    observe::RequestOutcome,
    rule::RuleId,
    store::Verdict,
};

/// Up to this many charges a linear search is faster than hashing.
const FEW: usize = 16;

/// Charges without an allocation: as many as a store in memory decides about on the stack.
const INLINE: usize = 8;

/// The rules of some charges, in the same order, and the tiers by which they judge.
pub(crate) type RuleTiers = SmallVec<[RuleTier; 4]>;

/// Returns the verdict under these rules where a store may have been unavailable: rules that are not enforced refuse nobody,
/// not even while nothing is known of them.
pub(crate) fn verdict_under(rules: &[RuleTier], verdict: Result<Verdict, Unavailable>) -> Result<Verdict, Unavailable> {
    match verdict {
        Err(_) if !rules.iter().any(|used| used.enforcement.is_enforced()) => Ok(Verdict::new(true)),
        verdict => verdict,
    }
}

/// The marks of the charges that this limiter has made for a request further out.
pub(crate) struct AppliedMarks<'a> {
    pub(crate) marks: SmallVec<[ChargeMark; 4]>,
    pub(crate) secret: &'a DefaultHashBuilder,
}

/// The charges of a request, which are decided together, and the rule of each.
#[derive(Clone, Debug, Default)]
pub(crate) struct Charges {
    pub(crate) charges: SmallVec<[Charge; INLINE]>,
    pub(crate) rules: RuleTiers,
    /// What few requests need: nearly always this is one empty word.
    pub(super) rare: Option<Box<RareCharges>>,
}

/// What is kept of the charges of few requests.
#[derive(Clone, Debug, Default)]
pub(super) struct RareCharges {
    /// The charges, as soon as they are many.
    seen: Option<HashSet<Charge>>,
    /// The request is exempt from all rules, or from one that would govern it.
    is_exempt: bool,
    /// The names of the keys, if they are to be remembered.
    names: KeyNames,
}

/// The parts of some keys.
pub(super) type KeyNames = Vec<(Key, RawParts)>;

/// The error of a limiter that was asked about a request that does not carry the key of a rule, and the rule
/// [rejects](crate::OnMissing::Reject) such requests. See [`RateLimiter::check_request`](crate::RateLimiter::check_request).
#[derive(Clone, thiserror::Error)]
#[error("the request does not carry the key of rule \"{}\"", self.rule())]
pub struct KeyRejected {
    pub(crate) rulebook: Arc<RulebookRef>,
    pub(crate) rule: RuleId,
    pub(crate) status: StatusCode,
}

/// The marks of the charges that were made for a request, for the mounts of the same limiter further in.
///
/// They belong to this very request, so a clone has none: its copy was charged nothing. The parts of a batch, which get the
/// extensions of the request that they came in, are charged for themselves, and so is each further attempt of a request
/// that is retried.
#[derive(Debug, Default)]
pub(crate) struct ChargeMarks(SmallVec<[ChargeMark; 2]>);

/// The mark of one charge: its scope, and 32 bits of a hash of its key with a secret of the limiter. A charge itself is large,
/// and decisions are moved often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChargeMark {
    scope: u32,
    key: u32,
}

impl Charges {
    /// Adds a charge, unless it is there already: two readings of a path may lead to the same history. Then the larger cost
    /// counts, as nobody knows which reading the service takes.
    pub(crate) fn add(&mut self, rule: RuleTier, charge: &Charge) {
        if self.is_new(charge) {
            self.charges.push(*charge);
            self.rules.push(rule);
        } else if let Some(known) = self.charges.iter_mut().find(|known| *known == charge) {
            known.units = known.units.max(charge.units);
        }
    }

    /// Keeps the name of a key that is charged.
    #[cold]
    #[inline(never)]
    pub(super) fn name(&mut self, key: Key, parts: Option<&RefCell<RawParts>>) {
        if let Some(parts) = parts {
            self.rare.get_or_insert_default().names.push((key, parts.borrow().clone()));
        }
    }

    /// Returns the names of the keys that were kept.
    pub(super) fn names(&self) -> &[(Key, RawParts)] {
        self.rare.as_ref().map_or(&[], |rare| &rare.names)
    }

    /// Notes that the request is exempt from all rules, or from one that would govern it.
    #[cold]
    pub(super) fn exempt(&mut self) {
        self.rare.get_or_insert_default().is_exempt = true;
    }

    /// Returns the outcome of a request that has no charges.
    pub(super) fn outcome_without_rules(&self) -> RequestOutcome {
        let is_exempt = self.rare.as_ref().is_some_and(|rare| rare.is_exempt);
        if is_exempt { RequestOutcome::Exempt } else { RequestOutcome::Ungoverned }
    }

    #[inline]
    fn is_new(&mut self, charge: &Charge) -> bool {
        if self.charges.len() < FEW { !self.charges.contains(charge) } else { self.is_new_among_many(charge) }
    }

    #[cold]
    fn is_new_among_many(&mut self, charge: &Charge) -> bool {
        let charges = &self.charges;
        let seen = &mut self.rare.get_or_insert_default().seen;
        seen.get_or_insert_with(|| charges.iter().copied().collect()).insert(*charge)
    }
}

/// The charges of a request that may be decided about later, or more than once, and the version of the rules that they are of.
#[derive(Clone, Debug)]
pub(crate) struct HeldCharges {
    pub(crate) charges: Charges,
    pub(crate) rulebook: Arc<RulebookRef>,
    pub(crate) version: Version,
    /// How often rules had been switched when their enforcement was read.
    pub(crate) switched: u64,
}

impl KeyRejected {
    /// Returns the name of the rule that rejects the request.
    #[must_use]
    pub fn rule(&self) -> &str {
        self.names().0
    }

    /// Returns the status that the rule rejects it with.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns the name and the enforcement level of the rule that rejected the request.
    pub(crate) fn names(&self) -> (&str, &str) {
        let rule = self.rulebook.rule(self.rule);
        (rule.name(), rule.level())
    }
}

impl fmt::Debug for KeyRejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRejected").field("rule", &self.rule()).field("status", &self.status).finish()
    }
}

impl AppliedMarks<'_> {
    /// Returns `true` if the request was charged this further out, or if the rule found a key there and finds none here.
    #[inline]
    pub(crate) fn contains(&self, charge: &Charge, is_found: bool) -> bool {
        match &*self.marks {
            [] => false,
            marks if is_found => marks.contains(&ChargeMark::new(charge, self.secret)),
            marks => marks.iter().any(|mark| mark.is_in(charge.scope())),
        }
    }
}

impl ChargeMarks {
    pub(crate) fn new(charges: &[Charge], secret: &impl BuildHasher) -> Self {
        Self(charges.iter().map(|charge| ChargeMark::new(charge, secret)).collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &ChargeMark> {
        self.0.iter()
    }
}

impl Clone for ChargeMarks {
    /// Returns no marks.
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl ChargeMark {
    pub(crate) fn new(charge: &Charge, secret: &impl BuildHasher) -> Self {
        Self { scope: charge.scope(), key: secret.hash_one(charge.key()) as u32 }
    }

    /// Returns `true` if the charge was to a history of this scope.
    pub(crate) const fn is_in(self, scope: u32) -> bool {
        self.scope == scope
    }
}
