//! The records of mailboxes: folders, entries, and entries that are gone.
//!
//! An entry begins with the fields that maildrops list, at fixed places. Fields that few entries have follow, as the
//! entry's bits say.

use super::{RECORD_VERSION, Reader, damaged};
use posta_mail::{MailId, ThreadId, Timestamp};
use posta_store::{
    AccountId, Entry, Flags, Folder, FolderId, ModSeq, Role, StoreError, Uid, UniqueId,
};

/// A folder, with its account.
pub(crate) type AccountFolder = (AccountId, FolderId);

/// Account, folder, UID.
pub(crate) type EntryKey = [u8; 16];

/// The id in the key of the record about all folders of an account.
const LEDGER: u32 = u32::MAX;

/// Bits of an entry, by which what follows is known. Others may show its content.
const SHARED: u16 = 1;
/// Its lines add octets.
const ADDED: u16 = 1 << 1;
/// It has a head.
const HEAD: u16 = 1 << 2;
/// Its conversation is not one of its own.
const THREAD: u16 = 1 << 3;
/// Its number is not the time of its acceptance.
const TIME: u16 = 1 << 4;
/// It brought a unique-id along.
const IMPORTED: u16 = 1 << 5;
/// It has flags.
const FLAGS: u16 = 1 << 6;
/// It has keywords.
const KEYWORDS: u16 = 1 << 7;
/// Its number is not the mod-sequence with which it came into its folder.
const CREATED: u16 = 1 << 8;
/// It was changed since then.
const CHANGED: u16 = 1 << 9;

pub(crate) fn entry_key(account: AccountId, folder: FolderId, uid: Uid) -> EntryKey {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&account.0.to_be_bytes());
    key[8..12].copy_from_slice(&folder.0.to_be_bytes());
    key[12..].copy_from_slice(&uid.0.to_be_bytes());
    key
}

/// Reads a key of an entry.
pub(crate) fn names_of(key: &[u8]) -> Result<(AccountId, FolderId, Uid), StoreError> {
    let mut reader = Reader(key);
    let account = reader.u64().map(AccountId)?;
    Ok((account, FolderId(reader.u32()?), Uid(reader.u32()?)))
}

pub(crate) fn folder_key(account: AccountId, folder: FolderId) -> [u8; 12] {
    let mut key = [0; 12];
    key[..8].copy_from_slice(&account.0.to_be_bytes());
    key[8..].copy_from_slice(&folder.0.to_be_bytes());
    key
}

/// The key of what an account's folders have in common.
pub(crate) fn ledger_key(account: AccountId) -> [u8; 12] {
    folder_key(account, FolderId(LEDGER))
}

/// The id in the key of a folder; none for [`ledger_key`].
pub(crate) fn folder_of(key: &[u8]) -> Result<Option<FolderId>, StoreError> {
    let mut reader = Reader(key);
    reader.u64()?;
    let folder = reader.u32()?;
    Ok((folder != LEDGER).then_some(FolderId(folder)))
}

pub(crate) fn changed_key(account: AccountId, mod_seq: ModSeq) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&account.0.to_be_bytes());
    key[8..].copy_from_slice(&mod_seq.0.to_be_bytes());
    key
}

/// The mod-sequence in a key of `changed`.
pub(crate) fn mod_seq_of(key: &[u8]) -> Result<ModSeq, StoreError> {
    let mut reader = Reader(key);
    reader.u64()?;
    reader.u64().map(ModSeq)
}

pub(crate) fn encode_name(folder: FolderId, uid: Uid) -> [u8; 8] {
    let mut value = [0; 8];
    value[..4].copy_from_slice(&folder.0.to_be_bytes());
    value[4..].copy_from_slice(&uid.0.to_be_bytes());
    value
}

pub(crate) fn decode_name(value: &[u8]) -> Result<(FolderId, Uid), StoreError> {
    let mut reader = Reader(value);
    Ok((FolderId(reader.u32()?), Uid(reader.u32()?)))
}

pub(crate) fn encode_entry(entry: &Entry) -> Vec<u8> {
    let mut value = Vec::with_capacity(64 + entry.prefix.len());
    push_entry(entry, &mut value);
    value
}

fn push_entry(entry: &Entry, value: &mut Vec<u8>) {
    let number = entry.unique_id.number;
    let micros = entry.time.as_microsecond();
    let alone = ThreadId::alone(entry.content);
    let bits = [
        (SHARED, entry.shared),
        (ADDED, entry.added > 0),
        (HEAD, entry.head > 0),
        (THREAD, entry.thread != alone),
        (TIME, u64::try_from(micros) != Ok(number)),
        (IMPORTED, entry.unique_id.imported.is_some()),
        (FLAGS, entry.flags != Flags::NONE),
        (KEYWORDS, !entry.keywords.is_empty()),
        (CREATED, entry.created.0 != number),
        (CHANGED, entry.mod_seq != entry.created),
    ];
    let bits = bits.into_iter().filter(|(_, is_set)| *is_set).fold(0, |bits, (bit, _)| bits | bit);
    let mut push = |octets: &[u8]| value.extend_from_slice(octets);
    let has = |bit| bits & bit != 0;
    push(&[RECORD_VERSION]);
    push(&entry.octets.to_be_bytes());
    push(&number.to_be_bytes());
    push(&bits.to_be_bytes());
    push(&entry.content.to_bytes());
    for (bit, field) in [
        (CREATED, entry.created.0),
        (CHANGED, entry.mod_seq.0),
        (TIME, micros as u64),
        (ADDED, entry.added),
        (THREAD, entry.thread.0),
    ] {
        if has(bit) {
            push(&field.to_be_bytes());
        }
    }
    for (bit, field) in [(HEAD, entry.head), (FLAGS, entry.flags.0)] {
        if has(bit) {
            push(&field.to_be_bytes());
        }
    }
    if has(KEYWORDS) {
        // There are no more of them, and none is longer, than their types allow.
        push(&[entry.keywords.len() as u8]);
        for keyword in &entry.keywords {
            push(&[keyword.as_str().len() as u8]);
            push(keyword.as_str().as_bytes());
        }
    }
    if let Some(imported) = &entry.unique_id.imported {
        push(&[imported.len() as u8]);
        push(imported.as_bytes());
    }
    push(&entry.prefix);
}

/// The fields of an entry that a maildrop lists.
pub(crate) struct Listed {
    pub(crate) octets: u64,
    pub(crate) number: u64,
    pub(crate) is_imported: bool,
}

/// Decodes the fields that a maildrop lists, and no others.
pub(crate) fn listed(value: &[u8]) -> Result<Listed, StoreError> {
    let mut reader = Reader(value);
    reader.version()?;
    let (octets, number) = (reader.u64()?, reader.u64()?);
    Ok(Listed { octets, number, is_imported: reader.u16()? & IMPORTED != 0 })
}

pub(crate) fn decode_entry(key: &[u8], value: &[u8]) -> Result<Entry, StoreError> {
    let (_, folder, uid) = names_of(key)?;
    let mut reader = Reader(value);
    reader.version()?;
    let (octets, number, bits) = (reader.u64()?, reader.u64()?, reader.u16()?);
    let content = MailId::from_bytes(reader.take()?);
    let has = |bit| bits & bit != 0;
    let mut long = |bit, else_it| if has(bit) { reader.u64() } else { Ok(else_it) };
    let created = long(CREATED, number)?;
    let mod_seq = long(CHANGED, created)?;
    let micros = long(TIME, number)? as i64;
    let added = long(ADDED, 0)?;
    let thread = long(THREAD, ThreadId::alone(content).0)?;
    let mut short = |bit| if has(bit) { reader.u32() } else { Ok(0) };
    let (head, flags) = (short(HEAD)?, short(FLAGS)?);
    let mut keywords = Vec::new();
    if has(KEYWORDS) {
        let [count] = reader.take()?;
        for _ in 0..count {
            let keyword = reader.short_text()?.parse().map_err(|_| damaged("a keyword"))?;
            keywords.push(keyword);
        }
    }
    let imported = if has(IMPORTED) { Some(reader.short_text()?.into()) } else { None };
    let prefix = reader.0.to_vec();
    if octets < (prefix.len() as u64 + u64::from(head)).saturating_add(added) {
        return Err(damaged("an entry's octet count"));
    }
    Ok(Entry {
        folder,
        uid,
        content,
        thread: ThreadId(thread),
        octets,
        added,
        head,
        time: Timestamp::from_microsecond(micros).map_err(|_| damaged("a time"))?,
        flags: Flags(flags),
        keywords,
        created: ModSeq(created),
        mod_seq: ModSeq(mod_seq),
        unique_id: UniqueId { number, imported },
        shared: has(SHARED),
        prefix,
    })
}

/// A removed entry.
pub(crate) struct Removed {
    pub(crate) time: Timestamp,
    pub(crate) purge: Timestamp,
    /// The mod-sequence of its removal; 0 if no client knew its name.
    pub(crate) mod_seq: ModSeq,
    pub(crate) entry: Entry,
}

pub(crate) fn encode_removed(removed: &Removed) -> Vec<u8> {
    let mut value = Vec::with_capacity(96 + removed.entry.prefix.len());
    value.push(RECORD_VERSION);
    value.extend_from_slice(&removed.time.as_microsecond().to_be_bytes());
    value.extend_from_slice(&removed.purge.as_microsecond().to_be_bytes());
    value.extend_from_slice(&removed.mod_seq.0.to_be_bytes());
    push_entry(&removed.entry, &mut value);
    value
}

pub(crate) fn decode_removed(key: &[u8], value: &[u8]) -> Result<Removed, StoreError> {
    let mut reader = Reader(value);
    reader.version()?;
    let (time, purge) = (reader.time()?, reader.time()?);
    let mod_seq = reader.u64().map(ModSeq)?;
    Ok(Removed { time, purge, mod_seq, entry: decode_entry(key, reader.0)? })
}

/// The new name of a message, kept under its old one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moved {
    /// The mod-sequence of the change.
    pub(crate) mod_seq: ModSeq,
    /// The folder that the message was moved to.
    pub(crate) folder: FolderId,
    pub(crate) uid: Uid,
}

pub(crate) fn encode_moved(moved: Moved) -> [u8; 16] {
    let mut value = [0; 16];
    value[..8].copy_from_slice(&moved.mod_seq.0.to_be_bytes());
    value[8..].copy_from_slice(&encode_name(moved.folder, moved.uid));
    value
}

pub(crate) fn decode_moved(value: &[u8]) -> Result<Moved, StoreError> {
    let mut reader = Reader(value);
    let mod_seq = reader.u64().map(ModSeq)?;
    let (folder, uid) = decode_name(reader.0)?;
    Ok(Moved { mod_seq, folder, uid })
}

pub(crate) fn encode_folder(folder: &Folder) -> Vec<u8> {
    let role = folder.role.map_or(0, |role| {
        let at = Role::ALL.iter().position(|&known| known == role).unwrap_or_default();
        at as u8 + 1
    });
    let mut value = vec![RECORD_VERSION, role];
    value.extend_from_slice(&folder.uid_validity.to_be_bytes());
    value.extend_from_slice(&folder.uid_next.0.to_be_bytes());
    for number in [folder.mod_seq.0, folder.messages, folder.octets, folder.unseen] {
        value.extend_from_slice(&number.to_be_bytes());
    }
    value.extend_from_slice(folder.name.as_str().as_bytes());
    value
}

pub(crate) fn decode_folder(id: FolderId, value: &[u8]) -> Result<Folder, StoreError> {
    let mut reader = Reader(value);
    reader.version()?;
    let [role] = reader.take()?;
    let role = usize::from(role).checked_sub(1).map(|at| Role::ALL.get(at).copied());
    let role = match role {
        Some(None) => return Err(damaged("a folder's role")),
        Some(role) => role,
        None => None,
    };
    let (uid_validity, uid_next) = (reader.u32()?, Uid(reader.u32()?));
    let mod_seq = reader.u64().map(ModSeq)?;
    let (messages, octets, unseen) = (reader.u64()?, reader.u64()?, reader.u64()?);
    let name = str::from_utf8(reader.0).ok().and_then(|name| name.parse().ok());
    let name = name.ok_or_else(|| damaged("a folder's name"))?;
    Ok(Folder { id, name, role, uid_validity, uid_next, mod_seq, messages, octets, unseen })
}

/// The record about all folders of an account.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ledger {
    /// The id of the folder that is added next.
    pub(crate) next: FolderId,
    /// The greatest UIDVALIDITY that was given to a folder that was added.
    pub(crate) uid_validity: u32,
    /// The mod-sequence up to which vanished names are no longer known.
    pub(crate) horizon: ModSeq,
}

impl Default for Ledger {
    fn default() -> Self {
        Self { next: FolderId(FolderId::JUNK.0 + 1), uid_validity: 0, horizon: ModSeq(0) }
    }
}

pub(crate) fn encode_ledger(ledger: Ledger) -> Vec<u8> {
    let mut value = vec![RECORD_VERSION];
    value.extend_from_slice(&ledger.next.0.to_be_bytes());
    value.extend_from_slice(&ledger.uid_validity.to_be_bytes());
    value.extend_from_slice(&ledger.horizon.0.to_be_bytes());
    value
}

pub(crate) fn decode_ledger(value: &[u8]) -> Result<Ledger, StoreError> {
    let mut reader = Reader(value);
    reader.version()?;
    let (next, uid_validity) = (FolderId(reader.u32()?), reader.u32()?);
    Ok(Ledger { next, uid_validity, horizon: reader.u64().map(ModSeq)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever an entry has, it is read as it was written.
    #[test]
    fn entries_are_read_as_they_were_written() {
        let key = entry_key(AccountId(7), FolderId(3), Uid(5));
        let content = MailId::from_bytes([9; 12]);
        for bits in 0..1u32 << 10 {
            let has = |bit: u32| bits >> bit & 1 == 1;
            let number = 1_700_000_000_000_000u64;
            let micros = number as i64 - i64::from(has(0));
            let created = ModSeq(number + u64::from(has(1)));
            let entry = Entry {
                folder: FolderId(3),
                uid: Uid(5),
                content,
                thread: if has(2) { ThreadId(8) } else { ThreadId::alone(content) },
                octets: 1_000,
                added: u64::from(has(3)),
                head: if has(4) { 300 } else { 0 },
                time: Timestamp::from_microsecond(micros).unwrap(),
                flags: if has(5) { Flags::SEEN } else { Flags::NONE },
                keywords: if has(6) { vec!["a".parse().unwrap()] } else { Vec::new() },
                created,
                mod_seq: ModSeq(created.0 + u64::from(has(7))),
                unique_id: UniqueId { number, imported: has(8).then(|| "old".into()) },
                shared: has(9),
                prefix: b"Return-Path: <>\r\n".to_vec(),
            };
            let value = encode_entry(&entry);
            assert_eq!(decode_entry(&key, &value).unwrap(), entry);
            let listed = listed(&value).unwrap();
            assert_eq!((listed.octets, listed.number, listed.is_imported), (1_000, number, has(8)));
            for length in 0..value.len() - entry.prefix.len() {
                assert!(decode_entry(&key, &value[..length]).is_err(), "{bits:b} {length}");
            }
        }
    }
}
