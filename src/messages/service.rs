//! The service: watches the bodies of the calls that it passes on.

use std::{
    error::Error,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::{
    messages::{
        MessageFuture, RequestBody, ResponseBody,
        meter::{MessageMeter, Metering},
    },
    request::RequestView,
    store::{MemoryStore, Store},
};

/// A service behind a [`MessageLimitLayer`](super::MessageLimitLayer), inside of the [`RateLimit`](crate::RateLimit) that charges its calls.
#[derive(Debug)]
pub struct MessageLimit<S, T = MemoryStore> {
    inner: S,
    meter: MessageMeter<T>,
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
        match self.meter.count(&RequestView::new(&request)) {
            Metering::Uncounted => {
                MessageFuture::uncounted(self.inner.call(request.map(|body| RequestBody::new(body, None))))
            }
            Metering::CountedMessages(count) => {
                let fate = Arc::clone(count.fate());
                count.note_in(request.extensions_mut());
                let request = request.map(|body| RequestBody::new(body, Some(count)));
                MessageFuture::counted(self.inner.call(request), fate)
            }
            Metering::Refused(answer) => {
                self.inner = self.inner.clone();
                MessageFuture::refused(answer)
            }
        }
    }
}

/// Lets tonic's `add_service` take a gRPC service behind the layer: it is found under the same name.
#[cfg(feature = "tonic")]
impl<S, T> tonic::server::NamedService for MessageLimit<S, T>
where
    S: tonic::server::NamedService,
{
    const NAME: &'static str = S::NAME;
}
