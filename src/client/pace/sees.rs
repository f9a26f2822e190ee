//! Requests as rules see them.

use http::Request;

use crate::{
    client::journey::Journey,
    request::{Http, Plain, RequestKind, RequestView},
};

/// A kind of requests to which `R` belongs: [`Http`] for every [`Request`], and [`Plain<R>`](Plain) for `R`.
pub trait Sees<R>: RequestKind {
    #[doc(hidden)]
    /// Shows the request as rules see it.
    fn show<T>(request: &R, look: impl FnOnce(Self::View<'_>) -> T) -> T;

    #[doc(hidden)]
    /// Tells a retry outside that the call goes on towards the client.
    fn go(request: &R) {
        let _ = request;
    }
}

impl<B> Sees<Request<B>> for Http {
    fn show<T>(request: &Request<B>, look: impl for<'a> FnOnce(&'a RequestView<'a>) -> T) -> T {
        look(&RequestView::of(request))
    }

    fn go(request: &Request<B>) {
        if let Some(journey) = Journey::in_request(request.extensions()) {
            journey.go();
        }
    }
}

impl<R: 'static> Sees<R> for Plain<R> {
    fn show<T>(request: &R, look: impl FnOnce(&R) -> T) -> T {
        look(request)
    }
}
