//! Maildrops that were opened lately, so that a login does not read the whole mailbox again.
//!
//! What comes into an inbox has a greater UID than all before it, so a view is brought up to date by reading what
//! is behind its end. Whatever takes messages out of an inbox forgets its view. The first reading goes over all
//! entries, of which it takes what stands at fixed places in front.

use super::{
    key_and_value,
    schema::{self, Listed, Schema},
};
use parking_lot::{Mutex, MutexGuard};
use posta_store::{AccountId, FolderId, Maildrop, StoreError, Summary, Uid};
use std::{collections::HashMap, sync::Arc};

/// Messages in all views; beyond it the memory starts anew.
const MESSAGES: usize = 1_000_000;

#[derive(Debug, Default)]
pub(crate) struct Views(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    views: HashMap<AccountId, View>,
    messages: usize,
    /// Counts what was forgotten: a view that was read meanwhile may be out of date.
    forgotten: u64,
}

#[derive(Debug, Clone)]
struct View {
    maildrop: Arc<Maildrop>,
    /// The UID behind the last that was read.
    next: Uid,
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
        let mut arrived = Maildrop::default();
        let first = known.as_ref().map_or(Uid(0), |view| view.next);
        let next = read(schema, account, first, &mut arrived)?;
        let mut whole = match known {
            Some(view) if arrived.messages.is_empty() => return Ok(view.maildrop),
            Some(view) => {
                let mut whole = Maildrop::clone(&view.maildrop);
                arrived.messages.into_iter().for_each(|message| whole.push(message));
                whole.imported.append(&mut arrived.imported);
                whole
            }
            None => arrived,
        };
        whole.sort();
        let maildrop = Arc::new(whole);
        self.keep(account, View { maildrop: maildrop.clone(), next }, forgotten);
        Ok(maildrop)
    }

    /// Whether a mailbox was opened lately.
    pub(crate) fn is_known(&self, account: AccountId) -> bool {
        self.lock().views.contains_key(&account)
    }

    fn keep(&self, account: AccountId, view: View, forgotten: u64) {
        let mut known = self.lock();
        if known.forgotten != forgotten {
            return;
        }
        if known.messages + view.maildrop.messages.len() > MESSAGES {
            known.views.clear();
            known.messages = 0;
        }
        known.messages += view.maildrop.messages.len();
        if let Some(old) = known.views.insert(account, view) {
            known.messages -= old.maildrop.messages.len();
        }
    }

    /// Says that messages left a mailbox, or came back to it.
    pub(crate) fn forget(&self, account: AccountId) {
        let mut known = self.lock();
        known.forgotten += 1;
        if let Some(old) = known.views.remove(&account) {
            known.messages -= old.maildrop.messages.len();
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

/// Reads the messages of an inbox from a UID on into a maildrop. Returns the UID behind the last.
fn read(
    schema: &Schema,
    account: AccountId,
    first: Uid,
    maildrop: &mut Maildrop,
) -> Result<Uid, StoreError> {
    let key = |uid| schema::entry_key(account, FolderId::INBOX, uid);
    let mut next = first;
    for guard in schema.entry.range(key(first)..=key(Uid(u32::MAX))) {
        let (key, value) = key_and_value(guard)?;
        let (.., uid) = schema::names_of(&key)?;
        let Listed { octets, number, is_imported } = schema::listed(&value)?;
        maildrop.push(Summary { number, octets, uid });
        if is_imported && let Some(id) = schema::decode_entry(&key, &value)?.unique_id.imported {
            maildrop.imported.insert(uid, id.into());
        }
        next = Uid(uid.0.saturating_add(1));
    }
    Ok(next)
}
