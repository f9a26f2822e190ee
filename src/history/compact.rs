//! The exact log in its small form: 32 bits per admitted unit.

use std::collections::VecDeque;

/// Units that a key may have before its history needs memory of its own.
const INLINE: usize = 5;

/// When each remembered unit was admitted, oldest first, in milliseconds.
///
/// Entries never decrease. The caller keeps the newest of them in full and passes it in; of the others the low 32 bits
/// are enough, since they were less than 12 days older than it. However long a key has been idle, nothing wraps.
#[derive(Debug)]
pub(crate) enum Stamps {
    /// In the key's own slot: nothing on the heap.
    Inline { len: u8, stamps: [u32; INLINE] },
    /// As many as the policy counts.
    Heap(VecDeque<u32>),
}

impl Stamps {
    pub(crate) const EMPTY: Self = Self::Inline { len: 0, stamps: [0; INLINE] };

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Inline { len, .. } => usize::from(*len),
            Self::Heap(stamps) => stamps.len(),
        }
    }

    /// Entry `at`, counted from the oldest.
    #[inline]
    pub(crate) fn get(&self, at: usize, newest: u64) -> u64 {
        let low = match self {
            Self::Inline { stamps, .. } => stamps.get(at),
            Self::Heap(stamps) => stamps.get(at),
        };
        low.map_or(newest, |low| widen(*low, newest))
    }

    /// Adds an entry; the memory grows in doubling steps to `capacity` and not beyond.
    pub(crate) fn push(&mut self, stamp: u64, capacity: usize) {
        match self {
            Self::Inline { len, stamps } => match stamps.get_mut(usize::from(*len)) {
                Some(free) => {
                    *free = stamp as u32;
                    *len += 1;
                }
                None => {
                    let mut longer = VecDeque::from(*stamps);
                    push_within(&mut longer, stamp as u32, capacity);
                    *self = Self::Heap(longer);
                }
            },
            Self::Heap(stamps) => push_within(stamps, stamp as u32, capacity),
        }
    }

    /// Forgets the oldest entry.
    pub(crate) fn drop_oldest(&mut self) {
        match self {
            Self::Inline { len, stamps } => {
                stamps.copy_within(1.., 0);
                *len = len.saturating_sub(1);
            }
            Self::Heap(stamps) => drop(stamps.pop_front()),
        }
    }

    /// Forgets everything and keeps the memory.
    pub(crate) fn clear(&mut self) {
        match self {
            Self::Inline { len, .. } => *len = 0,
            Self::Heap(stamps) => stamps.clear(),
        }
    }

    /// Brings entries that are later than `latest` down to it; `newest` is the last of them.
    pub(crate) fn clamp(&mut self, latest: u64, newest: u64) {
        let clamp = |stamp: &mut u32| *stamp = widen(*stamp, newest).min(latest) as u32;
        match self {
            Self::Inline { len, stamps } => stamps.iter_mut().take(usize::from(*len)).for_each(clamp),
            Self::Heap(stamps) => stamps.iter_mut().for_each(clamp),
        }
    }
}

/// How many of the newest `most` of `len` entries, which do not decrease up to `newest`, are later than `after`.
#[inline]
pub(crate) fn count_after(after: u64, newest: u64, len: usize, most: usize, get: impl Fn(usize) -> u64) -> usize {
    let first = len - most.min(len);
    // The two ends are the common answers: idle for longer than the window, and exhausted.
    if len == first || newest <= after {
        return 0;
    }
    if get(first) > after {
        return len - first;
    }
    let (mut earlier, mut later) = (first, len - 1);
    while later - earlier > 1 {
        let middle = earlier + (later - earlier) / 2;
        if get(middle) > after {
            later = middle;
        } else {
            earlier = middle;
        }
    }
    len - later
}

/// The number whose low 32 bits are `low` and that is at most 2^32 - 1 below `reference`.
pub(super) const fn widen(low: u32, reference: u64) -> u64 {
    reference.saturating_sub((reference as u32).wrapping_sub(low) as u64)
}

pub(super) fn push_within<T>(entries: &mut VecDeque<T>, entry: T, capacity: usize) {
    let len = entries.len();
    if len == entries.capacity() {
        entries.reserve_exact(len.clamp(1, capacity.saturating_sub(len).max(1)));
    }
    entries.push_back(entry);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(at: &[u64]) -> Stamps {
        let mut stamps = Stamps::EMPTY;
        at.iter().for_each(|stamp| stamps.push(*stamp, 4096));
        stamps
    }

    fn contents(stamps: &Stamps, newest: u64) -> Vec<u64> {
        (0..stamps.len()).map(|at| stamps.get(at, newest)).collect()
    }

    #[test]
    fn counts_the_entries_after_a_moment() {
        let stamps = [10, 20, 20, 30, 40, 50, 60];
        let count = |after, most| count_after(after, 60, stamps.len(), most, |at| stamps[at]);
        for (after, expected) in
            [(60, 0), (59, 1), (50, 1), (49, 2), (29, 4), (20, 4), (19, 6), (10, 6), (9, 7), (0, 7)]
        {
            assert_eq!(count(after, 4096), expected, "after {after}");
        }
        assert_eq!(count(0, 3), 3);
        assert_eq!(count_after(0, 1, 0, 3, |_| 1), 0);
    }

    #[test]
    fn entries_read_back_across_the_wrap_of_32_bits() {
        let newest = (1 << 43) + 5;
        let at = [newest - (1 << 31), newest - 10, newest - 3, newest];
        assert_eq!(contents(&filled(&at), newest), at);
    }

    #[test]
    fn the_log_leaves_its_slot_when_it_outgrows_it_and_keeps_its_order() {
        let mut stamps = filled(&[1, 2, 3, 4, 5]);
        assert!(matches!(stamps, Stamps::Inline { .. }));
        stamps.push(6, 4096);
        assert!(matches!(stamps, Stamps::Heap(_)));
        stamps.drop_oldest();
        assert_eq!(contents(&stamps, 6), [2, 3, 4, 5, 6]);
    }

    #[test]
    fn the_memory_grows_to_the_capacity_and_not_beyond() {
        let mut stamps = Stamps::EMPTY;
        for stamp in 0..1800 {
            stamps.push(stamp, 1800);
        }
        let Stamps::Heap(entries) = &stamps else { panic!("1800 entries in a slot") };
        assert_eq!((entries.len(), entries.capacity()), (1800, 1800));
    }

    #[test]
    fn entries_from_the_future_are_brought_down_to_now() {
        for at in [vec![1100, 1150, 1200], (1000..1200).collect()] {
            let mut stamps = filled(&at);
            stamps.clamp(1120, at[at.len() - 1]);
            let clamped: Vec<u64> = at.iter().map(|stamp| *stamp.min(&1120)).collect();
            assert_eq!(contents(&stamps, 1120), clamped);
        }
    }
}
