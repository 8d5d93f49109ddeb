//! Messages in folders, and their names.

use super::{json, micros, number, short, take, time, to_json, wrong};
use crate::{AccountId, Entry, Flags, FolderId, ModSeq, Rows, StoreError, Uid, UniqueId};
use posta_mail::{MailId, ThreadId, Timestamp};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// The name of an entry, as a key.
fn name(account: AccountId, folder: FolderId, uid: Uid) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&account.0.to_be_bytes());
    key[8..12].copy_from_slice(&folder.0.to_be_bytes());
    key[12..].copy_from_slice(&uid.0.to_be_bytes());
    key
}

fn named(mut key: &[u8], part: &str) -> Result<(AccountId, FolderId, Uid), StoreError> {
    let account = AccountId(number(&mut key, part)?);
    Ok((account, FolderId(short(&mut key, part)?), Uid(short(&mut key, part)?)))
}

/// A removed message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone {
    /// When it was removed.
    pub time: Timestamp,
    /// When it is purged.
    pub purge: Timestamp,
    /// The mod-sequence of its removal; 0 if no client knew its name.
    pub mod_seq: ModSeq,
}

/// A message in a folder, or one that was removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryRecord {
    /// The account.
    pub account: AccountId,
    /// The message.
    pub entry: Entry,
    /// Its removal.
    pub gone: Option<Gone>,
}

#[derive(Serialize, Deserialize)]
struct EntryForm<'a> {
    content: MailId,
    thread: u64,
    octets: u64,
    added: u64,
    head: u32,
    time: i64,
    flags: u32,
    keywords: Vec<String>,
    created: u64,
    mod_seq: u64,
    number: u64,
    imported: Option<String>,
    shared: bool,
    /// A character for each octet.
    prefix: Cow<'a, str>,
    gone: Option<(i64, i64, u64)>,
}

const ENTRIES: &str = "entries";

impl EntryRecord {
    /// Adds the record to rows.
    ///
    /// # Errors
    /// None that a record of a store has.
    pub fn push(&self, rows: &mut Rows) -> Result<(), StoreError> {
        let Self { account, entry, gone } = self;
        let prefix = match str::from_utf8(&entry.prefix) {
            Ok(text) if text.is_ascii() => text.into(),
            _ => entry.prefix.iter().copied().map(char::from).collect::<String>().into(),
        };
        let form = EntryForm {
            content: entry.content,
            thread: entry.thread.0,
            octets: entry.octets,
            added: entry.added,
            head: entry.head,
            time: entry.time.as_microsecond(),
            flags: entry.flags.0,
            keywords: entry.keywords.iter().map(|word| word.as_str().to_owned()).collect(),
            created: entry.created.0,
            mod_seq: entry.mod_seq.0,
            number: entry.unique_id.number,
            imported: entry.unique_id.imported.as_deref().map(str::to_owned),
            shared: entry.shared,
            prefix,
            gone: gone.map(|Gone { time, purge, mod_seq }| {
                (time.as_microsecond(), purge.as_microsecond(), mod_seq.0)
            }),
        };
        rows.push(&name(*account, entry.folder, entry.uid), &to_json(&form)?);
        Ok(())
    }

    /// Reads a row.
    ///
    /// # Errors
    /// When the octets are no such record.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<Self, StoreError> {
        let (account, folder, uid) = named(key, ENTRIES)?;
        let form: EntryForm<'_> = json(value, ENTRIES)?;
        let prefix = form.prefix.chars().map(u8::try_from).collect::<Result<_, _>>();
        let keywords = form.keywords.iter().map(|word| word.parse().map_err(|_| wrong(ENTRIES)));
        let gone = match form.gone {
            Some((removed, purge, mod_seq)) => Some(Gone {
                time: time(removed, ENTRIES)?,
                purge: time(purge, ENTRIES)?,
                mod_seq: ModSeq(mod_seq),
            }),
            None => None,
        };
        let entry = Entry {
            folder,
            uid,
            content: form.content,
            thread: ThreadId(form.thread),
            octets: form.octets,
            added: form.added,
            head: form.head,
            time: time(form.time, ENTRIES)?,
            flags: Flags(form.flags),
            keywords: keywords.collect::<Result<_, _>>()?,
            created: ModSeq(form.created),
            mod_seq: ModSeq(form.mod_seq),
            unique_id: UniqueId { number: form.number, imported: form.imported.map(Into::into) },
            shared: form.shared,
            prefix: prefix.map_err(|_| wrong(ENTRIES))?,
        };
        Ok(Self { account, entry, gone })
    }
}

/// A name that a message had, and its new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MovedRecord {
    /// The account.
    pub account: AccountId,
    /// The old name.
    pub old: (FolderId, Uid),
    /// The mod-sequence at which it vanished.
    pub mod_seq: ModSeq,
    /// When it is forgotten.
    pub purge: Timestamp,
    /// The new name.
    pub new: (FolderId, Uid),
}

impl MovedRecord {
    /// Adds the record to rows.
    pub fn push(&self, rows: &mut Rows) {
        let Self { account, old, mod_seq, purge, new } = self;
        let purge = purge.as_microsecond().to_be_bytes();
        let (folder, uid) = (new.0.0.to_be_bytes(), new.1.0.to_be_bytes());
        let value = [&mod_seq.0.to_be_bytes()[..], &purge, &folder, &uid].concat();
        rows.push(&name(*account, old.0, old.1), &value);
    }

    /// Reads a row.
    ///
    /// # Errors
    /// When the octets are no such record.
    pub fn decode(key: &[u8], mut value: &[u8]) -> Result<Self, StoreError> {
        const PART: &str = "moved-names";
        let (account, folder, uid) = named(key, PART)?;
        let mod_seq = ModSeq(number(&mut value, PART)?);
        let purge = time(micros(take(&mut value, PART)?), PART)?;
        let new = (FolderId(short(&mut value, PART)?), Uid(short(&mut value, PART)?));
        Ok(Self { account, old: (folder, uid), mod_seq, purge, new })
    }
}

/// Adds when a message was retrieved first.
pub fn push_retrieved(
    rows: &mut Rows,
    account: AccountId,
    folder: FolderId,
    uid: Uid,
    time: Timestamp,
) {
    rows.push(&name(account, folder, uid), &time.as_microsecond().to_be_bytes());
}

/// Reads when a message was retrieved first.
///
/// # Errors
/// When the octets are no such record.
pub fn decode_retrieved(
    key: &[u8],
    mut value: &[u8],
) -> Result<(AccountId, FolderId, Uid, Timestamp), StoreError> {
    let (account, folder, uid) = named(key, "retrieved")?;
    let time = time(micros(take(&mut value, "retrieved")?), "retrieved")?;
    Ok((account, folder, uid, time))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever an entry has, it is read as it was written, and its prefix may be any octets.
    #[test]
    fn entries_are_read_as_they_were_written() {
        let at = |second| Timestamp::from_second(second).unwrap();
        for (prefix, imported, is_gone) in
            [(&b"Return-Path: <>\r\n"[..], None, false), (b"\xff\0\xc3\xa9", Some("old"), true)]
        {
            let entry = Entry {
                folder: FolderId(3),
                uid: Uid(5),
                content: MailId::from_bytes([9; 12]),
                thread: ThreadId(u64::MAX),
                octets: 1_000,
                added: 3,
                head: 300,
                time: at(1_700_000_000),
                flags: Flags::SEEN,
                keywords: vec!["$a".parse().unwrap()],
                created: ModSeq(7),
                mod_seq: ModSeq(8),
                unique_id: UniqueId { number: 9, imported: imported.map(Into::into) },
                shared: is_gone,
                prefix: prefix.to_vec(),
            };
            let gone = is_gone.then(|| Gone { time: at(1), purge: at(2), mod_seq: ModSeq(3) });
            let record = EntryRecord { account: AccountId(1), entry, gone };
            let mut rows = Rows::default();
            record.push(&mut rows).unwrap();
            let (key, value) = rows.iter().next().unwrap();
            assert_eq!(EntryRecord::decode(key, value).unwrap(), record);
            assert!(EntryRecord::decode(&key[1..], value).is_err());
            assert!(EntryRecord::decode(key, &value[1..]).is_err());
        }
    }
}
