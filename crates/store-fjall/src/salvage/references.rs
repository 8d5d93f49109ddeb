//! Following every reference in the tables that were gathered.

use super::{Checked, LostMessage, gather::Gathered};
use crate::{
    commit::accepted,
    error::failed,
    key_file::{KeyFile, KeyFileError},
    log::Segments,
    tables::{
        key_and_value,
        mailboxes::FolderCounts,
        schema::{self, AccountFolder, Schema},
        secrets,
        table::Table,
    },
};
use posta_mail::{MailId, Timestamp};
use posta_store::{AccountId, Entry, Item, Layout, StoreError};
use std::collections::HashMap;

/// How often the number of messages is told.
const TOLD: u64 = 256;

/// Follows all references. What cannot be kept is noted in the table `dropped`, what refers to contents in `references`.
pub(super) fn follow(
    gathered: &Gathered,
    segments: &Segments,
    keys: &KeyFile,
    checked: &mut Checked,
    told: &mut dyn FnMut(u64),
) -> Result<(), StoreError> {
    let accounts = HashMap::new();
    let mut follower = Follower { gathered, segments, accounts, checked, told };
    follower.accounts()?;
    follower.entries()?;
    follower.removed()?;
    follower.queue()?;
    follower.shown()?;
    follower.secrets(keys)?;
    follower.others()
}

struct Follower<'a> {
    gathered: &'a Gathered,
    segments: &'a Segments,
    /// The addresses of the accounts, also of removed ones.
    accounts: HashMap<AccountId, String>,
    checked: &'a mut Checked,
    told: &'a mut dyn FnMut(u64),
}

impl Follower<'_> {
    fn schema(&self) -> &Schema {
        &self.gathered.schema
    }

    /// Notes that a record cannot be kept.
    fn drop_record(&self, table: &Table, key: &[u8]) -> Result<(), StoreError> {
        self.gathered.dropped.insert(named(table, key), []).map_err(failed)
    }

    fn accounts(&mut self) -> Result<(), StoreError> {
        let table = self.schema().account.clone();
        for guard in table.iter() {
            let (key, value) = key_and_value(guard)?;
            match schema::listed_account(&key, &value) {
                Ok(account) => {
                    self.accounts.insert(account.id, account.address.to_string());
                }
                Err(error) => {
                    let name = String::from_utf8_lossy(&key);
                    self.checked.damage.record(format!("the account {name}: {error}"));
                    self.drop_record(&table, &key)?;
                }
            }
        }
        for removed in self.schema().removed_accounts()? {
            let account = removed.account;
            self.accounts.entry(account.id).or_insert_with(|| account.address.to_string());
        }
        Ok(())
    }

    fn owner(&mut self, id: AccountId) -> String {
        if let Some(address) = self.accounts.get(&id) {
            return address.clone();
        }
        let name = lost_account(id);
        self.checked.damage.record(format!(
            "an account that has messages is missing: a repair brings it back as {name}, without a password"
        ));
        self.accounts.insert(id, name.clone());
        name
    }

    fn entries(&mut self) -> Result<(), StoreError> {
        let table = self.schema().entry.clone();
        let mut counts: Option<(AccountFolder, FolderCounts)> = None;
        for guard in table.iter() {
            let (key, value) = key_and_value(guard)?;
            let (account, folder, _) = schema::names_of(&key)?;
            if counts.as_ref().is_none_or(|(of, _)| *of != (account, folder)) {
                self.compare(counts.take())?;
                let next = self.schema().folder(account, folder)?.map(|folder| folder.uid_next);
                counts = Some(((account, folder), FolderCounts::below(next)));
            }
            match schema::decode_entry(&key, &value) {
                Ok(entry) => {
                    if let Some((_, counts)) = &mut counts {
                        counts.add(&entry);
                    }
                    self.entry(&table, &key, account, None, &entry)?;
                }
                Err(error) => {
                    let owner = self.owner(account);
                    self.checked.damage.record(format!("a message of {owner}: {error}"));
                    self.drop_record(&table, &key)?;
                }
            }
        }
        self.compare(counts)
    }

    /// Compares the counts of a folder with its record.
    fn compare(
        &mut self,
        counted: Option<(AccountFolder, FolderCounts)>,
    ) -> Result<(), StoreError> {
        let Some(((account, id), counts)) = counted else { return Ok(()) };
        let has_record = self.schema().folder.contains_key(schema::folder_key(account, id));
        let is_large = self.schema().removing.iter().next().is_some();
        match self.schema().folder(account, id)? {
            Some(folder) if is_large || !has_record.map_err(failed)? || counts.are_of(&folder) => {}
            Some(folder) => {
                let owner = self.owner(account);
                let name = folder.name;
                self.checked.damage.record(format!("the folder {name} of {owner} counts wrongly"));
            }
            None => {
                let owner = self.owner(account);
                self.checked.damage.record(format!("a folder of {owner} is missing"));
            }
        }
        Ok(())
    }

    fn removed(&mut self) -> Result<(), StoreError> {
        let table = self.schema().expunged.clone();
        for guard in table.iter() {
            let (key, value) = key_and_value(guard)?;
            let (account, ..) = schema::names_of(&key)?;
            match schema::decode_removed(&key, &value) {
                Ok(removed) => {
                    self.entry(&table, &key, account, Some("removed"), &removed.entry)?;
                }
                Err(error) => {
                    self.checked.damage.record(format!("a removed message: {error}"));
                    self.drop_record(&table, &key)?;
                }
            }
        }
        Ok(())
    }

    fn entry(
        &mut self,
        table: &Table,
        key: &[u8],
        account: AccountId,
        folder: Option<&str>,
        entry: &Entry,
    ) -> Result<(), StoreError> {
        self.count();
        if !self.accounts.contains_key(&account) && folder.is_none() {
            self.owner(account);
        }
        if self.is_whole(entry.content, entry.layout())? {
            return self.refer(table, key, entry.content);
        }
        let of = self.accounts.get(&account).cloned().unwrap_or_else(|| lost_account(account));
        let name = || self.schema().folder(account, entry.folder).ok().flatten();
        let folder = folder.map(str::to_owned).or_else(|| name().map(|it| it.name.to_string()));
        let folder = folder.unwrap_or_default();
        let (uid, id, time) = (entry.uid.0, entry.content, entry.time);
        self.checked.damage.message(LostMessage { of, folder, uid, id, time });
        self.drop_record(table, key)
    }

    fn queue(&mut self) -> Result<(), StoreError> {
        let table = self.schema().queue.clone();
        for guard in table.iter() {
            let (key, value) = key_and_value(guard)?;
            self.count();
            let Ok(item) = schema::decode_json::<Item>(&value, "an item of the queue") else {
                self.checked.damage.record("an item of the queue cannot be read".to_owned());
                self.drop_record(&table, &key)?;
                continue;
            };
            if self.is_whole(item.id.content, item.layout())? {
                self.refer(&table, &key, item.id.content)?;
                continue;
            }
            let id = item.id.content;
            let time = accepted(id).unwrap_or(Timestamp::UNIX_EPOCH);
            let of = item.recipients.first().map(|to| to.address.to_string()).unwrap_or_default();
            let folder = "queue".to_owned();
            self.checked.damage.message(LostMessage { of, folder, uid: 0, id, time });
            self.drop_record(&table, &key)?;
        }
        Ok(())
    }

    fn count(&mut self) {
        self.checked.messages += 1;
        if self.checked.messages.is_multiple_of(TOLD) {
            (self.told)(self.checked.messages);
            super::gather::wait_for_memory(self.schema());
        }
    }

    fn refer(&self, table: &Table, key: &[u8], content: MailId) -> Result<(), StoreError> {
        let reference = [&content.to_bytes()[..], &named(table, key)].concat();
        self.gathered.references.insert(reference, []).map_err(failed)
    }

    /// Reads a message wholly. Returns whether all of it is there.
    fn is_whole(&mut self, content: MailId, layout: Layout) -> Result<bool, StoreError> {
        let mut octets = 0;
        for index in layout.pieces() {
            let key = schema::content_key(content, index);
            let Some(place) = self.schema().place(key)? else { return Ok(false) };
            let Some(piece) = self.segments.read(place, key)? else { return Ok(false) };
            octets += piece.len() as u64;
        }
        self.checked.octets += octets;
        Ok(octets == layout.octets())
    }

    /// Compares the numbers of records that share a content with those that there are.
    fn shown(&mut self) -> Result<(), StoreError> {
        let mut seen: Option<(MailId, u64)> = None;
        for guard in self.gathered.references.iter() {
            let key = guard.key().map_err(failed)?;
            let content = schema::content_of(&key)?;
            seen = match seen {
                Some((last, count)) if last == content => Some((last, count + 1)),
                other => {
                    self.compare_shown(other)?;
                    Some((content, 1))
                }
            };
        }
        self.compare_shown(seen)
    }

    fn compare_shown(&mut self, seen: Option<(MailId, u64)>) -> Result<(), StoreError> {
        let Some((content, count)) = seen else { return Ok(()) };
        // Where messages are lost, fewer are left.
        let shown = self.schema().shown(content)?;
        if shown < count || (shown > count && self.checked.damage.messages.is_empty()) {
            let words = format!("message {content} counts {shown} mailboxes, and is in {count}");
            self.checked.damage.record(words);
        }
        Ok(())
    }

    fn secrets(&mut self, keys: &KeyFile) -> Result<(), StoreError> {
        for guard in self.schema().secret.clone().iter() {
            let (key, value) = key_and_value(guard)?;
            let why = match secrets::decode(&value).map(|sealed| keys.unseal(&key, &sealed)) {
                Ok(Ok(_)) => None,
                // Nothing in the store is wrong, and a repair would not help.
                Ok(Err(missing @ KeyFileError::Missing(_))) => {
                    return Err(StoreError::Sealed(missing.to_string()));
                }
                Ok(Err(error)) => Some(error.to_string()),
                Err(error) => Some(error.to_string()),
            };
            if let Some(why) = why {
                let words = format!("{} cannot be opened: {why}", secrets::name_of_key(&key));
                self.checked.damage.record(words);
            }
        }
        Ok(())
    }

    /// Decodes the other records.
    fn others(&mut self) -> Result<(), StoreError> {
        let schema = self.schema().clone();
        for (what, outcome) in [
            ("aliases", schema.aliases().map(drop)),
            ("domains", schema.domain_aliases().map(drop)),
            ("large removals", schema.removals().map(drop)),
        ] {
            if let Err(error) = outcome {
                self.checked.damage.record(format!("{what}: {error}"));
            }
        }
        for guard in schema.history.iter() {
            let (key, value) = key_and_value(guard)?;
            if let Err(error) = schema::decode_event(&key, &value) {
                self.checked.damage.record(format!("the history: {error}"));
                self.drop_record(&schema.history, &key)?;
            }
        }
        Ok(())
    }
}

/// Returns the name of a record in the tables of the salvage: the number of its table, and its key.
pub(super) fn named(table: &Table, key: &[u8]) -> Vec<u8> {
    [&[table.number], key].concat()
}

/// Returns the address under which an account comes back whose record is lost.
pub(super) fn lost_account(id: AccountId) -> String {
    format!("account-{}@lost.invalid", id.0)
}
