//! Readers of advice from responses.

use std::{fmt, sync::Arc};

use http::{HeaderMap, Response, StatusCode};

use crate::{
    client::{advice::Advice, answers::AdviceReader},
    limiter::Reservation,
};

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

    #[doc(hidden)]
    /// Settles what a call has reserved, as far as its outcome says what it cost.
    fn settle(&self, outcome: &mut Result<A, E>, reservation: &Reservation) {
        let _ = (outcome, reservation);
    }
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
pub struct ReadHeaders {
    read: Arc<ReadFn>,
    costs: Vec<(Arc<str>, Arc<ReadCostFn>)>,
}

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

/// Reads advice with another reader, and what calls have cost in some unit. [`PaceLayer::settled_by`](super::PaceLayer::settled_by)
/// makes it.
///
/// ```
/// use tower_quota::client::{Advice, pace::{IgnoreAdvice, ReadAdvice, Settled}};
///
/// /// Settles nothing: a layer is needed for that.
/// fn advice<A: ReadAdvice<u64, String>>(reader: &Settled<A, fn(&Result<u64, String>) -> Option<u64>>) -> Advice {
///     reader.read(&Ok(7))
/// }
/// # let _ = advice::<IgnoreAdvice>;
/// ```
#[derive(Clone)]
pub struct Settled<A, F> {
    advice: A,
    unit: Arc<str>,
    cost: F,
}

type ReadFn = dyn Fn(StatusCode, &HeaderMap) -> Advice + Send + Sync;
type ReadCostFn = dyn Fn(StatusCode, &HeaderMap) -> Option<u64> + Send + Sync;

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
        Self { read: Arc::new(read), costs: Vec::new() }
    }

    /// Returns a reader of other advice, and of the same costs.
    pub(super) fn with_advice_of(self, other: Self) -> Self {
        Self { read: other.read, ..self }
    }

    pub(super) fn with_cost(
        mut self,
        unit: &str,
        cost: impl Fn(StatusCode, &HeaderMap) -> Option<u64> + Send + Sync + 'static,
    ) -> Self {
        self.costs.push((unit.into(), Arc::new(cost)));
        self
    }
}

impl<A, F> Settled<A, F> {
    pub(super) fn new(advice: A, unit: &str, cost: F) -> Self {
        Self { advice, unit: unit.into(), cost }
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
            Ok(response) => (self.read)(response.status(), response.headers()),
            Err(_) => Advice::none(),
        }
    }

    fn settle(&self, outcome: &mut Result<Response<B>, E>, reservation: &Reservation) {
        let Ok(response) = outcome else { return };
        for (unit, cost) in &self.costs {
            if let Some(units) = cost(response.status(), response.headers()) {
                reservation.settle(unit, units);
            }
        }
        reservation.record_in(response.extensions_mut());
    }
}

impl<R, F, A, E> ReadAdvice<A, E> for Settled<R, F>
where
    R: ReadAdvice<A, E>,
    F: Fn(&Result<A, E>) -> Option<u64> + Send + Sync + 'static,
{
    fn read(&self, outcome: &Result<A, E>) -> Advice {
        self.advice.read(outcome)
    }

    fn settle(&self, outcome: &mut Result<A, E>, reservation: &Reservation) {
        if let Some(units) = (self.cost)(outcome) {
            reservation.settle(&self.unit, units);
        }
        self.advice.settle(outcome, reservation);
    }
}

impl<A, F> fmt::Debug for Settled<A, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settled").field("unit", &self.unit).finish_non_exhaustive()
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
