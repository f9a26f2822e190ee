//! What governs a request.

use hashbrown::HashSet;
use http::StatusCode;
use smallvec::SmallVec;

use crate::{key::Charge, limiter::ChargeMark};

/// Up to so many charges are looked through one by one.
const FEW: usize = 16;

/// The numbers of rules. A limiter has at most 65,536.
pub(crate) type RuleNumbers = SmallVec<[u16; 4]>;

/// What a request has been charged by this limiter already.
pub(crate) type AppliedMarks = SmallVec<[ChargeMark; 4]>;

/// What governs a request: charges to decide together, and the rule of each.
#[derive(Clone, Debug, Default)]
pub(crate) struct Charges {
    pub(crate) charges: SmallVec<[Charge; 4]>,
    pub(crate) rules: RuleNumbers,
    /// The charges, as soon as they are many.
    seen: Option<Box<HashSet<Charge>>>,
}

/// A request that a rule turns away because it does not carry the key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyRejected {
    pub(crate) rule: usize,
    pub(crate) status: StatusCode,
}

impl Charges {
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
