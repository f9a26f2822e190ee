//! The response on its way out.

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
    /// The inner service's body, until a message of the request is denied: then the call ends with the trailers of a
    /// refusal, and the inner body is dropped, whatever it has to say yet.
    #[derive(Debug)]
    pub struct ResponseBody<B> {
        #[pin]
        body: http::ResponseBody<B>,
        // None if nothing can end it but the body itself.
        fate: Option<Arc<CallEnd>>,
    }
}

impl<B> ResponseBody<B> {
    pub(super) const fn uncounted(body: B) -> Self {
        Self { body: http::ResponseBody::inner(body), fate: None }
    }

    pub(super) const fn counted(body: B, fate: Arc<CallEnd>) -> Self {
        Self { body: http::ResponseBody::inner(body), fate: Some(fate) }
    }

    /// That of a refusal, on gRPC nothing: the header fields say it all.
    pub(super) const fn refusal(body: RefusalBody) -> Self {
        Self { body: http::ResponseBody::refusal(body), fate: None }
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
        let Some(fate) = this.fate else { return this.body.poll_frame(cx) };
        let frame = if fate.has_ended() { Poll::Pending } else { this.body.as_mut().poll_frame(cx) };
        // Only after the body has been polled: that may be what reads the request.
        let last = match fate.poll_end(cx) {
            // What was produced before the end is passed on.
            _ if is_data(&frame) => return frame,
            Some(end) => Poll::Ready(Some(Ok(Frame::trailers(fate.trailers(&end))))),
            None if frame.is_pending() => return Poll::Pending,
            None => frame,
        };
        this.body.set(http::ResponseBody::refusal(RefusalBody::default()));
        *this.fate = None;
        last
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.fate.is_some() { SizeHint::default() } else { self.body.size_hint() }
    }
}

fn is_data<E>(frame: &Poll<Option<Result<Frame<Bytes>, E>>>) -> bool {
    matches!(frame, Poll::Ready(Some(Ok(frame))) if frame.is_data())
}
