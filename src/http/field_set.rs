//! Sets of header fields, and conflicts with those that the inner service has set itself.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{http::OnConflict, limiter::Decision};

pub(super) const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
pub(super) const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
pub(super) const X_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
pub(super) const X_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
pub(super) const X_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// The current draft's, and then those of drafts up to 7.
const DRAFT: [&str; 5] = ["ratelimit", "ratelimit-policy", "ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"];
const LEGACY: [&str; 3] = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];

/// Fields that describe one limiter together: half of one limiter and half of another would be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FieldSet {
    /// `RateLimit` and `RateLimit-Policy`, and their predecessors in drafts up to 7.
    Draft,
    /// `X-RateLimit-*`.
    Legacy,
}

impl FieldSet {
    const fn names(self) -> &'static [&'static str] {
        match self {
            Self::Draft => &DRAFT,
            Self::Legacy => &LEGACY,
        }
    }

    const fn prefix(self) -> &'static str {
        match self {
            Self::Draft => "ratelimit",
            Self::Legacy => "x-ratelimit-",
        }
    }

    /// Returns whether ours are to be added, and removes the fields that they replace.
    pub(super) fn resolve_conflict(
        self,
        headers: &mut HeaderMap,
        on_conflict: OnConflict,
        decision: &Decision,
    ) -> bool {
        // Nearly always there is none, and a look-up by name takes longer than a look at a few names.
        if !headers.keys().any(|name| name.as_str().starts_with(self.prefix())) || !self.is_in(headers) {
            return true;
        }
        match on_conflict {
            OnConflict::Keep => false,
            OnConflict::Replace => {
                for name in self.names() {
                    headers.remove(*name);
                }
                true
            }
            OnConflict::Merge => self == Self::Draft && may_merge(headers, decision),
        }
    }

    fn is_in(self, headers: &HeaderMap) -> bool {
        self.names().iter().any(|name| headers.contains_key(*name))
    }
}

/// Returns whether the existing fields are lists of the current draft in which no name of ours is in use.
///
/// Names are compared ignoring case, and may be Strings or Tokens, as the draft's editors intend.
fn may_merge(headers: &HeaderMap, decision: &Decision) -> bool {
    let [_, _, older @ ..] = DRAFT;
    let is_older = older.iter().any(|name| headers.contains_key(*name));
    let is_ours = |their: &str| decision.quotas().any(|quota| quota.policy_name().eq_ignore_ascii_case(their));
    let mut lines = headers.get_all(RATE_LIMIT).iter().chain(headers.get_all(RATE_LIMIT_POLICY));
    !is_older && lines.all(|line| names_in(line).is_some_and(|theirs| !theirs.iter().any(|their| is_ours(their))))
}

/// Returns the names of the items of a list, which stand before their parameters, or `None` if an item has no name.
fn names_in(line: &HeaderValue) -> Option<Vec<&str>> {
    let mut is_quoted = false;
    let items = line.to_str().ok()?.split(move |char| {
        is_quoted ^= char == '"';
        char == ',' && !is_quoted
    });
    items.map(name_of).collect()
}

/// Returns the content of a String, or a Token: `limit=100` is neither.
fn name_of(item: &str) -> Option<&str> {
    if let Some(quoted) = item.trim_start().strip_prefix('"') {
        return quoted.split_once('"').map(|(name, _)| name);
    }
    let bare = item.split(';').next().unwrap_or(item).trim();
    let is_token = bare.starts_with(|first: char| first.is_ascii_alphabetic() || first == '*');
    Some(bare).filter(|bare| is_token && !bare.contains(['=', ' ']))
}
