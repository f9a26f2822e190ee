//! The lines of a file, in chunks that are shared by all that is kept of them.

use std::{
    io::{self, Read},
    ops::Range,
};

use bytes::Bytes;

use crate::log::Input;

/// The bytes that are read at once. A longer line is none of a log.
const CHUNK: usize = 256 * 1024;

/// The lines of a file.
pub(crate) struct Lines {
    input: Input,
    chunk: Bytes,
    /// Where the next line begins, and where the last whole line of the chunk ends.
    at: usize,
    end: usize,
    is_at_end: bool,
    /// The chunk goes on with the rest of a line that is too long.
    is_in_long_line: bool,
    number: u64,
}

/// A line of the present chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Line(Range<usize>),
    /// A line that is longer than a chunk.
    TooLong,
}

impl Lines {
    pub(crate) const fn new(input: Input) -> Self {
        let (is_at_end, is_in_long_line) = (false, false);
        Self { input, chunk: Bytes::new(), at: 0, end: 0, is_at_end, is_in_long_line, number: 0 }
    }

    /// Returns the name of the file.
    pub(super) fn name(&self) -> &str {
        &self.input.name
    }

    /// Returns the number of the line that was found last, counted from 1.
    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    pub(super) const fn chunk(&self) -> &Bytes {
        &self.chunk
    }

    /// Returns some of the lines that come next, without reading them.
    pub(super) fn preview(&mut self) -> io::Result<Vec<&[u8]>> {
        if self.at >= self.end {
            self.fill()?;
        }
        Ok(self.chunk[self.at..self.end].split(|byte| *byte == b'\n').take(200).collect())
    }

    /// Finds the next line. Returns `None` at the end of the file.
    #[inline]
    pub(super) fn next(&mut self) -> io::Result<Option<Found>> {
        while self.at >= self.end {
            if self.is_at_end {
                return Ok(None);
            }
            if self.fill()? {
                self.number += 1;
                return Ok(Some(Found::TooLong));
            }
        }
        let rest = &self.chunk[self.at..self.end];
        let length = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        let line = self.at..self.at + length;
        self.at = line.end + 1;
        self.number += 1;
        let is_crlf = self.chunk[line.clone()].ends_with(b"\r");
        Ok(Some(Found::Line(line.start..line.end - usize::from(is_crlf))))
    }

    /// Reads the next chunk, which begins with what was left of the last one. Returns `true` if a line is too long for it.
    fn fill(&mut self) -> io::Result<bool> {
        let left = self.chunk.slice(self.end.min(self.chunk.len())..);
        let mut buffer = Vec::with_capacity(CHUNK);
        buffer.extend_from_slice(&left);
        let room = CHUNK - buffer.len();
        let read = self.input.reader.by_ref().take(room as u64).read_to_end(&mut buffer)?;
        self.is_at_end = read < room;
        let mut start = 0;
        if self.is_in_long_line {
            start = memchr::memchr(b'\n', &buffer).map_or(buffer.len(), |end| end + 1);
            self.is_in_long_line = start == buffer.len() && !self.is_at_end;
        }
        let last = memchr::memrchr(b'\n', &buffer).map(|last| last + 1).filter(|last| *last > start);
        let is_too_long = last.is_none() && start == 0 && !self.is_at_end;
        self.is_in_long_line |= is_too_long;
        self.end = if self.is_at_end || self.is_in_long_line { buffer.len() } else { last.unwrap_or(start) };
        self.at = if self.is_in_long_line { self.end } else { start };
        self.chunk = Bytes::from(buffer);
        Ok(is_too_long)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;

    /// Reads in pieces of a few bytes, as a pipe may give them.
    struct Pipe(Cursor<Vec<u8>>, usize);

    impl Read for Pipe {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = buffer.len().min(self.1);
            self.0.read(&mut buffer[..length])
        }
    }

    fn lines(bytes: &[u8], piece: usize) -> Vec<Option<Vec<u8>>> {
        let reader = Box::new(Pipe(Cursor::new(bytes.to_vec()), piece));
        let mut lines = Lines::new(Input { name: "f".to_owned(), reader });
        let mut found = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            found.push(match line {
                Found::Line(line) => Some(lines.chunk()[line].to_vec()),
                Found::TooLong => None,
            });
        }
        assert_eq!(lines.number(), found.len() as u64);
        found
    }

    #[test]
    fn lines_end_where_they_end() {
        let line = |text: &str| Some(text.as_bytes().to_vec());
        assert_eq!(lines(b"", 9), []);
        assert_eq!(lines(b"a\nb\r\n\nc", 9), [line("a"), line("b"), line(""), line("c")]);
        assert_eq!(lines(b"a\n", 1), [line("a")]);
    }

    #[test]
    fn a_line_that_is_too_long_is_told_and_the_next_one_found() {
        for length in [CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7] {
            let text = format!("first\n{}\nlast\n", "x".repeat(length));
            let found = lines(text.as_bytes(), 1 << 20);
            assert_eq!(
                (found.len(), found[0].as_deref(), found[2].as_deref()),
                (3, Some(&b"first"[..]), Some(&b"last"[..])),
                "{length}"
            );
            assert!(found[1].is_none() || length < CHUNK, "{length}");
        }
        assert_eq!(lines("x".repeat(CHUNK + 5).as_bytes(), 1 << 20), [None]);
    }

    proptest! {
        #[test]
        fn lines_are_those_of_the_text(
            parts in prop::collection::vec(("[a-z]{0,9}", prop::sample::select(vec![1, 2, CHUNK / 3])), 0..12),
            piece in prop::sample::select(vec![7_000, 1 << 20]),
        ) {
            let text: Vec<String> = parts.iter().map(|(part, times)| part.repeat((times / 9).max(1))).collect();
            let expected: Vec<_> = text.iter().map(|line| Some(line.as_bytes().to_vec())).collect();
            prop_assert_eq!(lines(text.iter().map(|line| format!("{line}\n")).collect::<String>().as_bytes(), piece), expected);
        }
    }
}
