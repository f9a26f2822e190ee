//! The body of an answer to a request that goes no further.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use pin_project_lite::pin_project;

use crate::http::poll_bytes::{BoxError, poll_bytes};

/// The body of an answer to a request that goes no further: bytes, or any other body.
///
/// It is made from `Bytes`, `String`, `Vec<u8>`, `&'static str`, `&'static [u8]`, `()`, with feature `axum` from an
/// `axum::body::Body`, and by [`new`](Self::new) from every other [`Body`].
pub struct RefusalBody(RefusalBodyKind);

enum RefusalBodyKind {
    Bytes(Bytes),
    /// The lock is never waited for; it makes of a body that is `Send` one that is `Sync`.
    Other(Mutex<BoxBody>),
}

type BoxBody = Pin<Box<dyn Body<Data = Bytes, Error = BoxError> + Send>>;

pin_project! {
    /// A body of bytes, whatever its data and its error are.
    struct Uniform<B> {
        #[pin]
        body: B,
    }
}

impl RefusalBody {
    /// Creates one of any body.
    pub fn new<B>(body: B) -> Self
    where
        B: Body + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self(RefusalBodyKind::Other(Mutex::new(Box::pin(Uniform { body }))))
    }

    /// Creates one of bytes.
    pub(crate) const fn from_bytes(bytes: Bytes) -> Self {
        Self(RefusalBodyKind::Bytes(bytes))
    }
}

impl Default for RefusalBody {
    fn default() -> Self {
        Self::from_bytes(Bytes::new())
    }
}

impl Body for RefusalBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.get_mut().0 {
            RefusalBodyKind::Bytes(bytes) => {
                let bytes = std::mem::take(bytes);
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            RefusalBodyKind::Other(body) => body.get_mut().as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            RefusalBodyKind::Bytes(bytes) => bytes.is_empty(),
            RefusalBodyKind::Other(body) => body.lock().is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            RefusalBodyKind::Bytes(bytes) => SizeHint::with_exact(bytes.len() as u64),
            RefusalBodyKind::Other(body) => body.lock().size_hint(),
        }
    }
}

impl<B> Body for Uniform<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        poll_bytes(self.project().body, cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl fmt::Debug for RefusalBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            RefusalBodyKind::Bytes(bytes) => f.debug_tuple("RefusalBody").field(bytes).finish(),
            RefusalBodyKind::Other(_) => f.debug_tuple("RefusalBody").finish_non_exhaustive(),
        }
    }
}

impl From<Bytes> for RefusalBody {
    fn from(bytes: Bytes) -> Self {
        Self::from_bytes(bytes)
    }
}

impl From<String> for RefusalBody {
    fn from(text: String) -> Self {
        Self::from_bytes(text.into())
    }
}

impl From<Vec<u8>> for RefusalBody {
    fn from(bytes: Vec<u8>) -> Self {
        Self::from_bytes(bytes.into())
    }
}

impl From<&'static str> for RefusalBody {
    fn from(text: &'static str) -> Self {
        Self::from_bytes(Bytes::from_static(text.as_bytes()))
    }
}

impl From<&'static [u8]> for RefusalBody {
    fn from(bytes: &'static [u8]) -> Self {
        Self::from_bytes(Bytes::from_static(bytes))
    }
}

impl From<()> for RefusalBody {
    fn from((): ()) -> Self {
        Self::default()
    }
}

#[cfg(feature = "axum")]
impl From<axum::body::Body> for RefusalBody {
    fn from(body: axum::body::Body) -> Self {
        Self::new(body)
    }
}
