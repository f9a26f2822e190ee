//! Futures that never wait.

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

/// Polls a future once. MultipleValues libraries are asynchronous for the sake of other stores, and ready at once in memory.
pub(super) fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("a decision in memory waits for nothing"),
    }
}
