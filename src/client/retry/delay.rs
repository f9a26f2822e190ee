//! Waits between two attempts of a call.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep};

/// Counts the calls of a policy that wait between two attempts.
#[derive(Clone, Debug, Default)]
pub(super) struct DelayCounter(Arc<AtomicUsize>);

/// A counted call. Dropping it takes it off.
#[derive(Debug)]
struct CountGuard(DelayCounter);

pin_project! {
    /// The wait between two attempts of a call.
    #[derive(Debug)]
    pub struct RetryDelay {
        #[pin]
        sleep: Sleep,
        guard: CountGuard,
    }
}

impl DelayCounter {
    pub(super) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Starts a wait, and counts the call until it is over or dropped.
    pub(super) fn delay(&self, wait: Duration) -> RetryDelay {
        self.0.fetch_add(1, Ordering::Relaxed);
        RetryDelay { sleep: sleep(wait), guard: CountGuard(self.clone()) }
    }
}

impl Drop for CountGuard {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Future for RetryDelay {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.project().sleep.poll(cx)
    }
}
