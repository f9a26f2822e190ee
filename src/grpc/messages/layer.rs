//! The layer.

use std::sync::Arc;

use tower_layer::Layer;

use crate::{
    error::UnknownRule,
    grpc::messages::{MessageLimit, Meter},
    http::RequestView,
    layer::RateLimitLayer,
    service::RateLimit,
};

/// Charges gRPC calls when they open, and some rules for every message of a call as well; made by
/// [`RateLimitLayer::per_message`].
///
/// The charge for the call covers its first message, so a unary call costs one unit and a stream of n messages n. When the
/// policy runs out in the middle of a stream, the call ends with `RESOURCE_EXHAUSTED` and the same details as a call that
/// is refused: what the handler was doing is dropped, and nothing of the denied message reaches it.
///
/// gRPC-Web requests have one message; put this inside of the layer that translates them.
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct MessageLimitLayer {
    opening: RateLimitLayer,
    /// The numbers of the rules that are for every message.
    rules: Arc<[u16]>,
}

impl RateLimitLayer {
    /// Also charges each further message of a gRPC call to these rules, as far as they govern it.
    ///
    /// ```
    /// use tower_quota::{Policy, RateLimiter, Rule, key};
    ///
    /// let rule = |name: &str| Rule::new(name).routes(["/chat.Chat/{*method}"]).level("user", key::metadata("user"));
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
    /// If no rule has one of the names.
    pub fn per_message<'r>(self, rules: impl IntoIterator<Item = &'r str>) -> Result<MessageLimitLayer, UnknownRule> {
        let number = |name| self.limiter().ok_or_else(|| UnknownRule::new(name))?.number_of(name);
        let rules = rules.into_iter().map(number).collect::<Result<_, _>>()?;
        Ok(MessageLimitLayer { opening: self, rules })
    }
}

impl MessageLimitLayer {
    /// What charges the messages of this request; none if no rule does.
    pub(super) fn meter(&self, request: &RequestView<'_>) -> Option<Meter> {
        let limiter = self.opening.limiter()?;
        let governed = limiter.govern(request, |rule| self.rules.contains(&rule)).ok()?;
        (!governed.charges.is_empty()).then(|| Meter::new(limiter.clone(), governed, Arc::clone(self.opening.style())))
    }
}

impl<S> Layer<S> for MessageLimitLayer {
    type Service = RateLimit<MessageLimit<S>>;

    fn layer(&self, inner: S) -> Self::Service {
        self.opening.layer(MessageLimit::new(inner, self.clone()))
    }
}
