//! The response on its way.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::Response;
use http_body::Body;
use pin_project_lite::pin_project;

use crate::grpc::messages::{Meter, ResponseBody};

pin_project! {
    /// The response of a [`MessageLimit`](super::MessageLimit) service.
    ///
    /// If a message is denied before the inner service has answered then the refusal is the answer. Dropping it drops the
    /// inner response; what was charged stays charged.
    #[derive(Debug)]
    pub struct MessageFuture<F> {
        #[pin]
        inner: F,
        meter: Option<Arc<Meter>>,
    }
}

impl<F> MessageFuture<F> {
    pub(super) const fn new(inner: F, meter: Option<Arc<Meter>>) -> Self {
        Self { inner, meter }
    }
}

impl<F, B, E> Future for MessageFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = this.inner.poll(cx);
        // Only after the inner service has been polled: that may be what reads the request.
        match this.meter.as_ref().and_then(|meter| Some((meter, meter.poll_denied(cx)?))) {
            Some((meter, decision)) => Poll::Ready(Ok(meter.refusal(&decision).map(|_| ResponseBody::ended()))),
            None => answer.map_ok(|response| response.map(|body| ResponseBody::of(body, this.meter.take()))),
        }
    }
}
