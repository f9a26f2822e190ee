//! Reads quotas from text.

use std::{borrow::Cow, str::FromStr, time::Duration};

use crate::{
    error::{ConfigError, nearest},
    policy::Quota,
};

const EXAMPLES: &str = "write \"60/minute\" or \"500/5m\"";

/// The units with all their spellings, and their nanoseconds, longest first. The last spelling is the shortest.
const UNITS: [(&[&str], u128); 10] = [
    (&["years", "year", "yrs", "yr", "y"], 31_557_600_000_000_000),
    (&["months", "month"], 2_630_016_000_000_000),
    (&["weeks", "week", "wks", "wk", "w"], 604_800_000_000_000),
    (&["days", "day", "d"], 86_400_000_000_000),
    (&["hours", "hour", "hrs", "hr", "h"], 3_600_000_000_000),
    (&["minutes", "minute", "mins", "min", "m"], 60_000_000_000),
    (&["seconds", "second", "secs", "sec", "s"], 1_000_000_000),
    (&["milliseconds", "millisecond", "millis", "msec", "ms"], 1_000_000),
    (&["micros", "usec", "µs", "us"], 1_000),
    (&["nanos", "nsec", "ns"], 1),
];

const NANOS_PER_SECOND: u128 = 1_000_000_000;
const MOST_DECIMALS: usize = 9;

/// The parts of a text such as `60/minute`, `500 per 5m` or `burst=10/second`.
#[derive(Clone, Copy, Debug)]
struct QuotaText<'a> {
    name: Option<&'a str>,
    limit: &'a str,
    window: &'a str,
}

/// The reason why a text is no window, and guesses at the intended one, which need not be windows either.
#[derive(Debug)]
pub(crate) struct InvalidWindow {
    pub(crate) why: String,
    pub(crate) guesses: Vec<String>,
}

/// A number and its unit.
#[derive(Clone, Copy, Debug)]
struct WindowPart<'a> {
    number: &'a str,
    unit: &'a str,
}

impl FromStr for Quota {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let refuse = |reason: &str| ConfigError::new("quota", format_args!("\"{text}\""), reason);
        let parts = QuotaText::read(text).map_err(|reason| refuse(&reason))?;
        let quota = parts.quota().map_err(|reason| refuse(&reason))?;
        quota.validate().map_err(|error| refuse(error.reason()))?;
        Ok(quota)
    }
}

impl<'a> QuotaText<'a> {
    /// Splits a text into its parts, or returns the text to write instead.
    fn read(text: &'a str) -> Result<Self, String> {
        let (name, amount) =
            text.split_once('=').map_or((None, text), |(name, amount)| (Some(name.trim_ascii()), amount));
        let parts = amount.split_once('/').or_else(|| amount.split_once(" per "));
        let (limit, window) = parts.ok_or_else(|| missing_window(amount.trim_ascii()))?;
        if is_list(text) {
            return Err(several_quotas(text));
        }
        Ok(Self { name, limit: limit.trim_ascii(), window: window.trim_ascii() })
    }

    /// Returns the quota, or the text to write instead. Its numbers may still be out of their range.
    fn quota(self) -> Result<Quota, String> {
        let limit = self.number().ok_or_else(|| self.limit_error())?;
        let window = parse_window(self.window).map_err(|invalid_window| self.window_error(invalid_window))?;
        Ok(self.named(Quota::new(limit, window)))
    }

    /// Returns true if a limiter accepts this quota.
    fn is_valid(self) -> bool {
        let quota = self.number().zip(parse_window(self.window).ok()).map(|(limit, window)| Quota::new(limit, window));
        quota.is_some_and(|quota| self.named(quota).validate().is_ok())
    }

    fn named(self, quota: Quota) -> Quota {
        match self.name {
            Some(name) => quota.named(Cow::Owned(name.to_owned())),
            None => quota,
        }
    }

    fn number(self) -> Option<u64> {
        let is_number = self.limit.bytes().all(|byte| byte.is_ascii_digit());
        self.limit.parse().ok().filter(|_| is_number)
    }

    fn limit_error(self) -> String {
        let why = "the limit is a whole number in digits, from 1 to 281474976710655";
        let amount = self.limit.split(' ').next().unwrap_or_default().trim_start_matches('+');
        let digits: String = amount.chars().filter(|letter| !matches!(letter, '_' | '\'')).collect();
        let meant = QuotaText { limit: &digits, ..self };
        if meant.is_valid() { format!("{why}: write {}", meant.quoted()) } else { format!("{why}: {EXAMPLES}") }
    }

    /// Returns the message about an invalid window, with the texts to write instead.
    fn window_error(self, InvalidWindow { why, guesses }: InvalidWindow) -> String {
        let guesses = guesses.iter().map(|window| QuotaText { window, ..self });
        let good: Vec<String> = guesses.filter(|guess| guess.is_valid()).map(QuotaText::quoted).collect();
        match &*good {
            [] => format!("{why}: {EXAMPLES}"),
            good => format!("{why}: write {}", good.join(" or ")),
        }
    }

    fn quoted(self) -> String {
        let (name, equals) = self.name.map_or(("", ""), |name| (name, "="));
        format!("\"{name}{equals}{}/{}\"", self.limit, self.window)
    }
}

impl WindowPart<'_> {
    /// Returns the length of this part and of its unit, in nanoseconds.
    fn nanos(self, text: &str) -> Result<(u128, u128), InvalidWindow> {
        if self.number.is_empty() {
            return Err(invalid_window(
                format!("the unit \"{}\" has no number before it", self.unit),
                [format!("1{text}")],
            ));
        }
        if self.unit.is_empty() {
            return Err(invalid_window(
                format!("the number {} has no unit behind it", self.number),
                [format!("{text}s")],
            ));
        }
        let unit = nanos_of_unit(self.unit, text)?;
        Ok((self.count(unit).ok_or_else(|| self.number_error(text))?, unit))
    }

    /// Returns this many units in nanoseconds, rounded up; `None` if the number is invalid.
    fn count(self, unit: u128) -> Option<u128> {
        let (whole, decimals) = self.number.split_once('.').unwrap_or((self.number, "0"));
        if whole.is_empty() || decimals.is_empty() || decimals.len() > MOST_DECIMALS {
            return None;
        }
        // A number with too many digits makes too long a window, which is found later.
        let whole: u128 = whole.parse().unwrap_or(u128::MAX);
        let fraction = decimals.parse::<u128>().ok()? * unit;
        Some(whole.saturating_mul(unit).saturating_add(fraction.div_ceil(10u128.pow(decimals.len() as u32))))
    }

    fn number_error(self, text: &str) -> InvalidWindow {
        let why = format!(
            "\"{}\" is not a number: it has digits on both sides of its point, and at most 9 behind it",
            self.number
        );
        invalid_window(why, [format!("0{text}")])
    }
}

/// Returns true if the text is a list of quotas, as a policy is.
fn is_list(text: &str) -> bool {
    let mut quotas = text.split([',', ';']).filter(|quota| !quota.trim_ascii().is_empty());
    quotas.clone().count() > 1 && quotas.all(|quota| QuotaText::read(quota).is_ok_and(QuotaText::is_valid))
}

fn several_quotas(text: &str) -> String {
    let quotas: Vec<&str> = text.split([',', ';']).map(str::trim_ascii).filter(|quota| !quota.is_empty()).collect();
    let (texts, policy) = (quotas.join("\", \""), quotas.join(", "));
    format!("these are several quotas: write a text for each, [\"{texts}\"], or as a policy \"{policy}\"")
}

fn missing_window(amount: &str) -> String {
    let digits = amount.len() - amount.trim_start_matches(|letter: char| letter.is_ascii_digit()).len();
    let (limit, rest) = amount.split_at(digits);
    let rest = rest.trim_ascii();
    let parts = QuotaText { name: None, limit, window: if rest.is_empty() { "minute" } else { rest } };
    if parts.is_valid() {
        return format!("there is no / between limit and window: write {}", parts.quoted());
    }
    format!("a quota is a limit and a window with / between them: {EXAMPLES}")
}

/// Parses a window: numbers with units, longest first, such as `5m`, `90s`, `1day 12h` or `1.5h`. A unit alone is one
/// of it.
pub(crate) fn parse_window(text: &str) -> Result<Duration, InvalidWindow> {
    let parts = parts(text)?;
    let counted = match parts[..] {
        [] => return Err(invalid_window("there is no window", [""; 0])),
        [WindowPart { number: "", unit }] => {
            let unit = nanos_of_unit(unit, text)?;
            vec![(unit, unit)]
        }
        _ => parts.iter().map(|part| part.nanos(text)).collect::<Result<_, _>>()?,
    };
    let nanos = counted.iter().try_fold(0u128, |sum, (nanos, _)| sum.checked_add(*nanos)).unwrap_or(u128::MAX);
    if counted.is_sorted_by(|(_, longer), (_, shorter)| longer > shorter) {
        Ok(from_nanos(nanos))
    } else {
        let sum = humantime::format_duration(from_nanos(nanos)).to_string().replace(' ', "");
        Err(invalid_window("each unit occurs once, longest first", [sum]))
    }
}

fn invalid_window<S>(why: impl Into<String>, guesses: impl IntoIterator<Item = S>) -> InvalidWindow
where
    S: Into<String>,
{
    InvalidWindow { why: why.into(), guesses: guesses.into_iter().map(Into::into).collect() }
}

fn from_nanos(nanos: u128) -> Duration {
    let seconds = u64::try_from(nanos / NANOS_PER_SECOND);
    seconds.map_or(Duration::MAX, |seconds| Duration::new(seconds, (nanos % NANOS_PER_SECOND) as u32))
}

/// Splits a text into numbers with their units. Spaces may be anywhere between these.
fn parts(text: &str) -> Result<Vec<WindowPart<'_>>, InvalidWindow> {
    let mut parts = Vec::new();
    let mut rest = text.trim_start_matches(' ');
    while !rest.is_empty() {
        let (number, after) = split_while(rest, |letter| letter.is_ascii_digit() || letter == '.');
        let (unit, after) = split_while(after.trim_start_matches(' '), char::is_alphabetic);
        if number.is_empty() && unit.is_empty() {
            return Err(unexpected_char(rest, text));
        }
        parts.push(WindowPart { number, unit });
        rest = after.trim_start_matches(' ');
    }
    Ok(parts)
}

fn split_while(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|letter| !belongs(letter)).unwrap_or(text.len()))
}

/// Returns the error about a character that no window has.
fn unexpected_char(rest: &str, text: &str) -> InvalidWindow {
    let letter = rest.chars().next().unwrap_or(' ');
    let before = &text[..text.len() - rest.len()];
    let why = match letter {
        '/' => "a quota has one window, and each other window is a quota of its own".to_owned(),
        _ => format!("{letter:?} is not allowed in a window, such as minute or 5m"),
    };
    invalid_window(why, [before.trim_end_matches(' ')])
}

/// Returns the nanoseconds of a unit in `text`.
fn nanos_of_unit(unit: &str, text: &str) -> Result<u128, InvalidWindow> {
    let known = UNITS.iter().find(|(spellings, _)| spellings.contains(&unit));
    known.map(|(_, nanos)| *nanos).ok_or_else(|| unknown_unit(unit, text))
}

fn unknown_unit(unit: &str, text: &str) -> InvalidWindow {
    let meant = |unit_meant: &str| text.replacen(unit, unit_meant, 1);
    if unit == "M" {
        let why = "\"M\" is a minute to some and a month to others";
        return invalid_window(why, ["m", "minute", "month"].map(meant));
    }
    let spellings = UNITS.iter().flat_map(|(spellings, _)| spellings.iter().copied());
    let small = unit.to_lowercase();
    if spellings.clone().any(|spelling| spelling == small) {
        return invalid_window(format!("the unit \"{unit}\" is written in small letters"), [meant(&small)]);
    }
    let why = format!("\"{unit}\" is not a unit, which are ms, s, m, h, day, week, month and year");
    invalid_window(why, nearest(unit, spellings).map(meant))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(text: &str) -> u128 {
        parse_window(text).unwrap().as_millis()
    }

    #[test]
    fn a_unit_alone_is_one_of_it() {
        for (spellings, nanos) in UNITS {
            for unit in spellings {
                assert_eq!(parse_window(unit).unwrap().as_nanos(), nanos, "{unit}");
                assert_eq!(parse_window(&format!("12{unit}")).unwrap().as_nanos(), 12 * nanos, "{unit}");
            }
        }
    }

    #[test]
    fn numbers_with_units_are_added_up() {
        assert_eq!(millis("1h30m"), 90 * 60_000);
        assert_eq!(millis("1day 12h"), 36 * 3_600_000);
        assert_eq!(millis(" 2 minutes  3 s "), 123_000);
        assert_eq!(
            [millis("1.5h"), millis("0.5s"), millis("1.000000001ms"), millis("007s")],
            [5_400_000, 500, 1, 7_000]
        );
    }

    #[test]
    fn a_fraction_of_a_nanosecond_is_rounded_up() {
        assert_eq!(parse_window("1.000000001ms").unwrap(), Duration::from_nanos(1_000_001));
    }

    #[test]
    fn a_window_that_is_too_long_for_numbers_is_one_that_is_too_long() {
        let digits = "9".repeat(50);
        for text in [&*format!("{digits}y"), &format!("{digits}.5ns"), "18446744073709551615s1000000000ns"] {
            assert!(parse_window(text).unwrap() > Duration::from_secs(u64::MAX / 2), "{text}");
        }
    }

    #[test]
    fn what_may_have_been_meant_is_guessed() {
        for (text, guesses) in [
            ("", &[][..]),
            (".5s", &["0.5s"]),
            ("m30s", &["1m30s"]),
            ("1m30", &["1m30s"]),
            ("M", &["m", "minute", "month"]),
            ("5M", &["5m", "5minute", "5month"]),
            ("Minute", &["minute"]),
            ("MIN", &["min"]),
            ("minuet", &["minute"]),
            ("fortnight", &[]),
            ("30s1m", &["1m30s"]),
            ("1m1m", &["2m"]),
            ("minute/hour", &["minute"]),
            ("m;", &["m"]),
        ] {
            assert_eq!(parse_window(text).unwrap_err().guesses, guesses, "{text}");
        }
    }
}
