//! Request bodies that can be sent again.

use std::{
    error::Error,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;

use crate::client::retry::shared_body::SharedBody;

type BoxError = Box<dyn Error + Send + Sync>;

/// A request body that can be sent again, as long as its copy is not too long. Made by a
/// [`RetryLayer`](crate::client::RetryLayer).
///
/// Its data is [`Bytes`] whatever the inner body's is. Once a further attempt has begun, an earlier one sends nothing
/// more: its body ends with an error.
///
/// ```
/// use bytes::Bytes;
/// use http_body_util::Full;
/// use hyper_util::client::legacy::{Client, connect::HttpConnector};
/// use tower_quota::client::retry::ReplayBody;
///
/// // The type of a hyper client behind a `RetryLayer`.
/// type HyperClient = Client<HttpConnector, ReplayBody<Full<Bytes>>>;
/// # fn assert_clone<T: Clone>() {}
/// # assert_clone::<HyperClient>();
/// ```
#[derive(Debug)]
pub struct ReplayBody<B> {
    shared: Arc<Mutex<SharedBody<B>>>,
    /// The number of the attempt.
    attempt: u32,
    /// The number of copied bytes that this attempt has sent.
    sent: usize,
    has_sent_trailers: bool,
}

/// Makes the body that a client takes of a [`ReplayBody`]. Closures implement it.
///
/// ```
/// use bytes::Bytes;
/// use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
/// use tower::BoxError;
/// use tower_quota::client::{
///     RetryLayer, RetryPolicy,
///     retry::{ReplayBody, WrapBody},
/// };
///
/// type Boxed = UnsyncBoxBody<Bytes, BoxError>;
///
/// fn assert_wraps<W: WrapBody<Full<Bytes>, Body = Boxed>>(_: &W) {}
///
/// let boxed = |body: ReplayBody<Full<Bytes>>| body.boxed_unsync();
/// assert_wraps(&boxed);
/// let layer = RetryLayer::new(RetryPolicy::default()).map_body(boxed);
/// # let _ = layer;
/// ```
pub trait WrapBody<B> {
    /// The body that the client takes.
    type Body;

    /// Makes the body of an attempt.
    fn wrap(&self, body: ReplayBody<B>) -> Self::Body;
}

/// Leaves bodies as they are, for clients that take any body.
///
/// ```
/// use tower_quota::client::{RetryLayer, RetryPolicy, retry::Identity};
///
/// let layer: RetryLayer<Identity> = RetryLayer::new(RetryPolicy::default());
/// # let _ = layer;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity;

/// The error of a body whose call is being sent again.
#[derive(Debug, thiserror::Error)]
#[error("the request is being sent again")]
struct SentAgain;

impl<B> ReplayBody<B> {
    pub(super) fn new(inner: B, limit: usize) -> Self {
        Self::for_attempt(Arc::new(Mutex::new(SharedBody::new(inner, limit))), 0)
    }

    /// Returns the body of the next attempt.
    pub(super) fn replay(&self) -> Self {
        Self::for_attempt(Arc::clone(&self.shared), self.attempt.saturating_add(1))
    }

    /// Keeps earlier attempts from reading on, and wakes the one that waits for more. Returns `false` if they have read too
    /// far by now.
    pub(super) fn take_over(&self) -> bool {
        let mut shared = self.shared.lock();
        if !shared.can_be_replayed() {
            return false;
        }
        let waker = shared.set_reader(self.attempt);
        drop(shared);
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    const fn for_attempt(shared: Arc<Mutex<SharedBody<B>>>, attempt: u32) -> Self {
        Self { shared, attempt, sent: 0, has_sent_trailers: false }
    }
}

impl<B> WrapBody<B> for Identity {
    type Body = ReplayBody<B>;

    fn wrap(&self, body: ReplayBody<B>) -> ReplayBody<B> {
        body
    }
}

impl<F, B, T> WrapBody<B> for F
where
    F: Fn(ReplayBody<B>) -> T,
{
    type Body = T;

    fn wrap(&self, body: ReplayBody<B>) -> T {
        self(body)
    }
}

impl<B> Body for ReplayBody<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let mut shared = this.shared.lock();
        if !shared.is_reader(this.attempt) {
            return Poll::Ready(Some(Err(SentAgain.into())));
        }
        if let Some(data) = shared.copy_from(this.sent) {
            this.sent = shared.copied();
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if shared.is_complete() {
            let trailers = shared.trailers().filter(|_| !this.has_sent_trailers).cloned();
            this.has_sent_trailers = true;
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        }
        // Nobody is left who could send it again.
        if Arc::strong_count(&this.shared) == 1 {
            shared.drop_copy();
        }
        let polled = shared.poll_next(cx).map_err(Into::into);
        this.sent = shared.copied();
        this.has_sent_trailers |= shared.trailers().is_some();
        polled
    }

    fn is_end_stream(&self) -> bool {
        let shared = self.shared.lock();
        let has_sent_copy = self.sent >= shared.copied() && (self.has_sent_trailers || shared.trailers().is_none());
        shared.is_reader(self.attempt) && has_sent_copy && shared.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let shared = self.shared.lock();
        let unsent = shared.copied().saturating_sub(self.sent) as u64;
        let behind = shared.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(behind.lower().saturating_add(unsent));
        // HTTP/1 has no place for trailers behind a body whose length it knows.
        let upper = behind.upper().filter(|_| shared.trailers().is_none());
        if let Some(upper) = upper.and_then(|upper| upper.checked_add(unsent)) {
            hint.set_upper(upper);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, time::Duration};

    use http_body_util::{BodyExt, StreamBody};
    use tokio::{task::yield_now, time::timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_waits_for_more_is_told_that_a_further_one_has_begun() {
        let endless = StreamBody::new(tokio_stream::pending::<Result<Frame<Bytes>, Infallible>>());
        let first = ReplayBody::new(endless, 1000);
        let again = first.replay();
        let reading = tokio::spawn(timeout(Duration::from_secs(60), first.collect()));
        yield_now().await;
        assert!(again.take_over());
        let error = reading.await.unwrap().unwrap().unwrap_err();
        assert!(error.is::<SentAgain>(), "{error}");
    }
}
