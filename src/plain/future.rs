//! The response on its way.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

pin_project! {
    /// The response of a [`RateLimit`](super::RateLimit) service: the inner future `F`, or the outcome `O` of a refusal.
    ///
    /// Dropping it drops the inner response; what was charged stays charged, since the request has begun.
    #[derive(Debug)]
    pub struct ResponseFuture<F, O> {
        #[pin]
        kind: Kind<F, O>,
    }
}

pin_project! {
    #[project = KindProj]
    #[derive(Debug)]
    enum Kind<F, O> {
        Admitted { #[pin] inner: F },
        Refused { outcome: Option<O> },
    }
}

impl<F, O> ResponseFuture<F, O> {
    pub(super) const fn admitted(inner: F) -> Self {
        Self { kind: Kind::Admitted { inner } }
    }

    pub(super) const fn refused(outcome: O) -> Self {
        Self { kind: Kind::Refused { outcome: Some(outcome) } }
    }
}

impl<F, O> Future for ResponseFuture<F, O>
where
    F: Future<Output = O>,
{
    type Output = O;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<O> {
        match self.project().kind.project() {
            KindProj::Admitted { inner } => inner.poll(cx),
            // None if polled after completion, against the contract of futures: there is nothing to say.
            KindProj::Refused { outcome } => outcome.take().map_or(Poll::Pending, Poll::Ready),
        }
    }
}
