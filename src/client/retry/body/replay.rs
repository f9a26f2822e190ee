//! The body of an attempt.

use std::{
    error::Error,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;

use crate::client::retry::body::source::Source;

type BoxError = Box<dyn Error + Send + Sync>;

/// A request's body that can be sent again, as long as its copy is not too long: made by a
/// [`RetryLayer`](crate::client::RetryLayer).
///
/// Its data is [`Bytes`] whatever the inner body's is. When a further attempt has begun, what an earlier one has not sent
/// yet is not sent by that any more: its body ends with an error.
#[derive(Debug)]
pub struct ReplayBody<B> {
    source: Arc<Mutex<Source<B>>>,
    /// The number of the attempt.
    attempt: u32,
    /// Bytes of the copy that this attempt has sent.
    sent: usize,
    has_sent_trailers: bool,
}

/// A further attempt has begun.
#[derive(Debug, thiserror::Error)]
#[error("the request is being sent again")]
struct SentAgain;

impl<B> ReplayBody<B> {
    pub(in crate::client::retry) fn new(inner: B, limit: usize) -> Self {
        Self::of(Arc::new(Mutex::new(Source::new(inner, limit))), 0)
    }

    /// The body of the next attempt.
    pub(in crate::client::retry) fn again(&self) -> Self {
        Self::of(Arc::clone(&self.source), self.attempt.saturating_add(1))
    }

    /// Keeps earlier attempts from reading on, and tells the one that waits for more. They may have done so until now, and too far.
    pub(in crate::client::retry) fn take_over(&self) -> bool {
        let mut source = self.source.lock();
        if !source.can_be_sent() {
            return false;
        }
        let waker = source.pass_to(self.attempt);
        drop(source);
        waker.into_iter().for_each(Waker::wake);
        true
    }

    const fn of(source: Arc<Mutex<Source<B>>>, attempt: u32) -> Self {
        Self { source, attempt, sent: 0, has_sent_trailers: false }
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
        let mut source = this.source.lock();
        if !source.is_read_by(this.attempt) {
            return Poll::Ready(Some(Err(SentAgain.into())));
        }
        if let Some(data) = source.copy_from(this.sent) {
            this.sent = source.copied();
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if source.has_been_read() {
            let trailers = source.trailers().filter(|_| !this.has_sent_trailers).cloned();
            this.has_sent_trailers = true;
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        }
        // Nobody is left who could send it again.
        if Arc::strong_count(&this.source) == 1 {
            source.forget();
        }
        let polled = source.poll_next(cx).map_err(Into::into);
        this.sent = source.copied();
        this.has_sent_trailers |= source.trailers().is_some();
        polled
    }

    fn is_end_stream(&self) -> bool {
        let source = self.source.lock();
        let has_sent_copy = self.sent >= source.copied() && (self.has_sent_trailers || source.trailers().is_none());
        source.is_read_by(self.attempt) && has_sent_copy && source.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let source = self.source.lock();
        let unsent = source.copied().saturating_sub(self.sent) as u64;
        let behind = source.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(behind.lower().saturating_add(unsent));
        // HTTP/1 has no place for trailers behind a body whose length it knows.
        let upper = behind.upper().filter(|_| source.trailers().is_none());
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
    async fn who_waits_for_more_is_told_that_a_further_attempt_has_begun() {
        let endless = StreamBody::new(tokio_stream::pending::<Result<Frame<Bytes>, Infallible>>());
        let first = ReplayBody::new(endless, 1000);
        let again = first.again();
        let reading = tokio::spawn(timeout(Duration::from_secs(60), first.collect()));
        yield_now().await;
        assert!(again.take_over());
        let error = reading.await.unwrap().unwrap().unwrap_err();
        assert!(error.is::<SentAgain>(), "{error}");
    }
}
