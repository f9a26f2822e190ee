//! The request on its way in.

use std::{
    error::Error,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::{
    decision::Decision,
    grpc::messages::{Framing, MessageDenied, Meter},
};

pin_project! {
    /// The body of a request whose messages are charged as they arrive.
    ///
    /// When one is denied, neither it nor anything behind it is passed on: the stream ends with a
    /// [`MessageDenied`].
    #[derive(Debug)]
    pub struct RequestBody<B> {
        #[pin]
        inner: B,
        count: Option<Count>,
    }
}

/// Counts messages as they come.
#[derive(Debug)]
struct Count {
    meter: Arc<Meter>,
    framing: Framing,
    /// The first message is covered by the charge for the call.
    is_first: bool,
    /// The decision that denied a message.
    denied: Option<Decision>,
}

impl<B> RequestBody<B> {
    pub(super) fn counted(inner: B, meter: Arc<Meter>) -> Self {
        let count = Count { meter, framing: Framing::default(), is_first: true, denied: None };
        Self { inner, count: Some(count) }
    }

    pub(super) const fn uncounted(inner: B) -> Self {
        Self { inner, count: None }
    }
}

impl Count {
    /// What of `data` may pass: all of it, or what comes before the first message that is denied.
    fn admitted(&mut self, mut data: Bytes) -> Bytes {
        let mut rest = &*data;
        while self.framing.reads_a_beginning(&mut rest) {
            if std::mem::take(&mut self.is_first) {
                continue;
            }
            self.denied = self.meter.charge_message();
            if self.denied.is_some() {
                let before = data.len() - rest.len() - 1;
                data.truncate(before);
                break;
            }
        }
        data
    }

    fn error(&self) -> Option<Box<dyn Error + Send + Sync>> {
        self.denied.clone().map(|denied| MessageDenied::new(denied).into())
    }
}

impl<B> Body for RequestBody<B>
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.project();
        if let Some(error) = this.count.as_ref().and_then(Count::error) {
            return Poll::Ready(Some(Err(error)));
        }
        let Some(frame) = ready!(this.inner.poll_frame(cx)) else { return Poll::Ready(None) };
        let frame = frame.map_err(Into::into)?.map_data(|mut data| data.copy_to_bytes(data.remaining()));
        let (Some(count), true) = (this.count, frame.is_data()) else { return Poll::Ready(Some(Ok(frame))) };
        let data = count.admitted(frame.into_data().unwrap_or_default());
        let error = count.error().filter(|_| data.is_empty());
        Poll::Ready(Some(error.map_or_else(|| Ok(Frame::data(data)), Err)))
    }

    fn is_end_stream(&self) -> bool {
        self.count.as_ref().is_none_or(|count| count.denied.is_none()) && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
