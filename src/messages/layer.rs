//! The layer.

use std::sync::Arc;

use tower_layer::Layer;

use crate::{
    error::{ConfigError, UnknownRule},
    http::{RateLimit, RateLimitLayer},
    messages::{MessageLimit, meter::MessageMeter},
    rule::RuleId,
    store::{MemoryStore, Store},
};

/// Charges gRPC calls when they open, and some rules for every message of a call as well; made by
/// [`RateLimitLayer::per_message`].
///
/// The charge for the call covers its first message, so a unary call costs one unit and a stream of n messages n. When the
/// policy runs out in the middle of a stream, the call ends with `RESOURCE_EXHAUSTED` and the same details as a call that
/// is refused: what the handler was doing is dropped, and nothing of the denied message reaches it.
///
/// Requests that such a rule governs have to be gRPC: others are refused with 415, because servers serve them without
/// looking at their content type. So name rules that are for gRPC methods only, and put this inside of a layer that
/// translates gRPC-Web. The key is read here once more: what is between this and the service's users must leave it there.
///
/// A client that uploads more messages than the limit admits will never succeed, however often it tries.
#[derive(Debug)]
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct MessageLimitLayer<T = MemoryStore> {
    opening: RateLimitLayer<T>,
    /// The numbers of the rules that are for every message.
    rules: Arc<[RuleId]>,
}

impl<T: Store> RateLimitLayer<T> {
    /// Also charges each further message of a gRPC call to these rules, as far as they govern it.
    ///
    /// ```
    /// use tower_quota::{Policy, RateLimiter, Rule, key};
    ///
    /// let rule = |name: &str| Rule::new(name).routes(["/chat.Chat/{*method}"]).key(key::metadata("user"));
    /// let limiter = RateLimiter::builder()
    ///     .rule(rule("calls").policy(Policy::per_minute(10)))
    ///     .rule(rule("messages").policy(Policy::per_minute(600)))
    ///     .build()?;
    ///
    /// let layer = limiter.layer().per_message(["messages"])?;
    /// assert!(limiter.layer().per_message(["massages"]).is_err());
    /// # let _ = layer;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// The bodies of requests are wrapped, so the inner service takes any type of body, as axum's and tonic's do.
    ///
    /// # Errors
    ///
    /// If no rule has one of the names, or none is named.
    pub fn per_message<'r>(
        self,
        rules: impl IntoIterator<Item = &'r str>,
    ) -> Result<MessageLimitLayer<T>, ConfigError> {
        let unknown = |error: UnknownRule| {
            let reason = format!("no rule is named so: {}", error.rules());
            ConfigError::new("per_message", format_args!("{:?}", error.name()), reason)
        };
        let mut names = rules.into_iter().peekable();
        if names.peek().is_none() {
            return Err(ConfigError::new(
                "per_message",
                "[]",
                "at least one rule is named: write .per_message([\"messages\"])",
            ));
        }
        let rules = match self.limiter() {
            Some(limiter) => names.map(|name| limiter.rule_id(name).map_err(unknown)).collect::<Result<_, _>>()?,
            None => Arc::default(),
        };
        Ok(MessageLimitLayer { opening: self, rules })
    }
}

impl<T> Clone for MessageLimitLayer<T> {
    fn clone(&self) -> Self {
        Self { opening: self.opening.clone(), rules: Arc::clone(&self.rules) }
    }
}

impl<S, T> Layer<S> for MessageLimitLayer<T> {
    type Service = RateLimit<MessageLimit<S, T>, T>;

    fn layer(&self, inner: S) -> Self::Service {
        let meter = MessageMeter {
            limiter: self.opening.limiter().cloned(),
            style: Arc::clone(self.opening.style()),
            rules: Arc::clone(&self.rules),
        };
        self.opening.layer(MessageLimit::new(inner, meter))
    }
}
