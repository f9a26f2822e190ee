//! The response on its way.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::Response;
use http_body::Body;
use pin_project_lite::pin_project;

use crate::{
    decision::Decision,
    http::{ResponseBody, Style, add_fields},
};

pin_project! {
    /// The response of a [`RateLimit`](crate::RateLimit) service.
    ///
    /// Dropping it drops the inner response; what was charged stays charged, since the request has begun.
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        kind: Kind<F>,
    }
}

pin_project! {
    #[project = KindProj]
    #[derive(Debug)]
    enum Kind<F> {
        Ungoverned { #[pin] inner: F },
        Admitted { #[pin] inner: F, decision: Option<Decision>, style: Arc<Style> },
        Refused { answer: Option<Response<Bytes>> },
    }
}

impl<F> ResponseFuture<F> {
    pub(crate) const fn ungoverned(inner: F) -> Self {
        Self { kind: Kind::Ungoverned { inner } }
    }

    pub(crate) const fn admitted(inner: F, decision: Decision, style: Arc<Style>) -> Self {
        Self { kind: Kind::Admitted { inner, decision: Some(decision), style } }
    }

    pub(crate) const fn refused(answer: Response<Bytes>) -> Self {
        Self { kind: Kind::Refused { answer: Some(answer) } }
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().kind.project() {
            KindProj::Ungoverned { inner } => Poll::Ready(Ok(ready!(inner.poll(cx))?.map(ResponseBody::inner))),
            KindProj::Admitted { inner, decision, style } => {
                let mut response = ready!(inner.poll(cx))?;
                if let Some(decision) = decision.take().filter(|_| !is_denied_further_in(&response)) {
                    add_fields(&mut response, &decision, style);
                    if style.in_response {
                        response.extensions_mut().insert(decision);
                    }
                }
                Poll::Ready(Ok(response.map(ResponseBody::inner)))
            }
            KindProj::Refused { answer } => match answer.take() {
                Some(answer) => Poll::Ready(Ok(answer.map(ResponseBody::text))),
                // Polled after completion, against the contract of futures: there is nothing to say.
                None => Poll::Pending,
            },
        }
    }
}

/// Whether a limiter further in has denied the request: then its answer is the one that counts.
fn is_denied_further_in<B>(response: &Response<B>) -> bool {
    response.extensions().get::<Decision>().is_some_and(|decision| !decision.is_admitted())
}
