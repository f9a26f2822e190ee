//! The service, and how the layer makes it.

use std::task::{Context, Poll};

use tower_layer::Layer;
use tower_service::Service;

use crate::{
    client::pace::{
        error::PaceError,
        future::{ResponseFuture, WaitingCall},
        layer::PaceLayer,
        queued_call::Attempted,
        read_advice::ReadAdvice,
        view_of::ViewOf,
    },
    request::RequestKind,
    store::Store,
};

/// A service behind a [`PaceLayer`], which is its `L`.
///
/// A call that finds room goes to the inner service at once. One that does not waits with a clone of it, and nothing is
/// reserved in it meanwhile; when its turn has come the clone is polled ready, the policy is asked, and the clone is
/// called, all in one go. So the inner service is `Clone`, as clients are; put a `tower::buffer::Buffer` around one that
/// is not.
///
/// ```
/// use std::convert::Infallible;
///
/// use http::{Request, Response};
/// use tower::{Layer, Service, ServiceExt, service_fn};
/// use tower_quota::{Policy, client::PaceLayer, client::pace::Pace, key};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let client = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(())));
/// let layer = PaceLayer::new(key::host(), Policy::per_second(1));
/// let mut client: Pace<_> = layer.layer(client);
///
/// let request = Request::get("https://api.example.com/").body(())?;
/// assert_eq!(client.ready().await?.call(request).await?.status(), 200);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Pace<S, L = PaceLayer> {
    inner: S,
    layer: L,
}

impl<S, L> Pace<S, L> {
    inner_service_accessors!(pub);
}

impl<S: Clone, L> Pace<S, L> {
    /// Gives back whatever `poll_ready` had reserved in the inner service, by going on with a clone.
    fn release_readiness(&mut self) {
        self.inner = self.inner.clone();
    }

    /// Takes the inner service that was polled ready, and leaves a clone.
    fn take_ready(&mut self) -> S {
        let clone = self.inner.clone();
        std::mem::replace(&mut self.inner, clone)
    }
}

impl<S, K: RequestKind, T, A: Clone> Layer<S> for PaceLayer<K, T, A> {
    type Service = Pace<S, Self>;

    fn layer(&self, inner: S) -> Pace<S, Self> {
        Pace { inner, layer: self.clone() }
    }
}

impl<S, R, K, T, A> Service<R> for Pace<S, PaceLayer<K, T, A>>
where
    S: Service<R> + Clone,
    K: ViewOf<R>,
    T: Store,
    A: ReadAdvice<S::Response, S::Error> + Clone,
{
    type Response = S::Response;
    type Error = PaceError<S::Error>;
    type Future = ResponseFuture<S, R, PaceLayer<K, T, A>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(PaceError::Inner)
    }

    fn call(&mut self, mut request: R) -> Self::Future {
        let call = match self.layer.queued_call(&request) {
            Ok(Some(call)) => call,
            Ok(None) => return ResponseFuture::unlimited(self.inner.call(request)),
            Err(error) => {
                self.release_readiness();
                return ResponseFuture::failed(error);
            }
        };
        match self.layer.attempt_at_once(&call) {
            Some(Attempted::Admitted(in_flight)) => {
                K::mark_sent(&mut request, in_flight.reservation());
                ResponseFuture::in_flight(self.inner.call(request), in_flight, self.layer.clone())
            }
            Some(Attempted::Deciding(decision)) => {
                let ready = self.take_ready();
                ResponseFuture::waiting(WaitingCall::deciding(ready, request, self.layer.clone(), call, decision))
            }
            Some(Attempted::Queued(_)) | None => {
                self.release_readiness();
                ResponseFuture::waiting(WaitingCall::new(self.inner.clone(), request, self.layer.clone(), call))
            }
        }
    }
}
