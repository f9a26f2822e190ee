//! What can be wrong with a watched file.

use std::{fmt, io, path::Path, sync::Arc};

/// The reason why a file, or its newest text, could not be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct WatchError {
    path: Arc<Path>,
    problem: Problem,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Problem {
    #[error("the file cannot be read: {0}")]
    Unreadable(Box<str>),
    #[error("not a regular file: write the path of one")]
    NotRegular,
    #[error("the file has more than {0} bytes, which is the most that is read")]
    TooLarge(u64),
    #[error("line {0} is not UTF-8: save the file in this encoding")]
    NotUtf8(usize),
    #[error("{0}")]
    Refused(Box<str>),
    #[error("the file cannot be watched: {0}")]
    Unwatchable(Box<str>),
}

impl WatchError {
    /// The system does not let the file be read, mostly because there is none.
    pub(super) fn unreadable(path: &Arc<Path>, error: &io::Error) -> Self {
        Self::new(path, Problem::Unreadable(error.to_string().into()))
    }

    /// There is a directory, a pipe or the like in the place of the file.
    pub(super) fn not_regular(path: &Arc<Path>) -> Self {
        Self::new(path, Problem::NotRegular)
    }

    /// The file is longer than `most` bytes.
    pub(super) fn too_large(path: &Arc<Path>, most: u64) -> Self {
        Self::new(path, Problem::TooLarge(most))
    }

    /// The bytes behind the first `valid` ones are no text.
    pub(super) fn not_utf8(path: &Arc<Path>, bytes: &[u8], valid: usize) -> Self {
        let line = 1 + bytes.iter().take(valid).filter(|byte| **byte == b'\n').count();
        Self::new(path, Problem::NotUtf8(line))
    }

    /// The closure that takes texts did not take this one.
    pub(super) fn refused(path: &Arc<Path>, reason: impl fmt::Display) -> Self {
        Self::new(path, Problem::Refused(reason.to_string().into()))
    }

    /// The system does not tell about changes.
    pub(super) fn unwatchable(path: &Arc<Path>, reason: impl fmt::Display) -> Self {
        Self::new(path, Problem::Unwatchable(reason.to_string().into()))
    }

    fn new(path: &Arc<Path>, problem: Problem) -> Self {
        Self { path: Arc::clone(path), problem }
    }
}
