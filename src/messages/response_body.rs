//! The body of a response, which ends early if a message of the request is denied.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::{
    http::{self, BoxError, RefusalBody},
    messages::call_end::CallEnd,
};

pin_project! {
    /// The body of a response: the inner service's, until a message of the request is denied.
    ///
    /// Then the call ends with the trailers of a refusal, and the rest of the inner body is dropped.
    ///
    /// ```
    /// use http::{Request, Response};
    /// use http_body_util::BodyExt;
    /// use tower::{Layer, ServiceExt, service_fn};
    /// use tower_quota::{Policy, RateLimitLayer, grpc, key};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    /// let layer = RateLimitLayer::new(key::constant("all"), Policy::per_minute(9))?;
    /// let chat = service_fn(async |_| std::io::Result::Ok(Response::new("hello".to_owned())));
    /// let calls = layer.per_message(["default"])?.layer(chat).into_inner();
    ///
    /// let request = Request::post("/Chat/Send").header("content-type", "application/grpc");
    /// let response = calls.oneshot(request.body(String::new())?).await?;
    /// let body: grpc::ResponseBody<String> = response.into_body();
    /// assert_eq!(body.collect().await?.to_bytes(), "hello");
    /// # Ok(())
    /// # }
    /// ```
    #[derive(Debug)]
    pub struct ResponseBody<B> {
        #[pin]
        body: http::ResponseBody<B>,
        // `None` if only the inner body can end the call.
        call_end: Option<Arc<CallEnd>>,
    }
}

impl<B> ResponseBody<B> {
    pub(super) const fn uncounted(body: B) -> Self {
        Self { body: http::ResponseBody::inner(body), call_end: None }
    }

    pub(super) const fn counted(body: B, call_end: Arc<CallEnd>) -> Self {
        Self { body: http::ResponseBody::inner(body), call_end: Some(call_end) }
    }

    /// Creates the body of a refusal, which is empty on gRPC: the header fields are the whole answer.
    pub(super) const fn refusal(body: RefusalBody) -> Self {
        Self { body: http::ResponseBody::refusal(body), call_end: None }
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut this = self.project();
        let Some(call_end) = this.call_end else { return this.body.poll_frame(cx) };
        let frame = if call_end.has_ended() { Poll::Pending } else { this.body.as_mut().poll_frame(cx) };
        // Checked after the body has been polled, which may be what reads the request.
        let last = match call_end.poll_end(cx) {
            // Data that was produced before the end is passed on.
            _ if is_data(&frame) => return frame,
            Some(end) => Poll::Ready(Some(Ok(Frame::trailers(call_end.trailers(&end))))),
            None if frame.is_pending() => return Poll::Pending,
            None => frame,
        };
        this.body.set(http::ResponseBody::refusal(RefusalBody::default()));
        *this.call_end = None;
        last
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.call_end.is_some() { SizeHint::default() } else { self.body.size_hint() }
    }
}

fn is_data<E>(frame: &Poll<Option<Result<Frame<Bytes>, E>>>) -> bool {
    matches!(frame, Poll::Ready(Some(Ok(frame))) if frame.is_data())
}
