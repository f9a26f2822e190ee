//! The response on its way out.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::grpc::messages::Meter;

pin_project! {
    /// The inner service's body, until a message of the request is denied: then the call ends with the trailers of a
    /// refusal, and the inner body is dropped.
    #[derive(Debug)]
    pub struct ResponseBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProj]
    #[project_replace = KindReplaced]
    #[derive(Debug)]
    enum Kind<B> {
        Uncounted { #[pin] body: B },
        Counted { #[pin] body: B, meter: Arc<Meter> },
        Ended,
    }
}

impl<B> ResponseBody<B> {
    pub(super) fn of(body: B, meter: Option<Arc<Meter>>) -> Self {
        let kind = match meter {
            Some(meter) => Kind::Counted { body, meter },
            None => Kind::Uncounted { body },
        };
        Self { kind }
    }

    /// Nothing: the header fields say it all.
    pub(super) const fn ended() -> Self {
        Self { kind: Kind::Ended }
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
        let trailers = match kind.as_mut().project() {
            KindProj::Uncounted { body } => return body.poll_frame(cx).map_ok(|frame| frame.map_data(into_bytes)),
            KindProj::Counted { body, meter } => {
                let frame = body.poll_frame(cx).map_ok(|frame| frame.map_data(into_bytes));
                // Only after the body has been polled: that may be what reads the request.
                match meter.poll_denied(cx) {
                    Some(decision) if !is_data(&frame) => meter.trailers(&decision),
                    _ => return frame,
                }
            }
            KindProj::Ended => return Poll::Ready(None),
        };
        kind.project_replace(Kind::Ended);
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Uncounted { body } => body.is_end_stream(),
            Kind::Counted { body, meter } => body.is_end_stream() && !meter.has_denied(),
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

/// What was produced before the end is passed on.
fn is_data<E>(frame: &Poll<Option<Result<Frame<Bytes>, E>>>) -> bool {
    matches!(frame, Poll::Ready(Some(Ok(frame))) if frame.is_data())
}
