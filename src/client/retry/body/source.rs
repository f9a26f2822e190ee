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
/// Bytes are copied rather than shared, since a slice of a few bytes may keep a large buffer alive; but not those of a body that
/// is in one piece and costs nothing to keep, whatever its length.
pub(super) struct Source<B> {
    inner: Pin<Box<B>>,
    copy: Copy,
    trailers: Option<HeaderMap>,
    limit: usize,
    state: State,
    /// The number of the attempt that reads on.
    reader: u32,
    /// Of the reader, if it waits for more.
    waker: Option<Waker>,
}

/// What has been read.
enum Copy {
    Piecewise(Vec<u8>),
    /// All of the body, in the memory that it came in.
    Whole(Bytes),
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
        let (copy, trailers) = (Copy::empty(), None);
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
    pub(super) fn copy_from(&self, at: usize) -> Option<Bytes> {
        (at < self.copy.len()).then(|| self.copy.from(at))
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
            (self.copy, self.trailers) = (Copy::empty(), None);
        }
    }

    fn keep(&mut self, piece: &Piece) {
        let length = self.copy.len().saturating_add(piece.bytes.len());
        if length <= self.limit {
            if self.state == State::Kept {
                self.copy.extend(&piece.bytes, self.limit);
            }
        } else if piece.is_whole && self.copy.len() == 0 && self.state == State::Kept {
            self.copy = Copy::Whole(piece.bytes.clone());
        } else {
            self.forget();
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
        let mut is_shared = false;
        let into_bytes = |mut data: B::Data| {
            let at = data.chunk().as_ptr();
            let bytes = data.copy_to_bytes(data.remaining());
            is_shared = bytes.as_ptr() == at;
            bytes
        };
        let polled = self.inner.as_mut().poll_frame(cx).map_ok(|frame| frame.map_data(into_bytes));
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(bytes) = frame.data_ref() {
                    let is_whole = is_shared && self.inner.is_end_stream();
                    self.keep(&Piece { bytes: bytes.clone(), is_whole });
                }
                if let Some(trailers) = frame.trailers_ref() {
                    self.keep_trailers(trailers);
                }
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

/// What has been read at once.
struct Piece {
    bytes: Bytes,
    /// It is all of the body, and shares the memory of that.
    is_whole: bool,
}

impl Copy {
    const fn empty() -> Self {
        Self::Piecewise(Vec::new())
    }

    const fn len(&self) -> usize {
        match self {
            Self::Piecewise(bytes) => bytes.len(),
            Self::Whole(bytes) => bytes.len(),
        }
    }

    fn from(&self, at: usize) -> Bytes {
        match self {
            Self::Piecewise(bytes) => Bytes::copy_from_slice(bytes.get(at..).unwrap_or_default()),
            Self::Whole(bytes) => bytes.slice(at.min(bytes.len())..),
        }
    }

    /// Adds what fits into the limit.
    fn extend(&mut self, more: &[u8], limit: usize) {
        let Self::Piecewise(bytes) = self else { return };
        let length = bytes.len().saturating_add(more.len());
        // A vector grows to twice its size by itself, beyond the limit.
        let room = length.max(bytes.len().saturating_mul(2)).min(limit);
        if length > bytes.capacity() {
            bytes.reserve_exact(room.saturating_sub(bytes.len()));
        }
        bytes.extend_from_slice(more);
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

    use http_body_util::{Full, StreamBody};

    use super::*;

    const LIMIT: usize = 1000;

    /// A body in pieces of this length.
    fn source(pieces: usize, length: usize) -> Source<impl Body<Data = Bytes, Error = Infallible>> {
        let piece = Bytes::from(vec![b'a'; length]);
        let pieces = (0..pieces).map(move |_| Ok::<_, Infallible>(Frame::data(piece.clone())));
        Source::new(StreamBody::new(tokio_stream::iter(pieces)), LIMIT)
    }

    fn capacity<B>(source: &Source<B>) -> usize {
        match &source.copy {
            Copy::Piecewise(bytes) => bytes.capacity(),
            Copy::Whole(_) => 0,
        }
    }

    fn read_all(source: &mut Source<impl Body>) -> usize {
        let mut largest = 0;
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(_)) = source.poll_next(&mut cx) {
            largest = largest.max(capacity(source));
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
            assert_eq!((source.can_be_sent(), capacity(&source) > 0), (is_kept, is_kept));
        }
    }

    #[test]
    fn a_body_in_one_piece_is_kept_whatever_its_length_and_not_copied() {
        let body = Bytes::from(vec![b'a'; 100 * LIMIT]);
        let mut source = Source::new(Full::new(body.clone()), LIMIT);
        read_all(&mut source);
        assert!(source.can_be_sent());
        assert_eq!(source.copy_from(0).unwrap().as_ptr(), body.as_ptr());
        assert_eq!(source.copy_from(7).unwrap().len(), body.len() - 7);
    }

    #[test]
    fn one_long_piece_of_several_is_not_the_body() {
        let mut source = source(2, 10 * LIMIT);
        read_all(&mut source);
        assert!(!source.can_be_sent());
    }

    #[test]
    fn data_that_has_to_be_copied_is_kept_up_to_the_limit() {
        let mut source = Source::new(Full::new(std::io::Cursor::new(vec![b'a'; 10 * LIMIT])), LIMIT);
        read_all(&mut source);
        assert!(!source.can_be_sent());
    }
}
