//! The response on its way.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::Response;
use http_body::Body;
use pin_project_lite::pin_project;

use crate::{
    http::RefusalBody,
    messages::{ResponseBody, call_end::CallEnd},
};

pin_project! {
    /// The response of a [`MessageLimit`](super::MessageLimit) service.
    ///
    /// If a message is denied before the inner service has answered then the refusal is the answer. Dropping it drops the
    /// inner response; what was charged stays charged.
    #[derive(Debug)]
    pub struct MessageFuture<F> {
        #[pin]
        kind: MessageFutureKind<F>,
    }
}

pin_project! {
    #[project = KindProj]
    #[derive(Debug)]
    enum MessageFutureKind<F> {
        Uncounted { #[pin] inner: F },
        CountedMessages { #[pin] inner: F, fate: Arc<CallEnd> },
        Refused { answer: Option<Response<RefusalBody>> },
    }
}

impl<F> MessageFuture<F> {
    pub(super) const fn uncounted(inner: F) -> Self {
        Self { kind: MessageFutureKind::Uncounted { inner } }
    }

    pub(super) const fn counted(inner: F, fate: Arc<CallEnd>) -> Self {
        Self { kind: MessageFutureKind::CountedMessages { inner, fate } }
    }

    pub(super) const fn refused(answer: Response<RefusalBody>) -> Self {
        Self { kind: MessageFutureKind::Refused { answer: Some(answer) } }
    }
}

impl<F, B, E> Future for MessageFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    #[expect(clippy::expect_used, reason = "as everywhere, a future is not polled after completion")]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().kind.project() {
            KindProj::Uncounted { inner } => inner.poll(cx).map_ok(|response| response.map(ResponseBody::uncounted)),
            KindProj::CountedMessages { inner, fate } => {
                let answer = inner.poll(cx);
                // Only after the inner service has been polled: that may be what reads the request.
                match fate.poll_end(cx) {
                    Some(end) => Poll::Ready(Ok(fate.refusal(&end).map(ResponseBody::refusal))),
                    None => {
                        answer.map_ok(|response| response.map(|body| ResponseBody::counted(body, Arc::clone(fate))))
                    }
                }
            }
            KindProj::Refused { answer } => {
                let answer = answer.take().expect("`MessageFuture` polled after completion");
                Poll::Ready(Ok(answer.map(ResponseBody::refusal)))
            }
        }
    }
}
