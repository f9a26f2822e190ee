//! Numbers in order.

use std::collections::VecDeque;

/// Numbers in order, each of them once. How many come before one is known in few steps, and one that is the least or the
/// greatest comes and goes in a step.
#[derive(Debug)]
pub(super) struct Ranks<T> {
    entries: VecDeque<(u64, T)>,
}

impl<T> Ranks<T> {
    pub(super) const fn new() -> Self {
        Self { entries: VecDeque::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn first(&self) -> Option<u64> {
        self.entries.front().map(|(number, _)| *number)
    }

    /// How many are less than this one.
    pub(super) fn before(&self, number: u64) -> usize {
        self.entries.partition_point(|(other, _)| *other < number)
    }

    /// How many are less than this one, of those for which `is_late` holds: from some number on it does.
    pub(super) fn late_before(&self, number: u64, is_late: impl Fn(&T) -> bool) -> usize {
        let early = self.entries.partition_point(|(_, value)| !is_late(value));
        self.before(number).saturating_sub(early)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u64> {
        self.entries.iter().map(|(number, _)| *number)
    }

    pub(super) fn insert(&mut self, number: u64, value: T) {
        if let Err(at) = self.find(number) {
            self.entries.insert(at, (number, value));
        }
    }

    pub(super) fn remove(&mut self, number: u64) {
        if let Ok(at) = self.find(number) {
            self.entries.remove(at);
        }
    }

    fn find(&self, number: u64) -> Result<usize, usize> {
        self.entries.binary_search_by_key(&number, |(number, _)| *number)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn they_are_an_ordered_set_that_counts(steps in prop::collection::vec((any::<bool>(), 0_u64..40), 0..200)) {
            let (mut ranks, mut model) = (Ranks::new(), BTreeSet::new());
            for (is_insert, number) in steps {
                if is_insert {
                    ranks.insert(number, number);
                    model.insert(number);
                } else {
                    ranks.remove(number);
                    model.remove(&number);
                }
                prop_assert!(ranks.iter().eq(model.iter().copied()));
                prop_assert_eq!((ranks.len(), ranks.first()), (model.len(), model.first().copied()));
                prop_assert_eq!(ranks.before(number), model.range(..number).count());
                prop_assert_eq!(ranks.late_before(number, |value| *value >= 20), model.range(20.min(number)..number).count());
            }
        }
    }
}
