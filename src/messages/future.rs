//! The future of a response.

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
    /// If a message is denied before the inner service has answered, the refusal is the answer. Dropping the future drops the
    /// inner response; units that were charged stay charged.
    ///
    /// ```
    /// use std::future::{Ready, ready};
    ///
    /// use http::{Request, Response};
    /// use tower::{Layer, Service, service_fn};
    /// use tower_quota::{Policy, RateLimitLayer, grpc::MessageFuture, key};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let layer = RateLimitLayer::new(key::constant("all"), Policy::per_minute(9))?;
    /// let calls = service_fn(|_| ready(std::io::Result::Ok(Response::new(String::new()))));
    /// let mut calls = layer.per_message(["default"])?.layer(calls).into_inner();
    ///
    /// type Answer = Ready<std::io::Result<Response<String>>>;
    /// let request = Request::post("/Chat/Send").header("content-type", "application/grpc");
    /// let answer: MessageFuture<Answer> = calls.call(request.body(String::new())?);
    /// assert_eq!(answer.await?.status(), 200);
    /// # Ok(())
    /// # }
    /// ```
    #[derive(Debug)]
    pub struct MessageFuture<F> {
        #[pin]
        state: MessageCallState<F>,
    }
}

pin_project! {
    #[project = StateProj]
    #[derive(Debug)]
    enum MessageCallState<F> {
        Uncounted { #[pin] inner: F },
        Counted { #[pin] inner: F, call_end: Arc<CallEnd> },
        Refused { answer: Option<Response<RefusalBody>> },
    }
}

impl<F> MessageFuture<F> {
    pub(super) const fn uncounted(inner: F) -> Self {
        Self { state: MessageCallState::Uncounted { inner } }
    }

    pub(super) const fn counted(inner: F, call_end: Arc<CallEnd>) -> Self {
        Self { state: MessageCallState::Counted { inner, call_end } }
    }

    pub(super) const fn refused(answer: Response<RefusalBody>) -> Self {
        Self { state: MessageCallState::Refused { answer: Some(answer) } }
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
        match self.project().state.project() {
            StateProj::Uncounted { inner } => inner.poll(cx).map_ok(|response| response.map(ResponseBody::uncounted)),
            StateProj::Counted { inner, call_end } => {
                let answer = inner.poll(cx);
                // Checked after the inner service has been polled, which may be what reads the request.
                match call_end.poll_end(cx) {
                    Some(end) => Poll::Ready(Ok(call_end.refusal(&end).map(ResponseBody::refusal))),
                    None => {
                        answer.map_ok(|response| response.map(|body| ResponseBody::counted(body, Arc::clone(call_end))))
                    }
                }
            }
            StateProj::Refused { answer } => {
                let answer = answer.take().expect("`MessageFuture` polled after completion");
                Poll::Ready(Ok(answer.map(ResponseBody::refusal)))
            }
        }
    }
}
