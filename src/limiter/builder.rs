//! Where a limiter is put together and every mistake is found.

use std::sync::Arc;

use crate::{
    clock::{Clock, SystemClock},
    error::ConfigError,
    limiter::{CompiledRules, MessageTemplate, RateLimiter},
    request::{Http, Plain, RequestKind},
    rule::Rule,
    store::{MemoryStore, Setup, Store},
};

const DEFAULT_MAX_KEYS: usize = 1_000_000;
pub(crate) const MOST_RULES: usize = 65_536;

/// Collects the rules of a [`RateLimiter`].
#[derive(Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct RateLimiterBuilder<K: RequestKind = Http, S = MemoryStore> {
    pub(crate) rules: Vec<Rule<K>>,
    pub(crate) max_keys: usize,
    pub(crate) message: Option<String>,
    clock: Arc<dyn Clock>,
    store: S,
}

impl RateLimiter {
    /// Starts with no rules, the system's clock, and room for 1,000,000 keys.
    pub fn builder() -> RateLimiterBuilder {
        RateLimiterBuilder::default()
    }

    /// As [`builder`](Self::builder), for the requests `R` of a service that is not about HTTP: see [`plain`](crate::plain).
    pub fn builder_for<R: 'static>() -> RateLimiterBuilder<Plain<R>> {
        RateLimiterBuilder::default()
    }
}

impl<K: RequestKind> Default for RateLimiterBuilder<K> {
    fn default() -> Self {
        Self {
            rules: Vec::new(),
            max_keys: DEFAULT_MAX_KEYS,
            message: None,
            clock: Arc::new(SystemClock::new()),
            store: MemoryStore::default(),
        }
    }
}

impl<K: RequestKind, S: Store> RateLimiterBuilder<K, S> {
    /// Adds a rule.
    pub fn rule(mut self, rule: Rule<K>) -> Self {
        self.rules.push(rule);
        self
    }

    /// Keeps at most this many histories; 1,000,000 by default.
    ///
    /// A key that comes seldom takes about 100 bytes, one that uses up 60 per minute and 1800 per hour takes 7.3 kB; see the
    /// [crate docs](crate#memory) for what others take.
    ///
    /// A history that is equal to a fresh one is let go. When all are live, new keys share one history per rule: nobody
    /// who is exhausted is forgotten, and crowding the table is no way around a limit.
    pub const fn max_keys(mut self, max_keys: usize) -> Self {
        self.max_keys = max_keys;
        self
    }

    /// Reads the time from this clock.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Keeps the histories in `store`; in this process by default. An [`AnyStore`](crate::store::AnyStore) is chosen at run time.
    pub fn store<T: Store>(self, store: T) -> RateLimiterBuilder<K, T> {
        RateLimiterBuilder {
            rules: self.rules,
            max_keys: self.max_keys,
            message: self.message,
            clock: self.clock,
            store,
        }
    }

    /// Refuses in these words, with `{rule}`, `{level}`, `{quota}`, `{limit}`, `{window}` and `{retry_after}` (in
    /// seconds) filled in for the exhausted quota with the longest wait.
    pub fn message(mut self, template: impl Into<String>) -> Self {
        self.message = Some(template.into());
        self
    }

    /// Checks everything and builds the limiter.
    ///
    /// # Errors
    ///
    /// If anything in a rule cannot be used, two rules do not go together, or the store cannot keep their histories.
    pub fn build(self) -> Result<RateLimiter<K, S>, ConfigError> {
        if self.rules.is_empty() {
            return Err(ConfigError::new(
                "rules",
                "[]",
                "a limiter has at least one rule: add one with .rule(Rule::new(\"calls\"))",
            ));
        }
        if self.rules.len() > MOST_RULES {
            return Err(too_many_rules(self.rules.len()));
        }
        if self.max_keys == 0 {
            return Err(ConfigError::new(
                "max_keys",
                0,
                "a limiter keeps at least one history: write a number such as 1000000",
            ));
        }
        // Not on the first request: a clock may take its time to begin.
        let _ = self.clock.now();
        let template = self.message.as_deref().map(MessageTemplate::parse).transpose()?;
        let assembly = CompiledRules::from_rules(&self.rules, template)?;
        let mut store = self.store;
        assembly.rulebook.warn_of_idle_quotas();
        store.open(Setup { scopes: assembly.scopes.clone(), max_keys: self.max_keys, clock: self.clock })?;
        Ok(RateLimiter::new(assembly, store))
    }
}

pub(crate) fn too_many_rules(rules: usize) -> ConfigError {
    let reason = format!("a limiter has at most {MOST_RULES} rules: routes with one policy can be one rule per_route");
    ConfigError::new("rules", rules, reason)
}
