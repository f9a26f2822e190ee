//! Requests as rules see them.

use http::Request;

use crate::{
    http::{Http, RequestView},
    kind::RequestKind,
    plain::Plain,
};

/// A kind of requests to which `R` belongs: [`Http`] for every [`Request`], and [`Plain<R>`](Plain) for `R`.
pub trait Sees<R>: RequestKind {
    #[doc(hidden)]
    /// Shows the request as rules see it.
    fn show<T>(request: &R, look: impl FnOnce(Self::View<'_>) -> T) -> T;
}

impl<B> Sees<Request<B>> for Http {
    fn show<T>(request: &Request<B>, look: impl for<'a> FnOnce(&'a RequestView<'a>) -> T) -> T {
        look(&RequestView::of(request))
    }
}

impl<R: 'static> Sees<R> for Plain<R> {
    fn show<T>(request: &R, look: impl FnOnce(&R) -> T) -> T {
        look(request)
    }
}
