//! Rules and settings in a TOML file.
//!
//! A matrix of limits is easier to read, review and change as a table than as code. A file says everything that the builder and
//! the layer can say and that is no code. The fields are called like the methods. Read a file with
//! [`RateLimiter::from_toml`](crate::RateLimiter::from_toml), with
//! [`RateLimiterBuilder::toml`](crate::RateLimiterBuilder::toml) if the program adds rules or key sources of its own, and with
//! [`store_from_file`](crate::RateLimiterBuilder::store_from_file) before that if the file chooses the store.
//!
//! ```
//! use tower_quota::{RateLimiter, config::Sources, key};
//!
//! # #[derive(Clone)] struct Claims { account: String }
//! let text = r#"
//!     max_keys = 200000
//!
//!     [headers]
//!     legacy = "delta"
//!
//!     [refusal]
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
//! go unnoticed. A duration is a string with a unit, such as `"50ms"`, `"2s"` or `"1h30m"`.
//!
//! | field | meaning | default |
//! |---|---|---|
//! | `max_keys` | the maximum number of histories: [`RateLimiterBuilder::max_keys`] | 1000000 |
//! | `decision` | the extensions that decisions are put into, `"request"`, `"response"`, `"both"` or `"neither"`: [`DecisionIn`] | `"request"` |
//! | `limit_preflights` | whether rules apply to CORS preflights: [`RateLimitLayer::limit_preflights`] | `true` |
//! | `exempt` | the requests that no rule governs, see [below](self#exempt): [`RateLimiterBuilder::exempt`] | none |
//! | `[store]` | where histories are kept | memory |
//! | `[headers]` | the header fields that describe quotas | `RateLimit` and `RateLimit-Policy` |
//! | `[refusal]` | the answers to refused requests | 429 with a problem document |
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
//! | `multiple_values` | the treatment of a header, metadata, parameter or cookie that occurs several times, `"first"`, `"last"`, `"joined"` or `"missing_key"`: [`MultipleValues`] | that of the source |
//! | `level` | the name of the enforcement level: [`Rule::level`] | [the name of the sources](crate::key::KeyExtractor::name), `botId` for `path:botId` |
//! | `routes` | strings such as `"POST /bots/{id}"`, `"GET\|PUT /bots/{id}"`, `"/status"`: [`Rule::routes`] | none |
//! | `applies_to` | `"routes"`, or one of [`"every_request"`](crate::Rule::every_request), [`"unmatched_requests"`](crate::Rule::unmatched_requests) (requests that match no route of any rule) and [`"no_requests"`](crate::Rule::no_requests) (the program checks the rule by name) | `"routes"` |
//! | `paths_under` | prefixes such as `"/api"`, of which the path has to have one: [`Rule::paths_under`] | any path |
//! | `hosts` | hosts such as `"api.example.com"`, of which the request has to be for one: [`Rule::hosts`] | any host |
//! | `methods` | methods such as `"POST"`, of which the request has to have one: [`Rule::methods`] | any method |
//! | `when_header` | header fields and the values that they have to have, `{ x-plan = "beta", x-region = ["eu", "us"] }`: [`Rule::when_header`] | none |
//! | `exempt` | the requests that this rule leaves alone, see [below](self#exempt): [`Rule::exempt`] | none |
//! | `per_route` | whether each route is counted by itself: [`Rule::per_route`] | `false` |
//! | `spaced_by` | a duration between any two units: [`Policy::spaced_by`] | none |
//! | `spread_evenly` | whether units are spread evenly over the slowest quota: [`Policy::spread_evenly`] | `false` |
//! | `margin` | a duration by which every window is longer, for clients: [`Policy::margin`] | none |
//! | `count_denied` | whether refused requests are charged too: [`Policy::count_denied`] | `false` |
//! | `resolution` | the precision of large quotas: [`Policy::resolution`] | 4096 |
//! | `enforcement` | `"on"`, `"soft"`, `"shadow"` or `"off"`: [`Enforcement`] | `"on"` |
//! | `on_missing` | `"share"`, `"skip"` or a status from 400 to 599: [`OnMissing`] | `"share"` |
//! | `tier_from` | the source of the name of the tier, such as `"claim:plan"`: [`Rule::tier_from`] | none |
//! | `[rule.tiers]` | names of tiers, each with its quotas or `"unlimited"`, see below: [`Rule::tier`] | none |
//! | `[rule.overrides]` | keys, each with the name of its tier, see below: [`Rule::tier_for`] | none |
//! | `overrides_file` | the path of a file of more overrides, see below | none |
//! | `unit` | the name of the units that the limits are of, such as `"tokens"` | `"requests"` |
//! | `cost` | the units that a request costs, a number or [sources](self#costs): [`Rule::cost`] | 1 |
//! | `reserve` | in place of `cost`, an estimate that is settled later: [`Rule::reserve`] | none |
//! | `unsettled` | what counts of an estimate that nobody has settled, `"keep"`, `"observed"` or `"release"`: [`Unsettled`] | `"keep"` |
//! | `message_cost` | the units that each message of a gRPC call costs, a number or `"message-length"`: [`Rule::message_cost`] | what the call costs |
//! | `count_only` | the [outcomes](self#costs) of requests that count: [`Rule::count_only`] | all |
//! | `[[rule.group]]` | more routes of the rule above, see below | none |
//! | `[[rule.routes_costing]]` | more routes of the rule above that have a cost of their own, see below | none |
//!
//! ## `[[rule.group]]`
//!
//! Routes of the same rule, with the same histories, but another source of the key: [`Rule::group`].
//!
//! | field | meaning | default |
//! |---|---|---|
//! | `key` | the source of the key of a request to these routes | required |
//! | `multiple_values` | as in `[[rule]]`, for this key | that of the source |
//! | `routes` | the routes | required |
//!
//! ## `[[rule.routes_costing]]`
//!
//! Routes of the same rule, with the same key and the same histories, each of whose requests costs as many units:
//! [`Rule::routes_costing`].
//!
//! | field | meaning | default |
//! |---|---|---|
//! | `units` | the units that a request to these routes costs, in place of `cost` or `reserve` | required |
//! | `routes` | the routes | required |
//!
//! ## `[rule.tiers]` and `[rule.overrides]`
//!
//! Other limits for some keys of the rule above, over the same histories. In the text of a key, a `*` at the end stands for any
//! rest, and `**` is a star that belongs to the key.
//!
//! ```
//! use tower_quota::RateLimiter;
//!
//! let limiter = RateLimiter::from_toml(
//!     r#"
//!     [[rule]]
//!     name = "api"
//!     key = "header:x-account"
//!     quotas = ["60/minute"]
//!     applies_to = "every_request"
//!     tier_from = "header:x-plan"
//!
//!     [rule.tiers]
//!     pro = ["600/minute", "9000/hour"]
//!     staff = "unlimited"
//!
//!     [rule.overrides]
//!     initech = "pro"
//!     "acme-*" = "pro"
//!     "#,
//! )?;
//! let api = limiter.rule("api")?;
//! assert_eq!((0..1000).filter(|_| api.admit("acme-eu")).count(), 600);
//! assert_eq!((0..1000).filter(|_| api.admit("globex")).count(), 60);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `overrides_file` names a CSV file (RFC 4180, UTF-8) for thousands of them: a key and its tier on each line, as in
//! `initech,pro`. A key of several parts has a column for each. Lines that begin with `#` are comments, and the first line may
//! be a heading whose last column is `tier`. The path is one of the current directory if it is relative, or of the directory of
//! [`Sources::files_in`]; [`Sources::files`] reads it otherwise. The file is read when the rules are, and
//! [`RateLimiter::watch`](crate::RateLimiter) follows it too.
//!
//! ## `[store]`
//!
//! The file chooses the store if the program leaves that to it, with
//! [`store_from_file`](crate::RateLimiterBuilder::store_from_file): the limiter is an [`AnyRateLimiter`] then. Otherwise the
//! table is an error, so that no program overrules its file, or is overruled by it, unnoticed. (Only `kind = "memory"` may be
//! written for a limiter in memory.)
//!
#![cfg_attr(feature = "redis", doc = "```")]
#![cfg_attr(not(feature = "redis"), doc = "```ignore")]
//! use tower_quota::{AnyRateLimiter, RateLimiter, config::Sources};
//!
//! let text = r#"
//!     [store]
//!     url = "$QUOTA_REDIS"
//!     on_outage = "local"
//!     share = 0.25
//!     deadline = "80ms"
//!
//!     [[rule]]
//!     name = "calls"
//!     key = "header:x-account"
//!     quotas = ["60/minute"]
//!     applies_to = "every_request"
//! "#;
//!
//! // In place of the environment, for this example.
//! let sources = Sources::new().environment(|_| Ok("redis://10.0.0.1".to_owned()));
//! let builder = RateLimiter::builder().store_from_file();
//! let limiter: AnyRateLimiter = builder.toml(text, &sources)?.build()?;
//! # let _ = limiter;
//! # Ok::<(), tower_quota::ConfigError>(())
//! ```
//!
//! All but `kind` is for Redis and Valkey (feature `redis`), and is called like the methods of `RedisStore`. A string of `url`,
//! `urls`, `service`, `key_secret` or a certificate that begins with `$` is the name of an environment variable, read when the
//! file is: so no password has to be in the file, and none is ever in an error. Nothing is connected before the first request.
//!
//! | field | meaning | default |
//! |---|---|---|
//! | `kind` | `"memory"`, `"redis"` (one server), `"sentinel"` or `"cluster"` | `"redis"` if there is a `url`, else required |
//! | `url` | the server of `"redis"`, such as `"redis://host:6379/0"` or `"$REDIS_URL"` | required there |
//! | `urls` | the sentinels, or some nodes of the cluster | required there |
//! | `service` | the name of the service that the sentinels know, or a URL with it | required there |
//! | `if_unset` | what happens if a variable of `url` or `urls` is not set: `"memory"` keeps histories in this process, `"error"` ends the reading | `"error"` |
//! | `on_outage` | `"open"`, `"closed"` or `"local"`: `OnOutage` | required |
//! | `share` | the share of each limit that this process counts against, for `"local"`: more than 0, at most 1 | required there |
//! | `prefix` | the first part of all names on the server | `"quota"` |
//! | `deadline` | the longest time that a decision may take | `"50ms"` |
//! | `denial_cache_ttl` | how long a denial is remembered; `"0s"` turns it off | `"1s"` |
//! | `max_batch` | the maximum number of requests in one call, from 1 to 255 | 32 |
//! | `key_secret` | the variable with the secret that long keys are hashed with, such as `"$QUOTA_KEY_SECRET"` | empty |
//! | `root_certificate` | the path of the server's certificate authority, in PEM (feature `redis-tls`) | those of the system |
//! | `client_certificate`, `client_key` | the paths of the client's certificate and its key, in PEM | none |
//! | `[store.lease]` | units that a process takes in advance: `LeaseConfig` | off |
//!
//! | field of `[store.lease]` | meaning | default |
//! |---|---|---|
//! | `max_units` | the maximum number of units of a lease, from 2 to 255 | required |
//! | `duration` | how long they may be spent | required |
//! | `rules` | the names of the rules whose units are leased | all that may be |
//!
//! ## `[headers]`
//!
//! The layers of the limiter begin with these settings, and each method of the [layer](crate::RateLimitLayer) replaces the
//! setting of its name. [`Decision::refusal`](crate::Decision::refusal), which needs no layer, follows the file.
//!
//! | field | meaning | default |
//! |---|---|---|
//! | `rate_limit` | the responses with `RateLimit` and `RateLimit-Policy`, `"always"`, `"on_refusals"` or `"never"`: [`Headers`] | `"always"` |
//! | `legacy` | the form of `X-RateLimit-Reset`, `"delta"` or `"epoch"`, or `"never"` for no `X-RateLimit` fields: [`LegacyReset`] | `"never"` |
//! | `in_trailers_only` | whether gRPC responses of trailers alone have them, too: [`Headers::in_trailers_only`] | `false` |
//! | `on_conflict` | the treatment of fields that the service has set itself, `"keep"`, `"replace"` or `"merge"`: [`OnConflict`] | `"keep"` |
//!
//! ## `[refusal]`
//!
//! As with `[headers]`, the layers begin with these settings. The answer of a closure
//! ([`on_refusal`](crate::RateLimitLayer::on_refusal)) is as the closure makes it.
//!
//! | field | meaning | default |
//! |---|---|---|
//! | `message` | the text for denied callers: [`RateLimiterBuilder::message`] | a sentence about the window |
//! | `status` | the HTTP status of a denial, from 400 to 599: [`RateLimiterBuilder::denied_status`] | 429 |
//! | `never_possible` | that of a request which costs more than a limit: [`RateLimiterBuilder::never_possible`] | 413 |
//! | `format` | the body of a refusal on HTTP, `"problem"` (a problem document), `"text"` or `"empty"`: [`RefusalFormat`] | `"problem"` |
//! | `caller_protocol` | the protocol of the answer, `"by_content_type"`, `"http"` or `"grpc"`: [`CallerProtocol`] | `"by_content_type"` |
//! | `pushback_jitter` | the maximum jitter of gRPC's pushback, as a percentage of the wait: [`RateLimitLayer::pushback_jitter`] | 10 |
//! | `error_domain` | the domain of gRPC's `ErrorInfo`: [`RateLimitLayer::error_domain`] | `"tower-quota"` |
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
//!     Ok::<_, http::Error>(rules.iter().map(|rule| rule.rule().to_owned()).collect::<Vec<_>>())
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
//! # Costs
//!
//! A rule counts requests, unless it has a `unit` and a `cost`, or a `reserve`. Both are a number of units, or a string of sources
//! that are tried in order, with ` | ` between them. The last one is a number: what a request costs of which nothing else is known.
//! See [`cost`](crate::cost).
//!
//! | source | reads |
//! |---|---|
//! | `header:NAME` | a header field that a service of yours has set: [`cost::header`](crate::cost::header) |
//! | `content-length` | the bytes of the body: [`cost::content_length`](crate::cost::content_length) |
//! | any other name | the [source of costs](Sources::cost_source) of this name in the [`Sources`] of the program |
//!
//! `count_only` is an array, and a request counts if one of its strings is true of the outcome:
//!
//! | string | counts |
//! |---|---|
//! | `"failures"`, `"successes"` | what [`Outcome::is_failure`](crate::outcome::Outcome::is_failure) says |
//! | `"401"`, `"4xx"` | responses with this status, or with one of these |
//! | `"grpc:16"` | gRPC calls that end with this code |
//!
//! ```
//! use tower_quota::RateLimiter;
//!
//! let limiter = RateLimiter::from_toml(
//!     r#"
//!     [[rule]]   # Tokens are known when the answer has ended: the estimate is settled then.
//!     name = "tokens"
//!     key = "header:x-user"
//!     quotas = ["90000/minute", "1000000/day"]
//!     routes = ["POST /chat"]
//!     unit = "tokens"
//!     reserve = "header:x-estimated-tokens | 2000"
//!     unsettled = "observed"
//!
//!     [[rule]]   # Some routes cost more than others.
//!     name = "points"
//!     key = "header:x-user"
//!     quotas = ["100/minute"]
//!     routes = ["GET /cases/{id}"]
//!     unit = "points"
//!     cost = 1
//!
//!     [[rule.routes_costing]]
//!     units = 10
//!     routes = ["GET /cases", "POST /reports"]
//!
//!     [[rule]]   # Only wrong passwords count.
//!     name = "logins"
//!     key = "header:x-user"
//!     quotas = ["5/15m"]
//!     routes = ["POST /login"]
//!     count_only = ["401", "403"]
//!     "#,
//! )?;
//! let tokens = limiter.rule("tokens")?.check("ann");
//! tokens.reservation().ok_or("the rule reserves")?.settle("tokens", 150);
//! assert_eq!(limiter.rule("tokens")?.peek("ann").quotas().next().map(|quota| quota.remaining()), Some(89_850));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Several files
//!
//! A builder may read several files, one after another. It has the rules of all of them. A setting of a later file replaces that
//! of an earlier one, and only one file may have `[store]`.
//!
//! # What only code says
//!
//! Sources of keys and costs of the program ([`Sources`]), the clock, a store of your own,
//! [`on_refusal`](crate::RateLimitLayer::on_refusal), and [`per_message`](crate::RateLimitLayer::per_message), which makes another
//! layer.
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
//! [`AnyRateLimiter`]: crate::AnyRateLimiter
//! [`CallerProtocol`]: crate::http::CallerProtocol
//! [`DecisionIn`]: crate::http::DecisionIn
//! [`Headers`]: crate::http::Headers
//! [`Headers::in_trailers_only`]: crate::http::Headers::in_trailers_only
//! [`LegacyReset`]: crate::http::LegacyReset
//! [`MultipleValues`]: crate::key::MultipleValues
//! [`OnConflict`]: crate::http::OnConflict
//! [`Policy::margin`]: crate::Policy::margin
//! [`Policy::spaced_by`]: crate::Policy::spaced_by
//! [`Policy::spread_evenly`]: crate::Policy::spread_evenly
//! [`RateLimitLayer::error_domain`]: crate::RateLimitLayer::error_domain
//! [`RateLimitLayer::limit_preflights`]: crate::RateLimitLayer::limit_preflights
//! [`RateLimitLayer::pushback_jitter`]: crate::RateLimitLayer::pushback_jitter
//! [`RateLimiterBuilder::denied_status`]: crate::RateLimiterBuilder::denied_status
//! [`RateLimiterBuilder::never_possible`]: crate::RateLimiterBuilder::never_possible
//! [`RateLimiterBuilder::exempt`]: crate::RateLimiterBuilder::exempt
//! [`RefusalFormat`]: crate::http::RefusalFormat
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
//! [`Rule::tier`]: crate::Rule::tier
//! [`Rule::tier_for`]: crate::Rule::tier_for
//! [`Rule::tier_from`]: crate::Rule::tier_from
//! [`Rule::group`]: crate::Rule::group
//! [`Rule::cost`]: crate::Rule::cost
//! [`Rule::reserve`]: crate::Rule::reserve
//! [`Rule::message_cost`]: crate::Rule::message_cost
//! [`Rule::count_only`]: crate::Rule::count_only
//! [`Rule::routes_costing`]: crate::Rule::routes_costing
//! [`Unsettled`]: crate::Unsettled
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
mod cost;
mod cost_texts;
mod counted_outcome;
mod csv;
#[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "only Redis has URLs and secrets"))]
mod environment;
mod exempt;
mod file;
mod files;
mod load;
mod overrides;
#[cfg(feature = "redis")]
mod redis;
mod response;
mod rule;
#[cfg(feature = "watch")]
mod rules_watch;
mod schema;
mod source;
mod source_map;
mod store;
mod store_table;
mod tiers;
mod value;
#[cfg(feature = "watch")]
mod watch;

#[cfg(feature = "watch")]
pub use rules_watch::RulesWatch;
pub use source::Sources;
#[cfg(feature = "watch")]
pub use watch::{WatchError, WatchEvent, WatchSettings};
