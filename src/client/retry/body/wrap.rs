//! From the body that is kept to the body that a client takes.

use crate::client::retry::ReplayBody;

/// Makes the body that a client takes of one that can be sent again. Closures do.
pub trait WrapBody<B> {
    /// What the client takes.
    type Body;

    /// Makes it.
    fn wrap(&self, body: ReplayBody<B>) -> Self::Body;
}

/// For a client that takes any body: nothing is made of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AsIs;

impl<B> WrapBody<B> for AsIs {
    type Body = ReplayBody<B>;

    fn wrap(&self, body: ReplayBody<B>) -> ReplayBody<B> {
        body
    }
}

impl<F, B, T> WrapBody<B> for F
where
    F: Fn(ReplayBody<B>) -> T,
{
    type Body = T;

    fn wrap(&self, body: ReplayBody<B>) -> T {
        self(body)
    }
}
