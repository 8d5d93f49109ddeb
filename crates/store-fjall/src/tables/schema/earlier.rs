//! Mailbox records of formats 1 to 7, which had no folders. Only what takes them over reads them.
//!
//! | keyspace   | key                          | value |
//! |------------|------------------------------|-------|
//! | `mailbox`  | account, unique-id           | version, entry; while it is taken over: 2 and the UID that it has now |
//! | `imported` | account, unique-id           | the unique-id that a message brought along |
//! | `removed`  | account, unique-id           | version, times, entry |
//! | `retrieved` | time, account, unique-id    | nothing; messages that were retrieved, where they expire |
//! | `purge`    | purge time, account, unique-id | nothing |

use super::{RECORD_VERSION, Reader, damaged};
use posta_mail::{MailId, Timestamp};
use posta_store::{AccountId, StoreError, Uid};

const SHARED: u8 = 1;
const ADDED: u8 = 2;

/// Stands in place of the version where a record was taken over.
const TAKEN_OVER: u8 = 2;

/// Octets between the octet count and the bits: content, time, flags, folder.
const BEFORE_BITS: usize = 12 + 8 + 4 + 4;

/// A message in a mailbox.
#[derive(Debug, Clone)]
pub(crate) struct EarlierEntry {
    pub(crate) octets: u64,
    pub(crate) content: MailId,
    pub(crate) time: Timestamp,
    pub(crate) flags: u32,
    pub(crate) shared: bool,
    pub(crate) added: u64,
    pub(crate) prefix: Vec<u8>,
}

impl EarlierEntry {
    /// Octets of the content.
    pub(crate) fn content_octets(&self) -> u64 {
        self.octets.saturating_sub(self.added).saturating_sub(self.prefix.len() as u64)
    }
}

/// A removed message.
pub(crate) struct EarlierRemoved {
    pub(crate) time: Timestamp,
    pub(crate) purge: Timestamp,
    pub(crate) entry: EarlierEntry,
}

/// Reads a key: the account, and the number that was the unique-id.
pub(crate) fn decode_key(key: &[u8]) -> Result<(AccountId, u64), StoreError> {
    let mut reader = Reader(key);
    Ok((AccountId(reader.u64()?), reader.u64()?))
}

/// Reads a record of `mailbox`; none if it was taken over.
pub(crate) fn decode_entry(value: &[u8]) -> Result<Option<EarlierEntry>, StoreError> {
    if value.first() == Some(&TAKEN_OVER) {
        return Ok(None);
    }
    decode(value).map(Some)
}

fn decode(value: &[u8]) -> Result<EarlierEntry, StoreError> {
    let mut reader = Reader(value);
    reader.version()?;
    let octets = reader.u64()?;
    let content = MailId::from_bytes(reader.take()?);
    let time = reader.time()?;
    let (flags, _folder) = (reader.u32()?, reader.u32()?);
    let [bits] = reader.take()?;
    let added = if bits & ADDED != 0 { reader.u64()? } else { 0 };
    let prefix = reader.0.to_vec();
    if octets < (prefix.len() as u64).saturating_add(added) {
        return Err(damaged("an entry's octet count"));
    }
    let shared = bits & SHARED != 0;
    Ok(EarlierEntry { octets, content, time, flags, shared, added, prefix })
}

/// Returns a record with another count of the octets that its lines add, which it did not have.
pub(crate) fn with_added(record: &[u8], entry: &EarlierEntry) -> Vec<u8> {
    let mut value = vec![RECORD_VERSION];
    value.extend_from_slice(&entry.octets.to_be_bytes());
    value.extend_from_slice(record.get(9..9 + BEFORE_BITS).unwrap_or_default());
    value.push(ADDED | if entry.shared { SHARED } else { 0 });
    value.extend_from_slice(&entry.added.to_be_bytes());
    value.extend_from_slice(&entry.prefix);
    value
}

/// Octets before the entry in a record of `removed`.
pub(crate) const REMOVED: usize = 1 + 8 + 8;

pub(crate) fn decode_removed(value: &[u8]) -> Result<EarlierRemoved, StoreError> {
    let mut reader = Reader(value);
    reader.version()?;
    let (time, purge) = (reader.time()?, reader.time()?);
    Ok(EarlierRemoved { time, purge, entry: decode(reader.0)? })
}

/// What stands in `mailbox` in place of a record that was taken over, as long as others lead to it.
pub(crate) fn taken_over(uid: Uid) -> [u8; 5] {
    let mut value = [TAKEN_OVER; 5];
    value[1..].copy_from_slice(&uid.0.to_be_bytes());
    value
}

/// The UID in that.
pub(crate) fn new_uid(value: &[u8]) -> Result<Uid, StoreError> {
    Reader(value.get(1..).unwrap_or_default()).u32().map(Uid)
}
