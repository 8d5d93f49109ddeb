//! Logging of repeated failures, for example for lack of file descriptors. Strangers can cause them for
//! as long as they like, and a line for each would fill the disk. Therefore the first one is logged, the
//! others are counted, and a summary follows when they are over. `listen` uses this module.

use std::{future::pending, time::Duration};
use tokio::time::{Instant, sleep_until};

/// The time without a failure after which an outage is over: if descriptors are exhausted from time to
/// time, that is one outage.
const QUIET: Duration = Duration::from_secs(30);

/// Repeated failures of one kind.
#[derive(Debug, Default)]
pub(crate) struct RepeatedFailures {
    outage: Option<Outage>,
}

/// An outage in progress.
#[derive(Debug, Clone, Copy)]
struct Outage {
    since: Instant,
    last: Instant,
    times: u64,
}

/// The summary of a past outage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) times: u64,
    pub(crate) lasted: Duration,
}

impl RepeatedFailures {
    /// Counts a failure. Returns whether it begins an outage, and so should be logged.
    pub(crate) fn record(&mut self) -> bool {
        let now = Instant::now();
        match &mut self.outage {
            Some(current) => {
                (current.last, current.times) = (now, current.times + 1);
                false
            }
            None => {
                self.outage = Some(Outage { since: now, last: now, times: 1 });
                true
            }
        }
    }

    /// Waits until the current outage is over; for ever if there is none.
    pub(crate) async fn over(&mut self) -> Summary {
        let Some(current) = self.outage else { return pending().await };
        sleep_until(current.last + QUIET).await;
        self.outage = None;
        Summary { times: current.times, lasted: current.last - current.since }
    }
}
