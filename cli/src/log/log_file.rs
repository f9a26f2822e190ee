//! A log: a file as requests in the order of their times.

use std::{io, path::Path};

use crate::{
    failure::Failure,
    log::{Escape, Format, Input, Layout, Lines, Moment, Progress, Record, Reorder, Spans, format::Line, lines::Found},
};

/// The lines that are shown of those that cannot be read.
const MOST_SHOWN: usize = 10;
const MOST_BYTES_SHOWN: usize = 120;

/// A log.
pub(crate) struct LogFile {
    lines: Lines,
    format: Format,
    reorder: Reorder,
    spans: Spans,
    is_at_end: bool,
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
        layout: &mut Layout,
        progress: &Progress,
    ) -> Result<Self, Failure> {
        let mut lines = Lines::new(Input::open(path, progress)?);
        let format = match format {
            Some(format) => format.clone(),
            None => detected(&mut lines, layout).map_err(|error| Failure::io(path, &error))?.ok_or_else(|| {
                Failure::new(format!("{}: its lines look like no known format: say --format", path.display()))
            })?,
        };
        Ok(Self { lines, format, reorder: Reorder::default(), spans: Spans::default(), is_at_end: false })
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
            self.read_line(layout, seen).map_err(|error| Failure::io(Path::new(self.lines.name()), &error))?;
        }
    }

    fn read_line(&mut self, layout: &mut Layout, seen: &mut UnreadableLines) -> io::Result<()> {
        let Some(found) = self.lines.next()? else {
            self.is_at_end = true;
            return Ok(());
        };
        seen.lines += 1;
        let Found::Line(range) = found else {
            seen.add(&self.lines, "it is longer than 256 KiB", b"");
            return Ok(());
        };
        let chunk = self.lines.chunk();
        let line = &chunk[range.clone()];
        match self.format.read(line, layout, &mut self.spans) {
            Ok(Line::Request(Moment { millis, is_fine })) => {
                seen.is_coarse |= !is_fine;
                self.reorder.push(self.spans.record(millis, chunk, range.start));
            }
            Ok(Line::Other) => {}
            Err(reason) => seen.add(&self.lines, reason, line),
        }
        Ok(())
    }
}

impl UnreadableLines {
    #[cold]
    fn add(&mut self, lines: &Lines, reason: &'static str, line: &[u8]) {
        self.unreadable += 1;
        if self.shown.len() < MOST_SHOWN {
            let cut = &line[..line.len().min(MOST_BYTES_SHOWN)];
            let mut text = String::from_utf8_lossy(cut).escape_debug().to_string();
            text.push_str(if cut.len() < line.len() { "..." } else { "" });
            self.shown.push(Unreadable { file: lines.name().to_owned(), line: lines.number(), reason, text });
        }
    }
}

/// Finds the format by the first lines. A file without any has no lines of another format.
fn detected(lines: &mut Lines, layout: &mut Layout) -> io::Result<Option<Format>> {
    let preview = lines.preview()?;
    if preview.iter().all(|line| line.trim_ascii().is_empty()) {
        return Ok(Format::detect(&[b"{}"], layout));
    }
    Ok(Format::detect(&preview, layout))
}
