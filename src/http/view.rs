//! A request as extractors see it.

#[cfg(feature = "axum")]
use std::task::{Context, Poll, Waker};
use std::{borrow::Cow, net::SocketAddr};

use http::{Extensions, HeaderMap, Method, Request, Uri};

use crate::rule::Params;

/// Everything of a request but its body, and the parameters of the route it matched.
#[derive(Clone, Debug)]
pub struct RequestView<'a> {
    method: &'a Method,
    uri: &'a Uri,
    headers: &'a HeaderMap,
    extensions: &'a Extensions,
    params: Option<Params<'a>>,
}

impl<'a> RequestView<'a> {
    /// The view of a request.
    #[must_use]
    pub fn of<B>(request: &'a Request<B>) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            extensions: request.extensions(),
            params: None,
        }
    }

    /// The method.
    #[must_use]
    pub const fn method(&self) -> &'a Method {
        self.method
    }

    /// The target.
    #[must_use]
    pub const fn uri(&self) -> &'a Uri {
        self.uri
    }

    /// The header fields.
    #[must_use]
    pub const fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    /// What the layers and the server outside of this one attached.
    #[must_use]
    pub const fn extensions(&self) -> &'a Extensions {
        self.extensions
    }

    /// The value of a parameter of the matched template, percent-decoded.
    ///
    /// The template is that of the rule's route. For a rule without routes it is, with feature `axum`, that of the axum
    /// route, with the prefixes below which it is nested: what axum's own extractors see at the place of the layer.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        match &self.params {
            Some(params) => params.get(name),
            None => self.axum_param(name),
        }
    }

    /// The address of the peer: of the other end of the connection, whatever a header says.
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
    /// The method, and the one that it counts as besides: with a path, CONNECT is what GET is in HTTP/1 for a WebSocket
    /// (RFC 8441, section 5).
    pub(crate) fn methods(&self) -> impl Iterator<Item = &'a Method> + use<'a> {
        let is_extended = *self.method == Method::CONNECT && self.uri.path().starts_with('/');
        std::iter::once(self.method).chain(is_extended.then_some(&Method::GET))
    }
}

#[cfg(feature = "axum")]
impl<'a> RequestView<'a> {
    /// The path, before a router that nests this layer took a prefix off. If somebody has rewritten it, both count.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let present = self.uri.path();
        let original = self.extensions.get::<axum::extract::OriginalUri>().map(|original| original.0.path());
        let (first, second) = match original {
            None => (present, None),
            Some(original) if original == present || self.is_nested(original, present) => (original, None),
            Some(original) => (present, Some(original)),
        };
        std::iter::once(first).chain(second)
    }

    /// The template that axum has matched.
    pub(crate) fn axum_template(&self) -> Option<&'a str> {
        self.extensions.get::<axum::extract::MatchedPath>().map(axum::extract::MatchedPath::as_str)
    }

    /// The parameters of all templates that axum has matched, outermost first: what it gives to a handler.
    pub(crate) fn axum_params(&self) -> Vec<(String, String)> {
        use axum::extract::{FromRequestParts, RawPathParams};
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.extensions = self.extensions.clone();
        let reading = std::pin::pin!(RawPathParams::from_request_parts(&mut parts, &()));
        // It waits for nothing.
        match reading.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(params)) => params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            _ => Vec::new(),
        }
    }

    /// Whether what is missing of the original path is what nesting takes off: as many segments as the prefix has.
    fn is_nested(&self, original: &str, present: &str) -> bool {
        let Some(nested) = self.extensions.get::<axum::extract::NestedPath>() else { return false };
        let segments = |path: &str| path.bytes().filter(|byte| *byte == b'/').count();
        // Of `/api` nothing is left, and that is written as `/`.
        let left = if present == "/" && !original.ends_with('/') { "" } else { present };
        let taken = original.strip_suffix(left);
        taken.is_some_and(|taken| segments(taken) == segments(nested.as_str().trim_end_matches('/')))
    }

    fn axum_peer(&self) -> Option<SocketAddr> {
        self.extensions.get::<axum::extract::ConnectInfo<SocketAddr>>().map(|info| info.0)
    }

    fn axum_param(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        let params = self.axum_params();
        let (_, value) = params.into_iter().find(|(other, _)| other == name)?;
        Some(Cow::Owned(value.into_bytes()))
    }
}

#[cfg(not(feature = "axum"))]
impl<'a> RequestView<'a> {
    pub(crate) fn paths(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        std::iter::once(self.uri.path())
    }

    pub(crate) const fn axum_template(&self) -> Option<&'a str> {
        None
    }

    pub(crate) const fn axum_params(&self) -> Vec<(String, String)> {
        Vec::new()
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
    fn tonic_peer(&self) -> Option<SocketAddr> {
        crate::tonic::peer(self.extensions)
    }
}

#[cfg(not(feature = "tonic"))]
impl RequestView<'_> {
    const fn tonic_peer(&self) -> Option<SocketAddr> {
        None
    }
}

/// The peer's address, attached to requests by whoever accepted the connection.
///
/// With feature `axum` its `ConnectInfo<SocketAddr>` is read as well, and with feature `tonic` its `TcpConnectInfo`, within
/// `TlsConnectInfo` too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);
