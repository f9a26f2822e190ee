//! The limiter and the options of a layer, which its services share.

use std::sync::Arc;

use crate::{http::ResponseOptions, limiter::RateLimiter, request::Http};

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
