//! Lines that are fields with texts between them.

use memchr::memmem::Finder;

use crate::log::{Field, Layout, Span, Spans};

/// A format of fields with texts between them. It knows no dialect, only where fields end: where the text after them begins.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    /// The text before the first field.
    head: Vec<u8>,
    /// As far as something is wanted: what a line has behind that is not looked at.
    parts: Vec<Part>,
}

/// A field, and the text that ends it.
#[derive(Clone, Debug)]
struct Part {
    place: Option<usize>,
    /// Nothing, if the field goes on to the end of the line.
    end: Option<Finder<'static>>,
    /// The field is in quotes, and a quote in it has a backslash before it.
    is_quoted: bool,
    /// The field may be a list, with `, ` or ` : ` in it.
    is_list: bool,
}

/// The pieces of a format, as a dialect reads them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Text(String),
    Field(Field),
    /// A field that nobody wants, and whose values may have separators in them.
    List,
}

impl Template {
    /// Compiles the pieces of a format. Two fields without a text between them cannot be told apart, so the second is empty.
    pub(super) fn new(pieces: &[Piece], layout: &mut Layout) -> Self {
        let (mut head, mut parts) = (String::new(), Vec::<(Option<usize>, bool, String)>::new());
        for piece in pieces {
            match piece {
                Piece::Text(text) => match parts.last_mut() {
                    Some((_, _, end)) => end.push_str(text),
                    None => head.push_str(text),
                },
                Piece::Field(field) => parts.push((layout.place(field), false, String::new())),
                Piece::List => parts.push((None, true, String::new())),
            }
        }
        let wanted = parts.iter().rposition(|(place, ..)| place.is_some()).map_or(0, |last| last + 1);
        parts.truncate(wanted);
        let parts = parts.into_iter().map(|(place, is_list, end)| Part {
            place,
            is_quoted: end.starts_with('"'),
            is_list,
            end: (!end.is_empty()).then(|| Finder::new(end.as_bytes()).into_owned()),
        });
        Self { head: head.into_bytes(), parts: parts.collect() }
    }

    /// Finds the fields of a line. Returns `false` if it has another format.
    #[inline]
    pub(super) fn read(&self, line: &[u8], spans: &mut Spans) -> bool {
        if !line.starts_with(&self.head) {
            return false;
        }
        let mut at = self.head.len();
        for part in &self.parts {
            let rest = line.get(at..).unwrap_or_default();
            let Some(length) = part.length(rest) else { return false };
            if let Some(place) = part.place {
                spans.set(line, place, Span::new(at, at + length));
            }
            at += length + part.end.as_ref().map_or(0, |end| end.needle().len());
        }
        true
    }

    /// Returns the places that it fills.
    pub(super) fn places(&self) -> impl Iterator<Item = usize> {
        self.parts.iter().filter_map(|part| part.place)
    }
}

impl Part {
    /// Returns the length of the field at the front of `rest`.
    #[inline]
    fn length(&self, rest: &[u8]) -> Option<usize> {
        let Some(end) = &self.end else { return Some(rest.len()) };
        let mut from = 0;
        loop {
            let found = match end.needle() {
                [byte] => memchr::memchr(*byte, &rest[from..]),
                _ => end.find(&rest[from..]),
            };
            // The last text of a format may be cut off, or stand before what is not looked at.
            let at = from + found?;
            let is_escaped = self.is_quoted && is_escaped(&rest[..at]);
            let is_in_list = self.is_list && rest[..at].last().is_some_and(|last| matches!(last, b',' | b':'));
            let is_before_colon = self.is_list && rest.get(at + 1) == Some(&b':');
            if !(is_escaped || is_in_list || is_before_colon) {
                return Some(at);
            }
            from = at + 1;
        }
    }
}

/// Returns `true` if what follows has a backslash before it that is not one itself.
fn is_escaped(before: &[u8]) -> bool {
    before.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::log::dialect;

    fn read(format: &str, line: &str, places: &[usize]) -> Option<Vec<String>> {
        let mut layout = Layout::new(["x-account"]);
        let template = Template::new(&dialect::nginx(format).unwrap(), &mut layout);
        let mut spans = Spans::default();
        spans.clear(&layout);
        template.read(line.as_bytes(), &mut spans).then(|| {
            let record = spans.record(0, &Bytes::from(line.to_owned()), 0);
            places.iter().map(|place| String::from_utf8(record.raw(*place).to_vec()).unwrap()).collect()
        })
    }

    #[test]
    fn fields_end_where_the_text_behind_them_begins() {
        let fields = |line: &str| {
            read("$remote_addr \"$request_method\" [$http_x_account]", line, &[Layout::PEER, Layout::METHOD, 5])
        };
        let expected = ["1.2.3.4", "GET", "a \"b\""].map(str::to_owned).to_vec();
        assert_eq!(fields("1.2.3.4 \"GET\" [a \"b\"]"), Some(expected));
        assert_eq!(fields("1.2.3.4 GET [a]"), None);
        assert_eq!(fields("1.2.3.4 \"GET\" [a"), None);
        assert_eq!(fields(""), None);
    }

    #[test]
    fn a_quote_in_a_field_is_no_end_of_it() {
        let fields = |line: &str| read("\"$request_uri\" $remote_addr", line, &[Layout::TARGET, Layout::PEER]);
        assert_eq!(fields(r#""/a\"b" 1.2.3.4"#), Some(vec![r#"/a\"b"#.to_owned(), "1.2.3.4".to_owned()]));
        assert_eq!(fields(r#""/a\\" 1.2.3.4"#), Some(vec![r"/a\\".to_owned(), "1.2.3.4".to_owned()]));
    }

    #[test]
    fn several_upstreams_are_one_field() {
        let fields = |line: &str| read("$upstream_addr $remote_addr x", line, &[Layout::PEER]);
        for upstreams in ["10.0.0.1:80", "10.0.0.1:80, 10.0.0.2:80", "10.0.0.1:80 : 10.0.0.2:80", "-"] {
            assert_eq!(fields(&format!("{upstreams} 1.2.3.4 x")), Some(vec!["1.2.3.4".to_owned()]), "{upstreams}");
        }
    }

    #[test]
    fn what_follows_the_last_wanted_field_is_not_looked_at() {
        assert_eq!(read("$remote_addr $status", "1.2.3.4 ", &[Layout::PEER]), Some(vec!["1.2.3.4".to_owned()]));
    }

    proptest! {
        #[test]
        fn any_line_is_read_or_refused(format in "[ \"\\[\\]$a-z_{}%]{0,40}", line in prop::collection::vec(any::<u8>(), 0..80)) {
            let mut layout = Layout::new(["x-account"]);
            if let Ok(pieces) = dialect::nginx(&format) {
                let template = Template::new(&pieces, &mut layout);
                let mut spans = Spans::default();
                spans.clear(&layout);
                let _ = template.read(&line, &mut spans);
            }
        }
    }
}
