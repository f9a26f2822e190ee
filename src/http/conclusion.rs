//! What is left to do when a response has ended: the costs of its request are settled.

use std::{sync::Arc, thread};

use http::{Extensions, HeaderMap, Response, StatusCode, header::CONTENT_TYPE};

use crate::{
    grpc::{Protocol, UNKNOWN, status_code},
    limiter::{Reservation, ReservationGuard},
    outcome::Outcome,
};

/// The end of a request that has reserved something. Dropping it is the end as well: the response was cut off, or there
/// was none.
#[derive(Debug)]
pub(crate) struct Conclusion {
    /// `None` as soon as it is concluded.
    guard: Option<ReservationGuard>,
    /// The head of the response, if it is there and some rule counts by the outcome.
    head: Option<ResponseHead>,
    observed: Option<Observed>,
}

#[derive(Debug)]
struct ResponseHead {
    status: StatusCode,
    headers: HeaderMap,
    is_grpc: bool,
}

/// The unit in which the bytes of the response are observed.
#[derive(Debug)]
struct Observed {
    reservation: Reservation,
    unit: Arc<str>,
}

impl Conclusion {
    /// Records what a request has reserved in its extensions, for the handler. Returns what concludes it; `None` if nothing is
    /// to be settled. In the observed unit, the bytes of the response count.
    pub(crate) fn begin(
        reservation: Option<&Reservation>,
        extensions: &mut Extensions,
        observed_unit: Option<&Arc<str>>,
    ) -> Option<Box<Self>> {
        let reservation = reservation?;
        reservation.record_in(extensions);
        let observed = observed_unit.map(|unit| Observed { reservation: reservation.clone(), unit: Arc::clone(unit) });
        Some(Box::new(Self { guard: Some(reservation.guard()?), head: None, observed }))
    }

    /// Takes down what the outcome is made of.
    pub(crate) fn see_head<B>(&mut self, response: &Response<B>) {
        self.observe(0);
        if self.guard.as_ref().is_some_and(ReservationGuard::is_by_outcome) {
            let (status, headers) = (response.status(), response.headers().clone());
            let is_grpc = |content_type| Protocol::from_content_type(content_type) == Protocol::Grpc;
            let is_grpc = headers.get(CONTENT_TYPE).is_some_and(is_grpc);
            self.head = Some(ResponseHead { status, headers, is_grpc });
        }
    }

    /// Observes so many bytes of the response's body.
    pub(crate) fn observe(&self, bytes: usize) {
        if let Some(Observed { reservation, unit }) = &self.observed {
            reservation.observe_more(unit, bytes as u64);
        }
    }

    /// Concludes a response that has ended, with these trailers if it has any.
    pub(crate) fn response_ended(mut self, trailers: Option<&HeaderMap>) {
        let Some(guard) = self.guard.take() else { return };
        let code = |head: &ResponseHead| head.code(trailers).or_else(|| head.is_grpc.then_some(UNKNOWN));
        guard.conclude(self.head.as_ref().map(|head| head.outcome(code(head))).as_ref());
    }

    /// Concludes a response that was cut off. Nobody knows what a gRPC call has come to then, unless its head says so.
    fn response_cut_off(&mut self) {
        let Some(guard) = self.guard.take() else { return };
        // A closure that panicked as well would abort the process.
        let head = self.head.as_ref().filter(|_| !thread::panicking());
        let head = head.filter(|head| !head.is_grpc || head.code(None).is_some());
        guard.conclude(head.map(|head| head.outcome(head.code(None))).as_ref());
    }
}

impl Drop for Conclusion {
    fn drop(&mut self) {
        self.response_cut_off();
    }
}

impl ResponseHead {
    /// Returns the code of a gRPC call, from its trailers or from this head.
    fn code(&self, trailers: Option<&HeaderMap>) -> Option<u32> {
        trailers.and_then(status_code).or_else(|| status_code(&self.headers))
    }

    fn outcome(&self, grpc_code: Option<u32>) -> Outcome<'_> {
        Outcome::from_response(self.status, &self.headers, grpc_code)
    }
}
