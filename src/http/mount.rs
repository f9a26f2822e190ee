//! The limiter and the options of a layer, which its services share.

use std::sync::Arc;

use crate::{
    http::ResponseOptions,
    limiter::{RateLimiter, Reservation},
    request::Http,
    store::Store,
};

/// The limiter and the options of a layer. They have one reference count together: servers clone a service for each request,
/// and every clone writes that count.
#[derive(Debug)]
pub(crate) struct Mount<T> {
    /// `None` if every request passes.
    pub(crate) limiter: Option<RateLimiter<Http, T>>,
    pub(crate) options: Arc<ResponseOptions>,
}

impl<T> Clone for Mount<T> {
    fn clone(&self) -> Self {
        Self { limiter: self.limiter.clone(), options: Arc::clone(&self.options) }
    }
}

impl<T: Store> Mount<T> {
    /// Returns the reservation of a request that passes without a decision; `None` if no rule reserves. A handler that needs
    /// one finds it also where a setting has switched the limit off.
    pub(crate) fn empty_reservation(&self) -> Option<Reservation> {
        self.limiter.as_ref().map_or_else(|| Some(Reservation::default()), RateLimiter::empty_reservation)
    }
}
