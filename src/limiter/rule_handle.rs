//! One rule of a limiter.

use std::{fmt, ops::Range, slice};

use crate::{
    error::{Unavailable, UnknownRule},
    key::{Charge, Key, KeyBuilder, KeyParts},
    limiter::{CompiledRule, Decision, MaybeDecided, RateLimiter},
    request::{Http, RequestKind},
    store::{Detail, MemoryStore, Store, Verdict},
};

/// A rule of a limiter, to be asked about keys: looked up [by its name](RateLimiter::rule) once. It shares the limiter's
/// state.
///
/// A key is whatever [`KeyParts`] are: text, bytes, a number, an address, several of them, or the [`Key`] that a request has.
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
    place: RuleLocation,
}

/// Where a rule and its histories are found.
#[derive(Clone, Debug)]
struct RuleLocation {
    /// The number of the rule.
    rule: u16,
    /// One, or one per route.
    scopes: Range<u32>,
}

impl<K: RequestKind, S: Store> RateLimiter<K, S> {
    /// Returns the rule of this name, to ask it about keys. Look it up once and keep it, where it is asked often.
    ///
    /// # Errors
    ///
    /// If no rule has this name (names are compared ignoring case). The error lists the rules, those first whose names are
    /// most alike.
    pub fn rule(&self, name: &str) -> Result<RuleHandle<K, S>, UnknownRule> {
        let (rule, scopes) = self.place_of(name)?;
        Ok(RuleHandle { limiter: self.clone(), place: RuleLocation { rule, scopes } })
    }
}

/// What is answered at once because the histories are in this process.
impl<K: RequestKind> RuleHandle<K> {
    /// Returns true if one request of `key` is admitted, and charged then: [`check`](Self::check) for callers that ask no more
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

    /// Returns what [`check`](Self::check) would answer now; charges nothing.
    pub fn peek(&self, key: impl KeyParts) -> Decision {
        let mut decision = self.pending();
        let builder = &mut self.builder();
        key.write(builder);
        self.limiter.state.store.peek(slice::from_ref(builder.charge()), decision.verdict_mut());
        decision
    }

    /// Forgets what the rule remembers of `key`, on all its routes. Returns true if that was anything.
    ///
    /// What was charged to the history that keys share while the table is full is not forgotten.
    pub fn reset(&self, key: impl KeyParts) -> bool {
        self.on_all_routes(key).iter().fold(false, |found, charge| self.limiter.state.store.reset(charge) | found)
    }
}

/// What is asked of histories wherever they are.
impl<K: RequestKind, S: Store> RuleHandle<K, S> {
    /// As [`admit`](RuleHandle::admit), for any store. Dropping the future may leave the request charged.
    ///
    /// # Errors
    ///
    /// If the store cannot decide.
    pub async fn admit_async(&self, key: impl KeyParts) -> Result<bool, Unavailable> {
        let builder = &mut self.builder();
        key.write(builder);
        let mut pending = self.pending();
        *pending.verdict_mut() = Verdict::with_detail(Detail::None);
        let ask = |verdict: &mut _| self.limiter.state.store.decide(slice::from_ref(builder.charge()), verdict);
        Ok(MaybeDecided::ask(pending, ask).wait().await?.is_admitted())
    }

    /// As [`check`](RuleHandle::check), for any store. Dropping the future may leave the request charged.
    ///
    /// # Errors
    ///
    /// If the store cannot decide.
    pub async fn check_async(&self, key: impl KeyParts) -> Result<Decision, Unavailable> {
        let builder = &mut self.builder();
        key.write(builder);
        let ask = |verdict: &mut _| self.limiter.state.store.decide(slice::from_ref(builder.charge()), verdict);
        MaybeDecided::ask(self.pending(), ask).wait().await
    }

    /// As [`peek`](RuleHandle::peek), for any store.
    ///
    /// # Errors
    ///
    /// If the store cannot say.
    pub async fn peek_async(&self, key: impl KeyParts) -> Result<Decision, Unavailable> {
        let builder = &mut self.builder();
        key.write(builder);
        let ask = |verdict: &mut _| self.limiter.state.store.peek(slice::from_ref(builder.charge()), verdict);
        MaybeDecided::ask(self.pending(), ask).wait().await
    }

    /// As [`reset`](RuleHandle::reset), for any store.
    ///
    /// # Errors
    ///
    /// If the store cannot do it.
    pub async fn reset_async(&self, key: impl KeyParts) -> Result<bool, Unavailable> {
        let charges = self.on_all_routes(key);
        let ask = |verdict: &mut _| self.limiter.state.store.reset(&charges, verdict);
        Ok(MaybeDecided::ask(self.limiter.pending(&[]), ask).wait().await?.is_admitted())
    }

    /// Reads the key that the rule counts a request by, as a layer does: behind proxies, out of cookies, on the request's
    /// route. None if the request does not carry it; what is charged then is up to [`OnMissing`](crate::OnMissing), and
    /// [`Key::SHARED`] is the key of all such requests.
    ///
    /// The request need not be one that the rule governs, unless the key is a parameter of its routes.
    ///
    /// ```
    /// use http::Request;
    /// use tower_quota::{Policy, RateLimiter, Rule, http::RequestView, key};
    ///
    /// let rule = Rule::new("calls").every_request().key(key::cookie("sid")).policy(Policy::per_minute(60));
    /// let limiter = RateLimiter::builder().rule(rule).build()?;
    /// let calls = limiter.rule("calls")?;
    ///
    /// // How much is left for the one who asks: no unit is charged for that.
    /// let request = Request::get("/usage").header("cookie", "sid=4711").body(())?;
    /// let caller = calls.key_of(&RequestView::new(&request)).ok_or("no session")?;
    /// assert_eq!(calls.peek(caller).quotas().next().map(|quota| quota.remaining()), Some(60));
    /// assert_eq!(caller, limiter.key(4711));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn key_of(&self, request: K::View<'_>) -> Option<Key> {
        self.limiter.state.routing.key_of(self.place.rule, request, &self.limiter.state.hasher)
    }

    /// A decision that is to say everything.
    fn pending(&self) -> Decision {
        self.limiter.pending(&[self.place.rule])
    }

    /// The builder of a key in the first scope of the rule.
    #[inline]
    fn builder(&self) -> KeyBuilder<'_> {
        KeyBuilder::in_scope(self.place.scopes.start, &self.limiter.state.hasher)
    }

    fn on_all_routes(&self, key: impl KeyParts) -> Vec<Charge> {
        let builder = &mut self.builder();
        key.write(builder);
        self.place.scopes.clone().map(|scope| builder.charge_in(scope)).collect()
    }
}

impl<K: RequestKind, S> RuleHandle<K, S> {
    /// Returns the rule's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.limiter.rulebook().rule(self.place.rule.into()).map_or("", CompiledRule::name)
    }
}

impl<K: RequestKind, S> Clone for RuleHandle<K, S> {
    fn clone(&self) -> Self {
        Self { limiter: self.limiter.clone(), place: self.place.clone() }
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

    /// Limiters of the same rules, and the clock of all of them.
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

    /// What is to be told, of a request under one rule or under several.
    fn decide(limiter: &RateLimiter, rules: &[usize], key: &str, told: Detail) -> (bool, Vec<(u32, Duration)>) {
        let governed = limiter.governed(rules.iter().map(|rule| (NAMES[*rule], key))).unwrap();
        let MaybeDecided::Ready(decision) = limiter.rule_on(&governed, told) else { unreachable!("it is in memory") };
        (decision.is_admitted(), decision.quotas().map(|quota| (quota.remaining(), quota.reset_after())).collect())
    }

    #[test]
    fn in_a_full_table_newcomers_share_a_limit_however_they_ask() {
        for is_told in [true, false] {
            let rule = Rule::new("calls").no_requests().policy(Policy::per_minute(2));
            let limiter: RateLimiter = RateLimiter::builder().max_keys(1).rule(rule).build().unwrap();
            let calls = limiter.rule("calls").unwrap();
            let admits = |key: &str| if is_told { calls.check(key).is_admitted() } else { calls.admit(key) };
            assert!(admits("filler"));
            assert_eq!(["a", "b", "c", "d"].map(admits), [true, true, false, false]);
            assert_eq!([admits("filler"), admits("filler")], [true, false]);
        }
    }

    proptest! {
        #[test]
        fn the_answer_is_the_same_however_much_of_it_is_told(
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
