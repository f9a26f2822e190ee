//! A log: a file as requests in the order of their times.

use std::path::Path;

use bytes::Bytes;

use crate::{
    failure::Failure,
    log::{Escape, Format, Input, Layout, Lines, Moment, Progress, Record, Reorder, Spans, format::Line, lines::Found},
};

/// The lines that are shown of those that cannot be read.
const MOST_SHOWN: usize = 10;
const MOST_BYTES_SHOWN: usize = 120;
/// How far ahead of all before a line may be without another one that confirms it.
const MOST_AHEAD_MILLIS: i64 = 86_400_000;
const AHEAD: &str = "its time is more than 24 h after that of other lines, and the next line does not confirm it";

/// A log.
pub(crate) struct LogFile {
    lines: Lines,
    format: Format,
    reorder: Reorder,
    spans: Spans,
    /// The latest time of all requests.
    newest: Option<i64>,
    ahead: Option<Ahead>,
    is_at_end: bool,
}

/// A request that lies far ahead of all before. One line with a wrong time would make all behind it late, so a second line has
/// to confirm it. So has the first request of a log.
struct Ahead {
    record: Record,
    /// Where it stands, if it cannot be believed.
    line: u64,
    text: Bytes,
}

/// What was read of all logs, besides requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct UnreadableLines {
    /// The lines, those that cannot be read among them.
    pub(crate) lines: u64,
    pub(crate) unreadable: u64,
    /// The first of these.
    pub(crate) shown: Vec<Unreadable>,
    /// Whether some time is one of whole seconds.
    pub(crate) is_coarse: bool,
}

/// A line that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable {
    pub(crate) file: String,
    pub(crate) line: u64,
    pub(crate) reason: &'static str,
    pub(crate) text: String,
}

impl LogFile {
    /// Opens a log, and finds its format if it is not told.
    pub(crate) fn open(
        path: &Path,
        format: Option<&Format>,
        fields: &[String],
        layout: &mut Layout,
        progress: &Progress,
    ) -> Result<Self, Failure> {
        let mut lines = Lines::new(Input::open(path, progress)?);
        let format = match format {
            Some(format) => format.clone(),
            None => Self::detect(path, &mut lines, fields, layout)?,
        };
        Ok(Self::new(lines, format))
    }

    pub(crate) fn new(lines: Lines, format: Format) -> Self {
        let (reorder, spans, newest, ahead, is_at_end) = (Reorder::default(), Spans::default(), None, None, false);
        Self { lines, format, reorder, spans, newest, ahead, is_at_end }
    }

    /// Finds the format by the first lines. A file without any has no lines of another format.
    pub(crate) fn detect(
        path: &Path,
        lines: &mut Lines,
        fields: &[String],
        layout: &mut Layout,
    ) -> Result<Format, Failure> {
        let preview = lines.preview().map_err(|error| Failure::io(path, &error))?;
        let first = preview.iter().find(|line| !line.trim_ascii().is_empty()).copied();
        let lines_or_none = if first.is_some() { &*preview } else { &[&b"{}"[..]] };
        let format = Format::detect(lines_or_none, fields, layout)?;
        let reason = match &format {
            Some(format) if first.is_none() || format.reads_any(&preview, layout) => None,
            Some(format) => Some(format!("its lines look like {}, and are not", format.name())),
            None => Some("its lines look like no known format".to_owned()),
        };
        match (format, reason) {
            (Some(format), None) => Ok(format),
            (_, reason) => Err(Failure::new(format!(
                "{}: {}: name their format, as in --format nginx='$remote_addr ...'. The first is: {}",
                path.display(),
                reason.unwrap_or_default(),
                shown(first.unwrap_or_default())
            ))),
        }
    }

    pub(crate) const fn format(&self) -> &Format {
        &self.format
    }

    pub(crate) const fn escape(&self) -> Escape {
        self.format.escape()
    }

    /// Returns the next request.
    #[inline]
    pub(crate) fn next(&mut self, layout: &mut Layout, seen: &mut UnreadableLines) -> Result<Option<Record>, Failure> {
        loop {
            if self.is_at_end {
                return Ok(self.reorder.pop_any());
            }
            if let Some(record) = self.reorder.pop() {
                return Ok(Some(record));
            }
            self.read_line(layout, seen)?;
        }
    }

    fn read_line(&mut self, layout: &mut Layout, seen: &mut UnreadableLines) -> Result<(), Failure> {
        let next = self.lines.next();
        let next = next.map_err(|error| Failure::io(Path::new(self.lines.name()), &error))?;
        let Some(found) = next else {
            self.is_at_end = true;
            self.judge_last(seen);
            return Ok(());
        };
        seen.lines += 1;
        let at = (self.lines.name(), self.lines.number());
        let Found::Line(range) = found else {
            seen.add(at, "it is longer than 256 KiB", b"");
            return Ok(());
        };
        let chunk = self.lines.chunk();
        let line = &chunk[range.clone()];
        match self.format.read(line, layout, &mut self.spans) {
            Ok(Line::Request(Moment { millis, is_fine })) => {
                seen.is_coarse |= !is_fine;
                let record = self.spans.record(millis, chunk, range.start);
                let is_ahead = self.newest.is_none_or(|newest| millis > newest.saturating_add(MOST_AHEAD_MILLIS));
                if is_ahead || self.ahead.is_some() {
                    let line = Ahead { record, line: at.1, text: chunk.slice(range) };
                    self.judge(line, seen);
                } else {
                    self.push(record);
                }
            }
            Ok(Line::Other) => {}
            Err(reason) => seen.add(at, reason, line),
        }
        Ok(())
    }

    #[inline]
    fn push(&mut self, record: Record) {
        self.newest = self.newest.max(Some(record.time));
        self.reorder.push(record);
    }

    /// Judges a line that is far ahead, or comes behind one that is.
    #[cold]
    fn judge(&mut self, next: Ahead, seen: &mut UnreadableLines) {
        if let Some(ahead) = self.ahead.take() {
            if next.record.time >= ahead.record.time.saturating_sub(MOST_AHEAD_MILLIS) {
                self.push(ahead.record);
            } else {
                seen.add((self.lines.name(), ahead.line), AHEAD, &ahead.text);
            }
        }
        let newest = self.newest.map(|newest| newest.saturating_add(MOST_AHEAD_MILLIS));
        if newest.is_some_and(|newest| next.record.time <= newest) {
            self.push(next.record);
        } else {
            self.ahead = Some(next);
        }
    }

    /// Judges a line behind which none is any more. The only line of a log is believed.
    fn judge_last(&mut self, seen: &mut UnreadableLines) {
        match self.ahead.take() {
            Some(only) if self.newest.is_none() => self.push(only.record),
            Some(ahead) => seen.add((self.lines.name(), ahead.line), AHEAD, &ahead.text),
            None => {}
        }
    }
}

impl UnreadableLines {
    #[cold]
    fn add(&mut self, (file, number): (&str, u64), reason: &'static str, line: &[u8]) {
        self.unreadable += 1;
        if self.shown.len() < MOST_SHOWN {
            let text = shown(line);
            self.shown.push(Unreadable { file: file.to_owned(), line: number, reason, text });
        }
    }
}

/// Returns the beginning of a line, without what a terminal would not show. Quotes and backslashes are as the log has them.
fn shown(line: &[u8]) -> String {
    let cut = &line[..line.len().min(MOST_BYTES_SHOWN)];
    let mut text = String::new();
    for char in String::from_utf8_lossy(cut).chars() {
        match char {
            '"' | '\'' | '\\' => text.push(char),
            _ => text.extend(char.escape_debug()),
        }
    }
    text + if cut.len() < line.len() { "..." } else { "" }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    /// Reads lines at these times. Returns the times of the requests, and the numbers of the lines that are not believed.
    fn read(times: &[i64]) -> (Vec<i64>, Vec<u64>) {
        let text: String = times.iter().map(|time| format!("{time:011}.000 /x\n")).collect();
        let mut layout = Layout::default();
        let format = Format::parse("nginx=$msec $request_uri", &[], &mut layout).unwrap().unwrap();
        let input = Input { name: "f".to_owned(), reader: Box::new(Cursor::new(text.into_bytes())) };
        let (mut log, mut seen) = (LogFile::new(Lines::new(input), format), UnreadableLines::default());
        let found = std::iter::from_fn(|| log.next(&mut layout, &mut seen).unwrap()).map(|record| record.time / 1000);
        let found = found.collect();
        assert!(seen.shown.iter().all(|line| line.reason == AHEAD));
        (found, seen.shown.iter().map(|line| line.line).collect())
    }

    #[test]
    fn a_line_far_ahead_is_believed_if_the_next_one_confirms_it() {
        let day = 86_400;
        assert_eq!(read(&[10, 11, 9 * day, 12, 13]), (vec![10, 11, 12, 13], vec![3]));
        assert_eq!(read(&[10, 11, 9 * day, 9 * day + 1, 9 * day]).1, [0; 0]);
        assert_eq!(read(&[10, 10 + day, 11 + 2 * day]), (vec![10, 10 + day], vec![3]), "a day is not far");
        assert_eq!(
            read(&[10, 9 * day, 90 * day, 900 * day]),
            (vec![10, 9 * day, 90 * day], vec![4]),
            "it may be quiet"
        );
    }

    #[test]
    fn the_first_line_is_believed_unless_the_next_one_is_long_before_it() {
        let day = 86_400;
        assert_eq!(read(&[9 * day, 10, 11]), (vec![10, 11], vec![1]));
        assert_eq!(read(&[9 * day, 90 * day, 10, 11]), (vec![10, 11, 9 * day], vec![2]));
        assert_eq!(read(&[10]), (vec![10], vec![]));
        assert_eq!(read(&[]), (vec![], vec![]));
    }
}
