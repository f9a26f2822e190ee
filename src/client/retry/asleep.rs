//! Calls between two attempts.

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

/// How many calls of a policy are asleep.
#[derive(Clone, Debug, Default)]
pub(super) struct Asleep(Arc<AtomicUsize>);

/// One of them, as long as this lives.
#[derive(Debug)]
struct Sleeper(Asleep);

pin_project! {
    /// The wait between two attempts of a call.
    #[derive(Debug)]
    pub struct Pause {
        #[pin]
        sleep: Sleep,
        // Whoever drops the wait is no longer asleep.
        sleeper: Sleeper,
    }
}

impl Asleep {
    pub(super) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn pause(&self, wait: Duration) -> Pause {
        self.0.fetch_add(1, Ordering::Relaxed);
        Pause { sleep: sleep(wait), sleeper: Sleeper(self.clone()) }
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Future for Pause {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.project().sleep.poll(cx)
    }
}
