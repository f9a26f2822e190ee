//! Policies: the quotas that one key is held to.

use std::{fmt, str::FromStr, time::Duration};

#[cfg(test)]
use crate::clock::Tick;
use crate::{error::ConfigError, policy::Quota};

/// The resolutions that a policy may ask for.
const RESOLUTIONS: std::ops::RangeInclusive<u32> = 16..=65_536;
const DEFAULT_RESOLUTION: u32 = 4096;
/// The name of a quota that keeps units apart.
const SPACING: &str = "spacing";
const MOST_QUOTAS: usize = 16;

/// A policy: one or more quotas over one history. A request passes only if all of them have room.
///
/// A longer window needs a larger limit, or the shorter one never denies: with `60/minute` and `10/hour` only the hour
/// counts. A limiter accepts such a policy, and warns of it when it is built (feature `tracing`).
///
/// ```
/// use std::time::Duration;
/// use tower_quota::Policy;
///
/// let policy = Policy::per_minute(60).and_per_hour(1800);
/// assert_eq!("60/minute, 1800/hour".parse::<Policy>()?, policy);
///
/// let policy = policy.spaced_by(Duration::from_millis(200));
/// assert_eq!(policy.quotas().count(), 3);
/// # Ok::<(), tower_quota::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    quotas: Vec<Quota>,
    /// Index of the quota that spreads those before it evenly.
    spread_at: Option<usize>,
    count_denied: bool,
    resolution: u32,
}

impl Policy {
    /// Creates a policy of one quota.
    #[must_use]
    pub fn new(quota: Quota) -> Self {
        Self::from_iter([quota])
    }

    /// Creates a policy of `limit` units per second.
    #[must_use]
    pub fn per_second(limit: u64) -> Self {
        Self::new(Quota::per_second(limit))
    }

    /// Creates a policy of `limit` units per minute.
    #[must_use]
    pub fn per_minute(limit: u64) -> Self {
        Self::new(Quota::per_minute(limit))
    }

    /// Creates a policy of `limit` units per hour.
    #[must_use]
    pub fn per_hour(limit: u64) -> Self {
        Self::new(Quota::per_hour(limit))
    }

    /// Creates a policy of `limit` units per day of 24 hours.
    #[must_use]
    pub fn per_day(limit: u64) -> Self {
        Self::new(Quota::per_day(limit))
    }

    /// Adds a quota.
    #[must_use]
    pub fn and(mut self, quota: Quota) -> Self {
        self.quotas.push(quota);
        self
    }

    /// Adds a quota of `limit` units per second.
    #[must_use]
    pub fn and_per_second(self, limit: u64) -> Self {
        self.and(Quota::per_second(limit))
    }

    /// Adds a quota of `limit` units per minute.
    #[must_use]
    pub fn and_per_minute(self, limit: u64) -> Self {
        self.and(Quota::per_minute(limit))
    }

    /// Adds a quota of `limit` units per hour.
    #[must_use]
    pub fn and_per_hour(self, limit: u64) -> Self {
        self.and(Quota::per_hour(limit))
    }

    /// Adds a quota of `limit` units per day of 24 hours.
    #[must_use]
    pub fn and_per_day(self, limit: u64) -> Self {
        self.and(Quota::per_day(limit))
    }

    /// Adds a quota of 1 per `gap`, named `spacing`: no two units are admitted closer together.
    #[must_use]
    pub fn spaced_by(self, gap: Duration) -> Self {
        self.and(Quota::new(1, gap).named(SPACING))
    }

    /// Lengthens every window by `margin`, for clients: the server counts their calls when they arrive.
    ///
    /// If the first of two calls takes longer to arrive than the second, then the server sees them closer together than
    /// they were sent. A margin as long as that difference at its worst keeps calls within the server's windows.
    ///
    /// Calls that are [spread evenly](Self::spread_evenly) stay so, whichever of the two methods is called first: that
    /// spacing follows the windows. A [spacing of your own](Self::spaced_by) is the server's as well, and gets longer
    /// as every window does.
    #[must_use]
    pub fn margin(mut self, margin: Duration) -> Self {
        for quota in &mut self.quotas {
            *quota = quota.lengthened(margin);
        }
        if let Some(at) = self.spread_at
            && let Some(spacing) = spacing(&self.quotas[..at])
        {
            self.quotas[at] = spacing;
        }
        self
    }

    /// Spreads units evenly: adds a quota, named `spacing`, of 1 per W/N, where N per W is the slowest quota in the
    /// long run.
    ///
    /// Windows are whole milliseconds. If rounding up to them would make the spacing slower by more than 1 %, the quota
    /// is a few units per as many W/N: for 60 per second it is not 1 per 17 ms but 3 per 50 ms.
    #[must_use]
    pub fn spread_evenly(self) -> Self {
        match spacing(&self.quotas) {
            Some(spacing) => Self { spread_at: Some(self.quotas.len()), ..self }.and(spacing),
            None => self,
        }
    }

    /// Charges denied requests too, so that a caller that keeps trying stays out.
    ///
    /// By default a denial costs nothing.
    #[must_use]
    pub const fn count_denied(mut self) -> Self {
        self.count_denied = true;
        self
    }

    /// Sets the resolution of large quotas, from 16 to 65536. Defaults to 4096.
    ///
    /// A quota of at most this many units is exact to a tick, which is as short as 32 bits allow for the longest window
    /// of the policy: 1 us for a minute, 4 us for an hour, 100 us for a day, and never more than a millisecond. For a
    /// larger quota the admissions within one `resolution`-th of its window share an entry, which expires with the
    /// newest of them: a unit may come back late by that much and never comes back early. This bounds the bytes per key
    /// whatever the limit is.
    #[must_use]
    pub const fn resolution(mut self, resolution: u32) -> Self {
        self.resolution = resolution;
        self
    }

    /// Returns this policy with the quotas of another, or with none.
    pub(crate) fn with_quotas_of(&self, other: Option<&Self>) -> Self {
        let quotas = other.map_or_else(Vec::new, |other| other.quotas.clone());
        Self { quotas, spread_at: other.and_then(|other| other.spread_at), ..self.clone() }
    }

    /// Returns the quotas, in the order in which they were given.
    #[must_use]
    pub fn quotas(&self) -> impl ExactSizeIterator<Item = &Quota> {
        self.quotas.iter()
    }

    /// Returns this policy with other limits.
    #[cfg(feature = "redis")]
    pub(crate) fn with_limits(&self, change: impl Fn(u64) -> u64) -> Self {
        let quotas = self.quotas.iter().map(|quota| quota.clone().with_limit(change(quota.limit())));
        Self { quotas: quotas.collect(), ..self.clone() }
    }

    /// Returns this policy with other windows.
    #[cfg(feature = "redis")]
    pub(crate) fn with_windows(&self, change: impl Fn(Duration) -> Duration) -> Self {
        let quotas = self.quotas.iter().map(|quota| quota.clone().with_window(change(quota.window())));
        Self { quotas: quotas.collect(), ..self.clone() }
    }

    /// Returns true if denied requests are [charged](Self::count_denied) too.
    #[must_use]
    pub const fn counts_denied(&self) -> bool {
        self.count_denied
    }

    /// Returns the [resolution](Self::resolution): quotas of at most this many units are exact to a tick.
    #[must_use]
    pub const fn entries_per_window(&self) -> u32 {
        self.resolution
    }

    /// Returns the quotas that never deny, each with another that is always exhausted first: its window is at least as
    /// long and its limit no larger.
    pub(crate) fn idle_quotas(&self) -> impl Iterator<Item = (&Quota, &Quota)> {
        let stops = |other: &Quota, quota: &Quota| {
            let (window, limit) = (other.window().cmp(&quota.window()), quota.limit().cmp(&other.limit()));
            window.is_ge() && limit.is_ge() && (window.is_gt() || limit.is_gt())
        };
        self.quotas.iter().filter_map(move |quota| Some((quota, self.quotas.iter().find(|other| stops(other, quota))?)))
    }

    /// Returns the unit of time of this policy's histories.
    #[cfg(test)]
    pub(crate) fn tick(&self) -> Tick {
        Tick::for_window(self.quotas.iter().map(Quota::window).max().unwrap_or_default())
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        if self.quotas.is_empty() {
            return Err(ConfigError::new(
                "quotas",
                "[]",
                "a policy has at least one quota: write one such as 60/minute",
            ));
        }
        if self.quotas.len() > MOST_QUOTAS {
            let reason = format!("a policy has at most {MOST_QUOTAS} quotas");
            return Err(ConfigError::new("quotas", self.quotas.len(), reason));
        }
        if !RESOLUTIONS.contains(&self.resolution) {
            return Err(ConfigError::new(
                "resolution",
                self.resolution,
                "a resolution is from 16 to 65536: leave it out for 4096",
            ));
        }
        for (at, quota) in self.quotas.iter().enumerate() {
            quota.validate()?;
            let same = self.quotas[..at].iter().find(|other| other.name().eq_ignore_ascii_case(&quota.name()));
            if let Some(same) = same {
                return Err(same_name(quota, same));
            }
        }
        Ok(())
    }
}

/// Returns the error about two quotas with the same name, which may be a default.
fn same_name(quota: &Quota, other: &Quota) -> ConfigError {
    let name = quota.name();
    let reason = if name == SPACING && other.name() == SPACING {
        "the policy is spaced twice (spaced_by and spread_evenly): keep the longer spacing".to_owned()
    } else if name == other.name() && quota.window() == other.window() {
        let less = quota.limit().min(other.limit());
        format!("there are two quotas for this window: keep that of {less}, or name one, as in \"slow={less}/{name}\"")
    } else {
        format!("{other} has this name already (names are compared ignoring case): name one otherwise")
    };
    ConfigError::new("quota name", format_args!("\"{name}\""), reason)
}

/// Returns the quota that spreads units as evenly as the slowest of `quotas` requires.
fn spacing(quotas: &[Quota]) -> Option<Quota> {
    let slowest = quotas.iter().max_by_key(|quota| quota.gap_nanos());
    slowest.map(|quota| quota.spread().named(SPACING))
}

impl FromIterator<Quota> for Policy {
    fn from_iter<I: IntoIterator<Item = Quota>>(quotas: I) -> Self {
        Self {
            quotas: quotas.into_iter().collect(),
            spread_at: None,
            count_denied: false,
            resolution: DEFAULT_RESOLUTION,
        }
    }
}

impl From<Quota> for Policy {
    fn from(quota: Quota) -> Self {
        Self::new(quota)
    }
}

impl FromStr for Policy {
    type Err = ConfigError;

    /// Parses quotas separated by commas: `"60/minute, 1800/hour"`.
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        text.split(',').map(|quota| quota.trim().parse()).collect()
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, quota) in self.quotas.iter().enumerate() {
            write!(f, "{}{quota}", if at == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(policy: &Policy) -> String {
        policy.validate().unwrap_err().to_string()
    }

    #[test]
    fn a_policy_needs_a_quota() {
        assert_eq!(
            refusal(&Policy::from_iter([])),
            "quotas []: a policy has at least one quota: write one such as 60/minute"
        );
    }

    #[test]
    fn names_that_differ_only_in_case_are_one_name() {
        let policy = Policy::per_minute(60).and(Quota::per_hour(5).named("MINUTE"));
        assert!(refusal(&policy).starts_with("quota name \"MINUTE\": 60/minute has this name already"));
    }

    #[test]
    fn the_resolution_has_bounds() {
        assert!(refusal(&Policy::per_minute(60).resolution(15)).starts_with("resolution 15"));
        assert!(Policy::per_minute(60).resolution(16).validate().is_ok());
    }

    #[test]
    fn a_margin_lengthens_every_window_and_keeps_the_names() {
        let policy = Policy::per_second(20).and_per_hour(1800).margin(Duration::from_millis(50));
        let quotas: Vec<_> = policy.quotas().map(|quota| (quota.name(), quota.window().as_millis())).collect();
        assert_eq!(quotas, [("second".into(), 1050), ("hour".into(), 3_600_050)]);
    }

    #[test]
    fn a_margin_and_an_even_spread_come_to_the_same_in_any_order() {
        let margin = Duration::from_millis(100);
        for policy in [Policy::per_second(20), Policy::per_second(20).and_per_minute(600), Policy::per_second(60)] {
            let expected = policy.clone().margin(margin).spread_evenly();
            assert_eq!(policy.spread_evenly().margin(margin), expected);
        }
        let spaced = Policy::per_second(20).spaced_by(Duration::from_millis(200)).margin(margin);
        assert_eq!(
            spaced.quotas().last().unwrap().window(),
            3 * margin,
            "a spacing of one's own is the server's as well"
        );
    }

    #[test]
    fn a_spacing_that_happens_to_be_even_is_still_ones_own() {
        for millis in [999, 1000, 1001] {
            let policy = Policy::per_second(1).spaced_by(Duration::from_millis(millis));
            let windows: Vec<_> = policy.margin(Duration::from_millis(100)).quotas().map(Quota::window).collect();
            assert_eq!(windows, [1100, millis + 100].map(Duration::from_millis));
            let policy = Policy::per_minute(60).spaced_by(Duration::from_millis(millis));
            let spacing = policy.margin(Duration::from_millis(100)).quotas().last().unwrap().window();
            assert_eq!(spacing, Duration::from_millis(millis + 100));
        }
    }

    #[test]
    fn what_is_said_after_an_even_spread_does_not_change_it() {
        let policy = Policy::per_second(10).spread_evenly().and_per_hour(360);
        assert_eq!(policy.clone().margin(Duration::ZERO).quotas().nth(1), policy.quotas().nth(1));
        let spacing = Policy::per_second(10).margin(Duration::from_secs(1)).spread_evenly().quotas().last().cloned();
        assert_eq!(policy.margin(Duration::from_secs(1)).quotas().nth(1), spacing.as_ref());
    }

    #[test]
    fn a_margin_without_end_is_refused_and_does_not_overflow() {
        assert!(refusal(&Policy::per_second(20).margin(Duration::MAX)).contains("a window is from 1 ms to 100 years"));
    }

    #[test]
    fn spreading_follows_the_slowest_quota() {
        let spacing = |policy: Policy| policy.spread_evenly().quotas().last().unwrap().clone();
        assert_eq!(
            spacing(Policy::per_minute(60).and_per_hour(1800)),
            Quota::new(1, Duration::from_secs(2)).named("spacing")
        );
        assert_eq!(spacing(Policy::per_second(60)), Quota::new(3, Duration::from_millis(50)).named("spacing"));
        assert_eq!(spacing(Policy::per_second(2500)), Quota::new(5, Duration::from_millis(2)).named("spacing"));
        assert_eq!(spacing(Policy::per_second(Quota::MAX_LIMIT)).window(), Duration::from_millis(1));
        assert!(Policy::per_second(0).spread_evenly().validate().is_err());
    }

    #[cfg(feature = "redis")]
    #[test]
    fn other_limits_and_windows_keep_all_quotas_and_their_names() {
        let policy = Policy::per_minute(60).and(Quota::per_hour(1800).named("slow")).count_denied().resolution(64);
        let quotas = |policy: &Policy| {
            let quotas = policy.quotas().map(|quota| (quota.name().into_owned(), quota.limit(), quota.window()));
            quotas.collect::<Vec<_>>()
        };
        let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3600));
        let halved = policy.with_limits(|limit| limit / 2);
        assert_eq!(quotas(&halved), [("minute".to_owned(), 30, minute), ("slow".to_owned(), 900, hour)]);
        let doubled = policy.with_windows(|window| window * 2);
        assert_eq!(quotas(&doubled), [("2m".to_owned(), 60, 2 * minute), ("slow".to_owned(), 1800, 2 * hour)]);
        for changed in [halved, doubled] {
            assert_eq!((changed.counts_denied(), changed.entries_per_window()), (true, 64));
        }
    }

    #[test]
    fn a_quota_never_denies_beside_a_longer_one_that_is_not_larger() {
        let idle = |text: &str| {
            let policy: Policy = text.parse().unwrap();
            policy.idle_quotas().map(|(idle, other)| format!("{idle} {other}")).collect::<Vec<_>>()
        };
        assert_eq!(idle("60/minute, 10/hour"), ["60/minute 10/hour"]);
        assert_eq!(idle("10/hour, 60/minute, 10/second"), ["60/minute 10/hour", "10/second 10/hour"]);
        assert_eq!(idle("60/minute, 60/hour"), ["60/minute 60/hour"]);
        assert_eq!(idle("60/minute, slow=5/60s"), ["60/minute slow=5/minute"]);
        for sound in ["60/minute, 1800/hour", "60/minute", "5/minute, same=5/minute", "60/minute, 61/hour"] {
            assert!(idle(sound).is_empty(), "{sound}");
        }
        for paced in [Policy::per_second(1), Policy::per_minute(60).and_per_hour(1800), Policy::per_second(60)] {
            assert_eq!(paced.spread_evenly().idle_quotas().count(), 0);
        }
    }

    #[test]
    fn a_zero_in_any_quota_is_refused() {
        assert!(refusal(&Policy::per_minute(60).and_per_hour(0)).contains("quota \"hour\": limit 0"));
        assert!(refusal(&Policy::per_minute(60).spaced_by(Duration::ZERO)).contains("quota \"spacing\": window 0ns"));
    }
}
