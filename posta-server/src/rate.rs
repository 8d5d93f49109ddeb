//! How much an account may send, so that a stolen password does not make the server a spammer's.

use posta_mail::Timestamp;
use posta_store::AccountId;
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

/// Seconds over which messages are counted.
const HOUR: i64 = 60 * 60;

/// Counts what accounts send.
#[derive(Debug)]
pub struct Rates {
    /// Messages an hour; none for any number.
    limit: Option<u32>,
    /// The hour, and the messages in it so far.
    counts: Mutex<(i64, HashMap<AccountId, u32>)>,
}

impl Rates {
    /// Allows each account so many messages an hour; 0 for any number.
    #[must_use]
    pub fn new(limit: u32) -> Self {
        Self { limit: Some(limit).filter(|&limit| limit > 0), counts: Mutex::default() }
    }

    /// Counts a message.
    ///
    /// # Errors
    /// The limit, when it is reached.
    pub fn count(&self, account: AccountId, now: Timestamp) -> Result<(), u32> {
        let Some(limit) = self.limit else { return Ok(()) };
        let hour = now.as_second() / HOUR;
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.0 != hour {
            *counts = (hour, HashMap::new());
        }
        let count = counts.1.entry(account).or_default();
        if *count >= limit {
            return Err(limit);
        }
        *count += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_sends_so_many_an_hour() {
        let rates = Rates::new(2);
        let at = |second| Timestamp::from_second(second).unwrap();
        let (ana, bob) = (AccountId(1), AccountId(2));
        assert_eq!(rates.count(ana, at(0)), Ok(()));
        assert_eq!(rates.count(ana, at(10)), Ok(()));
        assert_eq!(rates.count(ana, at(20)), Err(2));
        assert_eq!(rates.count(bob, at(20)), Ok(()));
        assert_eq!(rates.count(ana, at(HOUR)), Ok(()), "the next hour");
        let any = Rates::new(0);
        assert!((0..10_000).all(|_| any.count(ana, at(0)).is_ok()));
    }
}
