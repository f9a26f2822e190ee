//! The layer, and how it is made of a limiter.

use std::{fmt, sync::Arc};

use tower_layer::Layer;

use crate::{
    limiter::{Decision, RateLimiter},
    plain::{
        RateLimit,
        enforcer::{Enforcer, Refusal},
    },
    request::Plain,
    store::{MemoryStore, Store},
};

/// Admits the requests that the rules of a [`RateLimiter`] have room for, and lets a closure answer the others; made by the
/// method `layer` of such a limiter.
///
/// All services that it makes share one state, and so do its clones.
///
/// ```
/// use tower::{Layer, ServiceExt, service_fn};
/// use tower_quota::{Policy, RateLimiter, Rule, key};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// struct Mail {
///     sender: &'static str,
///     remaining: Option<u64>,
/// }
///
/// let sender = key::field(|mail: &Mail| mail.sender);
/// let rule = Rule::new("mails").every_request().key(sender);
/// let rule = rule.level("sender").policy(Policy::per_minute(2));
/// let limiter = RateLimiter::builder_for::<Mail>().rule(rule).build()?;
///
/// let layer = limiter.layer(|_, refusal| Ok(refusal.to_string()));
/// let layer = layer.on_admitted(|mail, decision| {
///     mail.remaining = decision.quotas().map(|quota| quota.remaining()).min();
/// });
/// let service = layer.layer(service_fn(async |mail: Mail| {
///     Ok::<_, std::io::Error>(format!("remaining: {:?}", mail.remaining))
/// }));
///
/// let mail = || Mail { sender: "ann", remaining: None };
/// assert_eq!(service.clone().oneshot(mail()).await?, "remaining: Some(1)");
/// assert_eq!(service.clone().oneshot(mail()).await?, "remaining: Some(0)");
/// assert!(service.oneshot(mail()).await?.starts_with("You've exceeded"));
/// # Ok(())
/// # }
/// ```
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct RateLimitLayer<R: 'static, F, T = MemoryStore> {
    enforcer: Enforcer<R, F, T>,
}

impl<R: 'static, T: Store> RateLimiter<Plain<R>, T> {
    /// Creates a layer that enforces the rules. The closure `refuse` turns each refused request into a response, or into an
    /// error of the service. All layers of a limiter share one state.
    pub fn layer<F, A, E>(&self, refuse: F) -> RateLimitLayer<R, F, T>
    where
        F: Fn(R, Refusal) -> Result<A, E>,
    {
        RateLimitLayer { enforcer: Enforcer { limiter: self.clone(), refuse, on_admitted: None } }
    }
}

impl<R: 'static, F, T> RateLimitLayer<R, F, T> {
    /// Sets a closure that is shown each admitted request with its decision before the inner service is called, for example to
    /// store the remaining units in the request. Requests that no rule governs are not shown.
    pub fn on_admitted(mut self, show: impl Fn(&mut R, &Decision) + Send + Sync + 'static) -> Self {
        self.enforcer.on_admitted = Some(Arc::new(show));
        self
    }

    /// Returns the limiter behind this layer.
    #[must_use]
    pub const fn limiter(&self) -> &RateLimiter<Plain<R>, T> {
        &self.enforcer.limiter
    }
}

impl<R, F: Clone, T> Clone for RateLimitLayer<R, F, T> {
    fn clone(&self) -> Self {
        Self { enforcer: self.enforcer.clone() }
    }
}

impl<R, F, T: fmt::Debug> fmt::Debug for RateLimitLayer<R, F, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitLayer").field("limiter", &self.enforcer.limiter).finish_non_exhaustive()
    }
}

impl<S, R, F: Clone, T> Layer<S> for RateLimitLayer<R, F, T> {
    type Service = RateLimit<S, R, F, T>;

    fn layer(&self, inner: S) -> Self::Service {
        RateLimit::new(inner, self.enforcer.clone())
    }
}
