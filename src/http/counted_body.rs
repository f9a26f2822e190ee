//! A body whose bytes are observed as they pass.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Buf;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::limiter::Reservation;

pin_project! {
    /// A body whose bytes are [observed](Reservation::observe_more) as they are read: what an upload has cost so far.
    ///
    /// A rule that says [`Unsettled::Observed`](crate::Unsettled::Observed) counts them in place of the estimate when the response
    /// has ended. For the bodies of responses there is
    /// [`RateLimitLayer::observe_response_bytes`](crate::RateLimitLayer::observe_response_bytes). A layer cannot do it for requests:
    /// it would change the type of their bodies, which the service has to accept.
    ///
    /// ```
    /// use axum::{Extension, body::Body};
    /// use http_body_util::BodyExt;
    /// use tower_quota::{Reservation, http::CountedBody};
    ///
    /// async fn upload(
    ///     Extension(reservation): Extension<Reservation>,
    ///     body: Body,
    /// ) -> Result<String, http::StatusCode> {
    ///     let mut body = CountedBody::new(body, reservation, "bytes");
    ///     let mut frames = 0;
    ///     while let Some(frame) = body.frame().await {
    ///         frame.map_err(|_| http::StatusCode::BAD_REQUEST)?;
    ///         frames += 1;
    ///     }
    ///     Ok(format!("{frames} frames"))
    /// }
    /// # let _ = axum::Router::<()>::new().route("/", axum::routing::put(upload));
    /// ```
    #[derive(Debug)]
    pub struct CountedBody<B> {
        #[pin]
        inner: B,
        reservation: Reservation,
        unit: Box<str>,
    }
}

impl<B> CountedBody<B> {
    /// Counts the bytes of `inner` in this unit. From now on what has been read counts, be it nothing.
    pub fn new(inner: B, reservation: Reservation, unit: impl Into<String>) -> Self {
        let unit = unit.into().into_boxed_str();
        reservation.observe_more(&unit, 0);
        Self { inner, reservation, unit }
    }

    /// Returns the body, to be read on without being counted.
    pub fn into_inner(self) -> B {
        self.inner
    }
}

impl<B: Body> Body for CountedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let frame = ready!(this.inner.poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            this.reservation.observe_more(this.unit, data.remaining() as u64);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
