//! What ends the program, and with which exit code.

use std::{fmt, io, path::Path};

use tower_quota::ConfigError;

/// The end of the program before it has answered: a sentence for the user, and an exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    /// The exit code of mistakes in files.
    pub(crate) const MISTAKE: u8 = 1;
    /// The exit code of findings that are denied.
    pub(crate) const DENIED: u8 = 2;
    /// The exit code of lines that cannot be read, where all have to be.
    pub(crate) const UNREADABLE: u8 = 3;
    /// The exit code of a command line that is none, as in `sysexits.h`.
    pub(crate) const USAGE: u8 = 64;

    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: Self::MISTAKE }
    }

    /// Creates the failure of a command line that asks for what is not possible.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: Self::USAGE }
    }

    /// Creates the failure to read or write a file.
    pub(crate) fn io(path: &Path, error: &io::Error) -> Self {
        Self::new(format!("{}: {error}", path.display()))
    }

    /// Creates the failure of a file with a mistake.
    pub(crate) fn config(path: &str, error: &ConfigError) -> Self {
        Self::new(format!("{path}: {error}"))
    }

    pub(crate) const fn code(&self) -> u8 {
        self.code
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
