//! The grid in which entries of a log of costs are merged when there are many.

use crate::history::cost_entry::SmallEntry;

/// The grid in which entries of a log of costs are merged when there are many.
///
/// An entry that is counted by the windows from the `n`th on may be merged with those in the same cell of that window. Cells
/// are multiples of those of shorter windows, so that merging twice makes no unit later than merging once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Grid {
    /// The cells of each window that any plan of the same histories limits, shortest first.
    cells: Box<[Cells]>,
    /// The longest window of a quota that is counted exactly: entries within it are not merged unless debts are many.
    exact_ticks: u64,
    /// The largest limit of any plan of the same histories.
    largest_limit: u64,
    /// The age in ticks at which an entry may be forgotten.
    kept_ticks: u64,
    resolution: usize,
    most_merged: usize,
}

/// The cells of one window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cells {
    window: u64,
    /// Length of a cell in ticks: a unit may leave the window late by less than that.
    ticks: u64,
}

impl Grid {
    /// Creates the grid of these windows, each with a limit. Entries are forgotten `lead` ticks after they have left the
    /// longest of them, so that threads whose clocks differ by less see the same.
    pub(super) fn new(windows: impl Iterator<Item = (u64, u64)>, resolution: u32, lead: u64) -> Self {
        let limits = largest_limits(windows.collect());
        let cells = cells_of(&limits, resolution.into());
        let exact = limits.iter().filter(|(_, limit)| *limit <= u64::from(resolution)).map(|(ticks, _)| *ticks);
        let most = cells.iter().map(|cells| (cells.window / cells.ticks).saturating_add(2));
        Self {
            exact_ticks: exact.max().unwrap_or(0),
            largest_limit: limits.iter().map(|(_, limit)| *limit).max().unwrap_or(0),
            kept_ticks: cells.last().map_or(0, |cells| cells.window).saturating_add(lead),
            resolution: resolution as usize,
            most_merged: usize::try_from(most.fold(0, u64::saturating_add)).unwrap_or(usize::MAX),
            cells,
        }
    }

    /// Returns the number of windows.
    pub(super) fn len(&self) -> usize {
        self.cells.len()
    }

    /// Returns `true` if the one grid may stand in for the other: it has the same cells. Limits do not matter.
    pub(super) fn has_windows_of(&self, other: &Self) -> bool {
        (&self.cells, self.resolution) == (&other.cells, other.resolution)
    }

    /// Returns the number of the window with this length.
    pub(super) fn position(&self, window: u64) -> usize {
        self.cells.partition_point(|cells| cells.window < window)
    }

    /// Returns the age in ticks at which no unit counts any more.
    pub(super) fn horizon(&self) -> u64 {
        self.cells.last().map_or(0, |cells| cells.window)
    }

    /// Returns `true` if limits and windows are small enough for small entries.
    pub(super) fn is_small(&self, longest: u64) -> bool {
        self.largest_limit <= SmallEntry::LARGEST_LIMIT && self.horizon() <= longest
    }

    /// Returns the age in ticks at which an entry may be forgotten.
    #[inline]
    pub(super) const fn kept_ticks(&self) -> u64 {
        self.kept_ticks
    }

    /// Returns the number of entries at which they are merged, if `left` were left the last time.
    pub(super) fn merges_at(&self, left: usize) -> usize {
        self.resolution.max(left.saturating_add(left / 4))
    }

    /// Returns the maximum number of entries that are left if all of them may be merged.
    pub(super) const fn most_merged(&self) -> usize {
        self.most_merged
    }

    /// Returns the earliest timestamp whose units may be counted with those of a later `timestamp`: both are in the same
    /// cell, and exactly the same windows count them `now`.
    ///
    /// Without the latter, units that have left a minute would come back with others that it still counts. The same holds for
    /// threads whose clocks are a little behind.
    pub(super) fn merges_from(&self, timestamp: u64, now: u64, in_debt: bool) -> u64 {
        let behind = now.saturating_sub(self.kept_ticks - self.horizon());
        if !in_debt && timestamp.saturating_add(self.exact_ticks) > behind {
            return timestamp;
        }
        let (begins, ticks) = self.cell_length(timestamp, behind);
        begins.max(self.cell_length(timestamp, now).0).max(timestamp - timestamp % ticks)
    }

    /// Returns the first timestamp that exactly the same windows count, and the cells of the shortest of these.
    fn cell_length(&self, timestamp: u64, now: u64) -> (u64, u64) {
        let counts = |cells: &&Cells| timestamp.saturating_add(cells.window) > now;
        match (self.cells.iter().find(counts), self.cells.last()) {
            (Some(cells), _) => ((now + 1).saturating_sub(cells.window), cells.ticks),
            (None, last) => (0, last.map_or(1, |cells| cells.ticks)),
        }
    }
}

/// Returns the length of each window and its largest limit, shortest first.
fn largest_limits(mut limits: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    limits.sort_unstable_by_key(|(ticks, limit)| (*ticks, std::cmp::Reverse(*limit)));
    limits.dedup_by_key(|(ticks, _)| *ticks);
    limits
}

fn cells_of(limits: &[(u64, u64)], resolution: u64) -> Box<[Cells]> {
    let mut previous = 1_u64;
    let cells = limits.iter().map(|(window, _)| {
        previous = previous.saturating_mul((window / resolution / previous).max(1));
        Cells { window: *window, ticks: previous }
    });
    cells.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(quotas: &[(u64, u64)], resolution: u32) -> Grid {
        Grid::new(quotas.iter().map(|(limit, ticks)| (*ticks, *limit)), resolution, 3)
    }

    #[test]
    fn cells_are_multiples_of_each_other_and_at_most_a_resolutionth_of_the_window() {
        let grid = grid(&[(60, 60_000), (1_000_000, 86_400_000), (90_000, 61_000), (5, 1000)], 4096);
        let ticks: Vec<u64> = grid.cells.iter().map(|cells| cells.ticks).collect();
        assert_eq!(ticks, [1, 14, 14, 14 * (86_400_000 / 4096 / 14)]);
        for cells in &grid.cells {
            assert!(cells.ticks == 1 || cells.ticks * 4096 <= cells.window, "{cells:?}");
        }
    }

    #[test]
    fn entries_merge_within_a_cell_that_the_same_windows_count() {
        let grid = grid(&[(100, 160), (100, 1600)], 16);
        // Cells of 10 within the newest 160 ticks, of 100 before. A clock may be 3 ticks behind.
        assert_eq!(grid.merges_from(9_997, 10_000, false), 9_990);
        assert_eq!(grid.merges_from(9_851, 10_000, false), 9_850);
        assert_eq!(grid.merges_from(9_843, 10_000, false), 9_841);
        assert_eq!(grid.merges_from(9_839, 10_000, false), 9_838);
        assert_eq!(grid.merges_from(9_838, 10_000, false), 9_838);
        assert_eq!(grid.merges_from(9_837, 10_000, false), 9_800);
        assert_eq!(grid.merges_from(8_405, 10_000, false), 8_401);
        assert_eq!(grid.merges_from(8_400, 10_000, false), 8_400);
        assert_eq!(grid.merges_from(8_399, 10_000, false), 8_398);
        assert_eq!(grid.merges_from(8_397, 10_000, false), 8_300);
    }

    #[test]
    fn a_window_with_a_small_limit_keeps_its_entries_unless_debts_are_many() {
        let grid = grid(&[(16, 160), (100, 1600)], 16);
        assert_eq!(grid.merges_from(9_997, 10_000, false), 9_997);
        assert_eq!(grid.merges_from(9_838, 10_000, false), 9_838);
        assert_eq!(grid.merges_from(9_837, 10_000, false), 9_800);
        assert_eq!(grid.merges_from(9_997, 10_000, true), 9_990);
        assert_eq!((grid.most_merged(), grid.horizon(), grid.kept_ticks()), (36, 1600, 1603));
    }
}
