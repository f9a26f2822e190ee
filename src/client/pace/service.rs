//! The service.

use std::task::{Context, Poll};

use tower_service::Service;

use crate::{
    client::pace::{
        ask::Asked, error::PaceError, future::ResponseFuture, layer::PaceLayer, reader::ReadAdvice, sees::Sees,
        ticket::Ticket, waiting::Waiting,
    },
    store::Store,
};

/// A service behind a [`PaceLayer`], which is its `L`.
///
/// A call that finds room goes to the inner service at once. One that does not waits with a clone of it, and nothing is
/// reserved in it meanwhile; when its turn has come the clone is polled ready, the policy is asked, and the clone is called,
/// all in one go. So the inner service is `Clone`, as clients are; put a `tower::buffer::Buffer` around one that is not.
#[derive(Clone, Debug)]
pub struct Pace<S, L = PaceLayer> {
    inner: S,
    layer: L,
}

impl<S, L> Pace<S, L> {
    pub(super) const fn new(inner: S, layer: L) -> Self {
        Self { inner, layer }
    }

    /// The inner service.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service.
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, R, K, T, A> Service<R> for Pace<S, PaceLayer<K, T, A>>
where
    S: Service<R> + Clone,
    K: Sees<R>,
    T: Store,
    A: ReadAdvice<S::Response, S::Error> + Clone,
{
    type Response = S::Response;
    type Error = PaceError<S::Error>;
    type Future = ResponseFuture<S, R, PaceLayer<K, T, A>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(PaceError::Inner)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let asked = match self.layer.govern(&request) {
            Ok(governed) if governed.charges.is_empty() => {
                return ResponseFuture::ungoverned(self.inner.call(request));
            }
            Ok(governed) => {
                let ticket = Ticket::draw(self.layer.queues(), governed);
                self.layer.ask_at_once(&ticket).map(|asked| (asked, ticket))
            }
            Err(error) => Err(error),
        };
        let layer = self.layer.clone();
        match asked {
            Ok((Some(Asked::Admitted(call)), _)) => {
                K::go(&request);
                ResponseFuture::begun(self.inner.call(request), call, layer)
            }
            Ok((Some(Asked::Deciding(deciding)), ticket)) => {
                let clone = self.inner.clone();
                let ready = std::mem::replace(&mut self.inner, clone);
                ResponseFuture::waiting(Waiting::deciding(ready, request, layer, ticket, deciding))
            }
            Ok((Some(Asked::Later(_)) | None, ticket)) => {
                self.give_back();
                ResponseFuture::waiting(Waiting::new(self.inner.clone(), request, layer, ticket))
            }
            Err(error) => {
                self.give_back();
                ResponseFuture::failed(error)
            }
        }
    }
}

impl<S: Clone, L> Pace<S, L> {
    /// Gives back what `poll_ready` had reserved in the inner service, by going on with a clone.
    fn give_back(&mut self) {
        self.inner = self.inner.clone();
    }
}
