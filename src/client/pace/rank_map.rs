//! A map in the order of its keys that knows the rank of each.

use std::collections::VecDeque;

/// A map in the order of its keys. The rank of a key takes a binary search, and the least or the greatest key comes and
/// goes in constant time.
#[derive(Debug)]
pub(super) struct RankMap<T> {
    entries: VecDeque<(u64, T)>,
}

impl<T> RankMap<T> {
    pub(super) const fn new() -> Self {
        Self { entries: VecDeque::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the least key.
    pub(super) fn first(&self) -> Option<u64> {
        self.entries.front().map(|(key, _)| *key)
    }

    /// Returns the number of keys that are less than this one.
    pub(super) fn rank(&self, key: u64) -> usize {
        self.entries.partition_point(|(other, _)| *other < key)
    }

    /// Returns the number of keys that are less than this one and whose values are counted. From some key on all are.
    pub(super) fn rank_among(&self, key: u64, is_counted: impl Fn(&T) -> bool) -> usize {
        let uncounted = self.entries.partition_point(|(_, value)| !is_counted(value));
        self.rank(key).saturating_sub(uncounted)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u64> {
        self.entries.iter().map(|(key, _)| *key)
    }

    /// Returns the values of the keys that are less than this one.
    pub(super) fn values_before(&self, key: u64) -> impl Iterator<Item = &T> {
        self.entries.iter().take(self.rank(key)).map(|(_, value)| value)
    }

    /// Inserts an entry, unless the key is there already. Returns `true` if it is new.
    pub(super) fn insert(&mut self, key: u64, value: T) -> bool {
        let found = self.find(key);
        if let Err(at) = found {
            self.entries.insert(at, (key, value));
        }
        found.is_err()
    }

    /// Removes an entry. Returns its value, if it was there.
    pub(super) fn remove(&mut self, key: u64) -> Option<T> {
        let at = self.find(key).ok()?;
        self.entries.remove(at).map(|(_, value)| value)
    }

    fn find(&self, key: u64) -> Result<usize, usize> {
        self.entries.binary_search_by_key(&key, |(key, _)| *key)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_an_ordered_map_that_knows_ranks(steps in prop::collection::vec((any::<bool>(), 0_u64..40), 0..200)) {
            let (mut map, mut model) = (RankMap::new(), BTreeSet::new());
            for (is_insert, number) in steps {
                if is_insert {
                    prop_assert_eq!(map.insert(number, number), model.insert(number));
                } else {
                    prop_assert_eq!(map.remove(number).is_some(), model.remove(&number));
                }
                prop_assert!(map.iter().eq(model.iter().copied()));
                prop_assert_eq!((map.len(), map.first()), (model.len(), model.first().copied()));
                prop_assert_eq!(map.rank(number), model.range(..number).count());
                prop_assert!(map.values_before(number).copied().eq(model.range(..number).copied()));
                prop_assert_eq!(map.rank_among(number, |value| *value >= 20), model.range(20.min(number)..number).count());
            }
        }
    }
}
