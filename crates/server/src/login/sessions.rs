//! How many sessions each account has, and when it last logged in: limits on both. `access` asks at each login.

use crate::limits::adjustable::{Adjustable, Limit};
use parking_lot::{Mutex, MutexGuard};
use posta_mail::Timestamp;
use posta_store::AccountId;
use std::{collections::HashMap, sync::Arc, time::Duration};

/// The most accounts remembered; beyond it, those without a session are forgotten.
const REMEMBERED: usize = 100_000;

/// Counts the sessions of accounts.
#[derive(Debug)]
pub struct AccountSessions {
    /// The most sessions that an account may have at once.
    pub(crate) limit: Limit,
    /// The least time between two logins (LOGIN-DELAY, RFC 2449 §6.6).
    pub(crate) delay: Adjustable<Duration>,
    accounts: Mutex<HashMap<AccountId, Seen>>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    sessions: u32,
    last: Option<Timestamp>,
}

/// Why an account may not have another session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// It has as many sessions as it may have.
    TooMany,
    /// Its last login was too recent.
    TooSoon,
}

/// A session that is counted until this is dropped.
#[derive(Debug)]
pub struct Present {
    presence: Arc<AccountSessions>,
    account: AccountId,
}

impl AccountSessions {
    /// Allows each account `limit` sessions at once, 0 for any number, and one login in each `delay`.
    #[must_use]
    pub fn new(limit: u32, delay: Duration) -> Self {
        let (limit, delay) = (Limit::new(limit), Adjustable::new(delay));
        Self { limit, delay, accounts: Mutex::default() }
    }

    /// Counts a new session of an account.
    ///
    /// # Errors
    /// Fails when the account may not have another one now.
    pub fn enter(self: &Arc<Self>, account: AccountId, now: Timestamp) -> Result<Present, Refused> {
        let mut accounts = self.lock();
        if accounts.len() >= REMEMBERED {
            accounts.retain(|_, seen| seen.sessions > 0);
        }
        let seen = accounts.entry(account).or_default();
        if self.limit.get().is_some_and(|limit| seen.sessions >= limit) {
            return Err(Refused::TooMany);
        }
        // Two logins at the same moment may arrive here in reverse order, which must not count without a delay.
        let delay = *self.delay.get();
        let is_soon = |last| delay > Duration::ZERO && now < last + delay;
        if seen.last.is_some_and(is_soon) {
            return Err(Refused::TooSoon);
        }
        *seen = Seen { sessions: seen.sessions + 1, last: Some(now) };
        Ok(Present { presence: self.clone(), account })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AccountId, Seen>> {
        self.accounts.lock()
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        if let Some(seen) = self.presence.lock().get_mut(&self.account) {
            seen.sessions = seen.sessions.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_counted_and_logins_spaced() {
        let (ana, bob) = (AccountId(1), AccountId(2));
        let at = |second| Timestamp::from_second(second).unwrap();
        let presence = Arc::new(AccountSessions::new(2, Duration::from_secs(60)));
        let first = presence.enter(ana, at(0)).unwrap();
        assert_eq!(presence.enter(ana, at(59)).unwrap_err(), Refused::TooSoon);
        let _second = presence.enter(ana, at(60)).unwrap();
        assert_eq!(presence.enter(ana, at(120)).unwrap_err(), Refused::TooMany);
        assert!(presence.enter(bob, at(60)).is_ok());
        drop(first);
        assert!(presence.enter(ana, at(120)).is_ok());
        let presence = Arc::new(AccountSessions::new(0, Duration::ZERO));
        let _later = presence.enter(ana, at(60)).unwrap();
        assert!(presence.enter(ana, at(59)).is_ok(), "the one that was slower on its way");
    }
}
