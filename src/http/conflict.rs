//! Fields that the inner service has set itself.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{http::OnConflict, limiter::Decision};

pub(super) const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
pub(super) const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
pub(super) const X_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
pub(super) const X_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
pub(super) const X_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// The present draft's, and then those of drafts up to 7.
const DRAFT: [&str; 5] = ["ratelimit", "ratelimit-policy", "ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"];
const LEGACY: [&str; 3] = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];

/// Fields that say one thing together, so they are all of one limiter: half of one and half of another would be a lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FieldSet {
    /// `RateLimit` and `RateLimit-Policy`, and what they were in drafts up to 7.
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

    /// Whether ours are to be added; those that they replace are gone then.
    pub(super) fn admits(self, headers: &mut HeaderMap, on_conflict: OnConflict, decision: &Decision) -> bool {
        // Nearly always there is none, and to look a name up takes longer than to look at a few of them.
        if !headers.keys().any(|name| name.as_str().starts_with(self.prefix())) || !self.is_in(headers) {
            return true;
        }
        match on_conflict {
            OnConflict::Keep => false,
            OnConflict::Replace => {
                self.names().iter().for_each(|name| drop(headers.remove(*name)));
                true
            }
            OnConflict::Merge => self == Self::Draft && may_merge(headers, decision),
        }
    }

    fn is_in(self, headers: &HeaderMap) -> bool {
        self.names().iter().any(|name| headers.contains_key(*name))
    }
}

/// Whether the fields that are there are lists of the present draft, in which no name of ours is in use.
///
/// Names are compared ignoring case, and may be Strings or Tokens, as the draft's editors want it.
fn may_merge(headers: &HeaderMap, decision: &Decision) -> bool {
    let [_, _, older @ ..] = DRAFT;
    let is_older = older.iter().any(|name| headers.contains_key(*name));
    let is_ours = |their: &str| decision.quotas().any(|quota| quota.policy_name().eq_ignore_ascii_case(their));
    let mut lines = headers.get_all(RATE_LIMIT).iter().chain(headers.get_all(RATE_LIMIT_POLICY));
    !is_older && lines.all(|line| names_in(line).is_some_and(|theirs| !theirs.iter().any(|their| is_ours(their))))
}

/// The names of the items of a list: what stands before their parameters. None if they are not all names.
fn names_in(line: &HeaderValue) -> Option<Vec<&str>> {
    let mut is_quoted = false;
    let items = line.to_str().ok()?.split(move |char| {
        is_quoted ^= char == '"';
        char == ',' && !is_quoted
    });
    items.map(name_of).collect()
}

/// What is within a String, or a Token: `limit=100` is neither.
fn name_of(item: &str) -> Option<&str> {
    if let Some(quoted) = item.trim_start().strip_prefix('"') {
        return quoted.split_once('"').map(|(name, _)| name);
    }
    let bare = item.split(';').next().unwrap_or(item).trim();
    let is_token = bare.starts_with(|first: char| first.is_ascii_alphabetic() || first == '*');
    Some(bare).filter(|bare| is_token && !bare.contains(['=', ' ']))
}
