//! Giving something to somebody who may be gone.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use tokio::sync::oneshot::{self, Receiver, Sender};

/// Waits for a value. If whoever waits goes away, a value that has arrived and was not taken is undone.
pub(super) struct Awaited<T, U: FnOnce(T)> {
    value: Receiver<T>,
    undo: Option<U>,
}

impl<T, U: FnOnce(T)> Awaited<T, U> {
    pub(super) fn new(undo: U) -> (Sender<T>, Self) {
        let (give, value) = oneshot::channel();
        (give, Self { value, undo: Some(undo) })
    }
}

impl<T, U: FnOnce(T) + Unpin> Future for Awaited<T, U> {
    /// None if nobody will ever give it.
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let value = std::task::ready!(Pin::new(&mut self.value).poll(context));
        self.undo = None;
        Poll::Ready(value.ok())
    }
}

impl<T, U: FnOnce(T)> Drop for Awaited<T, U> {
    fn drop(&mut self) {
        let Some(undo) = self.undo.take() else { return };
        // From here on whoever gives it is told that nobody is there.
        self.value.close();
        if let Ok(value) = self.value.try_recv() {
            undo(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn a_value_is_taken_or_undone_or_given_back_and_never_two_of_these() {
        let undone = Cell::new(0);
        let (give, awaited) = Awaited::new(|value| undone.set(value));
        give.send(1).unwrap();
        assert_eq!(awaited.await, Some(1));
        assert_eq!(undone.get(), 0, "it was taken");

        let (give, awaited) = Awaited::new(|value| undone.set(value));
        give.send(2).unwrap();
        drop(awaited);
        assert_eq!(undone.get(), 2);

        let (give, awaited) = Awaited::new(|value| undone.set(value));
        drop(awaited);
        assert_eq!(give.send(3), Err(3));
        assert_eq!(undone.get(), 2);

        let (give, awaited) = Awaited::new(|_: i32| ());
        drop(give);
        assert_eq!(awaited.await, None);
    }
}
