//! The header fields that are made of a decision.
//!
//! `RateLimit` and `RateLimit-Policy` are Lists of Strings with parameters (RFC 9651). Names need no escaping: they were
//! checked when the limiter was built.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header::RETRY_AFTER};

use crate::{
    grpc::{asks_to_back_off, is_trailers_only},
    http::{
        AdmissionOptions, Calendar, Headers, LegacyReset, OnConflict, ResponseOptions,
        field_set::{FieldSet, RATE_LIMIT, RATE_LIMIT_POLICY, X_LIMIT, X_REMAINING, X_RESET},
        header_buf::build_value,
    },
    limiter::{Decision, QuotaStatus, whole_seconds},
    policy::Enforcement,
    wire::{MAX_INTEGER, REQUESTS},
};

/// Adds the fields of a `decision` that admitted to the response of the inner service.
pub(crate) fn add_fields<B>(response: &mut Response<B>, decision: &Decision, options: &AdmissionOptions) {
    let is_trailers_only = is_trailers_only(response.headers());
    if hides_quotas(response.status()) || is_refusal(response, is_trailers_only) {
        return;
    }
    if let Some(name) = options.shadow_field() {
        add_shadow_field(response.headers_mut(), decision, name);
    }
    // Draft 11 forbids its fields in trailers.
    if options.headers.may_be_sent(is_trailers_only) {
        let shown = (options.headers, options.on_conflict);
        add_sets(response.headers_mut(), decision, shown, options.calendar());
    }
}

/// Adds the fields of a `decision` that denied to our own answer, except those that a closure has set.
pub(crate) fn add_fields_of_refusal<B>(answer: &mut Response<B>, decision: &Decision, options: &ResponseOptions) {
    let headers = answer.headers_mut();
    if let Some(name) = &options.settings.shadow_field {
        add_shadow_field(headers, decision, name);
    }
    if !decision.is_never_possible() {
        headers.entry(RETRY_AFTER).or_insert_with(|| whole_seconds(decision.stated_wait()).into());
    }
    if options.settings.headers.may_be_sent(is_trailers_only(headers)) {
        let shown = (options.settings.headers, OnConflict::Keep);
        add_sets(headers, decision, shown, options.calendar.as_deref());
    }
}

/// Adds a field with the names of the rules in shadow that would deny the request, if there are any.
fn add_shadow_field(headers: &mut HeaderMap, decision: &Decision, name: &HeaderName) {
    let names = build_value(|field| {
        for rule in decision.rules_without_room(Enforcement::Shadow) {
            field.write(if field.is_empty() { "" } else { ", " });
            field.write(rule);
        }
    });
    if !names.is_empty()
        && let Ok(names) = HeaderValue::from_maybe_shared(names)
    {
        headers.append(name, names);
    }
}

/// Returns whether responses of this status have no fields: the draft asks for care on redirects, of which 304 is none, and a
/// 401 would reveal another caller's traffic to strangers.
fn hides_quotas(status: StatusCode) -> bool {
    (status.is_redirection() && status != StatusCode::NOT_MODIFIED) || status == StatusCode::UNAUTHORIZED
}

/// Returns whether a service further in asks the caller to back off: our remaining units would be misleading then.
fn is_refusal<B>(response: &Response<B>, is_trailers_only: bool) -> bool {
    let (status, headers) = (response.status(), response.headers());
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => true,
        _ if status.is_client_error() || status.is_server_error() => headers.contains_key(RETRY_AFTER),
        _ => is_trailers_only && asks_to_back_off(headers),
    }
}

fn add_sets(
    headers: &mut HeaderMap,
    decision: &Decision,
    (shown, on_conflict): (Headers, OnConflict),
    calendar: Option<&Calendar>,
) {
    if shown.has_draft(decision.is_admitted()) && FieldSet::Draft.resolve_conflict(headers, on_conflict, decision) {
        if let Some(value) = rate_limit(decision) {
            headers.append(RATE_LIMIT, value);
        }
        if let Some(value) = rate_limit_policy(decision) {
            headers.append(RATE_LIMIT_POLICY, value);
        }
    }
    if let Some(reset) = shown.legacy()
        && FieldSet::Legacy.resolve_conflict(headers, on_conflict, decision)
    {
        add_legacy(headers, decision, reset, calendar);
    }
}

fn rate_limit(decision: &Decision) -> Option<HeaderValue> {
    let field = build_value(|field| {
        decision.for_each_tightest(|quota| {
            if !field.is_empty() {
                field.write_beginning(b", ", 2);
            }
            let head = quota.name_in_fields();
            match head.padded_head() {
                Some(padded) => field.write_beginning(padded, head.head().len()),
                None => field.write(head.head()),
            }
            field.write_number(quota.remaining());
            field.write_beginning(b";t= ", 3);
            field.write_number(quota.effective_window().min(MAX_INTEGER));
        });
    });
    // An empty List is expressed by leaving the field out (RFC 9651, section 3.1).
    if field.is_empty() { None } else { HeaderValue::from_maybe_shared(field).ok() }
}

fn rate_limit_policy(decision: &Decision) -> Option<HeaderValue> {
    if let Some((_, tier)) = decision.only_rule() {
        return tier.policy_field().cloned();
    }
    let policies = || decision.governed_by().filter_map(|(_, tier)| tier.policy_field());
    let mut rules = policies();
    let (first, second) = (rules.next()?, rules.next());
    if second.is_none() {
        return Some(first.clone());
    }
    let field = build_value(|field| {
        for (at, policy) in policies().enumerate() {
            field.write(if at == 0 { "" } else { ", " });
            field.write(policy);
        }
    });
    HeaderValue::from_maybe_shared(field).ok()
}

/// Adds the three older fields, which describe one quota: the one with the longest wait, or else the fewest remaining units.
/// Their readers expect requests, so that is one that counts requests if there is any.
fn add_legacy(headers: &mut HeaderMap, decision: &Decision, reset: LegacyReset, calendar: Option<&Calendar>) {
    let counts_requests = decision.has_costs() && decision.quotas().any(|quota| quota.unit() == REQUESTS);
    let is_meant = |quota: &QuotaStatus<'_>| !counts_requests || quota.unit() == REQUESTS;
    let tightest = || decision.quotas().filter(is_meant).min_by_key(QuotaStatus::remaining);
    let Some(quota) = decision.worst_among(is_meant).or_else(tightest) else { return };
    let wait = quota.stated_wait();
    let reset = match reset {
        LegacyReset::Delta => whole_seconds(wait),
        LegacyReset::Epoch => whole_seconds(since_1970(calendar).saturating_add(wait)),
    };
    headers.insert(X_LIMIT, quota.limit().into());
    headers.insert(X_REMAINING, quota.remaining().into());
    headers.insert(X_RESET, reset.min(MAX_INTEGER).into());
}

/// Returns the time since 1970: the store's, or the system's.
fn since_1970(calendar: Option<&Calendar>) -> Duration {
    match calendar {
        Some(calendar) => calendar(),
        None => SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default(),
    }
}
