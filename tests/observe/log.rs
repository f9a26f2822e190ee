//! Decisions in the log, and in the fields of spans.

use tower_quota::{Enforcement, Policy, Rule};
use tower_quota_tests::{
    limiter::{calls_per_minute, frozen},
    log_lines::LogLines,
};
use tracing::{Level, field::Empty};

/// Returns what is logged at this level, or a more severe one.
fn logged(level: Level, run: impl FnOnce()) -> Vec<String> {
    let lines = LogLines::default();
    let _listening = lines.listen(level);
    run();
    lines.take()
}

#[test]
fn one_denial_a_second_is_information_and_all_are_for_debugging() {
    let deny = || {
        let limiter = calls_per_minute(1);
        let calls = limiter.rule("calls").unwrap();
        (0..4).for_each(|_| drop(calls.check("secret")));
        assert_eq!((0..4).filter(|_| calls.admit("secret")).count(), 0);
    };
    let lines = logged(Level::INFO, deny);
    assert!(!lines.is_empty() && lines.len() <= 2, "it takes less than a second, or a little more: {lines:#?}");
    let first = r#"INFO tower_quota: no room rule="calls" level="everybody" tier="" quota="minute" outcome="denied" wait=60s left_out=0"#;
    assert_eq!(lines[0].replace("constant", "everybody"), first);
    let lines = logged(Level::DEBUG, deny);
    assert_eq!(lines.iter().filter(|line| line.starts_with("DEBUG")).count(), 7, "{lines:#?}");
}

#[test]
fn a_rule_in_shadow_says_whom_it_would_deny() {
    let rule = Rule::new("new").no_requests().policy(Policy::per_minute(1)).enforcement(Enforcement::Shadow);
    let lines = logged(Level::INFO, || {
        let limiter = frozen([rule]);
        (0..2).for_each(|_| assert!(limiter.rule("new").unwrap().admit("secret")));
    });
    assert!(
        lines.len() == 1 && lines[0].contains(r#"rule="new""#) && lines[0].contains(r#"outcome="would_deny""#),
        "{lines:?}"
    );
}

#[test]
fn settlements_are_traced_and_debts_are_for_debugging() {
    let tokens = Rule::new("tokens").no_requests().policy(Policy::per_minute(1000)).reserve("tokens", 100);
    let lines = logged(Level::TRACE, || {
        let limiter = frozen([tokens]);
        for units in [50, 150] {
            limiter.rule("tokens").unwrap().check("secret").reservation().unwrap().settle("tokens", units);
        }
    });
    let about = |line: &&String| line.contains("settled") || line.contains("owed");
    let levels: Vec<_> = lines.iter().filter(about).map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(levels, ["TRACE", "DEBUG"], "{lines:#?}");
}

#[test]
fn reloads_are_information_and_failed_ones_are_errors() {
    let rule = |limit| Rule::new("calls").no_requests().policy(Policy::per_minute(limit));
    let lines = logged(Level::INFO, || {
        let limiter = frozen([rule(1)]);
        limiter.reload(|builder| Ok(builder.rule(rule(2)))).unwrap();
        limiter.reload(|builder| Ok(builder.rule(rule(0)))).unwrap_err();
    });
    assert!(lines.len() == 2 && lines[0].starts_with("INFO") && lines[1].starts_with("ERROR"), "{lines:#?}");
    assert!(lines[0].contains("1/minute -> 2/minute"));
}

#[test]
fn a_span_that_has_the_fields_gets_the_outcome() {
    let lines = logged(Level::INFO, || {
        let limiter = calls_per_minute(1);
        let calls = limiter.rule("calls").unwrap();
        for _ in 0..2 {
            let span = tracing::info_span!("request", rate_limit.outcome = Empty, rate_limit.rule = Empty);
            let _inside = span.enter();
            drop(calls.check("secret"));
            tracing::info!("answered");
        }
        let bare = tracing::info_span!("bare");
        let _inside = bare.enter();
        drop(calls.check("secret"));
        tracing::info!("answered");
    });
    let answered: Vec<_> = lines.iter().filter(|line| line.ends_with("answered")).collect();
    assert!(answered[0].contains(r#"request{rate_limit.outcome="admitted"}"#), "{answered:#?}");
    assert!(answered[1].contains(r#"request{rate_limit.outcome="denied" rate_limit.rule="calls"}"#), "{answered:#?}");
    assert!(answered[2].contains("bare:"), "{answered:#?}");
}
