//! Reasons to warn that were found while something was locked.

use std::sync::atomic::{AtomicU8, Ordering};

use crate::warn::Warning;

/// Reasons to warn as soon as nothing is locked. Each is given once: in a full table every newcomer would be one more.
#[derive(Debug, Default)]
pub(super) struct Notices {
    /// The bits of those that are noted and not given yet. Every decision reads this one number.
    due: AtomicU8,
    given: AtomicU8,
}

/// A reason to warn.
#[derive(Clone, Copy, Debug)]
pub(super) enum Notice {
    TableFull = 1,
    ClockSteppedBack = 2,
}

impl Notices {
    /// Notes a reason.
    #[cold]
    #[inline(never)]
    pub(super) fn note(&self, notice: Notice) {
        let bit = notice as u8;
        if self.given.load(Ordering::Relaxed) & bit == 0 && self.due.load(Ordering::Relaxed) & bit == 0 {
            self.due.fetch_or(bit, Ordering::Relaxed);
        }
    }

    /// Returns `true` if there is something to be warned of.
    #[inline]
    pub(super) fn are_due(&self) -> bool {
        self.due.load(Ordering::Relaxed) != 0
    }

    /// Returns what is to be warned of. Whoever takes it gives the warnings while nothing is locked.
    pub(super) fn take(&self) -> impl Iterator<Item = Warning> {
        let due = self.due.swap(0, Ordering::Relaxed);
        let fresh = due & !self.given.fetch_or(due, Ordering::Relaxed);
        let all = [(Notice::TableFull, Warning::TableFull), (Notice::ClockSteppedBack, Warning::ClockSteppedBack)];
        all.into_iter().filter(move |(notice, _)| fresh & *notice as u8 != 0).map(|(_, warning)| warning)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_given_once() {
        let notices = Notices::default();
        let taken = || notices.take().map(|warning| format!("{warning:?}")).collect::<Vec<_>>();
        assert!(!notices.are_due() && taken().is_empty());
        notices.note(Notice::TableFull);
        notices.note(Notice::TableFull);
        assert!(notices.are_due());
        assert_eq!(taken(), ["TableFull"]);
        notices.note(Notice::TableFull);
        assert!(!notices.are_due());
        notices.note(Notice::ClockSteppedBack);
        assert_eq!(taken(), ["ClockSteppedBack"]);
        assert!(!notices.are_due() && taken().is_empty());
    }
}
