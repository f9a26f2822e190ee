//! The strings that a history consists of on a server.

use std::{cmp::Reverse, hash::Hasher};

use siphasher::sip::SipHasher13;

use crate::history::{Counted, Plan};

/// A log that begins with anything else is not ours. A new layout gets a new one.
const MAGIC: u8 = b'Q';

/// The logs of a plan: one exact log if any of its quotas is counted exactly, and a cell log per grain.
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

/// What a log has one of per entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// A stamp of so many bytes.
    Exact { width: u8 },
    /// A cell of so many milliseconds; the window needs at most so many.
    Cells { grain: u64, most: u32, is_last: bool },
}

impl Logs {
    pub(crate) fn of(plan: &Plan) -> Self {
        let exact = plan.exact().map(|exact| (Counted::Exactly, Shape::Exact { width: stamp_width(exact.ticks) }));
        let last = plan.grains().len().saturating_sub(1);
        let cells = plan.grains().iter().enumerate().map(|(at, grain)| {
            let most = u32::try_from(grain.cells).unwrap_or(u32::MAX);
            (Counted::UpToLayer(at), Shape::Cells { grain: grain.ticks, most, is_last: at == last })
        });
        let logs = exact.into_iter().chain(cells).enumerate();
        let logs = logs.map(|(number, (counted, shape))| Log::new(number, shape, places(plan, counted), plan));
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
    fn new(number: usize, shape: Shape, quotas: Box<[Place]>, plan: &Plan) -> Self {
        let suffix = if number == 0 { String::new() } else { format!(":{number}") };
        let argument = argument(shape, &quotas, plan.counts_denied());
        Self { suffix, argument, quotas }
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

impl Shape {
    const fn entry_bytes(self) -> u8 {
        match self {
            Self::Exact { width } => width,
            Self::Cells { .. } => 8,
        }
    }

    const fn grain(self) -> u64 {
        match self {
            Self::Exact { .. } => 1,
            Self::Cells { grain, .. } => grain,
        }
    }

    /// The shape and the number of quotas in one byte, so that the script finds its way in a log of another policy.
    const fn with_quotas(self, quotas: usize) -> u8 {
        let kind = match self {
            Self::Exact { width: 4 } => 0,
            Self::Exact { .. } => 1,
            Self::Cells { .. } => 2,
        };
        (kind << 4) | (quotas.saturating_sub(1) as u8 & 15)
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

/// As `decide.lua` says at its beginning.
fn argument(shape: Shape, quotas: &[Place], counts_denied: bool) -> Vec<u8> {
    let mut windows = Vec::new();
    for quota in quotas {
        windows.extend(low_bytes::<6>(quota.millis));
        windows.extend(quota.limit.to_le_bytes());
    }
    if let Shape::Cells { grain, most, is_last } = shape {
        windows.extend(low_bytes::<6>(grain));
        windows.extend(most.to_le_bytes());
        windows.push(u8::from(is_last));
    }
    let mut argument = vec![MAGIC, shape.with_quotas(quotas.len())];
    argument.extend(low_bytes::<4>(hash(&windows)));
    argument.extend([shape.entry_bytes(), u8::from(counts_denied), quotas.len() as u8]);
    argument.extend(low_bytes::<6>(time_to_live(shape, quotas)));
    argument.extend(windows);
    argument
}

/// Twice what the newest unit needs, so that it has to be renewed only once per window; for the shortest windows a second
/// more, so that it is not renewed all the time.
fn time_to_live(shape: Shape, quotas: &[Place]) -> u64 {
    let longest = quotas.iter().map(|quota| quota.millis).max().unwrap_or(0);
    (longest + shape.grain()) * 2 + 1000
}

/// Tells the quotas of one policy from those of another, in all processes alike.
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
    use crate::policy::Policy;

    fn logs(policy: &str) -> Logs {
        Logs::of(&Plan::of(&policy.parse::<Policy>().unwrap()))
    }

    fn quotas(log: &Log) -> Vec<usize> {
        log.quotas().iter().map(|place| place.at).collect()
    }

    #[test]
    fn exact_quotas_share_one_log_and_the_longest_is_first() {
        let logs = logs("60/minute, 1800/hour");
        let log = logs.iter().next().unwrap();
        assert_eq!((logs.iter().len(), log.suffix(), quotas(log)), (1, "", vec![1, 0]));
        assert_eq!(log.argument()[..2], [b'Q', 1]);
        assert_eq!(log.argument()[6..9], [4, 0, 2]);
    }

    #[test]
    fn every_large_window_has_a_log_of_its_own() {
        let logs = logs("a=20000/hour, b=600/minute, c=30000/hour, 100000/day");
        let all: Vec<_> = logs.iter().map(|log| (log.suffix(), quotas(log))).collect();
        assert_eq!(all, [("", vec![1]), (":1", vec![0, 2]), (":2", vec![3])]);
    }

    #[test]
    fn stamps_are_wider_where_the_window_is_longer_than_twelve_days() {
        let width = |policy| logs(policy).iter().next().unwrap().argument()[6];
        assert_eq!((width("5/12d"), width("5/13d"), width("5000/13d")), (4, 6, 8));
    }

    #[test]
    fn other_limits_and_other_windows_have_other_tags() {
        let tag = |policy| logs(policy).iter().next().unwrap().argument()[..6].to_vec();
        assert_eq!(tag("60/minute"), tag("60/minute"));
        assert_ne!(tag("60/minute"), tag("61/minute"));
        assert_ne!(tag("60/minute"), tag("60/61s"));
    }
}
