//! Settlements: what a request has cost in the end, said where its estimate was recorded.

use crate::{history, key::Charge};

/// The support of a store for requests that cost other than one unit.
///
/// A limiter refuses rules at build time that its store cannot count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum CostSupport {
    /// Every request costs one unit: the store does not look at [`Charge::units`].
    #[default]
    None,
    /// A request may cost any number of units.
    Costs,
    /// A cost may also be an estimate that is [settled](super::Store::settle) later.
    Settlements,
}

/// A receipt: where the units of a charge were recorded, so that they can be found again.
///
/// Its two numbers mean something to the store alone. In memory they are the number of the history, which it gets when it
/// is created, and the time at which the units were recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Receipt {
    history: u64,
    recorded_at: u64,
}

/// A settlement: a charge that was recorded, and what the request has cost in the end.
///
/// If that is less than was recorded, the store takes the rest out of the very entry that the receipt names. If it is more,
/// the store records the difference now, whether there is room for it or not.
///
/// ```
/// use tower_quota::store::Settlement;
///
/// /// Returns the units to give back and the units to record.
/// fn difference(settlement: &Settlement) -> (u64, u64) {
///     (settlement.surplus(), settlement.debt())
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Settlement {
    charge: Charge,
    receipt: Receipt,
    units: u64,
}

impl Receipt {
    /// The receipt of units in a history that keys share: none of them is given back.
    pub(crate) const SHARED: Self = Self { history: 0, recorded_at: 0 };

    /// Creates the receipt of units that were recorded in a history, at some time or position.
    #[must_use]
    pub const fn new(history: u64, recorded_at: u64) -> Self {
        Self { history, recorded_at }
    }

    /// Converts the receipt of a history in this process; `None` if nothing was recorded that can be given back.
    pub(crate) fn from_history(receipt: history::Receipt) -> Option<Self> {
        receipt.parts().map(|(history, recorded_at)| Self { history, recorded_at })
    }

    /// Converts it back.
    pub(crate) fn to_history(self) -> history::Receipt {
        history::Receipt::from_parts(self.history, self.recorded_at)
    }

    /// Returns the number of the history.
    #[must_use]
    pub const fn history(self) -> u64 {
        self.history
    }

    /// Returns where in the history the units were recorded.
    #[must_use]
    pub const fn recorded_at(self) -> u64 {
        self.recorded_at
    }
}

impl Settlement {
    pub(crate) const fn new(charge: Charge, receipt: Receipt, units: u64) -> Self {
        Self { charge, receipt, units }
    }

    /// Returns the charge as it was recorded: [`Charge::units`] is the estimate.
    #[must_use]
    pub const fn charge(&self) -> &Charge {
        &self.charge
    }

    /// Returns where it was recorded.
    #[must_use]
    pub const fn receipt(&self) -> Receipt {
        self.receipt
    }

    /// Returns the units that the request has cost.
    #[must_use]
    pub const fn units(&self) -> u64 {
        self.units
    }

    /// Returns the units to give back.
    #[must_use]
    pub const fn surplus(&self) -> u64 {
        self.charge.units.saturating_sub(self.units)
    }

    /// Returns the units that are owed: those beyond the estimate.
    #[must_use]
    pub const fn debt(&self) -> u64 {
        self.units.saturating_sub(self.charge.units)
    }
}
