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
//! | `per_route` | whether each route is counted by itself: [`Rule::per_route`] | `false` |
//! | `count_denied` | whether refused requests are charged too: [`Policy::count_denied`] | `false` |
//! | `resolution` | the precision of large quotas: [`Policy::resolution`] | 4096 |
//! | `enforcement` | `"on"`, `"soft"`, `"shadow"` or `"off"`: [`Enforcement`] | `"on"` |
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
//! [`RateLimiterBuilder::max_keys`]: crate::RateLimiterBuilder::max_keys
//! [`RateLimiterBuilder::message`]: crate::RateLimiterBuilder::message
//! [`Rule`]: crate::Rule
//! [`Rule::routes`]: crate::Rule::routes
//! [`Rule::key`]: crate::Rule::key
//! [`Rule::level`]: crate::Rule::level
//! [`Rule::per_route`]: crate::Rule::per_route
//! [`Rule::group`]: crate::Rule::group
//! [`Quota`]: crate::Quota
//! [`Policy::count_denied`]: crate::Policy::count_denied
//! [`Policy::resolution`]: crate::Policy::resolution
//! [`Enforcement`]: crate::Enforcement
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
mod file;
mod load;
mod rule;
mod schema;
mod source;
mod source_map;

pub use source::Sources;
