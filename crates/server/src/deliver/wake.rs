//! How whoever puts a message in the queue wakes the relay, which otherwise sleeps until something is due.

use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;

/// Tells the relay that there is something to do.
#[derive(Debug, Default)]
pub struct Wake {
    notify: Notify,
    retries: AtomicBool,
}

impl Wake {
    /// The queue has something new.
    pub fn wake(&self) {
        self.notify.notify_one();
    }

    /// Somebody wants what waits to be tried now: who could not be reached may be reached again.
    pub fn retry(&self) {
        self.retries.store(true, Ordering::Relaxed);
        self.wake();
    }

    /// Whether [`Wake::retry`] was called since the last time this was asked.
    pub(crate) fn take_retry(&self) -> bool {
        self.retries.swap(false, Ordering::Relaxed)
    }

    /// Waits until somebody wakes the relay.
    pub(crate) async fn woken(&self) {
        self.notify.notified().await;
    }
}
