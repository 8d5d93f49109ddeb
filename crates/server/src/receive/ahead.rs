//! Work that goes on while a session does something else.

use std::{
    future::Future,
    task::{Context, Poll, Waker},
};
use tokio::{
    task::JoinHandle,
    time::{Instant, timeout_at},
};

/// Work that has begun. Dropping this ends it.
pub(crate) enum Ahead<T> {
    /// It is done.
    Done(T),
    /// It goes on in a task of its own.
    Running(Task<T>),
}

/// A task that ends with its owner.
pub(crate) struct Task<T>(JoinHandle<T>);

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<T: Send + 'static> Ahead<T> {
    /// Begins work. What needs not wait, as where the resolver remembers all answers, is done at once; only else is
    /// there a task.
    pub(crate) fn begin(work: impl Future<Output = T> + Send + 'static) -> Self {
        let mut work = Box::pin(work);
        match work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(done) => Self::Done(done),
            // Polled again there, which is when it learns whom to wake.
            Poll::Pending => Self::Running(Task(tokio::spawn(work))),
        }
    }

    /// Waits for the end, until a deadline. Returns nothing if the work has not ended by then.
    pub(crate) async fn by(self, deadline: Instant) -> Option<T> {
        match self {
            Self::Done(done) => Some(done),
            // A task fails only by a panic, which the log tells of.
            Self::Running(mut task) => timeout_at(deadline, &mut task.0).await.ok()?.ok(),
        }
    }
}
