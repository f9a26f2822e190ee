//! Figures, as people read them.

/// Returns a number with its thousands apart: `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns a share: `0.23 %`. Nothing but nothing is 0 %, and nothing but all is 100 %.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    let share = if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 };
    match share {
        0.0 => "0 %".to_owned(),
        share if share < 0.01 => "under 0.01 %".to_owned(),
        share if share > 99.99 && part < whole => "over 99.99 %".to_owned(),
        share => format!("{} %", format!("{share:.2}").trim_end_matches('0').trim_end_matches('.')),
    }
}

/// Returns a time as its two largest units: `2 h 5 min`.
pub(crate) fn duration(millis: i64) -> String {
    const UNITS: [(i64, &str); 5] = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s"), (1, "ms")];
    let mut left = millis;
    let mut parts = Vec::new();
    for (length, unit) in UNITS {
        if left >= length && parts.len() < 2 {
            parts.push(format!("{} {unit}", left / length));
            left %= length;
        } else if !parts.is_empty() {
            break;
        }
    }
    if parts.is_empty() { "0 s".to_owned() } else { parts.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_written_for_people() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        let shares = [(0, 9), (1, 2), (1, 3), (1, 100_000), (99_999, 100_000), (3, 3), (0, 0)];
        let expected = ["0 %", "50 %", "33.33 %", "under 0.01 %", "over 99.99 %", "100 %", "0 %"];
        assert_eq!(shares.map(|(part, whole)| percent(part, whole)), expected);
        assert_eq!(
            [0, 999, 61_000, 7_500_000, 86_400_000].map(duration),
            ["0 s", "999 ms", "1 min 1 s", "2 h 5 min", "1 d"]
        );
    }
}
