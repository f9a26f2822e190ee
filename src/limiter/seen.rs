//! A set that tells new values from repeated ones.

use std::hash::Hash;

use hashbrown::HashSet;
use smallvec::SmallVec;

/// Up to this many values a linear search is faster than hashing.
const FEW: usize = 16;

/// A set of values that have come already. Looking one up takes a time that does not grow with their number.
#[derive(Clone, Debug)]
pub(crate) struct Seen<T> {
    few: SmallVec<[T; FEW]>,
    /// All values, as soon as they are more.
    many: Option<HashSet<T>>,
}

impl<T> Default for Seen<T> {
    fn default() -> Self {
        Self { few: SmallVec::new(), many: None }
    }
}

impl<T> Seen<T>
where
    T: Copy + Eq + Hash,
{
    /// Adds a value, and returns `true` if it was not in the set.
    pub(crate) fn is_first(&mut self, value: T) -> bool {
        if let Some(many) = &mut self.many {
            return many.insert(value);
        }
        if self.few.contains(&value) {
            return false;
        }
        if self.few.len() == FEW {
            self.many = Some(self.few.iter().copied().chain([value]).collect());
        } else {
            self.few.push(value);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_new_once_however_many_there_are() {
        let mut seen = Seen::default();
        for value in 0..4 * FEW {
            assert!(seen.is_first(value));
            for earlier in 0..=value {
                assert!(!seen.is_first(earlier), "{earlier} of {value}");
            }
        }
    }

    /// Comparing each with all others would be four million comparisons.
    #[test]
    fn the_cost_of_a_value_does_not_grow_with_their_number() {
        use std::cell::Cell;

        #[derive(Clone, Copy, Hash)]
        struct Counted<'a>(u32, &'a Compared);
        struct Compared(Cell<u32>);
        impl Hash for Compared {
            fn hash<H: std::hash::Hasher>(&self, _: &mut H) {}
        }
        impl PartialEq for Counted<'_> {
            fn eq(&self, other: &Self) -> bool {
                self.1.0.set(self.1.0.get() + 1);
                self.0 == other.0
            }
        }
        impl Eq for Counted<'_> {}

        let compared = Compared(Cell::new(0));
        let mut seen = Seen::default();
        assert!((0..2000).all(|value| seen.is_first(Counted(value, &compared))));
        assert!(compared.0.get() < 4000, "{} comparisons", compared.0.get());
    }
}
