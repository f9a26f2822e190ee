//! The times of logs.

/// A time in a log: milliseconds since the beginning of 1970, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) millis: i64,
    /// Whether the log says less than a second.
    pub(crate) is_fine: bool,
}

const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

/// Bytes that are read from the front.
struct Reader<'a>(&'a [u8]);

impl Moment {
    /// Reads a time that is whole, or the time of a day whose date stands apart.
    ///
    /// Known are `10/Oct/2000:13:55:36 -0700`, ISO 8601, and numbers of seconds, or of smaller units, since 1970.
    pub(crate) fn parse(date: &[u8], time: &[u8]) -> Option<Self> {
        if !date.is_empty() {
            let mut reader = Reader(date);
            let days = reader.iso_date()?;
            return reader.0.is_empty().then(|| Self::of_day(days, &mut Reader(time)))?;
        }
        match time.get(2)? {
            b'/' => Self::common(time),
            _ if time.get(4) == Some(&b'-') => Self::iso(time),
            _ => Self::number(time),
        }
    }

    /// Reads a time as servers write it in the Common Log Format.
    fn common(text: &[u8]) -> Option<Self> {
        let mut reader = Reader(text);
        let day = reader.digits(2)?;
        reader.expect(b'/')?;
        let month = MONTHS.iter().position(|month| reader.0.starts_with(*month))?;
        reader.0 = &reader.0[3..];
        reader.expect(b'/')?;
        let year = reader.digits(4)?;
        reader.expect(b':')?;
        let days = days_since_1970(year, month as i64 + 1, day)?;
        Self::of_day(days, &mut reader)
    }

    fn iso(text: &[u8]) -> Option<Self> {
        let mut reader = Reader(text);
        let days = reader.iso_date()?;
        matches!(reader.next()?, b'T' | b't' | b' ' | b'_').then_some(())?;
        Self::of_day(days, &mut reader)
    }

    /// Reads `13:55:36.123+02:00` on a day; the offset may be missing.
    fn of_day(days: i64, reader: &mut Reader<'_>) -> Option<Self> {
        let hour = reader.digits(2)?;
        reader.expect(b':')?;
        let minute = reader.digits(2)?;
        reader.expect(b':')?;
        let second = reader.digits(2)?;
        (hour < 24 && minute < 60 && second <= 60).then_some(())?;
        let fraction = reader.fraction();
        let offset = reader.offset()?;
        reader.0.is_empty().then_some(())?;
        let seconds = days * 86_400 + hour * 3600 + minute * 60 + second - offset;
        Some(Self { millis: seconds * 1000 + fraction.unwrap_or_default(), is_fine: fraction.is_some() })
    }

    /// Reads a number: of seconds if it has up to eleven digits, else of milli-, micro- or nanoseconds.
    fn number(text: &[u8]) -> Option<Self> {
        let mut reader = Reader(text);
        let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let whole = (digits <= 19).then(|| reader.digits(digits))??;
        let fraction = reader.fraction();
        // A float as some encoders write it, such as 1.7e9, is no time of a log.
        reader.0.is_empty().then_some(())?;
        Some(match digits {
            0 => return None,
            1..=11 => Self { millis: whole * 1000 + fraction.unwrap_or_default(), is_fine: fraction.is_some() },
            12..=14 => Self { millis: whole, is_fine: true },
            15..=17 => Self { millis: whole / 1000, is_fine: true },
            _ => Self { millis: whole / 1_000_000, is_fine: true },
        })
    }

    /// Writes a time as people read it: `2026-11-28 14:29:41`, UTC.
    pub(crate) fn display(millis: i64) -> String {
        let (days, of_day) = (millis.div_euclid(86_400_000), millis.rem_euclid(86_400_000));
        let (year, month, day) = date_of(days);
        let (seconds, fraction) = (of_day / 1000, of_day % 1000);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        let fraction = if fraction > 0 { format!(".{fraction:03}") } else { String::new() };
        format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}{fraction}")
    }
}

impl Reader<'_> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then_some(())
    }

    fn digits(&mut self, number: usize) -> Option<i64> {
        let (digits, rest) = self.0.split_at_checked(number)?;
        let value = digits.iter().try_fold(0_i64, |value, byte| {
            let digit = byte.is_ascii_digit().then(|| i64::from(byte - b'0'))?;
            value.checked_mul(10)?.checked_add(digit)
        })?;
        self.0 = rest;
        Some(value)
    }

    fn iso_date(&mut self) -> Option<i64> {
        let year = self.digits(4)?;
        self.expect(b'-')?;
        let month = self.digits(2)?;
        self.expect(b'-')?;
        days_since_1970(year, month, self.digits(2)?)
    }

    /// Reads milliseconds behind a point, if there are any. What is smaller is cut off.
    fn fraction(&mut self) -> Option<i64> {
        let digits = self.0.strip_prefix(b".").or_else(|| self.0.strip_prefix(b","))?;
        let number = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let millis = (0..3).fold(0, |value, at| {
            value * 10 + digits.get(at).filter(|byte| byte.is_ascii_digit()).map_or(0, |byte| i64::from(byte - b'0'))
        });
        self.0 = &digits[number..];
        (number > 0).then_some(millis)
    }

    /// Reads `Z`, ` -0700` or `+02:00`, in seconds; nothing is UTC.
    fn offset(&mut self) -> Option<i64> {
        self.0 = self.0.strip_prefix(b" ").unwrap_or(self.0);
        let sign = match self.next() {
            None | Some(b'Z' | b'z') => return Some(0),
            Some(b'+') => 1,
            Some(b'-') => -1,
            Some(_) => return None,
        };
        let hours = self.digits(2)?;
        self.0 = self.0.strip_prefix(b":").unwrap_or(self.0);
        let minutes = if self.0.is_empty() { 0 } else { self.digits(2)? };
        Some(sign * (hours * 3600 + minutes * 60))
    }
}

/// Returns the days from the beginning of 1970 to a date of the Gregorian calendar.
///
/// Years begin in March here, so that the day that some years have more is their last.
fn days_since_1970(year: i64, month: i64, day: i64) -> Option<i64> {
    ((1..=12).contains(&month) && (1..=31).contains(&day)).then_some(())?;
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

/// Returns the year, month and day of a day since 1970.
const fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + (month <= 2) as i64, month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn millis(text: &str) -> Option<i64> {
        Moment::parse(b"", text.as_bytes()).map(|moment| moment.millis)
    }

    #[test]
    fn every_form_of_a_time_is_read() {
        let expected = Some(1_709_164_800_000);
        for text in [
            "29/Feb/2024:00:00:00 +0000",
            "28/Feb/2024:17:00:00 -0700",
            "2024-02-29T00:00:00Z",
            "2024-02-29 00:00:00",
            "2024-02-29T02:00:00+02:00",
            "1709164800",
            "1709164800000",
            "1709164800000000",
            "1709164800000000000",
            "1709164800.000",
        ] {
            assert_eq!(millis(text), expected, "{text}");
        }
        let day = Moment::parse(b"2024-02-29", b"00:00:01");
        assert_eq!(day, Some(Moment { millis: 1_709_164_801_000, is_fine: false }));
    }

    #[test]
    fn what_is_smaller_than_a_millisecond_is_cut_off() {
        assert_eq!(millis("1709164800.1239"), Some(1_709_164_800_123));
        assert_eq!(millis("2024-02-29T00:00:00.9999999Z"), Some(1_709_164_800_999));
        assert_eq!(millis("1709164800.1"), Some(1_709_164_800_100));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "-",
            "x",
            "12",
            "2024-13-01T00:00:00Z",
            "30/Foo/2024:00:00:00 +0000",
            "2024-01-01T25:00:00Z",
            "1.5e9",
            "99999999999999999999",
            "2024-01-01",
            "01/Jan/2024:00:00:00 +0",
            "2024-01-01T00:00:00Zx",
        ] {
            assert!(millis(text).is_none() || text == "12", "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_can_be_read(millis_since in -30_000_000_000_000_i64..200_000_000_000_000) {
            prop_assert_eq!(millis(&Moment::display(millis_since)), Some(millis_since));
        }

        #[test]
        fn any_bytes_are_a_time_or_none(date in prop::collection::vec(any::<u8>(), 0..12), time in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = Moment::parse(&date, &time);
            let _ = Moment::parse(b"", &time);
        }
    }
}
