//! A hash table with open addressing.

use std::ops::Range;

/// A hash table whose items lie where their hashes say, or in the next free place.
///
/// An item is usually found with its first cache line, where a table with tags beside its items takes one line for the tag and
/// one for the item. Removal leaves no gap behind: later items of the same run move back.
#[derive(Debug)]
pub(super) struct ProbeTable<T> {
    /// Zero, or a power of two. At least one place in eight is free, so that every search ends soon.
    places: Box<[Option<T>]>,
    len: usize,
}

/// The result of a step of the sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Swept {
    /// Places examined.
    pub(super) examined: usize,
    /// Items removed.
    pub(super) removed: usize,
}

impl<T> ProbeTable<T> {
    /// Places of the smallest table that is not empty.
    const FEWEST_PLACES: usize = 4;

    /// Returns the number of places, free or not.
    pub(super) const fn places(&self) -> usize {
        self.places.len()
    }

    /// Returns the place of the item that is wanted. It is valid until an item is inserted or removed.
    #[inline]
    pub(super) fn find(&self, hash: u64, is_wanted: impl Fn(&T) -> bool) -> Option<usize> {
        let mut at = self.home(hash);
        while let Some(item) = self.places.get(at)?.as_ref() {
            if is_wanted(item) {
                return Some(at);
            }
            at = self.after(at);
        }
        None
    }

    /// Returns the item in a place.
    #[inline]
    pub(super) fn get_mut(&mut self, place: usize) -> Option<&mut T> {
        self.places.get_mut(place)?.as_mut()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.places.iter_mut().flatten()
    }

    /// Inserts an item that is not there yet.
    pub(super) fn insert(&mut self, hash: u64, item: T, hash_of: impl Fn(&T) -> u64) {
        if (self.len + 1) * 8 > self.places() * 7 {
            self.grow(hash_of);
        }
        self.place(hash, item);
        self.len += 1;
    }

    /// Removes the item in a place. The next item may be there afterwards.
    pub(super) fn remove(&mut self, place: usize, hash_of: impl Fn(&T) -> u64) -> Option<T> {
        let removed = self.places.get_mut(place)?.take()?;
        self.len -= 1;
        let (mut free, mut at) = (place, self.after(place));
        while let Some(item) = self.places.get(at).and_then(Option::as_ref) {
            // No item lies before its home.
            if self.distance(self.home(hash_of(item)), at) >= self.distance(free, at) {
                self.places.swap(free, at);
                free = at;
            }
            at = self.after(at);
        }
        Some(removed)
    }

    /// Examines so many places, or all if there are fewer, from the place `next` on and round the end, and removes the items that
    /// `is_idle` returns `true` for.
    pub(super) fn sweep(
        &mut self,
        next: &mut usize,
        places: usize,
        mut is_idle: impl FnMut(&mut T) -> bool,
        hash_of: impl Fn(&T) -> u64,
    ) -> Swept {
        let mut swept = Swept { examined: places.min(self.places()), removed: 0 };
        let mut left = swept.examined;
        while left > 0 {
            // A remainder would take longer than all else here.
            if *next >= self.places() {
                *next = 0;
            }
            let run = left.min(self.places() - *next);
            if let Some(passed) = self.position(*next..*next + run, &mut is_idle) {
                *next += passed;
                // The next item may be in this place then.
                self.remove(*next, &hash_of);
                swept.removed += 1;
                left -= passed + 1;
            } else {
                *next += run;
                left -= run;
            }
        }
        swept
    }

    /// Returns the index, among these places, of the first one whose item is wanted. Most items are not, so this is a loop of few
    /// instructions.
    #[inline]
    fn position(&mut self, places: Range<usize>, mut is_wanted: impl FnMut(&mut T) -> bool) -> Option<usize> {
        let mut places = self.places.get_mut(places)?.iter_mut();
        places.position(|place| place.as_mut().is_some_and(&mut is_wanted))
    }

    #[cold]
    fn grow(&mut self, hash_of: impl Fn(&T) -> u64) {
        let places = (2 * self.places()).max(Self::FEWEST_PLACES);
        let larger = std::iter::repeat_with(|| None).take(places).collect();
        for item in std::mem::replace(&mut self.places, larger).into_iter().flatten() {
            self.place(hash_of(&item), item);
        }
    }

    fn place(&mut self, hash: u64, item: T) {
        let mut at = self.home(hash);
        while self.places.get(at).is_some_and(Option::is_some) {
            at = self.after(at);
        }
        if let Some(free) = self.places.get_mut(at) {
            *free = Some(item);
        }
    }

    /// Returns the place where a search begins.
    #[inline]
    const fn home(&self, hash: u64) -> usize {
        hash as usize & self.places().wrapping_sub(1)
    }

    #[inline]
    const fn after(&self, place: usize) -> usize {
        (place + 1) & self.places().wrapping_sub(1)
    }

    /// Returns the number of steps from one place to another.
    const fn distance(&self, from: usize, to: usize) -> usize {
        to.wrapping_sub(from) & self.places().wrapping_sub(1)
    }
}

impl<T> Default for ProbeTable<T> {
    fn default() -> Self {
        Self { places: Box::default(), len: 0 }
    }
}

#[cfg(test)]
mod tests {
    use hashbrown::HashTable;
    use proptest::prelude::*;

    use super::*;

    /// An item: its hash, and what tells it from others with that hash.
    type Item = (u64, u8);

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Insert(Item),
        Remove(Item),
        Find(Item),
        /// Examines so many places, and removes what has this number.
        Sweep(usize, u8),
    }

    /// Hashes of few homes, so that runs are long, and of homes at the end of small tables, so that runs go round.
    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let hash = prop_oneof![0u64..4, 0u64..64, (0u64..8).prop_map(|back| u64::MAX - back), any::<u64>()];
        let item = || (hash.clone(), 0u8..3);
        let step = prop_oneof![
            5 => item().prop_map(Step::Insert),
            3 => item().prop_map(Step::Remove),
            1 => item().prop_map(Step::Find),
            1 => (0usize..40, 0u8..3).prop_map(|(places, number)| Step::Sweep(places, number)),
        ];
        prop::collection::vec(step, 1..600)
    }

    fn hash_of(item: &Item) -> u64 {
        item.0
    }

    fn copy(table: &ProbeTable<Item>) -> ProbeTable<Item> {
        ProbeTable { places: table.places.clone(), len: table.len }
    }

    /// Sweeps in the obvious way. Returns the items that were examined, and those that were removed.
    fn sweep_place_by_place(
        table: &mut ProbeTable<Item>,
        next: &mut usize,
        places: usize,
        number: u8,
    ) -> (Vec<Item>, Vec<Item>) {
        let (mut examined, mut removed) = (Vec::new(), Vec::new());
        for _ in 0..places.min(table.places()) {
            *next %= table.places();
            examined.extend(table.get_mut(*next).copied());
            match table.get_mut(*next).copied().filter(|item| item.1 == number) {
                Some(_) => removed.extend(table.remove(*next, hash_of)),
                None => *next += 1,
            }
        }
        (examined, removed)
    }

    fn contents(table: &ProbeTable<Item>) -> Vec<Item> {
        let mut items: Vec<Item> = table.places.iter().flatten().copied().collect();
        items.sort_unstable();
        items
    }

    // More are run by `PROPTEST_CASES=10000 cargo test --release probe_table`.
    proptest! {
        #[test]
        fn a_table_holds_what_one_of_another_kind_does(steps in steps()) {
            let (mut table, mut other, mut swept) = (ProbeTable::default(), HashTable::new(), 0);
            for step in steps {
                match step {
                    Step::Insert(item) => {
                        let place = table.find(item.0, |found| *found == item);
                        prop_assert_eq!(place.is_some(), other.find(item.0, |found| *found == item).is_some());
                        if place.is_none() {
                            table.insert(item.0, item, hash_of);
                            other.insert_unique(item.0, item, hash_of);
                        }
                    }
                    Step::Remove(item) => {
                        let place = table.find(item.0, |found| *found == item);
                        let removed = place.and_then(|place| table.remove(place, hash_of));
                        let entry = other.find_entry(item.0, |found| *found == item);
                        prop_assert_eq!(removed, entry.ok().map(|entry| entry.remove().0));
                    }
                    Step::Find(item) => {
                        let found = table.find(item.0, |found| *found == item).and_then(|place| table.get_mut(place).copied());
                        prop_assert_eq!(found, other.find(item.0, |found| *found == item).copied());
                    }
                    Step::Sweep(places, number) => {
                        let (expected, removed) = sweep_place_by_place(&mut copy(&table), &mut { swept }, places, number);
                        let mut examined = Vec::new();
                        let is_idle = |item: &mut Item| {
                            examined.push(*item);
                            item.1 == number
                        };
                        let result = table.sweep(&mut swept, places, is_idle, hash_of);
                        let places = places.min(table.places());
                        prop_assert_eq!(result, Swept { examined: places, removed: removed.len() });
                        prop_assert_eq!(examined, expected);
                        for item in removed {
                            let entry = other.find_entry(item.0, |found| *found == item);
                            prop_assert_eq!(entry.ok().map(|entry| entry.remove().0), Some(item));
                        }
                    }
                }
                prop_assert_eq!(table.len, other.len());
                prop_assert!(table.len * 8 <= table.places() * 7);
            }
            let mut all: Vec<Item> = other.into_iter().collect();
            all.sort_unstable();
            prop_assert_eq!(contents(&table), all.clone());
            prop_assert!(all.iter().all(|item| table.find(item.0, |found| found == item).is_some()));
        }

        #[test]
        fn two_sweeps_of_as_many_places_as_there_are_examine_every_item(
            items in prop::collection::hash_set((prop_oneof![0u64..4, 0u64..64, any::<u64>()], 0u8..3), 0..100),
            start in 0usize..128,
        ) {
            let mut table = ProbeTable::default();
            items.iter().for_each(|item| table.insert(item.0, *item, hash_of));
            // Removing an item takes a step more.
            let (mut next, places) = (start, table.places());
            for _ in 0..2 {
                table.sweep(&mut next, places, |item| item.1 == 0, hash_of);
            }
            let mut kept: Vec<Item> = items.into_iter().filter(|item| item.1 != 0).collect();
            kept.sort_unstable();
            prop_assert_eq!(contents(&table), kept);
        }
    }
}
