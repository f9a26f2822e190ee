//! The protocol that a caller speaks.

use http::{HeaderValue, Method, header::CONTENT_TYPE};

use crate::request::RequestView;

/// Maximum length of a codec's name: RFC 6838 recommends at most 64 characters on each side of a media type.
const MAX_CODEC: usize = 32;

/// The protocol of a message, by its content type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol<'a> {
    Http,
    Grpc,
    /// gRPC-Web, with the media type, which the answer repeats: it names the framing that the browser's library uses.
    GrpcWeb(&'a str),
}

impl<'a> Protocol<'a> {
    /// Returns the protocol of a request. Only POST requests are calls, whatever content type the others claim.
    pub(crate) fn from_request(request: &RequestView<'a>) -> Self {
        let content_type = request.headers().get(CONTENT_TYPE).filter(|_| request.method() == Method::POST);
        content_type.map_or(Self::Http, Self::from_content_type)
    }

    pub(crate) fn from_content_type(content_type: &'a HeaderValue) -> Self {
        let media_type = content_type.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
        str::from_utf8(media_type).map_or(Self::Http, |media_type| Self::from_media_type(media_type.trim_ascii()))
    }

    /// Compares the whole base name: `application/grpc-web` is not gRPC, and `application/grpcfoo` is unknown. The part after the
    /// `+` names a codec, and is repeated only if it is a valid name.
    fn from_media_type(media_type: &'a str) -> Self {
        let base = match media_type.split_once('+') {
            Some((base, codec)) if is_name(codec) => base,
            Some(_) => return Self::Http,
            None => media_type,
        };
        let is = |name: &str| base.eq_ignore_ascii_case(name);
        if is("application/grpc") {
            Self::Grpc
        } else if is("application/grpc-web") || is("application/grpc-web-text") {
            Self::GrpcWeb(media_type)
        } else {
            Self::Http
        }
    }
}

/// Returns whether a text can be the suffix of a media type (RFC 6838, section 4.2), of a plausible length.
fn is_name(codec: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte);
    (1..=MAX_CODEC).contains(&codec.len()) && codec.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn protocol(content_type: &HeaderValue) -> Protocol<'_> {
        Protocol::from_content_type(content_type)
    }

    #[test]
    fn the_media_type_tells_the_protocol() {
        let web = |essence: &'static str| Protocol::GrpcWeb(essence);
        let rows = [
            ("application/grpc", Protocol::Grpc),
            ("application/grpc+proto", Protocol::Grpc),
            ("application/grpc+json", Protocol::Grpc),
            ("application/grpc+x", Protocol::Grpc),
            ("Application/gRPC+Proto", Protocol::Grpc),
            ("application/grpc;charset=utf-8", Protocol::Grpc),
            (" application/grpc ; a=\"b;c\"", Protocol::Grpc),
            ("application/grpc-web", web("application/grpc-web")),
            ("application/grpc-web+proto", web("application/grpc-web+proto")),
            ("application/grpc-web-text", web("application/grpc-web-text")),
            ("application/grpc-web-text+proto; q=1", web("application/grpc-web-text+proto")),
            ("APPLICATION/GRPC-WEB+PROTO", web("APPLICATION/GRPC-WEB+PROTO")),
            ("application/grpc-web+vnd.a-b_c.v1+proto", web("application/grpc-web+vnd.a-b_c.v1+proto")),
            ("application/grpc-web+a, text/html", Protocol::Http),
            ("application/grpc-web+a,text/html", Protocol::Http),
            ("application/grpc-web+a b", Protocol::Http),
            ("application/grpc-web+<script>", Protocol::Http),
            ("application/grpc-web+\"a\"", Protocol::Http),
            ("application/grpc-web+a/b", Protocol::Http),
            ("application/grpc-web+a\tb", Protocol::Http),
            ("application/grpc+a, text/html", Protocol::Http),
            ("application/grpc+", Protocol::Http),
            ("application/grpc+ ;a=b", Protocol::Http),
            ("application/grpc-web+", Protocol::Http),
            ("application/grpcfoo", Protocol::Http),
            ("application/grpc-webfoo", Protocol::Http),
            ("application/grpc-web-textfoo", Protocol::Http),
            ("application/grpc-foo", Protocol::Http),
            ("application/grpc/proto", Protocol::Http),
            ("application/grpc, application/grpc", Protocol::Http),
            ("application/json", Protocol::Http),
            ("application/proto", Protocol::Http),
            ("text/html; a=application/grpc", Protocol::Http),
            ("grpc", Protocol::Http),
            ("+", Protocol::Http),
            ("", Protocol::Http),
            (";", Protocol::Http),
        ];
        for (content_type, expected) in rows {
            assert_eq!(protocol(&HeaderValue::from_static(content_type)), expected, "{content_type:?}");
        }
    }

    #[test]
    fn what_is_not_ascii_is_not_grpc() {
        for bytes in ["application/grpc+\u{e9}".as_bytes(), b"application/grpc+\xff", b"application/grpc\xff"] {
            assert_eq!(protocol(&HeaderValue::from_bytes(bytes).unwrap()), Protocol::Http, "{bytes:?}");
        }
    }

    #[test]
    fn a_name_of_a_codec_has_some_characters_and_not_too_many() {
        let named = |length| HeaderValue::try_from(format!("application/grpc-web+{}", "x".repeat(length))).unwrap();
        assert!(matches!(protocol(&named(32)), Protocol::GrpcWeb(_)));
        for length in [0, 33, 5000] {
            assert_eq!(protocol(&named(length)), Protocol::Http, "{length}");
        }
    }

    #[test]
    fn a_request_without_a_content_type_is_http() {
        assert_eq!(Protocol::from_request(&RequestView::new(&Request::post("/").body(()).unwrap())), Protocol::Http);
    }

    #[test]
    fn a_call_is_a_post() {
        for (method, expected) in [("POST", Protocol::Grpc), ("GET", Protocol::Http), ("HEAD", Protocol::Http)] {
            let request = Request::builder().method(method).header(CONTENT_TYPE, "application/grpc").body(()).unwrap();
            assert_eq!(Protocol::from_request(&RequestView::new(&request)), expected, "{method}");
        }
    }
}
