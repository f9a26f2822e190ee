//! The history of a policy with large quotas or long windows: 64-bit stamps, and coalesced layers behind them.

use std::collections::VecDeque;

use crate::history::{
    compact::{count_newest, push_within},
    layer::Layer,
    plan::{Counted, Exact, Grain, Plan, Window},
};

/// The exact log and one layer per grain of the plan.
///
/// `newest`, when the newest unit was recorded, is kept by the caller.
#[derive(Debug)]
pub(crate) struct Large {
    stamps: VecDeque<u64>,
    layers: Box<[Layer]>,
}

impl Large {
    pub(crate) fn fresh(plan: &Plan) -> Self {
        Self { stamps: VecDeque::new(), layers: plan.grains().iter().map(|_| Layer::default()).collect() }
    }

    /// Lets go of what has left every window, and moves on what has outlived its part of the log.
    pub(crate) fn settle(&mut self, plan: &Plan, newest: u64, now: u64) {
        if let Some(exact) = plan.exact() {
            let expired = now.saturating_sub(exact.ticks);
            while self.stamps.front().is_some_and(|stamp| *stamp <= expired) {
                self.move_oldest_stamp(plan.grains());
            }
        }
        for at in 0..self.layers.len() {
            self.settle_layer(at, plan.grains(), newest, now);
        }
    }

    /// Units that `window` counts.
    pub(crate) fn used(&self, window: &Window, now: u64) -> u32 {
        match window.counted {
            Counted::Exactly => {
                let expired = now.saturating_sub(window.ticks);
                let live = |at| self.stamps.get(at).is_some_and(|stamp| *stamp > expired);
                count_newest(0, self.stamps.len(), window.limit as usize, live) as u32
            }
            Counted::UpToLayer(last) => self.units_up_to(last),
        }
    }

    /// Units that are remembered.
    pub(crate) fn units(&self) -> u32 {
        self.units_up_to(self.layers.len())
    }

    /// When `window` has room, if it has none now.
    pub(crate) fn room_at(&self, plan: &Plan, newest: u64, window: &Window, now: u64) -> Option<u64> {
        let used = self.used(window, now);
        (used >= window.limit).then(|| self.leaves_at(plan, newest, window, used, window.in_the_way(used)))
    }

    /// The tick in which unit `nth` of the `used` that `window` counts leaves it, counted from 1 at the oldest.
    pub(crate) fn leaves_at(&self, plan: &Plan, newest: u64, window: &Window, used: u32, nth: u32) -> u64 {
        match window.counted {
            Counted::Exactly => {
                let oldest = self.stamps.len().saturating_sub(used as usize);
                self.stamps.get(oldest + nth.saturating_sub(1) as usize).map_or(newest, |stamp| *stamp) + window.ticks
            }
            Counted::UpToLayer(last) => {
                let grain = plan.grains().get(last).map_or(1, |grain| grain.ticks);
                end_of_cell(self.recorded_at(plan, newest, last, nth) / grain, grain) + window.ticks
            }
        }
    }

    /// Records one unit at `stamp`.
    ///
    /// Of more units than any answer is about, as happens when denials count, the newest are kept.
    pub(crate) fn charge(&mut self, plan: &Plan, stamp: u64) {
        self.make_room(plan.most_units());
        let Some(exact) = plan.exact() else { return self.add_to_layer(0, plan.grains(), stamp, 1) };
        self.make_room_for_stamp(plan.grains(), exact);
        push_within(&mut self.stamps, stamp, exact.capacity);
    }

    /// Brings units that were recorded later than `latest` down to it.
    pub(crate) fn clamp(&mut self, plan: &Plan, latest: u64, newest: u64) {
        let later = self.stamps.iter_mut().rev().take_while(|stamp| **stamp > latest);
        later.for_each(|stamp| *stamp = latest);
        for (layer, grain) in self.layers.iter_mut().zip(plan.grains()) {
            layer.clamp(latest / grain.ticks, newest / grain.ticks);
        }
    }

    #[cfg(test)]
    pub(crate) fn cells(&self) -> usize {
        self.stamps.len() + self.layers.iter().map(Layer::cells).sum::<usize>()
    }

    fn settle_layer(&mut self, at: usize, grains: &[Grain], newest: u64, now: u64) {
        let Some(grain) = grains.get(at) else { return };
        while let Some((cell, units)) = self.layers.get(at).and_then(|layer| layer.oldest(newest / grain.ticks)) {
            let end = end_of_cell(cell, grain.ticks);
            if end + grain.window > now {
                break;
            }
            self.layers.iter_mut().skip(at).take(1).for_each(Layer::drop_oldest);
            self.add_to_layer(at + 1, grains, end, units);
        }
    }

    fn move_oldest_stamp(&mut self, grains: &[Grain]) {
        if let Some(stamp) = self.stamps.pop_front() {
            self.add_to_layer(0, grains, stamp, 1);
        }
    }

    /// Beyond the last layer is oblivion.
    fn add_to_layer(&mut self, at: usize, grains: &[Grain], stamp: u64, units: u32) {
        if let (Some(layer), Some(grain)) = (self.layers.get_mut(at), grains.get(at)) {
            layer.add(stamp / grain.ticks, units, grain.cells);
        }
    }

    fn make_room(&mut self, most: u32) {
        let is_full = self.units() >= most;
        if let Some(oldest) = self.layers.iter_mut().rev().find(|layer| is_full && layer.units() > 0) {
            oldest.drop_unit();
        }
    }

    fn make_room_for_stamp(&mut self, grains: &[Grain], exact: Exact) {
        if self.stamps.len() >= exact.capacity {
            self.move_oldest_stamp(grains);
        }
    }

    fn units_up_to(&self, last: usize) -> u32 {
        let stamps = self.stamps.len() as u32;
        self.layers.iter().take(last + 1).map(Layer::units).fold(stamps, u32::saturating_add)
    }

    /// When unit `nth` of those up to layer `last` was recorded, as precisely as is still known.
    fn recorded_at(&self, plan: &Plan, newest: u64, last: usize, nth: u32) -> u64 {
        let mut nth = nth;
        for (layer, grain) in self.layers.iter().zip(plan.grains()).take(last + 1).rev() {
            if let Some(cell) = layer.cell_of(nth, newest / grain.ticks) {
                return end_of_cell(cell, grain.ticks);
            }
            nth -= layer.units();
        }
        self.stamps.get(nth.saturating_sub(1) as usize).map_or(newest, |stamp| *stamp)
    }
}

/// The last tick of cell `index`.
const fn end_of_cell(index: u64, grain: u64) -> u64 {
    (index + 1) * grain - 1
}
