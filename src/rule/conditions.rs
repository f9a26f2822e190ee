//! The conditions of a rule, beside its routes.

use std::fmt;

use http::{HeaderName, HeaderValue, Method, header::HOST};

use crate::{
    error::ConfigError,
    request::{Condition, RequestKind, RequestView},
    rule::{host_name::HostName, method::parse_methods, path_prefix::PathPrefix},
};

/// The conditions of a rule as they were written. All of them have to hold; of the texts of one list, one has to.
pub(super) struct Conditions<K: RequestKind> {
    pub(super) closures: Vec<Condition<K>>,
    pub(super) paths_under: Vec<String>,
    pub(super) hosts: Vec<String>,
    pub(super) methods: Vec<String>,
    /// Names and values.
    pub(super) headers: Vec<(String, String)>,
}

/// The conditions of a rule, compiled.
#[derive(Clone)]
pub(crate) struct Filter<K: RequestKind> {
    /// `None` if there are closures alone.
    http: Option<HttpFilter>,
    closures: Box<[Condition<K>]>,
}

/// The conditions on requests of HTTP. An empty list is none.
#[derive(Clone, Debug)]
struct HttpFilter {
    methods: Vec<Method>,
    hosts: Vec<HostName>,
    headers: Vec<HeaderFilter>,
    prefixes: Vec<PathPrefix>,
}

/// The values that a header field may have.
#[derive(Clone, Debug)]
struct HeaderFilter {
    name: HeaderName,
    values: Vec<HeaderValue>,
}

impl<K: RequestKind> Conditions<K> {
    pub(super) fn is_empty(&self) -> bool {
        self.closures.is_empty() && !self.has_http()
    }

    fn has_http(&self) -> bool {
        let lists = [&self.paths_under, &self.hosts, &self.methods];
        !self.headers.is_empty() || lists.iter().any(|list| !list.is_empty())
    }

    /// Compiles the conditions; `None` if there are none.
    pub(super) fn compile(&self) -> Result<Option<Filter<K>>, ConfigError> {
        if self.is_empty() {
            return Ok(None);
        }
        let http = if self.has_http() { Some(self.compile_http()?) } else { None };
        Ok(Some(Filter { http, closures: self.closures.clone().into() }))
    }

    fn compile_http(&self) -> Result<HttpFilter, ConfigError> {
        let methods: Vec<_> = self.methods.iter().map(|text| methods(text)).collect::<Result<_, _>>()?;
        let mut headers: Vec<HeaderFilter> = Vec::new();
        for (name, value) in &self.headers {
            let (name, value) = header(name, value)?;
            match headers.iter_mut().find(|known| known.name == name) {
                Some(known) => known.values.push(value),
                None => headers.push(HeaderFilter { name, values: vec![value] }),
            }
        }
        Ok(HttpFilter {
            methods: methods.concat(),
            hosts: self.hosts.iter().map(|text| HostName::parse(text)).collect::<Result<_, _>>()?,
            headers,
            prefixes: self.paths_under.iter().map(|text| PathPrefix::parse(text)).collect::<Result<_, _>>()?,
        })
    }
}

impl<K: RequestKind> Default for Conditions<K> {
    fn default() -> Self {
        Self {
            closures: Vec::new(),
            paths_under: Vec::new(),
            hosts: Vec::new(),
            methods: Vec::new(),
            headers: Vec::new(),
        }
    }
}

impl<K: RequestKind> Clone for Conditions<K> {
    fn clone(&self) -> Self {
        Self {
            closures: self.closures.clone(),
            paths_under: self.paths_under.clone(),
            hosts: self.hosts.clone(),
            methods: self.methods.clone(),
            headers: self.headers.clone(),
        }
    }
}

impl<K: RequestKind> fmt::Debug for Conditions<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conditions")
            .field("paths_under", &self.paths_under)
            .field("hosts", &self.hosts)
            .field("methods", &self.methods)
            .field("headers", &self.headers)
            .field("closures", &self.closures.len())
            .finish()
    }
}

impl<K: RequestKind> Filter<K> {
    /// Returns true if all conditions hold.
    pub(crate) fn holds(&self, request: K::View<'_>) -> bool {
        let holds_for = |http: &HttpFilter| K::as_http(request).is_some_and(|request| http.holds(request));
        self.http.as_ref().is_none_or(holds_for) && self.closures.iter().all(|holds| holds(request))
    }
}

impl HttpFilter {
    fn holds(&self, request: &RequestView<'_>) -> bool {
        (self.methods.is_empty() || self.has_method(request))
            && (self.hosts.is_empty() || HostName::any_is_of(&self.hosts, request))
            && self.headers.iter().all(|header| header.holds(request))
            && (self.prefixes.is_empty() || PathPrefix::any_covers(&self.prefixes, request))
    }

    /// HEAD counts as GET.
    fn has_method(&self, request: &RequestView<'_>) -> bool {
        request.methods().any(|method| {
            let method = if *method == Method::HEAD { &Method::GET } else { &*method };
            self.methods.contains(method)
        })
    }
}

impl HeaderFilter {
    fn holds(&self, request: &RequestView<'_>) -> bool {
        request.headers().get_all(&self.name).iter().any(|value| self.values.contains(value))
    }
}

fn methods(text: &str) -> Result<Vec<Method>, ConfigError> {
    let refuse = |reason: String| ConfigError::new("methods", format_args!("\"{text}\""), reason);
    let methods = parse_methods(text).map_err(refuse)?;
    if methods.is_empty() {
        return Err(refuse("this is every method: leave it out".to_owned()));
    }
    Ok(methods)
}

fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), ConfigError> {
    let refuse = |reason: &str| ConfigError::new("when_header", format_args!("\"{name}: {value}\""), reason);
    let name = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| refuse("not the name of a header field: write one such as \"x-plan\""))?;
    if name == HOST {
        return Err(refuse("HTTP/2 has the host elsewhere: write it as one of the hosts"));
    }
    if value.trim() != value {
        return Err(refuse("no field has spaces at the ends of its value: leave them out"));
    }
    let value = HeaderValue::from_bytes(value.as_bytes())
        .map_err(|_| refuse("no field can have this value, which has a control character in it"))?;
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::{Request, request::Builder};

    use super::*;
    use crate::request::Http;

    fn holds(conditions: &Conditions<Http>, request: Builder) -> bool {
        let request = request.body(()).unwrap();
        conditions.compile().unwrap().unwrap().holds(&RequestView::new(&request))
    }

    fn headers(fields: &[(&str, &str)]) -> Conditions<Http> {
        let headers = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Conditions { headers, ..Conditions::default() }
    }

    #[test]
    fn no_conditions_are_no_filter() {
        assert!(Conditions::<Http>::default().compile().unwrap().is_none());
    }

    #[test]
    fn a_header_field_has_the_value_in_one_of_its_lines() {
        let beta = headers(&[("X-Plan", "beta")]);
        assert!(holds(&beta, Request::get("/").header("x-plan", "beta")));
        assert!(holds(&beta, Request::get("/").header("x-plan", "pro").header("x-plan", "beta")));
        for value in ["Beta", "beta2", "beta, pro", ""] {
            assert!(!holds(&beta, Request::get("/").header("x-plan", value)), "{value}");
        }
        assert!(!holds(&beta, Request::get("/")));
    }

    #[test]
    fn one_field_has_one_of_its_values_and_several_fields_all_hold() {
        let both = headers(&[("x-plan", "beta"), ("x-plan", "pro"), ("x-region", "eu")]);
        let request = |plan, region| Request::get("/").header("x-plan", plan).header("x-region", region);
        assert!(holds(&both, request("beta", "eu")) && holds(&both, request("pro", "eu")));
        assert!(!holds(&both, request("free", "eu")) && !holds(&both, request("pro", "us")));
    }

    #[test]
    fn methods_count_as_in_routes() {
        let get = Conditions::<Http> { methods: vec!["GET".into(), "PUT|POST".into()], ..Conditions::default() };
        for method in ["GET", "HEAD", "PUT", "POST", "post"] {
            assert!(holds(&get, Request::builder().method(method).uri("/")), "{method}");
        }
        assert!(holds(&get, Request::builder().method("CONNECT").uri("https://example.com/ws")));
        assert!(!holds(&get, Request::delete("/")));
    }

    #[test]
    fn all_conditions_have_to_hold() {
        let conditions = Conditions::<Http> {
            paths_under: vec!["/api".into(), "/v2".into()],
            hosts: vec!["a.example".into()],
            methods: vec!["POST".into()],
            closures: vec![Arc::new(|request: &RequestView<'_>| request.uri().query().is_none())],
            ..headers(&[("x-plan", "beta")])
        };
        let request = |method: &str, uri: &str, host: &str, plan: &str| {
            Request::builder().method(method).uri(uri).header("host", host).header("x-plan", plan)
        };
        assert!(holds(&conditions, request("POST", "/api/x", "a.example", "beta")));
        assert!(holds(&conditions, request("POST", "/v2", "a.example", "beta")));
        assert!(!holds(&conditions, request("GET", "/api/x", "a.example", "beta")));
        assert!(!holds(&conditions, request("POST", "/x", "a.example", "beta")));
        assert!(!holds(&conditions, request("POST", "/api/x", "b.example", "beta")));
        assert!(!holds(&conditions, request("POST", "/api/x", "a.example", "pro")));
        assert!(!holds(&conditions, request("POST", "/api/x?q", "a.example", "beta")));
    }

    #[test]
    fn a_condition_that_never_holds_is_refused() {
        let with = |name, value| headers(&[(name, value)]);
        let methods = |text: &str| Conditions { methods: vec![text.to_owned()], ..Conditions::default() };
        for (conditions, field, value, reason) in [
            (with("x plan", "a"), "when_header", "\"x plan: a\"", "not the name of a header field"),
            (with("x-plan", "a\n"), "when_header", "\"x-plan: a\n\"", "spaces at the ends"),
            (with("x-plan", "a\nb"), "when_header", "\"x-plan: a\nb\"", "control character"),
            (with("Host", "a"), "when_header", "\"Host: a\"", "one of the hosts"),
            (methods("post"), "methods", "\"post\"", "write POST"),
            (methods("HEAD"), "methods", "\"HEAD\"", "write GET"),
            (methods("ANY"), "methods", "\"ANY\"", "leave it out"),
        ] {
            let error = conditions.compile().map(|_| ()).unwrap_err();
            assert_eq!((error.field(), error.value()), (field, value));
            assert!(error.reason().contains(reason), "{error}");
        }
    }
}
