//! Looks at the first requests for signs of a mistake in the deployment.
//!
//! What is counted is counted for the first thousand requests, of the limiter or of a rule. After that a request costs a look
//! at each count, at memory that nobody writes to.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::{
    key::KeyBuilder,
    request::RequestKind,
    rule::{AppliesTo, OnMissing, Rule},
    warn::{SAMPLE, WarnOnce, Warning},
};

/// Out of a hundred: if so many requests do not carry the key then it is no matter of some clients.
const NEARLY_ALL: u32 = 90;

/// What is seen of the requests of a limiter.
#[derive(Debug)]
pub(super) struct Watch {
    requests: Sample,
    rules: Box<[Watched]>,
}

/// What is seen of the requests that one rule governs.
#[derive(Debug)]
struct Watched {
    name: Box<str>,
    level: Box<str>,
    may_be_idle: bool,
    on_missing: OnMissing,
    requests: Sample,
    without_key: AtomicU32,
    given: WarnOnce,
}

/// Counts up to [`SAMPLE`].
#[derive(Debug, Default)]
struct Sample(AtomicU32);

impl Watch {
    pub(super) fn new<K: RequestKind>(rules: &[Rule<K>]) -> Self {
        Self { requests: Sample::default(), rules: rules.iter().map(Watched::new).collect() }
    }

    /// Notes that a request was seen, after the keys that rules have looked for.
    #[inline]
    pub(super) fn note_request(&self) {
        if self.requests.is_open() && self.requests.ends_with_this() {
            self.rules.iter().for_each(Watched::warn_if_idle);
        }
    }

    /// Notes that a rule has looked for a key, and whether it was there.
    #[inline]
    pub(super) fn note_key(&self, rule: usize, key: &KeyBuilder<'_>, is_found: bool) {
        let Some(watched) = self.rules.get(rule) else { return };
        if let Some(warning) = key.warning() {
            watched.warn(warning());
        }
        if watched.requests.is_open() {
            watched.note(is_found);
        }
    }
}

impl Watched {
    fn new<K: RequestKind>(rule: &Rule<K>) -> Self {
        Self {
            name: rule.name().into(),
            level: (*rule.level_name()).into(),
            may_be_idle: matches!(rule.applies_to(), AppliesTo::Unmatched | AppliesTo::NoRequests),
            on_missing: rule.missing_outcome(),
            requests: Sample::default(),
            without_key: AtomicU32::new(0),
            given: WarnOnce::default(),
        }
    }

    #[cold]
    fn note(&self, is_found: bool) {
        let missing = self.without_key.fetch_add(u32::from(!is_found), Ordering::Relaxed) + u32::from(!is_found);
        if self.requests.ends_with_this() && missing >= self.suspicious() {
            self.warn(Warning::KeyMissing(missing.min(SAMPLE)));
        }
    }

    /// How many requests of a sample have to lack the key. Who lets them pass, or turns them away, does so on purpose, and yet
    /// some request should have it.
    const fn suspicious(&self) -> u32 {
        match self.on_missing {
            OnMissing::Share => SAMPLE * NEARLY_ALL / 100,
            OnMissing::Skip | OnMissing::Reject(_) => SAMPLE,
        }
    }

    fn warn_if_idle(&self) {
        if !self.may_be_idle && self.requests.is_empty() {
            self.warn(Warning::RuleIdle);
        }
    }

    #[cold]
    fn warn(&self, warning: Warning) {
        self.given.warn(warning, &self.name, &self.level);
    }
}

impl Sample {
    #[inline]
    fn is_open(&self) -> bool {
        self.0.load(Ordering::Relaxed) < SAMPLE
    }

    fn is_empty(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    /// Counts one more; says whether it is the last one.
    #[cold]
    fn ends_with_this(&self) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed) + 1 == SAMPLE
    }
}
