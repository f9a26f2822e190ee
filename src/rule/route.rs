//! Routes: methods and a path template.

use std::borrow::Cow;

use http::Method;
use smallvec::SmallVec;

use crate::{
    error::ConfigError,
    rule::{
        method::parse_methods,
        path_readings::{collapse_slashes, encode},
    },
};

/// Maximum number of parameters of a route: with more of them the matcher panics, and so does axum.
const MAX_PARAMS: usize = 25;

/// A route: one or several methods and a path template, in axum's syntax.
///
/// Examples are `"POST /bots/{id}/export"` and `"GET|POST /bots/{*rest}"`. Without a method, or with `ANY`, it is for
/// every method.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    text: String,
    /// Empty for any method.
    methods: Vec<Method>,
    /// The template in canonical form, with its parameters numbered, so that templates that match the same paths are
    /// equal.
    shape: String,
    /// The same with its static parts as they are written.
    written: String,
    params: Vec<Cow<'static, str>>,
}

/// A template without the names of its parameters. The rest of it decides which paths it matches.
pub(crate) type UnnamedTemplate = SmallVec<[u8; 128]>;

impl Route {
    pub(crate) fn parse(text: &str) -> Result<Self, ConfigError> {
        let refuse = |reason: &str| ConfigError::new("route", format_args!("\"{text}\""), reason);
        let (methods, template) = split_template(text).map_err(|reason| refuse(&reason))?;
        check_template(template).map_err(|reason| refuse(&reason))?;
        let methods = parse_methods(methods).map_err(|reason| refuse(&reason))?;
        let (shape, params) = number_params(template, literal).map_err(|reason| refuse(&reason))?;
        if params.len() > MAX_PARAMS {
            let most =
                format!("a route has at most {MAX_PARAMS} parameters: take in the rest of the path by {{*rest}}");
            return Err(refuse(&most));
        }
        let (written, _) = number_params(template, |text| Ok(text.to_owned())).map_err(|reason| refuse(&reason))?;
        let shape = collapse_slashes(&shape);
        for shape in [&shape, &written] {
            // The matcher is the judge of its own syntax.
            matchit::Router::new().insert(&**shape, ()).map_err(|error| refuse(&error.to_string()))?;
        }
        Ok(Self { text: text.to_owned(), methods, shape, written, params })
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn methods(&self) -> &[Method] {
        &self.methods
    }

    pub(crate) fn shape(&self) -> &str {
        &self.shape
    }

    /// Returns the template with numbered parameters, otherwise as it is written: as axum would match it.
    pub(crate) fn written(&self) -> &str {
        &self.written
    }

    /// Returns true if a trailing slash would make it another template.
    pub(crate) fn takes_trailing_slash(&self) -> bool {
        let last = self.written.rsplit('/').next().unwrap_or_default();
        !last.is_empty() && !last.starts_with("{*")
    }

    /// Returns the template without the methods.
    pub(crate) fn template(&self) -> &str {
        self.text.trim().rsplit(char::is_whitespace).next().unwrap_or_default()
    }

    /// Returns the names of the parameters, in their order.
    pub(crate) fn params(&self) -> &[Cow<'static, str>] {
        &self.params
    }

    /// Returns true if some request would match both.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        let share_a_method = || self.methods.iter().any(|method| other.methods.contains(method));
        self.shape == other.shape
            && (self.methods.is_empty() == other.methods.is_empty())
            && (self.methods.is_empty() || share_a_method())
    }
}

/// Returns the canonical shape of a template; `None` if it is invalid.
pub(crate) fn canonical_shape(template: &str) -> Option<String> {
    number_params(template, literal).ok().map(|(shape, _)| collapse_slashes(&shape))
}

/// Removes the names of the parameters and keeps their braces. Doubled braces are literal ones.
pub(crate) fn without_param_names(template: &str) -> UnnamedTemplate {
    let mut out = UnnamedTemplate::new();
    let mut bytes = template.bytes().peekable();
    while let Some(byte) = bytes.next() {
        out.push(byte);
        match (byte, bytes.peek()) {
            (b'{' | b'}', Some(next)) if *next == byte => out.extend(bytes.next()),
            (b'{', Some(b'*')) => {
                out.push(b'*');
                out.extend(bytes.by_ref().find(|byte| *byte == b'}'));
            }
            (b'{', _) => out.extend(bytes.by_ref().find(|byte| *byte == b'}')),
            _ => {}
        }
    }
    out
}

/// Splits a route into its methods and its template.
fn split_template(text: &str) -> Result<(&str, &str), String> {
    let (methods, template) = match text.trim().split_once(char::is_whitespace) {
        Some((methods, template)) => (methods, template.trim()),
        None => ("ANY", text.trim()),
    };
    if !template.starts_with('/') {
        return Err(
            "a route is a template that begins with /, after the methods unless it is for all of them".to_owned()
        );
    }
    match template.split_once(char::is_whitespace) {
        Some((first, second)) => {
            Err(format!("a route has one path: write \"{methods} {first}\" and \"{methods} {}\"", second.trim()))
        }
        None => Ok((methods, template)),
    }
}

/// Replaces the names of the parameters by their numbers, and writes static parts as `literal` does.
fn number_params(
    template: &str,
    literal: impl Fn(&str) -> Result<String, String>,
) -> Result<(String, Vec<Cow<'static, str>>), String> {
    let mut shape = String::new();
    let mut params: Vec<Cow<'static, str>> = Vec::new();
    let mut rest = template;
    while let Some((before, name, after)) = next_param(rest) {
        let name = name.map_err(ToOwned::to_owned)?;
        let (star, bare) = name.strip_prefix('*').map_or(("", name), |bare| ("*", bare));
        check_param_name(bare)?;
        if params.iter().any(|known| known == bare) {
            return Err(format!("the parameter {{{bare}}} occurs twice"));
        }
        shape.push_str(&literal(before)?);
        shape.push_str(&format!("{{{star}p{}}}", params.len()));
        params.push(bare.to_owned().into());
        rest = after;
    }
    shape.push_str(&literal(rest)?);
    Ok((shape, params))
}

fn check_param_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("a parameter has a name: {name} or {*rest}".to_owned());
    }
    match name.find([':', '=', '?', '*', '<', '/']) {
        Some(at) => Err(format!("a parameter is a name alone, without a type or a pattern: write {{{}}}", &name[..at])),
        None => Ok(()),
    }
}

/// Refuses parameters in the syntax of other routers, which would be literals here.
fn check_template(template: &str) -> Result<(), String> {
    if template.contains('#') {
        return Err("a route is a path: it has no query and no fragment".to_owned());
    }
    let outside = outside_of_braces(template);
    if let Some((_, behind)) = outside.split_once('?') {
        let is_optional = behind.is_empty() || behind.starts_with('/');
        return Err(if is_optional {
            "no part of a route is optional: write two routes, one without that part".to_owned()
        } else {
            "a route is a path: it has no query and no fragment".to_owned()
        });
    }
    template.split('/').try_for_each(check_segment)
}

fn check_segment(segment: &str) -> Result<(), String> {
    let is_name =
        |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let name_or = |name: &str, other: &str| if is_name(name) { name.to_owned() } else { other.to_owned() };
    if let Some(name) = segment.strip_prefix(':') {
        let name = name_or(name, "name");
        return Err(format!(
            "\"{segment}\" is a parameter elsewhere: write {{{name}}}, and %3A for a colon that is meant"
        ));
    }
    if segment.starts_with('*') || segment.contains("**") {
        let name = name_or(segment.trim_start_matches('*'), "rest");
        return Err(format!(
            "\"{segment}\" is a wildcard elsewhere: write {{*{name}}} for the rest of a path, {{name}} for one \
             segment, and %2A for an asterisk that is meant"
        ));
    }
    if let Some((_, behind)) = segment.split_once('<') {
        let inner = behind.split('>').next().unwrap_or(behind);
        let name = name_or(inner.rsplit(':').next().unwrap_or(inner), "name");
        return Err(format!("\"{segment}\" is a parameter elsewhere: write {{{name}}}"));
    }
    let outside = outside_of_braces(segment);
    let is_pattern =
        [".*", ".+", "[", "]", "\\", "^", "|", ")+", "+)", "(?", "*"].iter().any(|sign| outside.contains(sign));
    if is_pattern {
        return Err(format!(
            "\"{segment}\" is a pattern elsewhere, and would be taken literally: write {{name}} for one segment and {{*rest}} \
             for the rest of a path; percent-encode literal characters"
        ));
    }
    Ok(())
}

/// Returns the static parts of a segment.
fn outside_of_braces(segment: &str) -> String {
    let mut out = String::new();
    let mut rest = segment;
    while let Some((before, _, after)) = next_param(rest) {
        out.push_str(before);
        rest = after;
    }
    out + rest
}

/// Returns the canonical form of a static part, which has no braces.
fn literal(text: &str) -> Result<String, String> {
    if text.replace("{{", "").replace("}}", "").contains(['{', '}']) {
        return Err("a brace is unpaired: write {{ or }} for a literal one".to_owned());
    }
    let plain = text.replace("{{", "{").replace("}}", "}");
    Ok(plain.split('/').map(encode).collect::<Vec<_>>().join("/"))
}

/// Returns the text before the next parameter, its name, and the text behind it. Doubled braces are literal ones.
fn next_param(text: &str) -> Option<(&str, Result<&str, &'static str>, &str)> {
    let mut from = 0;
    loop {
        let open = from + text.get(from..)?.find('{')?;
        if text[open..].starts_with("{{") {
            from = open + 2;
            continue;
        }
        let Some(close) = text[open..].find('}').map(|at| open + at) else {
            return Some((text, Err("a parameter is not closed"), ""));
        };
        return Some((&text[..open], Ok(&text[open + 1..close]), &text[close + 1..]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(text: &str) -> Route {
        Route::parse(text).unwrap()
    }

    #[test]
    fn a_route_with_more_parameters_than_the_matcher_takes_is_refused() {
        let route = |count: usize| (0..count).map(|at| format!("/{{p{at}}}")).collect::<String>();
        assert!(Route::parse(&route(MAX_PARAMS)).is_ok());
        let error = Route::parse(&route(MAX_PARAMS + 1)).unwrap_err();
        assert!(
            error.to_string().ends_with("a route has at most 25 parameters: take in the rest of the path by {*rest}")
        );
    }

    #[test]
    fn methods_and_parameters_are_read() {
        let route = route("GET|POST /api/{botId}/x-{name}/{*rest}");
        assert_eq!(route.methods(), [Method::GET, Method::POST]);
        assert_eq!(route.params(), ["botId", "name", "rest"]);
        assert_eq!(route.shape(), "/api/{p0}/x-{p1}/{*p2}");
    }

    #[test]
    fn no_method_means_any() {
        for text in ["/x", "ANY /x", "* /x", " /x "] {
            assert!(route(text).methods().is_empty(), "{text}");
        }
    }

    #[test]
    fn templates_that_match_the_same_paths_are_the_same() {
        assert!(route("GET /a/{x}").overlaps(&route("GET|PUT /a/{y}/")));
        assert!(route("GET /a/b").overlaps(&route("GET //a/%62")));
        assert!(!route("GET /a/{x}").overlaps(&route("POST /a/{x}")));
        assert!(!route("GET /a/{x}").overlaps(&route("GET /a/{*x}")));
    }

    #[test]
    fn mistakes_are_refused_with_the_route() {
        for (text, reason) in [
            ("x", "begins with /"),
            ("GET", "begins with /"),
            ("get /x", "write get"),
            ("GET|| /x", "capital letters"),
            ("PSOT /login", "did you mean post"),
            ("GETT /x", "did you mean get"),
            ("FROBNICATE /x", "leave the method out"),
            ("GET|ANY /x", "write it alone"),
            ("*|GET /x", "write it alone"),
            ("GET|GET /x", "write it once"),
            ("GET /x /y", "write \"get /x\" and \"get /y\""),
            ("GET /users/:id", "write {id}"),
            ("GET /users/:id", "%3a"),
            ("GET /users/*", "{*rest}"),
            ("GET /files/*path", "{*path}"),
            ("GET /files/**", "{*rest}"),
            ("GET /files/**/x", "{*rest}"),
            ("GET /users/<id>", "write {id}"),
            ("GET /users/<int:id>", "write {id}"),
            ("GET /users/.*", "{name}"),
            ("GET /users/[0-9]+", "{name}"),
            ("GET /users/(\\d+)", "{name}"),
            ("GET /users/{id:[0-9]+}", "write {id}"),
            ("GET /users/{id}?", "two routes"),
            ("GET /users/{id?}", "write {id}"),
            ("GET /users/{id}?/x", "two routes"),
            ("GET /a*", "{*rest}"),
            ("HEAD /x", "write get"),
            ("GET /{}", "has a name"),
            ("GET /{*}", "has a name"),
            ("GET /{a", "not closed"),
            ("GET /{a}/{a}", "twice"),
            ("GET /{a}-b", "one parameter"),
            ("GET /{*a}/b", "end of a route"),
            ("GET /a?b={c}", "no query"),
            ("GET /a#b", "no query"),
            ("GET /a}b", "brace"),
        ] {
            let error = Route::parse(text).unwrap_err();
            assert!(error.to_string().to_lowercase().contains(reason), "{text}: {error}");
            assert_eq!(error.value(), format!("\"{text}\""));
        }
    }

    #[test]
    fn what_is_literal_in_axum_is_so_here() {
        for text in [
            "/v1/jobs:cancel",
            "/v1/x-{name}",
            "/a+b",
            "/~me",
            "/a,b;c=d",
            "/$metadata.json",
            "/a@b",
            "/%3Aid",
            "/%2A",
            "/a!b",
        ] {
            assert_eq!(route(text).written().matches("{p").count(), text.matches('{').count(), "{text}");
        }
    }

    #[test]
    fn a_template_is_kept_as_it_is_written_beside_its_canonical_shape() {
        let route = route("GET //a/%6c/{x}/");
        assert_eq!((route.shape(), route.written()), ("/a/l/{p0}", "//a/%6c/{p0}/"));
    }

    #[test]
    fn doubled_braces_are_literal() {
        assert_eq!(route("/a{{b}}/{c}").shape(), "/a%7Bb%7D/{p0}");
        assert_eq!(route("/a%7bb%7D/{c}").shape(), "/a%7Bb%7D/{p0}");
    }

    #[test]
    fn templates_are_the_same_whatever_their_parameters_are_called() {
        let same = |one, other| without_param_names(one) == without_param_names(other);
        assert!(same("/a/{b}/{*c}", "/a/{x}/{*rest}"));
        assert!(same("/v{a}.json", "/v{version}.json"));
        for (one, other) in [
            ("/a/{b}", "/a/{*b}"),
            ("/a/{b}", "/a/{b}/"),
            ("/a/{{b}}", "/a/{b}"),
            ("/a/{{b}}", "/a/{{c}}"),
            ("/a//b", "/a/b"),
            ("/%61", "/a"),
        ] {
            assert!(!same(one, other), "{one} {other}");
        }
    }

    #[test]
    fn what_is_not_closed_ends() {
        assert_eq!(&without_param_names("/a/{b")[..], b"/a/{");
    }
}
