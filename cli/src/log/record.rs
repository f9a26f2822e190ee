//! A line of a log, with the places of what is wanted of it.

use bytes::Bytes;
use smallvec::SmallVec;

use crate::log::{Layout, Moment};

/// A request of a log. It refers to the chunk of the file that it is in, so nothing is copied.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) time: i64,
    chunk: Bytes,
    spans: SmallVec<[Span; 8]>,
}

/// The place of a field in a chunk. An empty one is a field that is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

/// The places of the fields of the line that is being read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spans {
    places: SmallVec<[Span; 8]>,
    time: Span,
    date: Span,
}

impl Span {
    pub(crate) const fn new(start: usize, end: usize) -> Self {
        Self { start: start as u32, end: end as u32 }
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.start >= self.end
    }

    pub(crate) fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.start as usize..self.end as usize).unwrap_or_default()
    }

    const fn shifted(self, by: usize) -> Self {
        if self.is_empty() { self } else { Self::new(self.start as usize + by, self.end as usize + by) }
    }
}

impl Spans {
    /// Forgets the line before.
    pub(super) fn clear(&mut self, layout: &Layout) {
        self.places.clear();
        self.places.resize(layout.len(), Span::default());
        (self.time, self.date) = (Span::default(), Span::default());
    }

    /// Sets the place of a field. `-` stands for a field that is missing, and the first of several counts.
    pub(super) fn set(&mut self, line: &[u8], place: usize, span: Span) {
        if span.of(line) == b"-" {
            return;
        }
        match place {
            Layout::TIME => self.time = span,
            Layout::DATE => self.date = span,
            Layout::REQUEST => self.set_request(line, span),
            _ => {
                if let Some(slot) = self.places.get_mut(place).filter(|slot| slot.is_empty()) {
                    *slot = span;
                }
            }
        }
    }

    /// Splits a request line. HTTP/0.9 has no version behind the target.
    fn set_request(&mut self, line: &[u8], span: Span) {
        let text = span.of(line);
        let Some(first) = memchr::memchr(b' ', text) else { return };
        let last = memchr::memrchr(b' ', text).filter(|last| *last > first && text[*last..].starts_with(b" HTTP/"));
        let (start, end) = (span.start as usize, last.unwrap_or(text.len()));
        self.set(line, Layout::METHOD, Span::new(start, start + first));
        self.set(line, Layout::TARGET, Span::new(start + first + 1, start + end));
    }

    pub(super) fn is_set(&self, place: usize) -> bool {
        self.places.get(place).is_some_and(|span| !span.is_empty())
    }

    /// Reads the time of the line.
    pub(super) fn moment(&self, line: &[u8]) -> Option<Moment> {
        Moment::parse(self.date.of(line), self.time.of(line))
    }

    /// Makes a record of the line, which begins there in its chunk.
    pub(super) fn record(&self, time: i64, chunk: &Bytes, line_at: usize) -> Record {
        let spans = self.places.iter().map(|span| span.shifted(line_at)).collect();
        Record { time, chunk: chunk.clone(), spans }
    }
}

impl Record {
    fn span(&self, place: usize) -> Span {
        self.spans.get(place).copied().unwrap_or_default()
    }

    /// Returns a field as it is in the line; nothing if it is missing.
    pub(crate) fn raw(&self, place: usize) -> &[u8] {
        self.span(place).of(&self.chunk)
    }

    /// Returns a field that can be kept, without a copy.
    pub(crate) fn shared(&self, place: usize) -> Bytes {
        let span = self.span(place);
        if span.is_empty() { Bytes::new() } else { self.chunk.slice(span.start as usize..span.end as usize) }
    }

    pub(crate) fn has(&self, place: usize) -> bool {
        !self.span(place).is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(line: &str) -> (String, String) {
        let (layout, mut spans) = (Layout::default(), Spans::default());
        spans.clear(&layout);
        spans.set(line.as_bytes(), Layout::REQUEST, Span::new(0, line.len()));
        let record = spans.record(0, &Bytes::from(format!("before {line}")), 7);
        let text = |place| String::from_utf8(record.raw(place).to_vec()).unwrap();
        (text(Layout::METHOD), text(Layout::TARGET))
    }

    #[test]
    fn a_request_line_is_a_method_and_a_target() {
        let split = |method: &str, target: &str| (method.to_owned(), target.to_owned());
        assert_eq!(request("GET /x?y=1 HTTP/1.1"), split("GET", "/x?y=1"));
        assert_eq!(request("GET /x"), split("GET", "/x"));
        assert_eq!(request("GET /a b HTTP/1.0"), split("GET", "/a b"));
        assert_eq!(request("-"), split("", ""));
        assert_eq!(request("garbage"), split("", ""));
    }
}
