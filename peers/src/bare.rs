//! The service that all layers go around, and what drives it.

use std::{
    convert::Infallible,
    hint::{self, black_box},
    pin::pin,
    task::{Context, Poll, Waker},
};

use axum::body::Body;
use http::{HeaderValue, Request, Response};
use tower::{Service, service_fn};

pub(crate) const API_KEY: &str = "x-api-key";

pub(crate) const KEYS: usize = 1_000;

/// Serves one request and says whether it was admitted.
pub(crate) type Serve = Box<dyn FnMut(Request<Body>) -> bool + Send>;

/// A service whose responses carry a header field already, as real ones do.
pub(crate) fn bare()
-> impl Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send> + Clone + Send + 'static {
    service_fn(|_: Request<Body>| async {
        let mut response = Response::new(Body::empty());
        response.headers_mut().insert("content-type", HeaderValue::from_static("text/plain"));
        Ok(response)
    })
}

/// Drives a service whose futures are ready at once, but for locks; an error is a denial.
pub(crate) fn serve<S, B>(mut service: S) -> Serve
where
    S: Service<Request<Body>, Response = Response<B>> + Send + 'static,
{
    Box::new(move |request| is_admitted(&mut service, request))
}

/// Drives it by a clone for each request, as axum does.
pub(crate) fn serve_by_clones<S, B>(service: S) -> Serve
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
{
    Box::new(move |request| is_admitted(&mut service.clone(), request))
}

fn is_admitted<S, B>(service: &mut S, request: Request<Body>) -> bool
where
    S: Service<Request<Body>, Response = Response<B>>,
{
    let mut context = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut context).is_ready(), "the bare service is always ready");
    let mut response = pin!(service.call(request));
    loop {
        match response.as_mut().poll(&mut context) {
            Poll::Ready(Ok(response)) => return black_box(response).status().is_success(),
            Poll::Ready(Err(_)) => return false,
            // Some layers wait for a lock that the other thread holds.
            Poll::Pending => hint::spin_loop(),
        }
    }
}

pub(crate) fn request(key: &str) -> Request<Body> {
    let mut request = Request::new(Body::empty());
    request.headers_mut().insert(API_KEY, HeaderValue::try_from(key).expect("keys are visible ASCII"));
    request
}

/// Requests of a thousand keys in turn.
pub(crate) fn requests(count: usize) -> Vec<Request<Body>> {
    (0..count).map(|number| request(&key(number))).collect()
}

pub(crate) fn key(number: usize) -> String {
    format!("acct-{:020}", number * 7919 % KEYS)
}
