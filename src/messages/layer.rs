//! The layer, and how it is made of another.

use std::sync::Arc;

use tower_layer::Layer;

use crate::{
    error::{ConfigError, UnknownRule},
    http::{RateLimit, RateLimitLayer},
    limiter::RateLimiter,
    messages::{MessageLimit, service::MessageMeter},
    request::Http,
    rule::RuleId,
    store::{MemoryStore, Store},
};

/// Charges gRPC calls when they begin, and charges each message of a call to some rules as well; made by
/// [`RateLimitLayer::per_message`].
///
/// The charge for the call covers its first message, so a unary call costs one unit, and a stream of n messages costs n. A rule may
/// have a [cost of messages](crate::Rule::message_cost), such as their bytes: then every message is charged what it costs. When a
/// quota is exhausted in the middle of a stream, the call ends with `RESOURCE_EXHAUSTED` and the same details as a refused call:
/// the handler's future or response is dropped, and nothing of the denied message reaches it.
///
/// Requests that such a rule governs have to be gRPC: others are refused with 415, because servers handle them without checking
/// the content type. So name rules that are for gRPC methods only, and mount this layer inside one that translates gRPC-Web.
/// The key is read here a second time, so the layers in between must not remove it.
///
/// A client that uploads more messages in one call than the limit admits never succeeds, however often it retries.
///
/// ```
/// use bytes::Bytes;
/// use http::{Request, Response};
/// use http_body_util::{BodyExt, Full};
/// use tower::{Layer, ServiceExt, service_fn};
/// use tower_quota::{Policy, RateLimitLayer, grpc::RequestBody, key};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// // Counts the bytes that it receives.
/// async fn receive(
///     request: Request<RequestBody<Full<Bytes>>>,
/// ) -> Result<Response<String>, Box<dyn std::error::Error + Send + Sync>> {
///     let bytes = request.into_body().collect().await?.to_bytes();
///     Ok(Response::new(bytes.len().to_string()))
/// }
///
/// let layer = RateLimitLayer::new(key::constant("all"), Policy::per_minute(2))?;
/// let service = layer.per_message(["default"])?.layer(service_fn(receive));
/// let call = async |messages: usize| {
///     // An empty message consists of five bytes: a compression flag and the length.
///     let body = Full::new(Bytes::from(vec![0; 5 * messages]));
///     let request = Request::post("/Chat/Send");
///     let request = request.header("content-type", "application/grpc");
///     service.clone().oneshot(request.body(body)?).await
/// };
///
/// // The call itself is charged first, and covers one message: the third finds no room.
/// let response = call(3).await?;
/// assert_eq!(response.headers()["grpc-status"], "8");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct MessageLimitLayer<T = MemoryStore> {
    calls: RateLimitLayer<T>,
    /// The numbers of the rules that are for every message.
    rules: Arc<[RuleId]>,
}

impl<T: Store> RateLimitLayer<T> {
    /// Charges each further message of a gRPC call to those of these rules that govern the call, besides the charge for the call.
    ///
    /// ```
    /// use tower_quota::{Policy, RateLimiter, Rule, key};
    ///
    /// let routes = ["/chat.Chat/{*method}"];
    /// let rule = |name| Rule::new(name).routes(routes).key(key::metadata("user"));
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
    /// The bodies of requests are wrapped, so the inner service has to accept any type of body, as axum's and tonic's do.
    ///
    /// # Errors
    ///
    /// Returns an error if no rule has one of the names, if a rule [reserves](crate::Rule::reserve) its costs or
    /// [counts some outcomes](crate::Rule::count_only), or if no name is given.
    pub fn per_message<'r>(
        self,
        rules: impl IntoIterator<Item = &'r str>,
    ) -> Result<MessageLimitLayer<T>, ConfigError> {
        let unknown = |error: UnknownRule| {
            let reason = format!("there is no rule of this name: {}", error.rules());
            ConfigError::new("per_message", format_args!("{:?}", error.name()), reason)
        };
        let mut names = rules.into_iter().peekable();
        if names.peek().is_none() {
            return Err(ConfigError::new(
                "per_message",
                "[]",
                "name at least one rule: write .per_message([\"messages\"])",
            ));
        }
        let rules = match self.limiter() {
            Some(limiter) => names.map(|name| rule_for_messages(limiter, name, unknown)).collect::<Result<_, _>>()?,
            None => Arc::default(),
        };
        Ok(MessageLimitLayer { calls: self, rules })
    }
}

/// Returns the number of the rule of this name, unless it settles costs.
fn rule_for_messages<T: Store>(
    limiter: &RateLimiter<Http, T>,
    name: &str,
    unknown: impl Fn(UnknownRule) -> ConfigError,
) -> Result<RuleId, ConfigError> {
    let id = limiter.rule_id(name).map_err(unknown)?;
    if limiter.rules().rulebook.rule(id).settling().is_some() {
        let reason = "the rule settles what a call costs, and a message has nothing to settle: name one without .reserve(..) and \
                      .count_only(..)";
        return Err(ConfigError::new("per_message", format_args!("{name:?}"), reason));
    }
    Ok(id)
}

impl<T> Clone for MessageLimitLayer<T> {
    fn clone(&self) -> Self {
        Self { calls: self.calls.clone(), rules: Arc::clone(&self.rules) }
    }
}

impl<S, T> Layer<S> for MessageLimitLayer<T> {
    type Service = RateLimit<MessageLimit<S, T>, T>;

    fn layer(&self, inner: S) -> Self::Service {
        let meter = MessageMeter {
            limiter: self.calls.limiter().cloned(),
            options: Arc::clone(self.calls.options()),
            rules: Arc::clone(&self.rules),
        };
        self.calls.layer(MessageLimit::new(inner, meter))
    }
}
