//! The layer.

use tower_layer::Layer;

use crate::client::retry::{AsIs, Retry, RetryPolicy};

const KIB: usize = 1024;

/// Repeats the calls of a client as a [`RetryPolicy`] says.
///
/// See the [module docs](crate::client::retry) for its use. All services it makes share the policy's budget.
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct RetryLayer<W = AsIs> {
    policy: RetryPolicy,
    copy_at_most: usize,
    wrap: W,
}

impl RetryLayer {
    /// Around a client that takes bodies of any type, hence a [`ReplayBody`](super::ReplayBody).
    pub const fn new(policy: RetryPolicy) -> Self {
        Self { policy, copy_at_most: 64 * KIB, wrap: AsIs }
    }
}

impl<W> RetryLayer<W> {
    /// Around a client that takes bodies of one type, which `wrap` makes of a [`ReplayBody`](super::ReplayBody):
    /// `tonic::body::Body::new` for a tonic `Channel`.
    pub fn body<V>(self, wrap: V) -> RetryLayer<V> {
        RetryLayer { policy: self.policy, copy_at_most: self.copy_at_most, wrap }
    }

    /// Bytes that are copied of each body while its call is under way, at most; 64 KiB by default. A call with a longer body
    /// is made once, unless that is in one piece of [`Bytes`](bytes::Bytes), as `Full<Bytes>` is: to keep it costs nothing.
    pub fn copy_at_most(self, bytes: usize) -> Self {
        Self { copy_at_most: bytes, ..self }
    }
}

impl<S, W: Clone> Layer<S> for RetryLayer<W> {
    type Service = Retry<S, W>;

    fn layer(&self, inner: S) -> Retry<S, W> {
        Retry::new(self.policy.clone(), inner, self.wrap.clone(), self.copy_at_most)
    }
}
