//! Decisions on credit against decisions that look at the log each time.

use super::*;

/// What happens to a history.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A caller asks, so long after the last.
    Ask(u64),
    /// A thread asks whose clock lags by so much.
    AskLate(u64),
    /// The clock steps back by so much, and a caller asks.
    GoBack(u64),
    /// The rules are reloaded: another plan judges.
    Reload(usize),
    /// A caller is told how much is left.
    Measure,
    /// A unit is charged whether there is room or not.
    Record,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => Just(Step::Ask(0)),
        4 => (0..3 * MILLI).prop_map(Step::Ask),
        3 => (0..100 * MILLI).prop_map(Step::Ask),
        1 => (0..5_000 * MILLI).prop_map(Step::Ask),
        1 => (0..12 * MILLI).prop_map(Step::AskLate),
        1 => (0..2_000u64).prop_map(Step::AskLate),
        1 => (0..500 * MILLI).prop_map(Step::GoBack),
        1 => (0usize..4).prop_map(Step::Reload),
        1 => Just(Step::Measure),
        1 => Just(Step::Record),
    ];
    prop::collection::vec(step, 1..400)
}

/// Returns the plans of one scope in the order in which rules were reloaded: only the first has no siblings.
fn plans(policies: &[Policy]) -> Vec<Plan> {
    let plans = policies.iter().enumerate();
    plans.map(|(at, policy)| if at == 0 { Plan::new(policy) } else { Plan::new(policy).with_siblings() }).collect()
}

/// A history that is judged by one plan after the other.
struct Judged<'a> {
    plans: &'a [Plan],
    at: usize,
    history: History,
}

impl<'a> Judged<'a> {
    fn new(plans: &'a [Plan]) -> Self {
        Self { plans, at: 0, history: History::new(&plans[0]) }
    }

    /// Takes a step at that time. Returns the tick in which there is room, if the unit was denied.
    fn take(
        &mut self,
        step: Step,
        now: Timestamp,
        ask: fn(&mut History, &Plan, Timestamp) -> Option<u64>,
    ) -> Option<u64> {
        let plan = &self.plans[self.at];
        if self.history.is_ahead_of(plan, now) {
            self.history.clamp_to(plan, now);
        }
        match step {
            Step::Ask(_) | Step::AskLate(_) | Step::GoBack(_) => return ask(&mut self.history, plan, now),
            Step::Measure => self.history.expire(plan, now),
            Step::Record => self.history.charge(plan, now),
            Step::Reload(to) => {
                let to = to % self.plans.len();
                let old = std::mem::replace(&mut self.history, History::new(&self.plans[to]));
                self.history =
                    if plan.has_shape_of(&self.plans[to]) { old } else { old.reshaped(plan, &self.plans[to]) };
                self.at = to;
            }
        }
        None
    }
}

fn after_a_look(history: &mut History, plan: &Plan, now: Timestamp) -> Option<u64> {
    let room_at = history.room_at(plan, now);
    if room_at.is_none() {
        history.charge(plan, now);
    }
    room_at
}

/// Takes the steps under the plans of these policies, on credit and with a look at each, and expects the same of both.
fn assert_credit_changes_nothing(policies: &[Policy], steps: &[Step]) {
    let plans = plans(policies);
    let (mut on_credit, mut looking) = (Judged::new(&plans), Judged::new(&plans));
    let mut clock = 10_000 * MILLI;
    for step in steps {
        match step {
            Step::Ask(after) => clock += after,
            Step::GoBack(by) => clock = clock.saturating_sub(*by),
            _ => {}
        }
        let now = match step {
            Step::AskLate(by) => clock.saturating_sub(*by),
            _ => clock,
        };
        let now = Timestamp::from_nanos(now);
        let denied_until = on_credit.take(*step, now, History::charge_if_room);
        assert_eq!(denied_until, looking.take(*step, now, after_a_look), "{step:?} at {now:?}");
        assert_eq!(on_credit.history.entries(), looking.history.entries());
    }
}

// More are run by `PROPTEST_CASES=10000 cargo test --release credit`.
proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn credit_changes_no_decision(
        policies in prop::collection::vec(policies(), 1..4),
        limits in prop::collection::vec(1u64..60, 1..3),
        steps in steps(),
    ) {
        // Some plans have the shape of the first, and other limits.
        let alike = limits.iter().map(|limit| policies[0].with_limits(|_| *limit));
        let all: Vec<Policy> = policies.iter().cloned().chain(alike).collect();
        assert_credit_changes_nothing(&all, &steps);
    }
}

#[test]
fn credit_ends_with_the_room_of_a_history_that_was_in_buckets() {
    let days = |days: u64| Duration::from_secs(days * 86_400);
    let exact = Policy::new(Quota::new(18, days(10)));
    let bucketed = Policy::new(Quota::new(17, days(40)).named("long")).and(Quota::new(2, days(10))).resolution(16);
    // A bucket counts until its end, which is later than the unit that is recorded next.
    let into_buckets_and_back = [Step::Reload(1), Step::Ask(373_434_550), Step::Record, Step::Reload(0)];
    let back = [Step::Ask(85_286_866), Step::GoBack(85_721_416), Step::Ask(0), Step::Ask(1), Step::Ask(0)];
    let steps = [&[Step::Ask(0); 12][..], &[Step::Record], &into_buckets_and_back, &back];
    assert_credit_changes_nothing(&[exact, bucketed], &steps.concat());
}

#[test]
fn units_on_credit_are_those_that_have_room() {
    let plan = Plan::new(&Policy::per_second(5).and_per_minute(7));
    let (mut history, now) = (History::new(&plan), Timestamp::from_nanos(MILLI));
    assert!(!history.charge_on_credit(&plan, now));
    assert_eq!(history.charge_if_room(&plan, now), None);
    assert_eq!((0..9).filter(|_| history.charge_on_credit(&plan, now)).count(), 4);
    assert!(history.room_at(&plan, now).is_some());
}

#[test]
fn a_thread_whose_clock_lags_has_no_credit() {
    let plan = Plan::new(&Policy::per_second(5));
    let mut history = History::new(&plan);
    assert_eq!(history.charge_if_room(&plan, Timestamp::from_nanos(5 * MILLI)), None);
    assert!(!history.has_credit(&plan, Timestamp::from_nanos(4 * MILLI)));
    assert!(history.has_credit(&plan, Timestamp::from_nanos(5 * MILLI)));
}
