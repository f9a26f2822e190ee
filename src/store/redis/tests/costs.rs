//! Costs and settlements, against the obvious model: a list of cells and units.

use std::collections::BTreeMap;

use super::*;
use crate::store::redis::script::{Recorded, Reply, Settled};

/// The histories of a policy with costs.
struct Costs {
    policy: Policy,
    logs: Layout,
    key: String,
}

impl Costs {
    fn new(policy: &Policy) -> Self {
        Self::among(policy, std::slice::from_ref(policy), Subject::new(policy).key)
    }

    fn among(policy: &Policy, all: &[Policy], key: String) -> Self {
        let logs = Layout::with_costs(policy, all).kept_for(200 * 86_400_000);
        Self { policy: policy.clone(), logs, key }
    }

    /// The same key under another policy.
    fn under(&self, policy: &Policy) -> Self {
        Self::among(policy, std::slice::from_ref(policy), self.key.clone())
    }

    fn charged(&self, units: u64) -> Charged<'_> {
        Charged { logs: &self.logs, key: self.key.as_bytes(), enforcement: Enforcement::On, units }
    }

    fn settled(&self, units: u64, recorded: Option<Recorded>) -> Settled<'_> {
        Settled { logs: &self.logs, key: self.key.as_bytes(), units, recorded }
    }

    /// Windows and grains of the cell logs.
    fn cells(&self) -> Vec<(u64, u64)> {
        let suffixes = self.logs.iter().filter_map(|log| log.suffix().strip_prefix(':'));
        suffixes
            .map(|suffix| {
                let (window, grain) = suffix.split_once('.').unwrap();
                (window.parse().unwrap(), grain.parse().unwrap())
            })
            .collect()
    }
}

fn run(connection: &mut Connection, charges: &[Charged<'_>], now: u64, mode: Mode, requests: u8) -> Reply {
    let request = Request { charges, units: requests };
    let answer = Script::at(now).call_in_full(&[request], mode).query(connection).unwrap();
    Script::reply(charges, answer).unwrap()
}

/// Charges one request, and says where that was recorded if it was admitted.
fn charge(connection: &mut Connection, costs: &Costs, units: u64, now: u64) -> Option<Recorded> {
    let reply = run(connection, &[costs.charged(units)], now, Mode::Decide, 1);
    assert_eq!(reply.verdict.admitted, reply.recorded[0].is_some());
    reply.recorded[0]
}

fn settle(connection: &mut Connection, settlements: &[Settled<'_>], now: u64) -> Vec<u64> {
    let answer = Script::at(now).settle_in_full(settlements).query(connection).unwrap();
    Script::settled(answer).unwrap().into_iter().map(Result::unwrap).collect()
}

fn give_back(connection: &mut Connection, costs: &Costs, units: u64, recorded: Recorded, now: u64) -> u64 {
    settle(connection, &[costs.settled(units, Some(recorded))], now)[0]
}

fn owe(connection: &mut Connection, costs: &Costs, units: u64, now: u64) {
    assert_eq!(settle(connection, &[costs.settled(units, None)], now), [units]);
}

/// How much each quota counts, in the order of the policy.
fn counted(connection: &mut Connection, costs: &Costs, now: u64) -> Vec<u64> {
    used(&run(connection, &[costs.charged(1)], now, Mode::Peek, 1).verdict)
}

/// Units by the cell that they were recorded in, for each window.
struct Model {
    tick: u64,
    /// Window, grain, and the units of each cell by its last tick.
    logs: Vec<(u64, u64, BTreeMap<u64, u64>)>,
    quotas: Vec<(u64, u64)>,
    /// How often the history was deleted.
    resets: u32,
}

impl Model {
    fn new(costs: &Costs) -> Self {
        let tick = Plan::new(&costs.policy).tick().micros();
        let logs = costs.cells().into_iter().map(|(window, grain)| (window, grain, BTreeMap::new())).collect();
        let quotas = costs.policy.quotas().map(|quota| (quota.limit(), micros(quota))).collect();
        Self { tick, logs, quotas, resets: 0 }
    }

    fn cell(&self, at: u64, grain: u64) -> u64 {
        let cut = (1 << 43) % (grain / self.tick) * self.tick;
        ((at.next_multiple_of(self.tick) + cut) / grain + 1) * grain - cut - self.tick
    }

    fn counts(&self, window: u64, now: u64) -> impl Iterator<Item = (u64, u64)> {
        let (window, _, cells) = self.logs.iter().find(|(of, ..)| *of == window).unwrap();
        cells.iter().map(|(at, units)| (*at, *units)).filter(move |(at, units)| at + window > now && *units > 0)
    }

    /// Whether a request of this cost is admitted.
    fn has_room(&self, cost: u64, now: u64) -> bool {
        let fits = |(limit, window): &(u64, u64)| {
            self.counts(*window, now).map(|(_, units)| units).sum::<u64>() + cost <= *limit
        };
        self.quotas.iter().all(fits)
    }

    /// What each quota counts, and until when there is no room for another request of this cost.
    fn states(&self, cost: u64, now: u64) -> Vec<(u64, u64)> {
        let state = |(limit, window): &(u64, u64)| {
            let used: u64 = self.counts(*window, now).map(|(_, units)| units).sum();
            let excess = (used + cost).saturating_sub(*limit).max(1);
            let mut left = 0;
            let last = self.counts(*window, now).find(|(_, units)| {
                left += units;
                left >= excess
            });
            match last {
                _ if cost > *limit => (used, u64::MAX),
                Some((at, _)) => (used, Timestamp::from_micros((at + window).next_multiple_of(self.tick)).nanos()),
                None => (used, 0),
            }
        };
        self.quotas.iter().map(state).collect()
    }

    fn record(&mut self, units: u64, now: u64) {
        for log in 0..self.logs.len() {
            let cell = self.cell(now, self.logs[log].1);
            *self.logs[log].2.entry(cell).or_default() += units;
        }
    }

    /// Takes units out of the cells of a moment, and says how many there were.
    fn take(&mut self, units: u64, recorded_at: u64, now: u64) -> u64 {
        let cells: Vec<_> = self.logs.iter().map(|(_, grain, _)| self.cell(recorded_at, *grain)).collect();
        let logs = self.logs.iter_mut().zip(cells);
        let taken = logs.map(|((window, _, cells), cell)| match cells.get_mut(&cell) {
            Some(held) if cell + *window > now => {
                let taken = units.min(*held);
                *held -= taken;
                taken
            }
            _ => 0,
        });
        taken.max().unwrap_or(0)
    }

    fn reset(&mut self) {
        self.logs.iter_mut().for_each(|(.., cells)| cells.clear());
        self.resets += 1;
    }
}

/// What is done in a random schedule. Numbers are made fit when the limits are known.
#[derive(Clone, Debug)]
enum Step {
    Ask { cost: u64, requests: u8 },
    Peek { cost: u64 },
    Settle(Vec<(usize, Option<u64>)>),
    Reset,
}

fn cost() -> impl Strategy<Value = u64> {
    prop_oneof![2 => Just(0u64), 8 => Just(1u64), 8 => 1u64..12, 4 => 1u64..200, 2 => any::<u64>()]
}

fn todo() -> impl Strategy<Value = Step> {
    let settlement = (prop_oneof![2 => Just(0usize), 1 => any::<usize>()], prop::option::weighted(0.3, cost()));
    prop_oneof![
        20 => (cost(), prop_oneof![4 => Just(1u8), 1 => 2u8..6]).prop_map(|(cost, requests)| Step::Ask { cost, requests }),
        3 => cost().prop_map(|cost| Step::Peek { cost }),
        20 => prop::collection::vec(settlement, 1..5).prop_map(Step::Settle),
        1 => Just(Step::Reset),
    ]
}

/// Small limits, which are reached, and some large ones.
fn cost_policies() -> impl Strategy<Value = Policy> {
    let window = prop_oneof![2u64..40, 40u64..4000, Just(2000), Just(60_000), Just(86_400_000), Just(86_400_000 * 40)];
    let limit = prop_oneof![6 => 1u64..60, 4 => 20u64..400, 1 => 1u64..1 << 20, 1 => Just(Quota::MAX_LIMIT)];
    let quotas = prop::collection::vec((limit, window), 1..4);
    (quotas, prop::sample::select(vec![4096u32, 4096, 16, 4])).prop_map(|(quotas, resolution)| {
        let quotas = quotas.into_iter().enumerate();
        let quotas = quotas
            .map(|(at, (limit, millis))| Quota::new(limit, Duration::from_millis(millis)).named(format!("q{at}")));
        Policy::from_iter(quotas).resolution(resolution)
    })
}

/// Every verdict, count, wait and settlement of some ten thousand operations.
#[test]
fn costs_are_counted_and_settled_as_in_a_list() {
    let input = (cost_policies(), starts(), prop::collection::vec((step(), todo()), 1..300));
    check(40, input, |connection, (policy, start, steps)| {
        let costs = Costs::new(&policy);
        let (mut model, mut receipts, mut now) = (Model::new(&costs), Vec::new(), start);
        let most = policy.quotas().map(Quota::limit).max().unwrap();
        let fit = |cost: u64| if cost > 200 { cost % most.min(1 << 40).saturating_add(5) } else { cost };
        for (pause, step) in steps {
            now += pause.unsigned_abs();
            match step {
                Step::Ask { cost, requests } => {
                    let cost = fit(cost);
                    let reply = run(connection, &[costs.charged(cost)], now, Mode::Decide, requests);
                    let mut admitted = 0;
                    while admitted < u32::from(requests) && model.has_room(cost, now) {
                        model.record(cost, now);
                        admitted += 1;
                    }
                    prop_assert_eq!(reply.units, admitted, "{} at {}", cost, now);
                    // Who is admitted is told when the oldest unit leaves.
                    let asked = if admitted == u32::from(requests) { 1 } else { cost };
                    prop_assert_eq!(told(&reply.verdict).2, model.states(asked, now), "{} at {}", cost, now);
                    if let Some(recorded) = reply.recorded[0] {
                        receipts.extend((0..admitted).map(|_| (recorded, now, cost, model.resets)));
                    }
                }
                Step::Peek { cost } => {
                    let cost = fit(cost);
                    let reply = run(connection, &[costs.charged(cost)], now, Mode::Peek, 1);
                    prop_assert_eq!(reply.verdict.admitted, model.has_room(cost, now), "{} at {}", cost, now);
                    prop_assert_eq!(told(&reply.verdict).2, model.states(cost, now), "{} at {}", cost, now);
                }
                Step::Settle(all) => {
                    let (mut settlements, mut expected) = (Vec::new(), Vec::new());
                    for (which, owed) in all {
                        if receipts.is_empty() {
                            break;
                        }
                        let (recorded, at, cost, resets) =
                            receipts.swap_remove((receipts.len() - 1) - which % receipts.len());
                        if let Some(owed) = owed.map(|owed| fit(owed).max(1)) {
                            settlements.push(costs.settled(owed, None));
                            model.record(owed, now);
                            expected.push(owed);
                        } else {
                            let units = cost - cost * (which as u64 % 3) / 4;
                            settlements.push(costs.settled(units, Some(recorded)));
                            let is_known = resets == model.resets;
                            expected.push(if is_known { model.take(units, at, now) } else { 0 });
                        }
                    }
                    if !settlements.is_empty() {
                        prop_assert_eq!(settle(connection, &settlements, now), expected, "at {}", now);
                    }
                }
                Step::Reset => {
                    redis::cmd("DEL").arg(&costs.key).exec(connection).unwrap();
                    model.reset();
                    now += 1;
                }
            }
        }
        Ok(())
    });
}

/// A list of what several processes and tiers were admitted at, all of one history.
#[test]
fn tiers_and_processes_with_other_limits_never_admit_more_costs_than_their_own() {
    let tiers = (cost_policies(), prop::collection::vec(cost_policies(), 1..3), prop::collection::vec(1u64..400, 1..3));
    let turn = (step(), 0usize..4, cost(), prop::option::weighted(0.3, any::<usize>()));
    check(
        80,
        (tiers, prop::bool::ANY, prop::collection::vec(turn, 1..250)),
        |connection, (tiers, are_tiers, turns)| {
            let (first, others, limits) = tiers;
            // Processes have the same windows, for what nobody has asked for may be forgotten.
            let limited = |limit: &u64| {
                first.quotas().map(|quota| Quota::new(*limit, quota.window()).named(quota.name())).collect()
            };
            let others: Vec<Policy> = if are_tiers { others } else { limits.iter().map(limited).collect() };
            let tiers: Vec<Policy> =
                std::iter::once(first.clone()).chain(others).map(|policy| policy.resolution(4096)).collect();
            let key = Costs::new(&tiers[0]).key;
            let of = |policy: &Policy| {
                let all = if are_tiers { &tiers[..] } else { std::slice::from_ref(policy) };
                Costs::among(policy, all, key.clone())
            };
            let subjects: Vec<_> = tiers.iter().map(of).collect();
            let cells = subjects.iter().flat_map(Costs::cells);
            // A new cell log may learn from one of coarser cells, and a process with longer windows counts in milliseconds.
            let late = 2 * cells.map(|(_, grain)| grain).max().unwrap() + 2 * MILLI;
            let (mut all, mut receipts, mut now): (Vec<(u64, u64)>, Vec<_>, _) = (Vec::new(), Vec::new(), START);
            for (pause, who, cost, settled) in turns {
                now += pause.unsigned_abs();
                let who = who % subjects.len();
                let subject = &subjects[who];
                let cost = cost % 300;
                if let Some(which) = settled.filter(|_| !receipts.is_empty()) {
                    let (of, recorded, entry, cost) = receipts.swap_remove(which % receipts.len());
                    let of: &Costs = &subjects[of];
                    let given = give_back(connection, of, cost, recorded, now);
                    let entry: &mut (u64, u64) = &mut all[entry];
                    prop_assert!(given <= entry.1, "more than was recorded");
                    entry.1 -= given;
                    continue;
                }
                let has_room = |late: u64| {
                    subject.policy.quotas().all(|quota| {
                        let live = all.iter().filter(|(at, _)| at + micros(quota) + late > now);
                        live.map(|(_, units)| units).sum::<u64>() + cost <= quota.limit()
                    })
                };
                let reply = run(connection, &[subject.charged(cost)], now, Mode::Decide, 1);
                prop_assert!(!reply.verdict.admitted || has_room(0), "over the limits of {} at {}", who, now);
                // What another policy has limited in another form of cells is remembered as far as that goes.
                if are_tiers {
                    prop_assert!(reply.verdict.admitted || !has_room(late), "denied with room by {} at {}", who, now);
                }
                if let Some(recorded) = reply.recorded[0] {
                    receipts.push((who, recorded, all.len(), cost));
                    all.push((now, cost));
                }
            }
            Ok(())
        },
    );
}

fn tokens() -> Costs {
    Costs::new(&Policy::per_minute(90_000).and_per_day(1_000_000))
}

const SECOND: u64 = 1000 * MILLI;

#[test]
fn settling_below_the_estimate_gives_the_rest_back_in_all_quotas() {
    let server = Server::start();
    let connection = &mut server.connection();
    let costs = tokens();
    let recorded = charge(connection, &costs, 4000, START).unwrap();
    charge(connection, &costs, 500, START + 30 * SECOND).unwrap();
    assert_eq!(give_back(connection, &costs, 3000, recorded, START + 31 * SECOND), 3000);
    assert_eq!(counted(connection, &costs, START + 31 * SECOND), [1500, 1500]);
    assert_eq!(counted(connection, &costs, START + 61 * SECOND), [500, 1500]);
}

#[test]
fn after_the_minute_the_day_gets_the_rest_back_and_after_the_day_nothing_does() {
    let server = Server::start();
    let connection = &mut server.connection();
    let costs = tokens();
    let [first, second] = [0, 1].map(|second| charge(connection, &costs, 4000, START + second * SECOND).unwrap());
    charge(connection, &costs, 500, START + 70 * SECOND).unwrap();
    assert_eq!(give_back(connection, &costs, 3000, first, START + 80 * SECOND), 3000);
    assert_eq!(counted(connection, &costs, START + 80 * SECOND), [500, 5500]);
    let later = START + 90_000 * SECOND;
    charge(connection, &costs, 7, later).unwrap();
    assert_eq!(give_back(connection, &costs, 3000, second, later), 0);
    assert_eq!(counted(connection, &costs, later), [7, 7]);
}

#[test]
fn settling_above_the_estimate_is_owed_from_now_on_and_denies_until_it_has_drained() {
    let server = Server::start();
    let connection = &mut server.connection();
    let costs = Costs::new(&Policy::per_minute(10_000));
    charge(connection, &costs, 100, START).unwrap();
    // It has streamed for 90 seconds.
    owe(connection, &costs, 18_900, START + 90 * SECOND);
    assert_eq!(counted(connection, &costs, START + 90 * SECOND), [18_900]);
    let denied = run(connection, &[costs.charged(0)], START + 91 * SECOND, Mode::Decide, 1).verdict;
    assert!(!denied.admitted, "nothing is free in debt");
    let room_at = denied.states[0].changes_at / 1000;
    assert!((START + 150 * SECOND..START + 150 * SECOND + 20 * MILLI).contains(&room_at), "{room_at}");
    assert!(charge(connection, &costs, 1, room_at - 1).is_none());
    assert!(charge(connection, &costs, 10_000, room_at).is_some());
}

#[test]
fn a_cost_of_nothing_is_recorded_nowhere() {
    let server = Server::start();
    let connection = &mut server.connection();
    let costs = Costs::new(&Policy::per_minute(10));
    let free = run(connection, &[costs.charged(0)], START, Mode::Decide, 1);
    assert!(free.verdict.admitted && free.recorded[0].is_none());
    assert_eq!(redis::cmd("DBSIZE").query(connection), Ok(0));
    charge(connection, &costs, 10, START).unwrap();
    let free = run(connection, &[costs.charged(0)], START, Mode::Decide, 1);
    assert!(free.verdict.admitted, "it is full, but not in debt");
    assert_eq!(counted(connection, &costs, START), [10]);
}

#[test]
fn settling_for_nothing_leaves_nothing_behind() {
    let server = Server::start();
    let connection = &mut server.connection();
    let costs = tokens();
    let recorded = charge(connection, &costs, 4000, START).unwrap();
    assert_eq!(give_back(connection, &costs, 4000, recorded, START + SECOND), 4000);
    assert_eq!(redis::cmd("DBSIZE").query(connection), Ok(0));
    assert_eq!(give_back(connection, &costs, 4000, recorded, START + SECOND), 0);
}

#[test]
fn a_cost_above_the_limit_is_never_possible() {
    let server = Server::start();
    let connection = &mut server.connection();
    let costs = Costs::new(&Policy::per_minute(100).and_per_day(200));
    let never = run(connection, &[costs.charged(101)], START, Mode::Decide, 1).verdict;
    let told: Vec<_> = never.states.iter().map(|state| (state.used, state.changes_at)).collect();
    assert_eq!((never.admitted, told), (false, vec![(0, u64::MAX), (0, 0)]));
    assert!(charge(connection, &costs, 100, START).is_some());
}

#[test]
fn nothing_is_given_back_after_a_reset_and_what_is_owed_counts_alone() {
    let server = Server::start();
    let connection = &mut server.connection();
    let costs = tokens();
    let recorded = charge(connection, &costs, 4000, START).unwrap();
    redis::cmd("DEL").arg(&costs.key).exec(connection).unwrap();
    assert_eq!(give_back(connection, &costs, 4000, recorded, START + 1), 0);
    charge(connection, &costs, 700, START + 2).unwrap();
    assert_eq!(give_back(connection, &costs, 4000, recorded, START + 3), 0, "in the same cells");
    redis::cmd("DEL").arg(&costs.key).exec(connection).unwrap();
    owe(connection, &costs, 25, START + 4);
    assert_eq!(counted(connection, &costs, START + 5), [25, 25]);
}

#[test]
fn nothing_is_given_back_that_was_recorded_before_the_clock_stepped_back() {
    let server = Server::start();
    let connection = &mut server.connection();
    let costs = tokens();
    charge(connection, &costs, 10, START).unwrap();
    let future = START + 40 * SECOND;
    let recorded = charge(connection, &costs, 4000, future).unwrap();
    charge(connection, &costs, 20, START + SECOND).unwrap();
    assert_eq!(give_back(connection, &costs, 4000, recorded, START + SECOND), 0);
    // The moment comes again, and with it another request.
    let again = charge(connection, &costs, 300, future).unwrap();
    assert_eq!(give_back(connection, &costs, 4000, recorded, future), 0);
    assert_eq!(give_back(connection, &costs, 100, again, future), 100);
    // What the future held was brought down to a second after the start, and counts from then.
    assert_eq!(counted(connection, &costs, future), [4230, 4230]);
    assert_eq!(counted(connection, &costs, START + 62 * SECOND), [200, 4230]);
}

#[test]
fn a_receipt_takes_no_more_than_what_was_recorded_at_its_moment() {
    let server = Server::start();
    let connection = &mut server.connection();
    let costs = Costs::new(&Policy::per_minute(4000));
    let receipts: Vec<_> =
        (0..20).map(|request| charge(connection, &costs, 10, START + request * SECOND).unwrap()).collect();
    for (at, recorded) in receipts.iter().enumerate().rev().step_by(2) {
        assert_eq!(give_back(connection, &costs, 500, *recorded, START + 20 * SECOND), 10, "{at}");
        assert_eq!(give_back(connection, &costs, 500, *recorded, START + 20 * SECOND), 0, "{at}");
    }
    assert_eq!(counted(connection, &costs, START + 20 * SECOND), [100]);
    // The oldest that is left is told of, though older cells have been emptied.
    assert_eq!(give_back(connection, &costs, 10, receipts[0], START + 20 * SECOND), 10);
    let verdict = run(connection, &[costs.charged(1)], START + 20 * SECOND, Mode::Peek, 1).verdict;
    let oldest = verdict.states[0].changes_at / 1000;
    assert!((START + 62 * SECOND..START + 62 * SECOND + MILLI).contains(&oldest), "{oldest}");
}

#[test]
fn requests_of_other_costs_are_decided_together_in_one_step() {
    let server = Server::start();
    let connection = &mut server.connection();
    let requests = Subject::new(&Policy::per_minute(60));
    let (user, organisation) = (tokens(), Costs::new(&Policy::per_minute(5000)));
    let mut ask = |tokens: u64, now: u64| {
        let charges = [requests.charged(), user.charged(tokens), organisation.charged(tokens)];
        run(connection, &charges, now, Mode::Decide, 1)
    };
    let admitted = ask(4000, START);
    assert_eq!((admitted.verdict.admitted, used(&admitted.verdict)), (true, vec![1, 4000, 4000, 4000]));
    assert_eq!(admitted.recorded.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true, true]);
    let denied = ask(1001, START + 1);
    assert_eq!((denied.verdict.admitted, used(&denied.verdict)), (false, vec![1, 4000, 4000, 4000]));
    assert!(denied.recorded.iter().all(Option::is_none));
    let admitted = ask(1000, START + 2);
    assert_eq!(used(&admitted.verdict), [2, 5000, 5000, 5000]);
}

#[test]
fn of_thirty_at_once_as_many_are_admitted_as_there_is_room_for() {
    let server = Server::start();
    let connection = &mut server.connection();
    let costs = Costs::new(&Policy::per_minute(20_000));
    let reply = run(connection, &[costs.charged(4000)], START, Mode::Decide, 30);
    assert_eq!(reply.units, 5);
    let seen: Vec<_> = (1..=6)
        .map(|place| (reply.clone().verdict_on(place).admitted, used(&reply.clone().verdict_on(place))[0]))
        .collect();
    assert_eq!(seen, [(true, 4000), (true, 8000), (true, 12_000), (true, 16_000), (true, 20_000), (false, 20_000)]);
}

#[test]
fn settlements_of_several_histories_share_a_call_and_what_is_wrong_ends_it() {
    let server = Server::start();
    let connection = &mut server.connection();
    let all = [tokens(), tokens(), tokens()];
    let receipts: Vec<_> = all.iter().map(|costs| charge(connection, costs, 100, START).unwrap()).collect();
    let back = |at: usize| all[at].settled(40, Some(receipts[at]));
    assert_eq!(settle(connection, &[back(0), all[1].settled(7, None), back(1), back(2)], START + 1), [40, 7, 40, 40]);
    redis::cmd("DEL").arg(&all[1].key).exec(connection).unwrap();
    redis::cmd("RPUSH").arg(&all[1].key).arg("x").exec(connection).unwrap();
    let settlements = [back(0), back(1), back(2)];
    let answer = Script::at(START + 2).settle_in_full(&settlements).query(connection).unwrap();
    let settled = Script::settled(answer).unwrap();
    assert_eq!((settled.len(), settled[0].as_ref().ok()), (2, Some(&40)));
    assert!(settled[1].as_ref().is_err_and(Script::is_corrupt));
    assert_eq!(counted(connection, &all[2], START + 3), [60, 60]);
}

#[test]
fn a_history_that_is_settled_by_another_process_is_settled_in_all_its_logs() {
    let server = Server::start();
    let connection = &mut server.connection();
    let minute = Costs::new(&Policy::per_minute(5000));
    let both = minute.under(&Policy::per_minute(5000).and_per_hour(50_000));
    let recorded = charge(connection, &minute, 4000, START).unwrap();
    // The hour is new, and learns of the minute what it remembers.
    charge(connection, &both, 500, START + SECOND).unwrap();
    assert_eq!(counted(connection, &both, START + SECOND), [4500, 4500]);
    assert_eq!(give_back(connection, &minute, 3000, recorded, START + 2 * SECOND), 3000);
    assert_eq!(counted(connection, &both, START + 2 * SECOND), [1500, 1500]);
}

#[test]
fn a_rule_that_gains_costs_and_loses_them_again_refills_nobody() {
    let server = Server::start();
    let connection = &mut server.connection();
    let units = Subject::new(&Policy::per_minute(100).and_per_hour(1000));
    let costs = Costs::among(
        &Policy::per_minute(100).and_per_hour(1000),
        &[Policy::per_minute(100).and_per_hour(1000)],
        units.key.clone(),
    );
    assert_eq!(admitted_at(connection, &units, START, 60), 60);
    assert_eq!(counted(connection, &costs, START + SECOND), [60, 60]);
    assert!(charge(connection, &costs, 41, START + SECOND).is_none());
    let recorded = charge(connection, &costs, 30, START + SECOND).unwrap();
    // Old and new processes side by side: each counts what the other admits.
    assert_eq!(used(&decide(connection, &units, START + 2 * SECOND)), [91, 91]);
    assert_eq!(counted(connection, &costs, START + 2 * SECOND), [91, 91]);
    charge(connection, &costs, 5, START + 3 * SECOND).unwrap();
    assert_eq!(give_back(connection, &costs, 20, recorded, START + 4 * SECOND), 20);
    assert_eq!(counted(connection, &costs, START + 4 * SECOND), [76, 76]);
    assert_eq!(admitted_at(connection, &units, START + 5 * SECOND, 100), 24);
    assert!(charge(connection, &costs, 1, START + 6 * SECOND).is_none());
}

#[test]
fn a_key_with_costs_is_small() {
    let server = Server::start();
    let connection = &mut server.connection();
    let costs = tokens();
    for request in 1..=1000 {
        charge(connection, &costs, 70, START + request * 50 * MILLI).unwrap();
        let most = match request {
            1 => 600,
            60 => 2_000,
            1000 => 26_000,
            _ => continue,
        };
        let names = costs.logs.iter().map(|log| format!("{}{}", costs.key, log.suffix()));
        let bytes: usize =
            names.map(|name| redis::cmd("MEMORY").arg("USAGE").arg(name).query::<usize>(connection).unwrap()).sum();
        assert!(bytes <= most, "{bytes} bytes for {request} requests");
    }
}
