//! The times of the next attempt for a queue item, of the delay notice, and of giving up. All are pure
//! functions of the time, so that years can be tested in an instant.

use posta_mail::{Timestamp, envelope::Late};
use std::time::Duration;

/// The intervals between delivery attempts, and the time for which they continue.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// The waits after the first attempt, the second and so on; the last one repeats. At least one.
    pub retry: Vec<Duration>,
    /// The time after acceptance at which a message is given up (RFC 5321 §4.5.4.1: 4 to 5 days).
    pub give_up: Duration,
    /// The time after acceptance at which the sender is informed of the delay.
    pub delay_notice: Duration,
}

/// The consequence of an attempt after which recipients still wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextAttempt {
    /// The next attempt is at this time.
    At(Timestamp),
    /// There is no further attempt: the waiting recipients have failed.
    GiveUp,
}

impl Schedule {
    /// Returns what follows the attempt with number `attempts`, at `now`, for a message accepted at
    /// `accepted`.
    #[must_use]
    pub fn after(
        &self,
        attempts: u32,
        accepted: Timestamp,
        deadline: Option<(Timestamp, Late)>,
        now: Timestamp,
    ) -> NextAttempt {
        let until = self.until(accepted, deadline);
        if now >= until {
            return NextAttempt::GiveUp;
        }
        let index = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX);
        let wait = self.retry.get(index).or(self.retry.last());
        let wait = wait.copied().unwrap_or(Duration::from_secs(60 * 60));
        // One attempt coincides with the delay notice, and the last one with the very end of the time.
        let notice = Some(self.notice(accepted, deadline)).filter(|notice| *notice > now);
        NextAttempt::At((now + wait).min(until).min(notice.unwrap_or(until)))
    }

    /// Returns the time until which delivery of a message is attempted.
    #[must_use]
    pub fn until(&self, accepted: Timestamp, deadline: Option<(Timestamp, Late)>) -> Timestamp {
        let until = accepted.checked_add(self.give_up).unwrap_or(Timestamp::MAX);
        match deadline {
            // RFC 2852 §4.1.4: a message past its deadline fails.
            Some((deadline, Late::Return)) => until.min(deadline),
            _ => until,
        }
    }

    /// Returns whether it is time to inform the sender of the delay.
    #[must_use]
    pub fn is_delayed(
        &self,
        accepted: Timestamp,
        deadline: Option<(Timestamp, Late)>,
        now: Timestamp,
    ) -> bool {
        now >= self.notice(accepted, deadline)
    }

    fn notice(&self, accepted: Timestamp, deadline: Option<(Timestamp, Late)>) -> Timestamp {
        let notice = accepted.checked_add(self.delay_notice).unwrap_or(Timestamp::MAX);
        match deadline {
            Some((deadline, Late::Notify)) => notice.min(deadline),
            _ => notice,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule() -> Schedule {
        let minutes = [1, 5, 15, 30, 60, 2 * 60, 4 * 60];
        Schedule {
            retry: minutes.iter().map(|minutes| Duration::from_secs(minutes * 60)).collect(),
            give_up: Duration::from_secs(5 * 24 * 60 * 60),
            delay_notice: Duration::from_secs(4 * 60 * 60),
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn attempts_grow_rarer_until_they_end() {
        let schedule = schedule();
        let (mut now, mut attempts, mut last, mut is_told) = (at(0), 1, 0, false);
        while let NextAttempt::At(next) = schedule.after(attempts, at(0), None, now) {
            assert!(next > now, "time goes on");
            let wait = next.as_second() - now.as_second();
            if next == at(4 * 60 * 60) {
                assert!(schedule.is_delayed(at(0), None, next), "and its sender is told");
                is_told = true;
            } else {
                assert!(wait >= last || next == at(5 * 24 * 60 * 60), "never sooner than before");
                last = wait;
            }
            (now, attempts) = (next, attempts + 1);
        }
        assert!(is_told, "when it was to be told, not hours later");
        assert_eq!(now, at(5 * 24 * 60 * 60), "the last attempt is when the time is over");
        assert!((30..50).contains(&attempts), "{attempts}");
    }

    #[test]
    fn deadlines_end_it_or_are_told() {
        let schedule = schedule();
        let fails = Some((at(90), Late::Return));
        assert_eq!(schedule.after(1, at(0), fails, at(0)), NextAttempt::At(at(60)));
        assert_eq!(schedule.after(2, at(0), fails, at(60)), NextAttempt::At(at(90)));
        assert_eq!(schedule.after(3, at(0), fails, at(90)), NextAttempt::GiveUp);
        let told = Some((at(90), Late::Notify));
        assert!(!schedule.is_delayed(at(0), told, at(89)));
        assert!(schedule.is_delayed(at(0), told, at(90)));
        assert!(!schedule.is_delayed(at(0), fails, at(90)));
        assert!(schedule.is_delayed(at(0), None, at(4 * 60 * 60)));
        assert_eq!(schedule.after(9, at(0), told, at(100)), NextAttempt::At(at(100 + 4 * 60 * 60)));
    }
}
