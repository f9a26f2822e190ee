//! Lines of columns that a directive of the file names: the Extended Log File Format of CloudFront and IIS.

use crate::log::{Field, Layout, Span, Spans, field_header};

/// The columns, as the last `#Fields:` directive names them.
#[derive(Clone, Debug, Default)]
pub(crate) struct W3c {
    places: Vec<Option<usize>>,
    /// The places of fields that the first directive had.
    has_begun: bool,
}

impl W3c {
    /// Reads a directive. Returns `false` if the line is none.
    pub(super) fn directive(&mut self, line: &[u8], layout: &mut Layout) -> bool {
        if !line.starts_with(b"#") {
            return false;
        }
        if let Some(names) = line.strip_prefix(b"#Fields:") {
            let names = String::from_utf8_lossy(names);
            self.places = names.split_ascii_whitespace().map(|name| layout.place(&field(name))).collect();
            self.has_begun = true;
        }
        true
    }

    /// Finds the fields of a line. Returns `false` if it has fewer columns than the directive.
    #[inline]
    pub(super) fn read(&self, line: &[u8], spans: &mut Spans) -> bool {
        let separator = if memchr::memchr(b'\t', line).is_some() { b'\t' } else { b' ' };
        let mut at = 0;
        for (column, place) in self.places.iter().enumerate() {
            let Some(rest) = line.get(at..) else { return false };
            let is_last = column + 1 == self.places.len();
            let length = memchr::memchr(separator, rest).or(is_last.then_some(rest.len()));
            let Some(length) = length else { return false };
            if let Some(place) = place {
                spans.set(line, *place, Span::new(at, at + length));
            }
            at += length + 1;
        }
        self.has_begun
    }

    pub(super) fn places(&self) -> impl Iterator<Item = usize> {
        self.places.iter().copied().flatten()
    }
}

fn field(name: &str) -> Field {
    let lower = name.to_ascii_lowercase();
    match lower.as_str() {
        "date" => Field::Date,
        "time" | "timestamp" => Field::Time,
        "cs-method" => Field::Method,
        "cs-uri" | "cs-uri-stem" => Field::Target,
        "cs-uri-query" => Field::Query,
        "c-ip" => Field::Peer,
        // CloudFront's own domain, and the one that the client asked for.
        "x-host-header" | "cs-host" => Field::Host,
        "x-forwarded-for" => Field::Header(lower),
        "sc-bytes" => Field::ResponseBytes(lower),
        "cs-bytes" => Field::RequestBytes(lower),
        _ => match lower.strip_prefix("cs(").and_then(|rest| rest.strip_suffix(')')) {
            Some("host") => Field::Ignored,
            Some(header) => Field::Header(header.to_owned()),
            None => Field::Header(field_header(&lower)),
        },
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn read(fields: &str, line: &str, places: &[usize]) -> Option<Vec<String>> {
        let (mut layout, mut w3c, mut spans) = (Layout::new(["x-account"]), W3c::default(), Spans::default());
        assert!(w3c.directive(b"#Version: 1.0", &mut layout));
        assert!(w3c.directive(format!("#Fields: {fields}").as_bytes(), &mut layout));
        assert!(!w3c.directive(line.as_bytes(), &mut layout));
        spans.clear(&layout);
        w3c.read(line.as_bytes(), &mut spans).then(|| {
            let record = spans.record(0, &Bytes::from(line.to_owned()), 0);
            places.iter().map(|place| String::from_utf8(record.raw(*place).to_vec()).unwrap()).collect()
        })
    }

    #[test]
    fn columns_are_what_the_directive_says() {
        let fields = "date time cs-method cs-uri-stem cs-uri-query c-ip cs(X-Account)";
        let places = [Layout::METHOD, Layout::TARGET, Layout::QUERY, Layout::PEER, 5];
        let expected = |texts: [&str; 5]| Some(texts.map(str::to_owned).to_vec());
        let line = "2024-02-29 00:00:01 GET /x a=1 1.2.3.4 acme";
        assert_eq!(read(fields, line, &places), expected(["GET", "/x", "a=1", "1.2.3.4", "acme"]));
        let line = "2024-02-29\t00:00:01\tGET\t/x y\t-\t1.2.3.4\t-";
        assert_eq!(read(fields, line, &places), expected(["GET", "/x y", "", "1.2.3.4", ""]));
        assert_eq!(read(fields, "2024-02-29 00:00:01 GET", &places), None);
    }

    proptest! {
        #[test]
        fn any_line_is_read_or_refused(fields in "[a-z() -]{0,40}", line in prop::collection::vec(any::<u8>(), 0..60)) {
            let (mut layout, mut w3c, mut spans) = (Layout::default(), W3c::default(), Spans::default());
            w3c.directive(format!("#Fields: {fields}").as_bytes(), &mut layout);
            spans.clear(&layout);
            let _ = w3c.read(&line, &mut spans);
        }
    }
}
