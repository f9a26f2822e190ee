//! One rule of a limiter, to check keys without a request.

use std::{fmt, ops::Range, slice};

use crate::{
    error::{Unavailable, UnknownRule},
    key::{Charge, Key, KeyBuilder, KeyParts},
    limiter::{CompiledRule, Decision, MaybeDecided, RateLimiter},
    request::{Http, RequestKind},
    rule::RuleId,
    store::{Detail, MemoryStore, Store, Verdict},
};

/// A rule of a limiter, to check keys without a request. It is looked up [by its name](RateLimiter::rule) once, and shares the
/// limiter's state.
///
/// A key is made of [`KeyParts`]: text, bytes, a number, an address, several of them, or the [`Key`] of a request.
///
/// ```
/// use tower_quota::{Policy, RateLimiter, Rule};
///
/// let jobs = Rule::new("jobs").no_requests().policy(Policy::per_minute(2));
/// let limiter = RateLimiter::builder().rule(jobs).build()?;
///
/// let jobs = limiter.rule("jobs")?;
/// assert!(jobs.admit("acme"));
/// assert_eq!(jobs.check("acme").quotas().next().map(|quota| quota.remaining()), Some(0));
/// assert!(!jobs.admit("acme"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct RuleHandle<K: RequestKind = Http, S = MemoryStore> {
    limiter: RateLimiter<K, S>,
    rule: RuleId,
    /// One, or one per route.
    scopes: Range<u32>,
}

impl<K: RequestKind, S: Store> RateLimiter<K, S> {
    /// Returns the rule of this name, to check keys. Callers that check often keep the handle.
    ///
    /// # Errors
    ///
    /// If no rule has this name, ignoring case. The error lists the rules, most similar names first.
    pub fn rule(&self, name: &str) -> Result<RuleHandle<K, S>, UnknownRule> {
        let (rule, scopes) = self.rule_and_scopes(name)?;
        Ok(RuleHandle { limiter: self.clone(), rule, scopes })
    }
}

/// Questions that are answered at once because the histories are in this process.
impl<K: RequestKind> RuleHandle<K> {
    /// Returns `true` if one request of `key` is admitted, and so charged: [`check`](Self::check) for callers that need no more
    /// than that. It takes half the instructions, and fewer cache lines.
    #[must_use = "it may not be admitted"]
    pub fn admit(&self, key: impl KeyParts) -> bool {
        let mut verdict = Verdict::with_detail(Detail::None);
        let builder = &mut self.builder();
        key.write(builder);
        self.limiter.state.store.decide(slice::from_ref(builder.charge()), &mut verdict);
        verdict.is_admitted()
    }

    /// Decides about one request of `key`, and charges it if it is admitted.
    pub fn check(&self, key: impl KeyParts) -> Decision {
        let mut decision = self.pending();
        let builder = &mut self.builder();
        key.write(builder);
        self.limiter.state.store.decide(slice::from_ref(builder.charge()), decision.verdict_mut());
        decision
    }

    /// Returns what [`check`](Self::check) would return now, and charges nothing.
    pub fn peek(&self, key: impl KeyParts) -> Decision {
        let mut decision = self.pending();
        let builder = &mut self.builder();
        key.write(builder);
        self.limiter.state.store.peek(slice::from_ref(builder.charge()), decision.verdict_mut());
        decision
    }

    /// Deletes the histories of `key`, on all routes of the rule. Returns `true` if there was one.
    ///
    /// Units that were charged to the history that keys share while the table is full stay.
    pub fn reset(&self, key: impl KeyParts) -> bool {
        self.on_all_routes(key).iter().fold(false, |found, charge| self.limiter.state.store.reset(charge) | found)
    }
}

/// Questions to any store.
impl<K: RequestKind, S: Store> RuleHandle<K, S> {
    /// Returns `true` if one request of `key` is admitted, as [`admit`](RuleHandle::admit) does, in any store.
    ///
    /// # Errors
    ///
    /// If the store cannot decide and does not fail open.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the request charged.
    pub async fn admit_async(&self, key: impl KeyParts) -> Result<bool, Unavailable> {
        let builder = &mut self.builder();
        key.write(builder);
        let mut pending = self.pending();
        *pending.verdict_mut() = Verdict::with_detail(Detail::None);
        let ask = |verdict: &mut _| self.limiter.state.store.decide(slice::from_ref(builder.charge()), verdict);
        Ok(MaybeDecided::ask(pending, ask).wait().await?.is_admitted())
    }

    /// Decides about one request of `key`, as [`check`](RuleHandle::check) does, in any store.
    ///
    /// # Errors
    ///
    /// If the store cannot decide and does not fail open.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the request charged.
    pub async fn check_async(&self, key: impl KeyParts) -> Result<Decision, Unavailable> {
        let builder = &mut self.builder();
        key.write(builder);
        let ask = |verdict: &mut _| self.limiter.state.store.decide(slice::from_ref(builder.charge()), verdict);
        MaybeDecided::ask(self.pending(), ask).wait().await
    }

    /// Returns what [`check_async`](Self::check_async) would return now, and charges nothing.
    ///
    /// # Errors
    ///
    /// If the store cannot answer.
    pub async fn peek_async(&self, key: impl KeyParts) -> Result<Decision, Unavailable> {
        let builder = &mut self.builder();
        key.write(builder);
        let ask = |verdict: &mut _| self.limiter.state.store.peek(slice::from_ref(builder.charge()), verdict);
        MaybeDecided::ask(self.pending(), ask).wait().await
    }

    /// Deletes the histories of `key`, as [`reset`](RuleHandle::reset) does, in any store.
    ///
    /// # Errors
    ///
    /// If the store cannot delete them.
    pub async fn reset_async(&self, key: impl KeyParts) -> Result<bool, Unavailable> {
        let charges = self.on_all_routes(key);
        let ask = |verdict: &mut _| self.limiter.state.store.reset(&charges, verdict);
        Ok(MaybeDecided::ask(self.limiter.pending(&[]), ask).wait().await?.is_admitted())
    }

    /// Reads the key that the rule counts a request by, as a layer does: behind proxies, from cookies, on the request's route.
    ///
    /// Returns `None` if the request does not carry the key. What is charged then is up to [`OnMissing`](crate::OnMissing);
    /// [`Key::SHARED`] is the key of all such requests. The rule need not govern the request, unless its key is a parameter of
    /// its routes.
    ///
    /// ```
    /// use http::Request;
    /// use tower_quota::{Policy, RateLimiter, Rule, http::RequestView, key};
    ///
    /// let rule = Rule::new("calls").every_request().key(key::cookie("sid")).policy(Policy::per_minute(60));
    /// let limiter = RateLimiter::builder().rule(rule).build()?;
    /// let calls = limiter.rule("calls")?;
    ///
    /// // Shows the caller what is left, and charges nothing for that.
    /// let request = Request::get("/usage").header("cookie", "sid=4711").body(())?;
    /// let caller = calls.key_of(&RequestView::new(&request)).ok_or("no session")?;
    /// assert_eq!(calls.peek(caller).quotas().next().map(|quota| quota.remaining()), Some(60));
    /// assert_eq!(caller, limiter.key(4711));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn key_of(&self, request: K::View<'_>) -> Option<Key> {
        self.limiter.state.matcher.key_of(self.rule, request, &self.limiter.state.hasher)
    }

    /// Creates a decision in full detail.
    fn pending(&self) -> Decision {
        self.limiter.pending(&[self.rule])
    }

    /// Creates the builder of a key in the first scope of the rule.
    #[inline]
    fn builder(&self) -> KeyBuilder<'_> {
        KeyBuilder::in_scope(self.scopes.start, &self.limiter.state.hasher)
    }

    /// Returns the charge to the history of `key` on each route.
    fn on_all_routes(&self, key: impl KeyParts) -> Vec<Charge> {
        let builder = &mut self.builder();
        key.write(builder);
        self.scopes.clone().map(|scope| builder.charge_in(scope)).collect()
    }
}

impl<K: RequestKind, S> RuleHandle<K, S> {
    /// Returns the rule's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.limiter.rulebook().rule(self.rule).map_or("", CompiledRule::name)
    }
}

impl<K: RequestKind, S> Clone for RuleHandle<K, S> {
    fn clone(&self) -> Self {
        Self { limiter: self.limiter.clone(), rule: self.rule, scopes: self.scopes.clone() }
    }
}

impl<K: RequestKind, S> fmt::Debug for RuleHandle<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuleHandle").field("name", &self.name()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        clock::ManualClock,
        limiter::{MaybeDecided, RateLimiterBuilder},
        policy::{Policy, Quota},
        rule::Rule,
        store::Detail,
    };

    const NAMES: [&str; 4] = ["one", "two", "strict", "large"];

    /// Returns limiters of the same rules, and the clock of all of them.
    fn limiters() -> ([RateLimiter; 3], ManualClock) {
        let clock = ManualClock::new();
        let policies = [
            Policy::per_second(3),
            Policy::new(Quota::new(2, Duration::from_millis(700))).and_per_minute(40),
            Policy::per_second(2).count_denied(),
            Policy::per_minute(5_000).and_per_second(4),
        ];
        let limiter = || {
            let rules = NAMES.iter().zip(&policies);
            let rules = rules.map(|(name, policy)| Rule::new(*name).no_requests().policy(policy.clone()));
            rules.fold(RateLimiter::builder().clock(clock.clone()), RateLimiterBuilder::rule)
        };
        (std::array::from_fn(|_| limiter().build().unwrap()), clock.clone())
    }

    /// Decides about a request under one rule or several, in this detail.
    fn decide(limiter: &RateLimiter, rules: &[usize], key: &str, detail: Detail) -> (bool, Vec<(u64, Duration)>) {
        let charges = limiter.charges(rules.iter().map(|rule| (NAMES[*rule], key))).unwrap();
        let MaybeDecided::Ready(decision) = limiter.decide(&charges, detail) else { unreachable!("it is in memory") };
        (decision.is_admitted(), decision.quotas().map(|quota| (quota.remaining(), quota.reset_after())).collect())
    }

    #[test]
    fn in_a_full_table_newcomers_share_a_limit_however_they_ask() {
        for in_detail in [true, false] {
            let rule = Rule::new("calls").no_requests().policy(Policy::per_minute(2));
            let limiter: RateLimiter = RateLimiter::builder().max_keys(1).rule(rule).build().unwrap();
            let calls = limiter.rule("calls").unwrap();
            let admits = |key: &str| if in_detail { calls.check(key).is_admitted() } else { calls.admit(key) };
            assert!(admits("filler"));
            assert_eq!(["a", "b", "c", "d"].map(admits), [true, true, false, false]);
            assert_eq!([admits("filler"), admits("filler")], [true, false]);
        }
    }

    proptest! {
        #[test]
        fn the_answer_is_the_same_in_every_detail(
            steps in prop::collection::vec((0u64..400, prop::collection::vec(0usize..4, 1..4), 0usize..3), 1..200),
        ) {
            let ([always, if_denied, never], clock) = limiters();
            for (step, rules, key) in steps {
                clock.advance(Duration::from_millis(step));
                let key = ["ann", "bob", "a name of more than twenty-seven bytes"][key];
                let (admitted, states) = decide(&always, &rules, key, Detail::Full);
                let denied = decide(&if_denied, &rules, key, Detail::OnDenial);
                prop_assert_eq!(denied.0, admitted);
                if !admitted {
                    prop_assert_eq!(denied.1, states);
                }
                let answer = match rules[..] {
                    [rule] => never.rule(NAMES[rule]).unwrap().admit(key),
                    _ => never.admit_all(rules.iter().map(|rule| (NAMES[*rule], key))).unwrap(),
                };
                prop_assert_eq!(answer, admitted);
            }
        }
    }
}
