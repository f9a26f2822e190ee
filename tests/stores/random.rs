//! Random operations on the store in memory, beside lists of times.
//!
//! `RANDOM_OPERATIONS=50000000 ./tests/run --test stores random::` runs for longer, and `RANDOM_SEED=7` begins elsewhere.

use std::{
    collections::HashMap,
    env,
    panic::{self, AssertUnwindSafe},
    thread,
    time::Duration,
};

use fastrand::Rng;
use parking_lot::{Condvar, Mutex};
use tower_quota::{
    Decision, Policy, Quota, RateLimiter, Reservation, Rule,
    clock::{Clock, ManualClock},
};
use tower_quota_tests::limiter::{limiter_for, rule, with_rules};

const RULES: [&str; 3] = ["a", "b", "c"];
const MILLI: u64 = 1_000_000;
const NANO: Duration = Duration::from_nanos(1);
const OPERATIONS: u64 = 1_050_000;
const OPERATIONS_OF_A_ROUND: u64 = 500;

/// How one quota stands: units left, whether it is exhausted, and the wait.
type Standing = (u64, bool, Duration);

/// Runs rounds until a third of all operations are done, each with a seed that a failure prints.
fn rounds(round: impl Fn(&mut Rng)) {
    rounds_of(3, round);
}

/// Runs rounds until one in so many of all operations is done.
fn rounds_of(one_in: u64, round: impl Fn(&mut Rng)) {
    let number = |name: &str, otherwise: u64| env::var(name).map_or(otherwise, |text| text.parse().unwrap());
    let (seed, operations) = (number("RANDOM_SEED", 0), number("RANDOM_OPERATIONS", OPERATIONS));
    for seed in seed..seed + operations / one_in / OPERATIONS_OF_A_ROUND {
        let told = Detail(seed);
        round(&mut Rng::with_seed(seed));
        std::mem::forget(told);
    }
}

/// Says which round it was if one fails.
struct Detail(u64);

impl Drop for Detail {
    fn drop(&mut self) {
        eprintln!("with RANDOM_SEED={}", self.0);
    }
}

/// One to three quotas of small numbers, so that a short round meets all limits.
fn policy(dice: &mut Rng) -> Policy {
    let windows = [1, 2, 5, 40, 250, 1000, 60_000, 3_600_000, 86_400_000, 10 * 86_400_000, 40 * 86_400_000];
    let quotas = (0..dice.u32(1..=3)).map(|at| {
        let window = Duration::from_millis(dice.choice(windows).unwrap());
        let window =
            window + if dice.u8(0..4) == 0 { Duration::from_nanos(dice.u64(0..MILLI)) } else { Duration::ZERO };
        let most = if dice.bool() { 4 } else { 30 };
        Quota::new(dice.u64(1..=most), window).named(format!("q{at}"))
    });
    let policy = quotas.collect::<Policy>();
    let policy = match dice.u8(0..8) {
        0 => policy.spaced_by(Duration::from_millis(dice.u64(1..50))),
        1 => policy.spread_evenly(),
        _ => policy,
    };
    if dice.u8(0..4) == 0 { policy.count_denied() } else { policy }
}

fn rules(policies: &[Policy]) -> impl Iterator<Item = Rule> {
    RULES.iter().zip(policies).map(|(name, policy)| rule(name, policy.clone()))
}

fn standings(decision: &Decision) -> Vec<Standing> {
    decision.quotas().map(|quota| (quota.remaining(), quota.is_exhausted(), quota.reset_after())).collect()
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap()
}

/// A step of the clock: none, a little, to an edge, or far.
fn step(dice: &mut Rng) -> u64 {
    match dice.u8(0..12) {
        0..=4 => 0,
        5..=6 => dice.u64(0..3000),
        7..=8 => dice.u64(0..3 * MILLI),
        9 => dice.u64(0..300) * MILLI,
        10 => dice.choice([250, 1000, 60_000, 3_600_000]).unwrap() * MILLI - dice.u64(0..2),
        _ => {
            let most = 1 << dice.u32(20..52);
            dice.u64(0..most)
        }
    }
}

/// The charges of a request: one to three rules, each once.
fn charges(dice: &mut Rng, keys: u64) -> Vec<(usize, String)> {
    let mut rules = [0, 1, 2];
    dice.shuffle(&mut rules);
    let count = dice.choice([1, 1, 1, 2, 3]).unwrap();
    rules.into_iter().take(count).map(|rule| (rule, dice.u64(0..keys).to_string())).collect()
}

fn check(limiter: &RateLimiter, charges: &[(usize, String)]) -> Decision {
    limiter.check_all(charges.iter().map(|(rule, key)| (RULES[*rule], key))).unwrap()
}

/// What a history should be: everything that was charged, oldest first, in nanoseconds.
#[derive(Clone, Default)]
struct List(Vec<u64>);

impl List {
    /// Units that a window counts: one at t counts while now < t + window.
    fn counted(&self, window: u64, now: u64) -> usize {
        self.0.iter().filter(|at| **at + window > now).count()
    }

    fn has_room(&self, policy: &Policy, now: u64) -> bool {
        policy.quotas().all(|quota| self.counted(nanos(quota.window()), now) < quota.limit() as usize)
    }
}

/// As the documentation of `Quota::new` has it: the longest window is at most 2^30 ticks.
fn tick(policy: &Policy) -> u64 {
    let longest = policy.quotas().map(|quota| nanos(quota.window())).max().unwrap();
    let micros = (1..=1000u64).filter(|micros| 1000 % micros == 0);
    micros.map(|micros| micros * 1000).find(|tick| longest.div_ceil(*tick) <= 1 << 30).unwrap_or(MILLI)
}

/// The lists of all keys, each in the ticks of its rule.
struct Lists<'a> {
    policies: &'a [Policy],
    lists: HashMap<(usize, String), List>,
}

impl Lists<'_> {
    fn list(&self, charge: &(usize, String)) -> List {
        self.lists.get(charge).cloned().unwrap_or_default()
    }

    fn has_room(&self, charges: &[(usize, String)], now: u64) -> bool {
        charges.iter().all(|charge| charge_has_room(&self.policies[charge.0], &self.list(charge), now))
    }

    /// Charges all if they are admitted, and else those that count denials.
    fn charge(&mut self, charges: &[(usize, String)], admitted: bool, now: u64) {
        for charge in charges {
            let policy = &self.policies[charge.0];
            if admitted || policy.counts_denied() {
                let tick = tick(policy);
                self.lists.entry(charge.clone()).or_default().0.push(now.div_ceil(tick) * tick);
            }
        }
    }

    fn standings(&self, charges: &[(usize, String)], admitted: bool, now: u64) -> Vec<Standing> {
        let of = |charge: &(usize, String)| standings_of(&self.policies[charge.0], &self.list(charge), admitted, now);
        charges.iter().flat_map(of).collect()
    }
}

fn charge_has_room(policy: &Policy, list: &List, now: u64) -> bool {
    let tick = tick(policy);
    let window = |quota: &Quota| nanos(quota.window()).div_ceil(tick) * tick;
    policy.quotas().all(|quota| list.counted(window(quota), now / tick * tick) < quota.limit() as usize)
}

fn standings_of(policy: &Policy, list: &List, admitted: bool, now: u64) -> Vec<Standing> {
    let tick = tick(policy);
    let of = |quota: &Quota| {
        let (window, limit) = (nanos(quota.window()).div_ceil(tick) * tick, quota.limit() as usize);
        let counted = list.counted(window, now / tick * tick);
        let left = limit.saturating_sub(counted);
        let next = if left == 0 { list.0.len() - limit } else { list.0.len() - counted };
        let wait = if counted == 0 { 0 } else { (list.0[next] + window).saturating_sub(now) };
        (left as u64, left == 0 && !admitted, Duration::from_nanos(wait))
    };
    policy.quotas().map(of).collect()
}

#[test]
fn every_answer_is_that_of_a_list_of_times() {
    rounds(|dice| {
        let policies = [policy(dice), policy(dice), policy(dice)];
        let (limiter, clock) = limiter_for(1000, rules(&policies));
        let mut lists = Lists { policies: &policies, lists: HashMap::new() };
        for _ in 0..OPERATIONS_OF_A_ROUND {
            clock.advance(Duration::from_nanos(step(dice)));
            let (now, charges) = (nanos(clock.now()), charges(dice, 3));
            let context = || format!("{charges:?} at {now} of {policies:?}");
            match dice.u8(0..12) {
                0 => {
                    let (policy, list) = (&policies[charges[0].0], lists.list(&charges[0]));
                    let is_live = policy.quotas().any(|quota| list.counted(nanos(quota.window()), now) > 0);
                    let found = limiter.rule(RULES[charges[0].0]).unwrap().reset(&charges[0].1);
                    assert!(found || !is_live, "{}", context());
                    lists.lists.remove(&charges[0]);
                }
                1..=3 => {
                    let peeked = limiter.rule(RULES[charges[0].0]).unwrap().peek(&charges[0].1);
                    let admitted = lists.has_room(&charges[..1], now);
                    assert_eq!(peeked.is_admitted(), admitted, "{}", context());
                    assert_eq!(standings(&peeked), lists.standings(&charges[..1], admitted, now), "{}", context());
                }
                4..=5 => {
                    let admitted = lists.has_room(&charges, now);
                    let named = charges.iter().map(|(rule, key)| (RULES[*rule], key));
                    assert_eq!(limiter.admit_all(named).unwrap(), admitted, "{}", context());
                    lists.charge(&charges, admitted, now);
                }
                _ => {
                    let admitted = lists.has_room(&charges, now);
                    let decision = check(&limiter, &charges);
                    assert_eq!(decision.is_admitted(), admitted, "{}", context());
                    lists.charge(&charges, admitted, now);
                    assert_eq!(standings(&decision), lists.standings(&charges, admitted, now), "{}", context());
                }
            }
        }
    });
}

/// Threads that take turns: whose turn it is, and what all of them work on.
struct Turns<T>(Mutex<(usize, T)>, Condvar);

impl<T: Send> Turns<T> {
    /// Has `count` threads work in turns: each says who is next, and none when it is over.
    fn run(count: usize, shared: T, work: impl Fn(&mut T) -> Option<usize> + Sync) {
        let turns = Self(Mutex::new((0, shared)), Condvar::new());
        thread::scope(|scope| {
            for number in 0..count {
                let (turns, work) = (&turns, &work);
                scope.spawn(move || turns.take_turns(number, count, work));
            }
        });
    }

    fn take_turns(&self, number: usize, count: usize, work: &impl Fn(&mut T) -> Option<usize>) {
        loop {
            let mut turn = self.0.lock();
            self.1.wait_while(&mut turn, |turn| turn.0 != number && turn.0 < count);
            if turn.0 == count {
                return;
            }
            // Who fails lets the others end.
            let next = panic::catch_unwind(AssertUnwindSafe(|| work(&mut turn.1)));
            turn.0 = next.as_ref().map_or(count, |next| next.unwrap_or(count));
            self.1.notify_all();
            drop(turn);
            next.unwrap_or_else(|failure| panic::resume_unwind(failure));
        }
    }
}

/// What goes on as it does, whatever the clock says.
struct World {
    dice: Rng,
    truth: u64,
    left: u64,
    /// What the clock has shown, the newest first.
    past: Vec<Duration>,
    lists: HashMap<(usize, String), List>,
}

impl World {
    fn new(dice: &mut Rng) -> Self {
        Self { dice: dice.fork(), truth: 0, left: OPERATIONS_OF_A_ROUND, past: Vec::new(), lists: HashMap::new() }
    }

    /// The clock goes on, trembles, or steps back.
    fn pass_time(&mut self, clock: &ManualClock) {
        let step = step(&mut self.dice);
        self.past.truncate(8);
        self.past.insert(0, clock.now());
        match self.dice.u8(0..8) {
            0 if self.dice.bool() => {
                let past = self.dice.choice(&self.past).copied().unwrap() + NANO * self.dice.u32(0..2);
                clock.set(past.min(clock.now()));
            }
            0 => clock.set(clock.now().saturating_sub(Duration::from_nanos(step))),
            1 => clock.set(clock.now().saturating_sub(Duration::from_nanos(self.dice.u64(0..30 * MILLI)))),
            _ => {
                self.truth += step;
                clock.advance(Duration::from_nanos(step));
            }
        }
    }

    fn note(&mut self, charges: &[(usize, String)], admitted: bool) {
        for charge in charges.iter().filter(|_| admitted) {
            self.lists.entry(charge.clone()).or_default().0.push(self.truth);
        }
    }

    /// Never more than N in a window of the true time.
    fn is_room_in_truth(&self, charges: &[(usize, String)], policies: &[Policy]) -> bool {
        let nothing = List::default();
        let list = |charge| self.lists.get(charge).unwrap_or(&nothing);
        charges.iter().all(|charge| list(charge).has_room(&policies[charge.0], self.truth))
    }
}

#[test]
fn denials_that_threads_remember_are_those_that_a_look_at_the_history_finds() {
    rounds(|dice| {
        let policies = [policy(dice), policy(dice), policy(dice)];
        let policies = if dice.bool() { policies.map(|policy| policy.resolution(16)) } else { policies };
        let (limiter, clock) = limiter_for(1000, rules(&policies));
        clock.set(Duration::from_secs(1 << dice.u32(0..20)));
        Turns::run(3, World::new(dice), |world| {
            for _ in 0..world.dice.u64(1..12) {
                world.pass_time(&clock);
                let charges = charges(&mut world.dice, 2);
                let charge = &charges[0];
                let peeked = limiter.rule(RULES[charge.0]).unwrap().peek(&charge.1);
                let context = || format!("{charges:?} at {:?} of {policies:?}", clock.now());
                match world.dice.u8(0..12) {
                    0 => {
                        limiter.rule(RULES[charge.0]).unwrap().reset(&charge.1);
                        world.lists.remove(charge);
                    }
                    1..=4 => {
                        let is_room = world.is_room_in_truth(&charges, &policies);
                        let decision = check(&limiter, &charges);
                        assert!(is_room || !decision.is_admitted(), "more than N: {}", context());
                        world.note(&charges, decision.is_admitted());
                    }
                    5..=7 => {
                        let admitted = limiter.rule(RULES[charge.0]).unwrap().admit(&charge.1);
                        assert_eq!(admitted, peeked.is_admitted(), "{}", context());
                        world.note(&charges[..1], admitted);
                    }
                    _ => {
                        let is_room = world.is_room_in_truth(&charges[..1], &policies);
                        let decision = limiter.rule(RULES[charge.0]).unwrap().check(&charge.1);
                        let admitted = decision.is_admitted();
                        assert_eq!(admitted, peeked.is_admitted(), "{}", context());
                        assert!(is_room || !admitted, "more than N: {}", context());
                        if !admitted && !policies[charge.0].counts_denied() {
                            assert_eq!(standings(&decision), standings(&peeked), "{}", context());
                        }
                        world.note(&charges[..1], admitted);
                    }
                }
                world.left = world.left.saturating_sub(1);
            }
            (world.left > 0).then(|| world.dice.usize(0..3))
        });
    });
}

#[test]
fn a_full_table_gives_nothing_away_and_denies_nobody_without_a_reason() {
    rounds(|dice| {
        let policies = [policy(dice), policy(dice), policy(dice)];
        let (limiter, clock) = limiter_for(dice.usize(1..6), rules(&policies));
        clock.set(Duration::from_secs(1 << dice.u32(0..20)));
        let has_steps = dice.u8(0..3) == 0;
        let (mut world, mut all) = (World::new(dice), HashMap::<usize, List>::new());
        for _ in 0..OPERATIONS_OF_A_ROUND {
            if has_steps {
                world.pass_time(&clock);
            } else {
                let step = step(&mut world.dice);
                world.truth += step;
                clock.advance(Duration::from_nanos(step));
            }
            let charges = charges(&mut world.dice, 8);
            let context = || format!("{charges:?} at {:?} of {policies:?}", clock.now());
            if world.dice.u8(0..20) == 0 {
                limiter.rule(RULES[charges[0].0]).unwrap().reset(&charges[0].1);
                world.lists.remove(&charges[0]);
                continue;
            }
            let is_room = world.is_room_in_truth(&charges, &policies);
            if charges.len() == 1 && world.dice.bool() {
                let (rule, key) = &charges[0];
                let admitted = limiter.rule(RULES[*rule]).unwrap().admit(key);
                assert!(is_room || !admitted, "more than N: {}", context());
                world.note(&charges, admitted);
                if admitted || policies[*rule].counts_denied() {
                    all.entry(*rule).or_default().0.push(world.truth);
                }
                continue;
            }
            let decision = check(&limiter, &charges);
            assert!(is_room || !decision.is_admitted(), "more than N: {}", context());
            // Whoever has come in the last window may stand in the way of somebody without a place, and nobody else.
            let nothing = List::default();
            let is_crowded = charges.iter().any(|(rule, _)| {
                let list = all.get(rule).unwrap_or(&nothing);
                let tick = tick(&policies[*rule]);
                let in_the_way = |quota: &Quota| list.counted(nanos(quota.window()) + 2 * tick, world.truth);
                policies[*rule].quotas().any(|quota| in_the_way(quota) >= quota.limit() as usize)
            });
            assert!(decision.is_admitted() || is_crowded || has_steps, "denied without a reason: {}", context());
            world.note(&charges, decision.is_admitted());
            for (rule, _) in &charges {
                if decision.is_admitted() || policies[*rule].counts_denied() {
                    all.entry(*rule).or_default().0.push(world.truth);
                }
            }
            if let Some(wait) = decision.retry_after().filter(|_| !has_steps && world.dice.u8(0..4) == 0) {
                clock.advance(wait);
                world.truth += nanos(wait);
                for (rule, key) in &charges {
                    let is_room = limiter.rule(RULES[*rule]).unwrap().peek(key).is_admitted();
                    assert!(is_room, "no room for {key} of {rule} after {wait:?}: {}", context());
                }
                continue;
            }
            let (mut told, admitted) = (decision.quotas(), decision.is_admitted());
            for charge in &charges {
                let list = world.lists.get(charge).cloned().unwrap_or_default();
                for quota in policies[charge.0].quotas() {
                    let own = list.counted(nanos(quota.window()), world.truth) as u64;
                    let left = told.next().unwrap().remaining();
                    assert!(left <= quota.limit().saturating_sub(own), "{left} left, {admitted}: {}", context());
                }
            }
        }
        assert!(limiter.len() <= 5);
    });
}

/// The rules of one version: their policies, and whether their requests have costs.
type Rulebook = [(Policy, bool); RULES.len()];

/// Two quotas of these windows, so that many versions of a rule have the same windows and other limits.
fn policy_of(dice: &mut Rng, windows: [u64; 2]) -> Policy {
    let quotas = windows.into_iter().enumerate().map(|(at, window)| {
        let most = if dice.bool() { 4 } else { 30 };
        Quota::new(dice.u64(2..=most), Duration::from_millis(window)).named(format!("q{at}"))
    });
    quotas.collect::<Policy>().resolution(16)
}

/// A few versions of the rules, of which most differ in a limit alone.
fn rulebooks(dice: &mut Rng) -> Vec<Rulebook> {
    let windows = RULES.map(|_| [dice.choice([5, 250]).unwrap(), dice.choice([1000, 60_000, 864_000_000]).unwrap()]);
    let version = |dice: &mut Rng| {
        windows.map(|windows| match dice.u8(0..8) {
            0 => (policy(dice), false),
            1 => (policy_of(dice, windows), true),
            _ => (policy_of(dice, windows), false),
        })
    };
    (0..dice.usize(1..5)).map(|_| version(dice)).collect()
}

fn rules_of(rulebook: &Rulebook) -> impl Iterator<Item = Rule> {
    RULES.iter().zip(rulebook).map(|(name, (policy, has_costs))| {
        let rule = rule(name, policy.clone());
        if *has_costs { rule.reserve("units", 2) } else { rule }
    })
}

#[test]
fn every_short_way_answers_what_a_look_at_each_history_does() {
    // Each of these operations is many.
    rounds_of(30, |dice| {
        let rulebooks = rulebooks(dice);
        let (keys, places) = dice.choice([(3, 1000), (40, 1000), (8, 4)]).unwrap();
        let (limiter, clock) = limiter_for(places, rules_of(&rulebooks[0]));
        clock.set(Duration::from_secs(1 << dice.u32(0..20)));
        // Handles from before all reloads, as callers keep them.
        let handles = RULES.map(|name| limiter.rule(name).unwrap());
        let mut reservations = Vec::new();
        let mut world = World::new(dice);
        for _ in 0..OPERATIONS_OF_A_ROUND {
            world.pass_time(&clock);
            let charges = charges(dice, keys);
            let named = || charges.iter().map(|(rule, key)| (RULES[*rule], key));
            let (handle, key) = (&handles[charges[0].0], &charges[0].1);
            let context = || format!("{charges:?} at {:?} of {rulebooks:?}", clock.now());
            match dice.u8(0..24) {
                0 => drop(handle.reset(key)),
                1 => {
                    let rulebook = dice.choice(&rulebooks).unwrap();
                    limiter.reload(|builder| Ok(with_rules(builder, rules_of(rulebook)))).unwrap();
                }
                2 => {
                    if let Some(reservation) = reservations.pop() {
                        Reservation::settle(&reservation, "units", dice.u64(0..6));
                    }
                }
                way => {
                    let has_room = charges.iter().all(|(rule, key)| handles[*rule].peek(key).is_admitted());
                    let admitted = match (way, charges.len()) {
                        (3..=14, 1) => handle.admit(key),
                        (3..=14, _) => limiter.admit_all(named()).unwrap(),
                        _ => {
                            let decision = check(&limiter, &charges);
                            reservations.extend(decision.reservation().cloned());
                            decision.is_admitted()
                        }
                    };
                    // Newcomers to a full table evict idle histories to get a place. A look evicts none: it is answered by the history
                    // that keys share, of which a key with a place owes a part at most. So a decision about one key admits whatever
                    // a look does, and more. Of several keys each look has the last place for its own, and one gets it.
                    let is_crowded = places < RULES.len() * 40;
                    let may_differ = is_crowded && (admitted || charges.len() > 1);
                    assert!(may_differ || admitted == has_room, "{}", context());
                }
            }
        }
    });
}
