//! The dashboard and the alerts of the example `observability`, compared with a scrape of it. The recorder of metrics is that of
//! the whole process.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

#[path = "../../examples/observability/server.rs"]
mod server;
#[allow(dead_code, reason = "the test sends round by round")]
#[path = "../../examples/observability/traffic.rs"]
mod traffic;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/observability");

/// The labels of each metric, and the values that each of them has.
type Scrape = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// Serves the example, calls it for a while, and reads its endpoint over TCP.
async fn scrape() -> Scrape {
    let metrics = server::install_recorder().unwrap();
    let limiter = server::limiter().unwrap();
    let app = server::app(&limiter, metrics);
    for round in 0..40 {
        traffic::send(&app, &limiter, round).await.unwrap();
    }
    limiter.reload(|_| Err(tower_quota::ConfigError::new("rules", "none", "it is to fail"))).unwrap_err();
    let decision = limiter.rule(server::TOKENS).unwrap().check("cs-acme");
    decision.reservation().unwrap().settle("token", 1);
    drop(decision);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/metrics", listener.local_addr().unwrap());
    let served = tokio::spawn(async move { axum::serve(listener, app).await });
    let text = reqwest::get(url).await.unwrap().text().await.unwrap();
    served.abort();
    parse(&text)
}

fn parse(text: &str) -> Scrape {
    let mut scrape = Scrape::new();
    for series in text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' ')) {
        let (name, labels) = series.0.split_once('{').unwrap_or((series.0, ""));
        let known = scrape.entry(name.to_owned()).or_default();
        for label in labels.trim_end_matches('}').split("\",").filter(|label| !label.is_empty()) {
            let (label, value) = label.split_once("=\"").unwrap();
            known.entry(label.to_owned()).or_default().insert(value.trim_end_matches('"').to_owned());
        }
    }
    scrape
}

/// The queries of the panels and of the alerts, each with its name.
fn queries() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(format!("{FOLDER}/dashboard.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let text_of = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let panels = dashboard["panels"].as_array().unwrap().iter().flat_map(|panel| {
        panel["targets"].as_array().unwrap().iter().map(|target| (text_of(&panel["title"]), text_of(&target["expr"])))
    });
    let mut queries: Vec<_> = panels.collect();
    let alerts = std::fs::read_to_string(format!("{FOLDER}/alerts.yaml")).unwrap();
    for alert in alerts.split("- alert: ").skip(1) {
        let (name, rest) = alert.split_once('\n').unwrap();
        let (_, expression) = rest.split_once("expr: ").unwrap();
        let (expression, _) = expression.split_once("\n        labels:").unwrap();
        let expression = expression.split("\n        for:").next().unwrap();
        queries.push((name.to_owned(), expression.trim_start_matches('|').to_owned()));
    }
    queries
}

/// Returns what is between the bracket at the beginning of a text and the next closing one.
fn bracketed(text: &str, open: char, close: char) -> Option<&str> {
    text.strip_prefix(open).and_then(|rest| rest.split_once(close)).map(|(inside, _)| inside)
}

/// Compares the metrics and labels of one query with the scrape.
fn compare(query: &str, scrape: &Scrape) -> std::result::Result<usize, String> {
    let mut metrics = Vec::new();
    for (at, _) in query.match_indices("tower_quota_") {
        let end = query[at..].find(|char: char| !(char.is_ascii_alphanumeric() || char == '_'));
        let (name, rest) = query[at..].split_at(end.unwrap_or(query.len() - at));
        let labels = scrape.get(name).ok_or_else(|| format!("no metric {name}"))?;
        for matcher in bracketed(rest, '{', '}').unwrap_or_default().split("\",").filter(|text| !text.is_empty()) {
            let (label, values) = matcher.split_once('=').unwrap();
            let known = labels.get(label).ok_or_else(|| format!("{name} has no label {label}"))?;
            let values = values.trim_start_matches(['~', '"']).trim_end_matches('"');
            // A variable of the dashboard is any of the values.
            if let Some(value) = values.split('|').find(|value| !value.starts_with('$') && !known.contains(*value)) {
                return Err(format!("no {name} has {label}={value}: {known:?}"));
            }
        }
        metrics.push((name, labels));
    }
    let grouped = query.match_indices(" by ").filter_map(|(at, by)| bracketed(&query[at + by.len()..], '(', ')'));
    for label in grouped.flat_map(|labels| labels.split(',')).map(str::trim) {
        // Prometheus itself adds the instance.
        let has = |(_, labels): &(&str, &BTreeMap<_, _>)| labels.contains_key(label) || label == "instance";
        if !metrics.iter().all(has) {
            return Err(format!("not all have the label {label}"));
        }
    }
    Ok(metrics.len())
}

#[tokio::test]
async fn every_query_of_the_dashboard_and_the_alerts_is_of_metrics_that_there_are() {
    let scrape = scrape().await;
    let queries = queries();
    assert!(queries.len() >= 25, "{queries:#?}");
    let mut used = BTreeSet::new();
    for (name, query) in &queries {
        let metrics = compare(query, &scrape).unwrap_or_else(|wrong| panic!("{name}: {wrong}\n{query}"));
        assert!(metrics > 0, "{name} is of no metric: {query}");
        used.extend(scrape.keys().filter(|metric| query.contains(&***metric)));
    }
    // The comparison itself finds mistakes.
    for wrong in [
        "tower_quota_request_total",
        r#"tower_quota_requests_total{result="denied"}"#,
        r#"tower_quota_requests_total{outcome="refused"}"#,
        "sum by (rule) (tower_quota_requests_total)",
    ] {
        compare(wrong, &scrape).unwrap_err();
    }
    let of = |metric: &str, label: &str| scrape[metric][label].len();
    assert!(of("tower_quota_decisions_total", "rule") >= 10 && of("tower_quota_warnings_total", "code") >= 1);
    promtool();
}

/// Has Prometheus itself try the alerts, and parse the queries.
fn promtool() {
    let check = |arguments: &[&str]| {
        let output = Command::new("promtool").args(arguments).output();
        let output = output.unwrap_or_else(|error| panic!("promtool: {error}: install Prometheus, or run ./tests/run"));
        let (said, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{arguments:?}: {said}{wrong}");
    };
    check(&["check", "rules", &format!("{FOLDER}/alerts.yaml")]);
    check(&["test", "rules", &format!("{FOLDER}/alerts_test.yaml")]);
    let groups = queries().into_iter().enumerate().map(|(at, (_, query))| {
        let query = query.replace("$__rate_interval", "1m").replace('\n', " ");
        format!("  - {{ record: \"query{at}\", expr: {} }}\n", serde_json::to_string(query.trim()).unwrap())
    });
    let file = tempfile::NamedTempFile::new().unwrap();
    let rules: String = groups.map(|rule| format!("  {rule}")).collect();
    std::fs::write(file.path(), format!("groups:\n  - name: queries\n    rules:\n{rules}")).unwrap();
    check(&["check", "rules", file.path().to_str().unwrap()]);
}
