//! What is logged on a thread.

use std::{io, mem, sync::Arc};

use parking_lot::Mutex;
use tracing::{Level, subscriber::DefaultGuard};

/// The lines that a thread logs while somebody listens.
#[derive(Clone, Debug, Default)]
pub struct LogLines(Arc<Mutex<Vec<u8>>>);

impl LogLines {
    /// Listens to what this thread logs at this level, or a more severe one, until the guard is dropped.
    #[must_use]
    pub fn listen(&self, level: Level) -> DefaultGuard {
        let writer = self.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).without_time().with_max_level(level);
        let subscriber = subscriber.with_writer(move || writer.clone()).finish();
        tracing::subscriber::set_default(subscriber)
    }

    /// Returns the lines since the last time. Panics if there is a key in one, which tests call `secret`.
    #[must_use]
    pub fn take(&self) -> Vec<String> {
        let text = String::from_utf8(mem::take(&mut *self.0.lock())).unwrap();
        assert!(!text.contains("secret"), "a key is nobody's business: {text}");
        text.lines().map(|line| line.trim().to_owned()).collect()
    }
}

impl io::Write for LogLines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
