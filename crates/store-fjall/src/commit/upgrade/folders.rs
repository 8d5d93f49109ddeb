//! Formats before 8 had no folders: a mailbox was one list, ordered by the numbers that POP3 shows. Here each
//! message gets a UID in the inbox, in that order, and keeps its number and the unique-id that it may have
//! brought along; and its header section is read, once, for the conversation that it belongs to.
//!
//! A message is taken over in one transaction, out of the tables of before into those of now, some at a time. A
//! mark in `meta` stands until all is done, and the new format stands beside it from the beginning: should this
//! be cut off, the next start goes on, and a program of before does not take half a mailbox for a whole one.

use super::progress::ConversionProgress;
use crate::{
    commit::{Committer, folders},
    error::failed,
    tables::{
        batch::Batch,
        key_and_value,
        schema::{
            self, Removed, Schema,
            earlier::{self, EarlierEntry},
        },
    },
};
use fjall::PersistMode;
use posta_mail::{MailId, ThreadId};
use posta_store::{AccountId, Entry, Flags, Folder, FolderId, ModSeq, StoreError, Uid, UniqueId};

/// Octets of a message in which its header section is looked for.
const HEADER_SECTION: u32 = 64 * 1024;

/// The flag of earlier formats: the message was retrieved.
const RETRIEVED: u32 = 1;

/// The UIDs of an inbox, as they are given out.
struct Next {
    account: AccountId,
    uid: u32,
}

impl Committer {
    /// Gives the mailboxes of an earlier format folders.
    pub(super) fn make_folders(&mut self) -> Result<(), StoreError> {
        if !self.begin_to_make_folders()? {
            return Ok(());
        }
        let messages = self.schema.mailbox.approximate_len();
        tracing::warn!(
            "the store is converted to format {}, once: mailboxes are given folders, for which the beginning of each of \
             about {messages} messages is read. An older program does not open it any more: a backup made before is \
             the way back",
            schema::FORMAT
        );
        self.take_entries(usize::MAX)?;
        self.take_removed(usize::MAX)?;
        self.take_retrieved()?;
        self.drop_leftovers()?;
        self.count_inboxes()?;
        let mut batch = Batch::new(&self.schema);
        batch.remove(&self.schema.meta, schema::WITHOUT_FOLDERS);
        self.commit(batch)?;
        tracing::warn!("the store is converted: all mailboxes have folders");
        Ok(())
    }

    /// Notes that mailboxes of an earlier format are without folders. Returns whether they are, still or again.
    fn begin_to_make_folders(&self) -> Result<bool, StoreError> {
        let Some(format) = self.schema.format()? else { return Ok(false) };
        let meta = &self.schema.meta;
        if format >= schema::FOLDERS {
            return meta.contains_key(schema::WITHOUT_FOLDERS).map_err(failed);
        }
        meta.insert(schema::WITHOUT_FOLDERS, []).map_err(failed)?;
        self.schema.database.persist(PersistMode::SyncAll).map_err(failed)?;
        self.schema.is_current()?;
        Ok(true)
    }

    /// Takes over messages that are not removed, so many at most.
    fn take_entries(&mut self, at_most: usize) -> Result<(), StoreError> {
        let (mut batch, mut next) = (Batch::new(&self.schema), None);
        let messages = self.schema.mailbox.approximate_len();
        let mut progress = ConversionProgress::begin("messages that get a folder", messages);
        for guard in self.schema.mailbox.iter().take(at_most) {
            progress.step();
            let (key, value) = key_and_value(guard)?;
            let Some(old) = earlier::decode_entry(&value)? else { continue };
            let was_retrieved = old.flags & RETRIEVED != 0;
            let (account, uid, entry) = self.renamed(&key, old, &mut next, &mut batch)?;
            let new = schema::entry_key(account, FolderId::INBOX, uid);
            batch.insert(&self.schema.entry, new, schema::encode_entry(&entry));
            if was_retrieved {
                batch.insert(&self.schema.mailbox, key, earlier::taken_over(uid));
            } else {
                batch.remove(&self.schema.mailbox, key);
            }
            batch = self.commit_if_full(batch)?;
        }
        self.commit(batch)
    }

    /// Takes over removed messages, so many at most.
    fn take_removed(&mut self, at_most: usize) -> Result<(), StoreError> {
        let (mut batch, mut next) = (Batch::new(&self.schema), None);
        let removed = self.schema.removed.approximate_len();
        let mut progress = ConversionProgress::begin("removed messages that get a folder", removed);
        for guard in self.schema.removed.iter().take(at_most) {
            progress.step();
            let (key, value) = key_and_value(guard)?;
            let earlier::EarlierRemoved { time, purge, entry } = earlier::decode_removed(&value)?;
            let (account, uid, entry) = self.renamed(&key, entry, &mut next, &mut batch)?;
            let new = schema::entry_key(account, FolderId::INBOX, uid);
            // Nobody knew it by this name.
            let removed = Removed { time, purge, mod_seq: ModSeq(0), entry };
            batch.insert(&self.schema.expunged, new, schema::encode_removed(&removed));
            batch.insert(&self.schema.purging, schema::timed_key(purge, &new), []);
            batch.remove(&self.schema.removed, key.clone());
            batch.remove(&self.schema.purge, schema::timed_key(purge, &key));
            batch = self.commit_if_full(batch)?;
        }
        self.commit(batch)
    }

    fn take_retrieved(&mut self) -> Result<(), StoreError> {
        let mut batch = Batch::new(&self.schema);
        for guard in self.schema.retrieved.iter() {
            let timed = guard.key().map_err(failed)?;
            if let Some((time, key)) = timed.split_first_chunk::<8>()
                && let Some(value) = self.schema.mailbox.get(key).map_err(failed)?
            {
                let (account, _) = earlier::decode_key(key)?;
                let uid = earlier::new_uid(&value)?;
                let key = schema::entry_key(account, FolderId::INBOX, uid);
                batch.insert(&self.schema.expiring, [&time[..], &key].concat(), []);
            }
            batch.remove(&self.schema.retrieved, timed);
            batch = self.commit_if_full(batch)?;
        }
        self.commit(batch)
    }

    /// Removes what led from one table of before to another.
    fn drop_leftovers(&mut self) -> Result<(), StoreError> {
        let mut batch = Batch::new(&self.schema);
        let Schema { mailbox, purge, imported, .. } = self.schema.clone();
        for table in [mailbox, purge, imported] {
            for guard in table.iter() {
                batch.remove(&table, guard.key().map_err(failed)?);
                batch = self.commit_if_full(batch)?;
            }
        }
        self.commit(batch)
    }

    /// Writes the records of the inboxes that have messages, so that they need not be counted later.
    fn count_inboxes(&mut self) -> Result<(), StoreError> {
        let mut batch = Batch::new(&self.schema);
        let mut current: Option<(AccountId, Folder)> = None;
        for guard in self.schema.entry.iter() {
            let (key, value) = key_and_value(guard)?;
            let (account, ..) = schema::names_of(&key)?;
            let entry = schema::decode_entry(&key, &value)?;
            if current.as_ref().is_none_or(|(of, _)| *of != account) {
                self.put_inbox(current.take(), &mut batch);
                batch = self.commit_if_full(batch)?;
                let inbox = self.schema.folder(account, FolderId::INBOX)?;
                current = inbox.map(|inbox| (account, Folder { mod_seq: ModSeq(0), ..inbox }));
                if let Some((_, inbox)) = &mut current {
                    (inbox.messages, inbox.octets, inbox.unseen) = (0, 0, 0);
                }
            }
            if let Some((_, inbox)) = &mut current {
                folders::add(inbox, &entry);
            }
        }
        self.put_inbox(current, &mut batch);
        self.commit(batch)
    }

    fn put_inbox(&self, inbox: Option<(AccountId, Folder)>, batch: &mut Batch) {
        let Some((account, inbox)) = inbox else { return };
        let key = schema::folder_key(account, FolderId::INBOX);
        batch.insert(&self.schema.folder, key, schema::encode_folder(&inbox));
    }

    /// Gives a message the next UID of its inbox, and what else it lacks.
    fn renamed(
        &self,
        key: &[u8],
        old: EarlierEntry,
        next: &mut Option<Next>,
        batch: &mut Batch,
    ) -> Result<(AccountId, Uid, Entry), StoreError> {
        let (account, number) = earlier::decode_key(key)?;
        let mut free = match next.take().filter(|next| next.account == account) {
            Some(next) => next,
            None => Next { account, uid: self.free_uid(account)? },
        };
        let uid = Uid(free.uid);
        free.uid += 1;
        *next = Some(free);
        let imported = self.schema.imported.get(key).map_err(failed)?;
        if imported.is_some() {
            batch.remove(&self.schema.imported, key);
        }
        let imported = imported.map(|id| String::from_utf8_lossy(&id).into());
        let thread = self.thread(old.content, &old)?;
        let flags = if old.flags & RETRIEVED != 0 { Flags::RETRIEVED } else { Flags::NONE };
        let entry = Entry {
            folder: FolderId::INBOX,
            uid,
            content: old.content,
            thread,
            octets: old.octets,
            added: old.added,
            head: 0,
            time: old.time,
            flags,
            keywords: Vec::new(),
            created: ModSeq(number),
            mod_seq: ModSeq(number),
            unique_id: UniqueId { number, imported },
            shared: old.shared,
            prefix: old.prefix,
        };
        Ok((account, uid, entry))
    }

    /// Returns the first UID of an inbox that nothing has.
    fn free_uid(&self, account: AccountId) -> Result<u32, StoreError> {
        let key = |uid| schema::entry_key(account, FolderId::INBOX, Uid(uid));
        let mut free = 1;
        for table in [&self.schema.entry, &self.schema.expunged] {
            if let Some(guard) = table.range(key(0)..=key(u32::MAX)).next_back() {
                let (.., uid) = schema::names_of(&guard.key().map_err(failed)?)?;
                free = free.max(uid.0 + 1);
            }
        }
        Ok(free)
    }

    /// Returns the conversation of a message, as its header section tells; one of its own if that cannot be read.
    fn thread(&self, content: MailId, entry: &EarlierEntry) -> Result<ThreadId, StoreError> {
        let alone = ThreadId::alone(content);
        if entry.content_octets() == 0 {
            return Ok(alone);
        }
        let key = schema::content_key(content, 0);
        let Some(place) = self.schema.place(key)? else { return Ok(alone) };
        let beginning = self.contents.segments.beginning(place, key, HEADER_SECTION)?;
        let thread = beginning.and_then(|beginning| ThreadId::of_message(&beginning));
        Ok(thread.unwrap_or(alone))
    }
}

#[cfg(test)]
mod tests {
    use crate::{FjallStore, commit::open::Opener, key_file::KeyFile, log::Segments};
    use posta_store::{
        AccountId, Directory, Mailboxes,
        conformance::{block_on, read},
    };
    use std::{
        fs,
        io::Read,
        path::{Path, PathBuf},
        sync::Arc,
    };

    /// Unpacks the store of format 7 in the tests' directory. Returns where it is.
    fn format_7(directory: &Path) -> PathBuf {
        let archive = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/formats/format-7.gz");
        let mut files = Vec::new();
        let mut archive = flate2::read::GzDecoder::new(fs::File::open(archive).unwrap());
        archive.read_to_end(&mut files).unwrap();
        let mut rest = &files[..];
        while !rest.is_empty() {
            let mut take = |octets: usize| rest.split_off(..octets).unwrap();
            let length = u32::from_be_bytes(take(4).try_into().unwrap());
            let name = str::from_utf8(take(length as usize)).unwrap();
            let length = u64::from_be_bytes(take(8).try_into().unwrap());
            let (path, content) = (directory.join(name), take(length as usize));
            if name.ends_with('/') {
                fs::create_dir_all(path).unwrap();
            } else {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, content).unwrap();
            }
        }
        directory.join("store")
    }

    /// The messages of all accounts, and those that come back when they are brought back.
    fn everything(store: &Path) -> Vec<(String, Vec<u8>)> {
        let store = FjallStore::open(store).unwrap();
        let mut all = Vec::new();
        for account in block_on(store.accounts(None, usize::MAX)).unwrap() {
            block_on(store.undelete(account.id, posta_mail::Timestamp::MIN)).unwrap();
            let maildrop = block_on(store.maildrop(account.id)).unwrap();
            for (index, message) in maildrop.iter().enumerate() {
                let mut unique_id = format!("{} ", account.id.0);
                maildrop.write_unique_id(index, &mut unique_id);
                all.push((unique_id, block_on(read(&store, account.id, message.uid))));
            }
        }
        assert!(block_on(store.maildrop(AccountId(1))).unwrap().len() > 30);
        all
    }

    /// Wherever it is cut off, the next start goes on, and all is as if it had not been.
    #[test]
    fn a_start_goes_on_where_one_was_cut_off() {
        let directory = tempfile::tempdir().unwrap();
        let whole = everything(&format_7(directory.path()));
        for step in 0..6 {
            let directory = tempfile::tempdir().unwrap();
            let store = format_7(directory.path());
            {
                let opener = Opener {
                    piece: 1_000,
                    directory: store.clone(),
                    segments: Arc::new(Segments::open(&store.join("log")).unwrap()),
                    tables: Arc::default(),
                    usages: Arc::default(),
                    views: Arc::default(),
                    visitors: std::sync::Arc::default(),
                    watchers: posta_store::Watchers::default(),
                    meters: Arc::default(),
                    lanes: Arc::default(),
                    keys: Arc::new(KeyFile::new(&store.with_extension("keys"))),
                    set_aside: Arc::default(),
                };
                let schema = opener.open_tables().unwrap();
                let mut committer = opener.replay(&schema).unwrap();
                assert!(committer.begin_to_make_folders().unwrap());
                match step {
                    0 => {}
                    1 => committer.take_entries(25).unwrap(),
                    _ => committer.take_entries(usize::MAX).unwrap(),
                }
                match step {
                    0..=2 => {}
                    3 => committer.take_removed(3).unwrap(),
                    _ => committer.take_removed(usize::MAX).unwrap(),
                }
                if step > 4 {
                    committer.take_retrieved().unwrap();
                }
            }
            assert_eq!(everything(&store), whole, "step {step}");
        }
    }
}
