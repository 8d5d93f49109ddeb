//! Trouble that comes again and again, such as having no file descriptors left: a stranger can keep it
//! up for as long as it likes, and a line of the log for each time would fill the disk. So it is told
//! when it begins, then counted, and summed up when it is over.

use std::{future::pending, time::Duration};
use tokio::time::{Instant, sleep_until};

/// How long there must be no trouble for it to be over: descriptors that come and go are one outage.
const QUIET: Duration = Duration::from_secs(30);

/// Trouble of one kind.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    present: Option<Present>,
}

#[derive(Debug, Clone, Copy)]
struct Present {
    since: Instant,
    last: Instant,
    times: u64,
}

/// What there is to say of an outage that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) times: u64,
    pub(crate) lasted: Duration,
}

impl Outage {
    /// Counts a failure. Returns whether it begins an outage, and is to be told.
    pub(crate) fn failed(&mut self) -> bool {
        let now = Instant::now();
        match &mut self.present {
            Some(present) => {
                (present.last, present.times) = (now, present.times + 1);
                false
            }
            None => {
                self.present = Some(Present { since: now, last: now, times: 1 });
                true
            }
        }
    }

    /// Waits until the outage is over; for ever if there is none.
    pub(crate) async fn over(&mut self) -> Summary {
        let Some(present) = self.present else { return pending().await };
        sleep_until(present.last + QUIET).await;
        self.present = None;
        Summary { times: present.times, lasted: present.last - present.since }
    }
}
