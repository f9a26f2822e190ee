//! The histories that use the most of their limits, found by walking through all of them.

use std::{cmp::Ordering, collections::BinaryHeap};

use crate::{
    clock::Timestamp,
    history::Plan,
    key::{ChargeTarget, Key},
    store::memory::{MemoryStore, table::Slot},
};

/// A history, and the fullest of its windows. The order is that of the used parts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    pub(crate) key: Key,
    pub(crate) used: u64,
    pub(crate) limit: u64,
}

impl MemoryStore {
    /// Returns the live histories in the scopes of these targets that use the largest parts of the targets' limits, the heaviest
    /// first.
    pub(crate) fn heaviest(&self, targets: &[ChargeTarget], most: usize) -> Vec<Usage> {
        let now = self.now();
        // The lightest is on top, to be replaced.
        let mut heaviest: BinaryHeap<std::cmp::Reverse<Usage>> = BinaryHeap::new();
        self.shards().for_each_slot(|slot, plan, scope| {
            let Some(target) = targets.iter().find(|target| target.scope == scope) else { return };
            // Histories that were not charged since a reload may have the windows of earlier rules.
            let plan = if target.shape == slot.shape() {
                self.shards().scopes().plan_of(*target).unwrap_or(plan)
            } else {
                plan
            };
            let Some(usage) = Usage::of_slot(slot, plan, now) else { return };
            heaviest.push(std::cmp::Reverse(usage));
            if heaviest.len() > most {
                heaviest.pop();
            }
        });
        heaviest.into_sorted_vec().into_iter().map(|usage| usage.0).collect()
    }
}

impl Usage {
    /// Returns the usage of the fullest window; `None` if the history is idle, or has no limits.
    fn of_slot(slot: &mut Slot, plan: &Plan, now: Timestamp) -> Option<Self> {
        if slot.history.is_idle(plan, now) {
            return None;
        }
        slot.history.expire(plan, now);
        let key = slot.key();
        let windows = plan.windows().iter().filter(|window| window.limit > 0);
        let usages =
            windows.map(|window| Self { key, used: slot.history.used(plan, window, now), limit: window.limit });
        usages.max()
    }
}

impl Ord for Usage {
    /// Compares fractions without rounding.
    fn cmp(&self, other: &Self) -> Ordering {
        let cross = |ours: &Self, theirs: &Self| u128::from(ours.used) * u128::from(theirs.limit);
        cross(self, other).cmp(&cross(other, self)).then_with(|| self.used.cmp(&other.used))
    }
}

impl PartialOrd for Usage {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Usage {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Usage {}
