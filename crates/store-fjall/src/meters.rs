//! What the store counts of its own work.

use posta_store::{Histogram, MICROSECONDS, REQUESTS, StoreFigures};
use std::time::Instant;

/// The counts of syncs and groups since the store was opened.
#[derive(Debug)]
pub(crate) struct Meters {
    syncs: Histogram,
    groups: Histogram,
}

impl Default for Meters {
    fn default() -> Self {
        Self { syncs: Histogram::new(MICROSECONDS), groups: Histogram::new(REQUESTS) }
    }
}

impl Meters {
    /// Carries out a sync, and counts the time that it takes.
    #[expect(clippy::disallowed_methods, reason = "what the disk takes is no time of a test's")]
    pub(crate) fn sync<T>(&self, sync: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let done = sync();
        self.syncs.observe(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
        done
    }

    /// Counts a group of requests.
    pub(crate) fn group(&self, requests: usize) {
        self.groups.observe(requests as u64);
    }

    /// Returns the counts so far.
    pub(crate) fn read(&self) -> StoreFigures {
        StoreFigures { syncs: self.syncs.read(), groups: self.groups.read(), objects: None }
    }
}
