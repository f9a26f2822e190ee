//! The property of logs that is fuzzed (`fuzz/`): whatever a log has in it is read as requests, or counted as unreadable.

use std::{
    io::{self, Cursor, Read},
    path::Path,
};

use crate::{
    log::{Format, Input, Layout, Lines, LogFile, UnreadableLines},
    replay::RequestBuilder,
};

/// A few bytes may be the compressed form of many more.
const MOST_BYTES: u64 = 1 << 20;
/// The beginnings of compressed files, or what follows their first byte.
const MARKS: [&[u8]; 3] = [&[0x1f, 0x8b], &[0xb5, 0x2f, 0xfd], &[0x2a, 0x4d, 0x18]];

/// Reads so many bytes at a time, as a pipe may give them.
struct Pieces(Cursor<Vec<u8>>, usize);

/// What is read of a log.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    /// The times and the requests, as far as a server would take them.
    requests: Vec<(i64, Option<String>)>,
    lines: u64,
    unreadable: u64,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len().min(self.1);
        self.0.read(&mut buffer[..length])
    }
}

/// Checks the reading of a log. The input has a format on its first line, the arguments of `--field` on its second, and then
/// the log.
pub(crate) fn check(data: &[u8]) {
    let mut parts = data.splitn(3, |byte| *byte == b'\n');
    let mut text = || String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    let (format, fields) = (text(), text());
    let fields: Vec<String> = fields.split_ascii_whitespace().map(str::to_owned).collect();
    let log = parts.next().unwrap_or_default();
    let whole = read(&format, &fields, log, log.len().max(1));
    assert_eq!(whole, read(&format, &fields, log, 7), "it does not matter how it is read");
    let Some(found) = whole else { return };
    assert!(found.requests.len() as u64 + found.unreadable <= found.lines, "{found:?}");
    let is_compressed = MARKS.iter().any(|mark| log.starts_with(mark) || log.get(1..4) == Some(mark));
    assert!(is_compressed || found.lines <= log.split(|byte| *byte == b'\n').count() as u64, "{found:?}");
}

/// Returns what is found; `None` if the format is none, or that of no line.
fn read(format: &str, fields: &[String], log: &[u8], piece: usize) -> Option<Found> {
    let mut layout = Layout::new(["x-account", "cookie", "x-tower-quota-field-cost-tokens"])
        .with_costs([("x-tower-quota-field-cost-tokens", false)]);
    let mut input = Input::from_reader("log", Pieces(Cursor::new(log.to_vec()), piece)).ok()?;
    input.reader = Box::new(input.reader.take(MOST_BYTES));
    let mut lines = Lines::new(input);
    let format = match Format::parse(format, fields, &mut layout).ok()? {
        Some(format) => format,
        None => LogFile::detect(Path::new("log"), &mut lines, fields, &mut layout).ok()?,
    };
    let (mut log, mut seen) = (LogFile::new(lines, format), UnreadableLines::default());
    let (mut builder, mut requests) = (RequestBuilder::default(), Vec::new());
    // What is cut off or damaged in a compressed log ends it, with an error.
    while let Ok(Some(record)) = log.next(&mut layout, &mut seen) {
        let request = builder.build(&record, &layout, log.escape());
        let shown = request.map(|request| format!("{} {} {:?}", request.method(), request.uri(), request.headers()));
        requests.push((record.time, shown));
    }
    Some(Found { requests, lines: seen.lines, unreadable: seen.unreadable })
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    #[test]
    fn whatever_a_log_has_in_it_is_read_or_counted() {
        let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/fuzz/logs");
        let files: Vec<_> = fs::read_dir(&kept).unwrap().map(|file| file.unwrap().path()).collect();
        assert!(!files.is_empty(), "nothing is kept");
        for file in files {
            // Beside a panic, so that it says which input it is about.
            println!("{}", file.display());
            super::check(&fs::read(&file).unwrap());
        }
    }
}
