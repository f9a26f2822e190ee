//! What follows when a policy has no room.

use std::fmt;

/// The enforcement of a rule: what follows when one of its quotas has no room.
///
/// It is set [in the rule](crate::Rule::enforcement) or in its file, and changed while requests go on by
/// [`RateLimiter::enforce`](crate::RateLimiter::enforce).
///
/// | | decides | charges | admits without room | in header fields |
/// |---|---|---|---|---|
/// | `On` | yes | if all enforced rules admit | no | yes |
/// | `Soft` | yes | if all enforced rules admit, also without room | yes, and marks the [`Decision`](crate::Decision) | yes |
/// | `Shadow` | yes | as if it were on | yes | no |
/// | `Off` | no | no | | no |
///
/// The *enforced* rules are those that are `On`. All rules of a request are decided in one atomic step, whatever their
/// enforcement is. Only an enforced rule rejects requests [without its key](crate::OnMissing::Reject); the others do not
/// govern these.
///
/// ```
/// use tower_quota::{Enforcement, Policy, RateLimiter, Rule};
///
/// let rule = |name, limit| Rule::new(name).no_requests().policy(Policy::per_minute(limit));
/// let limiter = RateLimiter::builder()
///     .rule(rule("api", 3))
///     .rule(rule("new", 1).enforcement(Enforcement::Shadow))
///     .build()?;
///
/// let charges = [("api", "acme"), ("new", "acme")];
/// assert_eq!(limiter.check_all(charges)?.would_be_denied_by().count(), 0);
/// let second = limiter.check_all(charges)?;
/// assert!(second.is_admitted());
/// assert_eq!(second.would_be_denied_by().map(|quota| quota.rule()).collect::<Vec<_>>(), ["new"]);
///
/// // Nobody would be surprised: let it count.
/// limiter.enforce("new", Enforcement::On)?;
/// assert!(!limiter.check_all(charges)?.is_admitted());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Enforcement {
    /// Denies requests that it has no room for.
    #[default]
    On,
    /// Admits requests that it has no room for and marks their decision, so that a handler can choose a cheaper model or a
    /// lower priority. Units beyond the limit are charged too: there is room again when they have left the window.
    Soft,
    /// Admits requests that it has no room for, and tells the operator alone. It is charged as if it were on: those that it
    /// would have denied are not counted.
    Shadow,
    /// Is neither looked at nor charged.
    Off,
}

impl Enforcement {
    /// Returns `true` if requests without room are denied.
    #[inline]
    #[must_use]
    pub const fn is_enforced(self) -> bool {
        matches!(self, Self::On)
    }

    /// Returns `true` if a charge is recorded: all enforced rules have `admitted` the request, or not, and this charge has room
    /// or not.
    #[inline]
    #[must_use]
    pub const fn is_charged(self, admitted: bool, has_room: bool) -> bool {
        match self {
            Self::On | Self::Soft => admitted,
            Self::Shadow => admitted && has_room,
            Self::Off => false,
        }
    }

    /// Returns the word for it in files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Soft => "soft",
            Self::Shadow => "shadow",
            Self::Off => "off",
        }
    }

    /// Returns the enforcement of this number.
    #[inline]
    pub(crate) const fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Soft,
            2 => Self::Shadow,
            3 => Self::Off,
            _ => Self::On,
        }
    }
}

impl fmt::Display for Enforcement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_enforcement_is_read_back_from_its_number() {
        for enforcement in [Enforcement::On, Enforcement::Soft, Enforcement::Shadow, Enforcement::Off] {
            assert_eq!(Enforcement::from_number(enforcement as u8), enforcement);
        }
    }
}
