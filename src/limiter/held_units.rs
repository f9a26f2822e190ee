//! The units of requests in flight: reserved, and not settled yet.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use parking_lot::Mutex;

use crate::key::{Charge, Key};

/// The units that this process has reserved and not settled, by scope and key.
///
/// A denial that would be an admission without them is told to callers as such: room may come back at any moment.
#[derive(Debug, Default)]
pub(crate) struct HeldUnits(Mutex<HashMap<(u32, Key), Reserved>>);

/// The units that one key has reserved, by the nanosecond of the decision.
type Reserved = BTreeMap<u64, u64>;

impl HeldUnits {
    /// Notes that a charge has been reserved at this nanosecond.
    pub(super) fn hold(&self, charge: &Charge, at: u64) {
        let mut held = self.0.lock();
        let units = held.entry((charge.scope(), charge.key())).or_default().entry(at).or_default();
        *units = units.saturating_add(charge.units());
    }

    /// Notes that a charge which was reserved at this nanosecond is settled.
    pub(super) fn release(&self, charge: &Charge, at: u64) {
        let (mut held, id) = (self.0.lock(), (charge.scope(), charge.key()));
        let Some(reserved) = held.get_mut(&id) else { return };
        if let Some(units) = reserved.get_mut(&at) {
            *units = units.saturating_sub(charge.units());
            if *units == 0 {
                reserved.remove(&at);
            }
        }
        if reserved.is_empty() {
            held.remove(&id);
        }
    }

    /// Returns the units that a key has reserved since this nanosecond.
    pub(super) fn since(&self, charge: &Charge, since: u64) -> u64 {
        let held = self.0.lock();
        let Some(reserved) = held.get(&(charge.scope(), charge.key())) else { return 0 };
        reserved.range(since..).fold(0, |sum, (_, units)| sum.saturating_add(*units))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{ChargeTarget, KeyBuilder, KeyHasher};

    fn charge(key: &str, units: u64) -> Charge {
        let hasher = KeyHasher::with_secret([0; 32]);
        let mut builder = KeyBuilder::for_target(ChargeTarget::default(), &hasher);
        builder.part(key);
        Charge { units, ..*builder.charge() }
    }

    #[test]
    fn units_are_held_until_they_are_settled() {
        let held = HeldUnits::default();
        held.hold(&charge("ann", 3), 10);
        held.hold(&charge("ann", 4), 10);
        held.hold(&charge("ann", 5), 20);
        assert_eq!([0, 11, 21].map(|since| held.since(&charge("ann", 1), since)), [12, 5, 0]);
        assert_eq!(held.since(&charge("bob", 1), 0), 0);
        held.release(&charge("ann", 4), 10);
        assert_eq!(held.since(&charge("ann", 1), 0), 8);
        held.release(&charge("ann", 3), 10);
        held.release(&charge("ann", 5), 20);
        assert!(held.0.lock().is_empty());
    }
}
