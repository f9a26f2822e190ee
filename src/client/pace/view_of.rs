//! From requests to what rules see of them.

use http::Request;

use crate::{
    client::attempt_tracker::AttemptTracker,
    limiter::Reservation,
    request::{Http, Plain, RequestKind, RequestView},
};

/// A kind of requests to which `R` belongs: [`Http`] for every [`Request`], and [`Plain<R>`](Plain) for `R`.
///
/// Nothing else implements this. It is a bound for code that is generic over the kind:
///
/// ```
/// use http::Request;
/// use tower_quota::{client::pace::ViewOf, http::Http, plain::Plain};
///
/// fn assert_paced<K: ViewOf<R>, R>() {}
///
/// assert_paced::<Http, Request<String>>();
/// assert_paced::<Plain<String>, String>();
/// ```
pub trait ViewOf<R>: RequestKind {
    #[doc(hidden)]
    /// Runs `look` on the request as rules see it.
    fn with_view<T>(request: &R, look: impl FnOnce(Self::View<'_>) -> T) -> T;

    #[doc(hidden)]
    /// Tells a retry layer outside that the call goes on towards the client, and services further in what it has reserved.
    fn mark_sent(request: &mut R, reservation: Option<&Reservation>) {
        let _ = (request, reservation);
    }
}

impl<B> ViewOf<Request<B>> for Http {
    fn with_view<T>(request: &Request<B>, look: impl for<'a> FnOnce(&'a RequestView<'a>) -> T) -> T {
        look(&RequestView::new(request))
    }

    fn mark_sent(request: &mut Request<B>, reservation: Option<&Reservation>) {
        if let Some(reservation) = reservation {
            reservation.record_in(request.extensions_mut());
        }
        if let Some(tracker) = AttemptTracker::from_extensions(request.extensions()) {
            tracker.mark_sent();
        }
    }
}

impl<R: 'static> ViewOf<R> for Plain<R> {
    fn with_view<T>(request: &R, look: impl FnOnce(&R) -> T) -> T {
        look(request)
    }
}
