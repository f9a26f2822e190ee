//! How a sweep tells most live histories.

use std::ops::Range;

use crate::{
    clock::Timestamp,
    store::{Scopes, memory::table::Slot},
};

/// The ticks in which the newest unit of a history lies that is neither idle nor ahead of the time, for histories of one shape.
///
/// Most slots that a sweep examines are live, and have the shape of the slot before. So the plan is looked up, and the time
/// divided into ticks, once for a run of them.
#[derive(Debug)]
pub(super) struct LiveTicks<'a> {
    scopes: &'a Scopes,
    now: Timestamp,
    shape: u32,
    ticks: Range<u64>,
}

impl<'a> LiveTicks<'a> {
    /// More than any number of a shape: a slot has no room for it.
    const NO_SHAPE: u32 = u32::MAX;

    pub(super) const fn new(scopes: &'a Scopes, now: Timestamp) -> Self {
        Self { scopes, now, shape: Self::NO_SHAPE, ticks: 0..0 }
    }

    /// Returns `true` if the history is neither idle nor ahead of the time.
    #[inline]
    pub(super) fn hold(&mut self, slot: &Slot) -> bool {
        if self.shape != slot.shape() {
            self.turn_to(slot.shape());
        }
        self.ticks.contains(&slot.history.newest_tick())
    }

    fn turn_to(&mut self, shape: u32) {
        self.ticks = self.scopes.plan_of_shape(shape).map_or(0..0, |plan| plan.live_ticks(self.now));
        self.shape = shape;
    }
}
