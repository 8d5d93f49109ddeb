//! The messages and octets of mailboxes: counted once, then kept up to date with each change.

use parking_lot::{Mutex, MutexGuard};
use posta_store::{AccountId, Usage};
use std::collections::HashMap;

/// The usage of the mailboxes that were asked about. Only the committing thread changes it, while it makes a
/// change; if the commit fails, all usages are forgotten.
#[derive(Debug, Default)]
pub(crate) struct Usages {
    known: Mutex<HashMap<AccountId, Usage>>,
}

impl Usages {
    pub(crate) fn get(&self, account: AccountId) -> Option<Usage> {
        self.lock().get(&account).copied()
    }

    pub(crate) fn set(&self, account: AccountId, usage: Usage) {
        self.lock().insert(account, usage);
    }

    /// Adds a message, if the mailbox is known.
    pub(crate) fn add(&self, account: AccountId, octets: u64) {
        if let Some(usage) = self.lock().get_mut(&account) {
            usage.messages += 1;
            usage.octets += octets;
        }
    }

    /// Subtracts messages, if the mailbox is known.
    pub(crate) fn take(&self, account: AccountId, messages: u64, octets: u64) {
        if let Some(usage) = self.lock().get_mut(&account) {
            usage.messages = usage.messages.saturating_sub(messages);
            usage.octets = usage.octets.saturating_sub(octets);
        }
    }

    /// Forgets all usages, which are counted again when they are asked about.
    pub(crate) fn forget(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AccountId, Usage>> {
        self.known.lock()
    }
}
