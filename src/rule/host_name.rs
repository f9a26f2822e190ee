//! The name of a host that a rule is for.

use http::{HeaderValue, header::HOST, uri::Authority};

use crate::{error::ConfigError, request::RequestView};

/// The host that requests are for, with any port unless it has one.
#[derive(Clone, Debug)]
pub(super) struct HostName {
    /// Without a final dot.
    host: String,
    port: Option<u16>,
}

impl HostName {
    pub(super) fn parse(text: &str) -> Result<Self, ConfigError> {
        let refuse = |reason: &str| ConfigError::new("hosts", format_args!("\"{text}\""), reason);
        if text.contains('*') {
            return Err(refuse("a host has no wildcards: name each of them, or write a condition in code"));
        }
        let is_host =
            text.parse::<Authority>().is_ok_and(|authority| authority == *text && !authority.host().is_empty());
        let (host, port) = split_port(text);
        let has_port = port.is_some() || host == text;
        if !is_host || text.contains('@') || !has_port {
            return Err(refuse("not a host such as \"api.example.com\", with or without a port"));
        }
        Ok(Self { host: without_final_dot(host).to_owned(), port })
    }

    /// Returns true if the request is for one of the hosts, by its target or by a field `Host`. A router may go by either.
    pub(super) fn any_is_of(hosts: &[Self], request: &RequestView<'_>) -> bool {
        let target = request.uri().authority().map(Authority::as_str);
        let fields = request.headers().get_all(HOST).iter().map(HeaderValue::to_str).filter_map(Result::ok);
        let mut named = target.into_iter().chain(fields);
        named.any(|authority| hosts.iter().any(|host| host.is_named_by(authority)))
    }

    fn is_named_by(&self, authority: &str) -> bool {
        let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let (host, port) = split_port(authority);
        self.host.eq_ignore_ascii_case(without_final_dot(host)) && self.port.is_none_or(|own| names_port(port, own))
    }
}

/// Returns true if a port is meant. Which one is left out depends on the scheme, which a server may not know.
fn names_port(named: Option<u16>, port: u16) -> bool {
    named.map_or(matches!(port, 80 | 443), |named| named == port)
}

/// Splits an authority without user information into the host and the port.
fn split_port(authority: &str) -> (&str, Option<u16>) {
    match authority.rsplit_once(':') {
        Some((host, "")) if !host.ends_with(':') => (host, None),
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok()),
        _ => (authority, None),
    }
}

fn without_final_dot(host: &str) -> &str {
    host.strip_suffix('.').unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn is_of(host: &str, uri: &str, fields: &[&str]) -> bool {
        let request = fields.iter().fold(Request::get(uri), |request, field| request.header(HOST, *field));
        HostName::any_is_of(&[HostName::parse(host).unwrap()], &RequestView::new(&request.body(()).unwrap()))
    }

    #[test]
    fn a_host_is_the_same_in_every_spelling_and_with_any_port() {
        for named in
            ["api.example.com", "API.Example.COM", "api.example.com.", "api.example.com:8443", "api.example.com:"]
        {
            assert!(is_of("api.example.com", "/", &[named]), "{named}");
            assert!(is_of("Api.example.com.", "/", &[named]), "{named}");
        }
        for named in ["example.com", "www.api.example.com", "api.example.com.evil.org", "apixexample.com", ""] {
            assert!(!is_of("api.example.com", "/", &[named]), "{named}");
        }
        assert!(!is_of("api.example.com", "/", &[]));
        assert!(is_of("[2001:db8::1]", "/", &["[2001:DB8::1]:80"]) && is_of("[2001:db8::1]", "/", &["[2001:db8::1]"]));
    }

    #[test]
    fn a_host_with_a_port_is_for_that_port() {
        assert!(is_of("a.example:8443", "/", &["a.example:8443"]));
        assert!(!is_of("a.example:8443", "/", &["a.example"]) && !is_of("a.example:8443", "/", &["a.example:8444"]));
        assert!(is_of("a.example:443", "https://a.example/", &[]), "it is the default");
    }

    #[test]
    fn the_target_and_every_field_count() {
        assert!(is_of("a.example", "http://a.example/", &["b.example"]));
        assert!(is_of("a.example", "http://b.example/", &["a.example"]));
        assert!(is_of("a.example", "/", &["b.example", "a.example"]));
        assert!(is_of("a.example", "http://me@a.example/", &[]));
    }

    #[test]
    fn a_text_that_is_no_host_is_refused() {
        for text in [
            "",
            "https://a.example",
            "a.example/x",
            "me@a.example",
            "*.example.com",
            "a b",
            "a.example:",
            "a:b",
            "a:99999",
            ":80",
        ] {
            let error = HostName::parse(text).unwrap_err();
            assert_eq!((error.field(), error.value()), ("hosts", &*format!("\"{text}\"")));
        }
    }
}
