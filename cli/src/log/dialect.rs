//! The languages in which servers describe the lines of their logs.

use crate::log::{Field, field_header, template::Piece};

/// Apache's and nginx's names for these.
pub(super) const COMMON: &str = r#"%h %l %u %t "%r" %>s %b"#;
pub(super) const COMBINED: &str = r#"%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i""#;
/// Envoy's default.
pub(super) const ENVOY: &str = concat!(
    r#"[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% "#,
    r#"%RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "#,
    r#""%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%""#
);
/// Those of an Application Load Balancer, as nginx would describe them. Its request has an absolute URI.
pub(super) const ALB: &str = concat!(
    r#"$type $time_iso8601 $elb $remote_addr $target $request_processing_time $target_processing_time "#,
    r#"$response_processing_time $elb_status_code $target_status_code $received_bytes $sent_bytes "$request" "#,
    r#""$http_user_agent" $ssl_cipher"#
);

/// Reads a `log_format` of nginx: `$name` and `${name}`.
pub(super) fn nginx(format: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = format;
    while let Some((text, after)) = rest.split_once('$') {
        pieces.push(Piece::Text(text.to_owned()));
        let (name, behind) = match after.strip_prefix('{') {
            Some(inner) => inner.split_once('}').ok_or_else(|| format!("${after}: the brace is not closed"))?,
            None => after.split_at(after.find(|char: char| !is_of_name(char)).unwrap_or(after.len())),
        };
        if name.is_empty() {
            return Err(format!("${after}: a name follows the dollar sign"));
        }
        pieces.push(nginx_variable(name));
        rest = behind;
    }
    pieces.push(Piece::Text(rest.to_owned()));
    Ok(pieces)
}

const fn is_of_name(char: char) -> bool {
    char.is_ascii_alphanumeric() || char == '_'
}

fn nginx_variable(name: &str) -> Piece {
    let field = match name {
        "time_local" | "time_iso8601" | "msec" => Field::Time,
        "request" => Field::Request,
        "request_method" => Field::Method,
        "request_uri" | "uri" | "document_uri" => Field::Target,
        "args" | "query_string" => Field::Query,
        "host" | "http_host" => Field::Host,
        "remote_addr" => Field::Peer,
        "body_bytes_sent" | "bytes_sent" | "sent_bytes" => Field::ResponseBytes(name.to_owned()),
        "content_length" | "request_length" | "received_bytes" => Field::RequestBytes(name.to_owned()),
        // Of several upstreams the last one's header fields are written.
        _ if name.starts_with("upstream_") && !name.starts_with("upstream_http_") => return Piece::List,
        _ => match (name.strip_prefix("http_"), name.strip_prefix("cookie_")) {
            (Some(header), _) => Field::Header(header.replace('_', "-")),
            (_, Some(cookie)) => Field::Cookie(cookie.to_owned()),
            _ => Field::Header(field_header(name)),
        },
    };
    Piece::Field(field)
}

/// Reads a `LogFormat` of Apache: `%h`, `%>s`, `%{X-Account}i`.
pub(super) fn apache(format: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = format;
    while let Some((text, after)) = rest.split_once('%') {
        pieces.push(Piece::Text(text.to_owned()));
        // Which statuses a field is for, and whether of the first or the last of several requests.
        let after =
            after.trim_start_matches(|char: char| matches!(char, '<' | '>' | '!' | ',') || char.is_ascii_digit());
        let (name, behind) = match after.strip_prefix('{') {
            Some(inner) => inner.split_once('}').ok_or_else(|| format!("%{after}: the brace is not closed"))?,
            None => ("", after),
        };
        let letter = behind.chars().next().ok_or_else(|| "%: a letter follows the percent sign".to_owned())?;
        // %^FB and its like have two letters behind the mark.
        let length = if letter == '^' { behind.len().min(3) } else { letter.len_utf8() };
        apache_field(name, letter, &mut pieces);
        rest = behind.get(length..).unwrap_or_default();
    }
    pieces.push(Piece::Text(rest.to_owned()));
    Ok(pieces)
}

fn apache_field(name: &str, letter: char, pieces: &mut Vec<Piece>) {
    let field = match (letter, name) {
        ('%', _) => return pieces.push(Piece::Text("%".to_owned())),
        ('t', "") => {
            let brackets = ["[", "]"].map(|text| Piece::Text(text.to_owned()));
            let [open, close] = brackets;
            return pieces.extend([open, Piece::Field(Field::Time), close]);
        }
        ('t', _) => Field::Time,
        ('r', _) => Field::Request,
        ('m', _) => Field::Method,
        ('U', _) => Field::Target,
        ('q', _) => Field::Query,
        ('h' | 'a', _) => Field::Peer,
        ('v' | 'V', _) => Field::Host,
        ('i', name) if name.eq_ignore_ascii_case("host") => Field::Host,
        ('i', name) => Field::Header(name.to_ascii_lowercase()),
        ('C', name) => Field::Cookie(name.to_owned()),
        ('b' | 'B' | 'O', _) => Field::ResponseBytes("bytes".to_owned()),
        ('I', _) => Field::RequestBytes("received".to_owned()),
        ('u', _) => Field::Header(field_header("remote_user")),
        ('e' | 'n', name) => Field::Header(field_header(name)),
        _ => Field::Ignored,
    };
    pieces.push(Piece::Field(field));
}

/// Reads a format of Envoy: `%START_TIME%`, `%REQ(X-ACCOUNT?:PATH)%`.
pub(super) fn envoy(format: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = format;
    while let Some((text, after)) = rest.split_once('%') {
        pieces.push(Piece::Text(text.to_owned()));
        if let Some(behind) = after.strip_prefix('%') {
            pieces.push(Piece::Text("%".to_owned()));
            rest = behind;
            continue;
        }
        // The format of a time has percent signs itself.
        let is_called = after.find('(').is_some_and(|open| after.find('%').is_none_or(|end| open < end));
        let from = if is_called { after.find(')').unwrap_or(after.len()) } else { 0 };
        let end = after[from..].find('%').map(|end| from + end);
        let end = end.ok_or_else(|| format!("%{after}: the percent sign at the end is missing"))?;
        pieces.push(Piece::Field(envoy_operator(&after[..end])));
        rest = &after[end + 1..];
    }
    pieces.push(Piece::Text(rest.trim_end_matches('\n').to_owned()));
    Ok(with_peer(pieces))
}

/// Takes the address that Envoy has added to `x-forwarded-for` for that of the client, if the format has no other.
fn with_peer(mut pieces: Vec<Piece>) -> Vec<Piece> {
    let forwarded = Piece::Field(Field::Header("x-forwarded-for".to_owned()));
    if !pieces.contains(&Piece::Field(Field::Peer)) {
        pieces.iter_mut().filter(|piece| **piece == forwarded).for_each(|piece| *piece = Piece::Field(Field::Peer));
    }
    pieces
}

fn envoy_operator(operator: &str) -> Field {
    let (name, arguments) = operator.split_once('(').unwrap_or((operator, ""));
    let argument = arguments.split([')', '?']).next().unwrap_or_default().to_ascii_lowercase();
    match (name, argument.as_str()) {
        ("START_TIME", _) => Field::Time,
        ("REQ", ":method") => Field::Method,
        ("REQ", ":path" | "x-envoy-original-path") | ("PATH", _) => Field::Target,
        ("REQ", ":authority" | "host") => Field::Host,
        ("REQ", _) => Field::Header(argument),
        ("BYTES_SENT" | "RESPONSE_BODY_BYTES", _) => Field::ResponseBytes(name.to_owned()),
        ("BYTES_RECEIVED", _) => Field::RequestBytes(name.to_owned()),
        (name, _) if name.starts_with("DOWNSTREAM_DIRECT_REMOTE_ADDRESS") => Field::Peer,
        (name, _) if name.starts_with("DOWNSTREAM_REMOTE_ADDRESS") => Field::Peer,
        _ => Field::Header(field_header(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pieces: Result<Vec<Piece>, String>) -> Vec<Field> {
        let field = |piece| match piece {
            Piece::Field(field) => Some(field),
            _ => None,
        };
        pieces.unwrap().into_iter().filter_map(field).collect()
    }

    #[test]
    fn the_variables_of_nginx_are_fields() {
        let found = fields(nginx("$remote_addr [${time_local}] $http_x_account|$cookie_sid$request"));
        let header = |name: &str| Field::Header(name.to_owned());
        assert_eq!(found, [Field::Peer, Field::Time, header("x-account"), Field::Cookie("sid".into()), Field::Request]);
        assert_eq!(fields(nginx("$status")), [header("x-tower-quota-field-status")]);
        assert!(nginx("${status").is_err() && nginx("a $ b").is_err());
    }

    #[test]
    fn the_letters_of_apache_are_fields() {
        let found = fields(apache("%a %{X-Account}i %>s %{sid}C %{msec}t %400,501{Host}i %% %U%q"));
        let (header, cookie) = (Field::Header("x-account".into()), Field::Cookie("sid".into()));
        let expected =
            [Field::Peer, header, Field::Ignored, cookie, Field::Time, Field::Host, Field::Target, Field::Query];
        assert_eq!(found, expected);
        assert!(apache("%").is_err() && apache("%{x").is_err());
    }

    #[test]
    fn the_operators_of_envoy_are_fields() {
        let found = fields(envoy("[%START_TIME(%s.%3f)%] %REQ(X-ACCOUNT?:AUTHORITY):12% %REQ(:METHOD)%"));
        assert_eq!(found, [Field::Time, Field::Header("x-account".into()), Field::Method]);
        assert!(envoy("%START_TIME").is_err());
    }

    #[test]
    fn the_known_formats_have_what_a_request_needs() {
        for format in [apache(COMMON), apache(COMBINED), envoy(ENVOY), nginx(ALB)] {
            let found = fields(format);
            assert!(
                found.contains(&Field::Time) && (found.contains(&Field::Request) || found.contains(&Field::Target))
            );
        }
    }
}
