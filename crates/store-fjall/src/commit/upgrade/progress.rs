//! How far the conversion of a store is, for the operator who waits for it.

use std::time::{Duration, Instant};

/// The time after which the log first says how far it is: a conversion that takes no longer says nothing.
const FIRST: Duration = Duration::from_secs(2);

/// The time after which it says so again.
const EVERY: Duration = Duration::from_secs(10);

/// Tells how far a part of a conversion is. Nobody has asked for a conversion, and other commands than `posta serve`
/// log warnings only, so these are warnings.
pub(super) struct ConversionProgress {
    /// What is done with what, such as `lines are counted: messages`.
    what: &'static str,
    /// About the number of these things.
    all: u64,
    done: u64,
    since: Instant,
    /// The time since then after which it is told next.
    next: Duration,
}

impl ConversionProgress {
    pub(super) fn begin(what: &'static str, all: usize) -> Self {
        Self { what, all: all as u64, done: 0, since: now(), next: FIRST }
    }

    /// Counts one more.
    pub(super) fn step(&mut self) {
        self.done += 1;
        let passed = self.since.elapsed();
        if passed >= self.next {
            self.next = passed + EVERY;
            tracing::warn!("{}", self.words(passed));
        }
    }

    fn words(&self, passed: Duration) -> String {
        let Self { what, all, done, .. } = self;
        // The number of all is an estimate.
        let ahead = all.saturating_sub(*done);
        let left = u128::from(ahead) * passed.as_millis() / u128::from((*done).max(1));
        let left = match left.div_ceil(1_000) {
            seconds @ 0..100 => format!("{seconds} s"),
            seconds => format!("{} min", seconds.div_ceil(60)),
        };
        format!("the store is converted, {what}: {done} of about {all}, {left} left")
    }
}

/// Returns the time, for estimates.
#[expect(clippy::disallowed_methods, reason = "an estimate for people, of which nothing depends")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_that_is_left_is_told() {
        let words = |done, all, seconds| {
            let progress =
                ConversionProgress { done, ..ConversionProgress::begin("messages", all) };
            progress.words(Duration::from_secs(seconds))
        };
        for (done, all, seconds, expected) in [
            (1_000, 4_000, 2, "messages: 1000 of about 4000, 6 s left"),
            (1, 1_000_000, 2, "messages: 1 of about 1000000, 33334 min left"),
            (500, 400, 9, "messages: 500 of about 400, 0 s left"),
            (0, 400, 9, "messages: 0 of about 400, 60 min left"),
            (40, 100, 80, "messages: 40 of about 100, 2 min left"),
        ] {
            assert_eq!(words(done, all, seconds), format!("the store is converted, {expected}"));
        }
    }
}
