//! What several attempts send the same of.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body, Frame, SizeHint};

/// A body on its way, and a copy of what has been read of it.
///
/// Bytes are copied rather than shared: a slice of a few bytes may keep a large buffer alive.
pub(super) struct Source<B> {
    inner: Pin<Box<B>>,
    copy: Vec<u8>,
    trailers: Option<HeaderMap>,
    limit: usize,
    state: State,
    /// The number of the attempt that reads on.
    reader: u32,
    /// Of the reader, if it waits for more.
    waker: Option<Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// All that has been read is in the copy, and there may be more.
    Kept,
    /// All of it is in the copy.
    Complete,
    /// There is no copy: it would have been too long, or nobody wants one.
    Lost,
    /// The body has failed.
    Failed,
}

impl<B> Source<B> {
    pub(super) fn new(inner: B, limit: usize) -> Self {
        let (copy, trailers) = (Vec::new(), None);
        Self { inner: Box::pin(inner), copy, trailers, limit, state: State::Kept, reader: 0, waker: None }
    }

    /// Whether this attempt reads on.
    pub(super) const fn is_read_by(&self, attempt: u32) -> bool {
        self.reader == attempt
    }

    /// From now on this attempt reads on. The one before is to be told, by its waker.
    pub(super) const fn pass_to(&mut self, attempt: u32) -> Option<Waker> {
        self.reader = attempt;
        self.waker.take()
    }

    /// Whether it can be sent from the beginning.
    pub(super) const fn can_be_sent(&self) -> bool {
        matches!(self.state, State::Kept | State::Complete)
    }

    /// Bytes of the copy.
    pub(super) const fn copied(&self) -> usize {
        self.copy.len()
    }

    /// What is in the copy from there on.
    pub(super) fn copy_from(&self, at: usize) -> Option<&[u8]> {
        self.copy.get(at..).filter(|rest| !rest.is_empty())
    }

    /// The trailers, once all has been read.
    pub(super) const fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_ref()
    }

    /// Whether nothing is left to read.
    pub(super) fn has_been_read(&self) -> bool {
        self.state == State::Complete
    }

    /// Keeps no copy any longer.
    pub(super) fn forget(&mut self) {
        if self.can_be_sent() {
            self.state = State::Lost;
            (self.copy, self.trailers) = (Vec::new(), None);
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let (copied, length) = (self.copy.len(), self.copy.len().saturating_add(bytes.len()));
        if length > self.limit {
            self.forget();
        } else if self.state == State::Kept {
            // A vector grows to twice its size by itself, beyond the limit.
            let room = length.max(copied.saturating_mul(2)).min(self.limit);
            if length > self.copy.capacity() {
                self.copy.reserve_exact(room.saturating_sub(copied));
            }
            self.copy.extend_from_slice(bytes);
        }
    }

    fn keep_trailers(&mut self, trailers: &HeaderMap) {
        let length = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len();
        if trailers.iter().map(length).sum::<usize>() > self.limit.saturating_sub(self.copy.len()) {
            self.forget();
        } else if self.state == State::Kept {
            self.trailers = Some(trailers.clone());
            self.state = State::Complete;
        }
    }
}

impl<B: Body> Source<B> {
    /// The next frame behind the copy, which is copied as well.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let into_bytes = |mut data: B::Data| data.copy_to_bytes(data.remaining());
        let polled = self.inner.as_mut().poll_frame(cx).map_ok(|frame| frame.map_data(into_bytes));
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                frame.data_ref().into_iter().for_each(|data| self.keep(data));
                frame.trailers_ref().into_iter().for_each(|trailers| self.keep_trailers(trailers));
            }
            Poll::Ready(Some(Err(_))) => self.state = State::Failed,
            Poll::Ready(None) if self.state == State::Kept => self.state = State::Complete,
            Poll::Ready(None) => {}
            Poll::Pending => self.waker = Some(cx.waker().clone()),
        }
        polled
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.has_been_read() || self.inner.is_end_stream()
    }

    /// Of what is behind the copy.
    pub(super) fn size_hint(&self) -> SizeHint {
        if self.has_been_read() { SizeHint::with_exact(0) } else { self.inner.size_hint() }
    }
}

impl<B> fmt::Debug for Source<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("copied", &self.copy.len())
            .field("state", &self.state)
            .field("reader", &self.reader)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, task::Waker};

    use http_body_util::StreamBody;

    use super::*;

    const LIMIT: usize = 1000;

    /// A body in pieces of this length.
    fn source(pieces: usize, length: usize) -> Source<impl Body<Data = Bytes, Error = Infallible>> {
        let piece = Bytes::from(vec![b'a'; length]);
        let pieces = (0..pieces).map(move |_| Ok::<_, Infallible>(Frame::data(piece.clone())));
        Source::new(StreamBody::new(tokio_stream::iter(pieces)), LIMIT)
    }

    fn read_all(source: &mut Source<impl Body<Data = Bytes>>) -> usize {
        let mut largest = 0;
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(_)) = source.poll_next(&mut cx) {
            largest = largest.max(source.copy.capacity());
        }
        largest
    }

    #[test]
    fn a_copy_never_takes_more_memory_than_its_limit() {
        for length in [1, 7, 100, 333, 600, 1000, 1001] {
            let largest = read_all(&mut source(2000 / length, length));
            assert!(largest <= LIMIT, "{largest} bytes for pieces of {length}");
        }
    }

    #[test]
    fn a_copy_that_would_be_too_long_is_let_go() {
        for (pieces, is_kept) in [(10, true), (11, false)] {
            let mut source = source(pieces, 100);
            read_all(&mut source);
            assert_eq!((source.can_be_sent(), source.copy.capacity() > 0), (is_kept, is_kept));
        }
    }
}
