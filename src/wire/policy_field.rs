//! The `RateLimit-Policy` field (draft-ietf-httpapi-ratelimit-headers-11).

use http::HeaderValue;

use crate::{
    error::ConfigError,
    policy::{PolicyName, Quota},
};

/// The largest Integer of RFC 9651, section 3.3.1: 15 digits.
pub(crate) const MAX_INTEGER: u64 = 999_999_999_999_999;

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
