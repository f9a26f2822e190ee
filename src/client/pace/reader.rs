//! What an answer says about when to call again.

use std::{fmt, sync::Arc};

use http::{HeaderMap, Response, StatusCode};

use crate::client::{Advice, Answers};

/// Reads what an answer, or an error, says about when to call again.
///
/// Closures from `&Result` to [`Advice`] do.
pub trait ReadAdvice<A, E>: Send + Sync + 'static {
    /// What it says.
    fn read(&self, outcome: &Result<A, E>) -> Advice;
}

impl<F, A, E> ReadAdvice<A, E> for F
where
    F: Fn(&Result<A, E>) -> Advice + Send + Sync + 'static,
{
    fn read(&self, outcome: &Result<A, E>) -> Advice {
        self(outcome)
    }
}

/// Reads the status and the header fields of HTTP responses.
#[derive(Clone)]
pub struct Headers(Arc<Read>);

type Read = dyn Fn(StatusCode, &HeaderMap) -> Advice + Send + Sync;

impl Headers {
    pub(super) fn read_by(read: impl Fn(StatusCode, &HeaderMap) -> Advice + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    pub(super) fn answers(answers: Answers) -> Self {
        Self::read_by(move |status, headers| answers.read(status, headers))
    }
}

impl Default for Headers {
    /// What [`Answers`] believes unless told otherwise.
    fn default() -> Self {
        Self::answers(Answers::new())
    }
}

impl<B, E> ReadAdvice<Response<B>, E> for Headers {
    fn read(&self, outcome: &Result<Response<B>, E>) -> Advice {
        outcome.as_ref().map_or_else(|_| Advice::none(), |answer| (self.0)(answer.status(), answer.headers()))
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Headers")
    }
}

/// Reads nothing.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Unread;

impl<A, E> ReadAdvice<A, E> for Unread {
    fn read(&self, _: &Result<A, E>) -> Advice {
        Advice::none()
    }
}
