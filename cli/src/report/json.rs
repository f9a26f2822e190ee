//! The report for programs.

use serde_json::{Value, json};

use crate::{
    log::Moment,
    replay::{Candidate, Stretch},
    report::{QuotaReport, Report, RuleReport, TopKey, text::notes},
};

/// Returns the figures as JSON. Times are in milliseconds since 1970, and as text.
pub(crate) fn json(report: &Report) -> Value {
    json!({
        "rules_file": report.rules_file,
        "logs": report.logs,
        "formats": report.formats,
        "lines": report.lines.lines,
        "unreadable": report.lines.unreadable,
        "unreadable_lines": report.lines.shown.iter().map(|line| {
            json!({"file": line.file, "line": line.line, "reason": line.reason, "text": line.text})
        }).collect::<Vec<_>>(),
        "whole_seconds": report.lines.is_coarse,
        "first": report.totals.first.map(moment),
        "last": report.totals.first.map(|_| moment(report.totals.last)),
        "requests": report.totals.requests,
        "refused": report.totals.refused,
        "ungoverned": report.totals.ungoverned,
        "late": report.totals.late,
        "absent_headers": report.absent_headers,
        "notes": notes(report),
        "has_no_peer": report.has_no_peer,
        "max_keys": report.max_keys,
        "overflowed": report.overflowed,
        "keys_are_exact": !report.has_forgotten && report.overflowed == 0,
        "rules": report.rules.iter().map(rule).collect::<Vec<_>>(),
    })
}

fn moment(millis: i64) -> Value {
    json!({"millis": millis, "text": Moment::display(millis)})
}

fn rule(report: &RuleReport) -> Value {
    let stats = &report.stats;
    let longest = stats.longest.as_ref().map(|(key, longest)| {
        let mut value = stretch(*longest);
        value["key"] = json!(key);
        value
    });
    json!({
        "rule": stats.rule,
        "tier": stats.tier,
        "limits": report.limits(),
        "enforcement": stats.enforcement,
        "requests": stats.requests,
        "refused": stats.refused,
        "unit": stats.unit,
        "units": stats.units,
        "units_refused": stats.units_refused,
        "keys": stats.keys,
        "keys_refused": stats.keys_refused,
        "without_key": stats.without_key,
        "on_missing": stats.on_missing,
        "first_refusal": report.first().map(|first| json!({"at": moment(first.time), "key": first.key})),
        "longest_stretch": longest,
        "quotas": report.quotas.iter().map(quota).collect::<Vec<_>>(),
        "top_keys": report.top.iter().map(top_key).collect::<Vec<_>>(),
        "series": {
            "start": report.series().start,
            "width_millis": report.series().width,
            "requests": report.series().buckets.iter().map(|bucket| bucket.requests).collect::<Vec<_>>(),
            "refused": report.series().buckets.iter().map(|bucket| bucket.refused).collect::<Vec<_>>(),
        },
    })
}

fn stretch(stretch: Stretch) -> Value {
    json!({"from": moment(stretch.from), "until": moment(stretch.until), "millis": stretch.millis(), "refused": stretch.refused})
}

fn quota(quota: &QuotaReport) -> Value {
    let candidate =
        |candidate: &Candidate| json!({"limit": candidate.limit, "refused": candidate.refused, "keys": candidate.keys});
    json!({
        "quota": quota.quota,
        "limit": quota.limit,
        "window": quota.window,
        "window_millis": quota.window_millis,
        "smallest_that_refuses_nobody": quota.peak,
        "is_rounded": quota.is_rounded,
        "candidates": quota.candidates.iter().map(candidate).collect::<Vec<_>>(),
    })
}

fn top_key(key: &TopKey) -> Value {
    json!({
        "key": key.key,
        "requests": key.requests,
        "units": key.units,
        "refused": key.refused,
        "first_refused": key.first_refused.map(moment),
        "longest_stretch": key.longest.map(stretch),
        "most_in_window": key.peaks,
    })
}
