//! The place where a cost was recorded.

use std::{
    num::NonZeroU32,
    sync::atomic::{AtomicU32, Ordering},
};

use crate::clock::Timestamp;

/// The place where a cost was recorded: with it, units of that cost can be given back.
///
/// A receipt outlives what it names. It gives nothing back once the units have left every window, the history was dropped
/// and born again, or the clock has stepped back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Receipt {
    /// The history, or `None` if nothing was recorded that can be given back.
    pub(super) id: Option<HistoryId>,
    /// The beginning of the tick of the record. It is no number of a tick, since histories get other ticks with other plans.
    pub(super) recorded_at: Timestamp,
}

/// The number of a history with costs, which no other has had in this process for the last four billion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HistoryId(NonZeroU32);

static NEXT_ID: AtomicU32 = AtomicU32::new(1);

impl Receipt {
    /// The receipt of a cost that cannot be given back.
    pub(crate) const NONE: Self = Self { id: None, recorded_at: Timestamp::from_nanos(0) };
}

impl Receipt {
    /// Returns the number of the history and the nanosecond of the record; `None` if nothing can be given back.
    pub(crate) fn parts(self) -> Option<(u64, u64)> {
        self.id.map(|HistoryId(id)| (u64::from(id.get()), self.recorded_at.nanos()))
    }

    /// Returns the receipt of these [parts](Self::parts).
    pub(crate) fn from_parts(history: u64, recorded_at: u64) -> Self {
        let id = u32::try_from(history).ok().and_then(NonZeroU32::new).map(HistoryId);
        Self { id, recorded_at: Timestamp::from_nanos(recorded_at) }
    }
}

impl HistoryId {
    /// Returns a number that is new.
    pub(super) fn next() -> Self {
        loop {
            if let Some(id) = NonZeroU32::new(NEXT_ID.fetch_add(1, Ordering::Relaxed)) {
                return Self(id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_is_two_words() {
        assert_eq!(size_of::<Receipt>(), 16);
    }

    #[test]
    fn no_two_histories_have_one_number() {
        assert_ne!(HistoryId::next(), HistoryId::next());
    }
}
