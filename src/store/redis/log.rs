//! The strings that a history consists of on a server.

use std::{cmp::Reverse, hash::Hasher};

use siphasher::sip::SipHasher13;

use crate::history::{BucketSpec, Counted, Plan};

/// A log that begins with anything else is not ours. A new layout gets a new one.
const MAGIC: u8 = b'R';

/// What stands in the tag of a cell log in place of the number of quotas.
const CELLS: u8 = 32;

/// What an exact log keeps is told in one number: its longest window in so many bits, above that whether anybody asks for
/// it, then in five bits as which power of two the most units, and the number of cell logs beside it.
const WINDOW_BITS: u32 = 42;

/// The logs of a plan: an exact log, which may answer for no quota but lists the others, and a cell log per grain.
#[derive(Debug)]
pub(crate) struct Logs {
    logs: Box<[Log]>,
    quotas: usize,
}

/// One log: its name, what the script is told of it, and which quotas it answers for.
#[derive(Debug)]
pub(crate) struct Log {
    suffix: String,
    argument: Vec<u8>,
    quotas: Box<[Place]>,
}

/// A quota of a log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Its place in the plan.
    pub(super) at: usize,
    pub(super) limit: u32,
    pub(super) millis: u64,
}

impl Logs {
    pub(crate) fn new(plan: &Plan) -> Self {
        let cells = plan.bucket_specs().iter().enumerate().map(|(at, grain)| Log::of_cells(plan, at, grain));
        let logs = std::iter::once(Log::exact(plan)).chain(cells);
        Self { logs: logs.collect(), quotas: plan.windows().len() }
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &Log> {
        self.logs.iter()
    }

    /// Quotas of the plan.
    pub(crate) const fn quotas(&self) -> usize {
        self.quotas
    }

    /// The same, kept for at least so long: a test's time has nothing to do with the server's.
    #[cfg(test)]
    pub(super) fn kept_for(mut self, millis: u64) -> Self {
        for log in &mut self.logs {
            log.argument[9..15].copy_from_slice(&low_bytes::<6>(millis));
        }
        self
    }
}

impl Log {
    fn exact(plan: &Plan) -> Self {
        let quotas = places(plan, Counted::Exactly);
        let width = stamp_width(quotas.first().map_or(0, |longest| longest.millis));
        let kept = kept(&quotas, plan.bucket_specs().len());
        let mut argument = tag(quotas.len() as u8, &windows(&quotas));
        argument.extend([width, u8::from(plan.counts_denied()), quotas.len() as u8]);
        argument.extend(low_bytes::<6>(time_to_live(plan.horizon())));
        argument.extend(low_bytes::<7>(kept));
        argument.extend(told(&quotas));
        argument.extend(plan.bucket_specs().iter().flat_map(beside));
        Self { suffix: String::new(), argument, quotas }
    }

    fn of_cells(plan: &Plan, at: usize, grain: &BucketSpec) -> Self {
        let quotas = places(plan, Counted::InBuckets(at));
        // Where denials count no more are told of than the longest of these quotas allows.
        let longest = places(plan, Counted::InBuckets(plan.bucket_specs().len().saturating_sub(1)));
        let most = longest.first().map_or(u32::MAX, |longest| longest.limit);
        let mut argument = tag(CELLS, &[]);
        argument.extend([8, u8::from(plan.counts_denied()), quotas.len() as u8]);
        argument.extend(low_bytes::<6>(time_to_live(grain.window + grain.ticks)));
        argument.extend(low_bytes::<7>(most.into()));
        argument.extend(told(&quotas));
        argument.extend(low_bytes::<6>(grain.ticks));
        Self { suffix: format!(":{}.{}", grain.window, grain.ticks), argument, quotas }
    }

    /// What follows the key in the name of this log; empty for the first.
    pub(crate) fn suffix(&self) -> &str {
        &self.suffix
    }

    /// What the script is told of this log.
    pub(crate) fn argument(&self) -> &[u8] {
        &self.argument
    }

    /// The quotas it answers for, in the order of the answers.
    pub(super) fn quotas(&self) -> &[Place] {
        &self.quotas
    }
}

/// The low bytes of a stamp tell it from all others that are up to two windows older.
const fn stamp_width(window: u64) -> u8 {
    if window <= Plan::LONGEST_COMPACT_WINDOW { 4 } else { 6 }
}

/// The quotas that are counted there, the longest window first and of those the smallest limit.
fn places(plan: &Plan, counted: Counted) -> Box<[Place]> {
    let windows = plan.windows().iter().enumerate().filter(|(_, window)| window.counted == counted);
    let mut places: Box<[Place]> =
        windows.map(|(at, window)| Place { at, limit: window.limit, millis: window.ticks }).collect();
    places.sort_by_key(|place| (Reverse(place.millis), place.limit));
    places
}

/// What a log and an argument begin with. Limits are not part of it: they change what a log is compared with.
fn tag(kind: u8, windows: &[u8]) -> Vec<u8> {
    let hash = if windows.is_empty() { [0; 4] } else { low_bytes::<4>(hash(windows)) };
    [&[MAGIC, kind], &hash[..]].concat()
}

fn windows(quotas: &[Place]) -> Vec<u8> {
    quotas.iter().flat_map(|quota| low_bytes::<6>(quota.millis)).collect()
}

/// The quotas, as `decide.lua` says at its beginning.
fn told(quotas: &[Place]) -> Vec<u8> {
    let told = |quota: &Place| [&low_bytes::<6>(quota.millis)[..], &quota.limit.to_le_bytes()].concat();
    quotas.iter().flat_map(told).collect()
}

/// What these quotas need an exact log to keep, with so many cell logs beside it.
fn kept(quotas: &[Place], beside: usize) -> u64 {
    let (window, most) = quotas.first().map_or((0, 1), |longest| (longest.millis, u64::from(longest.limit)));
    let most = u64::from(most.next_power_of_two().trailing_zeros());
    window | (1 | (most | (beside as u64) << 5) << 1) << WINDOW_BITS
}

fn beside(grain: &BucketSpec) -> Vec<u8> {
    [low_bytes::<6>(grain.window), low_bytes::<6>(grain.ticks)].concat()
}

/// Twice what the newest unit needs, so that it has to be renewed only once per window; for the shortest windows a second
/// more, so that it is not renewed all the time.
const fn time_to_live(longest: u64) -> u64 {
    longest * 2 + 1000
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
    use super::*;
    use crate::clock::Tick;

    fn logs(policy: &str) -> Logs {
        Logs::new(&Plan::counting_in(Tick::MILLISECOND, &policy.parse().unwrap()))
    }

    fn quotas(log: &Log) -> Vec<usize> {
        log.quotas().iter().map(|place| place.at).collect()
    }

    #[test]
    fn exact_quotas_share_one_log_and_the_longest_is_first() {
        let logs = logs("60/minute, 1800/hour");
        let log = logs.iter().next().unwrap();
        assert_eq!((logs.iter().len(), log.suffix(), quotas(log)), (1, "", vec![1, 0]));
        assert_eq!(log.argument()[..2], [b'R', 2]);
        assert_eq!(log.argument()[6..9], [4, 0, 2]);
    }

    #[test]
    fn every_large_window_has_a_log_of_its_own_named_for_it() {
        let (alone, logs) = (logs("20000/hour"), logs("a=20000/hour, b=600/minute, c=30000/hour, 100000/day"));
        let all: Vec<_> = logs.iter().map(|log| (log.suffix(), quotas(log))).collect();
        assert_eq!(all, [("", vec![1]), (":3600000.878", vec![0, 2]), (":86400000.21072", vec![3])]);
        let all: Vec<_> = alone.iter().map(|log| (log.suffix(), quotas(log))).collect();
        assert_eq!(all, [("", vec![]), (":3600000.878", vec![0])]);
    }

    #[test]
    fn stamps_are_wider_where_the_window_is_longer_than_twelve_days() {
        let width = |policy| logs(policy).iter().last().unwrap().argument()[6];
        assert_eq!((width("5/12d"), width("5/13d"), width("5000/13d")), (4, 6, 8));
    }

    #[test]
    fn other_windows_have_other_tags_and_other_limits_have_not() {
        let tag = |policy| logs(policy).iter().next().unwrap().argument()[..6].to_vec();
        assert_eq!(tag("60/minute"), tag("61/minute"));
        assert_ne!(tag("60/minute"), tag("60/61s"));
        assert_ne!(tag("60/minute"), tag("60/minute, 60/hour"));
    }

    #[test]
    fn what_is_kept_is_one_number() {
        let told = |policy| {
            let quotas = logs(policy).iter().next().unwrap().argument()[15..22].to_vec();
            let number = quotas.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
            (number % (1 << 42), number >> 42 & 1, number >> 43 & 31, number >> 48)
        };
        assert_eq!(told("60/minute, 1800/hour"), (3_600_000, 1, 11, 0));
        assert_eq!(told("64/minute, 18000/hour, 1000000/day"), (60_000, 1, 6, 2));
        assert_eq!(told("18000/hour"), (0, 1, 0, 1));
    }
}
