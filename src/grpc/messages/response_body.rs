//! The response on its way out.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::grpc::messages::fate::Fate;

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
        Uncounted { #[pin] body: B },
        Counted { #[pin] body: B, fate: Arc<Fate> },
        Text { text: Bytes },
        Ended,
    }
}

impl<B> ResponseBody<B> {
    pub(super) const fn uncounted(body: B) -> Self {
        Self { kind: Kind::Uncounted { body } }
    }

    pub(super) const fn counted(body: B, fate: Arc<Fate>) -> Self {
        Self { kind: Kind::Counted { body, fate } }
    }

    /// That of a refusal, on gRPC nothing: the header fields say it all.
    pub(super) fn told(text: Bytes) -> Self {
        Self { kind: if text.is_empty() { Kind::Ended } else { Kind::Text { text } } }
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let into_bytes = |mut data: B::Data| data.copy_to_bytes(data.remaining());
        let mut kind = self.project().kind;
        let last = match kind.as_mut().project() {
            KindProj::Uncounted { body } => return body.poll_frame(cx).map_ok(|frame| frame.map_data(into_bytes)),
            KindProj::Counted { body, fate } => {
                let has_ended = fate.has_ended();
                let frame = if has_ended { Poll::Pending } else { body.poll_frame(cx) };
                let frame = frame.map_ok(|frame| frame.map_data(into_bytes));
                // Only after the body has been polled: that may be what reads the request.
                match fate.poll_end(cx) {
                    // What was produced before the end is passed on.
                    _ if is_data(&frame) => return frame,
                    Some(end) => Poll::Ready(Some(Ok(Frame::trailers(fate.trailers(&end))))),
                    None if frame.is_pending() => return Poll::Pending,
                    None => frame,
                }
            }
            KindProj::Text { text } => Poll::Ready(Some(Ok(Frame::data(std::mem::take(text))))),
            KindProj::Ended => return Poll::Ready(None),
        };
        kind.set(Kind::Ended);
        last
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Uncounted { body } | Kind::Counted { body, .. } => body.is_end_stream(),
            Kind::Text { .. } => false,
            Kind::Ended => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Uncounted { body } => body.size_hint(),
            Kind::Counted { .. } => SizeHint::default(),
            Kind::Text { text } => SizeHint::with_exact(text.len() as u64),
            Kind::Ended => SizeHint::with_exact(0),
        }
    }
}

fn is_data<E>(frame: &Poll<Option<Result<Frame<Bytes>, E>>>) -> bool {
    matches!(frame, Poll::Ready(Some(Ok(frame))) if frame.is_data())
}
