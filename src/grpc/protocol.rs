//! The protocol a caller speaks.

use http::{HeaderValue, Method, header::CONTENT_TYPE};

use crate::request::RequestView;

/// Characters of the name of a codec: RFC 6838 wants a whole media type to keep to 64 on each side.
const LONGEST_CODEC: usize = 32;

/// What the content type of a message says of its protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol<'a> {
    Http,
    Grpc,
    /// With the media type, which the answer repeats: it says how the browser's library frames messages.
    GrpcWeb(&'a str),
}

impl<'a> Protocol<'a> {
    /// Calls are POST requests; anything else is not a call, whatever content type it claims.
    pub(crate) fn of(request: &RequestView<'a>) -> Self {
        let content_type = request.headers().get(CONTENT_TYPE).filter(|_| request.method() == Method::POST);
        content_type.map_or(Self::Http, Self::named)
    }

    pub(super) fn named(content_type: &'a HeaderValue) -> Self {
        let media_type = content_type.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
        str::from_utf8(media_type).map_or(Self::Http, |media_type| Self::of_media_type(media_type.trim_ascii()))
    }

    /// A bare prefix would not do: `application/grpc-web` is not gRPC, and `application/grpcfoo` is nothing. What stands behind
    /// the `+` names a codec, and only a name is repeated.
    fn of_media_type(media_type: &'a str) -> Self {
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

/// Whether it can be the end of a media type (RFC 6838, section 4.2), of a length that such an end has.
fn is_name(codec: &str) -> bool {
    let may_stand = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte);
    (1..=LONGEST_CODEC).contains(&codec.len()) && codec.bytes().all(may_stand)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn protocol(content_type: &HeaderValue) -> Protocol<'_> {
        Protocol::named(content_type)
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
        assert_eq!(Protocol::of(&RequestView::new(&Request::post("/").body(()).unwrap())), Protocol::Http);
    }

    #[test]
    fn a_call_is_a_post() {
        for (method, expected) in [("POST", Protocol::Grpc), ("GET", Protocol::Http), ("HEAD", Protocol::Http)] {
            let request = Request::builder().method(method).header(CONTENT_TYPE, "application/grpc").body(()).unwrap();
            assert_eq!(Protocol::of(&RequestView::new(&request)), expected, "{method}");
        }
    }
}
