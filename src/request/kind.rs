//! The kinds of requests that a limiter can decide about.

use std::{fmt, marker::PhantomData, sync::Arc};

use crate::request::RequestView;

/// A kind of requests: [`Http`](crate::request::Http), or [`Plain`](crate::request::Plain) for any type of your own.
///
/// Rules, limiters and extractors have it as their parameter. It is HTTP unless said otherwise, so most code never names
/// it. Nothing else implements this.
pub trait RequestKind: sealed::Sealed + Copy + fmt::Debug + Send + Sync + 'static {
    /// What extractors are shown of a request.
    type View<'a>: Copy;

    #[doc(hidden)]
    /// The request as one that has a path and so can match routes.
    fn as_http<'a>(request: Self::View<'a>) -> Option<&'a RequestView<'a>>;

    #[doc(hidden)]
    /// The reverse of [`as_http`](Self::as_http).
    fn from_http<'a>(request: &'a RequestView<'a>) -> Option<Self::View<'a>>;
}

/// Requests of the `http` crate: what axum, hyper and tonic serve.
#[derive(Clone, Copy, Debug)]
pub struct Http;

/// Requests of type `R`, which need not have anything to do with HTTP. Extractors are shown the request itself.
pub struct Plain<R>(PhantomData<fn(&R)>);

/// Says which requests a rule governs.
pub(crate) type Condition<K> = Arc<dyn for<'a> Fn(<K as RequestKind>::View<'a>) -> bool + Send + Sync>;

impl RequestKind for Http {
    type View<'a> = &'a RequestView<'a>;

    fn as_http<'a>(request: Self::View<'a>) -> Option<&'a RequestView<'a>> {
        Some(request)
    }

    fn from_http<'a>(request: &'a RequestView<'a>) -> Option<&'a RequestView<'a>> {
        Some(request)
    }
}

impl sealed::Sealed for Http {}

/// They have no routes: rules say by conditions which of them they govern.
impl<R: 'static> RequestKind for Plain<R> {
    type View<'a> = &'a R;

    fn as_http<'a>(_: Self::View<'a>) -> Option<&'a RequestView<'a>> {
        None
    }

    fn from_http<'a>(_: &'a RequestView<'a>) -> Option<&'a R> {
        None
    }
}

impl<R> sealed::Sealed for Plain<R> {}

impl<R> Copy for Plain<R> {}

impl<R> Clone for Plain<R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> fmt::Debug for Plain<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Plain")
    }
}

mod sealed {
    pub trait Sealed {}
}
