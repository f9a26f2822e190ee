//! The file of overrides: which keys have another tier than their rule says.
//!
//! ```csv
//! # Support gave these on request.
//! account,tier
//! acme,pro
//! "initech, inc.",pro
//! globex-*,free
//! ```
//!
//! Each line is the key and, in the last column, its tier. A key of several parts has a column for each of them
//! (`acme,orders,pro`), as the `key` of a rule is an array of them; all lines have the same number of columns.
//!
//! * Quotes are those of RFC 4180: a field with a comma or a quote in it stands in quotes, and a quote inside is doubled.
//!   Blanks around a field do not belong to it, unless they are inside the quotes. An empty key is written `""`. Keys with
//!   line breaks cannot be written.
//! * [`KeyPattern`] says what a `*` means.
//! * Empty lines are skipped, and those that begin with `#`: a key that does stands in quotes.
//! * The first line may say what is in the columns. It is recognised by the word `tier`, in any case and without quotes, in its
//!   last column. A tier of that name stands in quotes, on the first line.
//! * The file is UTF-8, with or without a byte order mark, and its lines end with LF or CRLF.

use std::{
    fmt::{self, Display},
    mem, str,
};

use hashbrown::HashMap;

use crate::{
    config::csv::{self, Field},
    error::ConfigError,
    key::{KeyPattern, ParsedPattern},
};

/// As many mistakes are told of one file.
const MOST_MISTAKES: usize = 10;
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// One line of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Override {
    /// The line, counted from 1.
    pub(crate) line: usize,
    /// The keys.
    pub(crate) key: KeyPattern,
    /// The name of their tier, which may be one that the rule does not have.
    pub(crate) tier: Box<str>,
}

/// The mistakes of a file, each with its line: the first ten, and how many more there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OverrideErrors {
    first: Vec<ConfigError>,
    more: usize,
}

/// Reads line after line, and goes on after a mistake.
#[derive(Debug, Default)]
struct Reader {
    found: Vec<Override>,
    /// The lines of the keys so far.
    lines: HashMap<ParsedPattern, usize>,
    /// The line that says how many columns there are, and the number.
    columns: Option<(usize, usize)>,
    errors: OverrideErrors,
}

/// Reads a file of overrides, in the order of its lines.
///
/// # Errors
///
/// If any line cannot be used, or two lines are for the same key. Mistakes in several lines are found together.
pub(crate) fn parse(bytes: &[u8]) -> Result<Vec<Override>, OverrideErrors> {
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    let mut reader = Reader::default();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let number = index + 1;
        if let Err(error) = reader.line(number, line.strip_suffix(b"\r").unwrap_or(line)) {
            reader.errors.push(error.at_line(number));
        }
    }
    if reader.errors.first.is_empty() { Ok(reader.found) } else { Err(reader.errors) }
}

impl Reader {
    fn line(&mut self, number: usize, bytes: &[u8]) -> Result<(), ConfigError> {
        let text = str::from_utf8(bytes).map_err(|_| {
            let shown = String::from_utf8_lossy(bytes);
            ConfigError::new("line", quote(&shown), "not UTF-8: save the file in this encoding")
        })?;
        let shown = text.trim();
        if shown.is_empty() || shown.starts_with('#') {
            return Ok(());
        }
        let fields = csv::fields(text).map_err(|error| ConfigError::new("line", quote(shown), error.to_string()))?;
        let is_first = self.columns.is_none();
        self.check_columns(number, shown, &fields)?;
        match fields.split_last() {
            Some((tier, _)) if is_first && is_heading(tier) => Ok(()),
            Some((tier, key)) => self.record(number, tier, key),
            None => Ok(()),
        }
    }

    /// Refuses a line that has another number of columns than those before: mostly there is a comma in its key.
    fn check_columns(&mut self, number: usize, shown: &str, fields: &[Field<'_>]) -> Result<(), ConfigError> {
        let mistake = |reason: String| Err(ConfigError::new("line", quote(shown), reason));
        match (fields.len(), self.columns) {
            (1, _) if shown.contains(';') => mistake("columns are separated by commas: write key,tier".to_owned()),
            (1, _) => mistake("there is one column: write the key and its tier, as in key,tier".to_owned()),
            (found, Some((line, expected))) if found != expected => mistake(format!(
                "{found} columns, but line {line} has {expected}: write as many, and put a key with a comma in quotes"
            )),
            (found, _) => {
                self.columns.get_or_insert((number, found));
                Ok(())
            }
        }
    }

    fn record(&mut self, line: usize, tier: &Field<'_>, key: &[Field<'_>]) -> Result<(), ConfigError> {
        if key.iter().any(|part| part.text.is_empty() && !part.is_quoted) {
            return Err(ConfigError::new(
                "key",
                shown_key(key),
                "a part is empty: write it, or \"\" if it is to be empty",
            ));
        }
        if tier.text.is_empty() {
            return Err(ConfigError::new("tier", "\"\"", "it is empty: write the name of a tier in the last column"));
        }
        let pattern = ParsedPattern::parse(key.iter().map(|part| &*part.text))?;
        if let Some(earlier) = self.lines.get(&pattern) {
            let reason = format!("line {earlier} is for the same key: leave one of them out");
            return Err(ConfigError::new("key", shown_key(key), reason));
        }
        self.lines.insert(pattern, line);
        let key = key.iter().map(|part| part.text.clone().into_owned()).collect();
        self.found.push(Override { line, key, tier: (*tier.text).into() });
        Ok(())
    }
}

impl OverrideErrors {
    #[cfg(test)]
    /// Returns the mistakes, at most ten, in the order of their lines.
    pub(crate) fn first(&self) -> &[ConfigError] {
        &self.first
    }

    #[cfg(test)]
    /// Returns how many further mistakes there are.
    pub(crate) const fn more(&self) -> usize {
        self.more
    }

    fn push(&mut self, error: ConfigError) {
        if self.first.len() < MOST_MISTAKES {
            self.first.push(error);
        } else {
            self.more += 1;
        }
    }
}

impl Display for OverrideErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for error in &self.first {
            write!(f, "{}{error}", mem::replace(&mut separator, "; "))?;
        }
        match self.more {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

impl std::error::Error for OverrideErrors {}

fn is_heading(tier: &Field<'_>) -> bool {
    !tier.is_quoted && tier.text.eq_ignore_ascii_case("tier")
}

fn quote(text: &str) -> String {
    format!("\"{text}\"")
}

/// The parts of a key, as an error shows them.
fn shown_key(key: &[Field<'_>]) -> String {
    let parts: Vec<String> = key.iter().map(|part| quote(&part.text)).collect();
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use ::csv::{QuoteStyle, WriterBuilder};
    use proptest::prelude::*;

    use super::*;
    use crate::key::PartPattern;

    /// Each override as `line: key = tier`, where the parts of the key are separated by slashes.
    fn read(text: &str) -> Vec<String> {
        let found = parse(text.as_bytes()).expect(text);
        found.iter().map(|each| format!("{}: {} = {}", each.line, shown(&each.key), each.tier)).collect()
    }

    fn shown(key: &KeyPattern) -> String {
        let part = |part: &PartPattern| match part {
            PartPattern::Exact(text) => text.to_string(),
            PartPattern::Prefix(text) => format!("{text}.."),
        };
        match key.parse().unwrap() {
            ParsedPattern::Exact(parts) => parts.join("/"),
            ParsedPattern::Prefix(parts) => parts.iter().map(part).collect::<Vec<_>>().join("/"),
        }
    }

    fn mistakes(text: &str) -> Vec<String> {
        parse(text.as_bytes()).expect_err(text).first().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_line_is_a_key_and_its_tier() {
        assert_eq!(read("acme,pro\nglobex,free"), ["1: acme = pro", "2: globex = free"]);
        assert_eq!(read("acme,orders,pro\n"), ["1: acme/orders = pro"]);
        assert_eq!(read(""), Vec::<String>::new());
    }

    #[test]
    fn comments_empty_lines_and_blanks_are_skipped_and_lines_counted() {
        let text = "# Given by support\n\n  acme , pro\n   # later:\n\t\n\"#1\",pro\n";
        assert_eq!(read(text), ["3: acme = pro", "6: #1 = pro"]);
    }

    #[test]
    fn other_programs_files_are_read() {
        assert_eq!(read("\u{feff}acme,pro\r\nglobex,free\r\n"), ["1: acme = pro", "2: globex = free"]);
        assert_eq!(read("\"acme\",\"pro\"\r\n"), ["1: acme = pro"]);
    }

    #[test]
    fn the_first_line_may_name_the_columns() {
        assert_eq!(read("# Overrides\naccount,Tier\nacme,pro"), ["3: acme = pro"]);
        assert_eq!(read("account,\"tier\"\nacme,tier"), ["1: account = tier", "2: acme = tier"]);
        assert_eq!(read("account,table,tier"), Vec::<String>::new());
    }

    #[test]
    fn keys_may_hold_commas_and_quotes() {
        assert_eq!(read(r#""initech, inc.",pro"#), ["1: initech, inc. = pro"]);
        assert_eq!(read(r#""the ""best""",pro"#), [r#"1: the "best" = pro"#]);
        assert_eq!(read(r#""",pro"#), ["1:  = pro"]);
    }

    #[test]
    fn patterns_are_recognised_in_quotes_too() {
        assert_eq!(read("acme-*,pro\n*,free"), ["1: acme-.. = pro", "2: .. = free"]);
        assert_eq!(read("\"a,b*\",x,pro\nacme,*,pro"), ["1: a,b../x = pro", "2: acme/.. = pro"]);
        assert_eq!(read("a**,pro\na*,free"), ["1: a* = pro", "2: a.. = free"]);
    }

    #[test]
    fn every_mistake_is_told_with_its_line() {
        let text = "key,tier\nacme\nb*c,pro\n\n\"d,pro\ne,f,pro\ng,\n,pro\nh;pro\ni,pro\n";
        #[rustfmt::skip]
        assert_eq!(mistakes(text), [
            r#"line 2: line "acme": there is one column: write the key and its tier, as in key,tier"#,
            r#"line 3: key "b*c": a * stands for any rest, at the end of a part only: write ** for a star that belongs to the key"#,
            r#"line 5: line ""d,pro": a quote is not closed on its line: write " at the end of the field, and "" for a quote inside of it"#,
            r#"line 6: line "e,f,pro": 3 columns, but line 1 has 2: write as many, and put a key with a comma in quotes"#,
            r#"line 7: tier "": it is empty: write the name of a tier in the last column"#,
            r#"line 8: key "": a part is empty: write it, or "" if it is to be empty"#,
            r#"line 9: line "h;pro": columns are separated by commas: write key,tier"#,
        ]);
    }

    #[test]
    fn two_lines_for_one_key_are_a_mistake_that_names_both() {
        let text = "a,b,pro\nacme,\"x\",pro\na*,b,pro\n\"acme\",x,free\nacme,x,pro\na*,b,free";
        assert_eq!(
            mistakes(text),
            [
                r#"line 4: key "acme", "x": line 2 is for the same key: leave one of them out"#,
                r#"line 5: key "acme", "x": line 2 is for the same key: leave one of them out"#,
                r#"line 6: key "a*", "b": line 3 is for the same key: leave one of them out"#,
            ]
        );
    }

    #[test]
    fn keys_that_differ_in_case_or_by_where_their_parts_end_are_two() {
        assert_eq!(read("acme,pro\nAcme,pro").len(), 2);
        assert_eq!(read("a,bc,pro\nab,c,pro").len(), 2);
    }

    #[test]
    fn a_line_that_is_no_text_is_a_mistake_and_others_are_read() {
        let errors = parse(b"caf\xe9,pro\nacme\n").unwrap_err();
        let lines: Vec<_> = errors.first().iter().map(ConfigError::line).collect();
        assert_eq!(lines, [Some(1), Some(2)]);
        assert!(errors.first()[0].reason().contains("not UTF-8"));
    }

    #[test]
    fn ten_mistakes_are_told_and_the_others_counted() {
        let errors = parse("acme\n".repeat(12).as_bytes()).unwrap_err();
        assert_eq!((errors.first().len(), errors.more()), (10, 2));
        let told = errors.to_string();
        assert!(told.starts_with("line 1: line \"acme\": there is one column"));
        assert!(told.contains("; line 10: ") && told.ends_with("; and 2 more"));
    }

    #[test]
    fn a_hundred_thousand_lines_are_read() {
        let text: String = (0..100_000).map(|number| format!("\"account {number}\",tier-{}\n", number % 3)).collect();
        let found = parse(text.as_bytes()).unwrap();
        assert_eq!((found.len(), found[99_999].line), (100_000, 100_000));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            keys in prop::collection::hash_set(["[^\r\n]{0,8}|[\", a#*]{0,4}", "[^\r\n]{0,8}"], 0..8),
            tiers in prop::collection::vec("[a-z,\" ]{1,6}", 8),
            ending in prop::sample::select(vec!["\n", "\r\n"]),
        ) {
            let mut writer = WriterBuilder::new().quote_style(QuoteStyle::Always).from_writer(Vec::new());
            for ([one, two], tier) in keys.iter().zip(&tiers) {
                writer.write_record([&one.replace('*', "**"), &two.replace('*', "**"), tier]).unwrap();
            }
            let text = String::from_utf8(writer.into_inner().unwrap()).unwrap().replace('\n', ending);
            let expected: Vec<Override> = keys
                .iter()
                .zip(&tiers)
                .enumerate()
                .map(|(index, ([one, two], tier))| Override {
                    line: index + 1,
                    key: (one.replace('*', "**"), two.replace('*', "**")).into(),
                    tier: tier.as_str().into(),
                })
                .collect();
            prop_assert_eq!(parse(text.as_bytes()).unwrap(), expected);
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn each_line_is_an_override_or_a_mistake(text in "([ab\",*#; \r\n]|pro|tier){0,40}") {
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).count();
            match parse(text.as_bytes()) {
                Ok(found) => prop_assert!(found.len() == lines || found.len() + 1 == lines),
                Err(errors) => prop_assert!(errors.first().len() + errors.more() <= lines.max(1)),
            }
        }
    }
}
