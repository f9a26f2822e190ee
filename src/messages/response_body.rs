//! The response on its way out.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::{http, messages::fate::Fate};

pin_project! {
    /// The inner service's body, until a message of the request is denied: then the call ends with the trailers of a
    /// refusal, and the inner body is dropped, whatever it has to say yet.
    #[derive(Debug)]
    pub struct ResponseBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProj]
    #[derive(Debug)]
    enum Kind<B> {
        Uncounted { #[pin] body: http::ResponseBody<B> },
        Counted { #[pin] body: http::ResponseBody<B>, fate: Arc<Fate> },
        Ended,
    }
}

impl<B> ResponseBody<B> {
    pub(super) const fn uncounted(body: B) -> Self {
        Self { kind: Kind::Uncounted { body: http::ResponseBody::inner(body) } }
    }

    pub(super) const fn counted(body: B, fate: Arc<Fate>) -> Self {
        Self { kind: Kind::Counted { body: http::ResponseBody::inner(body), fate } }
    }

    /// That of a refusal, on gRPC nothing: the header fields say it all.
    pub(super) const fn told(text: Bytes) -> Self {
        Self { kind: Kind::Uncounted { body: http::ResponseBody::text(text) } }
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut kind = self.project().kind;
        let last = match kind.as_mut().project() {
            KindProj::Uncounted { body } => return body.poll_frame(cx),
            KindProj::Counted { body, fate } => {
                let frame = if fate.has_ended() { Poll::Pending } else { body.poll_frame(cx) };
                // Only after the body has been polled: that may be what reads the request.
                match fate.poll_end(cx) {
                    // What was produced before the end is passed on.
                    _ if is_data(&frame) => return frame,
                    Some(end) => Poll::Ready(Some(Ok(Frame::trailers(fate.trailers(&end))))),
                    None if frame.is_pending() => return Poll::Pending,
                    None => frame,
                }
            }
            KindProj::Ended => return Poll::Ready(None),
        };
        kind.set(Kind::Ended);
        last
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Uncounted { body } | Kind::Counted { body, .. } => body.is_end_stream(),
            Kind::Ended => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Uncounted { body } => body.size_hint(),
            Kind::Counted { .. } => SizeHint::default(),
            Kind::Ended => SizeHint::with_exact(0),
        }
    }
}

fn is_data<E>(frame: &Poll<Option<Result<Frame<Bytes>, E>>>) -> bool {
    matches!(frame, Poll::Ready(Some(Ok(frame))) if frame.is_data())
}
