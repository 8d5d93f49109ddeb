//! A rate with a burst (a leaky bucket): a number of units at once, and further units with each second.
//! It limits how much strangers can make the server write to the log and the history
//! (`receive/refusals.rs`, `login/login_log.rs`, `login/lockout`).

use posta_mail::Timestamp;

/// The part of a rate that is used up, and the time of that figure. The caller chooses the unit: octets,
/// lines, seconds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Allowance {
    used: u64,
    at: Timestamp,
}

/// A rate, with the burst that it allows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    /// The maximal number of units at once.
    pub(crate) at_once: u64,
    /// The number of units that become available again each second.
    pub(crate) a_second: u64,
}

impl Allowance {
    /// Uses up `units` if that many are left. Returns whether they were.
    pub(crate) fn take(&mut self, units: u64, rate: Rate, now: Timestamp) -> bool {
        let seconds = (now.as_second() - self.at.as_second()).max(0).unsigned_abs();
        self.used = self.used.saturating_sub(seconds.saturating_mul(rate.a_second));
        self.at = now;
        let used = self.used.saturating_add(units);
        let is_left = used <= rate.at_once;
        if is_left {
            self.used = used;
        }
        is_left
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_is_used_up_comes_back() {
        let (mut allowance, rate) = (Allowance::default(), Rate { at_once: 10, a_second: 2 });
        let now = Timestamp::UNIX_EPOCH;
        assert!(allowance.take(7, rate, now) && !allowance.take(4, rate, now));
        assert!(allowance.take(3, rate, now) && !allowance.take(1, rate, now));
        let later = now + Duration::from_secs(2);
        assert!(!allowance.take(5, rate, later) && allowance.take(4, rate, later));
        // Setting the clock back gives no units.
        assert!(!allowance.take(1, rate, now));
        let later = now + Duration::from_secs(1_000);
        assert!(allowance.take(10, rate, later) && !allowance.take(1, rate, later));
    }
}
