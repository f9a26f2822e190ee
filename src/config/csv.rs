//! Comma-separated values (RFC 4180), of which each record is one line.

use std::borrow::Cow;

/// Blanks around a field do not belong to it.
const BLANKS: [char; 2] = [' ', '\t'];

/// One value of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field<'a> {
    pub(super) text: Cow<'a, str>,
    /// Whether it stands in quotes, so that it means itself whatever it is.
    pub(super) is_quoted: bool,
}

/// A mistake in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CsvError {
    #[error("a quote is not closed on its line: write \" at the end of the field, and \"\" for a quote inside of it")]
    OpenQuote,
    #[error("a quote in a field without quotes: put the field in quotes, and write \"\" for a quote inside of it")]
    BareQuote,
    #[error("there is text behind the closing quote: write a comma between fields, and \"\" for a quote inside of one")]
    AfterQuote,
    #[error("a carriage return inside of a line: end lines with LF or CRLF")]
    CarriageReturn,
}

/// Reads the fields of one line, which has no line end.
///
/// Stricter than most readers: all that RFC 4180 has no meaning for is a mistake, as a misplaced quote would silently make
/// another value of what is around it. A line break is in no field, so a quote that was forgotten spoils one line.
pub(super) fn fields(line: &str) -> Result<Vec<Field<'_>>, CsvError> {
    if line.contains('\r') {
        return Err(CsvError::CarriageReturn);
    }
    let mut fields = Vec::new();
    let mut rest = Some(line);
    while let Some(text) = rest {
        let (field, behind) = field(text.trim_start_matches(BLANKS))?;
        fields.push(field);
        rest = behind;
    }
    Ok(fields)
}

/// The first field of a text, and what is behind its comma if it has one.
fn field(text: &str) -> Result<(Field<'_>, Option<&str>), CsvError> {
    if let Some(inside) = text.strip_prefix('"') {
        return quoted(inside);
    }
    let (value, behind) = split_at_comma(text);
    if value.contains('"') {
        return Err(CsvError::BareQuote);
    }
    Ok((Field { text: value.trim_end_matches(BLANKS).into(), is_quoted: false }, behind))
}

/// The same from behind the opening quote.
fn quoted(inside: &str) -> Result<(Field<'_>, Option<&str>), CsvError> {
    let end = closing_quote(inside).ok_or(CsvError::OpenQuote)?;
    let (value, after) = inside.split_at(end);
    let (blanks, behind) = split_at_comma(&after[1..]);
    if !blanks.trim_matches(BLANKS).is_empty() {
        return Err(CsvError::AfterQuote);
    }
    let text = if value.contains('"') { Cow::Owned(value.replace("\"\"", "\"")) } else { Cow::Borrowed(value) };
    Ok((Field { text, is_quoted: true }, behind))
}

/// Where the first quote is that is not one of a pair.
fn closing_quote(inside: &str) -> Option<usize> {
    let mut quotes = inside.match_indices('"').map(|(at, _)| at).peekable();
    while let Some(quote) = quotes.next() {
        if quotes.next_if_eq(&(quote + 1)).is_none() {
            return Some(quote);
        }
    }
    None
}

fn split_at_comma(text: &str) -> (&str, Option<&str>) {
    text.split_once(',').map_or((text, None), |(before, behind)| (before, Some(behind)))
}

#[cfg(test)]
mod tests {
    use csv::{QuoteStyle, ReaderBuilder, WriterBuilder};
    use proptest::prelude::*;

    use super::*;

    fn texts(line: &str) -> Vec<String> {
        fields(line).expect(line).into_iter().map(|field| field.text.into_owned()).collect()
    }

    /// One line as the crate `csv` writes it.
    fn written(texts: &[String], style: QuoteStyle) -> String {
        let mut writer = WriterBuilder::new().quote_style(style).from_writer(Vec::new());
        writer.write_record(texts).unwrap();
        let line = String::from_utf8(writer.into_inner().unwrap()).unwrap();
        line.strip_suffix('\n').unwrap().to_owned()
    }

    #[test]
    fn fields_are_what_is_between_commas_without_blanks_around() {
        assert_eq!(texts("acme,pro"), ["acme", "pro"]);
        assert_eq!(texts(" acme corp \t, pro "), ["acme corp", "pro"]);
        assert_eq!(texts("a,,"), ["a", "", ""]);
        assert_eq!(texts(""), [""]);
    }

    #[test]
    fn a_quoted_field_means_what_is_inside() {
        assert_eq!(texts(r#""a,b", " c " ,"say ""hi""""#), ["a,b", " c ", "say \"hi\""]);
        assert_eq!(texts(r#""","""""#), ["", "\""].map(|text| text.replace("\"\"", "\"")));
        let quoted: Vec<bool> = fields(r#""",,a,"b""#).unwrap().iter().map(|field| field.is_quoted).collect();
        assert_eq!(quoted, [true, false, false, true]);
    }

    #[test]
    fn a_misplaced_quote_is_a_mistake() {
        for (line, mistake) in [
            (r#""a,pro"#, CsvError::OpenQuote),
            (r#"a,""""#, CsvError::OpenQuote),
            (r#"a"b,pro"#, CsvError::BareQuote),
            (r#"a,b""#, CsvError::BareQuote),
            (r#""a"b,pro"#, CsvError::AfterQuote),
            (r#""a" "b",pro"#, CsvError::AfterQuote),
            ("a,pro\rb,pro", CsvError::CarriageReturn),
        ] {
            assert_eq!(fields(line), Err(mistake), "{line}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(texts in prop::collection::vec("[^\r\n]{0,12}|[\", a#*]{0,6}", 1..5)) {
            prop_assert_eq!(&self::texts(&written(&texts, QuoteStyle::Always)), &texts);
            let bare: Vec<String> = texts.iter().map(|text| text.trim_matches(BLANKS).to_owned()).collect();
            prop_assert_eq!(&self::texts(&written(&bare, QuoteStyle::Necessary)), &bare);
        }

        #[test]
        fn any_line_is_read_as_others_read_it_or_refused(line in "[^\r\n]{0,40}|[\", ab]{0,12}") {
            let Ok(found) = fields(&line) else { return Ok(()) };
            // Readers differ in blanks around quotes, and take a byte order mark away.
            prop_assume!(!line.contains([' ', '\t', '\u{feff}']) && !line.is_empty());
            let mut reader = ReaderBuilder::new().has_headers(false).from_reader(line.as_bytes());
            let record = reader.records().next().unwrap().unwrap();
            let found: Vec<String> = found.into_iter().map(|field| field.text.into_owned()).collect();
            prop_assert_eq!(found, record.iter().map(str::to_owned).collect::<Vec<_>>());
        }
    }
}
