//! The request on its way in.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::{
    http::{BoxError, poll_bytes},
    messages::{MessageDenied, call_end::EndReason, message_counter::MessageCounter},
    store::{MemoryStore, Store},
};

pin_project! {
    /// The body of a request whose messages are charged as they arrive, in the store `T`.
    ///
    /// When one is denied, neither it nor anything behind it is passed on: the stream ends with a [`MessageDenied`],
    /// once.
    #[derive(Debug)]
    pub struct RequestBody<B, T: Store = MemoryStore> {
        #[pin]
        inner: B,
        count: Option<Box<MessageCounter<T>>>,
        has_failed: bool,
    }
}

impl<B, T: Store> RequestBody<B, T> {
    pub(super) const fn new(inner: B, count: Option<Box<MessageCounter<T>>>) -> Self {
        Self { inner, count, has_failed: false }
    }
}

impl<B, T> Body for RequestBody<B, T>
where
    B: Body,
    B::Error: Into<BoxError>,
    T: Store,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.project();
        let Some(count) = this.count else { return poll_bytes(this.inner, cx) };
        if let Some(end) = count.end() {
            let error = (!std::mem::replace(this.has_failed, true)).then(|| Err(error(end)));
            return Poll::Ready(error);
        }
        if count.is_empty() {
            match ready!(poll_bytes(this.inner, cx)?) {
                Some(frame) if frame.is_data() => count.take(frame.into_data().unwrap_or_default()),
                other => return Poll::Ready(other.map(Ok)),
            }
        }
        let data = ready!(count.poll_admitted(cx));
        let error = count.end().filter(|_| data.is_empty()).map(error);
        *this.has_failed = error.is_some();
        Poll::Ready(Some(error.map_or_else(|| Ok(Frame::data(data)), Err)))
    }

    fn is_end_stream(&self) -> bool {
        let has_passed = |count: &MessageCounter<T>| count.is_empty() && count.end().is_none();
        self.has_failed || self.inner.is_end_stream() && self.count.as_deref().is_none_or(has_passed)
    }

    fn size_hint(&self) -> SizeHint {
        if self.count.is_some() { SizeHint::default() } else { self.inner.size_hint() }
    }
}

fn error(end: &EndReason) -> BoxError {
    match end {
        EndReason::Denied(decision) => MessageDenied::new(decision.clone()).into(),
        EndReason::Unavailable(unavailable) => unavailable.clone().into(),
    }
}
