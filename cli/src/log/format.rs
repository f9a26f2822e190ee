//! The format of a log.

use crate::{
    failure::Failure,
    log::{
        Escape, Field, JsonLine, Layout, Moment, Spans, Template, W3c, detect, dialect, field_header, template::Piece,
    },
};

/// The formats that can be named.
pub(crate) const NAMES: &str = "auto, common, combined, apache='%h ...', nginx, nginx='$remote_addr ...', envoy, envoy='[%START_TIME%] ...', \
                                alb, w3c, caddy, traefik, json";

/// The format of the lines of a log.
#[derive(Clone, Debug)]
pub(crate) struct Format {
    name: String,
    lines: LineFormat,
    escape: Escape,
}

#[derive(Clone, Debug)]
enum LineFormat {
    Template(Template),
    W3c(W3c),
    Json(JsonLine),
}

/// A line: a request, or something else that belongs to the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    Request(Moment),
    Other,
}

impl Format {
    /// Reads the name of a format, and the fields of one in JSON. Returns `None` for `auto`.
    pub(crate) fn parse(text: &str, fields: &[String], layout: &mut Layout) -> Result<Option<Self>, Failure> {
        let (name, custom) = text.split_once('=').map_or((text, None), |(name, custom)| (name, Some(custom)));
        if !fields.is_empty() && !matches!(name, "json" | "caddy" | "traefik") {
            let reason = "--field and --cost ...=json: are for logs in JSON, and this is";
            return Err(Failure::usage(format!("{reason} {name}")));
        }
        let pieces = match (name, custom) {
            ("auto", None) => return Ok(None),
            ("common", None) => dialect::apache(dialect::COMMON),
            ("combined" | "nginx", None) => dialect::apache(dialect::COMBINED),
            ("alb", None) => dialect::nginx(dialect::ALB),
            ("envoy", custom) => dialect::envoy(custom.unwrap_or(dialect::ENVOY)),
            ("nginx", Some(custom)) => dialect::nginx(custom),
            ("apache", Some(custom)) => dialect::apache(custom),
            ("w3c", None) => return Ok(Some(Self::w3c())),
            ("caddy" | "traefik" | "json", None) => return Self::json(name, fields, layout).map(Some),
            _ => return Err(unknown(text)),
        };
        let pieces = pieces.map_err(|reason| Failure::usage(format!("--format {name}: {reason}")))?;
        Ok(Some(Self::template(name, &pieces, layout)?))
    }

    /// Finds the format of a log by its first lines.
    pub(crate) fn detect(lines: &[&[u8]], fields: &[String], layout: &mut Layout) -> Result<Option<Self>, Failure> {
        detect::name(lines).map_or(Ok(None), |name| Self::parse(name, fields, layout))
    }

    fn template(name: &str, pieces: &[Piece], layout: &mut Layout) -> Result<Self, Failure> {
        let template = Template::new(pieces, layout);
        let has = |place: usize| template.places().any(|other| other == place);
        let missing = match () {
            () if !has(Layout::TIME) => Some("a time"),
            () if !has(Layout::REQUEST) && !has(Layout::TARGET) => Some("a request"),
            () => None,
        };
        match missing {
            Some(what) => Err(Failure::usage(format!("--format {name}: its lines do not have {what}"))),
            None => {
                Ok(Self { name: name.to_owned(), lines: LineFormat::Template(template), escape: Escape::Backslash })
            }
        }
    }

    fn w3c() -> Self {
        Self { name: "w3c".to_owned(), lines: LineFormat::W3c(W3c::default()), escape: Escape::Percent }
    }

    fn json(name: &str, fields: &[String], layout: &mut Layout) -> Result<Self, Failure> {
        let parse = |text: &String| {
            let parts = text.split_once('=').filter(|(field, path)| !field.is_empty() && !path.is_empty());
            let wrong = || Failure::usage(format!("--field {text}: write --field path=request.uri"));
            parts.map(|(field, path)| (path.to_owned(), json_field(field))).ok_or_else(wrong)
        };
        let named: Vec<(String, Field)> = fields.iter().map(parse).collect::<Result<_, _>>()?;
        let is_named = |field: &Field| named.iter().any(|(_, other)| other.replaces(field));
        let usual = json_preset(name, layout).into_iter().filter(|(_, field)| !is_named(field));
        let mut json = JsonLine::default();
        usual.chain(named.iter().cloned()).for_each(|(path, field)| json.want(&path, &field, layout));
        Ok(Self { name: name.to_owned(), lines: LineFormat::Json(json), escape: Escape::Json })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) const fn escape(&self) -> Escape {
        self.escape
    }

    /// Returns `true` if it can read some of these lines.
    pub(super) fn reads_any(&self, lines: &[&[u8]], layout: &Layout) -> bool {
        let (mut format, mut layout, mut spans) = (self.clone(), layout.clone(), Spans::default());
        let mut reads = |line: &[u8]| matches!(format.read(line, &mut layout, &mut spans), Ok(Line::Request(_)));
        lines.iter().any(|line| reads(line))
    }

    /// Reads a line, and sets the places of its fields. Returns the reason if it cannot be read.
    #[inline]
    pub(super) fn read(&mut self, line: &[u8], layout: &mut Layout, spans: &mut Spans) -> Result<Line, &'static str> {
        if line.trim_ascii().is_empty() {
            return Ok(Line::Other);
        }
        spans.clear(layout);
        let is_read = match &mut self.lines {
            LineFormat::Template(template) => template.read(line, spans),
            LineFormat::Json(json) => json.read(line, spans),
            LineFormat::W3c(w3c) => {
                if w3c.directive(line, layout) {
                    return Ok(Line::Other);
                }
                w3c.read(line, spans)
            }
        };
        if !is_read {
            return Err("it has another format");
        }
        if !spans.is_set(Layout::TARGET) {
            return Err("it has no request");
        }
        spans.moment(line).map(Line::Request).ok_or("its time cannot be read")
    }

    /// Returns `true` if lines of this format may have the field at this place.
    pub(crate) fn may_have(&self, place: usize) -> bool {
        match &self.lines {
            LineFormat::Template(template) => template.places().any(|other| other == place),
            LineFormat::W3c(w3c) => w3c.places().any(|other| other == place),
            LineFormat::Json(_) => true,
        }
    }
}

#[cfg(test)]
impl Format {
    /// Reads one line by itself.
    pub(crate) fn record(&mut self, line: &str, layout: &mut Layout) -> Option<crate::log::Record> {
        let mut spans = Spans::default();
        match self.read(line.as_bytes(), layout, &mut spans) {
            Ok(Line::Request(moment)) => Some(spans.record(moment.millis, &line.to_owned().into(), 0)),
            _ => None,
        }
    }
}

/// Returns what is wrong with the name of a format, which may be a format without its name.
fn unknown(text: &str) -> Failure {
    let name = match () {
        () if text.contains('$') => "nginx",
        () if ["%START_TIME", "%REQ("].iter().any(|part| text.contains(part)) => "envoy",
        () if text.contains('%') => "apache",
        () => return Failure::usage(format!("--format {text}: unknown; known are {NAMES}")),
    };
    Failure::usage(format!("--format {text}: write the server before it: --format {name}='{text}'"))
}

/// Returns the meaning of a name on the left of `--field`.
fn json_field(name: &str) -> Field {
    match name {
        "time" => Field::Time,
        "date" => Field::Date,
        "request" => Field::Request,
        "method" => Field::Method,
        "path" | "target" | "uri" => Field::Target,
        "query" => Field::Query,
        "host" => Field::Host,
        "peer" | "ip" | "peer_ip" => Field::Peer,
        _ => match (name.strip_prefix("header:"), name.strip_prefix("cookie:")) {
            (Some(header), _) => Field::Header(header.to_ascii_lowercase()),
            (_, Some(cookie)) => Field::Cookie(cookie.to_owned()),
            _ => Field::Header(field_header(name)),
        },
    }
}

/// Returns where the logs of this server have what is wanted.
fn json_preset(name: &str, layout: &Layout) -> Vec<(String, Field)> {
    let fixed = match name {
        "caddy" => vec![
            ("ts", Field::Time),
            ("request.method", Field::Method),
            ("request.uri", Field::Target),
            ("request.host", Field::Host),
            ("request.remote_ip", Field::Peer),
            ("size", Field::ResponseBytes("size".to_owned())),
            ("bytes_read", Field::RequestBytes("bytes_read".to_owned())),
        ],
        "traefik" => vec![
            ("StartUTC", Field::Time),
            ("RequestMethod", Field::Method),
            ("RequestPath", Field::Target),
            ("RequestHost", Field::Host),
            ("ClientHost", Field::Peer),
            ("DownstreamContentSize", Field::ResponseBytes("DownstreamContentSize".to_owned())),
            ("RequestContentSize", Field::RequestBytes("RequestContentSize".to_owned())),
        ],
        _ => vec![
            ("time", Field::Time),
            ("ts", Field::Time),
            ("timestamp", Field::Time),
            ("@timestamp", Field::Time),
            ("request", Field::Request),
            ("method", Field::Method),
            ("request_method", Field::Method),
            ("path", Field::Target),
            ("uri", Field::Target),
            ("request_uri", Field::Target),
            ("host", Field::Host),
            ("remote_addr", Field::Peer),
            ("body_bytes_sent", Field::ResponseBytes("body_bytes_sent".to_owned())),
            ("bytes_sent", Field::ResponseBytes("bytes_sent".to_owned())),
        ],
    };
    let header = |header: &str| match name {
        "caddy" => format!("/request/headers/{header}"),
        "traefik" => format!("/request_{header}"),
        _ => format!("/{header}"),
    };
    let headers = layout.headers().map(|(_, name)| (header(name.as_str()), Field::Header(name.as_str().to_owned())));
    fixed.into_iter().map(|(path, field)| (path.to_owned(), field)).chain(headers).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str, fields: &[&str]) -> String {
        let fields: Vec<_> = fields.iter().map(|field| (*field).to_owned()).collect();
        let failure = Format::parse(text, &fields, &mut Layout::default()).unwrap_err();
        assert_eq!(failure.code(), Failure::USAGE);
        failure.to_string()
    }

    #[test]
    fn a_format_that_is_none_is_refused() {
        assert!(refusal("clf", &[]).contains("known are auto, common"));
        assert!(refusal("common=x", &[]).contains("unknown"));
        assert!(refusal("$msec $request", &[]).contains("write the server before it: --format nginx='$msec $request'"));
        assert!(refusal("[%START_TIME%]", &[]).contains("--format envoy='["));
        assert!(refusal("%h %r", &[]).contains("--format apache='%h %r'"));
        assert!(refusal("nginx=$request", &[]).contains("do not have a time"));
        assert!(refusal("nginx=$time_local $status", &[]).contains("do not have a request"));
        assert!(refusal("nginx=$time_local ${request", &[]).contains("the brace is not closed"));
        assert!(refusal("common", &["time=ts"]).contains("are for logs in JSON, and this is common"));
        assert!(refusal("json", &["time"]).contains("--field path=request.uri"));
    }

    #[test]
    fn a_field_that_is_named_stands_where_it_is_named_alone() {
        let path_of = |fields: &[&str]| {
            let fields: Vec<_> = fields.iter().map(|field| (*field).to_owned()).collect();
            let mut layout = Layout::default();
            let mut format = Format::parse("json", &fields, &mut layout).unwrap().unwrap();
            let line = r#"{"time":1709164801,"path":"/no","method":"GET","url":"/yes","line":"PUT /line HTTP/1.1"}"#;
            let record = format.record(line, &mut layout).unwrap();
            let text = |place| String::from_utf8(record.raw(place).to_vec()).unwrap();
            format!("{} {}", text(Layout::METHOD), text(Layout::TARGET))
        };
        assert_eq!(path_of(&[]), "GET /no");
        assert_eq!(path_of(&["path=url"]), "GET /yes");
        assert_eq!(path_of(&["request=line"]), "PUT /line");
    }

    #[test]
    fn lines_of_every_format_are_requests_at_a_time() {
        let at = 1_709_164_801_000;
        let lines = [
            ("common", r#"1.2.3.4 - - [29/Feb/2024:00:00:01 +0000] "GET /x HTTP/1.1" 200 5"#),
            ("combined", r#"1.2.3.4 - ann [29/Feb/2024:00:00:01 +0000] "GET /x HTTP/1.1" 200 5 "-" "curl""#),
            ("nginx=$msec $request_method $uri", "1709164801.000 GET /x"),
            (
                "envoy",
                r#"[2024-02-29T00:00:01.000Z] "GET /x HTTP/1.1" 200 - 0 5 1 1 "-" "curl" "id" "a.b" "10.0.0.1:80""#,
            ),
            (
                "alb",
                r#"h2 2024-02-29T00:00:01.000000Z app/x 1.2.3.4:5 10.0.0.1:80 0 0 0 200 200 1 1 "GET https://a.b:443/x HTTP/2.0" "curl" - -"#,
            ),
            (
                "caddy",
                r#"{"ts":1709164801.0,"request":{"remote_ip":"1.2.3.4","method":"GET","host":"a.b","uri":"/x"}}"#,
            ),
            (
                "traefik",
                r#"{"StartUTC":"2024-02-29T00:00:01Z","RequestMethod":"GET","RequestPath":"/x","ClientHost":"1.2.3.4"}"#,
            ),
            ("json", r#"{"time":"2024-02-29T00:00:01Z","request":"GET /x HTTP/1.1"}"#),
        ];
        for (name, line) in lines {
            let mut layout = Layout::new(["x-account"]);
            let mut format = Format::parse(name, &[], &mut layout).unwrap().unwrap();
            let read = format.read(line.as_bytes(), &mut layout, &mut Spans::default());
            assert!(matches!(read, Ok(Line::Request(moment)) if moment.millis == at), "{name}: {read:?}");
            assert!(format.read(b"garbage", &mut layout, &mut Spans::default()).is_err(), "{name}");
            assert_eq!(format.read(b"  ", &mut layout, &mut Spans::default()), Ok(Line::Other));
        }
    }
}
