//! Logging of failures that repeat, such as having no file descriptors left. Strangers can cause them for as long
//! as they like, and a line for each would fill the disk. So the first is logged, the others are counted, and a
//! summary follows when they are over.

use std::{future::pending, time::Duration};
use tokio::time::{Instant, sleep_until};

/// How long there must be no failure for an outage to be over: descriptors that come and go are one outage.
const QUIET: Duration = Duration::from_secs(30);

/// Repeated failures of one kind.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    current: Option<Current>,
}

/// An outage that lasts.
#[derive(Debug, Clone, Copy)]
struct Current {
    since: Instant,
    last: Instant,
    times: u64,
}

/// The summary of an outage that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) times: u64,
    pub(crate) lasted: Duration,
}

impl Outage {
    /// Counts a failure. Returns whether it begins an outage, and so should be logged.
    pub(crate) fn failed(&mut self) -> bool {
        let now = Instant::now();
        match &mut self.current {
            Some(current) => {
                (current.last, current.times) = (now, current.times + 1);
                false
            }
            None => {
                self.current = Some(Current { since: now, last: now, times: 1 });
                true
            }
        }
    }

    /// Waits until the outage is over; for ever if there is none.
    pub(crate) async fn over(&mut self) -> Summary {
        let Some(current) = self.current else { return pending().await };
        sleep_until(current.last + QUIET).await;
        self.current = None;
        Summary { times: current.times, lasted: current.last - current.since }
    }
}
