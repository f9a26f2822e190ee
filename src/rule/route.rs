//! A method and a path template.

use std::borrow::Cow;

use http::Method;

use crate::{
    error::ConfigError,
    rule::spelling::{collapse, encode},
};

/// One or several methods and a path template, in axum's syntax.
///
/// `"POST /bots/{id}/export"`, `"GET|POST /bots/{*rest}"`; without a method, or with `ANY`, every method.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    text: String,
    /// None for any method.
    methods: Vec<Method>,
    /// The template with its parameters numbered, so that templates that match the same paths are equal.
    shape: String,
    params: Vec<Cow<'static, str>>,
}

impl Route {
    pub(crate) fn parse(text: &str) -> Result<Self, ConfigError> {
        let refuse = |reason: &str| ConfigError::new("route", format_args!("\"{text}\""), reason);
        let (methods, template) = match text.trim().split_once(char::is_whitespace) {
            Some((methods, template)) => (methods, template.trim()),
            None => ("ANY", text.trim()),
        };
        if !template.starts_with('/') {
            return Err(refuse("a route is a template that begins with /, behind the methods if not all are meant"));
        }
        if template.contains(['?', '#']) {
            return Err(refuse("a route is a path: it has no query and no fragment"));
        }
        let methods = parse_methods(methods).map_err(|reason| refuse(&reason))?;
        let (shape, params) = number_params(template).map_err(|reason| refuse(&reason))?;
        // The matcher is the judge of its own syntax.
        matchit::Router::new().insert(&*shape, ()).map_err(|error| refuse(&error.to_string()))?;
        Ok(Self { text: text.to_owned(), methods, shape, params })
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

    /// The names of the parameters, in their order.
    pub(crate) fn params(&self) -> &[Cow<'static, str>] {
        &self.params
    }

    /// Whether some request would match both.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let share_a_method = || self.methods.iter().any(|method| other.methods.contains(method));
        self.shape == other.shape
            && (self.methods.is_empty() == other.methods.is_empty())
            && (self.methods.is_empty() || share_a_method())
    }
}

fn parse_methods(text: &str) -> Result<Vec<Method>, String> {
    if text == "ANY" || text == "*" {
        return Ok(Vec::new());
    }
    let parse = |name: &str| match Method::from_bytes(name.as_bytes()) {
        Ok(Method::HEAD) => Err("HEAD counts as GET: write GET".to_owned()),
        Ok(method) if name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-') => Ok(method),
        _ => Err(format!("\"{name}\" is not a method in capital letters")),
    };
    text.split('|').map(parse).collect()
}

/// Replaces the names of the parameters by their numbers. The static parts get their canonical spelling.
fn number_params(template: &str) -> Result<(String, Vec<Cow<'static, str>>), String> {
    let mut shape = String::new();
    let mut params: Vec<Cow<'static, str>> = Vec::new();
    let mut rest = template;
    while let Some((before, name, after)) = next_param(rest) {
        let name = name.map_err(ToOwned::to_owned)?;
        let (star, bare) = name.strip_prefix('*').map_or(("", name), |bare| ("*", bare));
        if bare.is_empty() {
            return Err("a parameter has a name: {name} or {*rest}".to_owned());
        }
        if params.iter().any(|known| known == bare) {
            return Err(format!("the parameter {{{bare}}} stands twice"));
        }
        shape.push_str(&literal(before)?);
        shape.push_str(&format!("{{{star}p{}}}", params.len()));
        params.push(bare.to_owned().into());
        rest = after;
    }
    shape.push_str(&literal(rest)?);
    Ok((collapse(&shape), params))
}

/// A static part in its canonical spelling, which has no braces.
fn literal(text: &str) -> Result<String, String> {
    if text.replace("{{", "").replace("}}", "").contains(['{', '}']) {
        return Err("a brace stands alone: {{ and }} are literal ones".to_owned());
    }
    let plain = text.replace("{{", "{").replace("}}", "}");
    Ok(plain.split('/').map(encode).collect::<Vec<_>>().join("/"))
}

/// What stands before the next parameter, its name, and what stands behind it. Doubled braces are literal ones.
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
        assert!(route("GET /a/{x}").is_same(&route("GET|PUT /a/{y}/")));
        assert!(route("GET /a/b").is_same(&route("GET //a/%62")));
        assert!(!route("GET /a/{x}").is_same(&route("POST /a/{x}")));
        assert!(!route("GET /a/{x}").is_same(&route("GET /a/{*x}")));
    }

    #[test]
    fn mistakes_are_refused_with_the_route() {
        for (text, reason) in [
            ("x", "begins with /"),
            ("GET", "begins with /"),
            ("get /x", "capital letters"),
            ("GET|| /x", "capital letters"),
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
    fn doubled_braces_are_literal() {
        assert_eq!(route("/a{{b}}/{c}").shape(), "/a%7Bb%7D/{p0}");
        assert_eq!(route("/a%7bb%7D/{c}").shape(), "/a%7Bb%7D/{p0}");
    }
}
