//! The body that several attempts share.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

/// A body that is being sent, and a copy of the part that has been read.
///
/// Bytes are copied rather than shared, since a slice of a few bytes may keep a large buffer alive. A body in one piece
/// is shared whatever its length: keeping it costs nothing.
pub(super) struct SharedBody<B> {
    inner: Pin<Box<B>>,
    copy: BodyCopy,
    trailers: Option<HeaderMap>,
    limit: usize,
    state: CopyState,
    /// The number of the attempt that reads on.
    reader: u32,
    /// The waker of the reader, if it waits for more.
    waker: Option<Waker>,
}

/// A copy of the bytes that have been read.
enum BodyCopy {
    Piecewise(Vec<u8>),
    /// The whole body, in the memory that it came in.
    Whole(Bytes),
}

/// The state of the copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CopyState {
    /// Everything that has been read is in the copy, and there may be more.
    Partial,
    /// The whole body is in the copy.
    Complete,
    /// There is no copy: it would have been too long, or no other attempt can need it.
    Dropped,
    /// The body has failed.
    Failed,
}

impl<B> SharedBody<B> {
    pub(super) fn new(inner: B, limit: usize) -> Self {
        let (copy, trailers) = (BodyCopy::empty(), None);
        Self { inner: Box::pin(inner), copy, trailers, limit, state: CopyState::Partial, reader: 0, waker: None }
    }

    /// Returns `true` if this attempt reads on.
    pub(super) const fn is_reader(&self, attempt: u32) -> bool {
        self.reader == attempt
    }

    /// Lets this attempt read on, and returns the waker of the one before.
    pub(super) const fn set_reader(&mut self, attempt: u32) -> Option<Waker> {
        self.reader = attempt;
        self.waker.take()
    }

    /// Returns `true` if it can be sent from the beginning.
    pub(super) const fn can_be_replayed(&self) -> bool {
        matches!(self.state, CopyState::Partial | CopyState::Complete)
    }

    /// Returns the length of the copy.
    pub(super) const fn copied(&self) -> usize {
        self.copy.len()
    }

    /// Returns the bytes of the copy from there on, if there are any.
    pub(super) fn copy_from(&self, at: usize) -> Option<Bytes> {
        (at < self.copy.len()).then(|| self.copy.slice_from(at))
    }

    /// Returns the trailers, once all has been read.
    pub(super) const fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_ref()
    }

    /// Returns `true` if nothing is left to read.
    pub(super) fn is_complete(&self) -> bool {
        self.state == CopyState::Complete
    }

    /// Drops the copy.
    pub(super) fn drop_copy(&mut self) {
        if self.can_be_replayed() {
            self.state = CopyState::Dropped;
            (self.copy, self.trailers) = (BodyCopy::empty(), None);
        }
    }

    fn copy_piece(&mut self, piece: &BodyPiece) {
        let length = self.copy.len().saturating_add(piece.bytes.len());
        if length <= self.limit {
            if self.state == CopyState::Partial {
                self.copy.extend(&piece.bytes, self.limit);
            }
        } else if piece.is_whole && self.copy.len() == 0 && self.state == CopyState::Partial {
            self.copy = BodyCopy::Whole(piece.bytes.clone());
        } else {
            self.drop_copy();
        }
    }

    fn copy_trailers(&mut self, trailers: &HeaderMap) {
        let length: usize = trailers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        if length > self.limit.saturating_sub(self.copy.len()) {
            self.drop_copy();
        } else if self.state == CopyState::Partial {
            self.trailers = Some(trailers.clone());
            self.state = CopyState::Complete;
        }
    }
}

impl<B: Body> SharedBody<B> {
    /// Polls the next frame behind the copy, and copies it.
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
                    self.copy_piece(&BodyPiece { bytes: bytes.clone(), is_whole });
                }
                if let Some(trailers) = frame.trailers_ref() {
                    self.copy_trailers(trailers);
                }
            }
            Poll::Ready(Some(Err(_))) => self.state = CopyState::Failed,
            Poll::Ready(None) if self.state == CopyState::Partial => self.state = CopyState::Complete,
            Poll::Ready(None) => {}
            Poll::Pending => self.waker = Some(cx.waker().clone()),
        }
        polled
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.is_complete() || self.inner.is_end_stream()
    }

    /// Returns the size hint of the part behind the copy.
    pub(super) fn size_hint(&self) -> SizeHint {
        if self.is_complete() { SizeHint::with_exact(0) } else { self.inner.size_hint() }
    }
}

/// Bytes that were read at once.
struct BodyPiece {
    bytes: Bytes,
    /// It is the whole body, and shares the memory of that.
    is_whole: bool,
}

impl BodyCopy {
    const fn empty() -> Self {
        Self::Piecewise(Vec::new())
    }

    const fn len(&self) -> usize {
        match self {
            Self::Piecewise(bytes) => bytes.len(),
            Self::Whole(bytes) => bytes.len(),
        }
    }

    fn slice_from(&self, at: usize) -> Bytes {
        match self {
            Self::Piecewise(bytes) => Bytes::copy_from_slice(bytes.get(at..).unwrap_or_default()),
            Self::Whole(bytes) => bytes.slice(at.min(bytes.len())..),
        }
    }

    /// Appends bytes, without more capacity than the limit.
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

impl<B> fmt::Debug for SharedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedBody")
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
    fn shared(pieces: usize, length: usize) -> SharedBody<impl Body<Data = Bytes, Error = Infallible>> {
        let piece = Bytes::from(vec![b'a'; length]);
        let pieces = (0..pieces).map(move |_| Ok::<_, Infallible>(Frame::data(piece.clone())));
        SharedBody::new(StreamBody::new(tokio_stream::iter(pieces)), LIMIT)
    }

    fn capacity<B>(shared: &SharedBody<B>) -> usize {
        match &shared.copy {
            BodyCopy::Piecewise(bytes) => bytes.capacity(),
            BodyCopy::Whole(_) => 0,
        }
    }

    fn read_all(shared: &mut SharedBody<impl Body>) -> usize {
        let mut largest = 0;
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(_)) = shared.poll_next(&mut cx) {
            largest = largest.max(capacity(shared));
        }
        largest
    }

    #[test]
    fn a_copy_never_takes_more_memory_than_its_limit() {
        for length in [1, 7, 100, 333, 600, 1000, 1001] {
            let largest = read_all(&mut shared(2000 / length, length));
            assert!(largest <= LIMIT, "{largest} bytes for pieces of {length}");
        }
    }

    #[test]
    fn a_copy_that_would_be_too_long_is_let_go() {
        for (pieces, is_kept) in [(10, true), (11, false)] {
            let mut shared = shared(pieces, 100);
            read_all(&mut shared);
            assert_eq!((shared.can_be_replayed(), capacity(&shared) > 0), (is_kept, is_kept));
        }
    }

    #[test]
    fn a_body_in_one_piece_is_kept_whatever_its_length_and_not_copied() {
        let body = Bytes::from(vec![b'a'; 100 * LIMIT]);
        let mut shared = SharedBody::new(Full::new(body.clone()), LIMIT);
        read_all(&mut shared);
        assert!(shared.can_be_replayed());
        assert_eq!(shared.copy_from(0).unwrap().as_ptr(), body.as_ptr());
        assert_eq!(shared.copy_from(7).unwrap().len(), body.len() - 7);
    }

    #[test]
    fn one_long_piece_of_several_is_not_the_body() {
        let mut shared = shared(2, 10 * LIMIT);
        read_all(&mut shared);
        assert!(!shared.can_be_replayed());
    }

    #[test]
    fn data_that_has_to_be_copied_is_kept_up_to_the_limit() {
        let mut shared = SharedBody::new(Full::new(std::io::Cursor::new(vec![b'a'; 10 * LIMIT])), LIMIT);
        read_all(&mut shared);
        assert!(!shared.can_be_replayed());
    }
}
