//! The keys that use the most of their limits.

use crate::{
    error::UnknownRule,
    key::Key,
    limiter::{RateLimiter, handle::unknown_rule},
    request::RequestKind,
};

/// A key, and how much of its limits it uses: see [`RateLimiter::heaviest`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeavyKey {
    key: Key,
    used: u64,
    limit: u64,
}

impl HeavyKey {
    /// Returns the key. Show it with care: keys identify users.
    #[must_use]
    pub const fn key(&self) -> Key {
        self.key
    }

    /// Returns the units that the fullest quota counts.
    #[must_use]
    pub const fn used(&self) -> u64 {
        self.used
    }

    /// Returns the limit of that quota.
    #[must_use]
    pub const fn limit(&self) -> u64 {
        self.limit
    }

    /// Returns the used part of the limit: 1 is all of it, and more than that is owed.
    #[must_use]
    pub fn share(&self) -> f64 {
        self.used as f64 / self.limit as f64
    }
}

impl<K: RequestKind> RateLimiter<K> {
    /// Returns the keys of a rule that use the largest parts of their limits, the heaviest first: at most `most` of them.
    ///
    /// The figures are exact. All histories are walked through, one of 256 tables locked at a time, so this takes some
    /// milliseconds for a million of them; nothing is kept for it before. All keys are compared with the rule's own policy,
    /// whatever their tier. On routes with histories of [their own](crate::Rule::per_route) a key may be there several times.
    ///
    /// ```
    /// use tower_quota::{Policy, RateLimiter, Rule};
    ///
    /// let limiter = RateLimiter::builder().rule(Rule::new("jobs").no_requests().policy(Policy::per_minute(60))).build()?;
    /// let jobs = limiter.rule("jobs")?;
    /// for (key, requests) in [("acme", 30), ("globex", 60), ("initech", 1)] {
    ///     (0..requests).for_each(|_| assert!(jobs.admit(key)));
    /// }
    ///
    /// let heaviest = limiter.heaviest("jobs", 2)?;
    /// assert_eq!(heaviest[0].key(), limiter.key("globex"));
    /// assert_eq!((heaviest[1].used(), heaviest[1].limit(), heaviest[1].share()), (30, 60, 0.5));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If no rule has the name.
    pub fn heaviest(&self, rule: &str, most: usize) -> Result<Vec<HeavyKey>, UnknownRule> {
        let rules = self.rules();
        let id = rules.rulebook.id(rule).ok_or_else(|| unknown_rule(&rules, rule))?;
        let targets: Vec<_> = rules.rulebook.rule(id).targets(0).collect();
        let found = self.state.store.heaviest(&targets, most);
        Ok(found.into_iter().map(|found| HeavyKey { key: found.key, used: found.used, limit: found.limit }).collect())
    }
}
