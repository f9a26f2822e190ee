//! Exempts the requests to routes.

use http::Method;

use crate::{
    error::ConfigError,
    request::RequestView,
    rule::{PathReadings, Route, exempt::Exemption, path_readings::collapse_slashes, without_param_names},
};

/// The methods of the standard health service, which are called by POST like all of gRPC.
const GRPC_HEALTH: [&str; 2] = ["POST /grpc.health.v1.Health/Check", "POST /grpc.health.v1.Health/Watch"];

/// Exempts the requests to these routes, which are written as those of a [rule](crate::Rule::routes): `"GET /healthz"`, or
/// `"/metrics"` for any method. HEAD counts as GET.
///
/// A path that a router may read in several ways (because of `//`, a slash at the end, percent-encoding) is exempt only if
/// *every* reading matches one of these routes: `/static/..%2Fadmin` is not exempt by `/static/{*file}`. The same holds for a path that was rewritten, which has to be exempt before and after, and with axum's nesting the
/// whole path counts, as for rules. With feature `axum`, the template that axum has matched has to be one of that path.
/// No path with dot segments, `;` or an encoded percent sign is exempt, because servers differ too much in what they make
/// of it, and no honest client needs it.
///
/// Routes of several exemptions are not put together: list all that one path may be read as in one call.
///
/// ```
/// use http::Request;
/// use tower_quota::{Policy, RateLimiter, Rule, exempt, http::RequestView, key};
///
/// let rule = Rule::new("calls").every_request().key(key::header("x-account"));
/// let limiter = RateLimiter::builder()
///     .exempt(exempt::routes(["GET /healthz", "GET /static/{*file}"]))
///     .rule(rule.policy(Policy::per_minute(60)))
///     .build()?;
///
/// let is_exempt = |method: &str, uri: &str| {
///     let request = Request::builder().method(method).uri(uri).body(())?;
///     Ok::<_, http::Error>(limiter.matching(&RequestView::new(&request)).is_empty())
/// };
/// assert!(is_exempt("GET", "/healthz")? && is_exempt("HEAD", "/static/a/b%20c.png")?);
/// assert!(!is_exempt("POST", "/healthz")?);
/// assert!(!is_exempt("GET", "/static/..%2Fadmin")?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn routes(routes: impl IntoIterator<Item = impl Into<String>>) -> Exemption {
    let texts: Vec<String> = routes.into_iter().map(Into::into).collect();
    let description = format!("routes {texts:?}");
    match ExemptRoutes::parse(&texts) {
        Ok(routes) => Exemption::new(description, move |request: &RequestView<'_>| routes.exempt(request)),
        Err(mistake) => Exemption::mistaken(description, mistake),
    }
}

/// Exempts gRPC health checks: `Check` and `Watch` of the standard service `grpc.health.v1.Health`.
///
/// ```
/// use http::Request;
/// use tower_quota::{Policy, RateLimiter, Rule, exempt, http::RequestView, key};
///
/// let rule = Rule::new("calls").every_request().key(key::metadata("x-account-id"));
/// let limiter = RateLimiter::builder()
///     .exempt(exempt::grpc_health())
///     .rule(rule.policy(Policy::per_minute(60)))
///     .build()?;
///
/// let check = Request::post("/grpc.health.v1.Health/Check").body(())?;
/// assert!(limiter.matching(&RequestView::new(&check)).is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn grpc_health() -> Exemption {
    routes(GRPC_HEALTH)
}

/// Routes that are exempt.
#[derive(Debug)]
struct ExemptRoutes(Box<[ExemptRoute]>);

/// One of them, by its template.
#[derive(Debug)]
struct ExemptRoute {
    /// Empty for any method.
    methods: Vec<Method>,
    /// The template as it is written, for the path as it came.
    written: PathPattern,
    /// Its canonical form, for the other readings. None if the slashes of the two differ: a router that removes slashes
    /// gives the path to another route.
    canonical: Option<PathPattern>,
}

/// Matches the paths of one template.
#[derive(Debug)]
enum PathPattern {
    Literal(String),
    Template(Box<matchit::Router<()>>),
}

impl ExemptRoutes {
    fn parse(texts: &[String]) -> Result<Self, ConfigError> {
        if texts.is_empty() {
            let reason = "no route is named: write one such as \"GET /healthz\", or leave the exemption out";
            return Err(ConfigError::new("exempt", "[]", reason));
        }
        let routes: Vec<Route> =
            texts.iter().map(|text| Route::parse(text)).collect::<Result<_, _>>().map_err(in_exempt)?;
        let exempt = Self(routes.iter().map(ExemptRoute::from_route).collect::<Result<_, _>>()?);
        routes.iter().try_for_each(|route| exempt.check(route))?;
        Ok(exempt)
    }

    /// Refuses a route that exempts nothing, because its paths have other readings.
    fn check(&self, route: &Route) -> Result<(), ConfigError> {
        let sample = sample_path(route);
        let method = route.methods().first().unwrap_or(&Method::GET);
        let readings = PathReadings::from_path(&sample);
        let reason = if is_never_exempt(&sample, &readings) {
            "no path with dot segments, ; or an encoded percent sign is exempt, since servers differ too much in what they \
             make of it: exempt the request by a closure"
                .to_owned()
        } else if let Some(other) = self.other_reading(method, &readings) {
            format!(
                "a router may read {sample} as {other}, which is not exempt: exempt that route in the same list, or the \
                 request by a closure"
            )
        } else {
            return Ok(());
        };
        Err(in_exempt(ConfigError::new("route", format_args!("\"{}\"", route.text()), reason)))
    }

    /// Returns true if every reading of the request is exempt.
    fn exempt(&self, request: &RequestView<'_>) -> bool {
        request.methods().all(|method| request.paths().all(|(path, _)| self.exempt_path(&method, &path)))
            && explains_template(request)
    }

    fn exempt_path(&self, method: &Method, path: &str) -> bool {
        if !self.any(method, |route| route.written.matches(path)) {
            return false;
        }
        let readings = PathReadings::from_path(path);
        !is_never_exempt(path, &readings) && self.other_reading(method, &readings).is_none()
    }

    /// Returns a reading of the path that is not exempt.
    fn other_reading(&self, method: &Method, readings: &PathReadings<'_>) -> Option<String> {
        let is_written = |path: &str| self.any(method, |route| route.written.matches(path));
        let is_read =
            |path: &str| self.any(method, |route| route.canonical.as_ref().is_some_and(|form| form.matches(path)));
        let verbatim = readings.verbatim().find(|reading| !is_written(reading));
        let other = verbatim.or_else(|| readings.iter().map(|(reading, _)| reading).find(|reading| !is_read(reading)));
        other.map(str::to_owned)
    }

    fn any(&self, method: &Method, matches: impl Fn(&ExemptRoute) -> bool) -> bool {
        self.0.iter().any(|route| route.allows(method) && matches(route))
    }
}

impl ExemptRoute {
    fn from_route(route: &Route) -> Result<Self, ConfigError> {
        let has_plain_slashes = collapse_slashes(route.written()) == route.written();
        let canonical = has_plain_slashes.then(|| PathPattern::from_template(route.shape())).flatten();
        let written = PathPattern::from_template(route.written()).ok_or_else(|| {
            in_exempt(ConfigError::new("route", format_args!("\"{}\"", route.text()), "no path matches this template"))
        })?;
        Ok(Self { methods: route.methods().to_vec(), written, canonical })
    }

    fn allows(&self, method: &Method) -> bool {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        self.methods.is_empty() || self.methods.contains(method)
    }
}

impl PathPattern {
    /// Returns none if the matcher does not take the template.
    fn from_template(template: &str) -> Option<Self> {
        if !template.contains(['{', '}']) {
            return Some(Self::Literal(template.to_owned()));
        }
        let mut matcher = matchit::Router::new();
        matcher.insert(template, ()).ok()?;
        Some(Self::Template(Box::new(matcher)))
    }

    fn matches(&self, path: &str) -> bool {
        match self {
            Self::Literal(literal) => literal == path,
            Self::Template(matcher) => matcher.at(path).is_ok(),
        }
    }
}

/// Returns true if the template that axum has matched, if it has, is one of a path of this request. Otherwise a layer has
/// rewritten the path since, and the handler is that of another one.
fn explains_template(request: &RequestView<'_>) -> bool {
    let Some(template) = request.axum_template() else { return true };
    let pattern = PathPattern::from_template(template);
    pattern.is_some_and(|pattern| request.paths().any(|(path, _)| pattern.matches(&path)))
}

/// Returns true if some server would read the path in a way that [`PathReadings`] does not have: it resolves dot segments
/// before it decodes anything, takes parameters off the segments, or decodes twice.
fn is_never_exempt(path: &str, readings: &PathReadings<'_>) -> bool {
    let has = |sign: &[u8]| path.as_bytes().windows(sign.len()).any(|part| part.eq_ignore_ascii_case(sign));
    readings.have_dot_segments() || has(b";") || has(b"%25") || has(b"%3b")
}

/// Returns a path of this route.
fn sample_path(route: &Route) -> String {
    let template = without_param_names(route.written());
    let template = String::from_utf8_lossy(&template);
    template.replace("{*}", "x").replace("{}", "x").replace("{{", "{").replace("}}", "}")
}

fn in_exempt(error: ConfigError) -> ConfigError {
    let value = error.value().to_owned();
    error.in_field("exempt", &value)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn exempts(texts: &[&str], method: &str, path: &str) -> bool {
        let request = Request::builder().method(method).uri(path).body(()).unwrap();
        let condition = routes(texts.iter().copied()).condition().unwrap();
        condition(&RequestView::new(&request))
    }

    #[test]
    fn a_route_is_exempt_by_its_method_and_path() {
        let health = ["GET /healthz"];
        assert!(exempts(&health, "GET", "/healthz?verbose=1"));
        assert!(exempts(&health, "HEAD", "/healthz"));
        for (method, path) in
            [("POST", "/healthz"), ("get", "/healthz"), ("GET", "/healthz2"), ("GET", "/healthz/x"), ("GET", "/")]
        {
            assert!(!exempts(&health, method, path), "{method} {path}");
        }
        assert!(exempts(&["/healthz"], "BREW", "/healthz"));
    }

    #[test]
    fn another_spelling_of_an_exempt_path_is_not_exempt() {
        for path in [
            "//healthz",
            "/healthz/",
            "/healthz//",
            "/./healthz",
            "/x/../healthz",
            "/%68ealthz",
            "/healthz%2F",
            "/healthz%2f..%2fhealthz",
            "/HEALTHZ",
            "/Healthz",
            "/healthz%00",
            "/healthz;x",
            "/healthz%3Bx",
            "/%2568ealthz",
        ] {
            assert!(!exempts(&["/healthz"], "GET", path), "{path}");
        }
    }

    #[test]
    fn nothing_gets_out_of_an_exempt_folder() {
        let folder = ["GET /static/{*file}"];
        for path in ["/static/a", "/static/a/b.png", "/static/a%20b", "/static/%C3%A9", "/static/a//b"] {
            assert!(exempts(&folder, "GET", path), "{path}");
        }
        for path in [
            "/static/../admin",
            "/static/..",
            "/static/x/../../admin",
            "/static/x/../y",
            "/static/./y",
            "/static/%2e%2e/admin",
            "/static/..%2Fadmin",
            "/static%2F..%2Fadmin",
            "/static/..%5Cadmin",
            "/static/%2E%2E%5cadmin",
            "/static/x%2F..%2F..%2Fadmin",
            "/static/.%2e/admin",
            "/static/%252e%252e/admin",
            "/static/%252e%252e%252fadmin",
            "/static/..;/admin",
            "/static/..%3b/admin",
            "/static",
            "/static/",
            "//static/a",
            "/x/../static/a",
            "/static%2Fa",
            "/%73tatic/a",
        ] {
            assert!(!exempts(&folder, "GET", path), "{path}");
        }
    }

    #[test]
    fn a_parameter_is_one_segment_in_every_reading() {
        let tenants = ["GET /{tenant}/health"];
        assert!(exempts(&tenants, "GET", "/acme/health"));
        for path in
            ["/a%2Fb/health", "/../health", "/%2e%2e/health", "/a%5Cb/health", "/./health", "//health", "/a//health"]
        {
            assert!(!exempts(&tenants, "GET", path), "{path}");
        }
    }

    #[test]
    fn readings_may_be_exempt_by_several_routes_of_one_list() {
        let both = ["GET /health/", "GET /health"];
        assert!(exempts(&both, "GET", "/health") && exempts(&both, "GET", "/health/"));
        assert!(!exempts(&both, "GET", "/health//"));
    }

    #[test]
    fn extended_connect_is_exempt_only_by_a_route_for_any_method() {
        assert!(exempts(&["/ws"], "CONNECT", "https://example.com/ws"));
        assert!(!exempts(&["GET /ws"], "CONNECT", "https://example.com/ws"));
        assert!(!exempts(&["CONNECT /ws"], "CONNECT", "https://example.com/ws"));
        assert!(!exempts(&["/{*rest}"], "CONNECT", "example.com:443"));
        assert!(!exempts(&["/{*rest}"], "OPTIONS", "*"));
    }

    #[test]
    fn health_checks_of_grpc_are_two_calls() {
        let exempts = |method: &str, path: &str| {
            let request = Request::builder().method(method).uri(path).body(()).unwrap();
            grpc_health().condition().unwrap()(&RequestView::new(&request))
        };
        assert!(exempts("POST", "/grpc.health.v1.Health/Check"));
        assert!(exempts("POST", "/grpc.health.v1.Health/Watch"));
        for path in [
            "/grpc.health.v1.Health/Other",
            "/grpc.health.v1.Health",
            "/grpc.health.v1.health/Check",
            "/x/grpc.health.v1.Health/Check",
        ] {
            assert!(!exempts("POST", path), "{path}");
        }
        assert!(!exempts("GET", "/grpc.health.v1.Health/Check"));
    }

    #[test]
    fn a_route_that_exempts_nothing_is_refused() {
        for (texts, value, reason) in [
            (&["GET healthz"][..], "\"GET healthz\"", "begins with /"),
            (&["GET /ok", "get /healthz"], "\"get /healthz\"", "capital letters"),
            (&["GET /health/"], "\"GET /health/\"", "may read /health/ as /health, which is not exempt"),
            (&["GET //health"], "\"GET //health\"", "may read //health as /health"),
            (&["/a/{x}//b"], "\"/a/{x}//b\"", "may read /a/x//b as /a/x/b"),
            (&["/a/../b"], "\"/a/../b\"", "no path with dot segments"),
            (&["/a%2Fb"], "\"/a%2Fb\"", "may read /a%2Fb as /a/b"),
            (&["/a;b"], "\"/a;b\"", "; or an encoded"),
            (&["/100%25"], "\"/100%25\"", "encoded percent sign"),
            (&[], "[]", "no route is named"),
        ] {
            let error = routes(texts.iter().copied()).validate().unwrap_err();
            assert_eq!((error.field(), error.value()), ("exempt", value));
            assert!(error.reason().contains(reason), "{error}");
        }
    }

    #[test]
    fn a_template_in_another_spelling_is_exempt_as_it_is_written() {
        assert!(exempts(&["/caf%C3%A9"], "GET", "/caf%C3%A9"));
        assert!(exempts(&["/%68ealthz"], "GET", "/%68ealthz"));
        assert!(!exempts(&["/%68ealthz"], "GET", "/healthz"));
        assert!(exempts(&["/v{version}/health"], "GET", "/v1/health"));
    }
}
