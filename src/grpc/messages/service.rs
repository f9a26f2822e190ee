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
    grpc::{
        Protocol,
        messages::{MessageFuture, MessageLimitLayer, Meter, RequestBody, ResponseBody},
    },
    http::RequestView,
};

/// A service behind a [`MessageLimitLayer`], inside of the [`RateLimit`](crate::RateLimit) that charges its calls.
#[derive(Clone, Debug)]
pub struct MessageLimit<S> {
    inner: S,
    layer: MessageLimitLayer,
}

impl<S> MessageLimit<S> {
    pub(super) const fn new(inner: S, layer: MessageLimitLayer) -> Self {
        Self { inner, layer }
    }

    /// The inner service.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service.
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }

    /// What charges the messages of this request; none if no rule does.
    fn meter<B>(&self, request: &Request<B>) -> Option<Arc<Meter>> {
        let is_grpc = matches!(Protocol::of(request.headers()), Protocol::Grpc);
        is_grpc.then(|| self.layer.meter(&RequestView::of(request)))?.map(Arc::new)
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for MessageLimit<S>
where
    S: Service<Request<RequestBody<ReqBody>>, Response = Response<ResBody>>,
    ReqBody: Body,
    ReqBody::Error: Into<Box<dyn Error + Send + Sync>>,
    ResBody: Body,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = MessageFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let meter = self.meter(&request);
        let request = request.map(|body| match &meter {
            Some(meter) => RequestBody::counted(body, Arc::clone(meter)),
            None => RequestBody::uncounted(body),
        });
        MessageFuture::new(self.inner.call(request), meter)
    }
}
