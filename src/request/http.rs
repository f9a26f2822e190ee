//! The requests of the `http` crate.

use crate::request::{RequestKind, RequestView, Sealed};

/// Requests of the `http` crate: what axum, hyper and tonic serve.
#[derive(Clone, Copy, Debug)]
pub struct Http;

impl RequestKind for Http {
    type View<'a> = &'a RequestView<'a>;

    fn as_http<'a>(request: Self::View<'a>) -> Option<&'a RequestView<'a>> {
        Some(request)
    }

    fn from_http<'a>(request: &'a RequestView<'a>) -> Option<&'a RequestView<'a>> {
        Some(request)
    }
}

impl Sealed for Http {}
