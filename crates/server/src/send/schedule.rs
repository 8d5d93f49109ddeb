//! When an item of the queue is tried again, and when it is given up: pure, so that years of it can
//! be tested.

use posta_mail::{Timestamp, envelope::Late};
use std::time::Duration;

/// How long, and how often, mail is tried.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// How long to wait after each attempt; the last one repeats. At least one.
    pub retry: Vec<Duration>,
    /// How long after its acceptance a message is given up (RFC 5321 §4.5.4.1: 4 to 5 days).
    pub give_up: Duration,
    /// How long after its acceptance its sender is told that it takes longer.
    pub delay_notice: Duration,
}

/// What comes after an attempt that decided nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// It is tried again then.
    Again(Timestamp),
    /// It has failed.
    GiveUp,
}

impl Schedule {
    /// What comes after so many attempts, at `now`, for a message accepted at `accepted`.
    #[must_use]
    pub fn after(
        &self,
        attempts: u32,
        accepted: Timestamp,
        deadline: Option<(Timestamp, Late)>,
        now: Timestamp,
    ) -> After {
        let until = self.until(accepted, deadline);
        if now >= until {
            return After::GiveUp;
        }
        let index = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX);
        let wait = self.retry.get(index).or(self.retry.last());
        let wait = wait.copied().unwrap_or(Duration::from_secs(60 * 60));
        // One attempt when the sender is to hear that it takes longer, and one last when the time is
        // over, not only some time before.
        let notice = Some(self.notice(accepted, deadline)).filter(|notice| *notice > now);
        After::Again((now + wait).min(until).min(notice.unwrap_or(until)))
    }

    /// Until when a message is tried.
    #[must_use]
    pub fn until(&self, accepted: Timestamp, deadline: Option<(Timestamp, Late)>) -> Timestamp {
        let until = accepted.checked_add(self.give_up).unwrap_or(Timestamp::MAX);
        match deadline {
            // RFC 2852 §4.1.4: a message that is late fails.
            Some((deadline, Late::Return)) => until.min(deadline),
            _ => until,
        }
    }

    /// Whether the sender should hear by now that it takes longer.
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
        while let After::Again(next) = schedule.after(attempts, at(0), None, now) {
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
        assert_eq!(schedule.after(1, at(0), fails, at(0)), After::Again(at(60)));
        assert_eq!(schedule.after(2, at(0), fails, at(60)), After::Again(at(90)));
        assert_eq!(schedule.after(3, at(0), fails, at(90)), After::GiveUp);
        let told = Some((at(90), Late::Notify));
        assert!(!schedule.is_delayed(at(0), told, at(89)));
        assert!(schedule.is_delayed(at(0), told, at(90)));
        assert!(!schedule.is_delayed(at(0), fails, at(90)));
        assert!(schedule.is_delayed(at(0), None, at(4 * 60 * 60)));
        assert_eq!(schedule.after(9, at(0), told, at(100)), After::Again(at(100 + 4 * 60 * 60)));
    }
}
