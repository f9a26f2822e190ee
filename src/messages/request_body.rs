//! The body of a request, and the error at its end if a message is denied.

use std::{
    error::Error,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::{
    http::{BoxError, poll_bytes},
    limiter::Decision,
    messages::{call_end::EndReason, message_counter::MessageCounter},
    store::{MemoryStore, Store},
};

pin_project! {
    /// The body of a request, whose messages are charged in the store `T` as they arrive.
    ///
    /// If a message is denied, neither it nor anything after it is passed on: the stream yields one [`MessageDenied`], and
    /// ends.
    ///
    /// ```
    /// use http::{Request, Response};
    /// use http_body::Body;
    /// use tower::{Layer, ServiceExt, service_fn};
    /// use tower_quota::{Policy, RateLimitLayer, grpc::RequestBody, key};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let layer = RateLimitLayer::new(key::constant("all"), Policy::per_minute(9))?;
    /// let layer = layer.per_message(["default"])?;
    /// let service = layer.layer(service_fn(async |request: Request<RequestBody<String>>| {
    ///     // The number of bytes is not known, because the stream may end early.
    ///     assert_eq!(request.body().size_hint().exact(), None);
    ///     Ok::<_, std::io::Error>(Response::new(String::new()))
    /// }));
    ///
    /// let request = Request::post("/Chat/Send").header("content-type", "application/grpc");
    /// assert_eq!(service.oneshot(request.body(String::new())?).await?.status(), 200);
    /// # Ok(())
    /// # }
    /// ```
    #[derive(Debug)]
    pub struct RequestBody<B, T: Store = MemoryStore> {
        #[pin]
        inner: B,
        counter: Option<Box<MessageCounter<T>>>,
        has_failed: bool,
        // What follows the bytes that were held back when the inner body ended: trailers, or nothing.
        last: Option<Option<Frame<Bytes>>>,
    }
}

/// The error at the end of a stream whose next message was denied. It displays the text for the caller.
///
/// With feature `tonic` its source is a `tonic::Status`, so tonic's handlers get that status from their streams.
///
/// ```
/// use std::error::Error;
///
/// use tower_quota::grpc::MessageDenied;
///
/// /// Returns whether a stream of requests ended because its next message was denied.
/// fn is_denial(error: &(dyn Error + 'static)) -> bool {
///     match error.downcast_ref::<MessageDenied>() {
///         Some(denied) => !denied.decision().is_admitted(),
///         None => error.source().is_some_and(is_denial),
///     }
/// }
///
/// assert!(!is_denial(&std::io::Error::other("the connection is closed")));
/// ```
#[derive(Debug)]
pub struct MessageDenied {
    decision: Decision,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl<B, T: Store> RequestBody<B, T> {
    pub(super) const fn new(inner: B, counter: Option<Box<MessageCounter<T>>>) -> Self {
        Self { inner, counter, has_failed: false, last: None }
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
        let mut this = self.project();
        let Some(counter) = this.counter else { return poll_bytes(this.inner, cx) };
        if let Some(end) = counter.end().filter(|_| counter.needs_more()) {
            let error = (!std::mem::replace(this.has_failed, true)).then(|| Err(error(end)));
            return Poll::Ready(error);
        }
        if let Some(last) = this.last.take() {
            return Poll::Ready(last.map(Ok));
        }
        loop {
            if counter.needs_more() {
                match ready!(poll_bytes(this.inner.as_mut(), cx)?) {
                    Some(frame) if frame.is_data() => counter.take(frame.into_data().unwrap_or_default()),
                    last if counter.is_empty() => return Poll::Ready(last.map(Ok)),
                    last => {
                        // A prefix without its end is no message: whoever reads it finds that out.
                        *this.last = Some(last);
                        return Poll::Ready(Some(Ok(Frame::data(counter.take_begun()))));
                    }
                }
            }
            let data = ready!(counter.poll_admitted(cx));
            if data.is_empty() && counter.end().is_none() && !counter.is_empty() {
                continue;
            }
            let error = counter.end().filter(|_| data.is_empty()).map(error);
            *this.has_failed = error.is_some();
            return Poll::Ready(Some(error.map_or_else(|| Ok(Frame::data(data)), Err)));
        }
    }

    fn is_end_stream(&self) -> bool {
        let has_passed = |counter: &MessageCounter<T>| counter.is_empty() && counter.end().is_none();
        let has_ended = self.last.is_none() && self.inner.is_end_stream();
        self.has_failed || has_ended && self.counter.as_deref().is_none_or(has_passed)
    }

    fn size_hint(&self) -> SizeHint {
        if self.counter.is_some() { SizeHint::default() } else { self.inner.size_hint() }
    }
}

impl MessageDenied {
    pub(super) fn new(decision: Decision) -> Self {
        let source = resource_exhausted(decision.message().unwrap_or_default());
        Self { decision, source }
    }

    /// Returns the decision that denied the message.
    pub const fn decision(&self) -> &Decision {
        &self.decision
    }
}

impl fmt::Display for MessageDenied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.decision.message().unwrap_or_default())
    }
}

impl Error for MessageDenied {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

fn error(end: &EndReason) -> BoxError {
    match end {
        EndReason::Denied(decision) => MessageDenied::new(decision.clone()).into(),
        EndReason::Unavailable(unavailable) => unavailable.clone().into(),
    }
}

/// Returns the status that tonic's handlers find as the source of the error.
#[cfg(feature = "tonic")]
fn resource_exhausted(message: String) -> Option<Box<dyn Error + Send + Sync>> {
    Some(tonic::Status::resource_exhausted(message).into())
}

#[cfg(not(feature = "tonic"))]
fn resource_exhausted(_: String) -> Option<Box<dyn Error + Send + Sync>> {
    None
}
