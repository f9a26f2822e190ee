//! Costs, settlements and debts against the obvious model: a list of what was charged when.

use proptest::prelude::*;

use super::MILLI;
use crate::{
    clock::Timestamp,
    history::{History, Plan, Receipt, Room, plan::Window},
    policy::Policy,
};

/// The plans of the tiers that judge one history, and what a plan of unit costs would be.
struct Setup {
    plans: Vec<Plan>,
    resolution: u64,
}

/// Tiers of small and large limits, of short and long windows. Their ticks divide each other.
const SETUPS: [&[&str]; 10] = [
    &["90000/minute, 1000000/day", "9000/minute, 100000/day"],
    &["60/minute, 1800/hour", "600/minute, 600/hour"],
    &["2000000/minute"],
    &["10000000000/hour", "1000000/hour"],
    &["281474976710655/day, 40/minute"],
    &["100/30d, 10/minute", "281474976710655/30d, 1000000/minute"],
    &["10/second, 12/minute, 1000000/day"],
    &["3/second"],
    &["60/minute", "1000/minute, 5000/day", "8/hour"],
    &["1000000/minute, 30/hour"],
];

impl Setup {
    fn new(tiers: &[&str], resolution: u32) -> Self {
        let policy = |text: &&str| text.parse::<Policy>().unwrap().resolution(resolution);
        let tiers: Vec<Policy> = tiers.iter().map(policy).collect();
        let plans = tiers.iter().map(|tier| Plan::for_costs_among(tier, &tiers)).collect();
        Self { plans, resolution: resolution.into() }
    }
}

/// The obvious model: units and the ticks in which they count as charged, oldest first.
#[derive(Default)]
struct Model {
    charged: Vec<(u64, u64)>,
    newest: u64,
    /// Receipts of an earlier generation give nothing back.
    generation: u32,
    held: u64,
}

impl Model {
    /// Forgets what had left every window 10 ms before.
    fn forget(&mut self, plan: &Plan, now: u64) {
        let kept = plan.horizon() + plan.tick().count(Plan::SMALL_LEAD);
        self.charged.retain(|(at, _)| at + kept > now);
    }

    fn charge(&mut self, at: u64, units: u64) {
        self.newest = self.newest.max(at);
        match self.charged.last_mut() {
            Some((last, sum)) if *last == self.newest => *sum += units,
            _ => self.charged.push((self.newest, units)),
        }
    }

    fn give_back(&mut self, at: u64, units: u64) -> u64 {
        let given = match self.charged.iter_mut().find(|(stamp, _)| *stamp == at) {
            Some((_, sum)) => {
                let given = units.min(*sum);
                *sum -= given;
                given
            }
            None => 0,
        };
        self.charged.retain(|(_, units)| *units > 0);
        given
    }

    /// Sets what lies after `latest` to it; what had left every window when the newest was charged does not return.
    fn clamp(&mut self, plan: &Plan, latest: u64) {
        let newest = self.newest;
        self.charged.retain(|(at, _)| at + plan.horizon() + 1 > newest);
        (self.newest, self.held, self.generation) = (latest, 0, self.generation + 1);
        self.replace_ticks(|at| at.min(latest));
    }

    fn replace_ticks(&mut self, tick: impl Fn(u64) -> u64) {
        for (at, units) in std::mem::take(&mut self.charged) {
            let at = tick(at);
            match self.charged.last_mut() {
                Some((last, sum)) if *last == at => *sum += units,
                _ => self.charged.push((at, units)),
            }
        }
    }

    fn units(&self) -> u64 {
        self.charged.iter().map(|(_, units)| units).sum()
    }

    /// Returns the units that count if each leaves `late` ticks after its window.
    fn used(&self, window: &Window, late: u64, now: u64) -> u64 {
        let counted = self.charged.iter().filter(|(at, _)| at + window.ticks + late > now);
        counted.map(|(_, units)| units).sum()
    }

    /// Returns the tick in which unit `nth` of those that count leaves.
    fn leaves_at(&self, window: &Window, late: u64, now: u64, nth: u64) -> Option<u64> {
        let mut sum = 0;
        let counted = self.charged.iter().filter(|(at, _)| at + window.ticks + late > now);
        counted.map(|(at, units)| (at + window.ticks + late, units)).find_map(|(at, units)| {
            sum += units;
            (sum >= nth).then_some(at)
        })
    }

    fn room(&self, plan: &Plan, units: u64, late: impl Fn(&Window) -> u64, now: u64) -> Room {
        let room = |window: &Window| {
            let used = self.used(window, late(window), now);
            if units > window.limit {
                return Room::Never;
            }
            if used + units <= window.limit {
                return Room::Now;
            }
            Room::At(self.leaves_at(window, late(window), now, used + units - window.limit).unwrap())
        };
        plan.windows().iter().map(room).max().unwrap()
    }
}

/// A charge that may be settled.
struct Charged {
    receipt: Receipt,
    generation: u32,
    at: u64,
    units: u64,
}

#[derive(Clone, Debug)]
enum Op {
    /// Asks after so much of a window, in 1/1000; with a cost that is so much of its limit.
    Ask { tier: usize, step: Step, cost: Cost },
    /// Settles one of the latest charges, for so many 1/1000 of the cost.
    Settle { recent: usize, actual: u64 },
    /// Begins anew.
    Reset,
    /// Sets the clock back by so many nanoseconds.
    Back(u64),
    /// Gives the history another shape.
    Reshape,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Nanos(u64),
    OfWindow(usize, u64),
    /// To where the last denial ends, if nothing came between.
    ToRoom,
}

#[derive(Clone, Copy, Debug)]
enum Cost {
    Units(u64),
    OfLimit(usize, u64),
    BeyondLimit(usize),
}

struct Subject {
    setups: [Setup; 2],
    current: usize,
    history: History,
    model: Model,
    now: u64,
    charges: Vec<Charged>,
    room_at: Option<u64>,
    /// Entries were merged before a step back or for another shape: units may then leave later than in the model.
    is_late: bool,
    was_merged: bool,
}

impl Subject {
    fn new(setups: [Setup; 2]) -> Self {
        Self {
            history: History::new(&setups[0].plans[0]),
            setups,
            current: 0,
            model: Model::default(),
            now: 1 << 44,
            charges: Vec::new(),
            room_at: None,
            is_late: false,
            was_merged: false,
        }
    }

    fn run(&mut self, op: &Op) {
        match op {
            Op::Ask { tier, step, cost } => self.ask(*tier, *step, *cost),
            Op::Settle { recent, actual } => self.settle(*recent, *actual),
            Op::Reset => {
                self.history = History::new(self.plan(0));
                self.model = Model { generation: self.model.generation + 1, ..Model::default() };
            }
            Op::Back(nanos) => self.now = self.now.saturating_sub(*nanos),
            Op::Reshape => self.reshape(),
        }
        if !matches!(op, Op::Ask { .. }) {
            self.room_at = None;
        }
        self.compare_what_is_remembered();
    }

    fn plan(&self, tier: usize) -> &Plan {
        let plans = &self.setups[self.current].plans;
        &plans[tier % plans.len()]
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(self.now)
    }

    /// Returns `true` if no entry stands for what was charged in several ticks.
    fn is_exact(&self) -> bool {
        self.history.entries() == self.model.charged.len() && self.history.units() == self.model.units()
    }

    fn compare_what_is_remembered(&mut self) {
        assert!(self.history.units() >= self.model.units(), "units were lost");
        assert_eq!(self.history.held(), self.model.held);
        self.was_merged |= !self.is_exact();
        self.is_late &= !self.is_exact();
    }

    fn ask(&mut self, tier: usize, step: Step, cost: Cost) {
        self.advance(tier, step);
        self.sync(tier);
        let units = self.units(tier, cost);
        let plan = &self.setups[self.current].plans[tier % self.setups[self.current].plans.len()];
        let (now, tick) = (Timestamp::from_nanos(self.now), Timestamp::from_nanos(self.now).floor_ticks(plan.tick()));
        self.history.expire(plan, now);
        self.model.forget(plan, tick);
        self.compare_usage(tier, units);
        self.room_at = None;
        match self.compare_room(tier, units) {
            Room::Now => self.charge(tier, units),
            Room::At(tick) => self.room_at = Some(self.plan(tier).tick().beginning(tick)),
            Room::Never => {}
        }
    }

    fn advance(&mut self, tier: usize, step: Step) {
        let plan = self.plan(tier);
        self.now += match (step, self.room_at) {
            (Step::Nanos(nanos), _) => nanos,
            (Step::OfWindow(window, thousandths), _) => {
                let window = plan.windows()[window % plan.windows().len()];
                (window.ticks as u128 * u128::from(plan.tick().nanos()) * u128::from(thousandths) / 1000) as u64
            }
            (Step::ToRoom, Some(room_at)) => room_at.saturating_sub(self.now),
            (Step::ToRoom, None) => 0,
        };
    }

    fn units(&self, tier: usize, cost: Cost) -> u64 {
        let windows = self.plan(tier).windows();
        match cost {
            Cost::Units(units) => units,
            Cost::OfLimit(window, thousandths) => windows[window % windows.len()].limit / 1000 * thousandths,
            Cost::BeyondLimit(window) => windows[window % windows.len()].limit + 1,
        }
    }

    /// Follows the clock if it was set back, as stores do.
    fn sync(&mut self, tier: usize) {
        let (now, is_exact) = (self.now(), self.is_exact());
        let plans = &self.setups[self.current].plans;
        let plan = &plans[tier % plans.len()];
        let is_far_ahead = self.model.newest > now.saturating_add(Plan::SMALL_LEAD).ceil_ticks(plan.tick());
        if self.history.is_ahead_of(plan, now) {
            assert_eq!(self.history.clamp_to(plan, now), is_far_ahead);
        }
        if is_far_ahead {
            self.model.clamp(plan, now.ceil_ticks(plan.tick()));
            self.is_late |= !is_exact;
        }
    }

    /// Returns by how many ticks a unit may leave late.
    fn lateness(&self, plan: &Plan) -> impl Fn(&Window) -> u64 + use<> {
        let (is_exact, resolution) = (self.is_exact(), self.setups[self.current].resolution);
        // Threads whose clocks differ may find entries merged that one of them still counts apart.
        let lead = plan.tick().count(Plan::SMALL_LEAD);
        move |window: &Window| if is_exact { 0 } else { window.ticks / resolution + lead }
    }

    fn compare_usage(&mut self, tier: usize, units: u64) {
        let (now, is_exact, is_late) = (self.now(), self.is_exact(), self.is_late);
        let late = self.lateness(self.plan(tier));
        let plans = &self.setups[self.current].plans;
        let plan = &plans[tier % plans.len()];
        let tick = now.floor_ticks(plan.tick());
        for window in plan.windows() {
            let used = self.history.used(plan, window, now);
            let (least, most) = (self.model.used(window, 0, tick), self.model.used(window, late(window), tick));
            assert!(least <= used && (used <= most || is_late), "{used} of {least}..={most} of {window:?}");
            let (same, changes_at) = self.history.usage_for(plan, window, units, now);
            assert_eq!(same, used);
            if is_exact && used > 0 {
                let excess = (used + units).saturating_sub(window.limit).max(1);
                let expected = self.model.leaves_at(window, 0, tick, excess).filter(|_| units <= window.limit);
                assert_eq!(changes_at, expected, "{units} more than {used} of {window:?}");
                for nth in [1, used / 2 + 1, used] {
                    let expected = self.model.leaves_at(window, 0, tick, nth);
                    assert_eq!(Some(self.history.leaves_at(plan, window, used, nth)), expected);
                }
            }
        }
    }

    fn compare_room(&mut self, tier: usize, units: u64) -> Room {
        let (now, is_exact, is_late) = (self.now(), self.is_exact(), self.is_late);
        let late = self.lateness(self.plan(tier));
        let plans = &self.setups[self.current].plans;
        let plan = &plans[tier % plans.len()];
        let tick = now.floor_ticks(plan.tick());
        let room = self.history.room_for(plan, units, now);
        let (earliest, latest) = (self.model.room(plan, units, |_| 0, tick), self.model.room(plan, units, late, tick));
        assert!(earliest <= room && (room <= latest || is_late), "{room:?} of {earliest:?} to {latest:?} at {tick}");
        if let Room::At(tick) = room {
            // Nothing comes between: the wait is the shortest.
            let at = |nanos| Timestamp::from_nanos(nanos);
            let begins = plan.tick().beginning(tick);
            assert_eq!(self.history.room_for(plan, units, at(begins)), Room::Now, "denied after the wait");
            assert_ne!(
                self.history.room_for(plan, units, at(begins - 1)),
                Room::Now,
                "admitted before the wait is over"
            );
        }
        if is_exact {
            let fits = |window: &Window| {
                let used = self.model.used(window, 0, tick).saturating_sub(self.model.held);
                used + units <= window.limit
            };
            let expected = plan.windows().iter().all(fits);
            assert_eq!(self.history.has_room_without_held(plan, units, now), expected);
        }
        room
    }

    fn charge(&mut self, tier: usize, units: u64) {
        let now = self.now();
        let plans = &self.setups[self.current].plans;
        let plan = &plans[tier % plans.len()];
        let receipt = self.history.charge_units(plan, units, now);
        self.history.hold(receipt, units);
        if units > 0 {
            self.model.forget(plan, now.floor_ticks(plan.tick()));
            self.model.charge(now.ceil_ticks(plan.tick()), units);
            self.model.held += units;
            let (generation, at) = (self.model.generation, self.model.newest);
            self.charges.push(Charged { receipt, generation, at, units });
        }
    }

    fn settle(&mut self, recent: usize, actual: u64) {
        let Some(at) = self.charges.len().checked_sub(1 + recent) else { return };
        self.sync(0);
        let Charged { receipt, generation, at, units } = self.charges.remove(at);
        let (now, is_exact) = (self.now(), self.is_exact());
        let plan = &self.setups[self.current].plans[0];
        let tick = now.floor_ticks(plan.tick());
        let actual = (u128::from(units) * u128::from(actual)).div_ceil(1000) as u64;
        self.history.release(receipt, units);
        if generation == self.model.generation {
            self.model.held -= units;
        }
        if actual > units {
            self.history.owe(plan, actual - units, now);
            self.model.forget(plan, tick);
            self.model.charge(now.ceil_ticks(plan.tick()), actual - units);
            return;
        }
        let given = self.history.give_back(plan, receipt, units - actual, now);
        let counts = generation == self.model.generation && at + plan.horizon() > tick;
        let expected = if counts { self.model.give_back(at, units - actual) } else { 0 };
        assert!(
            given == expected || !is_exact && expected <= given && given <= units - actual,
            "{given} for {expected}"
        );
        assert!(counts || given == 0);
    }

    fn reshape(&mut self) {
        self.is_late |= !self.is_exact();
        let next = 1 - self.current;
        let (from, to) = (&self.setups[self.current].plans[0], &self.setups[next].plans[0]);
        let history = std::mem::replace(&mut self.history, History::new(to));
        self.history = history.reshaped(from, to);
        let tick = |at| to.tick().from(from.tick(), at);
        self.model.replace_ticks(tick);
        self.model.newest = self.model.charged.last().map_or(0, |(at, _)| *at);
        self.charges.iter_mut().for_each(|charged| charged.at = tick(charged.at));
        self.current = next;
    }
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let step = prop_oneof![
        3 => Just(Step::Nanos(0)),
        3 => (0..3 * MILLI).prop_map(Step::Nanos),
        2 => (0usize..3, 0u64..50).prop_map(|(window, part)| Step::OfWindow(window, part)),
        1 => (0usize..3, 0u64..1100).prop_map(|(window, part)| Step::OfWindow(window, part)),
        2 => Just(Step::ToRoom),
    ];
    let cost = prop_oneof![
        4 => (1u64..4).prop_map(Cost::Units),
        4 => (0usize..3, 1u64..30).prop_map(|(window, part)| Cost::OfLimit(window, part)),
        2 => (0usize..3, 100u64..1000).prop_map(|(window, part)| Cost::OfLimit(window, part)),
        1 => Just(Cost::Units(0)),
        1 => (0usize..3).prop_map(Cost::BeyondLimit),
    ];
    let actual = prop_oneof![3 => Just(0u64), 3 => 0u64..1000, 1 => Just(1000), 2 => 1000u64..3000];
    let op = prop_oneof![
        60 => (0usize..3, step, cost).prop_map(|(tier, step, cost)| Op::Ask { tier, step, cost }),
        20 => (0usize..12, actual).prop_map(|(recent, actual)| Op::Settle { recent, actual }),
        1 => Just(Op::Reset),
        1 => (0..10 * MILLI).prop_map(Op::Back),
        1 => (0..100_000 * MILLI).prop_map(Op::Back),
        1 => Just(Op::Reshape),
    ];
    prop::collection::vec(op, 1..300)
}

fn setups() -> impl Strategy<Value = [(usize, u32); 2]> {
    let resolution = || prop_oneof![2 => Just(16u32), 1 => Just(64), 1 => Just(4096)];
    let setup = || (0..SETUPS.len(), resolution());
    (setup(), setup()).prop_map(|(one, other)| [one, other])
}

/// More are run by `COST_CASES=100000 cargo test --release`.
fn cases() -> ProptestConfig {
    let cases = std::env::var("COST_CASES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig::with_cases(cases.unwrap_or(100))
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn costs_count_as_a_list_does(setups in setups(), ops in ops()) {
        let mut subject = Subject::new(setups.map(|(tiers, resolution)| Setup::new(SETUPS[tiers], resolution)));
        ops.iter().for_each(|op| subject.run(op));
    }
}
