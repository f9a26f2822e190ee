//! Watches the first requests for signs of a deployment mistake.
//!
//! Only the first requests are counted: ten thousand of the limiter, and a thousand of each rule. A later request costs a look at
//! each count, in memory that nobody writes any more.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use crate::{
    key::KeyBuilder,
    observe::Observer,
    request::RequestKind,
    rule::{AppliesTo, OnMissing, Rule, RuleId},
    warn::{SAMPLE, WHOLE_SAMPLE, WarnOnce, Warning},
};

/// The percentage of requests without the key, all of which share one history, above which that is no matter of a few clients.
const TOLERATED: u32 = 10;

/// Counts the first requests of a limiter.
#[derive(Debug)]
pub(super) struct Watch {
    observer: Arc<Observer>,
    requests: Sample<WHOLE_SAMPLE>,
    rules: Box<[RuleWatch]>,
}

/// Counts the first requests that one rule governs.
#[derive(Debug)]
struct RuleWatch {
    name: Box<str>,
    level: Box<str>,
    may_be_idle: bool,
    on_missing: OnMissing,
    requests: Sample<SAMPLE>,
    without_key: AtomicU32,
    warnings: WarnOnce,
}

/// Counts up to so many requests.
#[derive(Debug, Default)]
struct Sample<const MOST: u32>(AtomicU32);

impl Watch {
    pub(super) fn new<K: RequestKind>(rules: &[Rule<K>], observer: &Arc<Observer>) -> Self {
        let observer = Arc::clone(observer);
        Self { observer, requests: Sample::default(), rules: rules.iter().map(RuleWatch::new).collect() }
    }

    /// Counts a request, after [`note_key`](Self::note_key) for each of its rules.
    #[inline]
    pub(super) fn note_request(&self) {
        if self.requests.is_open() && self.requests.ends_with_this() {
            for rule in &self.rules {
                rule.warn_if_idle(&self.observer);
            }
        }
    }

    /// Counts a request of a rule, and whether it carried the key.
    #[inline]
    pub(super) fn note_key(&self, rule: RuleId, key: &KeyBuilder<'_>, is_found: bool) {
        let Some(watched) = self.rules.get(rule.index()) else { return };
        if let Some(warning) = key.warning() {
            watched.warn(&self.observer, &warning());
        }
        if watched.requests.is_open() {
            watched.note(&self.observer, is_found);
        }
    }
}

impl RuleWatch {
    fn new<K: RequestKind>(rule: &Rule<K>) -> Self {
        Self {
            name: rule.name().into(),
            level: (*rule.level_name()).into(),
            // The first requests may all be exempt, such as health checks.
            may_be_idle: matches!(rule.applies_to(), AppliesTo::Unmatched | AppliesTo::NoRequests)
                || !rule.exemptions().is_empty(),
            on_missing: rule.missing_outcome(),
            requests: Sample::default(),
            without_key: AtomicU32::new(0),
            warnings: WarnOnce::default(),
        }
    }

    #[cold]
    fn note(&self, observer: &Observer, is_found: bool) {
        let missing = self.without_key.fetch_add(u32::from(!is_found), Ordering::Relaxed) + u32::from(!is_found);
        if self.requests.ends_with_this() && missing >= self.suspicious() {
            self.warn(observer, &Warning::KeyMissing(missing.min(SAMPLE)));
        }
    }

    /// Returns the number of requests in a sample without the key that is suspicious. A rule that skips or rejects them
    /// expects some, but hardly all of them.
    const fn suspicious(&self) -> u32 {
        match self.on_missing {
            OnMissing::Share => SAMPLE * TOLERATED / 100 + 1,
            OnMissing::Skip | OnMissing::Reject(_) => SAMPLE,
        }
    }

    fn warn_if_idle(&self, observer: &Observer) {
        if !self.may_be_idle && self.requests.is_empty() {
            self.warn(observer, &Warning::RuleIdle);
        }
    }

    #[cold]
    fn warn(&self, observer: &Observer, warning: &Warning) {
        if self.warnings.is_first(warning.check()) {
            observer.warn(warning, Some((&self.name, &self.level)));
        }
    }
}

impl<const MOST: u32> Sample<MOST> {
    #[inline]
    fn is_open(&self) -> bool {
        self.0.load(Ordering::Relaxed) < MOST
    }

    fn is_empty(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    /// Counts one more, and returns `true` if it is the last one of the sample.
    #[cold]
    fn ends_with_this(&self) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed) + 1 == MOST
    }
}
