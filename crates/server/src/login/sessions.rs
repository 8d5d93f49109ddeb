//! The number of sessions of each account, and the time of its last login, with limits on both, for all nodes of the store
//! together. `access` asks at each login.

use crate::limits::adjustable::{Adjustable, Limit};
use posta_mail::Timestamp;
use posta_store::{AccountId, Shared, Tally};
use std::time::Duration;

/// Counts the sessions of accounts.
#[derive(Debug)]
pub struct AccountSessions {
    /// The maximal number of simultaneous sessions of an account.
    pub(crate) limit: Limit,
    /// The minimal time between two logins (LOGIN-DELAY, RFC 2449 §6.6).
    pub(crate) delay: Adjustable<Duration>,
    /// The sessions, by the account's id.
    sessions: Tally,
    /// The logins in the last delay, by the account's id.
    logins: Tally,
}

/// The reason why an account may not have another session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The account already has the maximal number of sessions.
    TooMany,
    /// The last login was too recent.
    TooSoon,
}

/// A session, counted until this value is dropped.
#[derive(Debug)]
pub struct Present {
    sessions: Tally,
    account: String,
}

impl AccountSessions {
    /// Allows each account `limit` simultaneous sessions (0 for any number) and one login in each
    /// `delay`, by what `store` has counted.
    #[must_use]
    pub fn new<S: Shared + ?Sized>(store: &S, limit: u32, delay: Duration) -> Self {
        let (limit, delay) = (Limit::new(limit), Adjustable::new(delay));
        Self { limit, delay, sessions: store.tally("sessions"), logins: store.tally("logins") }
    }

    /// Counts a new session of an account.
    ///
    /// # Errors
    /// When the account may not have another session now.
    pub fn enter(&self, account: AccountId, now: Timestamp) -> Result<Present, Refused> {
        let account = account.0.to_string();
        let limit = self.limit.get().map_or(u64::MAX, u64::from);
        if !self.sessions.add_below(&account, limit, None, now) {
            return Err(Refused::TooMany);
        }
        let present = Present { sessions: self.sessions.clone(), account };
        let delay = *self.delay.get();
        // Without a delay there is no need to remember anything.
        let is_soon = delay > Duration::ZERO
            && !self.logins.add_below(&present.account, 1, Some(now + delay), now);
        if is_soon { Err(Refused::TooSoon) } else { Ok(present) }
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.sessions.take_back(&self.account);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use posta_store::MemoryStore;

    #[test]
    fn sessions_are_counted_and_logins_spaced() {
        let (ana, bob) = (AccountId(1), AccountId(2));
        let at = |second| Timestamp::from_second(second).unwrap();
        let sessions = AccountSessions::new(&MemoryStore::new(), 2, Duration::from_secs(60));
        let first = sessions.enter(ana, at(0)).unwrap();
        assert_eq!(sessions.enter(ana, at(59)).unwrap_err(), Refused::TooSoon);
        let _second = sessions.enter(ana, at(60)).unwrap();
        assert_eq!(sessions.enter(ana, at(120)).unwrap_err(), Refused::TooMany);
        assert!(sessions.enter(bob, at(60)).is_ok());
        drop(first);
        assert!(sessions.enter(ana, at(120)).is_ok());
        let sessions = AccountSessions::new(&MemoryStore::new(), 0, Duration::ZERO);
        let _later = sessions.enter(ana, at(60)).unwrap();
        assert!(sessions.enter(ana, at(59)).is_ok(), "the one that was slower on its way");
    }
}
