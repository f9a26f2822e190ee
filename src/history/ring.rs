//! The ring buffer for the timestamps of a busy key.

/// The position of a ring buffer in its block of memory, oldest timestamp first.
///
/// With its block it is a `VecDeque` in 22 bytes, so that both fit into the slot of a key.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ring {
    /// Index of the oldest timestamp.
    head: u16,
    len: u16,
    /// The result of the last search, where the next one begins. The answer is right with any value.
    pub(super) hint: u16,
}

impl Ring {
    /// Maximum number of timestamps in a ring.
    pub(super) const LARGEST: usize = u16::MAX as usize;

    /// Creates a ring whose block is full of these timestamps.
    pub(super) fn full(timestamps: &[u32]) -> (Box<[u32]>, Self) {
        (timestamps.into(), Self { len: timestamps.len() as u16, ..Self::default() })
    }

    /// Creates a ring of the first `len` entries of a block.
    #[inline]
    pub(super) const fn from_start(len: u8) -> Self {
        Self { head: 0, len: len as u16, hint: 0 }
    }

    #[inline]
    pub(super) const fn len(self) -> usize {
        self.len as usize
    }

    /// Returns timestamp `at`, counted from 0 at the oldest. It must exist.
    #[inline]
    pub(super) fn get(self, block: &[u32], at: usize) -> u32 {
        block.get(self.index(block, at)).copied().unwrap_or_default()
    }

    /// Adds a timestamp. A full block doubles, up to `capacity`; beyond that nothing is added.
    #[inline]
    pub(super) fn push(&mut self, block: &mut Box<[u32]>, timestamp: u32, capacity: usize) {
        if self.len() == block.len() && !self.grow(block, capacity) {
            return;
        }
        self.push_in_place(block, timestamp, usize::MAX);
    }

    /// Adds a timestamp if the block has space for it, and fewer than `capacity` are there. Returns `false` if not.
    #[inline]
    pub(super) fn push_in_place(&mut self, block: &mut [u32], timestamp: u32, capacity: usize) -> bool {
        if self.len() >= block.len().min(capacity) {
            return false;
        }
        let free = self.index(block, self.len());
        if let Some(free) = block.get_mut(free) {
            *free = timestamp;
            self.len += 1;
        }
        true
    }

    /// Drops all but the newest `count` timestamps.
    #[inline]
    pub(super) fn keep(&mut self, block: &[u32], count: usize) {
        let dropped = self.len().saturating_sub(count);
        self.head = self.index(block, dropped) as u16;
        self.len -= dropped as u16;
    }

    pub(super) fn iter_mut(self, block: &mut [u32]) -> impl Iterator<Item = &mut u32> {
        let (wrapped, first) = block.split_at_mut(self.head.into());
        first.iter_mut().chain(wrapped).take(self.len())
    }

    /// Iterates over the timestamps from the newest to the oldest.
    pub(super) fn newest_first(self, block: &mut [u32]) -> impl Iterator<Item = &mut u32> {
        let (wrapped, first) = block.split_at_mut(self.head.into());
        let before_the_end = self.len().min(first.len());
        let after_it = wrapped.iter_mut().take(self.len() - before_the_end).rev();
        after_it.chain(first.iter_mut().take(before_the_end).rev())
    }

    /// Returns the index in the block of timestamp `at`.
    #[inline]
    fn index(self, block: &[u32], at: usize) -> usize {
        let index = usize::from(self.head) + at;
        if index < block.len() { index } else { index - block.len() }
    }

    /// Enlarges the block, and returns `true` if it could.
    #[cold]
    fn grow(&mut self, block: &mut Box<[u32]>, capacity: usize) -> bool {
        let size = (2 * self.len()).clamp(1, capacity.clamp(1, Self::LARGEST));
        if size <= self.len() {
            return false;
        }
        let mut larger = Vec::with_capacity(size);
        larger.extend(self.iter_mut(block).map(|timestamp| *timestamp));
        larger.resize(size, 0);
        (*block, self.head) = (larger.into(), 0);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_full_ring_takes_no_more() {
        let (mut block, mut ring) = Ring::full(&[1, 2]);
        (3..10).for_each(|timestamp| ring.push(&mut block, timestamp, 4));
        assert_eq!((ring.len(), &*block), (4, &[1, 2, 3, 4][..]));
    }

    proptest! {
        #[test]
        fn a_ring_is_a_queue(steps in prop::collection::vec((any::<u32>(), 0usize..12), 0..200)) {
            let ((mut block, mut ring), mut queue) = (Ring::full(&[]), VecDeque::new());
            for (timestamp, kept) in steps {
                if queue.len() == 9 {
                    ring.keep(&block, kept);
                    queue.drain(..9usize.saturating_sub(kept));
                }
                if queue.len() < 9 {
                    ring.push(&mut block, timestamp, 9);
                    queue.push_back(timestamp);
                }
                let contents: Vec<_> = (0..queue.len()).map(|at| ring.get(&block, at)).collect();
                prop_assert_eq!(&contents, &queue.iter().copied().collect::<Vec<_>>());
                prop_assert_eq!(&ring.iter_mut(&mut block).map(|timestamp| *timestamp).collect::<Vec<_>>(), &contents);
                let backwards: Vec<_> = contents.into_iter().rev().collect();
                prop_assert_eq!(ring.newest_first(&mut block).map(|timestamp| *timestamp).collect::<Vec<_>>(), backwards);
                prop_assert!(block.len() <= 9);
            }
        }
    }
}
