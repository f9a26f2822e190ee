//! What the rules of a file have to do with a request.

use http::Request;
use tower_quota::{ConfigError, MatchedRule, RateLimiter, http::RequestView};

use crate::{
    explain::reasons,
    replay::show_part,
    rules::{RuleTable, RulesFile, with_unit},
};

/// One rule, and what it has to do with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Explained {
    /// It governs the request, once for each key: two readings of a path may have two.
    Governs {
        rule: String,
        limits: String,
        tier: Option<String>,
        enforcement: String,
        /// What the request costs, if the rule counts other units than requests.
        cost: Option<String>,
        key: Key,
    },
    DoesNot {
        rule: String,
        reasons: Vec<String>,
    },
}

/// The key of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// The sources of the parts, and the parts.
    Found { sources: String, parts: String },
    /// What the rule says of requests that do not carry it.
    Missing { sources: String, outcome: String },
}

/// Explains each rule of a file, in the order of the file.
pub(crate) fn explain(file: &RulesFile, request: &Request<()>) -> Result<Vec<Explained>, ConfigError> {
    let limiter = file.variant(&file.table)?;
    let matched = limiter.matching(&RequestView::new(request));
    let explained = file.rules.iter().flat_map(|rule| {
        let governs = matched.iter().filter(|matched| matched.rule() == rule.name);
        let governs: Vec<_> = governs.map(|matched| governed(&limiter, rule, matched, request)).collect();
        if governs.is_empty() {
            vec![Explained::DoesNot { rule: rule.name.clone(), reasons: reasons(file, rule, request) }]
        } else {
            governs
        }
    });
    Ok(explained.collect())
}

fn governed(limiter: &RateLimiter, rule: &RuleTable, matched: &MatchedRule, request: &Request<()>) -> Explained {
    let sources = rule.keys().iter().map(|parts| parts.join(" + ")).collect::<Vec<_>>().join(", or on other routes ");
    let limits = rule.policy(matched.tier()).map(crate::rules::TierPolicy::limits).unwrap_or_default();
    let limits = with_unit(&limits, rule.unit());
    let parts = limiter.rule(&rule.name).ok().and_then(|handle| handle.parts_of(&RequestView::new(request)));
    let key = match parts.filter(|_| matched.key().is_some()) {
        Some(parts) => Key::Found { sources, parts: shown(rule, &parts) },
        None => {
            let hint = if sources.contains("_ip") { " (an address is named with --peer)" } else { "" };
            Key::Missing { sources, outcome: outcome(rule) + hint }
        }
    };
    Explained::Governs {
        rule: rule.name.clone(),
        limits,
        tier: matched.tier().map(str::to_owned),
        enforcement: matched.enforcement().as_str().to_owned(),
        cost: rule.unit().map(|unit| format!("{} {unit}", matched.units())),
        key,
    }
}

fn shown(rule: &RuleTable, parts: &[Vec<u8>]) -> String {
    let sources = rule.keys().first().cloned().unwrap_or_default();
    let is_address = |at: usize| {
        let source = sources.get(at).copied().unwrap_or_default();
        source.split('|').any(|source| matches!(source.trim(), "peer_ip" | "client_ip"))
    };
    let shown = parts.iter().enumerate().map(|(at, part)| show_part(part, is_address(at)));
    shown.collect::<Vec<_>>().join(" + ")
}

fn outcome(rule: &RuleTable) -> String {
    match rule.fields.get("on_missing") {
        Some(value) if value.as_str() == Some("skip") => "the rule lets it pass uncounted".to_owned(),
        Some(value) if value.is_integer() => format!("the rule refuses it with status {value}"),
        _ => "it shares one history with all requests that have none".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::ProgramSources;

    const FILE: &str = r#"
        exempt = ["GET /healthz"]
        [[rule]]
        name = "api"
        key = "header:x-account"
        quotas = ["600/minute"]
        paths_under = ["/api"]
        on_missing = 401
        [rule.tiers]
        pro = ["900/minute"]
        [rule.overrides]
        acme = "pro"
        [[rule]]
        name = "bots"
        key = ["path:id", "peer_ip"]
        quotas = ["60/minute", "1800/hour"]
        routes = ["GET|PUT /api/bots/{id}"]
        enforcement = "shadow"
        [[rule]]
        name = "import"
        key = "peer_ip"
        quotas = ["6/minute"]
        routes = ["POST /api/bots/import", "GET /api/bots/import"]
        [[rule]]
        name = "beta"
        key = "peer_ip"
        quotas = ["6/minute"]
        hosts = ["beta.example.com"]
        methods = ["POST"]
        when_header = { x-plan = "beta" }
        [[rule]]
        name = "rest"
        key = "peer_ip"
        quotas = ["6/minute"]
        applies_to = "unmatched_requests"
        [[rule]]
        name = "jobs"
        quotas = ["6/minute"]
        applies_to = "no_requests"
    "#;

    fn explained(request: http::request::Builder) -> Vec<Explained> {
        let file = RulesFile::parse("f", FILE, ProgramSources::default()).unwrap();
        let peer = tower_quota::http::PeerAddr("192.0.2.1:1".parse().unwrap());
        let request = request.header("host", "a.example.com").extension(peer).body(()).unwrap();
        explain(&file, &request).unwrap()
    }

    fn reasons_of(explained: &[Explained], name: &str) -> Vec<String> {
        let found = explained.iter().find_map(|explained| match explained {
            Explained::DoesNot { rule, reasons } if rule == name => Some(reasons.clone()),
            _ => None,
        });
        found.unwrap_or_default()
    }

    #[test]
    fn a_rule_that_governs_is_explained_by_its_key_and_limits() {
        let explained = explained(Request::get("/api/bots/7").header("x-account", "acme"));
        let text = |text: &str| text.to_owned();
        let key = Key::Found { sources: text("header:x-account"), parts: text("acme") };
        let (tier, enforcement, cost) = (Some(text("pro")), text("on"), None);
        assert_eq!(
            explained[0],
            Explained::Governs { rule: text("api"), limits: text("900/minute"), tier, enforcement, cost, key }
        );
        let key = Key::Found { sources: text("path:id + peer_ip"), parts: text("7 + 192.0.2.1") };
        let (limits, enforcement) = (text("60/minute, 1800/hour"), text("shadow"));
        assert_eq!(
            explained[1],
            Explained::Governs { rule: text("bots"), limits, tier: None, enforcement, cost: None, key }
        );
    }

    #[test]
    fn a_key_that_is_missing_is_explained_by_what_the_rule_does_then() {
        let Explained::Governs { key, .. } = &explained(Request::get("/api/x"))[0] else { panic!("it governs") };
        let outcome = "the rule refuses it with status 401".to_owned();
        assert_eq!(*key, Key::Missing { sources: "header:x-account".to_owned(), outcome });
    }

    #[test]
    fn every_condition_that_does_not_hold_is_a_reason() {
        let explained = explained(Request::get("/other"));
        assert_eq!(reasons_of(&explained, "api"), ["the path /other is not under \"/api\""]);
        assert_eq!(reasons_of(&explained, "bots"), ["no route of it is that of GET /other"]);
        let beta = reasons_of(&explained, "beta");
        assert_eq!(
            beta,
            [
                "the host a.example.com is not \"beta.example.com\"",
                "the method GET is not \"POST\"",
                "the header field x-plan is missing, and has to be \"beta\"",
            ]
        );
        assert_eq!(reasons_of(&explained, "jobs"), ["it is for no requests: the program asks it by name"]);
    }

    #[test]
    fn a_more_specific_route_of_another_rule_is_a_reason() {
        let explained = explained(Request::get("/api/bots/import"));
        assert_eq!(reasons_of(&explained, "bots"), ["rule \"import\" has a more specific route for it"]);
        assert_eq!(
            reasons_of(&explained, "rest"),
            ["it is for requests that match no route, and rule \"import\" has one for this"]
        );
    }

    #[test]
    fn a_method_of_another_route_is_a_reason() {
        let explained = explained(Request::delete("/api/bots/7"));
        assert_eq!(
            reasons_of(&explained, "bots"),
            ["no route of it is that of DELETE /api/bots/7, though the path is of \"GET|PUT /api/bots/{id}\""]
        );
    }

    #[test]
    fn an_exemption_is_a_reason() {
        let explained = explained(Request::get("/healthz"));
        assert_eq!(reasons_of(&explained, "rest"), ["the request is exempt from all rules by \"GET /healthz\""]);
    }
}
