//! Readers of advice from responses.

use std::{fmt, sync::Arc};

use http::{HeaderMap, Response, StatusCode};

use crate::client::{advice::Advice, answers::AdviceReader};

/// Reads advice from a response or an error. Closures from `&Result` to [`Advice`] implement it.
///
/// ```
/// use std::time::Duration;
///
/// use tower_quota::client::{Advice, pace::ReadAdvice};
///
/// struct Busy {
///     seconds: u64,
/// }
///
/// #[derive(Clone)]
/// struct ReadBusy;
///
/// impl<A> ReadAdvice<A, Busy> for ReadBusy {
///     fn read(&self, outcome: &Result<A, Busy>) -> Advice {
///         match outcome {
///             Ok(_) => Advice::none(),
///             Err(Busy { seconds }) => {
///                 Advice::none().refused().wait(Duration::from_secs(*seconds))
///             }
///         }
///     }
/// }
///
/// let outcome: Result<(), _> = Err(Busy { seconds: 30 });
/// let advice = ReadBusy.read(&outcome);
/// assert_eq!(advice.wait_time(), Some(Duration::from_secs(30)));
/// ```
pub trait ReadAdvice<A, E>: Send + Sync + 'static {
    /// Reads the outcome of a call.
    fn read(&self, outcome: &Result<A, E>) -> Advice;
}

/// Reads the status and the header fields of HTTP responses. The default reader of a [`PaceLayer`](super::PaceLayer) of
/// HTTP requests.
///
/// ```
/// use std::convert::Infallible;
///
/// use http::Response;
/// use tower_quota::client::pace::{ReadAdvice, ReadHeaders};
///
/// let refused = Response::builder().status(429).body(()).unwrap();
/// let outcome: Result<_, Infallible> = Ok(refused);
/// assert!(ReadHeaders::default().read(&outcome).is_refusal());
/// ```
#[derive(Clone)]
pub struct ReadHeaders(Arc<ReadFn>);

/// Reads no advice. The default reader of a [`PaceLayer`](super::PaceLayer) of requests that are not HTTP.
///
/// ```
/// use tower_quota::client::{Advice, pace::{IgnoreAdvice, ReadAdvice}};
///
/// let outcome: Result<(), &str> = Err("try again in 30 seconds");
/// assert_eq!(IgnoreAdvice::default().read(&outcome), Advice::none());
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct IgnoreAdvice;

type ReadFn = dyn Fn(StatusCode, &HeaderMap) -> Advice + Send + Sync;

impl<F, A, E> ReadAdvice<A, E> for F
where
    F: Fn(&Result<A, E>) -> Advice + Send + Sync + 'static,
{
    fn read(&self, outcome: &Result<A, E>) -> Advice {
        self(outcome)
    }
}

impl ReadHeaders {
    pub(super) fn new(reader: AdviceReader) -> Self {
        Self::from_fn(move |status, headers| reader.read(status, headers))
    }

    pub(super) fn from_fn(read: impl Fn(StatusCode, &HeaderMap) -> Advice + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }
}

impl Default for ReadHeaders {
    /// Creates a reader of the dialects of [`AdviceReader::new`].
    fn default() -> Self {
        Self::new(AdviceReader::new())
    }
}

impl<B, E> ReadAdvice<Response<B>, E> for ReadHeaders {
    fn read(&self, outcome: &Result<Response<B>, E>) -> Advice {
        match outcome {
            Ok(response) => (self.0)(response.status(), response.headers()),
            Err(_) => Advice::none(),
        }
    }
}

impl fmt::Debug for ReadHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReadHeaders")
    }
}

impl<A, E> ReadAdvice<A, E> for IgnoreAdvice {
    fn read(&self, _: &Result<A, E>) -> Advice {
        Advice::none()
    }
}
