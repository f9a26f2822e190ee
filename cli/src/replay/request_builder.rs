//! Requests, made of the records of a log.

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Uri,
    header::{COOKIE, HOST},
};
use tower_quota::http::PeerAddr;

use crate::{
    log::{Escape, Layout, Record},
    replay::parse_peer,
};

/// Makes requests of records, one in the place of another: nothing is allocated for most of them.
#[derive(Debug, Default)]
pub(crate) struct RequestBuilder {
    request: Request<()>,
}

impl RequestBuilder {
    /// Makes the request of a record. Returns `None` if it is none that a server would take.
    #[inline]
    pub(crate) fn build(&mut self, record: &Record, layout: &Layout, escape: Escape) -> Option<&Request<()>> {
        *self.request.method_mut() = method(record.raw(Layout::METHOD))?;
        *self.request.uri_mut() = target(record, escape)?;
        self.set_peer(record.raw(Layout::PEER));
        let headers = self.request.headers_mut();
        for (place, name) in layout.headers() {
            match value(record, place, escape) {
                Some(value) => drop(headers.insert(name.clone(), value)),
                None => drop(headers.remove(name)),
            }
        }
        for (cost, name) in layout.costs() {
            match cost.read(record.raw(cost.place)) {
                Some(units) => drop(headers.insert(name.clone(), HeaderValue::from(units))),
                None => drop(headers.remove(name)),
            }
        }
        match value(record, Layout::HOST, escape) {
            Some(value) => drop(headers.insert(HOST, value)),
            None => drop(headers.remove(HOST)),
        }
        if layout.cookies().next().is_some() {
            self.set_cookies(record, layout, escape);
        }
        Some(&self.request)
    }

    fn set_peer(&mut self, text: &[u8]) {
        let peer = parse_peer(text);
        let extensions = self.request.extensions_mut();
        match (peer, extensions.get_mut::<PeerAddr>()) {
            (Some(peer), Some(known)) => known.0 = peer,
            (Some(peer), None) => drop(extensions.insert(PeerAddr(peer))),
            (None, _) => drop(extensions.remove::<PeerAddr>()),
        }
    }

    /// Joins the cookies that the log has apart.
    fn set_cookies(&mut self, record: &Record, layout: &Layout, escape: Escape) {
        let mut cookies: Vec<u8> = Vec::new();
        for (place, name) in layout.cookies().filter(|(place, _)| record.has(*place)) {
            let separator: &[u8] = if cookies.is_empty() { b"" } else { b"; " };
            cookies.extend_from_slice(separator);
            cookies.extend_from_slice(name.as_bytes());
            cookies.push(b'=');
            cookies.extend_from_slice(&escape.unescape(record.raw(place)));
        }
        if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(cookies)) {
            self.request.headers_mut().insert(COOKIE, value);
        }
    }
}

/// Reads a method; GET if the log has none.
#[inline]
fn method(text: &[u8]) -> Option<Method> {
    Some(match text {
        b"GET" | b"" => Method::GET,
        b"POST" => Method::POST,
        b"PUT" => Method::PUT,
        b"DELETE" => Method::DELETE,
        b"HEAD" => Method::HEAD,
        b"OPTIONS" => Method::OPTIONS,
        b"PATCH" => Method::PATCH,
        _ => return Method::from_bytes(text).ok(),
    })
}

#[inline]
fn target(record: &Record, escape: Escape) -> Option<Uri> {
    let raw = record.raw(Layout::TARGET);
    // Nothing stands before a path that is escaped, so only what is written with backslashes has to be read.
    let unescaped = if escape == Escape::Percent { raw.into() } else { escape.unescape(raw) };
    let has_query = !record.has(Layout::QUERY) || unescaped.contains(&b'?');
    if has_query && let std::borrow::Cow::Borrowed(_) = unescaped {
        let uri = Uri::from_maybe_shared(record.shared(Layout::TARGET));
        return uri.ok().or_else(|| uri_of(raw));
    }
    let mut whole = unescaped.into_owned();
    if !has_query {
        let query = record.raw(Layout::QUERY);
        whole.push(b'?');
        whole.extend_from_slice(query.strip_prefix(b"?").unwrap_or(query));
    }
    uri_of(&whole)
}

/// Reads a target that a server took though it has bytes that no URI has: they are percent-encoded.
#[cold]
fn uri_of(target: &[u8]) -> Option<Uri> {
    let mut encoded = Vec::with_capacity(target.len());
    for byte in target {
        match byte {
            0x21 | 0x23..=0x3b | 0x3d | 0x3f..=0x5b | 0x5d | 0x5f | 0x61..=0x7a | 0x7e => encoded.push(*byte),
            other => encoded.extend_from_slice(format!("%{other:02X}").as_bytes()),
        }
    }
    Uri::from_maybe_shared(Bytes::from(encoded)).ok()
}

/// Returns the value of a header field.
#[inline]
fn value(record: &Record, place: usize, escape: Escape) -> Option<HeaderValue> {
    if !record.has(place) {
        return None;
    }
    let bytes = match escape.unescape(record.raw(place)) {
        std::borrow::Cow::Borrowed(_) => record.shared(place),
        std::borrow::Cow::Owned(unescaped) => Bytes::from(unescaped),
    };
    HeaderValue::from_maybe_shared(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::log::Format;

    /// Returns the request of a line, if it is one.
    fn request(format: &str, headers: &[&str], line: &str) -> Option<Request<()>> {
        let mut layout = Layout::new(headers.iter().copied());
        let mut format = Format::parse(format, &[], &mut layout).unwrap().unwrap();
        let record = format.record(line, &mut layout)?;
        let mut builder = RequestBuilder::default();
        builder.build(&record, &layout, format.escape()).map(|request| {
            let mut copy = Request::new(());
            (*copy.method_mut(), *copy.uri_mut()) = (request.method().clone(), request.uri().clone());
            *copy.headers_mut() = request.headers().clone();
            *copy.extensions_mut() = request.extensions().clone();
            copy
        })
    }

    #[test]
    fn a_line_is_the_request_that_it_tells_of() {
        let line = r#"1.2.3.4 /a?b=1 x\x22y one two a.b:80 1709164801"#;
        let format = "nginx=$remote_addr $request_uri $http_x_account $cookie_sid $cookie_lang $host $msec";
        let request = request(format, &["x-account", "cookie"], line).unwrap();
        assert_eq!((request.method(), request.uri().to_string()), (&Method::GET, "/a?b=1".to_owned()));
        assert_eq!(request.headers()["x-account"], "x\"y");
        assert_eq!(request.headers()["cookie"], "sid=one; lang=two");
        assert_eq!(request.headers()["host"], "a.b:80");
        assert_eq!(request.extensions().get::<PeerAddr>().unwrap().0.to_string(), "1.2.3.4:0");
    }

    #[test]
    fn a_cost_is_a_field_of_the_request() {
        let mut layout = Layout::new(["x-a", "x-b"]).with_costs([("x-a", false), ("x-b", true)]);
        let mut format =
            Format::parse("nginx=$msec $request_uri $http_x_a $http_x_b", &[], &mut layout).unwrap().unwrap();
        let mut builder = RequestBuilder::default();
        for (line, found) in [("7.5 9", [Some("8"), Some("9")]), ("x -", [None, Some("0")])] {
            let record = format.record(&format!("1709164801 /x {line}"), &mut layout).unwrap();
            let request = builder.build(&record, &layout, format.escape()).unwrap();
            let read = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap());
            assert_eq!([read("x-a"), read("x-b")], found, "{line}");
        }
    }

    #[test]
    fn a_query_that_stands_apart_belongs_to_the_target() {
        let target = |line: &str| request("apache=%t %m %U %q", &[], line).unwrap().uri().to_string();
        assert_eq!(target("[29/Feb/2024:00:00:01 +0000] GET /x ?a=1"), "/x?a=1");
        assert_eq!(target("[29/Feb/2024:00:00:01 +0000] GET /x -"), "/x");
        assert_eq!(target("[29/Feb/2024:00:00:01 +0000] GET /x "), "/x");
    }

    #[test]
    fn a_target_that_is_no_uri_is_encoded_as_clients_should_have() {
        let target = |path: &str| {
            request("nginx=$msec \"$request\"", &[], &format!("1709164801 \"GET {path} HTTP/1.1\""))
                .unwrap()
                .uri()
                .to_string()
        };
        assert_eq!(target(r"/a\x22b<c>^`"), "/a%22b%3Cc%3E%5E%60");
        assert_eq!(target("/a b"), "/a%20b");
        assert_eq!(target("https://a.b:443/x"), "https://a.b:443/x");
    }

    #[test]
    fn a_field_that_is_missing_is_not_that_of_the_request_before() {
        let mut layout = Layout::new(["x-account"]);
        let mut format = Format::parse("nginx=$msec $request_uri $remote_addr $http_x_account $host", &[], &mut layout)
            .unwrap()
            .unwrap();
        let mut builder = RequestBuilder::default();
        let first = format.record("1709164801 /x 1.2.3.4 acme a.b", &mut layout).unwrap();
        assert!(builder.build(&first, &layout, format.escape()).unwrap().headers().contains_key("x-account"));
        let second = format.record("1709164801 /x - - -", &mut layout).unwrap();
        let request = builder.build(&second, &layout, format.escape()).unwrap();
        assert!(request.headers().is_empty() && request.extensions().get::<PeerAddr>().is_none());
    }

    proptest! {
        #[test]
        fn any_target_is_a_request_or_none(target in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = uri_of(&target);
            let line = [b"1709164801 ", &target[..], b" -"].concat();
            let text = String::from_utf8_lossy(&line);
            let _ = request("nginx=$msec $request_uri $http_x_account", &["x-account"], &text);
        }
    }
}
