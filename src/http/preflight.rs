//! The question of a browser whether a page may send a request.

use http::{
    Method,
    header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN},
};

use crate::request::RequestView;

/// Whether it is a CORS preflight: OPTIONS with `Origin` and `Access-Control-Request-Method` (the Fetch standard, CORS-preflight
/// fetch). It never carries what the page would send: no account, no cookie.
pub(crate) fn is_preflight(request: &RequestView<'_>) -> bool {
    request.method() == Method::OPTIONS
        && request.headers().contains_key(ORIGIN)
        && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}
