//! The kinds of requests that a limiter can decide about.

use std::{fmt, sync::Arc};

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

/// Says which requests a rule governs.
pub(crate) type Condition<K> = Arc<dyn for<'a> Fn(<K as RequestKind>::View<'a>) -> bool + Send + Sync>;

pub(crate) mod sealed {
    pub trait Sealed {}
}
