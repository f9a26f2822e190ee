//! What is measured: something that decides about keys.

use std::time::Duration;

/// A limiter, or several that are asked one after the other.
pub(crate) trait Subject: Send + Sync {
    /// Whether one more request of this key is admitted.
    #[expect(clippy::ptr_arg, reason = "governor's look-up wants the very type of its keys")]
    fn decide(&self, key: &String) -> bool;
}

impl<F> Subject for F
where
    F: Fn(&String) -> bool + Send + Sync,
{
    fn decide(&self, key: &String) -> bool {
        self(key)
    }
}

impl Subject for Box<dyn Subject> {
    fn decide(&self, key: &String) -> bool {
        self.as_ref().decide(key)
    }
}

/// So many requests in any such window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) units: u32,
    pub(crate) window: Duration,
}

impl Limit {
    pub(crate) const fn new(units: u32, window: Duration) -> Self {
        Self { units, window }
    }

    /// The time in which a token bucket gains one token; none takes less than a nanosecond.
    pub(crate) fn interval(self) -> Duration {
        (self.window / self.units).max(Duration::from_nanos(1))
    }

    /// The same limit in a shorter window, for trials in real time: a minute becomes 1.2 seconds, an hour 3.6.
    pub(crate) fn scaled_down(self) -> Self {
        let window = if self.window > MINUTE.window { 3600 } else { 1200 };
        Self::new(self.units, Duration::from_millis(window))
    }
}

pub(crate) const MINUTE: Limit = Limit::new(60, Duration::from_secs(60));
pub(crate) const HOUR: Limit = Limit::new(1800, Duration::from_secs(3600));

/// How quickly the time of a workload goes by, so that the wished share of the requests is admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// One request in 2.2 seconds: all are admitted, and an hour remembers 1600 of them.
    Admitting,
    /// One request in 5 milliseconds over all keys: of 100,000 with a Zipf distribution about three in four are admitted.
    Turning,
    /// As it is: a hot key is denied, and a key that comes seldom is admitted.
    Real,
    /// One request in so much time, where it can be injected.
    Every(Duration),
}

impl Pace {
    /// The time from one request to the next, where it can be injected.
    pub(crate) const fn step(self) -> Option<Duration> {
        match self {
            Self::Admitting => Some(Duration::from_millis(2200)),
            Self::Turning => Some(Duration::from_millis(5)),
            Self::Real => None,
            Self::Every(step) => Some(step),
        }
    }

    /// By how much a window is shortened for libraries whose clock cannot be replaced: as if a decision took 10 or 150
    /// nanoseconds.
    const fn speed(self) -> u32 {
        match self {
            Self::Admitting => 220_000_000,
            Self::Turning => 33_000,
            Self::Real | Self::Every(_) => 1,
        }
    }
}

/// What a subject has to enforce, and at what pace.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) limits: Vec<Limit>,
    pub(crate) pace: Pace,
    /// Of those that bound their keys.
    pub(crate) max_keys: usize,
}

impl Setup {
    pub(crate) fn new(limits: &[Limit], pace: Pace) -> Self {
        Self { limits: limits.to_vec(), pace, max_keys: 10_000_000 }
    }

    /// The limits for a library that reads a clock of its own.
    pub(crate) fn shortened(&self) -> impl Iterator<Item = Limit> {
        let speed = self.pace.speed();
        self.limits.iter().map(move |limit| Limit::new(limit.units, limit.window / speed))
    }

    /// The limits for a library that cannot shorten its windows either: those that admit everything are very large.
    pub(crate) fn plentiful(&self) -> impl Iterator<Item = Limit> {
        let is_plenty = self.pace == Pace::Admitting;
        self.limits.iter().map(move |limit| if is_plenty { Limit::new(PLENTY, limit.window) } else { *limit })
    }
}

/// More than any benchmark asks for.
const PLENTY: u32 = 4_000_000_000;

/// What layers that cannot be given a clock are given, in order to admit everything.
pub(crate) const ANYTHING: Limit = Limit::new(1_000_000_000, Duration::from_secs(1));

/// One limiter per limit, asked one after the other: what a library without composite limits leaves to its users.
pub(crate) fn stacked<S>(limits: impl Iterator<Item = Limit>, new: impl Fn(Limit) -> S) -> Box<dyn Subject>
where
    S: Subject + 'static,
{
    let mut subjects: Vec<S> = limits.map(new).collect();
    match (subjects.pop(), subjects.pop()) {
        (Some(last), None) => Box::new(last),
        (Some(last), Some(first)) => Box::new(move |key: &String| first.decide(key) && last.decide(key)),
        (None, _) => unreachable!("a setup has a limit"),
    }
}
