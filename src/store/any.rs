//! A store of any type, chosen at run time.

use std::{
    any::Any,
    env::{self, VarError},
    fmt,
    time::Duration,
};

use crate::{
    error::ConfigError,
    key::Charge,
    observe::Figures,
    store::{BoxFuture, CostSupport, MaybeReady, MemoryStore, Scopes, Settlement, Setup, Store, Verdict},
};

/// A store of any type, for services that choose it when they start.
///
/// The limiter has the type [`AnyRateLimiter`](crate::AnyRateLimiter) with every store, so handlers and states name it
/// without a type parameter:
///
/// ```
/// use tower_quota::{AnyRateLimiter, Policy, RateLimiter, Rule, key, store::AnyStore};
///
/// struct AppState {
///     limiter: AnyRateLimiter,
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let rule = Rule::new("calls").every_request().key(key::header("x-account")).level("account");
/// let limiter = RateLimiter::builder()
///     .store(AnyStore::memory())
///     .rule(rule.policy(Policy::per_minute(60)))
///     .build()?;
/// let state = AppState { limiter };
/// assert!(state.limiter.rule("calls")?.check_async("acme").await?.is_admitted());
/// # Ok(())
/// # }
/// ```
///
/// Some stores have to be awaited, so a limiter on this one has only the asynchronous methods, such as
/// [`check_async`](crate::RuleHandle::check_async). With a [`MemoryStore`] they complete at the first poll.
///
/// A decision costs one virtual call more than on the store itself, and the future of a pending decision is boxed.
pub struct AnyStore {
    store: Box<dyn DynStore>,
    /// True if nobody has chosen it: a file may.
    #[cfg_attr(not(feature = "config"), expect(dead_code, reason = "only files choose"))]
    is_open_to_choice: bool,
    /// Rewords the errors of opening it.
    explain: Option<Box<Explain>>,
}

type Explain = dyn Fn(ConfigError) -> ConfigError + Send + Sync;

impl AnyStore {
    /// Boxes a store of any type.
    #[must_use]
    pub fn new(store: impl Store) -> Self {
        Self { store: Box::new(store), is_open_to_choice: false, explain: None }
    }

    /// Creates a store in this process.
    #[must_use]
    pub fn memory() -> Self {
        Self::new(MemoryStore::default())
    }

    /// Creates a store from an environment variable: `open` is called with its value. If the variable is not set, creates a
    /// store in this process.
    ///
    #[cfg_attr(feature = "redis", doc = "```")]
    #[cfg_attr(not(feature = "redis"), doc = "```ignore")]
    /// use tower_quota::store::{AnyStore, OnOutage, RedisStore};
    ///
    /// // Redis if the variable is set, else memory.
    /// let store = AnyStore::from_env("QUOTA_REDIS", |url| RedisStore::new(url, OnOutage::Open))?;
    /// # Ok::<(), tower_quota::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If the variable is empty or not valid Unicode. An empty one does not choose memory: in many processes the limits
    /// would add up unnoticed.
    pub fn from_env<S>(variable: &str, open: impl FnOnce(String) -> S) -> Result<Self, ConfigError>
    where
        S: Into<Self>,
    {
        Self::from_value(variable, env::var(variable), open)
    }

    /// Returns the inner store if it is an `S`, to call methods that only an `S` has, such as `RedisStore::health`.
    ///
    /// ```
    /// use tower_quota::store::{AnyStore, MemoryStore};
    ///
    /// assert!(AnyStore::memory().downcast_ref::<MemoryStore>().is_some());
    /// ```
    #[must_use]
    pub fn downcast_ref<S: Store>(&self) -> Option<&S> {
        (&*self.store as &dyn Any).downcast_ref()
    }

    /// Creates a store in this process, in place of which a file may put another.
    #[cfg(feature = "config")]
    pub(crate) fn open_to_choice() -> Self {
        Self { is_open_to_choice: true, ..Self::memory() }
    }

    /// Returns whether a file may choose.
    #[cfg(feature = "config")]
    pub(crate) const fn is_open_to_choice(&self) -> bool {
        self.is_open_to_choice
    }

    /// Rewords the errors of opening it.
    #[cfg(all(feature = "config", feature = "redis"))]
    pub(crate) fn explained_by(self, explain: impl Fn(ConfigError) -> ConfigError + Send + Sync + 'static) -> Self {
        Self { explain: Some(Box::new(explain)), ..self }
    }

    fn from_value<S>(
        variable: &str,
        value: Result<String, VarError>,
        open: impl FnOnce(String) -> S,
    ) -> Result<Self, ConfigError>
    where
        S: Into<Self>,
    {
        match value {
            Ok(value) if value.trim().is_empty() => {
                let reason =
                    "the variable is set but empty: write where the store is, or unset it to keep histories in memory";
                Err(ConfigError::new(variable, "\"\"", reason))
            }
            Ok(value) => Ok(open(value).into()),
            Err(VarError::NotPresent) => Ok(Self::memory()),
            Err(VarError::NotUnicode(_)) => Err(ConfigError::new(
                variable,
                "(not Unicode)",
                "the variable is not valid Unicode: write where the store is in UTF-8",
            )),
        }
    }
}

impl Default for AnyStore {
    fn default() -> Self {
        Self::memory()
    }
}

impl fmt::Debug for AnyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AnyStore").field(&self.store).finish()
    }
}

impl From<MemoryStore> for AnyStore {
    fn from(store: MemoryStore) -> Self {
        Self::new(store)
    }
}

#[cfg(feature = "redis")]
impl From<crate::store::RedisStore> for AnyStore {
    fn from(store: crate::store::RedisStore) -> Self {
        Self::new(store)
    }
}

impl Store for AnyStore {
    type Future = BoxFuture;

    fn open(&mut self, setup: Setup) -> Result<(), ConfigError> {
        self.store.dyn_open(setup).map_err(|error| match &self.explain {
            Some(explain) => explain(error),
            None => error,
        })
    }

    #[inline]
    fn decide(&self, charges: &[Charge], verdict: &mut Verdict) -> MaybeReady<BoxFuture> {
        self.store.dyn_decide(charges, verdict)
    }

    fn peek(&self, charges: &[Charge], verdict: &mut Verdict) -> MaybeReady<BoxFuture> {
        self.store.dyn_peek(charges, verdict)
    }

    fn reset(&self, charges: &[Charge], verdict: &mut Verdict) -> MaybeReady<BoxFuture> {
        self.store.dyn_reset(charges, verdict)
    }

    fn cost_support(&self) -> CostSupport {
        self.store.dyn_cost_support()
    }

    fn settle(&self, settlements: &[Settlement], verdict: &mut Verdict) -> MaybeReady<BoxFuture> {
        self.store.dyn_settle(settlements, verdict)
    }

    fn since_1970(&self) -> Duration {
        self.store.dyn_since_1970()
    }

    fn figures(&self) -> Figures {
        self.store.dyn_figures()
    }

    fn accept(&self, scopes: &Scopes) -> Result<(), ConfigError> {
        self.store.dyn_accept(scopes)
    }

    fn key_secret(&self) -> Option<[u8; 32]> {
        self.store.dyn_key_secret()
    }
}

/// A store whose future is boxed, so that it can be a trait object. The names of the methods differ from those of [`Store`],
/// which every implementor has as well.
trait DynStore: Any + fmt::Debug + Send + Sync {
    fn dyn_open(&mut self, setup: Setup) -> Result<(), ConfigError>;
    fn dyn_decide(&self, charges: &[Charge], verdict: &mut Verdict) -> MaybeReady<BoxFuture>;
    fn dyn_peek(&self, charges: &[Charge], verdict: &mut Verdict) -> MaybeReady<BoxFuture>;
    fn dyn_reset(&self, charges: &[Charge], verdict: &mut Verdict) -> MaybeReady<BoxFuture>;
    fn dyn_cost_support(&self) -> CostSupport;
    fn dyn_settle(&self, settlements: &[Settlement], verdict: &mut Verdict) -> MaybeReady<BoxFuture>;
    fn dyn_since_1970(&self) -> Duration;
    fn dyn_figures(&self) -> Figures;
    fn dyn_accept(&self, scopes: &Scopes) -> Result<(), ConfigError>;
    fn dyn_key_secret(&self) -> Option<[u8; 32]>;
}

impl<S: Store> DynStore for S {
    fn dyn_open(&mut self, setup: Setup) -> Result<(), ConfigError> {
        self.open(setup)
    }

    fn dyn_decide(&self, charges: &[Charge], verdict: &mut Verdict) -> MaybeReady<BoxFuture> {
        self.decide(charges, verdict).boxed()
    }

    fn dyn_peek(&self, charges: &[Charge], verdict: &mut Verdict) -> MaybeReady<BoxFuture> {
        self.peek(charges, verdict).boxed()
    }

    fn dyn_reset(&self, charges: &[Charge], verdict: &mut Verdict) -> MaybeReady<BoxFuture> {
        self.reset(charges, verdict).boxed()
    }

    fn dyn_cost_support(&self) -> CostSupport {
        self.cost_support()
    }

    fn dyn_settle(&self, settlements: &[Settlement], verdict: &mut Verdict) -> MaybeReady<BoxFuture> {
        self.settle(settlements, verdict).boxed()
    }

    fn dyn_since_1970(&self) -> Duration {
        self.since_1970()
    }

    fn dyn_figures(&self) -> Figures {
        self.figures()
    }

    fn dyn_accept(&self, scopes: &Scopes) -> Result<(), ConfigError> {
        self.accept(scopes)
    }

    fn dyn_key_secret(&self) -> Option<[u8; 32]> {
        self.key_secret()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_value(value: Result<&str, VarError>) -> Result<AnyStore, ConfigError> {
        AnyStore::from_value("QUOTA_STORE", value.map(str::to_owned), |_| AnyStore::new(AnyStore::memory()))
    }

    #[test]
    fn a_variable_that_is_set_is_given_to_the_program() {
        let store = from_value(Ok("redis://localhost")).unwrap();
        assert!(store.downcast_ref::<AnyStore>().is_some() && store.downcast_ref::<MemoryStore>().is_none());
    }

    #[test]
    fn without_the_variable_histories_are_in_memory() {
        let store = from_value(Err(VarError::NotPresent)).unwrap();
        assert!(store.downcast_ref::<MemoryStore>().is_some());
    }

    #[test]
    fn an_empty_variable_is_a_mistake() {
        for value in ["", " "] {
            let error = from_value(Ok(value)).unwrap_err();
            assert_eq!((error.field(), error.value()), ("QUOTA_STORE", "\"\""));
        }
    }

    #[test]
    fn a_variable_that_is_no_text_is_a_mistake_that_is_not_shown() {
        let error = from_value(Err(VarError::NotUnicode("redis://user:secret@host".into()))).unwrap_err();
        assert_eq!(error.field(), "QUOTA_STORE");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
