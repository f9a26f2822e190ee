//! The strings that a history consists of on a server.

use std::{cmp::Reverse, collections::BTreeMap, hash::Hasher};

use siphasher::sip::SipHasher13;

use crate::{
    clock::Tick,
    error::ConfigError,
    history::{Counted, Plan},
    policy::{Policy, Quota},
    store::Scopes,
};

/// A log that begins with anything else is not ours. A new layout gets a new one.
const MAGIC: u8 = b'T';

/// What stands in the tag of a cell log in place of the number of quotas.
const CELLS: u8 = 32;

/// Where an argument says how many bytes an entry has; and bytes of a cell.
const WIDTH: usize = 6;
const CELL: u8 = 9;

/// What an argument says of denials: whether they count, or else whether there may be more units than are kept.
const COUNTS_DENIED: u8 = 1;
const IS_UNBOUNDED: u8 = 2;

/// The most windows of a history: of those that are counted exactly, and of the others. The script has five bits for them.
const MOST_WINDOWS: usize = 31;

/// Bytes of a limit.
const LIMIT: usize = 6;

/// What a writer asks for: so long a window, and so many units.
const ASKED: u64 = 3;
/// Where the parts begin of the number that says what is kept, after what is asked for: the most units, the number of cell
/// logs, the tick in microseconds.
const MOST: u32 = 2;
const BESIDE: u32 = 7;
pub(super) const TICK: u32 = 12;

/// The finest cell of a plan with costs, in microseconds: as long as a cell is no longer there are as many as there are
/// admissions.
const FINEST_CELL: u64 = 1000;

/// The logs of a plan, which are the same for all plans of its shape: an exact log, which may answer for no quota but lists the others, and a cell log per grain.
#[derive(Debug)]
pub(crate) struct Layout {
    logs: Box<[Encoding]>,
    quotas: usize,
    has_costs: bool,
}

/// One log: its name, what the script is told of it, and which quotas it answers for.
#[derive(Debug)]
pub(crate) struct Encoding {
    suffix: String,
    argument: Vec<u8>,
    quotas: Box<[QuotaSlot]>,
}

/// What an argument says of a log before it comes to the quotas.
struct EncodingSettings {
    tick: Tick,
    width: u8,
    /// In milliseconds, as the server wants it.
    time_to_live: u64,
    /// The longest window of the log, in microseconds.
    window: u64,
    kept: u64,
    /// The most units that any answer is about.
    most: u64,
    denials: u8,
}

/// The window of a cell log and the grain of its cells, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cells {
    window: u64,
    grain: u64,
}

/// A quota of a log.
#[derive(Clone, Copy, Debug)]
pub(super) struct QuotaSlot {
    /// Its place in the plan. `None` for a window that only other plans of the history limit.
    pub(super) at: Option<usize>,
    pub(super) limit: u64,
    /// Its window, in microseconds.
    pub(super) window: u64,
}

impl Layout {
    pub(crate) fn new(plan: &Plan) -> Self {
        let cells = Cells::of_plan(plan);
        let exact = Encoding::exact(plan, &cells);
        let denials = u8::from(plan.counts_denied()) * COUNTS_DENIED;
        let logs = cells.into_iter().enumerate().map(|(at, cells)| {
            Encoding::of_cells(cells, places(plan, Counted::InBuckets(at)), plan.tick(), plan.most_units(), denials)
        });
        Self { logs: std::iter::once(exact).chain(logs).collect(), quotas: plan.windows().len(), has_costs: false }
    }

    /// The logs of a plan with costs, whose histories all of these policies judge: every quota counts cells, and the exact log
    /// answers for none.
    pub(crate) fn with_costs(policy: &Policy, all: &[Policy]) -> Self {
        let plan = Plan::among(policy, all);
        let cells = Cells::with_costs(plan.tick(), all);
        let exact = Encoding::listing(plan.tick(), plan.counts_denied(), &cells);
        let own = plan.windows().iter().enumerate().map(|(at, window)| (Some(at), window));
        let all_places: Vec<_> = own.chain(plan.unlimited().iter().map(|window| (None, window))).collect();
        let most = all.iter().flat_map(Policy::quotas).map(Quota::limit).max().unwrap_or(1);
        let denials = u8::from(plan.counts_denied()) * COUNTS_DENIED;
        let logs = cells.into_iter().map(|cells| {
            let of_it = all_places.iter().filter(|(_, window)| plan.micros(window.ticks) == cells.window);
            let places = of_it.map(|(at, window)| QuotaSlot { at: *at, limit: window.limit, window: cells.window });
            let mut places: Box<[QuotaSlot]> = places.collect();
            places.sort_by_key(|place| place.limit);
            Encoding::of_cells(cells, places, plan.tick(), most, denials)
        });
        Self { logs: std::iter::once(exact).chain(logs).collect(), quotas: plan.windows().len(), has_costs: true }
    }

    /// Whether a charge may cost other than one unit.
    pub(crate) const fn has_costs(&self) -> bool {
        self.has_costs
    }

    /// Checks that the script can count by all windows of each history.
    pub(super) fn validate(scopes: &Scopes) -> Result<(), ConfigError> {
        for (scope, judge) in scopes.judges() {
            let windows = judge.plan.windows().len() + judge.plan.unlimited().len();
            if windows > MOST_WINDOWS {
                let reason = format!("the tiers of a rule have at most {MOST_WINDOWS} windows together in this store");
                return Err(ConfigError::new("tiers: windows", windows, reason).in_rule(scope.name()));
            }
        }
        Ok(())
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &Encoding> {
        self.logs.iter()
    }

    /// Quotas of the plan, without windows that only other plans limit.
    pub(crate) const fn quotas(&self) -> usize {
        self.quotas
    }

    /// The same, kept for at least so long: a test's time has nothing to do with the server's.
    #[cfg(test)]
    pub(super) fn kept_for(mut self, millis: u64) -> Self {
        for log in &mut self.logs {
            log.argument[11..17].copy_from_slice(&low_bytes::<6>(millis));
        }
        self
    }

    /// The same with a limit that no policy has yet, of the only quota of each log.
    #[cfg(test)]
    pub(super) fn limited_to(mut self, limit: u64) -> Self {
        for log in self.logs.iter_mut().filter(|log| !log.quotas.is_empty()) {
            log.argument[27..33].copy_from_slice(&low_bytes::<LIMIT>(limit));
            log.argument[40..46].copy_from_slice(&low_bytes::<LIMIT>(limit));
        }
        self
    }
}

impl Encoding {
    fn exact(plan: &Plan, cells: &[Cells]) -> Self {
        let quotas = places(plan, Counted::Exactly);
        let window = quotas.first().map_or(0, |longest| longest.window);
        let most = plan.exact().map_or(1, |exact| exact.capacity as u64);
        let settings = EncodingSettings {
            tick: plan.tick(),
            width: stamp_width(plan, window),
            time_to_live: time_to_live(plan.micros(plan.horizon())),
            window,
            kept: kept(plan.tick(), cells, most),
            most,
            denials: denials(plan, &quotas),
        };
        let mut argument = settings.told(tag(quotas.len() as u8, &windows(&quotas)), &quotas);
        argument.extend(cells.iter().flat_map(Cells::told));
        Self { suffix: String::new(), argument, quotas }
    }

    /// An exact log that answers for no quota.
    fn listing(tick: Tick, counts_denied: bool, cells: &[Cells]) -> Self {
        let horizon = cells.iter().map(|cells| cells.window + cells.grain).max().unwrap_or(0);
        let settings = EncodingSettings {
            tick,
            width: 4,
            time_to_live: time_to_live(horizon),
            window: 0,
            kept: kept(tick, cells, 1),
            most: 1,
            denials: u8::from(counts_denied) * COUNTS_DENIED,
        };
        let mut argument = settings.told(tag(0, &[]), &[]);
        argument.extend(cells.iter().flat_map(Cells::told));
        Self { suffix: String::new(), argument, quotas: Box::default() }
    }

    fn of_cells(Cells { window, grain }: Cells, quotas: Box<[QuotaSlot]>, tick: Tick, most: u64, denials: u8) -> Self {
        let settings = EncodingSettings {
            tick,
            width: CELL,
            time_to_live: time_to_live(window + grain),
            window,
            kept: tick.micros() << TICK,
            most,
            denials,
        };
        let mut argument = settings.told(tag(CELLS, &[]), &quotas);
        argument.extend(low_bytes::<7>(grain));
        Self { suffix: format!(":{window}.{grain}"), argument, quotas }
    }

    /// What follows the key in the name of this log; empty for the first.
    pub(crate) fn suffix(&self) -> &str {
        &self.suffix
    }

    /// What the script is told of this log.
    pub(crate) fn argument(&self) -> &[u8] {
        &self.argument
    }

    /// Whether this is a cell log.
    pub(super) fn is_cells(&self) -> bool {
        self.argument.get(WIDTH) == Some(&CELL)
    }

    /// The quotas it answers for, in the order of the answers.
    pub(super) fn quotas(&self) -> &[QuotaSlot] {
        &self.quotas
    }
}

impl EncodingSettings {
    /// The whole of it, as `header.lua` says, up to the quotas.
    fn told(&self, tag: Vec<u8>, quotas: &[QuotaSlot]) -> Vec<u8> {
        let mut argument = tag;
        argument.extend([self.width, self.denials, quotas.len() as u8]);
        argument.extend(low_bytes::<2>(self.tick.micros()));
        argument.extend(low_bytes::<6>(self.time_to_live));
        argument.extend(low_bytes::<7>(self.window));
        argument.extend(low_bytes::<3>(self.kept));
        argument.extend(low_bytes::<LIMIT>(self.most));
        argument.extend(quotas.iter().flat_map(QuotaSlot::told));
        argument
    }
}

impl Cells {
    /// Those of the large quotas of a plan.
    fn of_plan(plan: &Plan) -> Vec<Self> {
        let specs = plan.bucket_specs().iter();
        specs.map(|spec| Self { window: plan.micros(spec.window), grain: plan.micros(spec.ticks) }).collect()
    }

    /// One for each window that any of these policies has, shortest first. Small limits are counted to the millisecond, but where
    /// one of the policies does not limit the window there is no telling how many cells that makes.
    fn with_costs(tick: Tick, all: &[Policy]) -> Vec<Self> {
        let mut limits: BTreeMap<u64, Vec<Option<u64>>> = BTreeMap::new();
        for (at, policy) in all.iter().enumerate() {
            for quota in policy.quotas() {
                let window = tick.count(quota.window()).saturating_mul(tick.micros());
                let of_window = limits.entry(window).or_insert_with(|| vec![None; all.len()]);
                if let Some(limit) = of_window.get_mut(at) {
                    *limit = Some(limit.map_or(quota.limit(), |other| other.min(quota.limit())));
                }
            }
        }
        let resolution = all.first().map_or(1, |policy| u64::from(policy.entries_per_window()));
        let is_small =
            |limits: &[Option<u64>]| limits.iter().all(|limit| limit.is_some_and(|limit| limit <= resolution));
        let grain = |window: u64, limits: &[Option<u64>]| match window / tick.micros() / resolution {
            _ if is_small(limits) => FINEST_CELL,
            ticks => ticks.max(1).saturating_mul(tick.micros()),
        };
        limits.iter().map(|(window, limits)| Self { window: *window, grain: grain(*window, limits) }).collect()
    }

    fn told(&self) -> Vec<u8> {
        [low_bytes::<7>(self.window), low_bytes::<7>(self.grain)].concat()
    }
}

impl QuotaSlot {
    fn told(&self) -> Vec<u8> {
        [&low_bytes::<7>(self.window)[..], &low_bytes::<LIMIT>(self.limit)].concat()
    }
}

/// The low bytes of a stamp tell it from all others that are up to two windows older.
const fn stamp_width(plan: &Plan, window: u64) -> u8 {
    if window <= plan.micros(Plan::LONGEST_COMPACT_WINDOW) { 4 } else { 6 }
}

/// The quotas that are counted there, the longest window first and of those the smallest limit. Windows that only other plans
/// limit are among them, so that all plans of a shape ask for the same.
fn places(plan: &Plan, counted: Counted) -> Box<[QuotaSlot]> {
    let own = plan.windows().iter().enumerate().map(|(at, window)| (Some(at), window));
    let all = own.chain(plan.unlimited().iter().map(|window| (None, window)));
    let places = all.filter(|(_, window)| window.counted == counted);
    let mut places: Box<[QuotaSlot]> =
        places.map(|(at, window)| QuotaSlot { at, limit: window.limit, window: plan.micros(window.ticks) }).collect();
    places.sort_by_key(|place| (Reverse(place.window), place.limit));
    places
}

/// What an exact log is told of units that no limit holds back: where the plan does not limit the longest window, the script
/// has to see to it that no more are kept than any answer is about.
fn denials(plan: &Plan, quotas: &[QuotaSlot]) -> u8 {
    let is_unbounded = quotas.first().is_some_and(|longest| longest.at.is_none());
    if plan.counts_denied() { COUNTS_DENIED } else { u8::from(is_unbounded) * IS_UNBOUNDED }
}

/// What a log and an argument begin with. Limits are not part of it: they change what a log is compared with.
fn tag(kind: u8, windows: &[u8]) -> Vec<u8> {
    let hash = if windows.is_empty() { [0; 4] } else { low_bytes::<4>(hash(windows)) };
    [&[MAGIC, kind], &hash[..]].concat()
}

fn windows(quotas: &[QuotaSlot]) -> Vec<u8> {
    quotas.iter().flat_map(|quota| low_bytes::<7>(quota.window)).collect()
}

/// What is kept besides the window, in one number of the header: what is asked for, which power of two the most units are, the number of cell logs beside it, and the tick.
fn kept(tick: Tick, cells: &[Cells], most: u64) -> u64 {
    let most = u64::from(most.next_power_of_two().trailing_zeros());
    ASKED | most << MOST | (cells.len() as u64) << BESIDE | tick.micros() << TICK
}

/// Twice what the newest unit needs, in whole milliseconds, so that it has to be renewed only once per window; for the
/// shortest windows a second more, so that it is not renewed all the time.
const fn time_to_live(longest: u64) -> u64 {
    (longest * 2).div_ceil(1000) + 1000
}

/// Tells the windows of one policy from those of another, in all processes alike.
fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(bytes);
    hasher.finish()
}

/// The lowest `N` bytes of a number, the lowest first.
pub(super) fn low_bytes<const N: usize>(number: u64) -> [u8; N] {
    std::array::from_fn(|at| (number >> (8 * at)) as u8)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::policy::{Policy, Quota};
    use crate::store::Registration;

    const TAG: usize = 6;

    fn logs(policy: &str) -> Layout {
        Layout::new(&Plan::new(&policy.parse().unwrap()))
    }

    fn quotas(log: &Encoding) -> Vec<usize> {
        log.quotas().iter().filter_map(|place| place.at).collect()
    }

    #[test]
    fn exact_quotas_share_one_log_and_the_longest_is_first() {
        let logs = logs("60/minute, 1800/hour");
        let log = logs.iter().next().unwrap();
        assert_eq!((logs.iter().len(), log.suffix(), quotas(log)), (1, "", vec![1, 0]));
        assert_eq!(log.argument()[..2], [b'T', 2]);
        assert_eq!(log.argument()[6..11], [4, 0, 2, 4, 0]);
    }

    #[test]
    fn every_large_window_has_a_log_of_its_own_named_for_it() {
        let (alone, logs) = (logs("20000/hour"), logs("a=20000/hour, b=600/minute, c=30000/hour, 100000/day"));
        let all: Vec<_> = logs.iter().map(|log| (log.suffix(), quotas(log))).collect();
        assert_eq!(all, [("", vec![1]), (":3600000000.878900", vec![0, 2]), (":86400000000.21093600", vec![3])]);
        let all: Vec<_> = alone.iter().map(|log| (log.suffix(), quotas(log))).collect();
        assert_eq!(all, [("", vec![]), (":3600000000.878904", vec![0])]);
    }

    #[test]
    fn stamps_are_wider_where_the_window_is_longer_than_twelve_days() {
        let width = |policy| logs(policy).iter().last().unwrap().argument()[WIDTH];
        assert_eq!((width("5/12d"), width("5/13d"), width("5000/13d")), (4, 6, 9));
    }

    #[test]
    fn other_windows_have_other_tags_and_other_limits_have_not() {
        let tag = |policy| logs(policy).iter().next().unwrap().argument()[..6].to_vec();
        assert_eq!(tag("60/minute"), tag("61/minute"));
        assert_ne!(tag("60/minute"), tag("60/61s"));
        assert_ne!(tag("60/minute"), tag("60/minute, 60/hour"));
    }

    #[test]
    fn more_windows_than_the_script_can_tell_apart_are_a_mistake() {
        let of = |windows: std::ops::Range<u64>| -> Policy {
            let quota = |secs| Quota::new(60, Duration::from_secs(secs)).named(format!("q{secs}"));
            windows.map(quota).collect()
        };
        let checked = |tiers: &[Policy]| {
            let scopes = Scopes::default();
            scopes.register(&Registration::counting_requests("calls", tiers)).unwrap();
            Layout::validate(&scopes)
        };
        assert!(checked(&[of(1..17), of(17..32)]).is_ok());
        let error = checked(&[of(1..17), of(17..33)]).unwrap_err();
        assert_eq!((error.rule(), error.field(), error.value()), (Some("calls"), "tiers: windows", "32"));
    }

    #[test]
    fn the_order_of_quotas_and_tiers_changes_nothing_of_a_log() {
        let tiers: Vec<Policy> = ["60/minute", "600/hour, 9/second"].map(|tier| tier.parse().unwrap()).into();
        let back: Vec<Policy> = ["9/second, 600/hour", "60/minute"].map(|tier| tier.parse().unwrap()).into();
        let tag = |of: &Policy, all: &[Policy]| {
            Layout::new(&Plan::among(of, all)).iter().next().unwrap().argument()[..TAG].to_vec()
        };
        let expected = tag(&tiers[0], &tiers);
        assert!(
            [(&tiers[1], &tiers), (&back[0], &back), (&back[1], &back)]
                .iter()
                .all(|(of, all)| tag(of, all) == expected)
        );
    }

    #[test]
    fn what_is_kept_is_one_number() {
        let told = |policy| {
            let argument = logs(policy).iter().next().unwrap().argument().to_vec();
            let number =
                |at, len| argument[at..at + len].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
            let kept: u64 = number(24, 3);
            (number(17, 7), kept & ASKED, kept >> MOST & 31, kept >> BESIDE & 31, kept >> TICK, number(27, 6))
        };
        assert_eq!(told("60/minute, 1800/hour"), (3_600_000_000, 3, 11, 0, 4, 1800));
        assert_eq!(told("64/minute, 18000/hour, 1000000/day"), (60_000_000, 3, 6, 2, 100, 64));
        assert_eq!(told("18000/hour"), (0, 3, 0, 1, 4, 1));
    }
}
