//! Rules in a file.
//!
//! A matrix of limits is easier to read, review and change as a table than as code. Its words are those of the builders. The format is TOML; it is read with
//! [`RateLimiter::from_toml`](crate::RateLimiter::from_toml), or with
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
//! let sources = Sources::new().source("claim:account", key::claim(|claims: &Claims| &claims.account));
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
//! All that is not called required may be left out. Nothing else is allowed: a field that is not in these tables is a
//! mistake, not a comment.
//!
//! | field | means | default |
//! |---|---|---|
//! | `max_keys` | how many histories are kept at most: [`RateLimiterBuilder::max_keys`] | 1000000 |
//! | `message` | what a refused caller reads: [`RateLimiterBuilder::message`] | a sentence about the window |
//! | `[client_ip]` | what the key source `client_ip` means in this file | `client_ip` is refused |
//! | `[[rule]]` | one [`Rule`], as often as there are rules | |
//!
//! ## `[[rule]]`
//!
//! | field | means | default |
//! |---|---|---|
//! | `name` | the name, in visible ASCII | required |
//! | `quotas` | texts such as `"60/minute"`, `"500/5m"`, `"10000/day"`: see [`Quota`] | required |
//! | `key` | where the key of a request is, see below: [`Rule::key`] | required unless all routes are in groups or there are none |
//! | `level` | the name of the enforcement level: [`Rule::level`] | [what the sources are called](crate::key::KeyExtractor::name), `botId` for `path:botId` |
//! | `routes` | texts such as `"POST /bots/{id}"`, `"GET\|PUT /bots/{id}"`, `"/status"`: [`Rule::routes`] | none |
//! | `applies_to` | `"routes"`, or one of [`"every_request"`](crate::Rule::every_request), [`"unmatched_requests"`](crate::Rule::unmatched_requests) (what matches no route of any rule) and [`"no_requests"`](crate::Rule::no_requests) (the rule is only asked by name) | `"routes"` |
//! | `per_route` | whether each route has a history of its own: [`Rule::per_route`] | `false` |
//! | `count_denied` | whether refused requests are charged too: [`Policy::count_denied`] | `false` |
//! | `resolution` | how finely large quotas are remembered: [`Policy::resolution`] | 4096 |
//! | `on_missing` | `"share"`, `"skip"` or a status from 400 to 599: [`OnMissing`] | `"share"` |
//! | `[[rule.group]]` | more routes of the rule above, see below | none |
//!
//! ## `[[rule.group]]`
//!
//! Routes of the same rule, with the same histories, whose key is elsewhere: [`Rule::group`].
//!
//! | field | means | default |
//! |---|---|---|
//! | `key` | where the key of a request to these routes is | required |
//! | `routes` | the routes | required |
//!
//! ## `[client_ip]`
//!
//! See [`key::client_ip`]. Without this table `client_ip` is refused, so that nobody limits a proxy by accident; an empty
//! one says that there is no proxy.
//!
//! | field | means | default |
//! |---|---|---|
//! | `trust` | the networks of the proxies to believe, such as `"10.0.0.0/8"` | none |
//! | `header` | what they write: `"x-forwarded-for"`, `"forwarded"`, or a header with a single address | `"x-forwarded-for"` |
//! | `ipv6_prefix` | how many bits of an IPv6 address tell clients apart | 64 |
//!
//! # Keys
//!
//! A key is a text, or an array of texts: the parts of one key, which is missing if one of them is. In each text ` | `
//! separates sources that are tried in order.
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
//! | `client_ip` | the address of the client behind proxies: [`key::client_ip`], as `[client_ip]` says |
//! | `constant:TEXT` | nothing: one history for all requests, or one part that is always the same |
//! | any other name | what the program called so in its [`Sources`] |
//!
//! # Mistakes
//!
//! A file is read as a whole or not at all. A [`ConfigError`] names the rule, the field, the value and the line, and
//! says what to write in its place:
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
//! assert_eq!(error.to_string(), r#"line 5: rule "bots": quota "0/hour": a quota admits at least 1: write 1 or more"#);
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
mod client_ip;
mod composite_key;
mod file;
mod load;
mod on_missing;
mod policy;
mod rule;
mod schema;
mod source;
mod source_map;
mod syntax;

pub use source::Sources;
