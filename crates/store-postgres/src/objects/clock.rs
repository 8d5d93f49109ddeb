//! The clock by which requests are signed.
//!
//! An object store refuses signatures that are 15 minutes off. A node whose clock is wrong works on all the same: it signs by
//! the store's clock then, which stands in each answer.

use jiff::{SignedDuration, Timestamp, fmt::rfc2822::DateTimeParser};
use std::sync::atomic::{AtomicI64, Ordering};

/// The difference from which on a refusal may be due to the clock.
const OFF: SignedDuration = SignedDuration::from_mins(5);

/// The seconds by which the store's clock is ahead of this machine's; 0 until they are known to matter.
#[derive(Debug, Default)]
pub(super) struct SigningClock(AtomicI64);

impl SigningClock {
    /// Returns the time for a signature.
    pub(super) fn now(&self) -> Timestamp {
        now() + SignedDuration::from_secs(self.0.load(Ordering::Relaxed))
    }

    /// Takes the time of an answer that refused a signature of this time. Returns whether another may be taken, by the
    /// store's clock.
    pub(super) fn learn(&self, answered: Option<Timestamp>, signed: Timestamp) -> bool {
        let Some(answered) = answered else { return false };
        if answered.duration_since(signed).abs() < OFF {
            return false;
        }
        let ahead = answered.duration_since(now()).as_secs();
        self.0.store(ahead, Ordering::Relaxed);
        tracing::warn!(
            seconds_ahead = ahead,
            "the clock of the object store differs from this machine's: see whether it is synchronised (NTP)"
        );
        true
    }
}

/// Reads the field Date of an answer.
pub(super) fn date(field: &str) -> Option<Timestamp> {
    DateTimeParser::new().parse_timestamp(field).ok()
}

/// Returns the time, which each signature has. The clock of the server is not at hand in a store.
#[expect(clippy::disallowed_methods, reason = "the object store compares it with its own")]
fn now() -> Timestamp {
    Timestamp::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_follow_the_clock_of_a_store_that_refuses_them() {
        let clock = SigningClock::default();
        let signed = clock.now();
        assert!(!clock.learn(None, signed) && !clock.learn(Some(signed), signed));
        let later = signed + SignedDuration::from_hours(1);
        assert!(clock.learn(Some(later), signed));
        assert!(clock.now().duration_since(later).abs() < SignedDuration::from_secs(60));
        assert!(!clock.learn(Some(later), clock.now()), "it was signed by the right clock");
        let told = date("Mon, 30 Nov 2026 16:41:43 GMT").unwrap();
        assert_eq!(told.to_string(), "2026-11-30T16:41:43Z");
        assert_eq!(date("yesterday"), None);
    }
}
