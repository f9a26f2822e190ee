//! The exact log in its small form: 32 bits per admitted unit.

use std::collections::VecDeque;

use crate::history::ring::Ring;

/// Maximum number of units that need no memory on the heap.
const INLINE: usize = 5;

/// Units of a window that are counted from the newest on. The hint is left to larger windows, which take longer without it.
const FEW: usize = 16;

/// The timestamps of the remembered units in ticks, oldest first.
///
/// Entries never decrease. The caller keeps the newest of them in full and passes it in. The low 32 bits of the others are
/// enough, since none is more than two windows older. Nothing wraps, however long a key has been idle.
#[derive(Debug)]
pub(crate) enum ExactLog {
    /// Timestamps in the key's own slot, without memory on the heap.
    Inline { len: u8, timestamps: [u32; INLINE] },
    /// Timestamps on the heap, as many as the policy counts.
    Heap { block: Box<[u32]>, ring: Ring },
}

impl ExactLog {
    pub(crate) const EMPTY: Self = Self::Inline { len: 0, timestamps: [0; INLINE] };

    pub(crate) fn len(&self) -> usize {
        self.view().1.len()
    }

    /// Returns entry `at`, counted from 0 at the oldest, or the newest if there is no such entry.
    #[inline]
    pub(crate) fn get(&self, at: usize, newest: u64) -> u64 {
        let (block, ring) = self.view();
        if at < ring.len() { widen(ring.get(block, at), newest) } else { newest }
    }

    /// Returns the number of entries later than `after` among the newest `most`, and the oldest of these.
    #[inline]
    pub(crate) fn count_after(&mut self, after: u64, newest: u64, most: usize) -> (usize, u64) {
        let (block, ring) = self.view();
        let ages = Ages::new(block, ring, newest);
        let reach = Ages::reach(after, newest);
        let live = |at| ages.age(at) < reach;
        let count = match most {
            ..=FEW => count_few(ring.len(), most, live),
            _ => count_newest(ring.hint.into(), ring.len(), most, live),
        };
        let oldest = if count == 0 { newest } else { newest.saturating_sub(ages.age(ring.len() - count).into()) };
        if let Self::Heap { ring, .. } = self
            && count < ring.len()
            && most > FEW
        {
            ring.hint = count as u16;
        }
        (count, oldest)
    }

    /// Returns entry `limit`, counted from 1 at the newest, if it is later than `after`: then at least `limit` entries are.
    /// Reads one entry, however long the log is.
    #[inline]
    pub(crate) fn nth_newest_after(&self, after: u64, newest: u64, limit: usize) -> Option<u64> {
        let (block, ring) = self.view();
        let age = Ages::new(block, ring, newest).age(ring.len().checked_sub(limit)?);
        (age < Ages::reach(after, newest)).then(|| newest.saturating_sub(age.into()))
    }

    /// Returns a number of entries that can be added before more than `limit` are later than `after`: up to `most`, and often
    /// half of what is possible. Entries are read near to each other while few are free.
    pub(crate) fn free(&self, after: u64, newest: u64, limit: usize, most: usize) -> usize {
        let (block, ring) = self.view();
        let (ages, reach) = (Ages::new(block, ring, newest), Ages::reach(after, newest));
        let (unused, most) = (limit.saturating_sub(ring.len()), most.min(limit));
        let fits = |count: usize| count <= unused || ages.age(ring.len() + count - limit - 1) >= reach;
        let mut free = unused.min(most);
        let mut next = (2 * free).max(1);
        while next <= most && fits(next) {
            (free, next) = (next, 2 * next);
        }
        free
    }

    /// Returns the number of entries that it has memory for.
    pub(crate) fn memory(&self) -> usize {
        self.view().0.len()
    }

    /// Returns `true` if one more entry would need more memory.
    #[inline]
    pub(crate) fn fills_its_memory(&self) -> bool {
        self.len() == self.memory()
    }

    /// Adds an entry if that needs no more memory, and makes no more than `capacity`. Returns `false` if not.
    #[inline]
    pub(crate) fn push_in_place(&mut self, timestamp: u64, capacity: usize) -> bool {
        match self {
            Self::Heap { block, ring } => ring.push_in_place(block, timestamp as u32, capacity),
            Self::Inline { len, timestamps } => {
                let free = timestamps.get_mut(usize::from(*len)).filter(|_| usize::from(*len) < capacity);
                free.map(|free| (*free, *len) = (timestamp as u32, *len + 1)).is_some()
            }
        }
    }

    /// Adds an entry. The memory doubles when it is full, up to `capacity`.
    #[inline]
    pub(crate) fn push(&mut self, timestamp: u64, capacity: usize) {
        match self {
            Self::Heap { block, ring } => ring.push(block, timestamp as u32, capacity),
            Self::Inline { len, timestamps } => match timestamps.get_mut(usize::from(*len)) {
                Some(free) => {
                    *free = timestamp as u32;
                    *len += 1;
                }
                None => {
                    let (mut block, mut ring) = Ring::full(timestamps);
                    ring.push(&mut block, timestamp as u32, capacity);
                    *self = Self::Heap { block, ring };
                }
            },
        }
    }

    /// Drops the entries up to `expired`. The memory is kept.
    #[inline]
    pub(crate) fn expire_until(&mut self, expired: u64, newest: u64) {
        let (block, ring) = self.view();
        let ages = Ages::new(block, ring, newest);
        let (len, reach) = (ring.len(), Ages::reach(expired, newest));
        if len > 0 && ages.age(0) >= reach {
            // Usually a single entry has expired.
            let live = count_newest(len - 1, len, len, |at| ages.age(at) < reach);
            self.keep(live);
        }
    }

    /// Drops all but the newest `count` entries.
    pub(crate) fn keep(&mut self, count: usize) {
        match self {
            Self::Heap { block, ring } => ring.keep(block, count),
            Self::Inline { len, timestamps } => {
                let kept = count.min((*len).into());
                timestamps.copy_within(usize::from(*len) - kept..(*len).into(), 0);
                *len = kept as u8;
            }
        }
    }

    /// Sets the entries later than `latest` to `latest`. `newest` is the last entry.
    pub(crate) fn clamp(&mut self, latest: u64, newest: u64) {
        let is_later = |timestamp: &&mut u32| widen(**timestamp, newest) > latest;
        let set = |timestamp: &mut u32| *timestamp = latest as u32;
        match self {
            Self::Heap { block, ring } => ring.newest_first(block).take_while(is_later).for_each(set),
            Self::Inline { len, timestamps } => {
                timestamps.iter_mut().take(usize::from(*len)).rev().take_while(is_later).for_each(set);
            }
        }
    }

    /// Returns the memory, and the part of it that is in use.
    #[inline]
    fn view(&self) -> (&[u32], Ring) {
        match self {
            Self::Heap { block, ring } => (block, *ring),
            Self::Inline { len, timestamps } => (timestamps, Ring::from_start(*len)),
        }
    }
}

/// Entries as ticks before the newest of them: 32 bits, in which nothing wraps.
#[derive(Clone, Copy)]
struct Ages<'a> {
    block: &'a [u32],
    ring: Ring,
    newest: u32,
}

impl<'a> Ages<'a> {
    #[inline]
    const fn new(block: &'a [u32], ring: Ring, newest: u64) -> Self {
        Self { block, ring, newest: newest as u32 }
    }

    /// Returns the age of entry `at`, which must exist.
    #[inline]
    fn age(self, at: usize) -> u32 {
        self.newest.wrapping_sub(self.ring.get(self.block, at))
    }

    /// Returns the age below which an entry is later than `after`.
    #[inline]
    fn reach(after: u64, newest: u64) -> u32 {
        u32::try_from(newest.saturating_sub(after)).unwrap_or(u32::MAX)
    }
}

/// Returns the number of `live` entries among the newest `most` of `len`. All entries after a live one must be live.
///
/// `hint` is an earlier answer. Usually one entry was added since then and perhaps one has left; any other hint costs a
/// binary search.
#[inline]
pub(crate) fn count_newest(hint: usize, len: usize, most: usize, live: impl Fn(usize) -> bool) -> usize {
    let first = len.saturating_sub(most);
    if first == len {
        return 0;
    }
    // All of them are live, as in an exhausted quota.
    if live(first) {
        return len - first;
    }
    // At least one entry is not live from here on, which bounds the answer.
    let likely = hint.min(len - first - 1);
    let has = |count: usize| live(len - count);
    if has(likely + 1) {
        if !has(likely + 2) {
            return likely + 1;
        }
    } else if likely == 0 || has(likely) {
        return likely;
    } else if !has(1) {
        return 0;
    }
    len - first_live(first, len - 1, live)
}

/// Does what [`count_newest`] does, without a hint, for a window of few units.
#[inline]
fn count_few(len: usize, most: usize, live: impl Fn(usize) -> bool) -> usize {
    let first = len.saturating_sub(most);
    if first < len && live(first) {
        return len - first;
    }
    (first..len).rev().take_while(|at| live(*at)).count()
}

/// Returns the first `live` entry. Entry `earlier` must not be live, and entry `later` must be.
fn first_live(mut earlier: usize, mut later: usize, live: impl Fn(usize) -> bool) -> usize {
    while later - earlier > 1 {
        let middle = earlier + (later - earlier) / 2;
        if live(middle) {
            later = middle;
        } else {
            earlier = middle;
        }
    }
    later
}

/// Returns the number whose low 32 bits are `low` and that is at most 2^32 - 1 below `reference`.
pub(super) const fn widen(low: u32, reference: u64) -> u64 {
    reference.saturating_sub((reference as u32).wrapping_sub(low) as u64)
}

/// Returns each tick with the units that are not among the newest `most` of all, and those that are.
pub(super) fn split_newest(recorded: &[(u64, u64)], most: usize) -> impl Iterator<Item = (u64, u64, u64)> {
    let mut later = recorded.iter().fold(0_u64, |sum, (_, units)| sum.saturating_add(*units));
    recorded.iter().map(move |(tick, units)| {
        later = later.saturating_sub(*units);
        let newest = (*units).min((most as u64).saturating_sub(later));
        (*tick, units - newest, newest)
    })
}

/// Appends an entry. The memory doubles when it is full, up to `capacity`.
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
    use crate::{
        clock::Timestamp,
        history::{History, Plan},
        policy::Policy,
    };

    fn filled(at: &[u64]) -> ExactLog {
        let mut timestamps = ExactLog::EMPTY;
        at.iter().for_each(|timestamp| timestamps.push(*timestamp, 4096));
        timestamps
    }

    fn contents(timestamps: &ExactLog, newest: u64) -> Vec<u64> {
        (0..timestamps.len()).map(|at| timestamps.get(at, newest)).collect()
    }

    #[test]
    fn counts_the_entries_after_a_moment() {
        let timestamps = [10, 20, 20, 30, 40, 50, 60];
        let count = |hint, after, most| count_newest(hint, timestamps.len(), most, |at| timestamps[at] > after);
        let few = |after, most| count_few(timestamps.len(), most, |at| timestamps[at] > after);
        for (after, expected) in
            [(60, 0), (59, 1), (50, 1), (49, 2), (29, 4), (20, 4), (19, 6), (10, 6), (9, 7), (0, 7)]
        {
            assert_eq!(few(after, FEW), expected, "after {after}");
            assert_eq!(few(after, 3), expected.min(3), "after {after}");
            for hint in 0..9 {
                assert_eq!(count(hint, after, 4096), expected, "after {after}, with the hint {hint}");
            }
        }
        assert_eq!(count(0, 0, 3), 3);
        assert_eq!(count_newest(0, 0, 3, |_| true), 0);
    }

    #[test]
    fn entries_read_back_across_the_wrap_of_32_bits() {
        let newest = (1 << 43) + 5;
        let at = [newest - (1 << 31), newest - 10, newest - 3, newest];
        assert_eq!(contents(&filled(&at), newest), at);
    }

    #[test]
    fn the_log_leaves_its_slot_when_it_outgrows_it_and_keeps_its_order() {
        let mut timestamps = filled(&[1, 2, 3, 4, 5]);
        assert!(matches!(timestamps, ExactLog::Inline { .. }));
        timestamps.push(6, 4096);
        assert!(matches!(timestamps, ExactLog::Heap { .. }));
        timestamps.keep(5);
        assert_eq!(contents(&timestamps, 6), [2, 3, 4, 5, 6]);
    }

    #[test]
    fn the_memory_grows_to_the_capacity_and_not_beyond() {
        let mut timestamps = ExactLog::EMPTY;
        for timestamp in 0..1800 {
            timestamps.push(timestamp, 1800);
        }
        let ExactLog::Heap { block, ring } = &timestamps else { panic!("1800 entries in a slot") };
        assert_eq!((ring.len(), block.len()), (1800, 1800));
    }

    #[test]
    fn memory_does_not_grow_for_units_that_count_no_more() {
        let plan = Plan::new(&Policy::per_minute(60).and_per_hour(1800));
        let mut history = History::new(&plan);
        for minutes in 0..10_000 {
            let now = Timestamp::from_nanos(minutes * 60_000_000_000);
            assert_eq!(history.room_at(&plan, now), None);
            history.charge(&plan, now);
        }
        assert!(history.entries() <= 2 * 60 + INLINE, "{} for 60 units", history.entries());
    }

    #[test]
    fn entries_from_the_future_are_set_to_now() {
        for at in [vec![1100, 1150, 1200], (1000..1200).collect()] {
            let mut timestamps = filled(&at);
            timestamps.clamp(1120, at[at.len() - 1]);
            let clamped: Vec<u64> = at.iter().map(|timestamp| *timestamp.min(&1120)).collect();
            assert_eq!(contents(&timestamps, 1120), clamped);
        }
    }
}
