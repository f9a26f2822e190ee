//! The coalesced log: admissions within one grain of time share a cell.

use std::collections::VecDeque;

use crate::history::compact::{push_within, widen};

/// The cells of one large quota, oldest first.
///
/// Cell `c` holds the units recorded in the ticks from `c * grain` to `(c + 1) * grain - 1`. All of them leave
/// when one recorded in the last of these would, so none leaves early. As with stamps, the caller knows the newest cell
/// in full and 32 bits are enough for the others.
#[derive(Debug, Default)]
pub(crate) struct Layer {
    cells: VecDeque<Cell>,
    /// The running total before the oldest cell.
    before: u32,
}

/// A cell and the running total at its end, so that the units of any run of cells are one subtraction.
#[derive(Clone, Copy, Debug)]
struct Cell {
    index: u32,
    total: u32,
}

impl Layer {
    /// Units remembered here.
    pub(crate) fn units(&self) -> u32 {
        self.total().wrapping_sub(self.before)
    }

    /// Records `units` in cell `index`, which is not before any other; the memory grows to `most` cells and not beyond.
    pub(crate) fn add(&mut self, index: u64, units: u32, most: usize) {
        let (index, total) = (index as u32, self.total().wrapping_add(units));
        match self.cells.back_mut() {
            Some(cell) if cell.index == index => cell.total = total,
            _ => push_within(&mut self.cells, Cell { index, total }, most),
        }
    }

    /// The oldest cell and its units.
    pub(crate) fn oldest(&self, newest: u64) -> Option<(u64, u32)> {
        self.cells.front().map(|cell| (widen(cell.index, newest), cell.total.wrapping_sub(self.before)))
    }

    /// Forgets the oldest cell.
    pub(crate) fn drop_oldest(&mut self) {
        if let Some(cell) = self.cells.pop_front() {
            self.before = cell.total;
        }
    }

    /// Forgets one unit of the oldest cell.
    pub(crate) fn drop_unit(&mut self) {
        if self.units() > 0 {
            self.before = self.before.wrapping_add(1);
        }
        if self.cells.front().is_some_and(|cell| cell.total == self.before) {
            self.cells.pop_front();
        }
    }

    /// The cell that holds unit `nth`, counted from 1 at the oldest; none if there are fewer units.
    pub(crate) fn cell_of(&self, nth: u32, newest: u64) -> Option<u64> {
        let at = self.cells.partition_point(|cell| cell.total.wrapping_sub(self.before) < nth);
        self.cells.get(at).map(|cell| widen(cell.index, newest))
    }

    /// Brings cells that are later than `latest` down to it, where they are one; `newest` is not before any of them.
    pub(crate) fn clamp(&mut self, latest: u64, newest: u64) {
        let total = self.total();
        let is_later = |cell: &&Cell| widen(cell.index, newest) > latest;
        let later = self.cells.iter().rev().take_while(is_later).count();
        if later > 0 {
            self.cells.truncate(self.cells.len() - later);
            match self.cells.back_mut() {
                Some(cell) if cell.index == latest as u32 => cell.total = total,
                _ => self.cells.push_back(Cell { index: latest as u32, total }),
            }
        }
    }

    fn total(&self) -> u32 {
        self.cells.back().map_or(self.before, |cell| cell.total)
    }

    #[cfg(test)]
    pub(crate) fn cells(&self) -> usize {
        self.cells.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(cells: &[(u64, u32)]) -> Layer {
        let mut layer = Layer::default();
        cells.iter().for_each(|(index, units)| layer.add(*index, *units, 4098));
        layer
    }

    #[test]
    fn admissions_in_one_grain_share_a_cell() {
        let layer = layer(&[(7, 1), (7, 2), (8, 1)]);
        assert_eq!((layer.cells(), layer.units()), (2, 4));
        assert_eq!(layer.oldest(8), Some((7, 3)));
    }

    #[test]
    fn the_cell_of_a_unit_is_found_by_its_number() {
        let layer = layer(&[(7, 3), (9, 1), (12, 5)]);
        let cells: Vec<_> = (1..=10).map(|nth| layer.cell_of(nth, 12)).collect();
        assert_eq!(cells[..4], [Some(7), Some(7), Some(7), Some(9)]);
        assert_eq!(cells[4..9], [Some(12); 5]);
        assert_eq!(cells[9], None);
    }

    #[test]
    fn totals_hold_across_the_wrap_of_32_bits() {
        let mut layer = layer(&[(1, u32::MAX - 1)]);
        layer.drop_oldest();
        layer.add(2, 5, 4098);
        layer.add(3, 5, 4098);
        assert_eq!(layer.units(), 10);
        assert_eq!(layer.cell_of(6, 3), Some(3));
        layer.drop_oldest();
        assert_eq!((layer.units(), layer.oldest(3)), (5, Some((3, 5))));
    }

    #[test]
    fn a_full_layer_holds_the_largest_limit() {
        let mut layer = layer(&[(1, 1), (2, u32::MAX - 1)]);
        assert_eq!(layer.units(), u32::MAX);
        layer.drop_unit();
        assert_eq!((layer.units(), layer.oldest(2)), (u32::MAX - 1, Some((2, u32::MAX - 1))));
    }
}
