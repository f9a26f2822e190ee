//! From a request to a ticket, and from a ticket to a call.

use std::{fmt, pin::Pin, sync::Arc};

use tokio::time::Instant;

use crate::{
    client::pace::{
        call::{Call, Reservation},
        error::PaceError,
        layer::PaceLayer,
        sees::Sees,
        ticket::Ticket,
    },
    error::Unavailable,
    limiter::{Decision, Governed, MaybeDecided},
    request::RequestKind,
    store::{Store, Told},
};

/// What comes of asking whether a call may go.
#[derive(Debug)]
pub(super) enum Asked {
    /// It goes now.
    Admitted(Call),
    /// It will be called; at the latest it asks again at this time.
    Later(Instant),
    /// The store takes its time.
    Deciding(Deciding),
}

/// A question that the store takes its time for.
pub(super) struct Deciding {
    pub(super) decision: Pin<Box<dyn Future<Output = Result<Decision, Unavailable>> + Send>>,
    pub(super) reservation: Reservation,
}

impl<K: RequestKind, T: Store, A> PaceLayer<K, T, A> {
    /// What the rules charge a request to.
    pub(super) fn govern<R, E>(&self, request: &R) -> Result<Governed, PaceError<E>>
    where
        K: Sees<R>,
    {
        let limiter = self.try_limiter().map_err(|error| PaceError::Misconfigured(Arc::clone(error)))?;
        let governed = K::show(request, |view| limiter.govern(view, |_| true, &[]));
        governed.map_err(|refused| PaceError::KeyMissing { level: limiter.level_of(refused).to_owned() })
    }

    /// Whether the call may go at once; none if it has to wait, which it begins with when it is polled.
    pub(super) fn ask_at_once<E>(&self, ticket: &Ticket) -> Result<Option<Asked>, PaceError<E>> {
        let Some(reservation) = ticket.reserve_at_once() else { return Ok(None) };
        Ok(match self.question(ticket)? {
            MaybeDecided::Ready(decision) => decision.is_admitted().then(|| Asked::Admitted(reservation.begin())),
            MaybeDecided::Pending(deciding) => Some(Asked::deciding(deciding, reservation)),
        })
    }

    /// Asks whether the call may go now: first its turn, then the store. It waits from now on if it may not.
    pub(super) fn ask<E>(&self, ticket: &mut Ticket) -> Result<Asked, PaceError<E>> {
        let reservation = match ticket.reserve()? {
            Ok(reservation) => reservation,
            Err(until) => return Ok(Asked::Later(until)),
        };
        match self.question(ticket)? {
            MaybeDecided::Ready(decision) => conclude(ticket, reservation, Ok(decision)),
            MaybeDecided::Pending(deciding) => Ok(Asked::deciding(deciding, reservation)),
        }
    }

    fn question<E>(&self, ticket: &Ticket) -> Result<MaybeDecided<T::Future>, PaceError<E>> {
        let limiter = self.try_limiter().map_err(|error| PaceError::Misconfigured(Arc::clone(error)))?;
        Ok(limiter.rule_on(ticket.governed(), Told::Always))
    }
}

impl Asked {
    fn deciding(
        decision: impl Future<Output = Result<Decision, Unavailable>> + Send + 'static,
        reservation: Reservation,
    ) -> Self {
        Self::Deciding(Deciding { decision: Box::pin(decision), reservation })
    }
}

/// Goes on as the store has decided.
pub(super) fn conclude<E>(
    ticket: &mut Ticket,
    reservation: Reservation,
    decided: Result<Decision, Unavailable>,
) -> Result<Asked, PaceError<E>> {
    let decision = decided.map_err(PaceError::Unavailable)?;
    if decision.is_admitted() {
        return Ok(Asked::Admitted(reservation.begin()));
    }
    Ok(Asked::Later(ticket.denied(reservation, &decision)?))
}

impl fmt::Debug for Deciding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Deciding")
    }
}
