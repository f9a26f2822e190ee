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
    Ignored,
}

/// The places of a record, for what is wanted of a line: the request, and the header fields that a rule may read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layout {
    headers: Vec<HeaderName>,
    /// Cookies that a log has as fields of their own.
    cookies: Vec<String>,
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
        Self { headers: names, cookies: Vec::new() }
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
            Field::Header(name) => Self::FIXED + self.headers.iter().position(|header| header.as_str() == name)?,
            Field::Cookie(name) => return self.cookie(name),
            Field::Ignored => return None,
        })
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
