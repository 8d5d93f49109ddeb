//! The passwords that were correct a short time ago, so that a mail program that polls every minute does not cost a
//! hash each time.
//!
//! A password is remembered as a keyed hash. The key exists only as long as the process. The hash also covers the
//! stored hash of the password, so it no longer matches after the password has changed.

use aws_lc_rs::{constant_time, hmac};
use parking_lot::Mutex;
use posta_mail::{Secret, Timestamp};
use posta_net::clock::Clock;
use posta_store::AccountId;
use std::{collections::HashMap, sync::Arc, time::Duration};

/// The time for which a correct password is remembered.
pub(super) const REMEMBERED: Duration = Duration::from_secs(10 * 60);

/// The maximal number of accounts whose passwords are remembered; beyond it, all are forgotten.
const REMEMBERED_ACCOUNTS: usize = 100_000;

/// Remembers correct passwords.
pub(super) struct VerifiedPasswords {
    clock: Arc<dyn Clock>,
    key: hmac::Key,
    accounts: Mutex<HashMap<AccountId, Verified>>,
}

/// The keyed hash of a password and of its stored hash.
pub(super) struct PasswordTag(hmac::Tag);

struct Verified {
    tag: PasswordTag,
    until: Timestamp,
}

impl VerifiedPasswords {
    /// Returns an empty memory with a new key.
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let mut octets = [0; 32];
        clock.random(&mut octets);
        let key = hmac::Key::new(hmac::HMAC_SHA256, &octets);
        Self { clock, key, accounts: Mutex::default() }
    }

    /// Returns the tag of a password, given the stored hash that it is checked against.
    pub(super) fn tag(&self, stored: &str, password: &Secret) -> PasswordTag {
        let mut context = hmac::Context::with_key(&self.key);
        // The stored hash contains the salt, which no two accounts share, and no NUL.
        context.update(stored.as_bytes());
        context.update(&[0]);
        context.update(password.expose());
        PasswordTag(context.sign())
    }

    /// Returns whether a password with this tag was correct for the account a short time ago.
    pub(super) fn contains(&self, account: AccountId, tag: &PasswordTag) -> bool {
        let accounts = self.accounts.lock();
        let Some(verified) = accounts.get(&account) else { return false };
        let is_same =
            constant_time::verify_slices_are_equal(verified.tag.0.as_ref(), tag.0.as_ref()).is_ok();
        is_same && self.clock.now() < verified.until
    }

    /// Remembers that a password with this tag was correct.
    pub(super) fn insert(&self, account: AccountId, tag: PasswordTag) {
        let until = self.clock.now() + REMEMBERED;
        let mut accounts = self.accounts.lock();
        if accounts.len() >= REMEMBERED_ACCOUNTS {
            accounts.clear();
        }
        accounts.insert(account, Verified { tag, until });
    }
}
