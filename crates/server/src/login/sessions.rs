//! Who is logged in to a mailbox, and when somebody last was.

use crate::limits::adjustable::{Adjustable, Limit};
use parking_lot::{Mutex, MutexGuard};
use posta_mail::Timestamp;
use posta_store::AccountId;
use std::{collections::HashMap, sync::Arc, time::Duration};

/// Accounts remembered, beyond which those without a session are forgotten.
const REMEMBERED: usize = 100_000;

/// Counts the sessions of accounts.
#[derive(Debug)]
pub struct Presence {
    /// Sessions that an account may have at once.
    pub(crate) limit: Limit,
    /// How long must pass between two logins (RFC 2449 §6.6).
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
    /// It has enough.
    TooMany,
    /// The last login is too short ago.
    TooSoon,
}

/// A session, until it is dropped.
#[derive(Debug)]
pub struct Present {
    presence: Arc<Presence>,
    account: AccountId,
}

impl Presence {
    /// Allows each account so many sessions, 0 for any number, and a login once in so much time.
    #[must_use]
    pub fn new(limit: u32, delay: Duration) -> Self {
        let (limit, delay) = (Limit::new(limit), Adjustable::new(delay));
        Self { limit, delay, accounts: Mutex::default() }
    }

    /// Counts a session in.
    ///
    /// # Errors
    /// When the account may not have it.
    pub fn enter(self: &Arc<Self>, account: AccountId, now: Timestamp) -> Result<Present, Refused> {
        let mut accounts = self.lock();
        if accounts.len() >= REMEMBERED {
            accounts.retain(|_, seen| seen.sessions > 0);
        }
        let seen = accounts.entry(account).or_default();
        if self.limit.get().is_some_and(|limit| seen.sessions >= limit) {
            return Err(Refused::TooMany);
        }
        // Two logins at once may come here in the other order: without a delay that is nothing.
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
        let presence = Arc::new(Presence::new(2, Duration::from_secs(60)));
        let first = presence.enter(ana, at(0)).unwrap();
        assert_eq!(presence.enter(ana, at(59)).unwrap_err(), Refused::TooSoon);
        let _second = presence.enter(ana, at(60)).unwrap();
        assert_eq!(presence.enter(ana, at(120)).unwrap_err(), Refused::TooMany);
        assert!(presence.enter(bob, at(60)).is_ok());
        drop(first);
        assert!(presence.enter(ana, at(120)).is_ok());
        let presence = Arc::new(Presence::new(0, Duration::ZERO));
        let _later = presence.enter(ana, at(60)).unwrap();
        assert!(presence.enter(ana, at(59)).is_ok(), "the one that was slower on its way");
    }
}
