//! The bodies of responses: the inner service's, or that of a refusal.

use std::{
    error::Error,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http::Response;
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use pin_project_lite::pin_project;

use crate::http::Conclusion;

/// An error of any type, as bodies have it.
pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

pin_project! {
    /// The body of a response: the inner service's, or that of a refusal.
    ///
    /// Its data is [`Bytes`], whatever the inner body's is; an inner body of `Bytes` is passed on without a copy. Its error is
    /// the inner body's in a box, since a refusal may have a body of any type.
    ///
    /// ```
    /// use http::Response;
    /// use http_body::Body;
    /// use tower_quota::http::ResponseBody;
    ///
    /// // The inner service responds with strings.
    /// fn length(response: &Response<ResponseBody<String>>) -> Option<u64> {
    ///     response.body().size_hint().exact()
    /// }
    ///
    /// assert_eq!(length(&Response::default()), Some(0));
    /// ```
    #[derive(Debug)]
    pub struct ResponseBody<B> {
        #[pin]
        kind: BodyKind<B>,
    }
}

pin_project! {
    #[project = KindProj]
    #[derive(Debug)]
    enum BodyKind<B> {
        Inner { #[pin] body: B },
        Concluding { #[pin] body: B, conclusion: Option<Box<Conclusion>> },
        Refusal { body: RefusalBody },
    }
}

/// The body of the answer to a refused request: bytes, or any other body.
///
/// It is made from `Bytes`, `String`, `Vec<u8>`, `&'static str`, `&'static [u8]`, `()`, with feature `axum` from an
/// `axum::body::Body`, and by [`new`](Self::new) from every other [`Body`].
///
/// ```
/// use http_body::Body;
/// use tower_quota::http::RefusalBody;
///
/// let body = RefusalBody::from("slow down");
/// assert_eq!(body.size_hint().exact(), Some(9));
/// assert!(RefusalBody::from(()).is_end_stream());
/// ```
pub struct RefusalBody(RefusalBodyKind);

enum RefusalBodyKind {
    Bytes(Bytes),
    /// The lock is never contended: it only makes a `Send` body `Sync`.
    Other(Mutex<BoxBody>),
}

type BoxBody = Pin<Box<dyn Body<Data = Bytes, Error = BoxError> + Send>>;

/// Polls for the next frame of a body, with its data as bytes.
pub(crate) fn poll_bytes<B>(body: Pin<&mut B>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    let into_bytes = |mut data: B::Data| data.copy_to_bytes(data.remaining());
    body.poll_frame(cx).map_ok(|frame| frame.map_data(into_bytes)).map_err(Into::into)
}

impl<B> ResponseBody<B> {
    pub(crate) const fn inner(body: B) -> Self {
        Self { kind: BodyKind::Inner { body } }
    }

    pub(crate) const fn refusal(body: RefusalBody) -> Self {
        Self { kind: BodyKind::Refusal { body } }
    }
}

impl<B: Body> ResponseBody<B> {
    /// Puts the end of a request at the end of its response: at once, if there is no body to wait for.
    pub(crate) fn concluding(response: Response<B>, mut conclusion: Box<Conclusion>) -> Response<Self> {
        conclusion.see_head(&response);
        if response.body().is_end_stream() {
            conclusion.response_ended(None);
            return response.map(Self::inner);
        }
        response.map(|body| Self { kind: BodyKind::Concluding { body, conclusion: Some(conclusion) } })
    }
}

/// Polls for the next frame of a body, and concludes the request with the last one: servers do not poll for the end if the body
/// says that it is there.
fn poll_concluding<B>(
    mut body: Pin<&mut B>,
    conclusion: &mut Option<Box<Conclusion>>,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, BoxError>>>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    let frame = ready!(poll_bytes(body.as_mut(), cx));
    if let Some(pending) = conclusion.take() {
        match &frame {
            Some(Err(_)) => drop(pending),
            Some(Ok(frame)) => {
                pending.observe(frame.data_ref().map_or(0, Bytes::len));
                if frame.is_trailers() || body.is_end_stream() {
                    pending.response_ended(frame.trailers_ref());
                } else {
                    *conclusion = Some(pending);
                }
            }
            None => pending.response_ended(None),
        }
    }
    Poll::Ready(frame)
}

impl<B: Default> Default for ResponseBody<B> {
    fn default() -> Self {
        Self::inner(B::default())
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.project().kind.project() {
            KindProj::Inner { body } => poll_bytes(body, cx),
            KindProj::Concluding { body, conclusion } => poll_concluding(body, conclusion, cx),
            KindProj::Refusal { body } => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            BodyKind::Inner { body } | BodyKind::Concluding { body, .. } => body.is_end_stream(),
            BodyKind::Refusal { body } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            BodyKind::Inner { body } | BodyKind::Concluding { body, .. } => body.size_hint(),
            BodyKind::Refusal { body } => body.size_hint(),
        }
    }
}

impl RefusalBody {
    /// Creates a refusal's body from any body.
    pub fn new<B>(body: B) -> Self
    where
        B: Body + Send + 'static,
        B::Error: Into<BoxError>,
    {
        // The wrapper converts the data to bytes, and boxes the error.
        Self(RefusalBodyKind::Other(Mutex::new(Box::pin(ResponseBody::inner(body)))))
    }

    /// Creates a refusal's body from bytes.
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
