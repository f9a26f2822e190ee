//! The files that a file of rules names, and a record of those that were read.

use std::{
    cell::RefCell,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Reads files by the paths that a file of rules names.
#[derive(Clone)]
pub(super) enum Files {
    /// Those of the file system. Relative paths are those of this directory; of the current one if it is empty.
    In(PathBuf),
    /// A function of the program.
    By(Arc<ReadFn>),
}

type ReadFn = dyn Fn(&str) -> io::Result<Vec<u8>> + Send + Sync;

/// A file that was read, and what was found.
pub(super) struct ReadFile {
    files: Files,
    path: String,
    found: Result<Vec<u8>, io::ErrorKind>,
}

/// The record that this thread keeps, which begins empty and gives way to the one before when it is dropped.
struct Record {
    before: Option<Vec<ReadFile>>,
}

thread_local! {
    static RECORDED: RefCell<Option<Vec<ReadFile>>> = const { RefCell::new(None) };
}

/// Returns what `act` returns, and the files that it has read in this thread.
#[cfg_attr(not(feature = "watch"), expect(dead_code, reason = "nothing else asks which files were read"))]
pub(super) fn recorded<T>(act: impl FnOnce() -> T) -> (T, Vec<ReadFile>) {
    let _record = Record { before: RECORDED.replace(Some(Vec::new())) };
    let result = act();
    (result, RECORDED.take().unwrap_or_default())
}

impl Files {
    /// Reads a file, and records that.
    pub(super) fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        let found = self.read_unrecorded(path);
        RECORDED.with_borrow_mut(|recorded| {
            if let Some(recorded) = recorded {
                let found = found.as_ref().map(Vec::clone).map_err(io::Error::kind);
                recorded.push(ReadFile { files: self.clone(), path: path.to_owned(), found });
            }
        });
        found
    }

    fn read_unrecorded(&self, path: &str) -> io::Result<Vec<u8>> {
        match self {
            Self::In(directory) => fs::read(directory.join(path)),
            Self::By(read) => read(path),
        }
    }
}

impl Default for Files {
    fn default() -> Self {
        Self::In(PathBuf::new())
    }
}

#[cfg_attr(not(feature = "watch"), expect(dead_code, reason = "nothing else looks at files again"))]
impl ReadFile {
    /// Returns `true` if the file is as it was.
    pub(super) fn is_unchanged(&self) -> bool {
        let now = self.files.read_unrecorded(&self.path).map_err(|error| error.kind());
        now == self.found
    }

    /// Returns the path in the file system, if the program does not read the file by a function of its own.
    pub(super) fn place(&self) -> Option<PathBuf> {
        match &self.files {
            Files::In(directory) => Some(directory.join(Path::new(&self.path))),
            Files::By(_) => None,
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        RECORDED.replace(self.before.take());
    }
}

#[cfg(all(test, feature = "watch"))]
mod tests {
    use std::panic::catch_unwind;

    use tempfile::tempdir;

    use super::*;

    #[test]
    fn what_is_read_is_recorded_and_compared_later() {
        let folder = tempdir().unwrap();
        let files = Files::In(folder.path().to_owned());
        fs::write(folder.path().join("a"), "one").unwrap();
        let (texts, read) = recorded(|| ["a", "b"].map(|path| files.read(path).ok()));
        assert_eq!(texts, [Some(b"one".to_vec()), None]);
        assert_eq!(read.iter().map(ReadFile::is_unchanged).collect::<Vec<_>>(), [true, true]);
        assert_eq!(read[0].place(), Some(folder.path().join("a")));
        fs::write(folder.path().join("a"), "two").unwrap();
        fs::write(folder.path().join("b"), "").unwrap();
        assert_eq!(read.iter().map(ReadFile::is_unchanged).collect::<Vec<_>>(), [false, false]);
    }

    #[test]
    fn an_absolute_path_is_that_file() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "one").unwrap();
        assert_eq!(Files::In("elsewhere".into()).read(path.to_str().unwrap()).unwrap(), b"one");
    }

    #[test]
    fn a_record_ends_with_what_is_recorded() {
        let files = Files::By(Arc::new(|_| Ok(Vec::new())));
        let (inner, outer) = recorded(|| {
            drop(files.read("outer"));
            recorded(|| drop(files.read("inner"))).1.len()
        });
        assert_eq!((inner, outer.len()), (1, 1));
        assert_eq!(outer[0].place(), None);
        assert!(catch_unwind(|| recorded(|| panic!("no"))).is_err());
        drop(files.read("later"));
        assert!(RECORDED.with_borrow(Option::is_none));
    }
}
