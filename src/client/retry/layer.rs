//! The layer.

use tower_layer::Layer;

use crate::client::retry::{policy::RetryPolicy, replay_body::Identity, service::Retry};

const KIB: usize = 1024;

/// Retries the calls of a client as a [`RetryPolicy`] says.
///
/// All services that it makes share the policy's retry budget. See the [module docs](crate::client::retry) for what is
/// retried, and when.
///
/// ```
/// use std::convert::Infallible;
///
/// use bytes::Bytes;
/// use http::{Request, Response};
/// use http_body_util::Full;
/// use tower::{Layer, ServiceExt, service_fn};
/// use tower_quota::client::{
///     RetryLayer, RetryPolicy,
///     retry::{Attempts, ReplayBody},
/// };
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let overloaded = service_fn(async |_: Request<ReplayBody<Full<Bytes>>>| {
///     let response = Response::builder().status(429).header("retry-after", "1");
///     Ok::<_, Infallible>(response.body(()).unwrap())
/// });
/// let policy = RetryPolicy::builder().max_attempts(3).build()?;
/// let client = RetryLayer::new(policy).max_body_copy(1024).layer(overloaded);
///
/// let request = Request::post("https://api.example.com/").body(Full::from("{}"))?;
/// let response = client.oneshot(request).await?;
/// assert_eq!(response.status(), 429, "it is handed back in the end");
/// assert_eq!(response.extensions().get(), Some(&Attempts(3)));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct RetryLayer<W = Identity> {
    policy: RetryPolicy,
    max_body_copy: usize,
    wrap: W,
}

impl RetryLayer {
    /// Creates a layer for clients that take bodies of any type, hence a [`ReplayBody`](super::ReplayBody).
    pub const fn new(policy: RetryPolicy) -> Self {
        Self { policy, max_body_copy: 64 * KIB, wrap: Identity }
    }
}

impl<W> RetryLayer<W> {
    /// Sets how a client's own type of body is made of a [`ReplayBody`](super::ReplayBody): `tonic::body::Body::new` for a
    /// tonic `Channel`, `reqwest::Body::wrap` for reqwest.
    pub fn map_body<V>(self, wrap: V) -> RetryLayer<V> {
        RetryLayer { policy: self.policy, max_body_copy: self.max_body_copy, wrap }
    }

    /// Sets the maximum number of bytes that are copied of each body while it is sent. Defaults to 64 KiB. A call with a
    /// longer body is not retried, unless that is in one piece of [`Bytes`](bytes::Bytes), as `Full<Bytes>` is: keeping
    /// it costs nothing.
    pub fn max_body_copy(self, bytes: usize) -> Self {
        Self { max_body_copy: bytes, ..self }
    }
}

impl<S, W: Clone> Layer<S> for RetryLayer<W> {
    type Service = Retry<S, W>;

    fn layer(&self, inner: S) -> Retry<S, W> {
        Retry::new(self.policy.clone(), inner, self.wrap.clone(), self.max_body_copy)
    }
}
