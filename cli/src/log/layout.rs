//! What is wanted of the lines of a log.

use http::HeaderName;

/// A field of a log, by its meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    /// The time, or the time of a day whose date is elsewhere.
    Time,
    Date,
    /// A request line: `GET /x HTTP/1.1`.
    Request,
    Method,
    /// The target, or its path alone.
    Target,
    /// The query, where the target is without it.
    Query,
    Host,
    Peer,
    /// A header field, by its name in lower case.
    Header(String),
    Cookie(String),
    /// The bytes of the body of the response, or of the request, and the log's own name for that.
    ResponseBytes(String),
    RequestBytes(String),
    Ignored,
}

/// Returns the name of the field of a log that a header field carries, if it carries one.
pub(crate) fn field_of_header(header: &str) -> Option<&str> {
    header.strip_prefix(FIELD)
}

impl Field {
    /// Returns `true` if a line that has this field needs no other one of the same meaning.
    pub(super) fn replaces(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Request, Self::Method | Self::Target) | (Self::Target, Self::Request) => true,
            _ => self == other,
        }
    }
}

/// The names of these, whatever a log calls them.
pub(crate) const RESPONSE_BYTES: &str = "response-bytes";
pub(crate) const REQUEST_BYTES: &str = "request-bytes";
/// The beginning of the names of the header fields that carry the fields of a log which are no header fields.
const FIELD: &str = "x-tower-quota-field-";

/// Returns the name of the header field that carries a field of a log.
pub(crate) fn field_header(name: &str) -> String {
    let plain = |char: char| if char.is_ascii_alphanumeric() { char.to_ascii_lowercase() } else { '-' };
    FIELD.chars().chain(name.chars().map(plain)).collect()
}

/// The places of a record, for what is wanted of a line: the request, and the header fields that a rule may read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layout {
    headers: Vec<HeaderName>,
    /// Cookies that a log has as fields of their own.
    cookies: Vec<String>,
    costs: Vec<CostPlace>,
}

/// The place of a number of units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CostPlace {
    pub(crate) place: usize,
    /// It is of bytes: where there is no number, there were none.
    is_of_bytes: bool,
}

impl CostPlace {
    /// Reads the units. Some encoders write whole numbers as fractions; what is no whole number is rounded up.
    #[inline]
    pub(crate) fn read(self, text: &[u8]) -> Option<u64> {
        let text = text.trim_ascii();
        if text.is_empty() {
            return self.is_of_bytes.then_some(0);
        }
        let (whole, fraction) = match memchr::memchr(b'.', text) {
            Some(point) => (&text[..point], &text[point + 1..]),
            None => (text, &b""[..]),
        };
        let is_number = !whole.is_empty() && whole.iter().chain(fraction).all(u8::is_ascii_digit);
        let units: u64 = std::str::from_utf8(whole).ok().filter(|_| is_number)?.parse().ok()?;
        Some(units.saturating_add(u64::from(fraction.iter().any(|digit| *digit != b'0'))))
    }
}

impl Layout {
    pub(crate) const METHOD: usize = 0;
    pub(crate) const TARGET: usize = 1;
    pub(crate) const QUERY: usize = 2;
    pub(crate) const HOST: usize = 3;
    pub(crate) const PEER: usize = 4;
    const FIXED: usize = 5;
    /// What is split or read while a line is, and has no place in a record.
    pub(super) const TIME: usize = usize::MAX;
    pub(super) const DATE: usize = usize::MAX - 1;
    pub(super) const REQUEST: usize = usize::MAX - 2;

    /// Creates the layout for these header fields.
    pub(crate) fn new<'a>(headers: impl IntoIterator<Item = &'a str>) -> Self {
        let names: Vec<HeaderName> =
            headers.into_iter().filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok()).collect();
        Self { headers: names, ..Self::default() }
    }

    /// Makes some of the header fields numbers of units: of bytes, or not.
    pub(crate) fn with_costs<'a>(mut self, costs: impl IntoIterator<Item = (&'a str, bool)>) -> Self {
        let place = |(name, is_of_bytes)| Some(CostPlace { place: self.header(name)?, is_of_bytes });
        self.costs = costs.into_iter().filter_map(place).collect();
        self
    }

    /// Returns the header fields that are numbers of units.
    pub(crate) fn costs(&self) -> impl Iterator<Item = (CostPlace, &HeaderName)> {
        self.costs.iter().map(|cost| (*cost, &self.headers[cost.place - Self::FIXED]))
    }

    /// Returns the place of the number of units that is this header field.
    pub(crate) fn cost(&self, name: &str) -> Option<CostPlace> {
        self.costs().find(|(_, header)| header.as_str() == name).map(|(cost, _)| cost)
    }

    fn header(&self, name: &str) -> Option<usize> {
        Some(Self::FIXED + self.headers.iter().position(|header| header.as_str() == name)?)
    }

    /// Returns the number of places.
    pub(crate) const fn len(&self) -> usize {
        Self::FIXED + self.headers.len() + self.cookies.len()
    }

    /// Returns the header fields, and the place of each.
    pub(crate) fn headers(&self) -> impl Iterator<Item = (usize, &HeaderName)> {
        self.headers.iter().enumerate().map(|(at, name)| (Self::FIXED + at, name))
    }

    /// Returns the cookies that have places of their own.
    pub(crate) fn cookies(&self) -> impl Iterator<Item = (usize, &str)> {
        let first = Self::FIXED + self.headers.len();
        self.cookies.iter().enumerate().map(move |(at, name)| (first + at, name.as_str()))
    }

    /// Returns the place of a field, or `None` if nobody wants it. Cookies get a place when they are first seen.
    pub(super) fn place(&mut self, field: &Field) -> Option<usize> {
        Some(match field {
            Field::Time => Self::TIME,
            Field::Date => Self::DATE,
            Field::Request => Self::REQUEST,
            Field::Method => Self::METHOD,
            Field::Target => Self::TARGET,
            Field::Query => Self::QUERY,
            Field::Host => Self::HOST,
            Field::Peer => Self::PEER,
            Field::Header(name) => return self.header(name),
            Field::ResponseBytes(name) => return self.bytes(RESPONSE_BYTES, name),
            Field::RequestBytes(name) => return self.bytes(REQUEST_BYTES, name),
            Field::Cookie(name) => return self.cookie(name),
            Field::Ignored => return None,
        })
    }

    /// Returns the place of a number of bytes, which may be wanted by either name.
    fn bytes(&self, known: &str, name: &str) -> Option<usize> {
        [known, name].iter().find_map(|name| self.header(&field_header(name)))
    }

    fn cookie(&mut self, name: &str) -> Option<usize> {
        if !self.headers.iter().any(|header| header == "cookie") {
            return None;
        }
        let known = self.cookies.iter().position(|cookie| cookie == name);
        let at = known.unwrap_or_else(|| {
            self.cookies.push(name.to_owned());
            self.cookies.len() - 1
        });
        Some(Self::FIXED + self.headers.len() + at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_is_a_whole_number() {
        let read = |text: &str, is_of_bytes| CostPlace { place: 5, is_of_bytes }.read(text.as_bytes());
        for (text, units) in [
            ("12", Some(12)),
            (" 0 ", Some(0)),
            ("7.00", Some(7)),
            ("7.01", Some(8)),
            ("18446744073709551615", Some(u64::MAX)),
        ] {
            assert_eq!(read(text, false), units, "{text}");
        }
        for text in ["", "-", "-1", "+1", "1e9", ".5", "1.x", "x", "18446744073709551616"] {
            assert_eq!(read(text, false), None, "{text}");
        }
        assert_eq!((read("", true), read("x", true)), (Some(0), None));
    }

    #[test]
    fn bytes_are_wanted_by_the_name_that_all_logs_share_or_by_that_of_the_log() {
        let sent = Field::ResponseBytes("body_bytes_sent".to_owned());
        for name in ["response-bytes", "body_bytes_sent"] {
            let header = field_header(name);
            let mut layout = Layout::new([&*header]).with_costs([(&*header, true)]);
            assert_eq!((layout.place(&sent), layout.cost(&header).map(|cost| cost.place)), (Some(5), Some(5)));
        }
        assert_eq!(Layout::new([]).place(&sent), None);
    }

    #[test]
    fn only_what_is_wanted_has_a_place() {
        let mut layout = Layout::new(["x-account"]);
        assert_eq!(layout.place(&Field::Header("x-account".into())), Some(5));
        assert_eq!(layout.place(&Field::Header("user-agent".into())), None);
        assert_eq!(layout.place(&Field::Cookie("sid".into())), None);
        let mut layout = Layout::new(["cookie"]);
        assert_eq!((layout.place(&Field::Cookie("sid".into())), layout.len()), (Some(6), 7));
        assert_eq!(layout.place(&Field::Cookie("sid".into())), Some(6));
    }
}
