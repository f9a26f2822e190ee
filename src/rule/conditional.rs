//! The methods that set the conditions of a rule, and its exemptions.

use std::sync::Arc;

use crate::{
    request::RequestKind,
    rule::{Rule, exempt::Exemption},
};

impl<K: RequestKind> Rule<K> {
    /// Governs a request only if `condition` returns `true` for it, in addition to whatever else the rule says. Of several
    /// conditions, all have to hold. Without routes, the rule governs every request for which they do.
    ///
    /// ```
    /// use http::Request;
    /// use tower_quota::{Policy, RateLimiter, Rule, http::RequestView, key};
    ///
    /// let rule = Rule::new("searches")
    ///     .when(|request: &RequestView<'_>| request.uri().query().is_some())
    ///     .key(key::header("x-account"))
    ///     .policy(Policy::per_minute(60));
    /// let limiter = RateLimiter::builder().rule(rule).build()?;
    ///
    /// for (uri, rules) in [("/cases?text=late", 1), ("/cases", 0)] {
    ///     let request = Request::get(uri).body(())?;
    ///     assert_eq!(limiter.matching(&RequestView::new(&request)).len(), rules);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// A condition that panics fails its own request alone.
    pub fn when(mut self, condition: impl Fn(K::View<'_>) -> bool + Send + Sync + 'static) -> Self {
        self.conditions.closures.push(Arc::new(condition));
        self
    }

    /// Leaves the requests alone for which an [exemption](crate::exempt) holds: one of the functions there, or a closure.
    /// May be called several times: any one is enough.
    ///
    /// To exempt requests from all rules, use [`RateLimiterBuilder::exempt`](crate::RateLimiterBuilder::exempt).
    ///
    /// ```
    /// use http::Request;
    /// use tower_quota::{Policy, RateLimiter, Rule, exempt, http::RequestView, key};
    ///
    /// let rule = Rule::new("calls")
    ///     .every_request()
    ///     .exempt(exempt::routes(["GET /healthz"]))
    ///     .exempt(|request: &RequestView<'_>| request.headers().contains_key("x-internal"))
    ///     .key(key::header("x-account"))
    ///     .policy(Policy::per_minute(60));
    /// let limiter = RateLimiter::builder().rule(rule).build()?;
    ///
    /// let check = Request::get("/healthz").body(())?;
    /// assert!(limiter.matching(&RequestView::new(&check)).is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn exempt(mut self, exemption: impl Into<Exemption<K>>) -> Self {
        self.exemptions.push(exemption.into());
        self
    }
}

/// Conditions on requests, in addition to each other and to whatever else the rule says. See [how rules
/// combine](crate#how-rules-combine).
impl Rule {
    /// Governs a request only if its path is one of these or below one: `/api` is a prefix of `/api` and `/api/bots`, and not
    /// of `/apis`. Without routes, the rule governs every such request, beside the rules that have routes.
    ///
    /// A prefix has neither a method nor parameters, and case matters. As with routes, every reading of a path counts that a
    /// router may have (`//api`, `/x/../api`, `/%61pi`, `/api%2Fbots`), and in axum the path before any nesting.
    ///
    /// ```
    /// use http::Request;
    /// use tower_quota::{Policy, RateLimiter, Rule, http::RequestView, key};
    ///
    /// let account = || key::header("x-account");
    /// let limiter = RateLimiter::builder()
    ///     .rule(Rule::new("api").paths_under(["/api"]).key(account()).policy(Policy::per_minute(600)))
    ///     .rule(Rule::new("exports").routes(["POST /api/export"]).key(account()).policy(Policy::per_minute(6)))
    ///     .build()?;
    ///
    /// let rules_of = |request: http::request::Builder| {
    ///     let request = request.body(())?;
    ///     let rules = limiter.matching(&RequestView::new(&request));
    ///     Ok::<_, http::Error>(rules.iter().map(|rule| rule.rule().to_owned()).collect::<Vec<_>>())
    /// };
    /// assert_eq!(rules_of(Request::post("/api/export"))?, ["exports", "api"]);
    /// assert_eq!(rules_of(Request::get("/api/cases"))?, ["api"]);
    /// assert_eq!(rules_of(Request::get("/apis"))?, [""; 0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn paths_under(mut self, prefixes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.conditions.paths_under.extend(prefixes.into_iter().map(Into::into));
        self
    }

    /// Governs a request only if it is for one of these hosts: `"api.example.com"` with any port, or
    /// `"api.example.com:8443"`. Case and a final dot do not matter.
    ///
    /// The target of a request and each field `Host` count. Both are what the client says: this tells the sites of one server
    /// apart, and is no protection of a site that is also reachable by another name.
    ///
    /// ```
    /// use http::Request;
    /// use tower_quota::{Policy, RateLimiter, Rule, http::RequestView, key};
    ///
    /// let rule = Rule::new("api").hosts(["api.example.com"]).key(key::peer_ip()).policy(Policy::per_minute(60));
    /// let limiter = RateLimiter::builder().rule(rule).build()?;
    ///
    /// for (host, rules) in [("API.example.com:8080", 1), ("www.example.com", 0)] {
    ///     let request = Request::get("/").header("host", host).body(())?;
    ///     assert_eq!(limiter.matching(&RequestView::new(&request)).len(), rules);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn hosts(mut self, hosts: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.conditions.hosts.extend(hosts.into_iter().map(Into::into));
        self
    }

    /// Governs a request only if it has one of these methods. HEAD counts as GET, as in [routes](Self::routes).
    ///
    /// ```
    /// use http::Request;
    /// use tower_quota::{Policy, RateLimiter, Rule, http::RequestView, key};
    ///
    /// let rule = Rule::new("writes").methods(["POST", "PUT"]).paths_under(["/api"]);
    /// let rule = rule.key(key::peer_ip()).policy(Policy::per_minute(60));
    /// let limiter = RateLimiter::builder().rule(rule).build()?;
    ///
    /// for (request, rules) in [(Request::put("/api/bots/7"), 1), (Request::get("/api/bots/7"), 0)] {
    ///     assert_eq!(limiter.matching(&RequestView::new(&request.body(())?)).len(), rules);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn methods(mut self, methods: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.conditions.methods.extend(methods.into_iter().map(Into::into));
        self
    }

    /// Governs a request only if its header field `name` has this value, byte for byte, in one of its lines. If called several
    /// times, each name has to have one of its values.
    ///
    /// A client chooses its header fields, and so whether the rule governs it: use fields that a proxy or an authentication
    /// layer sets, or a rule that clients have no reason to evade.
    ///
    /// ```
    /// use http::Request;
    /// use tower_quota::{Policy, RateLimiter, Rule, http::RequestView, key};
    ///
    /// let rule = Rule::new("beta").when_header("x-plan", "beta").key(key::header("x-account"));
    /// let limiter = RateLimiter::builder().rule(rule.policy(Policy::per_minute(60))).build()?;
    ///
    /// for (plan, rules) in [("beta", 1), ("pro", 0)] {
    ///     let request = Request::get("/").header("x-plan", plan).body(())?;
    ///     assert_eq!(limiter.matching(&RequestView::new(&request)).len(), rules);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn when_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.conditions.headers.push((name.into(), value.into()));
        self
    }
}
