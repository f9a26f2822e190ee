//! The bytes of a log, compressed or not.

use std::{
    cell::RefCell,
    fs::File,
    io::{self, BufRead, BufReader, Cursor, Read},
    path::Path,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use flate2::read::MultiGzDecoder;
use ruzstd::decoding::{
    FrameDecoder, StreamingDecoder,
    errors::{FrameDecoderError, ReadFrameHeaderError},
};

use crate::failure::Failure;

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// The rest of the mark of a frame with data for other programs.
const SKIPPABLE: [u8; 3] = [0x2a, 0x4d, 0x18];

/// The bytes that have been read of all files, as they are stored.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress(Arc<AtomicU64>);

/// A file, or the standard input.
pub(crate) struct Input {
    pub(crate) name: String,
    pub(crate) reader: Box<dyn Read>,
}

/// A reader whose bytes are counted.
struct Counted<R> {
    inner: R,
    progress: Progress,
}

/// Frames of Zstandard, one after another.
struct ZstdFrames {
    source: Shared,
    frame: Option<StreamingDecoder<Shared, FrameDecoder>>,
}

/// A reader that the frames of a file take turns with.
#[derive(Clone)]
struct Shared(Rc<RefCell<BufReader<Box<dyn Read>>>>);

impl Progress {
    pub(crate) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Input {
    /// Opens a file; `-` is the standard input. What is compressed is known by its first bytes.
    pub(crate) fn open(path: &Path, progress: &Progress) -> Result<Self, Failure> {
        let in_file = |error: io::Error| Failure::io(path, &error);
        let name = path.display().to_string();
        let reader: Box<dyn Read> = match path.to_str() {
            Some("-") => Box::new(io::stdin()),
            _ => Box::new(File::open(path).map_err(in_file)?),
        };
        Self::from_reader(&name, Counted { inner: reader, progress: progress.clone() }).map_err(in_file)
    }

    /// Reads from anything, as from a file of this name.
    pub(crate) fn from_reader(name: &str, reader: impl Read + 'static) -> io::Result<Self> {
        Ok(Self { name: name.to_owned(), reader: decompressed(reader)? })
    }
}

/// Decompresses what is compressed.
fn decompressed(mut reader: impl Read + 'static) -> io::Result<Box<dyn Read>> {
    let mut first = Vec::new();
    reader.by_ref().take(4).read_to_end(&mut first)?;
    let (is_gzip, is_zstd) = (first.starts_with(&GZIP), first == ZSTD || first.get(1..) == Some(&SKIPPABLE));
    let whole = Cursor::new(first).chain(reader);
    Ok(match () {
        () if is_gzip => Box::new(MultiGzDecoder::new(whole)),
        () if is_zstd => Box::new(ZstdFrames::new(Box::new(whole))),
        () => Box::new(whole),
    })
}

impl ZstdFrames {
    fn new(reader: Box<dyn Read>) -> Self {
        Self { source: Shared(Rc::new(RefCell::new(BufReader::new(reader)))), frame: None }
    }

    /// Begins the next frame. Returns `None` at the end of the file.
    fn next_frame(&self) -> io::Result<Option<StreamingDecoder<Shared, FrameDecoder>>> {
        while !self.source.is_at_end()? {
            match StreamingDecoder::new(self.source.clone()) {
                Ok(frame) => return Ok(Some(frame)),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                    io::copy(&mut self.source.clone().take(length.into()), &mut io::sink())?;
                }
                Err(error) => return Err(io::Error::other(error.to_string())),
            }
        }
        Ok(None)
    }
}

impl Read for ZstdFrames {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.frame.as_mut().map_or(Ok(0), |frame| frame.read(buffer))?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            self.frame = self.next_frame()?;
            if self.frame.is_none() {
                return Ok(0);
            }
        }
    }
}

impl Shared {
    fn is_at_end(&self) -> io::Result<bool> {
        Ok(self.0.borrow_mut().fill_buf()?.is_empty())
    }
}

impl Read for Shared {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.borrow_mut().read(buffer)
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.progress.0.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    fn read(bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        decompressed(Cursor::new(bytes))?.read_to_end(&mut all).map(|_| all)
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(text: &[u8]) -> Vec<u8> {
        compress_to_vec(text, CompressionLevel::Fastest)
    }

    #[test]
    fn files_are_read_as_they_were_before_they_were_compressed() {
        for text in ["", "a", "one\ntwo\n"] {
            assert_eq!(read(text.as_bytes().to_vec()).unwrap(), text.as_bytes());
            assert_eq!(read(gzip(text.as_bytes())).unwrap(), text.as_bytes());
            assert_eq!(read(zstd(text.as_bytes())).unwrap(), text.as_bytes());
        }
    }

    #[test]
    fn files_that_were_joined_are_read_to_the_end() {
        let join = |part: fn(&[u8]) -> Vec<u8>| [part(b"one\n"), part(b"two\n")].concat();
        assert_eq!(read(join(gzip)).unwrap(), b"one\ntwo\n");
        assert_eq!(read(join(zstd)).unwrap(), b"one\ntwo\n");
        let skipped = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3][..], &zstd(b"one\n")].concat();
        assert_eq!(read(skipped).unwrap(), b"one\n");
    }

    #[test]
    fn a_file_that_was_cut_off_is_an_error() {
        let text = "line\n".repeat(1000);
        for whole in [gzip(text.as_bytes()), zstd(text.as_bytes())] {
            assert!(read(whole[..whole.len() - 3].to_vec()).is_err());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..40), mark in 0_usize..4) {
            let mark: &[u8] = [&[][..], &GZIP, &ZSTD, &[0x50, 0x2a, 0x4d, 0x18]][mark];
            let _ = read([mark, &bytes].concat());
        }
    }
}
