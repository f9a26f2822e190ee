//! Costs, settlements and debts against the obvious model: a list of what was charged when.

use proptest::prelude::*;

use super::MILLI;
use crate::{
    clock::Timestamp,
    history::{
        History, Plan, Receipt, Room,
        plan::{Form, Window},
    },
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
    /// What was forgotten lately: a log in which entries are merged may still count it.
    forgotten: Vec<(u64, u64)>,
    /// The last tick of which something was forgotten.
    forgotten_at: u64,
    newest: u64,
    /// Receipts of an earlier generation give nothing back.
    generation: u32,
}

impl Model {
    /// Forgets what had left every window 10 ms before.
    fn forget(&mut self, plan: &Plan, now: u64) {
        let kept = plan.horizon() + plan.tick().count(Plan::SMALL_LEAD);
        self.forgotten.extend(self.charged.extract_if(.., |(at, _)| *at + kept <= now));
        self.forgotten_at = self.forgotten.iter().fold(self.forgotten_at, |last, (at, _)| last.max(*at));
        self.forgotten.retain(|(at, _)| at + 2 * kept > now);
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
        self.forgotten.clear();
        self.charged.retain(|(at, _)| at + plan.horizon() + 1 > newest);
        (self.newest, self.generation, self.forgotten_at) = (latest, self.generation + 1, 0);
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

    /// Drops the oldest units beyond what a log can hold, and returns `true` if there are any.
    fn drop_beyond(&mut self, most: u64) -> bool {
        let mut excess = self.units().saturating_sub(most);
        let is_beyond = excess > 0;
        for (at, units) in &mut self.charged {
            let dropped = excess.min(*units);
            *units -= dropped;
            excess -= dropped;
            if *units == 0 {
                self.forgotten_at = *at;
            }
        }
        self.charged.retain(|(_, units)| *units > 0);
        is_beyond
    }

    fn units(&self) -> u64 {
        self.charged.iter().map(|(_, units)| units).sum()
    }

    /// Returns the units that count if each leaves `late` ticks after its window.
    fn used(&self, window: &Window, late: u64, now: u64) -> u64 {
        self.leaving(window, late, now).map(|(_, units)| units).sum()
    }

    /// Returns the ticks in which units leave, each `late` ticks after its window, and how many.
    fn leaving(&self, window: &Window, late: u64, now: u64) -> impl Iterator<Item = (u64, u64)> {
        let leaves = window.ticks + late;
        let forgotten = if late == 0 { &[][..] } else { &self.forgotten };
        let charged = forgotten.iter().chain(&self.charged);
        charged.map(move |(at, units)| (at + leaves, *units)).filter(move |(at, _)| *at > now)
    }

    /// Returns the tick in which unit `nth` of those that count leaves.
    fn leaves_at(&self, window: &Window, late: u64, now: u64, nth: u64) -> Option<u64> {
        let mut sum = 0;
        self.leaving(window, late, now).find_map(|(at, units)| {
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

    /// Returns `true` if no units count in a later tick than that of their charge.
    fn is_exact(&self) -> bool {
        self.history.recorded(self.plan(0)) == self.model.charged
    }

    fn compare_what_is_remembered(&mut self) {
        assert!(self.history.units() >= self.model.units(), "units were lost");
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
                thousandths_of(window.ticks * plan.tick().nanos(), thousandths)
            }
            (Step::ToRoom, Some(room_at)) => room_at.saturating_sub(self.now),
            (Step::ToRoom, None) => 0,
        };
    }

    fn units(&self, tier: usize, cost: Cost) -> u64 {
        let windows = self.plan(tier).windows();
        match cost {
            Cost::Units(units) => units,
            Cost::OfLimit(window, thousandths) => thousandths_of(windows[window % windows.len()].limit, thousandths),
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
        let (now, is_late) = (self.now(), self.is_late);
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
        room
    }

    fn charge(&mut self, tier: usize, units: u64) {
        let now = self.now();
        let plans = &self.setups[self.current].plans;
        let plan = &plans[tier % plans.len()];
        let receipt = self.history.charge_units(plan, units, now);
        if units > 0 {
            self.model.forget(plan, now.floor_ticks(plan.tick()));
            self.model.charge(now.ceil_ticks(plan.tick()), units);
            let (generation, at) = (self.model.generation, self.model.newest);
            self.charges.push(Charged { receipt, generation, at, units });
            self.drop_beyond_32_bits();
        }
    }

    fn settle(&mut self, recent: usize, actual: u64) {
        let Some(at) = self.charges.len().checked_sub(1 + recent) else { return };
        self.sync(0);
        let Charged { receipt, generation, at, units } = self.charges.remove(at);
        let (now, is_exact) = (self.now(), self.is_exact());
        let plan = &self.setups[self.current].plans[0];
        let tick = now.floor_ticks(plan.tick());
        let actual = thousandths_of(units, actual);
        if actual > units {
            self.history.charge_units(plan, actual - units, now);
            self.model.forget(plan, tick);
            self.model.charge(now.ceil_ticks(plan.tick()), actual - units);
            return self.drop_beyond_32_bits();
        }
        let given = self.history.give_back(plan, receipt, units - actual, now);
        let counts = generation == self.model.generation && at + plan.horizon() > tick;
        // Charged before the clock went on and back, at the tick of what was forgotten meanwhile.
        let is_known = at > self.model.forgotten_at;
        let expected = if counts && is_known { self.model.give_back(at, units - actual) } else { 0 };
        assert!(
            given == expected || !is_exact && expected <= given && given <= units - actual,
            "{given} for {expected}"
        );
        assert!(counts || given == 0 || !is_exact);
    }

    fn reshape(&mut self) {
        self.is_late |= !self.is_exact();
        let next = 1 - self.current;
        let (from, to) = (&self.setups[self.current].plans[0], &self.setups[next].plans[0]);
        let history = std::mem::replace(&mut self.history, History::new(to));
        self.history = history.reshaped(from, to);
        let tick = |at| to.tick().from(from.tick(), at);
        self.model.replace_ticks(tick);
        (self.model.newest, self.model.forgotten_at) = (tick(self.model.newest), tick(self.model.forgotten_at));
        self.model.forgotten.clear();
        self.model.forget(to, self.model.newest);
        self.model.forgotten.clear();
        self.charges.iter_mut().for_each(|charged| charged.at = tick(charged.at));
        self.current = next;
        self.drop_beyond_32_bits();
    }

    /// Drops what a log of small entries cannot hold.
    fn drop_beyond_32_bits(&mut self) {
        if self.plan(0).form() == Form::Costs && self.model.drop_beyond(u32::MAX.into()) {
            // Some charges are not there any more, so none is settled.
            self.charges.clear();
        }
    }
}

fn thousandths_of(number: u64, thousandths: u64) -> u64 {
    (u128::from(number) * u128::from(thousandths)).div_ceil(1000) as u64
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

// More are run by `PROPTEST_CASES=100000 cargo test --release costs`.
proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn costs_count_as_a_list_does(setups in setups(), ops in ops()) {
        let mut subject = Subject::new(setups.map(|(tiers, resolution)| Setup::new(SETUPS[tiers], resolution)));
        ops.iter().for_each(|op| subject.run(op));
    }
}

/// A history of one policy, and the time in milliseconds.
struct Key {
    plan: Plan,
    history: History,
}

impl Key {
    fn new(policy: &str) -> Self {
        let plan = Setup::new(&[policy], 4096).plans.remove(0);
        Self { history: History::new(&plan), plan }
    }

    fn charge(&mut self, units: u64, millis: u64) -> Receipt {
        self.history.charge_units(&self.plan, units, at(millis))
    }

    fn give_back(&mut self, receipt: Receipt, units: u64, millis: u64) -> u64 {
        self.history.give_back(&self.plan, receipt, units, at(millis))
    }

    fn used(&mut self, millis: u64) -> Vec<u64> {
        self.plan.windows().iter().map(|window| self.history.used(&self.plan, window, at(millis))).collect()
    }

    /// Returns the wait for a cost in milliseconds.
    fn wait(&mut self, units: u64, millis: u64) -> Option<u64> {
        match self.history.room_for(&self.plan, units, at(millis)) {
            Room::Now => Some(0),
            Room::At(tick) => Some(self.plan.tick().beginning(tick) / MILLI - millis),
            Room::Never => None,
        }
    }
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_nanos(millis * MILLI)
}

#[test]
fn units_are_given_back_to_the_windows_that_still_count_them() {
    let mut key = Key::new("1000/minute, 5000/hour");
    let (first, second) = (key.charge(600, 1000), key.charge(300, 2000));
    assert_eq!(key.give_back(first, 100, 3000), 100);
    assert_eq!(key.used(3000), [800, 800]);
    assert_eq!(key.give_back(first, 100, 61_000), 100);
    assert_eq!(key.used(61_000), [300, 700]);
    assert_eq!(key.give_back(second, 300, 61_000), 300);
    assert_eq!(key.give_back(first, 100, 3_601_000), 0);
}

#[test]
fn an_overrun_is_owed_from_now_and_nobody_is_admitted_until_it_has_left() {
    let mut key = Key::new("1000/minute");
    key.charge(100, 1000);
    key.history.charge_units(&key.plan, 1900, at(31_000));
    assert_eq!(key.used(31_000), [2000]);
    assert_eq!([key.wait(0, 31_000), key.wait(1, 31_000), key.wait(1001, 31_000)], [Some(60_000), Some(60_000), None]);
    assert_eq!(key.wait(1000, 91_000), Some(0));
}

#[test]
fn a_cost_of_nothing_is_refused_in_debt_alone_and_recorded_nowhere() {
    let mut key = Key::new("10/minute");
    key.charge(10, 0);
    assert_eq!([key.wait(0, 0), key.wait(1, 0)], [Some(0), Some(60_000)]);
    let receipt = key.charge(0, 5);
    assert_eq!((key.history.entries(), key.give_back(receipt, 1, 5)), (1, 0));
}

#[test]
fn two_admissions_of_one_tick_give_back_from_their_sum() {
    let mut key = Key::new("1000/minute");
    let (one, other) = (key.charge(10, 7), key.charge(20, 7));
    assert_eq!((key.history.entries(), one), (1, other));
    assert_eq!((key.give_back(one, 10, 8), key.give_back(other, 15, 9)), (10, 15));
    assert_eq!(key.used(9), [5]);
}

#[test]
fn a_history_born_again_or_one_whose_clock_stepped_back_gives_nothing_back() {
    let mut key = Key::new("1000/minute");
    let receipt = key.charge(10, 5000);
    key.history.clamp_to(&key.plan, at(1000));
    assert_eq!((key.give_back(receipt, 10, 1000), key.used(1000)), (0, vec![10]));
    let receipt = key.charge(10, 1000);
    key.history = History::new(&key.plan);
    key.charge(10, 1000);
    assert_eq!((key.give_back(receipt, 10, 1000), key.used(1000)), (0, vec![10]));
}

#[test]
fn a_reload_settles_the_history_that_was_charged() {
    let mut key = Key::new("1000/minute");
    let receipt = key.charge(10, 5000);
    let plan = Key::new("10000000000/30d").plan;
    key.history = std::mem::replace(&mut key.history, History::new(&plan)).reshaped(&key.plan, &plan);
    key.plan = plan;
    assert_eq!((key.give_back(receipt, 4, 6000), key.used(6000)), (4, vec![6]));
}

#[test]
fn a_key_takes_no_more_bytes_than_is_documented() {
    for (admissions, most) in [(1, 200), (5, 232), (60, 680), (1000, 8_400), (4096, 33_000)] {
        let mut key = Key::new("90000/minute, 1000000/day");
        (0..admissions).for_each(|admission| {
            key.charge(10, admission);
        });
        let bytes = 64 + key.history.bytes_of_costs();
        assert!(bytes <= most, "{bytes} for {admissions} admissions");
    }
}

#[test]
fn a_hundred_thousand_admissions_a_day_take_42_kilobytes() {
    let mut key = Key::new("90000/minute, 1000000/day");
    for admission in 0..150_000 {
        key.charge(1, admission * 864);
        assert!(key.history.entries() <= 5250);
    }
    let bytes = 64 + key.history.bytes_of_costs();
    assert!(bytes <= 42_100, "{bytes}");
    // Late by a 4096th of a day at most, and never early.
    let used = key.used(150_000 * 864)[1];
    assert!((99_999..100_000 + 100_000 / 4096 + 2).contains(&used), "{used}");
}

#[test]
fn debts_in_thousands_of_entries_are_bounded_as_well() {
    let mut key = Key::new("60/minute, 1800/hour");
    for overrun in 0..60_000 {
        key.history.charge_units(&key.plan, 1, at(overrun * 50));
        assert!(key.history.entries() <= 2 * 4098 * 5 / 4, "{} after {overrun}", key.history.entries());
    }
    let used = key.used(60_000 * 50)[0];
    assert!((1199..=1201).contains(&used), "{used} in the minute");
}

#[test]
fn a_debt_beyond_an_entry_saturates_and_leaves_with_its_window() {
    let mut key = Key::new("1000/minute");
    key.charge(100, 0);
    key.history.charge_units(&key.plan, 1 << 40, at(1000));
    assert_eq!((key.used(1000), key.wait(1, 1000)), (vec![u32::MAX.into()], Some(60_000)));
    let receipt = key.history.charge_units(&key.plan, 5, at(2000));
    assert_eq!((key.used(2000), key.give_back(receipt, 5, 2000)), (vec![u32::MAX.into()], 5));
    assert_eq!(key.wait(1000, 61_000), Some(0));
}

#[test]
fn the_extremes_of_costs_neither_overflow_nor_panic() {
    for policy in ["1/second", "281474976710655/day, 1/30d", "100000/minute, 5/36500d"] {
        let mut key = Key::new(policy);
        for nanos in [0, 1, u64::MAX / 2, 5, u64::MAX - 1, u64::MAX, 0, u64::MAX] {
            let now = Timestamp::from_nanos(nanos);
            for units in [0, 1, u64::MAX, 7] {
                key.history.clamp_to(&key.plan, now);
                let _ = key.history.room_for(&key.plan, units, now);
                let receipt = key.history.charge_units(&key.plan, units, now);
                let _ = key.history.give_back(&key.plan, receipt, units / 2, now);
            }
        }
    }
}

#[test]
fn a_rule_may_gain_costs_and_lose_them() {
    for policy in ["60/minute, 1800/hour", "90000/minute, 1000000/day", "281474976710655/hour, 40/minute"] {
        let units = Plan::new(&policy.parse().unwrap());
        let mut key = Key::new(policy);
        assert!(!units.has_shape_of(&key.plan) && !key.plan.is_compact());
        let mut history = History::new(&units);
        (0..50).for_each(|admission| history.charge(&units, at(admission * 100)));
        key.history = history.reshaped(&units, &key.plan);
        assert!(key.used(5000).iter().all(|used| *used >= 50), "{:?}", key.used(5000));
        let receipt = key.charge(1 << 30, 6000);
        assert_eq!(key.give_back(receipt, (1 << 30) - 10, 6000), (1 << 30) - 10);
        let history = std::mem::replace(&mut key.history, History::new(&key.plan));
        let mut history = history.reshaped(&key.plan, &units);
        for window in units.windows() {
            assert_eq!(history.used(&units, window, at(6000)), window.limit.min(60));
        }
        key.history = history.reshaped(&units, &key.plan);
        key.charge(1 << 47, 6000);
        let mut history = key.history.reshaped(&key.plan, &units);
        let counted =
            |history: &mut History, window| history.used(&units, window, at(6001)) >= window.limit.min(1 << 47);
        assert!(units.windows().iter().all(|window| counted(&mut history, window)), "of {policy}");
    }
}

#[test]
fn a_plan_of_unit_costs_charges_several_units_and_gives_none_back() {
    for policy in ["60/minute, 1800/hour", "90000/minute, 1000000/day"] {
        let plan = Plan::new(&policy.parse().unwrap());
        let mut history = History::new(&plan);
        let limit = plan.windows()[0].limit;
        let receipt = history.charge_units(&plan, limit - 1, at(0));
        assert_eq!(history.room_for(&plan, 1, at(0)), Room::Now);
        assert_eq!(history.used(&plan, &plan.windows()[0], at(0)), limit - 1);
        let minute_later = |history: &mut History, units| match history.room_for(&plan, units, at(1)) {
            Room::At(tick) => plan.tick().beginning(tick) / MILLI / 1000,
            room => panic!("{room:?}"),
        };
        assert_eq!(minute_later(&mut history, 2), 60);
        assert_eq!(history.room_for(&plan, u64::MAX, at(1)), Room::Never);
        assert_eq!(history.give_back(&plan, receipt, 1, at(1)), 0);
    }
}
