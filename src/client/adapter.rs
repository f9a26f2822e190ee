//! Adapter for clients with request and response types of their own.

use std::{
    fmt,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

/// Adapts a client whose requests `Req` are made of [`http::Request`], and whose responses are made into
/// [`http::Response<ResBody>`](http::Response), so that layers can go around it. reqwest's is one.
///
/// A request that cannot be converted is an error of the client, and is not sent.
///
/// ```
/// use tower::{Layer, ServiceExt};
/// use tower_quota::client::{Adapter, RetryLayer, RetryPolicy};
///
/// # async fn send() -> Result<(), reqwest::Error> {
/// // Without a connection nothing was sent, so it may be sent again whatever the method.
/// let policy = RetryPolicy::builder()
///     .unsent_if(reqwest::Error::is_connect)
///     .build()
///     .expect("it has no mistakes");
///
/// let client = reqwest::Client::new();
/// let adapted = Adapter::<_, reqwest::Request, reqwest::Body>::new(client.clone());
/// let retrying = RetryLayer::new(policy).map_body(reqwest::Body::wrap).layer(adapted);
///
/// let request = client.post("https://api.example.com/bots").body("{}").build()?;
/// let response = retrying.oneshot(request.try_into()?).await?;
/// println!("{}", reqwest::Response::from(response).text().await?);
/// # Ok(())
/// # }
/// ```
pub struct Adapter<S, Req, ResBody> {
    inner: S,
    types: PhantomData<fn(Req) -> ResBody>,
}

pin_project! {
    /// The response future of an [`Adapter`].
    pub struct AdapterFuture<F, ResBody, E> {
        #[pin]
        state: AdapterState<F, E>,
        types: PhantomData<fn() -> ResBody>,
    }
}

pin_project! {
    #[project = AdapterStateProj]
    enum AdapterState<F, E> {
        Sent { #[pin] call: F },
        Failed { error: Option<E> },
    }
}

impl<S, Req, ResBody> Adapter<S, Req, ResBody> {
    /// Creates an adapter around this client.
    pub const fn new(inner: S) -> Self {
        Self { inner, types: PhantomData }
    }

    inner_service_accessors!(pub);
}

impl<S, Req, B, ResBody> Service<Request<B>> for Adapter<S, Req, ResBody>
where
    S: Service<Req>,
    S::Response: Into<Response<ResBody>>,
    Req: TryFrom<Request<B>>,
    S::Error: From<Req::Error>,
{
    type Response = Response<ResBody>;
    type Error = S::Error;
    type Future = AdapterFuture<S::Future, ResBody, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let state = match Req::try_from(request) {
            Ok(request) => AdapterState::Sent { call: self.inner.call(request) },
            Err(error) => AdapterState::Failed { error: Some(error.into()) },
        };
        AdapterFuture { state, types: PhantomData }
    }
}

impl<F, T, ResBody, E> Future for AdapterFuture<F, ResBody, E>
where
    F: Future<Output = Result<T, E>>,
    T: Into<Response<ResBody>>,
{
    type Output = Result<Response<ResBody>, E>;

    #[expect(clippy::expect_used, reason = "only a bug polls a future after its completion")]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            AdapterStateProj::Sent { call } => Poll::Ready(ready!(call.poll(cx)).map(Into::into)),
            AdapterStateProj::Failed { error } => Poll::Ready(Err(error.take().expect("polled after completion"))),
        }
    }
}

impl<S: Clone, Req, ResBody> Clone for Adapter<S, Req, ResBody> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone())
    }
}

impl<S: fmt::Debug, Req, ResBody> fmt::Debug for Adapter<S, Req, ResBody> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Adapter").field("inner", &self.inner).finish()
    }
}

impl<F, ResBody, E> fmt::Debug for AdapterFuture<F, ResBody, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdapterFuture").finish_non_exhaustive()
    }
}
