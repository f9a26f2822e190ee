//! A quota: N units per rolling window.

use std::{borrow::Cow, fmt, time::Duration};

use crate::error::ConfigError;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

const NANOS_PER_MILLI: u128 = 1_000_000;

/// The shortest window.
pub(crate) const SHORTEST_WINDOW: Duration = Duration::from_millis(1);
/// The longest window: a hundred years.
pub(crate) const LONGEST_WINDOW: Duration = Duration::from_secs(36_525 * 24 * 60 * 60);

const QUOTE: &str = "\"";
const AFTER: &str = "\";r=";

/// A quota: at most `limit` units in any interval as long as `window`.
///
/// The window is a rolling (sliding) one: no calendar minute begins afresh. A unit admitted at t counts while now < t +
/// window, and is free again at t + window.
///
/// In text a quota is `"60/minute"`, `"1800/hour"`, `"500/5m"`, `"20/1m30s"` or `"10000 per 1d"`, with a name in front
/// if it needs one: `"burst=10/second"`. Units are `ms`, `s`, `m`, `h`, `day`, `week`, `month` and `year`, or longer
/// spellings of these. Several units go from the longest to the shortest. A year is 365.25 days and a month is 30.44.
///
/// ```
/// use std::time::Duration;
/// use tower_quota::Quota;
///
/// assert_eq!("60/minute".parse::<Quota>()?, Quota::per_minute(60));
/// assert_eq!("500/5m".parse::<Quota>()?, Quota::new(500, Duration::from_secs(300)));
/// assert_eq!("burst=10/second".parse::<Quota>()?, Quota::per_second(10).named("burst"));
/// assert_eq!(Quota::per_hour(1800).name(), "hour");
/// assert_eq!(Quota::per_hour(1800).named("slow").name(), "slow");
/// # Ok::<(), tower_quota::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Quota {
    limit: u64,
    window: Duration,
    name: Option<Cow<'static, str>>,
}

/// The name of a quota, kept as the text that an item of a `RateLimit` field begins with: `"bots/minute";r=`.
#[derive(Debug)]
pub(crate) struct PolicyName {
    head: Box<str>,
    /// The same with zeros behind it, if it is short enough: responses copy it whole.
    padded: [u8; HEAD],
}

/// The length that most heads stay below.
const HEAD: usize = 32;

impl Quota {
    /// The largest limit: 2^48 - 1 units, 281 TB if units are bytes.
    pub const MAX_LIMIT: u64 = (1 << 48) - 1;

    /// Creates a quota of `limit` units per `window`.
    ///
    /// Windows are from 1 ms to 100 years and limits from 1 to [`MAX_LIMIT`](Self::MAX_LIMIT); building a limiter refuses
    /// all others. A window is counted in whole ticks, rounded up. A tick is 1 us if no window of the policy is over 17
    /// minutes, 4 us up to an hour, 100 us up to a day, and at most 1 ms.
    #[must_use]
    pub const fn new(limit: u64, window: Duration) -> Self {
        Self { limit, window, name: None }
    }

    /// Creates a quota of `limit` units per second.
    #[must_use]
    pub const fn per_second(limit: u64) -> Self {
        Self::new(limit, SECOND)
    }

    /// Creates a quota of `limit` units per minute.
    #[must_use]
    pub const fn per_minute(limit: u64) -> Self {
        Self::new(limit, MINUTE)
    }

    /// Creates a quota of `limit` units per hour.
    #[must_use]
    pub const fn per_hour(limit: u64) -> Self {
        Self::new(limit, HOUR)
    }

    /// Creates a quota of `limit` units per day of 24 hours.
    #[must_use]
    pub const fn per_day(limit: u64) -> Self {
        Self::new(limit, DAY)
    }

    /// Sets the name of this quota in header fields and decisions. Defaults to the name of its window (`minute`,
    /// `hour`, `5m`).
    ///
    /// Names are visible ASCII without `"` and `\`.
    #[must_use]
    pub fn named(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Returns this quota with another window.
    #[cfg(feature = "redis")]
    pub(crate) const fn with_window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// Returns this quota with another limit.
    #[cfg(feature = "redis")]
    pub(crate) const fn with_limit(mut self, limit: u64) -> Self {
        self.limit = limit;
        self
    }

    /// Returns this quota with a longer window and the same name.
    pub(crate) fn lengthened(&self, by: Duration) -> Self {
        Self { limit: self.limit, window: self.window.saturating_add(by), name: Some(self.name()) }
    }

    /// Returns the time between two units that are spread evenly, in nanoseconds.
    pub(crate) fn gap_nanos(&self) -> u128 {
        self.window.as_nanos() / u128::from(self.limit.max(1))
    }

    /// Returns a quota that spreads these units evenly: at most 1 % slower, with as few units as possible in a window
    /// of whole milliseconds.
    pub(crate) fn spread(&self) -> Self {
        let nanos_of = |units: u64| self.window.as_nanos() * u128::from(units) / u128::from(self.limit.max(1));
        let rounded = |units: u64| nanos_of(units).div_ceil(NANOS_PER_MILLI).max(1);
        let is_close = |units: &u64| rounded(*units) * NANOS_PER_MILLI * 100 <= nanos_of(*units) * 101;
        let per_milli = u128::from(self.limit) * NANOS_PER_MILLI / self.window.as_nanos().max(1);
        let fewest = u64::try_from(per_milli).unwrap_or(u64::MAX).max(1);
        let units = (fewest..self.limit).find(is_close).unwrap_or(self.limit);
        Self::new(units, Duration::from_millis(rounded(units).try_into().unwrap_or(u64::MAX)))
    }

    /// Returns the number of units per window.
    #[must_use]
    pub const fn limit(&self) -> u64 {
        self.limit
    }

    /// Returns the length of the rolling window.
    #[must_use]
    pub const fn window(&self) -> Duration {
        self.window
    }

    /// Returns the name that was given, or the name of the window.
    #[must_use]
    pub fn name(&self) -> Cow<'static, str> {
        match (&self.name, self.window) {
            (Some(name), _) => name.clone(),
            (None, SECOND) => "second".into(),
            (None, MINUTE) => "minute".into(),
            (None, HOUR) => "hour".into(),
            (None, DAY) => "day".into(),
            (None, WEEK) => "week".into(),
            (None, window) => humantime::format_duration(window).to_string().replace(' ', "").into(),
        }
    }

    /// Returns the window in words that go before "rate limit": `per-minute`, `hourly`, `5-minute`.
    pub(crate) fn adjective(&self) -> Cow<'static, str> {
        const UNITS: [(Duration, &str); 5] =
            [(WEEK, "week"), (DAY, "day"), (HOUR, "hour"), (MINUTE, "minute"), (SECOND, "second")];
        match self.window {
            SECOND => "per-second".into(),
            MINUTE => "per-minute".into(),
            HOUR => "hourly".into(),
            DAY => "daily".into(),
            WEEK => "weekly".into(),
            window => UNITS
                .iter()
                .find(|(unit, _)| window.as_nanos() % unit.as_nanos() == 0)
                .map_or_else(
                    || format!("{}-millisecond", self.window_millis()),
                    |(unit, word)| format!("{}-{word}", window.as_nanos() / unit.as_nanos()),
                )
                .into(),
        }
    }

    /// Returns the window in words that go after a number of units: `per minute`, `per 5m`.
    pub(crate) fn per(&self) -> Cow<'static, str> {
        match self.window {
            SECOND => "per second".into(),
            MINUTE => "per minute".into(),
            HOUR => "per hour".into(),
            DAY => "per day".into(),
            WEEK => "per week".into(),
            window => format!("per {}", humantime::format_duration(window)).into(),
        }
    }

    /// Returns the window in milliseconds, rounded up so that no unit is freed early.
    pub(crate) fn window_millis(&self) -> u64 {
        u64::try_from(self.window.as_nanos().div_ceil(NANOS_PER_MILLI)).unwrap_or(u64::MAX)
    }

    /// Returns the window in whole seconds, rounded up, as header fields need it.
    pub(crate) fn window_seconds(&self) -> u64 {
        self.window.as_secs().saturating_add((self.window.subsec_nanos() > 0).into())
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let field = |name: &str| format!("quota \"{}\": {name}", self.name());
        check_name("quota name", &self.name())?;
        if self.limit == 0 {
            return Err(ConfigError::new(field("limit"), 0, "a quota admits at least 1: write 1 or more"));
        }
        if self.limit > Self::MAX_LIMIT {
            let reason =
                format!("a quota admits at most {}: write that or less, or leave the quota out", Self::MAX_LIMIT);
            return Err(ConfigError::new(field("limit"), self.limit, reason));
        }
        if self.window < SHORTEST_WINDOW || self.window > LONGEST_WINDOW {
            let value = format_args!("{:?}", self.window).to_string();
            return Err(ConfigError::new(
                field("window"),
                value,
                "a window is from 1 ms to 100 years: write one such as 1s or 1day",
            ));
        }
        Ok(())
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            write!(f, "{name}=")?;
        }
        write!(f, "{}/{}", self.limit, Self::new(self.limit, self.window).name())
    }
}

impl PolicyName {
    pub(crate) fn new(name: &str) -> Self {
        let head = format!("{QUOTE}{name}{AFTER}").into_boxed_str();
        let mut padded = [0; HEAD];
        if let Some(place) = padded.get_mut(..head.len()) {
            place.copy_from_slice(head.as_bytes());
        }
        Self { head, padded }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.head[QUOTE.len()..self.head.len() - AFTER.len()]
    }

    /// Returns the beginning of an item of a `RateLimit` field, up to the number of remaining units.
    pub(crate) const fn head(&self) -> &str {
        &self.head
    }

    /// Returns the same head with zeros behind it, if it is short enough.
    pub(crate) const fn padded_head(&self) -> Option<&[u8; HEAD]> {
        if self.head.len() <= HEAD { Some(&self.padded) } else { None }
    }
}

/// Refuses names that would need escaping: they are quoted strings in header fields, and strings in JSON.
pub(crate) fn check_name(field: &str, name: &str) -> Result<(), ConfigError> {
    let allowed = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    if !name.is_empty() && name.bytes().all(allowed) {
        return Ok(());
    }
    let reason = "a name is one or more visible ASCII characters without spaces, \" and \\";
    let is_allowed = |letter: char| letter.is_ascii() && allowed(letter as u8);
    let instead: String = name.trim().chars().map(|letter| if is_allowed(letter) { letter } else { '-' }).collect();
    let instead = if instead.bytes().any(|byte| byte.is_ascii_alphanumeric()) { &instead } else { "calls" };
    Err(ConfigError::new(field, format_args!("{name:?}"), format!("{reason}: write one such as \"{instead}\"")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_words_mean_what_they_say() {
        let window = |text: &str| text.parse::<Quota>().unwrap().window();
        assert_eq!(window("1/second"), SECOND);
        assert_eq!(window("1/minute"), MINUTE);
        assert_eq!(window("1/hour"), HOUR);
        assert_eq!(window("1/day"), DAY);
        assert_eq!(window("1/week"), WEEK);
        assert_eq!(window("1/h"), HOUR);
        assert_eq!(window("1/1d"), DAY);
        assert_eq!(window("1/250ms"), Duration::from_millis(250));
        assert_eq!(window("1 per minute"), MINUTE);
    }

    #[test]
    fn a_mistake_in_the_text_is_quoted_and_explained() {
        for text in [
            "",
            "60",
            "0/minute",
            "-1/minute",
            "+5/minute",
            "281474976710656/hour",
            "60/",
            "60/fortnight",
            "60/0s",
            "1/101y",
            "1/1us",
        ] {
            let error = text.parse::<Quota>().unwrap_err();
            assert_eq!((error.field(), error.value()), ("quota", &*format!("\"{text}\"")), "{error}");
        }
    }

    #[test]
    fn a_quota_prints_as_the_text_it_is_read_from() {
        for text in ["60/minute", "1800/hour", "500/5m", "10000/day", "7/10s", "1/1ms", "burst=10/second"] {
            assert_eq!(text.parse::<Quota>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_window_reads_as_an_adjective() {
        let adjective = |text: &str| text.parse::<Quota>().unwrap().adjective();
        assert_eq!(adjective("1/second"), "per-second");
        assert_eq!(adjective("1/minute"), "per-minute");
        assert_eq!(adjective("1/60s"), "per-minute");
        assert_eq!(adjective("1/hour"), "hourly");
        assert_eq!(adjective("1/day"), "daily");
        assert_eq!(adjective("1/week"), "weekly");
        assert_eq!(adjective("1/5m"), "5-minute");
        assert_eq!(adjective("1/90s"), "90-second");
        assert_eq!(adjective("1/30d"), "30-day");
        assert_eq!(adjective("1/1500ms"), "1500-millisecond");
    }

    #[test]
    fn names_are_visible_ascii_that_needs_no_escaping() {
        for name in ["", "a b", "é", "a\"b", "a\\b", "a\nb", "\u{7f}"] {
            assert!(check_name("name", name).is_err(), "{name:?}");
        }
        assert!(check_name("name", "automation.bot-definition/1").is_ok());
    }

    #[test]
    fn a_name_is_read_back() {
        for name in ["", "minute", "bots/minute"] {
            assert_eq!(PolicyName::new(name).as_str(), name);
        }
        assert_eq!(PolicyName::new("minute").head(), "\"minute\";r=");
    }
}
