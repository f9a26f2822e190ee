//! Kore.ai's 164 public APIs: `examples/kore/limits.toml` against the table that was made from their documentation.
//!
//! What is expected of a request is worked out from the table alone, by rules of its own that know nothing of the file.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    path::Path,
    time::Duration,
};

use http::Request;
use serde::Deserialize;
use tower_quota::{
    RateLimiter,
    config::Sources,
    http::RequestView,
    key::{self, Key},
};

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"];

/// What every request carries besides its path, so that a key read in the wrong place is a wrong key.
const HEADER: &str = "account-of-the-header";
const QUERY: &str = "account-of-the-query";
const APP: &str = "cs-app-of-the-token";

/// A row of the table.
#[derive(Debug, Deserialize)]
struct Api {
    product: String,
    api_name: String,
    method: String,
    path_template: String,
    enforcement_level: String,
    key_location: String,
    per_minute: u64,
    per_hour: Option<u64>,
}

#[derive(Clone)]
struct Claims {
    app_id: String,
}

/// What governs a request, in a form that can be compared and read.
#[derive(Debug, PartialEq)]
struct Governed {
    rule: String,
    level: String,
    quotas: Vec<(u64, Duration)>,
    key: Option<Key>,
}

impl Api {
    /// Every method with every path that is documented for this API.
    fn endpoints(&self) -> impl Iterator<Item = (&str, &str)> {
        let paths = || self.path_template.split('|');
        self.method.split('|').flat_map(move |method| paths().map(move |path| (method, path)))
    }

    /// The rule of the file that stands for this API's row of the documents.
    fn rule(&self) -> &'static str {
        match (&*self.product, &*self.enforcement_level, self.per_minute) {
            ("Automation AI", "bot", 60) => "automation.bot",
            ("Automation AI", "request_id", 60) => "automation.request-id",
            ("Automation AI", "account", 60) => "automation.admin",
            ("Automation AI", "bot", 600) => "automation.notification",
            ("Automation AI", "account+table", 600) => "automation.data",
            ("Contact Center AI", "account", 60) => "contact-center",
            ("Case Management", "account", 60) => "case-management",
            ("Quality AI", "account", 60) => "quality-ai",
            row => panic!("the documents have no row {row:?}"),
        }
    }

    fn quotas(&self) -> Vec<(u64, Duration)> {
        let minute = (self.per_minute, Duration::from_secs(60));
        let hour = self.per_hour.map(|limit| (limit, Duration::from_secs(3600)));
        [minute].into_iter().chain(hour).collect()
    }

    /// The key of a request for `path`, which matches `template`.
    ///
    /// Bots, requests and tables are where `key_location` says `path:{name}`, if the template has that parameter; status
    /// calls without a request id say so of the bot id. An account is in the place that `key_location` begins with: a
    /// path parameter named after it, else a header, else the query, and a header that is documented beside the query
    /// goes first. All that is left counts by the token's app, and so does a header that is "not required".
    fn key(&self, limiter: &RateLimiter, template: &str, path: &str) -> Key {
        let place = self.key_location.to_lowercase();
        let in_path = named_in_path(&self.key_location).and_then(|name| value(template, path, name));
        match (&*self.enforcement_level, in_path) {
            ("bot" | "request_id", Some(id)) => limiter.key(id),
            ("account+table", Some(table)) => limiter.key((APP, table)),
            ("account", Some(account)) if place.starts_with("path:{accountid}") => limiter.key(account),
            ("account", _) if place.contains("not required") => limiter.key(APP),
            ("account", _) if place.starts_with("header:accountid") => limiter.key(HEADER),
            ("account", _) if place.starts_with("query:accountid") => {
                limiter.key(if place.contains("header:accountid") { HEADER } else { QUERY })
            }
            ("bot" | "account", None) | ("account", Some(_)) => limiter.key(APP),
            (level, _) => panic!("{}: no {level} in {template}", self.api_name),
        }
    }

    fn governed(&self, limiter: &RateLimiter, template: &str, path: &str) -> Governed {
        Governed {
            rule: self.rule().into(),
            level: self.enforcement_level.clone(),
            quotas: self.quotas(),
            key: Some(self.key(limiter, template, path)),
        }
    }
}

fn text(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file)).unwrap()
}

fn table() -> Vec<Api> {
    let text = text("tests/data/kore_api_matrix.csv");
    let rows = csv::Reader::from_reader(text.as_bytes()).into_deserialize().map(|row| row.unwrap());
    rows.filter(|api: &Api| api.method != "family").collect()
}

fn limiter() -> RateLimiter {
    let sources = Sources::new().source("claim:appId", key::claim(|claims: &Claims| &claims.app_id));
    RateLimiter::builder().toml(&text("examples/kore/limits.toml"), &sources).unwrap().build().unwrap()
}

/// A path for the template, with a value for each parameter that no other parameter has.
fn concrete(template: &str) -> String {
    template.replace('{', "a-").replace('}', "-1")
}

/// The name in `path:{name}`.
fn named_in_path(key_location: &str) -> Option<&str> {
    let (_, after) = key_location.split_once("path:{")?;
    Some(after.split_once('}')?.0)
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|segment| !segment.is_empty())
}

fn is_parameter(segment: &str) -> bool {
    segment.starts_with('{')
}

/// What `path` has where `template` has the parameter `name`.
fn value<'a>(template: &str, path: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = segments(template).zip(segments(path));
    pairs
        .find(|(parameter, _)| parameter.trim_matches(['{', '}']) == name && is_parameter(parameter))
        .map(|pair| pair.1)
}

fn matches(template: &str, path: &str) -> bool {
    segments(template).count() == segments(path).count()
        && segments(template).zip(segments(path)).all(|(ours, theirs)| is_parameter(ours) || ours == theirs)
}

/// The API that answers, and its template: read from the left, a static segment goes before a parameter.
fn answering<'a>(table: &'a [Api], method: &str, path: &str) -> Option<(&'a Api, &'a str)> {
    let method = if method == "HEAD" { "GET" } else { method };
    let endpoints = table.iter().flat_map(|api| api.endpoints().map(move |(method, template)| (method, api, template)));
    endpoints
        .filter(|(known, _, template)| *known == method && matches(template, path))
        .min_by_key(|(_, _, template)| segments(template).map(is_parameter).collect::<Vec<_>>())
        .map(|(_, api, template)| (api, template))
}

fn request(method: &str, path: &str) -> Request<()> {
    Request::builder()
        .method(method)
        .uri(format!("{path}?limit=10&accountId={QUERY}"))
        .header("accountId", HEADER)
        .extension(Claims { app_id: APP.into() })
        .body(())
        .unwrap()
}

fn governing(limiter: &RateLimiter, request: &Request<()>) -> Vec<Governed> {
    let governing = limiter.matching(&RequestView::new(request));
    let governed = governing.iter().map(|governing| Governed {
        rule: governing.rule().into(),
        level: governing.level().into(),
        quotas: governing.policy().quotas().map(|quota| (quota.limit(), quota.window())).collect(),
        key: governing.key(),
    });
    governed.collect()
}

#[test]
fn each_of_the_164_apis_is_governed_by_exactly_its_row() {
    let (table, limiter) = (table(), limiter());
    for api in &table {
        for (method, template) in api.endpoints() {
            let path = concrete(template);
            let governed = governing(&limiter, &request(method, &path));
            assert_eq!(governed, [api.governed(&limiter, template, &path)], "{}: {method} {path}", api.api_name);
        }
    }
    assert_eq!(table.len(), 164);
}

#[test]
fn the_eight_rows_have_as_many_apis_as_the_documents_say() {
    let mut apis = BTreeMap::new();
    for api in table() {
        *apis.entry(api.rule()).or_insert(0) += 1;
    }
    let documented = [
        ("automation.bot", 44),
        ("automation.request-id", 10),
        ("automation.admin", 16),
        ("automation.notification", 2),
        ("automation.data", 6),
        ("contact-center", 78),
        ("case-management", 6),
        ("quality-ai", 2),
    ];
    assert_eq!(apis, BTreeMap::from(documented));
}

#[test]
fn another_method_on_the_same_path_is_governed_only_if_another_row_documents_it() {
    let (table, limiter) = (table(), limiter());
    let paths: HashSet<_> = table.iter().flat_map(Api::endpoints).map(|(_, template)| concrete(template)).collect();
    let (mut free, mut taken) = (0, 0);
    for path in &paths {
        for method in METHODS {
            let row = answering(&table, method, path);
            let expected = row.map(|(api, template)| api.governed(&limiter, template, path));
            match expected {
                Some(_) => taken += 1,
                None => free += 1,
            }
            let expected: Vec<_> = expected.into_iter().collect();
            assert_eq!(governing(&limiter, &request(method, path)), expected, "{method} {path}");
        }
    }
    assert!(taken > 164 && free > taken, "{taken} governed, {free} not");
}

#[test]
fn a_static_segment_is_told_from_an_id_in_its_place() {
    let limiter = limiter();
    for (method, path, rule, key) in [
        ("POST", "/api/public/bot/import", "automation.bot", APP),
        ("POST", "/api/public/bot/st-1/import", "automation.bot", "st-1"),
        ("GET", "/api/public/bot/import/status/bir-7", "automation.request-id", "bir-7"),
        ("GET", "/api/public/bot/st-1/export/status", "automation.request-id", "st-1"),
        ("DELETE", "/api/public/bot/eraseUsersData", "automation.admin", APP),
        ("GET", "/api/public/bot/eraseUsersData/status/7", "automation.admin", APP),
        ("DELETE", "/api/public/bot/st-1/testsuite/import", "automation.bot", "st-1"),
        ("GET", "/api/public/stream/st-1/conversation/testsuite/import/ds-7/status", "automation.request-id", "ds-7"),
        ("GET", "/api/public/stream/st-1/conversation/testsuite/smoke/tr-7/status", "automation.request-id", "tr-7"),
        ("POST", "/agentassist/api/v1/public/st-1/campaign/getAllCampaignDetails", "contact-center", HEADER),
        ("POST", "/agentassist/api/v1/public/st-1/queues/agents", "contact-center", APP),
    ] {
        let governed = governing(&limiter, &request(method, path));
        let seen: Vec<_> = governed.iter().map(|governed| (&*governed.rule, governed.key)).collect();
        assert_eq!(seen, [(rule, Some(limiter.key(key)))], "{method} {path}");
    }
}

#[test]
fn a_request_without_the_documented_header_or_query_counts_by_its_app() {
    let (table, limiter) = (table(), limiter());
    for api in &table {
        for (method, template) in api.endpoints() {
            let path = concrete(template);
            let mut request = request(method, &path);
            let documented = governing(&limiter, &request)[0].key;
            request.headers_mut().clear();
            *request.uri_mut() = path.parse().unwrap();
            let bare = governing(&limiter, &request)[0].key;
            let client_said = [HEADER, QUERY].map(|said| Some(limiter.key(said))).contains(&documented);
            let expected = if client_said { Some(limiter.key(APP)) } else { documented };
            assert_eq!(bare, expected, "{}: {method} {path}", api.api_name);
        }
    }
}

#[test]
fn the_file_has_the_routes_of_the_table_spelled_alike_and_no_others() {
    fn routes(rule: &toml::Table) -> Vec<&str> {
        let own = rule.get("routes").and_then(toml::Value::as_array).into_iter().flatten();
        let groups = rule.get("group").and_then(toml::Value::as_array).into_iter().flatten();
        let own = own.map(|route| route.as_str().unwrap());
        own.chain(groups.flat_map(|group| routes(group.as_table().unwrap()))).collect()
    }

    let file: toml::Table = text("examples/kore/limits.toml").parse().unwrap();
    let rules = file["rule"].as_array().unwrap();
    let listed: Vec<_> = rules.iter().flat_map(|rule| routes(rule.as_table().unwrap())).collect();

    let table = table();
    let documented: HashSet<_> = table.iter().flat_map(Api::endpoints).collect();
    for route in listed {
        let (methods, template) = route.split_once(' ').unwrap();
        for method in methods.split('|') {
            assert!(documented.contains(&(method, template)), "{method} {template}");
        }
    }
    assert_eq!(rules.len(), 8);
}
