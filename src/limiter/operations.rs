//! The operator's hand on a limiter while requests go on: tiers of keys, and how rules are enforced.

use std::sync::{Arc, atomic::Ordering};

use hashbrown::HashMap;

use crate::{
    error::{UnknownRule, UnknownTier},
    key::KeyParts,
    limiter::{
        CompiledTier, RateLimiter,
        handle::{pushed_tiers, unknown_rule},
        tiers::PushedTiers,
    },
    policy::Enforcement,
    request::RequestKind,
    store::Store,
};

impl<K: RequestKind, S: Store> RateLimiter<K, S> {
    /// Sets the tier of a key for as long as this process runs, in place of what the rule says: for a customer whom support
    /// gives more. `None` returns the key to what the rule says.
    ///
    /// It holds from the next request on, with the same history. A reload of the rules keeps it; if the tier is gone then,
    /// it has no effect. Each process has its own; to set many, call [`replace_tiers`](Self::replace_tiers).
    ///
    /// # Errors
    ///
    /// If no rule has the name, or the rule has no such tier.
    pub fn set_tier(&self, rule: &str, key: impl KeyParts, tier: Option<&str>) -> Result<(), UnknownTier> {
        let pushed = self.pushed_to(rule, tier)?;
        pushed.set(self.key(key), tier);
        Ok(())
    }

    /// Replaces all tiers that were [set at run time](Self::set_tier) for a rule: for programs that read them from a database
    /// now and then.
    ///
    /// # Errors
    ///
    /// If no rule has the name, or the rule has no tier of one of the names. Nothing is replaced then.
    pub fn replace_tiers<P, N>(&self, rule: &str, tiers: impl IntoIterator<Item = (P, N)>) -> Result<(), UnknownTier>
    where
        P: KeyParts,
        N: AsRef<str>,
    {
        let mut all = HashMap::new();
        for (key, tier) in tiers {
            self.pushed_to(rule, Some(tier.as_ref()))?;
            all.insert(self.key(key), Arc::from(tier.as_ref()));
        }
        self.pushed_to(rule, None)?.replace(all);
        Ok(())
    }

    /// Sets how a rule is enforced for as long as this process runs, in place of what the rule says: to try a rule on real
    /// requests before it denies any, or to let go of one that denies too many.
    ///
    /// It holds from the next request on, and survives [reloads](Self::reload), until
    /// [`enforce_as_configured`](Self::enforce_as_configured). Each process has its own.
    ///
    /// ```
    /// use tower_quota::{Enforcement, Policy, RateLimiter, Rule};
    ///
    /// let jobs = Rule::new("jobs").no_requests().policy(Policy::per_minute(1));
    /// let limiter = RateLimiter::builder().rule(jobs).build()?;
    /// let jobs = limiter.rule("jobs")?;
    /// assert!(jobs.admit("acme") && !jobs.admit("acme"));
    ///
    /// limiter.enforce("jobs", Enforcement::Shadow)?;
    /// assert!(jobs.admit("acme"));
    /// limiter.enforce_as_configured("jobs")?;
    /// assert!(!jobs.admit("acme"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If no rule has the name.
    pub fn enforce(&self, rule: &str, enforcement: Enforcement) -> Result<(), UnknownRule> {
        self.switch(rule, Some(enforcement))
    }

    /// Returns a rule to the enforcement that it [was given](crate::Rule::enforcement), after [`enforce`](Self::enforce).
    ///
    /// # Errors
    ///
    /// If no rule has the name.
    pub fn enforce_as_configured(&self, rule: &str) -> Result<(), UnknownRule> {
        self.switch(rule, None)
    }

    /// Returns how a rule is enforced now.
    ///
    /// # Errors
    ///
    /// If no rule has the name.
    pub fn enforcement(&self, rule: &str) -> Result<Enforcement, UnknownRule> {
        let rules = self.rules();
        let id = rules.rulebook.id(rule).ok_or_else(|| unknown_rule(&rules, rule))?;
        Ok(rules.switches.enforcement(id))
    }

    fn switch(&self, rule: &str, enforcement: Option<Enforcement>) -> Result<(), UnknownRule> {
        let _reloading = self.state.reloading.lock();
        let rules = self.rules();
        let id = rules.rulebook.id(rule).ok_or_else(|| unknown_rule(&rules, rule))?;
        let compiled = rules.rulebook.rule(id);
        let name = compiled.name().to_ascii_lowercase();
        match enforcement {
            Some(enforcement) => drop(self.state.enforced.lock().insert(name, enforcement)),
            None => drop(self.state.enforced.lock().remove(&name)),
        }
        rules.switches.set(id, enforcement.unwrap_or_else(|| compiled.configured_enforcement()));
        self.state.switched.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// Returns the tiers that were set at run time for a rule, which has to have this one.
    fn pushed_to(&self, rule: &str, tier: Option<&str>) -> Result<Arc<PushedTiers>, UnknownTier> {
        let rules = self.rules();
        let id = rules.rulebook.id(rule).ok_or_else(|| UnknownTier::from(unknown_rule(&rules, rule)))?;
        let compiled = rules.rulebook.rule(id);
        if let Some(tier) = tier.filter(|tier| compiled.tier_named(tier).is_none()) {
            let names = compiled.tiers().iter().filter_map(CompiledTier::name);
            return Err(UnknownTier::tier(compiled.name(), tier, names));
        }
        Ok(pushed_tiers(&mut self.state.pushed.lock(), compiled.name()))
    }
}
