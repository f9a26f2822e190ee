//! The service, which wraps the bodies of the calls that it passes on.

use std::{
    error::Error,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::{
    grpc::Protocol,
    http::{Refusal, RefusalBody, ResponseOptions},
    limiter::RateLimiter,
    messages::{
        MessageFuture, RequestBody, ResponseBody,
        call_end::CallEnd,
        message_counter::{CountedMessages, MessageCounter},
    },
    request::{Http, RequestView},
    rule::RuleId,
    store::{MemoryStore, Store},
};

/// A service `S` behind a [`MessageLimitLayer`](super::MessageLimitLayer), inside the [`RateLimit`](crate::RateLimit) that
/// charges its calls.
///
/// ```
/// use tower::{Layer, service_fn};
/// use tower_quota::{Policy, RateLimit, RateLimitLayer, grpc::MessageLimit, key};
///
/// let layer = RateLimitLayer::new(key::constant("all"), Policy::per_minute(9))?;
/// let chat = service_fn(async |name: String| Ok::<_, std::io::Error>(name));
/// let service: RateLimit<MessageLimit<_>> = layer.per_message(["default"])?.layer(chat);
/// let chat = service.into_inner().into_inner();
/// # let _ = chat;
/// # Ok::<(), tower_quota::ConfigError>(())
/// ```
#[derive(Debug)]
pub struct MessageLimit<S, T = MemoryStore> {
    inner: S,
    meter: MessageMeter<T>,
}

/// The rules that messages are charged to, and the options of refusals.
#[derive(Debug)]
pub(super) struct MessageMeter<T> {
    /// `None` if every request passes.
    pub(super) limiter: Option<RateLimiter<Http, T>>,
    pub(super) options: Arc<ResponseOptions>,
    /// The numbers of the rules.
    pub(super) rules: Arc<[RuleId]>,
}

/// The counting of a request's messages.
enum Metering<T: Store> {
    /// No rule charges messages of this request.
    Uncounted,
    Counted(Box<MessageCounter<T>>),
    /// The request is refused, because its messages would escape a rule.
    Refused(Response<RefusalBody>),
}

impl<S, T> MessageLimit<S, T> {
    pub(super) const fn new(inner: S, meter: MessageMeter<T>) -> Self {
        Self { inner, meter }
    }

    inner_service_accessors!(pub);
}

impl<S: Clone, T> Clone for MessageLimit<S, T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), meter: self.meter.clone() }
    }
}

impl<S, T, ReqBody, ResBody> Service<Request<ReqBody>> for MessageLimit<S, T>
where
    S: Service<Request<RequestBody<ReqBody, T>>, Response = Response<ResBody>> + Clone,
    ReqBody: Body,
    ReqBody::Error: Into<Box<dyn Error + Send + Sync>>,
    ResBody: Body,
    T: Store,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = MessageFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        match self.meter.meter(&RequestView::new(&request)) {
            Metering::Uncounted => {
                MessageFuture::uncounted(self.inner.call(request.map(|body| RequestBody::new(body, None))))
            }
            Metering::Counted(counter) => {
                let call_end = Arc::clone(counter.call_end());
                counter.record_in(request.extensions_mut());
                let request = request.map(|body| RequestBody::new(body, Some(counter)));
                MessageFuture::counted(self.inner.call(request), call_end)
            }
            Metering::Refused(answer) => {
                self.inner = self.inner.clone();
                MessageFuture::refused(answer)
            }
        }
    }
}

impl<T: Store> MessageMeter<T> {
    /// Finds the rules that the messages of this request are charged to.
    fn meter(&self, request: &RequestView<'_>) -> Metering<T> {
        let Some(limiter) = &self.limiter else { return Metering::Uncounted };
        let counted = |rulebook: &_| CountedMessages::of_limiter(request.extensions(), rulebook);
        let options = &self.options;
        if options.exempt(request) {
            return Metering::Uncounted;
        }
        match limiter.charges_of(request, |rule| self.rules.contains(&rule), counted) {
            Ok(charges) if charges.charges.charges.is_empty() => Metering::Uncounted,
            Ok(_) if Protocol::from_request(request) != Protocol::Grpc => {
                Metering::Refused(Refusal::NotGrpc.answer(request, options))
            }
            Ok(charges) => {
                let call_end = Arc::new(CallEnd::new(Arc::clone(options)));
                Metering::Counted(Box::new(MessageCounter::new(limiter.clone(), charges, call_end)))
            }
            Err(missing) => {
                let refusal = Refusal::key_missing(missing.names(), missing.status);
                Metering::Refused(refusal.answer(request, options))
            }
        }
    }
}

impl<T> Clone for MessageMeter<T> {
    fn clone(&self) -> Self {
        Self { limiter: self.limiter.clone(), options: Arc::clone(&self.options), rules: Arc::clone(&self.rules) }
    }
}

/// Lets tonic's `add_service` take a gRPC service behind the layer, under the same name.
#[cfg(feature = "tonic")]
impl<S, T> tonic::server::NamedService for MessageLimit<S, T>
where
    S: tonic::server::NamedService,
{
    const NAME: &'static str = S::NAME;
}
