//! Extracts the host that a request is for.

use std::borrow::Cow;

use http::{
    header::HOST,
    uri::{Authority, Scheme},
};

use crate::{
    key::{KeyBuilder, KeyExtractor, KeyForms, MissingKey},
    request::RequestView,
};

/// Reads the host that a request is for; made by [`host`].
///
/// ```
/// use tower_quota::key::{self, KeyExtractor};
///
/// let host: key::Host = key::host();
/// assert_eq!(host.name(), "host");
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Host;

/// Counts by the host that a request is for, with its port unless that is the default of the scheme.
///
/// The host is that of the request's URI, or of the field `Host` if the URI has none, in lower case and without a final
/// dot. Use it on the client side: a server's clients can send any value.
///
/// ```
/// use http::Request;
/// use tower_quota::{Policy, RateLimiter, Rule, http::RequestView, key};
///
/// let rule = Rule::new("calls").every_request().key(key::host());
/// let limiter = RateLimiter::builder().rule(rule.policy(Policy::per_minute(60))).build()?;
///
/// for uri in ["https://api.example.com/a", "https://API.example.com:443/b"] {
///     let request = Request::get(uri).body(())?;
///     let key = limiter.matching(&RequestView::new(&request))[0].key();
///     assert_eq!(key, Some(limiter.key("api.example.com")));
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub const fn host() -> Host {
    Host
}

impl KeyExtractor for Host {
    fn extract(&self, request: &RequestView<'_>, key: &mut KeyBuilder<'_>) -> Result<(), MissingKey> {
        let uri = request.uri();
        let authority = match uri.authority() {
            Some(authority) => Cow::Borrowed(authority),
            None => Cow::Owned(field(request).ok_or(MissingKey)?),
        };
        key.part(spelled(&authority, uri.scheme()));
        Ok(())
    }

    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed("host")
    }

    fn forms(&self) -> KeyForms {
        KeyForms::texts(1)
    }
}

fn field(request: &RequestView<'_>) -> Option<Authority> {
    request.headers().get(HOST)?.as_bytes().try_into().ok()
}

/// Returns the one spelling of an authority. Without a scheme neither well-known port tells hosts apart.
fn spelled(authority: &Authority, scheme: Option<&Scheme>) -> String {
    let mut host = authority.host().to_ascii_lowercase();
    if host.ends_with('.') {
        host.pop();
    }
    let is_default = match (authority.port_u16(), scheme.map(Scheme::as_str)) {
        (None, _) | (Some(80), None | Some("http" | "ws")) | (Some(443), None | Some("https" | "wss")) => true,
        (Some(_), _) => false,
    };
    if let Some(port) = authority.port_u16().filter(|_| !is_default) {
        host.push_str(&format!(":{port}"));
    }
    host
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;
    use crate::key::{Key, KeyHasher};

    fn keys(uri: &str, field: Option<&str>, expected: &str) -> (Option<Key>, Key) {
        let hasher = KeyHasher::default();
        let request = field.into_iter().fold(Request::get(uri), |request, field| request.header(HOST, field));
        let request = request.body(()).unwrap();
        let (mut found, mut wanted) = (KeyBuilder::new(&hasher), KeyBuilder::new(&hasher));
        wanted.part(expected);
        let result = host().extract(&RequestView::new(&request), &mut found);
        (result.ok().map(|()| found.key()), wanted.key())
    }

    fn assert_host(uri: &str, field: Option<&str>, expected: &str) {
        let (found, wanted) = keys(uri, field, expected);
        assert_eq!(found, Some(wanted), "{uri} {field:?}");
    }

    #[test]
    fn all_spellings_of_a_host_are_one_key() {
        for uri in ["http://a.example/", "http://A.Example:80/x?y", "http://me@a.example/", "http://a.example./"] {
            assert_host(uri, None, "a.example");
        }
        assert_host("https://a.example:443/", None, "a.example");
        assert_host("wss://[2001:DB8::1]:443/", None, "[2001:db8::1]");
    }

    #[test]
    fn another_port_is_another_key() {
        assert_host("http://a.example:8080/", None, "a.example:8080");
        assert_host("http://a.example:443/", None, "a.example:443");
        assert_host("https://a.example:80/", None, "a.example:80");
    }

    #[test]
    fn the_field_says_it_where_the_uri_does_not() {
        assert_host("/path", Some("A.example:80"), "a.example");
        assert_host("/path", Some("a.example:8080"), "a.example:8080");
        assert_host("http://b.example/", Some("a.example"), "b.example");
    }

    #[test]
    fn a_request_without_a_host_has_no_key() {
        assert_eq!(keys("/path", None, "").0, None);
        assert_eq!(keys("/path", Some("not a host"), "").0, None);
    }
}
