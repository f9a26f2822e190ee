//! The observer of a limiter: gives events to the hook, counts, and remembers the warnings that were given.

#[cfg(feature = "metrics")]
use std::sync::{Arc, Weak};
use std::{
    fmt,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use parking_lot::Mutex;
#[cfg(feature = "metrics")]
use smallvec::SmallVec;

#[cfg(feature = "metrics")]
use crate::observe::meters::{CountedRule, DecisionMeters, LimiterMeters};
use crate::{
    clock::Timestamp,
    error::ConfigError,
    key::{Key, RawParts},
    observe::{
        Check, Event, Figures, KeyView, Outage, Reloaded, ShowKeys, Stopwatch, Warned, key_view::KeyViewer,
        names::Names,
    },
    warn::{Warning, log},
};

/// A closure that is called with every event.
pub(crate) type Hook = dyn Fn(&Event<'_>) + Send + Sync;

/// The maximum number of warnings that are remembered.
const MOST_WARNINGS: usize = 1000;
/// The nanoseconds between two looks at the figures of the store.
const LOOK_EVERY: u64 = 100_000_000;
/// A time from which every other is far, also in wrapping arithmetic.
const LONG_AGO: u64 = 1 << 63;

/// The settings of an observer.
#[derive(Default)]
pub(crate) struct ObserverSettings {
    pub(crate) hook: Option<Box<Hook>>,
    pub(crate) show_keys: ShowKeys,
    /// The checks that are off, as bits.
    pub(crate) without: u32,
    /// The maximum number of names that are remembered.
    pub(crate) names: usize,
    /// Whether nothing is to be counted.
    #[cfg(feature = "metrics")]
    pub(crate) is_uncounted: bool,
}

/// The observer of one limiter, whatever the version of its rules.
#[derive(Default)]
pub(crate) struct Observer {
    hook: Option<Box<Hook>>,
    keys: KeyViewer,
    without: u32,
    names: Names,
    warnings: Mutex<Vec<Warned>>,
    /// When the figures of the store were looked at last: by the clock of the store, and by that of the system where an answer is
    /// awaited or states no time.
    last_looks: [AtomicU64; 2],
    started: Option<Stopwatch>,
    is_out: AtomicBool,
    /// `None` in trials of rules that may never be used.
    #[cfg(feature = "metrics")]
    meters: Option<LimiterMeters>,
    /// Those of each version of the rules that is still used.
    #[cfg(feature = "metrics")]
    decisions: Mutex<Vec<Weak<DecisionMeters>>>,
}

impl Observer {
    /// Creates the observer of a limiter that is being built.
    pub(crate) fn new(settings: ObserverSettings) -> Self {
        Self {
            hook: settings.hook,
            keys: KeyViewer::new(settings.show_keys),
            without: settings.without,
            names: Names::new(settings.names),
            started: Some(Stopwatch::start()),
            last_looks: [const { AtomicU64::new(LONG_AGO) }; 2],
            #[cfg(feature = "metrics")]
            meters: (!settings.is_uncounted).then(LimiterMeters::register),
            ..Self::default()
        }
    }

    /// Returns `true` if somebody wants to know of every decision.
    pub(crate) const fn is_observing(&self) -> bool {
        #[cfg(feature = "metrics")]
        let counts = self.meters.is_some();
        #[cfg(not(feature = "metrics"))]
        let counts = false;
        self.hook.is_some() || counts || self.names.is_on()
    }

    /// Returns `true` if the names of keys are remembered.
    pub(crate) const fn remembers_names(&self) -> bool {
        self.names.is_on()
    }

    /// Remembers the name of a key that was denied.
    #[cold]
    pub(crate) fn remember(&self, key: Key, parts: &RawParts) {
        self.names.remember(key, parts);
    }

    /// Returns the name of a key, if it is known.
    pub(crate) fn name_of(&self, key: Key) -> Option<String> {
        self.names.get(key)
    }

    pub(crate) const fn has_hook(&self) -> bool {
        self.hook.is_some()
    }

    #[cfg(feature = "metrics")]
    pub(crate) const fn meters(&self) -> Option<&LimiterMeters> {
        self.meters.as_ref()
    }

    /// Returns the time since the limiter was built.
    #[cfg(feature = "tracing")]
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.map(Stopwatch::elapsed).unwrap_or_default()
    }

    /// Calls the hook. Nothing is locked by callers.
    pub(crate) fn emit(&self, event: &Event<'_>) {
        if let Some(hook) = &self.hook {
            hook(event);
        }
    }

    pub(crate) fn view(&self, key: Key) -> KeyView {
        self.keys.view(key)
    }

    /// Registers the metrics of rules, whose decisions are counted in so many copies; `None` if nothing is counted.
    #[cfg(feature = "metrics")]
    pub(crate) fn register<'a>(
        &self,
        rules: impl Iterator<Item = CountedRule<'a>>,
        copies: usize,
    ) -> Option<Arc<DecisionMeters>> {
        let meters = Arc::new(DecisionMeters::register(self.meters.as_ref()?, rules, copies));
        let mut all = self.decisions.lock();
        all.retain(|meters| meters.strong_count() > 0);
        all.push(Arc::downgrade(&meters));
        Some(meters)
    }

    /// Hands on all decisions that were counted so far.
    #[cfg(feature = "metrics")]
    fn hand_on(&self) {
        // There are two while rules are replaced. No recorder is called under the lock.
        let all: SmallVec<[_; 2]> = self.decisions.lock().iter().filter_map(Weak::upgrade).collect();
        all.iter().for_each(|meters| meters.hand_on());
    }

    /// Returns `true` if a check about the limiter is on, and has not found anything yet.
    #[cfg(feature = "redis")]
    pub(crate) fn is_on(&self, check: Check) -> bool {
        self.without & check.bit() == 0 && !self.warnings.lock().iter().any(|warned| warned.check == check)
    }

    /// Gives a warning, unless the check is off or the warning was given before. It is about a rule and its level, or about the
    /// limiter. To be called while nothing is locked.
    #[cold]
    pub(crate) fn warn(&self, warning: &Warning, about: Option<(&str, &str)>) {
        let check = warning.check();
        if self.without & check.bit() != 0 {
            return;
        }
        if let Some(warned) = self.first_warning(warning, about.map(|(rule, _)| rule)) {
            log(warning, about);
            #[cfg(feature = "metrics")]
            if let Some(meters) = &self.meters {
                meters.warned(check);
            }
            self.emit(&Event::Warned(&warned));
        }
    }

    /// Returns a warning that was not given before. A mistake may show in every request, so only the first one makes a text of it.
    fn first_warning(&self, warning: &Warning, rule: Option<&str>) -> Option<Warned> {
        let check = warning.check();
        // One rule may have several quotas that never deny. They leave room for what only requests can show.
        let (text, most) = match check {
            Check::QuotaIdle => (Some(warning.to_string()), MOST_WARNINGS / 2),
            _ => (None, MOST_WARNINGS),
        };
        let is_same = |other: &Warned| {
            (other.check, other.rule.as_deref()) == (check, rule)
                && text.as_ref().is_none_or(|text| other.text == *text)
        };
        let mut warnings = self.warnings.lock();
        if warnings.len() >= most || warnings.iter().any(is_same) {
            return None;
        }
        let text = text.unwrap_or_else(|| warning.to_string());
        let warned = Warned { check, rule: rule.map(str::to_owned), text };
        warnings.push(warned.clone());
        Some(warned)
    }

    /// Returns the warnings that were given so far.
    pub(crate) fn warnings(&self) -> Vec<Warned> {
        self.warnings.lock().clone()
    }

    /// Reports that the rules were replaced, or why not.
    pub(crate) fn reloaded(&self, result: Result<&[String], &ConfigError>) {
        #[cfg(feature = "tracing")]
        match result {
            Ok(changes) => {
                let (count, changes) = (changes.len(), changes.join("; "));
                tracing::info!(target: "tower_quota", count, "reloaded: {changes}");
            }
            Err(error) => tracing::error!(target: "tower_quota", "not reloaded, the rules stay as they are: {error}"),
        }
        #[cfg(feature = "metrics")]
        if let Some(meters) = &self.meters {
            meters.reloaded(result.is_ok());
        }
        self.emit(&Event::Reloaded(&Reloaded { result }));
    }

    /// Looks at the figures of the store and hands on what was counted, if the last look was long enough ago by its clock, or by
    /// that of the system if the answer has to be awaited.
    #[inline]
    pub(crate) fn look(&self, now: Option<Timestamp>, figures: impl FnOnce() -> Figures) {
        let [by_store, by_system] = &self.last_looks;
        // Stores of one's own need not state a time.
        let (last, now) = match now.map(Timestamp::nanos) {
            Some(now) if now > 0 => (by_store, now),
            _ => (by_system, self.started.map_or(0, |started| nanos(started.elapsed()))),
        };
        let looked = last.load(Ordering::Relaxed);
        if now.wrapping_sub(looked) >= LOOK_EVERY {
            self.look_again((last, looked, now), figures);
        }
    }

    #[cold]
    #[inline(never)]
    fn look_again(&self, (last, looked, now): (&AtomicU64, u64, u64), figures: impl FnOnce() -> Figures) {
        // One thread does.
        if last.compare_exchange(looked, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.look_now(&figures());
        }
    }

    /// Notes the figures of the store, and hands on what was counted.
    pub(crate) fn look_now(&self, figures: &Figures) {
        #[cfg(feature = "metrics")]
        self.hand_on();
        #[cfg(feature = "metrics")]
        if let Some(meters) = &self.meters {
            meters.note_figures(figures);
        }
        let is_out = figures.is_out;
        if self.is_out.swap(is_out, Ordering::Relaxed) != is_out {
            self.emit(&Event::Outage(&Outage { is_over: !is_out }));
        }
    }

    /// Notes how long the store took for an operation that was awaited.
    #[cfg_attr(not(feature = "metrics"), expect(clippy::missing_const_for_fn, reason = "its twin notes"))]
    pub(crate) fn note_duration(&self, operation: &'static str, began: Stopwatch) {
        #[cfg(feature = "metrics")]
        if let Some(meters) = &self.meters {
            meters.note_duration(operation, began.elapsed());
        }
        #[cfg(not(feature = "metrics"))]
        let _ = (operation, began);
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observer").field("has_hook", &self.has_hook()).finish_non_exhaustive()
    }
}

impl fmt::Debug for ObserverSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObserverSettings").field("show_keys", &self.show_keys).finish_non_exhaustive()
    }
}
