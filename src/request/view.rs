//! The view of a request that rules and extractors get.

#[cfg(feature = "axum")]
use std::task::{Context, Poll, Waker};
use std::{borrow::Cow, fmt, net::SocketAddr};

use http::{
    Extensions, HeaderMap, Method, Request, Uri,
    header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN},
};

use crate::request::Params;
#[cfg(feature = "axum")]
use crate::request::params::NOT_UTF8;

/// The view of an HTTP request: everything but its body, and the parameters of the route it matched.
///
/// ```
/// use http::Request;
/// use tower_quota::http::RequestView;
///
/// let request = Request::post("/bots/7?dry-run").header("x-account-id", "acme");
/// let request = request.body("{}")?;
/// let view = RequestView::new(&request);
/// assert_eq!((view.method().as_str(), view.uri().path()), ("POST", "/bots/7"));
/// assert_eq!(view.headers()["x-account-id"], "acme");
/// assert_eq!(view.param("botId"), None, "no rule's route has matched yet");
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Clone)]
pub struct RequestView<'a> {
    method: &'a Method,
    uri: &'a Uri,
    headers: &'a HeaderMap,
    extensions: &'a Extensions,
    params: Option<Params<'a>>,
}

impl<'a> RequestView<'a> {
    /// Creates the view of a request.
    #[must_use]
    pub fn new<B>(request: &'a Request<B>) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            extensions: request.extensions(),
            params: None,
        }
    }

    /// Returns the method.
    #[must_use]
    pub const fn method(&self) -> &'a Method {
        self.method
    }

    /// Returns the target.
    #[must_use]
    pub const fn uri(&self) -> &'a Uri {
        self.uri
    }

    /// Returns the header fields.
    #[must_use]
    pub const fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    /// Returns the request extensions: the values that outer layers and the server attached.
    #[must_use]
    pub const fn extensions(&self) -> &'a Extensions {
        self.extensions
    }

    /// Returns the value of a parameter of the matched template, percent-decoded.
    ///
    /// The template is that of the rule's route. For a rule without routes it is, with feature `axum`, the template of
    /// the axum route, with the prefixes below which it is nested: the one that axum's own extractors see where the
    /// layer is.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        match &self.params {
            Some(params) => params.get(name),
            None => self.axum_param(name),
        }
    }

    /// Returns the address of the peer: of the other end of the connection, whatever a header says. See [`PeerAddr`].
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        let peer = self.extensions.get::<PeerAddr>().map(|peer| peer.0);
        peer.or_else(|| self.axum_peer()).or_else(|| self.tonic_peer())
    }

    pub(crate) fn with_params<'b>(&self, params: Params<'b>) -> RequestView<'b>
    where
        'a: 'b,
    {
        RequestView { params: Some(params), ..self.clone() }
    }
}

impl<'a> RequestView<'a> {
    /// Returns the method, and the others that it counts as: with a path, CONNECT is to HTTP/2 what GET is to HTTP/1
    /// for a WebSocket (RFC 8441, section 5); and a server that takes `post` for anything but a method of its own takes
    /// it for POST.
    pub(crate) fn methods(&self) -> impl Iterator<Item = Cow<'a, Method>> + use<'a> {
        let is_extended = *self.method == Method::CONNECT && self.uri.path().starts_with('/');
        let besides = if is_extended { Some(Method::GET) } else { upper_case(self.method) };
        std::iter::once(Cow::Borrowed(self.method)).chain(besides.map(Cow::Owned))
    }

    /// Returns true if the request is a CORS preflight: OPTIONS with `Origin` and `Access-Control-Request-Method` (the
    /// Fetch standard, CORS-preflight fetch).
    ///
    /// A preflight never carries what the page would send: no account, no cookie.
    pub(crate) fn is_preflight(&self) -> bool {
        *self.method == Method::OPTIONS
            && self.headers.contains_key(ORIGIN)
            && self.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
    }
}

/// Returns the method in capital letters, if it is not written so.
fn upper_case(method: &Method) -> Option<Method> {
    let text = method.as_str();
    if !text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        return None;
    }
    Method::from_bytes(text.to_ascii_uppercase().as_bytes()).ok()
}

impl fmt::Debug for RequestView<'_> {
    /// Shows no value of a client or a layer: credentials are in header fields, queries and extensions.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields: Vec<_> = self.headers.keys().map(http::HeaderName::as_str).collect();
        let mut shown = f.debug_struct("RequestView");
        shown.field("method", self.method).field("path", &self.uri.path()).field("fields", &fields);
        shown.finish_non_exhaustive()
    }
}

#[cfg(feature = "axum")]
impl<'a> RequestView<'a> {
    /// Returns the path, from before a router that nests this layer removed a prefix, and whether it counts by itself.
    /// If the path was rewritten then the original one counts too, and so does the one that axum's nesting implies.
    pub(crate) fn paths(&self) -> impl Iterator<Item = (Cow<'a, str>, bool)> + use<'a> {
        let present = self.uri.path();
        let original = self.extensions.get::<axum::extract::OriginalUri>().map(|original| original.0.path());
        let (first, second) = match original {
            None => (present, None),
            Some(original) if self.is_nested(original, present) => (original, None),
            Some(original) => (present, Some(original).filter(|original| *original != present)),
        };
        // axum removes no prefix that has a parameter in a part of a segment.
        let below = if first == present { self.below_prefix(present) } else { None };
        let others = second.map(|path| (path.into(), false)).into_iter().chain(below.map(|path| (path.into(), true)));
        std::iter::once((first.into(), true)).chain(others)
    }

    /// Returns true if the path is the one that the outermost router had: then it means the same to all routers.
    pub(crate) fn is_untouched(&self) -> bool {
        let original = self.extensions.get::<axum::extract::OriginalUri>();
        original.is_none_or(|original| original.0.path() == self.uri.path())
            && self.extensions.get::<axum::extract::NestedPath>().is_none()
    }

    /// Returns the template that axum has matched.
    pub(crate) fn axum_template(&self) -> Option<&'a str> {
        self.extensions.get::<axum::extract::MatchedPath>().map(axum::extract::MatchedPath::as_str)
    }

    /// Returns the parameters of all templates that axum has matched, outermost first, as it gives them to a handler;
    /// `None` if one of them is not UTF-8, because axum does not tell any then.
    pub(crate) fn axum_params(&self) -> Option<Vec<(String, String)>> {
        use axum::extract::{FromRequestParts, RawPathParams, rejection::RawPathParamsRejection};
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.extensions = self.extensions.clone();
        let reading = std::pin::pin!(RawPathParams::from_request_parts(&mut parts, &()));
        // The future never waits.
        match reading.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(params)) => {
                Some(params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
            }
            Poll::Ready(Err(RawPathParamsRejection::InvalidUtf8InPathParam(_))) => None,
            _ => Some(Vec::new()),
        }
    }

    /// Returns the path behind the prefix below which axum has nested this layer, whatever the path was before.
    fn below_prefix(&self, path: &str) -> Option<String> {
        let prefix = self.extensions.get::<axum::extract::NestedPath>()?.as_str().trim_end_matches('/');
        let Some(params) = self.axum_params() else { return self.below_same_prefix(prefix, path) };
        let mut filled = String::new();
        let mut rest = prefix;
        while let Some((before, (name, after))) =
            rest.split_once('{').and_then(|(before, at)| Some((before, at.split_once('}')?)))
        {
            let (_, value) = params.iter().find(|(other, _)| other == name)?;
            filled.push_str(before);
            filled.extend(percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC));
            rest = after;
        }
        Some(filled + rest + path)
    }

    /// Returns the path behind the segments of the original one that the prefix covers.
    fn below_same_prefix(&self, prefix: &str, path: &str) -> Option<String> {
        let original = self.extensions.get::<axum::extract::OriginalUri>()?.0.path();
        let segments = prefix.split('/').count();
        Some(original.split('/').take(segments).collect::<Vec<_>>().join("/") + path)
    }

    /// Returns true if nesting explains the difference to the original path: it lacks as many segments as the prefix
    /// has.
    fn is_nested(&self, original: &str, present: &str) -> bool {
        let Some(nested) = self.extensions.get::<axum::extract::NestedPath>() else { return false };
        let segments = |path: &str| path.bytes().filter(|byte| *byte == b'/').count();
        // Nothing is left of `/api`, which is written as `/`.
        let left = if present == "/" && !original.ends_with('/') { "" } else { present };
        let taken = original.strip_suffix(left);
        taken.is_some_and(|taken| segments(taken) == segments(nested.as_str().trim_end_matches('/')))
    }

    fn axum_peer(&self) -> Option<SocketAddr> {
        use axum::extract::connect_info::{ConnectInfo, MockConnectInfo};
        let real = self.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
        real.or_else(|| self.extensions.get::<MockConnectInfo<SocketAddr>>().map(|info| info.0))
    }

    fn axum_param(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        let Some(params) = self.axum_params() else { return self.has_axum_param(name).then_some(NOT_UTF8.into()) };
        let (_, value) = params.into_iter().find(|(other, _)| other == name)?;
        Some(Cow::Owned(value.into_bytes()))
    }

    fn has_axum_param(&self, name: &str) -> bool {
        let nested = self.extensions.get::<axum::extract::NestedPath>().map(axum::extract::NestedPath::as_str);
        let templates = self.axum_template().into_iter().chain(nested);
        let names =
            templates.flat_map(|template| template.split('{').skip(1)).filter_map(|part| part.split('}').next());
        names.map(|known| known.trim_start_matches('*')).any(|known| known == name)
    }
}

#[cfg(not(feature = "axum"))]
impl<'a> RequestView<'a> {
    pub(crate) fn paths(&self) -> impl Iterator<Item = (Cow<'a, str>, bool)> + use<'a> {
        std::iter::once((self.uri.path().into(), true))
    }

    pub(crate) const fn is_untouched(&self) -> bool {
        true
    }

    pub(crate) const fn axum_template(&self) -> Option<&'a str> {
        None
    }

    pub(crate) const fn axum_params(&self) -> Option<Vec<(String, String)>> {
        Some(Vec::new())
    }

    const fn axum_peer(&self) -> Option<SocketAddr> {
        None
    }

    const fn axum_param(&self, _: &str) -> Option<Cow<'_, [u8]>> {
        None
    }
}

#[cfg(feature = "tonic")]
impl RequestView<'_> {
    /// Returns the address of the peer, if tonic's server accepted the connection.
    ///
    /// tonic's connect info for TLS exists only with its TLS features. Only tonic knows whether one is on, and it
    /// answers through a request.
    fn tonic_peer(&self) -> Option<SocketAddr> {
        match self.extensions.get::<tonic::transport::server::TcpConnectInfo>() {
            Some(info) => info.remote_addr(),
            None if self.extensions.is_empty() => None,
            None => {
                let metadata = tonic::metadata::MetadataMap::new();
                tonic::Request::from_parts(metadata, self.extensions.clone(), ()).remote_addr()
            }
        }
    }
}

#[cfg(not(feature = "tonic"))]
impl RequestView<'_> {
    const fn tonic_peer(&self) -> Option<SocketAddr> {
        None
    }
}

/// The address of the peer, to attach to requests as an extension where connections are accepted.
///
/// With feature `axum` its `ConnectInfo<SocketAddr>` is read as well, or else its `MockConnectInfo<SocketAddr>`, and
/// with feature `tonic` its `TcpConnectInfo`, also within `TlsConnectInfo`. This type has priority over these.
///
/// ```
/// use http::Request;
/// use std::net::SocketAddr;
/// use tower_quota::http::{PeerAddr, RequestView};
///
/// let peer: SocketAddr = "192.0.2.1:4711".parse()?;
/// let request = Request::get("/").extension(PeerAddr(peer)).body(())?;
/// assert_eq!(RequestView::new(&request).peer(), Some(peer));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);

#[cfg(test)]
mod tests {
    use super::*;

    fn methods(method: &str, target: &str) -> Vec<String> {
        let request = Request::builder().method(method).uri(target).body(()).unwrap();
        RequestView::new(&request).methods().map(|method| method.to_string()).collect()
    }

    #[test]
    fn a_method_counts_as_what_a_server_may_take_it_for_as_well() {
        assert_eq!(methods("POST", "/x"), ["POST"]);
        assert_eq!(methods("post", "/x"), ["post", "POST"]);
        assert_eq!(methods("CONNECT", "/ws"), ["CONNECT", "GET"]);
        assert_eq!(methods("CONNECT", "example.org:443"), ["CONNECT"]);
    }
}
