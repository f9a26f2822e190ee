//! A request as extractors see it.

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
    /// route.
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

#[cfg(feature = "axum")]
impl RequestView<'_> {
    /// The path before a router that nests this layer took a prefix off.
    pub(crate) fn full_path(&self) -> &str {
        let original = self.extensions.get::<axum::extract::OriginalUri>();
        original.map_or(self.uri, |original| &original.0).path()
    }

    fn axum_peer(&self) -> Option<SocketAddr> {
        self.extensions.get::<axum::extract::ConnectInfo<SocketAddr>>().map(|info| info.0)
    }

    fn axum_param(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        let template = self.extensions.get::<axum::extract::MatchedPath>()?;
        let mut matcher = matchit::Router::new();
        matcher.insert(template.as_str(), ()).ok()?;
        let found = matcher.at(self.full_path()).ok()?;
        let value: Cow<'_, [u8]> = percent_encoding::percent_decode_str(found.params.get(name)?).into();
        Some(Cow::Owned(value.into_owned()))
    }
}

#[cfg(not(feature = "axum"))]
impl RequestView<'_> {
    pub(crate) fn full_path(&self) -> &str {
        self.uri.path()
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
