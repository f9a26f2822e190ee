//! A decision that is never waited for.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use crate::{error::Unavailable, store::Verdict};

/// The future of a store that answers at once: there is none.
#[derive(Debug)]
pub struct Never(Infallible);

impl Future for Never {
    type Output = Result<Verdict, Unavailable>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        match self.0 {}
    }
}
