//! Frames of any body as frames of bytes.

use std::{
    error::Error,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame};

/// An error of any type, as bodies have it.
pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

/// Polls for the next frame of a body, with its data as bytes.
pub(crate) fn poll_bytes<B>(body: Pin<&mut B>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    let into_bytes = |mut data: B::Data| data.copy_to_bytes(data.remaining());
    body.poll_frame(cx).map_ok(|frame| frame.map_data(into_bytes)).map_err(Into::into)
}
