//! The header fields made of a decision.
//!
//! `RateLimit` and `RateLimit-Policy` are Lists of Strings with parameters (RFC 9651). Names need no escaping: they were
//! checked when the limiter was built.

use std::time::{Duration, SystemTime};

use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{Entry, RETRY_AFTER},
};

use crate::{
    decision::Decision,
    error::ConfigError,
    grpc::is_trailers_only,
    http::{LegacyReset, OnConflict, Style, ink::written},
    message::whole_seconds,
    policy_name::PolicyName,
    quota::Quota,
    status::QuotaStatus,
};

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const X_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const X_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const X_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// The largest Integer of RFC 9651, section 3.3.1: 15 digits.
const MAX_INTEGER: u64 = 999_999_999_999_999;

/// The `RateLimit-Policy` field of some quotas and their names.
pub(crate) fn policy_field<'a>(
    quotas: impl Iterator<Item = (&'a Quota, &'a PolicyName)>,
) -> Result<HeaderValue, ConfigError> {
    let items: Vec<String> = quotas
        .map(|(quota, name)| {
            format!("\"{}\";q={};w={}", name.as_str(), quota.limit(), quota.window_seconds().min(MAX_INTEGER))
        })
        .collect();
    let field = items.join(", ");
    HeaderValue::try_from(&field).map_err(|error| ConfigError::new("quota name", field, error.to_string()))
}

/// Adds the fields of `decision` to the response of the inner service, or to a refusal.
pub(crate) fn add_fields<B>(response: &mut Response<B>, decision: &Decision, style: &Style) {
    let status = response.status();
    if decision.is_admitted() && (status.is_redirection() || status == StatusCode::UNAUTHORIZED) {
        return;
    }
    let headers = response.headers_mut();
    if let Some(wait) = decision.retry_after() {
        headers.entry(RETRY_AFTER).or_insert_with(|| whole_seconds(wait).into());
    }
    // Draft 11 forbids its fields in trailers.
    if is_trailers_only(headers) && !style.fields_in_trailers_only {
        return;
    }
    if style.fields || !decision.is_admitted() {
        add(headers, RATE_LIMIT, || rate_limit(decision), style.on_conflict, decision);
        add(headers, RATE_LIMIT_POLICY, || rate_limit_policy(decision), style.on_conflict, decision);
    }
    if let Some(reset) = style.legacy {
        add_legacy(headers, decision, reset);
    }
}

fn add(
    headers: &mut HeaderMap,
    name: HeaderName,
    value: impl FnOnce() -> Option<HeaderValue>,
    on_conflict: OnConflict,
    decision: &Decision,
) {
    let mut present = match headers.entry(name) {
        Entry::Vacant(absent) => {
            value().map(|value| absent.insert(value));
            return;
        }
        Entry::Occupied(present) => present,
    };
    match on_conflict {
        OnConflict::Keep => {}
        OnConflict::Replace => drop(value().map(|value| present.insert(value))),
        OnConflict::Merge if has_a_name_of(present.iter(), decision) => {}
        OnConflict::Merge => drop(value().map(|value| present.append(value))),
    }
}

/// Whether a name of ours is in use already. Names are compared ignoring case, and may be Strings or Tokens, as the
/// draft's editors want it.
fn has_a_name_of<'a>(lines: impl Iterator<Item = &'a HeaderValue>, decision: &Decision) -> bool {
    let mut names = lines.filter_map(|line| line.to_str().ok()).flat_map(names_in);
    names.any(|name| decision.quotas().any(|quota| quota.policy_name().eq_ignore_ascii_case(name)))
}

/// The names of the items of a list: what stands before their parameters.
fn names_in(list: &str) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    let items = list.split(move |char| {
        is_quoted ^= char == '"';
        char == ',' && !is_quoted
    });
    items.map(|item| item.split(';').next().unwrap_or(item).trim().trim_matches('"'))
}

fn rate_limit(decision: &Decision) -> Option<HeaderValue> {
    let field = written(|field| {
        let mut number = itoa::Buffer::new();
        for quota in decision.tightest() {
            if !field.is_empty() {
                field.write(", ");
            }
            field.write(quota.head());
            field.write(number.format(quota.remaining()));
            field.write(";t=");
            field.write(number.format(effective_window(&quota)));
        }
    });
    // An empty List is told by leaving the field out (RFC 9651, section 3.1).
    if field.is_empty() { None } else { HeaderValue::from_maybe_shared(field).ok() }
}

/// Seconds within which no more than what remains can be used.
///
/// Until there is room if there is none; else until a unit comes back, which is never longer than a whole window. (The
/// wait itself may be, by the part of a millisecond that recording rounds up.)
fn effective_window(quota: &QuotaStatus<'_>) -> u64 {
    let window = quota.quota().window_seconds();
    let seconds = match quota.reset_after() {
        Duration::ZERO => window,
        wait if quota.is_exhausted() => whole_seconds(wait),
        wait => whole_seconds(wait).min(window),
    };
    seconds.min(MAX_INTEGER)
}

fn rate_limit_policy(decision: &Decision) -> Option<HeaderValue> {
    let mut rules = decision.governed_by();
    let (first, second) = (rules.next()?.policy_field(), rules.next());
    if second.is_none() {
        return Some(first.clone());
    }
    let field = written(|field| {
        for (at, rule) in decision.governed_by().enumerate() {
            field.write(if at == 0 { "" } else { ", " });
            field.write(rule.policy_field());
        }
    });
    HeaderValue::from_maybe_shared(field).ok()
}

/// The three old fields speak of one quota: the one with the longest wait, or else the one with the least left.
fn add_legacy(headers: &mut HeaderMap, decision: &Decision, reset: LegacyReset) {
    let tightest = decision.worst().or_else(|| decision.quotas().min_by_key(QuotaStatus::remaining));
    let Some(quota) = tightest else { return };
    headers.entry(X_LIMIT).or_insert_with(|| quota.limit().into());
    headers.entry(X_REMAINING).or_insert_with(|| quota.remaining().into());
    headers.entry(X_RESET).or_insert_with(|| {
        let wait = quota.reset_after();
        match reset {
            LegacyReset::Delta => whole_seconds(wait).min(MAX_INTEGER).into(),
            LegacyReset::Epoch => since_1970(wait).min(MAX_INTEGER).into(),
        }
    });
}

fn since_1970(wait: Duration) -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    whole_seconds(now.saturating_add(wait))
}
