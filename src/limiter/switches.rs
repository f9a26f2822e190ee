//! How each rule is enforced at the moment.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use crate::{
    limiter::{CompiledRule, Rulebook},
    policy::Enforcement,
    rule::RuleId,
};

/// The enforcement of each rule, which may change while requests go on.
#[derive(Debug)]
pub(crate) struct Switches {
    /// `false` while all rules are enforced: nearly always there is nothing more to read.
    has_others: AtomicBool,
    /// By the numbers of the rules.
    rules: Box<[AtomicU8]>,
}

impl Switches {
    /// Creates switches as the rules were given.
    pub(super) fn new(rulebook: &Rulebook) -> Self {
        let configured = rulebook.rules().map(CompiledRule::configured_enforcement);
        let switches = Self {
            has_others: AtomicBool::new(false),
            rules: configured.map(|enforcement| AtomicU8::new(enforcement as u8)).collect(),
        };
        switches.note_others();
        switches
    }

    /// Returns `true` if some rule is not enforced.
    #[inline]
    pub(super) fn has_others(&self) -> bool {
        self.has_others.load(Ordering::Relaxed)
    }

    /// Returns the enforcement of a rule.
    #[inline]
    pub(super) fn enforcement(&self, rule: RuleId) -> Enforcement {
        if self.has_others() { self.read(rule) } else { Enforcement::On }
    }

    /// Returns the enforcement of a rule that is to be looked at; `None` if it is off.
    #[inline]
    pub(super) fn unless_off(&self, rule: RuleId) -> Option<Enforcement> {
        Some(self.enforcement(rule)).filter(|enforcement| *enforcement != Enforcement::Off)
    }

    /// Sets the enforcement of a rule. To be called by one thread at a time.
    pub(super) fn set(&self, rule: RuleId, enforcement: Enforcement) {
        if let Some(switch) = self.rules.get(rule.index()) {
            switch.store(enforcement as u8, Ordering::Relaxed);
        }
        self.note_others();
    }

    fn note_others(&self) {
        let is_other = |switch: &AtomicU8| switch.load(Ordering::Relaxed) != Enforcement::On as u8;
        self.has_others.store(self.rules.iter().any(is_other), Ordering::Release);
    }

    #[cold]
    fn read(&self, rule: RuleId) -> Enforcement {
        let switch = self.rules.get(rule.index());
        switch.map_or(Enforcement::On, |switch| Enforcement::from_number(switch.load(Ordering::Relaxed)))
    }
}
