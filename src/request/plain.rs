//! Requests of any type.

use std::{fmt, marker::PhantomData};

use crate::request::{RequestKind, RequestView, Sealed};

/// Requests of type `R`, which need not have anything to do with HTTP. Extractors are shown the request itself.
pub struct Plain<R>(PhantomData<fn(&R)>);

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

impl<R> Sealed for Plain<R> {}

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
