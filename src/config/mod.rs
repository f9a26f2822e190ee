//! Rules in a TOML file.
//!
//! A matrix of limits is easier to read, review and change as a table than as code. The fields are called like the methods of the
//! builders. Read a file with [`RateLimiter::from_toml`](crate::RateLimiter::from_toml), or with
//! [`RateLimiterBuilder::toml`](crate::RateLimiterBuilder::toml) if the program adds rules or key sources of its own.
//!
//! ```
//! use tower_quota::{RateLimiter, config::Sources, key};
//!
//! # #[derive(Clone)] struct Claims { account: String }
//! let text = r#"
//!     max_keys = 200000
//!     message = "Over the limit of {limit} per {window}: wait {retry_after} seconds."
//!
//!     [client_ip]
//!     trust = ["10.0.0.0/8"]
//!
//!     [[rule]]
//!     name = "bots"
//!     key = "path:botId"
//!     level = "bot"
//!     quotas = ["60/minute", "1800/hour"]
//!     routes = ["POST /bots/{botId}/export", "GET|PUT /bots/{botId}"]
//!
//!     [[rule.group]]
//!     key = "query:botId | header:x-bot-id"
//!     routes = ["POST /bots/import"]
//!
//!     [[rule]]
//!     name = "tables"
//!     key = ["claim:account", "path:table"]
//!     quotas = ["2/minute"]
//!     routes = ["/tables/{table}"]
//!     on_missing = 401
//!
//!     [[rule]]
//!     name = "everything-else"
//!     key = "client_ip"
//!     quotas = ["600/minute"]
//!     applies_to = "unmatched_requests"
//! "#;
//!
//! let account = key::claim(|claims: &Claims| &claims.account);
//! let sources = Sources::new().source("claim:account", account);
//! let limiter = RateLimiter::builder().toml(text, &sources)?.build()?;
//!
//! assert!(limiter.rule("tables")?.check(("acme", "orders")).is_admitted());
//! assert!(limiter.rule("tables")?.check(("acme", "orders")).is_admitted());
//! assert!(!limiter.rule("tables")?.check(("acme", "orders")).is_admitted());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The file
//!
//! Fields are optional unless they are called required. A field that is not in these tables is an error, so misspellings do not
//! go unnoticed.
//!
//! | field | meaning | default |
//! |---|---|---|
//! | `max_keys` | the maximum number of histories: [`RateLimiterBuilder::max_keys`] | 1000000 |
//! | `message` | the text for refused callers: [`RateLimiterBuilder::message`] | a sentence about the window |
//! | `exempt` | the requests that no rule governs, see [below](self#exempt): [`RateLimiterBuilder::exempt`] | none |
//! | `[client_ip]` | the meaning of the key source `client_ip` in this file | `client_ip` is an error |
//! | `[[rule]]` | one [`Rule`]; repeated for each rule | |
//!
//! ## `[[rule]]`
//!
//! | field | meaning | default |
//! |---|---|---|
//! | `name` | the name, in visible ASCII | required |
//! | `quotas` | strings such as `"60/minute"`, `"500/5m"`, `"10000/day"`: see [`Quota`] | required |
//! | `key` | the source of the key of a request, see below: [`Rule::key`] | required unless all routes are in groups or there are none |
//! | `level` | the name of the enforcement level: [`Rule::level`] | [the name of the sources](crate::key::KeyExtractor::name), `botId` for `path:botId` |
//! | `routes` | strings such as `"POST /bots/{id}"`, `"GET\|PUT /bots/{id}"`, `"/status"`: [`Rule::routes`] | none |
//! | `applies_to` | `"routes"`, or one of [`"every_request"`](crate::Rule::every_request), [`"unmatched_requests"`](crate::Rule::unmatched_requests) (requests that match no route of any rule) and [`"no_requests"`](crate::Rule::no_requests) (the program checks the rule by name) | `"routes"` |
//! | `paths_under` | prefixes such as `"/api"`, of which the path has to have one: [`Rule::paths_under`] | any path |
//! | `hosts` | hosts such as `"api.example.com"`, of which the request has to be for one: [`Rule::hosts`] | any host |
//! | `methods` | methods such as `"POST"`, of which the request has to have one: [`Rule::methods`] | any method |
//! | `when_header` | header fields and the values that they have to have, `{ x-plan = "beta", x-region = ["eu", "us"] }`: [`Rule::when_header`] | none |
//! | `exempt` | the requests that this rule leaves alone, see [below](self#exempt): [`Rule::exempt`] | none |
//! | `per_route` | whether each route is counted by itself: [`Rule::per_route`] | `false` |
//! | `count_denied` | whether refused requests are charged too: [`Policy::count_denied`] | `false` |
//! | `resolution` | the precision of large quotas: [`Policy::resolution`] | 4096 |
//! | `on_missing` | `"share"`, `"skip"` or a status from 400 to 599: [`OnMissing`] | `"share"` |
//! | `[[rule.group]]` | more routes of the rule above, see below | none |
//!
//! ## `[[rule.group]]`
//!
//! Routes of the same rule, with the same histories, but another source of the key: [`Rule::group`].
//!
//! | field | meaning | default |
//! |---|---|---|
//! | `key` | the source of the key of a request to these routes | required |
//! | `routes` | the routes | required |
//!
//! ## `[client_ip]`
//!
//! See [`key::client_ip`]. Without this table `client_ip` is an error, so that a proxy is not limited by accident. An empty table
//! states that there is no proxy.
//!
//! | field | meaning | default |
//! |---|---|---|
//! | `trust` | the networks of the trusted proxies, such as `"10.0.0.0/8"` | none |
//! | `header` | the header that they set: `"x-forwarded-for"`, `"forwarded"`, or a header with a single address | `"x-forwarded-for"` |
//! | `ipv6_prefix` | the number of bits of an IPv6 address that distinguish clients | 64 |
//!
//! # Conditions
//!
//! `paths_under`, `hosts`, `methods` and `when_header` all have to hold, beside the `routes` if there are some; without routes
//! the rule governs every request for which they hold. [How rules combine](crate#how-rules-combine) has a table.
//!
//! ```
//! use http::Request;
//! use tower_quota::{RateLimiter, http::RequestView};
//!
//! let limiter = RateLimiter::from_toml(
//!     r#"
//!     exempt = ["GET /api/health", "preflights"]
//!
//!     [[rule]]
//!     name = "api"
//!     key = "header:x-account"
//!     quotas = ["600/minute"]
//!     paths_under = ["/api"]
//!     hosts = ["api.example.com"]
//!
//!     [[rule]]
//!     name = "exports"
//!     key = "header:x-account"
//!     quotas = ["6/minute"]
//!     routes = ["POST /api/export"]
//!     when_header = { x-plan = "beta" }
//! "#,
//! )?;
//! let rules_of = |request: http::request::Builder| {
//!     let request = request.header("host", "api.example.com").body(())?;
//!     let rules = limiter.matching(&RequestView::new(&request));
//!     Ok::<_, http::Error>(rules.iter().map(|rule| rule.rule()).collect::<Vec<_>>())
//! };
//! assert_eq!(rules_of(Request::post("/api/export").header("x-plan", "beta"))?, ["exports", "api"]);
//! assert_eq!(rules_of(Request::post("/api/export"))?, ["api"]);
//! assert_eq!(rules_of(Request::get("/api/health"))?, [""; 0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Exempt
//!
//! An exempt request is charged nothing and needs no key. At the top of the file `exempt` is for all rules of the limiter, below
//! `[[rule]]` for that rule; any one of the strings is enough. See [`exempt`](crate::exempt): an exemption has to hold in every
//! reading of a request.
//!
//! | string | exempts |
//! |---|---|
//! | `"GET /healthz"`, `"/metrics"` | requests to that route: [`exempt::routes`](crate::exempt::routes) |
//! | `"10.0.0.0/8"`, `"2001:db8::1"` | clients in that network, as `[client_ip]` finds them, which has to be there: [`exempt::networks`](crate::exempt::networks) |
//! | `"preflights"` | CORS preflights: [`exempt::preflights`](crate::exempt::preflights) |
//! | `"grpc-health"` | gRPC health checks: [`exempt::grpc_health`](crate::exempt::grpc_health) |
//!
//! # Keys
//!
//! A key is a string, or an array of strings: the parts of one key, which is missing if one of them is. In a string, ` | ` separates
//! sources that are tried in order.
//!
//! | source | reads |
//! |---|---|
//! | `path:NAME` | a parameter of the route: [`key::path`] |
//! | `header:NAME` | a header field: [`key::header`] |
//! | `metadata:NAME` | gRPC metadata: [`key::metadata`], which decodes `-bin` values |
//! | `query:NAME` | a parameter of the query: [`key::query`] |
//! | `cookie:NAME` | a cookie: [`key::cookie`] |
//! | `peer_ip` | the address of the connection: [`key::peer_ip`] |
//! | `host` | the host that the request is for: [`key::host`] |
//! | `client_ip` | the address of the client behind proxies: [`key::client_ip`], configured by `[client_ip]` |
//! | `constant:TEXT` | nothing: one history for all requests, or a part that is always the same |
//! | any other name | the source of this name in the [`Sources`] of the program |
//!
//! # Errors
//!
//! A file is read as a whole or not at all. A [`ConfigError`] names the rule, the field, the value and the line, and suggests a
//! correction:
//!
//! ```
//! use tower_quota::RateLimiter;
//!
//! let text = r#"
//! [[rule]]
//! name = "bots"
//! key = "path:botId"
//! quotas = ["60/minute", "0/hour"]
//! routes = ["GET /bots/{botId}"]
//! "#;
//! let error = RateLimiter::from_toml(text).unwrap_err();
//! assert_eq!((error.line(), error.rule(), error.field()), (Some(5), Some("bots"), "quota"));
//! assert_eq!(error.reason(), "a quota admits at least 1: write 1 or more");
//! ```
//!
//! [`RateLimiterBuilder::exempt`]: crate::RateLimiterBuilder::exempt
//! [`RateLimiterBuilder::max_keys`]: crate::RateLimiterBuilder::max_keys
//! [`RateLimiterBuilder::message`]: crate::RateLimiterBuilder::message
//! [`Rule`]: crate::Rule
//! [`Rule::routes`]: crate::Rule::routes
//! [`Rule::paths_under`]: crate::Rule::paths_under
//! [`Rule::hosts`]: crate::Rule::hosts
//! [`Rule::methods`]: crate::Rule::methods
//! [`Rule::when_header`]: crate::Rule::when_header
//! [`Rule::exempt`]: crate::Rule::exempt
//! [`Rule::key`]: crate::Rule::key
//! [`Rule::level`]: crate::Rule::level
//! [`Rule::per_route`]: crate::Rule::per_route
//! [`Rule::group`]: crate::Rule::group
//! [`Quota`]: crate::Quota
//! [`Policy::count_denied`]: crate::Policy::count_denied
//! [`Policy::resolution`]: crate::Policy::resolution
//! [`OnMissing`]: crate::OnMissing
//! [`ConfigError`]: crate::ConfigError
//! [`key::path`]: crate::key::path
//! [`key::header`]: crate::key::header
//! [`key::metadata`]: crate::key::metadata
//! [`key::query`]: crate::key::query
//! [`key::cookie`]: crate::key::cookie
//! [`key::peer_ip`]: crate::key::peer_ip
//! [`key::host`]: crate::key::host
//! [`key::client_ip`]: crate::key::client_ip

mod check;
mod exempt;
mod file;
mod load;
mod rule;
mod schema;
mod source;
mod source_map;

pub use source::Sources;
