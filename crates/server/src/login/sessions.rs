//! The number of sessions of each account, and the time of its last login, with limits on both. `access`
//! asks at each login.

use crate::limits::adjustable::{Adjustable, Limit};
use parking_lot::{Mutex, MutexGuard};
use posta_mail::Timestamp;
use posta_store::AccountId;
use std::{collections::HashMap, sync::Arc, time::Duration};

/// The maximal number of accounts remembered; beyond it, those without a session are forgotten.
const REMEMBERED: usize = 100_000;

/// Counts the sessions of accounts.
#[derive(Debug)]
pub struct AccountSessions {
    /// The maximal number of simultaneous sessions of an account.
    pub(crate) limit: Limit,
    /// The minimal time between two logins (LOGIN-DELAY, RFC 2449 §6.6).
    pub(crate) delay: Adjustable<Duration>,
    accounts: Mutex<HashMap<AccountId, Seen>>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    sessions: u32,
    last: Option<Timestamp>,
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
    sessions: Arc<AccountSessions>,
    account: AccountId,
}

impl AccountSessions {
    /// Allows each account `limit` simultaneous sessions (0 for any number) and one login in each
    /// `delay`.
    #[must_use]
    pub fn new(limit: u32, delay: Duration) -> Self {
        let (limit, delay) = (Limit::new(limit), Adjustable::new(delay));
        Self { limit, delay, accounts: Mutex::default() }
    }

    /// Counts a new session of an account.
    ///
    /// # Errors
    /// When the account may not have another session now.
    pub fn enter(self: &Arc<Self>, account: AccountId, now: Timestamp) -> Result<Present, Refused> {
        let mut accounts = self.lock();
        if accounts.len() >= REMEMBERED {
            accounts.retain(|_, seen| seen.sessions > 0);
        }
        let seen = accounts.entry(account).or_default();
        if self.limit.get().is_some_and(|limit| seen.sessions >= limit) {
            return Err(Refused::TooMany);
        }
        // Two simultaneous logins may arrive here in reverse order, and must be counted even without a
        // delay.
        let delay = *self.delay.get();
        let is_soon = |last| delay > Duration::ZERO && now < last + delay;
        if seen.last.is_some_and(is_soon) {
            return Err(Refused::TooSoon);
        }
        *seen = Seen { sessions: seen.sessions + 1, last: Some(now) };
        Ok(Present { sessions: self.clone(), account })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AccountId, Seen>> {
        self.accounts.lock()
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        if let Some(seen) = self.sessions.lock().get_mut(&self.account) {
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
        let sessions = Arc::new(AccountSessions::new(2, Duration::from_secs(60)));
        let first = sessions.enter(ana, at(0)).unwrap();
        assert_eq!(sessions.enter(ana, at(59)).unwrap_err(), Refused::TooSoon);
        let _second = sessions.enter(ana, at(60)).unwrap();
        assert_eq!(sessions.enter(ana, at(120)).unwrap_err(), Refused::TooMany);
        assert!(sessions.enter(bob, at(60)).is_ok());
        drop(first);
        assert!(sessions.enter(ana, at(120)).is_ok());
        let sessions = Arc::new(AccountSessions::new(0, Duration::ZERO));
        let _later = sessions.enter(ana, at(60)).unwrap();
        assert!(sessions.enter(ana, at(59)).is_ok(), "the one that was slower on its way");
    }
}
