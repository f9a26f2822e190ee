//! How many clusters there are at a time.

use std::{num::NonZeroUsize, thread};

use parking_lot::{Condvar, Mutex};

static CLUSTERS: Mutex<usize> = Mutex::new(0);
static ONE_LESS: Condvar = Condvar::new();

/// The right to have a cluster, for as long as this lives. A test that wants a second one meanwhile waits for ever.
#[derive(Debug)]
pub(super) struct Turn(());

impl Turn {
    /// Waits until there are fewer clusters than processors. Each has three to six processes, which wait most of the time, and a
    /// node that gets no processor for a second is taken for dead.
    pub(super) fn wait() -> Self {
        let most = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let mut clusters = CLUSTERS.lock();
        ONE_LESS.wait_while(&mut clusters, |clusters| *clusters >= most);
        *clusters += 1;
        Self(())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *CLUSTERS.lock() -= 1;
        ONE_LESS.notify_one();
    }
}
