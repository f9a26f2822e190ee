//! Keys as observers see them.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
};

use crate::key::{Key, Text};

/// The form in which observers see keys. Keys identify users, so they are hidden unless you choose otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ShowKeys {
    /// Not at all.
    #[default]
    Hidden,
    /// As a hash that is the same for equal keys of this limiter, for as long as the process runs.
    Hashed,
    /// As they are. A key of several parts, or of one over 27 bytes, is a hash in any case.
    Shown,
}

/// A key as an observer sees it: see [`show_keys`](crate::RateLimiterBuilder::show_keys).
///
/// It displays nothing but what was chosen.
///
/// ```
/// use tower_quota::{
///     Policy, RateLimiter, Rule,
///     observe::{Event, ShowKeys},
/// };
///
/// let limiter = RateLimiter::builder()
///     .rule(Rule::new("jobs").no_requests().policy(Policy::per_minute(60)))
///     .show_keys(ShowKeys::Shown)
///     .on_decision(|event| {
///         if let Event::Decided(decided) = event {
///             assert_eq!(decided.rules()[0].key().to_string(), "acme");
///         }
///     })
///     .build()?;
/// assert!(limiter.rule("jobs")?.admit("acme"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyView {
    /// The key is not shown.
    Hidden,
    /// A hash of the key.
    Hashed(u64),
    /// The key as it is.
    Shown(Key),
}

/// Makes views of keys.
#[derive(Debug, Default)]
pub(super) struct KeyViewer {
    show: ShowKeys,
    secret: RandomState,
}

impl KeyViewer {
    pub(super) fn new(show: ShowKeys) -> Self {
        Self { show, secret: RandomState::new() }
    }

    pub(super) fn view(&self, key: Key) -> KeyView {
        match self.show {
            ShowKeys::Hidden => KeyView::Hidden,
            ShowKeys::Hashed => KeyView::Hashed(self.secret.hash_one(key)),
            ShowKeys::Shown => KeyView::Shown(key),
        }
    }
}

impl fmt::Display for KeyView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hidden => f.write_str("(hidden)"),
            Self::Hashed(hash) => write!(f, "#{hash:016x}"),
            Self::Shown(key) => match key.text() {
                Text::Shared => f.write_str("(shared)"),
                Text::Part(part) => write!(f, "{}", part.escape_ascii()),
                Text::Hash(hash) => {
                    f.write_str("~")?;
                    hash.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
                }
            },
        }
    }
}

impl fmt::Debug for KeyView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
