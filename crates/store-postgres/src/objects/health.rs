//! Whether the object store is there, and what was counted of its requests.

use super::answers::ObjectFault;
use parking_lot::Mutex;
use posta_store::{Counter, Histogram, MICROSECONDS, ObjectFigures};
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use tokio::time::Instant;

/// The time between two attempts while the object store is away.
const AGAIN: Duration = Duration::from_secs(1);

/// Whether the object store is there.
#[derive(Debug)]
pub(super) struct Health {
    away: Mutex<Option<Away>>,
    counts: ObjectCounts,
    times: Histogram,
}

/// An object store that is away.
#[derive(Debug)]
struct Away {
    last: Instant,
    why: String,
}

/// Numbers of requests that succeeded, by what they did, and of attempts that failed.
#[derive(Debug, Default)]
pub(super) struct ObjectCounts {
    pub(super) put: Counter,
    pub(super) got: Counter,
    pub(super) removed: Counter,
    pub(super) listed: Counter,
    pub(super) failed: Counter,
    pub(super) missing: Gauge,
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub(super) struct Gauge(AtomicU64);

impl Gauge {
    pub(super) fn store(&self, number: u64) {
        self.0.store(number, Ordering::Relaxed);
    }
}

impl Default for Health {
    fn default() -> Self {
        Self {
            away: Mutex::default(),
            counts: ObjectCounts::default(),
            times: Histogram::new(MICROSECONDS),
        }
    }
}

impl Health {
    /// Returns how often a request is tried: once each second while the store is away, and never in between.
    pub(super) fn attempts(&self, usual: u32) -> Result<u32, ObjectFault> {
        match &mut *self.away.lock() {
            None => Ok(usual),
            Some(away) if away.last.elapsed() < AGAIN => Err(ObjectFault::Away(away.why.clone())),
            Some(away) => {
                away.last = Instant::now();
                Ok(1)
            }
        }
    }

    /// Notes that the store answered.
    pub(super) fn is_there(&self, after: Duration) {
        self.times.observe(u64::try_from(after.as_micros()).unwrap_or(u64::MAX));
        if self.away.lock().take().is_some() {
            tracing::info!("the object store is there again");
        }
    }

    /// Notes that the store did not answer, and returns the error.
    pub(super) fn is_away(&self, host: &str, why: &str) -> ObjectFault {
        let why = format!(
            "the object store {host} cannot be used now: {why}; see whether it runs and [store.objects] endpoint is right"
        );
        let before = self.away.lock().replace(Away { last: Instant::now(), why: why.clone() });
        if before.is_none() {
            tracing::warn!("{why}");
        }
        ObjectFault::Away(why)
    }

    pub(super) fn count(&self, count: impl FnOnce(&ObjectCounts)) {
        count(&self.counts);
    }

    pub(super) fn figures(&self) -> ObjectFigures {
        let counts = &self.counts;
        ObjectFigures {
            put: counts.put.get(),
            got: counts.got.get(),
            removed: counts.removed.get(),
            listed: counts.listed.get(),
            failed: counts.failed.get(),
            missing: counts.missing.0.load(Ordering::Relaxed),
            away: self.away.lock().as_ref().map(|away| away.why.clone()),
            times: self.times.read(),
        }
    }
}
