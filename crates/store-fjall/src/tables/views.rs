//! Maildrops that were opened lately, so that a login does not read the whole mailbox again.
//!
//! What arrives has a greater unique-id than all before it, so a view is brought up to date by
//! reading what is behind its end. Whatever takes messages out of a mailbox, or brings them back,
//! forgets its view.

use super::{
    key_and_value,
    schema::{self, Schema},
};
use crate::error::failed;
use parking_lot::{Mutex, MutexGuard};
use posta_store::{AccountId, Maildrop, StoreError, Summary, Uid};
use std::{collections::HashMap, sync::Arc};

/// Messages in all views; beyond it the memory starts anew.
const MESSAGES: usize = 1_000_000;

#[derive(Debug, Default)]
pub(crate) struct Views(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    views: HashMap<AccountId, Arc<Maildrop>>,
    messages: usize,
    /// Counts what was forgotten: a view that was read meanwhile may be out of date.
    forgotten: u64,
}

impl Views {
    /// A mailbox's maildrop as it is now.
    pub(crate) fn open(
        &self,
        schema: &Schema,
        account: AccountId,
    ) -> Result<Arc<Maildrop>, StoreError> {
        let (known, forgotten) = {
            let known = self.lock();
            (known.views.get(&account).cloned(), known.forgotten)
        };
        let last = known.as_ref().and_then(|view| view.messages.last()).map(|last| last.uid);
        let first = last.map_or(Uid(0), |last| Uid(last.0 + 1));
        let mut arrived = read(schema, account, first)?;
        let view = match known {
            Some(view) if arrived.messages.is_empty() => return Ok(view),
            Some(view) => {
                let mut whole = Maildrop::clone(&view);
                arrived.messages.into_iter().for_each(|message| whole.push(message));
                whole.imported.append(&mut arrived.imported);
                whole
            }
            None => arrived,
        };
        let view = Arc::new(view);
        self.keep(account, view.clone(), forgotten);
        Ok(view)
    }

    /// Whether a mailbox was opened lately.
    pub(crate) fn is_known(&self, account: AccountId) -> bool {
        self.lock().views.contains_key(&account)
    }

    fn keep(&self, account: AccountId, view: Arc<Maildrop>, forgotten: u64) {
        let mut known = self.lock();
        if known.forgotten != forgotten {
            return;
        }
        if known.messages + view.messages.len() > MESSAGES {
            known.views.clear();
            known.messages = 0;
        }
        known.messages += view.messages.len();
        if let Some(old) = known.views.insert(account, view) {
            known.messages -= old.messages.len();
        }
    }

    /// Says that messages left a mailbox, or came back to it.
    pub(crate) fn forget(&self, account: AccountId) {
        let mut known = self.lock();
        known.forgotten += 1;
        if let Some(old) = known.views.remove(&account) {
            known.messages -= old.messages.len();
        }
    }

    /// Forgets all mailboxes.
    pub(crate) fn forget_all(&self) {
        let mut known = self.lock();
        known.forgotten += 1;
        known.views.clear();
        known.messages = 0;
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock()
    }
}

/// The messages of a mailbox from a unique-id on.
fn read(schema: &Schema, account: AccountId, first: Uid) -> Result<Maildrop, StoreError> {
    let range = schema::mailbox_key(account, first)..=schema::mailbox_key(account, Uid(u64::MAX));
    let mut maildrop = Maildrop::default();
    for guard in schema.mailbox.range(range.clone()) {
        let (key, value) = key_and_value(guard)?;
        let uid = schema::uid_of(&key)?;
        maildrop.push(Summary { uid, octets: schema::octets_of(&value)? });
    }
    if maildrop.messages.is_empty() {
        return Ok(maildrop);
    }
    for guard in schema.imported.range(range) {
        let (key, value) = guard.into_inner().map_err(failed)?;
        let uid = schema::uid_of(&key)?;
        // Removed messages keep theirs until they are purged.
        if maildrop.messages.binary_search_by_key(&uid, |message| message.uid).is_ok() {
            maildrop.imported.insert(uid, String::from_utf8_lossy(&value).into_owned());
        }
    }
    Ok(maildrop)
}
