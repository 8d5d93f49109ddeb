//! The unique-ids in use in a mailbox, for whatever brings messages with unique-ids of their own: an import, the move of a
//! mailbox from a POP3 server, a restore.
//!
//! No two messages of a maildrop have the same unique-id (RFC 1939 §7): a mail program would take one for the other, and
//! never collect it. So whoever brings such a message holds the mailbox ([`UniqueIdsInUse::hold`]) from looking which unique-ids
//! are in use until the message is stored. Two imports of one account at the same moment wait for each other, one request
//! at a time.

use aws_lc_rs::digest::{SHA256, digest};
use parking_lot::Mutex;
use posta_store::{AccountId, Store, StoreError};
use std::{
    collections::{HashMap, HashSet},
    fmt::Write as _,
    hash::{BuildHasher as _, RandomState},
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::{
    sync::{Mutex as AsyncMutex, OwnedMutexGuard},
    time::sleep,
};

/// The time after which what is known of a mailbox is forgotten, if nobody holds it any more.
const IDLE: Duration = Duration::from_secs(60);

/// The unique-ids in use, by mailbox.
pub struct UniqueIdsInUse {
    store: Arc<dyn Store>,
    /// Where unique-ids come from, others may choose them: nobody can choose two with one hash.
    hasher: RandomState,
    mailboxes: Mutex<HashMap<AccountId, Mailbox>>,
}

#[derive(Default)]
struct Mailbox {
    known: Arc<AsyncMutex<Known>>,
    /// How often it was held.
    uses: u64,
}

/// The hashes of the unique-ids in a mailbox: all of those that its messages have, and perhaps some of messages that are
/// gone. None before they are read.
#[derive(Default)]
struct Known(Option<HashSet<u64>>);

/// A mailbox that is held. Nobody else brings messages with unique-ids into it.
pub struct HeldMailbox {
    unique_ids: Arc<UniqueIdsInUse>,
    account: AccountId,
    known: OwnedMutexGuard<Known>,
    /// Whether the unique-ids were read since the mailbox is held.
    is_read: bool,
}

impl UniqueIdsInUse {
    /// Returns the unique-ids in a store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self { store, hasher: RandomState::new(), mailboxes: Mutex::default() })
    }

    /// Waits until nobody else holds a mailbox, and holds it.
    pub async fn hold(self: &Arc<Self>, account: AccountId) -> HeldMailbox {
        let (known, is_new) = {
            let mut mailboxes = self.mailboxes.lock();
            let is_new = !mailboxes.contains_key(&account);
            let mailbox = mailboxes.entry(account).or_default();
            mailbox.uses += 1;
            (mailbox.known.clone(), is_new)
        };
        if is_new {
            tokio::spawn(forget_when_idle(Arc::downgrade(self), account));
        }
        let known = known.lock_owned().await;
        HeldMailbox { unique_ids: self.clone(), account, known, is_read: false }
    }

    fn hash(&self, unique_id: &str) -> u64 {
        self.hasher.hash_one(unique_id)
    }

    async fn read(&self, account: AccountId) -> Result<HashSet<u64>, StoreError> {
        let (mut known, mut unique_id) = (HashSet::new(), String::new());
        for folder in self.store.folders(account).await? {
            let listed = self.store.listed(account, folder.id).await?;
            known.reserve(listed.len());
            for index in 0..listed.len() {
                unique_id.clear();
                listed.write_unique_id(index, &mut unique_id);
                known.insert(self.hash(&unique_id));
            }
        }
        Ok(known)
    }
}

/// Forgets a mailbox once it was not held for a while: its unique-ids take memory.
async fn forget_when_idle(all: Weak<UniqueIdsInUse>, account: AccountId) {
    let mut uses = 0;
    loop {
        sleep(IDLE).await;
        let Some(all) = all.upgrade() else { return };
        let mut mailboxes = all.mailboxes.lock();
        let Some(mailbox) = mailboxes.get(&account) else { return };
        if mailbox.uses == uses && Arc::strong_count(&mailbox.known) == 1 {
            mailboxes.remove(&account);
            return;
        }
        uses = mailbox.uses;
    }
}

impl HeldMailbox {
    /// Returns whether no message of the mailbox has a unique-id.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn is_free(&mut self, unique_id: &str) -> Result<bool, StoreError> {
        let hash = self.unique_ids.hash(unique_id);
        if let Some(known) = &self.known.0
            && (self.is_read || !known.contains(&hash))
        {
            return Ok(!known.contains(&hash));
        }
        // A message that had it may be gone by now.
        let read = self.unique_ids.read(self.account).await?;
        let is_free = !read.contains(&hash);
        self.known.0 = Some(read);
        self.is_read = true;
        Ok(is_free)
    }

    /// Returns the unique-id, or one derived from it that no message of the mailbox has, and takes it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn take_one(&mut self, mut unique_id: String) -> Result<String, StoreError> {
        while !self.is_free(&unique_id).await? {
            unique_id = derived(unique_id.as_bytes());
        }
        self.take(&unique_id);
        Ok(unique_id)
    }

    /// Takes a unique-id that is free for a message.
    pub fn take(&mut self, unique_id: &str) {
        let hash = self.unique_ids.hash(unique_id);
        if let Some(known) = &mut self.known.0 {
            known.insert(hash);
        }
    }

    /// Forgets what was taken, since not everything was stored.
    pub fn forget(&mut self) {
        self.known.0 = None;
    }
}

/// Returns a unique-id derived from a name that cannot be one itself, because of its length, spaces,
/// line ends or letters (RFC 1939 §7). The result is always the same, so a message with that name is
/// imported once.
#[must_use]
pub fn derived(name: &[u8]) -> String {
    digest(&SHA256, name).as_ref().iter().fold(String::new(), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use posta_mail::{MailId, ThreadId, Timestamp};
    use posta_store::{
        Acceptance, Credentials, Delivery, Directory as _, Flags, FolderId, Mailboxes as _,
        MemoryStore, Uid,
    };

    /// Puts a message into an account's inbox.
    async fn put(store: &MemoryStore, account: AccountId, number: u64, unique_id: Option<&str>) {
        let id = MailId::new(Timestamp::UNIX_EPOCH, number);
        let delivery = Delivery {
            account,
            folder: FolderId::INBOX,
            prefix: Vec::new(),
            unique_id: unique_id.map(str::to_owned),
            date: None,
            flags: Flags::NONE,
            keywords: Vec::new(),
        };
        let acceptance = Acceptance {
            id,
            time: Timestamp::UNIX_EPOCH,
            head: Vec::new(),
            chunks: 0,
            rest: b"x\r\n".to_vec(),
            added: 0,
            thread: ThreadId::alone(id),
            deliveries: vec![delivery],
            items: Vec::new(),
            events: Vec::new(),
            collected: None,
            reports: Vec::new(),
            records: Vec::new(),
        };
        store.accept(acceptance).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn one_unique_id_is_given_to_one_message() {
        let store = Arc::new(MemoryStore::new());
        let address = "ana@x.test".parse().unwrap();
        let ana = store.add_account(&address, Credentials::default()).await.unwrap();
        put(&store, ana, 1, Some("a")).await;
        put(&store, ana, 2, None).await;
        let unique_ids = UniqueIdsInUse::new(store.clone());
        let mut held = unique_ids.hold(ana).await;
        // One of another message's own making counts, too.
        let maildrop = store.maildrop(ana).await.unwrap();
        let mut made_here = String::new();
        maildrop.write_unique_id(1, &mut made_here);
        assert!(!held.is_free("a").await.unwrap() && !held.is_free(&made_here).await.unwrap());
        assert_eq!(held.take_one("b".to_owned()).await.unwrap(), "b");
        assert_eq!(held.take_one("b".to_owned()).await.unwrap(), derived(b"b"));
        drop(held);
        let mut held = unique_ids.hold(ana).await;
        // What was taken, and not stored, is free again, and so is what is gone.
        let now = Timestamp::UNIX_EPOCH;
        store.remove(ana, FolderId::INBOX, vec![Uid(1)], now, now).await.unwrap();
        assert!(held.is_free("b").await.unwrap() && held.is_free("a").await.unwrap());
        let waiting = tokio::spawn({
            let unique_ids = unique_ids.clone();
            async move { unique_ids.hold(ana).await.is_free("c").await.unwrap() }
        });
        sleep(Duration::from_secs(1)).await;
        assert!(!waiting.is_finished(), "the mailbox is held");
        assert_eq!(held.take_one("c".to_owned()).await.unwrap(), "c");
        put(&store, ana, 3, Some("c")).await;
        drop(held);
        assert!(!waiting.await.unwrap());
        sleep(IDLE * 3).await;
        assert!(unique_ids.mailboxes.lock().is_empty(), "nothing is held for ever");
    }
}
