//! The rows of copies: the records of a store in a form that belongs to no engine.
//!
//! | part | key | value |
//! |------|-----|-------|
//! | accounts | id | JSON: the account, what its folders share, its folders |
//! | domains | name | 1 if it was added separately; the domain that it stands for |
//! | aliases | name | addresses, a line each |
//! | contents | mail id | [`ContentRecord`] |
//! | entries | account, folder, UID | JSON: the entry; when it was removed and is purged |
//! | moved-names | account, folder, UID | mod-sequence, purge time, folder, UID |
//! | retrieved | account, folder, UID | the time |
//! | queue-items | mail id, index | JSON: the item |
//! | histories | mail id | JSON: the events of the message, by time |
//! | records | kind, NUL, name | the record |
//! | sources | id | JSON: the source, and its last visit |
//! | collected | source, unique-id there | the time |
//! | secrets | kind, id | nothing: the secret itself goes another way |
//!
//! Numbers are big-endian, times microseconds since 1970. Equal records have equal rows, in every engine.

mod accounts;
mod entries;

pub use accounts::AccountRecord;
pub use entries::{EntryRecord, Gone, MovedRecord, decode_retrieved, push_retrieved};

use super::Page;
use crate::{
    AccountId, Event, History, Item, ItemState, KeyId, Rows, SecretOf, Source, SourceId, Sources,
    StoreError, Visit,
};
use bytes::Bytes;
use posta_mail::{MailId, Timestamp};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The most events in a page of histories, those of the last message aside.
const EVENTS: usize = 1_000;

fn wrong(part: &str) -> StoreError {
    StoreError::Damaged(format!("a row of the part {part}"))
}

fn json<T: DeserializeOwned>(value: &[u8], part: &str) -> Result<T, StoreError> {
    serde_json::from_slice(value).map_err(|_| wrong(part))
}

fn to_json(value: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(value).map_err(|error| StoreError::Failed(error.to_string()))
}

fn take<const N: usize>(octets: &mut &[u8], part: &str) -> Result<[u8; N], StoreError> {
    let (field, rest) = octets.split_first_chunk().ok_or_else(|| wrong(part))?;
    *octets = rest;
    Ok(*field)
}

fn number(octets: &mut &[u8], part: &str) -> Result<u64, StoreError> {
    take(octets, part).map(u64::from_be_bytes)
}

fn short(octets: &mut &[u8], part: &str) -> Result<u32, StoreError> {
    take(octets, part).map(u32::from_be_bytes)
}

fn text(octets: &[u8], part: &str) -> Result<String, StoreError> {
    String::from_utf8(octets.to_vec()).map_err(|_| wrong(part))
}

fn time(micros: i64, part: &str) -> Result<Timestamp, StoreError> {
    Timestamp::from_microsecond(micros).map_err(|_| wrong(part))
}

const fn micros(octets: [u8; 8]) -> i64 {
    i64::from_be_bytes(octets)
}

/// Adds a domain: whether it was added separately, and the domain that it stands for.
pub fn push_domain(rows: &mut Rows, name: &str, added: bool, stands_for: Option<&str>) {
    // One that stands for another was added separately.
    let added = u8::from(added || stands_for.is_some());
    rows.push(name.as_bytes(), &[&[added], stands_for.unwrap_or_default().as_bytes()].concat());
}

/// Reads a domain: its name, whether it was added separately, and the domain that it stands for.
///
/// # Errors
/// As [`AccountRecord::decode`].
pub fn decode_domain(
    key: &[u8],
    value: &[u8],
) -> Result<(String, bool, Option<String>), StoreError> {
    let (added, stands_for) = value.split_first().ok_or_else(|| wrong("domains"))?;
    let stands_for = text(stands_for, "domains")?;
    Ok((text(key, "domains")?, *added == 1, Some(stands_for).filter(|it| !it.is_empty())))
}

/// Adds an alias.
pub fn push_alias(rows: &mut Rows, name: &str, targets: &[String]) {
    rows.push(name.as_bytes(), targets.join("\n").as_bytes());
}

/// Reads an alias: its name, and its members.
///
/// # Errors
/// As [`AccountRecord::decode`].
pub fn decode_alias(key: &[u8], value: &[u8]) -> Result<(String, Vec<String>), StoreError> {
    let targets = text(value, "aliases")?.split('\n').map(str::to_owned).collect();
    Ok((text(key, "aliases")?, targets))
}

/// A content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentRecord {
    /// The message.
    pub id: MailId,
    /// The number of entries and items that refer to it.
    pub refs: u32,
    /// The number of pieces.
    pub pieces: u32,
    /// The only piece; none if there are several, or if it is kept elsewhere, each of which is read by itself then.
    pub whole: Option<Bytes>,
}

impl ContentRecord {
    /// Adds the record to rows.
    pub fn push(&self, rows: &mut Rows) {
        let whole = self.whole.as_deref().unwrap_or_default();
        let mut value = Vec::with_capacity(9 + whole.len());
        value.extend_from_slice(&self.refs.to_be_bytes());
        value.extend_from_slice(&self.pieces.to_be_bytes());
        value.push(u8::from(self.whole.is_some()));
        value.extend_from_slice(whole);
        rows.push(&self.id.to_bytes(), &value);
    }

    /// Reads a row.
    ///
    /// # Errors
    /// As [`AccountRecord::decode`].
    pub fn decode(mut key: &[u8], mut value: &[u8]) -> Result<Self, StoreError> {
        const PART: &str = "contents";
        let id = MailId::from_bytes(take(&mut key, PART)?);
        let (refs, pieces) = (short(&mut value, PART)?, short(&mut value, PART)?);
        let [is_whole] = take(&mut value, PART)?;
        let whole = (is_whole == 1).then(|| Bytes::copy_from_slice(value));
        Ok(Self { id, refs, pieces, whole })
    }
}

/// Adds an item of the queue, without the lease that it may have.
///
/// # Errors
/// None that a record of a store has.
pub fn push_item(rows: &mut Rows, mut item: Item) -> Result<(), StoreError> {
    if item.state == ItemState::Leased {
        item.state = ItemState::Waiting;
    }
    let key = [&item.id.content.to_bytes()[..], &item.id.index.to_be_bytes()].concat();
    rows.push(&key, &to_json(&item)?);
    Ok(())
}

/// Reads an item.
///
/// # Errors
/// As [`AccountRecord::decode`].
pub fn decode_item(value: &[u8]) -> Result<Item, StoreError> {
    json(value, "queue-items")
}

/// Returns a page of histories.
///
/// # Errors
/// As [`History::events`].
pub async fn history_page(store: &dyn History, after: Option<Vec<u8>>) -> Result<Page, StoreError> {
    let before = after.map(|octets| octets.try_into().map(MailId::from_bytes));
    let before = before.transpose().map_err(|_| wrong("histories"))?;
    let mut events = store.events(before, EVENTS).await?;
    let mut page = Page::default();
    for event in &mut events {
        event.time = time(event.time.as_microsecond(), "histories")?;
    }
    for of_message in events.chunk_by_mut(|one, other| one.id == other.id) {
        of_message.sort_by_key(|event| event.time);
        let Some(first) = of_message.first() else { continue };
        let key = first.id.to_bytes();
        page.rows.push(&key, &to_json(&of_message)?);
        page.next = Some(key.to_vec());
    }
    Ok(page)
}

/// Reads the events of a message, by their times.
///
/// # Errors
/// As [`AccountRecord::decode`].
pub fn decode_events(value: &[u8]) -> Result<Vec<Event>, StoreError> {
    json(value, "histories")
}

/// Adds a record of the server's own.
pub fn push_named(rows: &mut Rows, kind: &[u8], name: &[u8], record: &[u8]) {
    rows.push(&[kind, &[0], name].concat(), record);
}

/// Reads the kind and the name of a record of the server's own from its key.
///
/// # Errors
/// As [`AccountRecord::decode`].
pub fn decode_named(key: &[u8]) -> Result<(String, Vec<u8>), StoreError> {
    let end = key.iter().position(|&octet| octet == 0).ok_or_else(|| wrong("records"))?;
    Ok((text(&key[..end], "records")?, key[end + 1..].to_vec()))
}

#[derive(Serialize, Deserialize)]
struct SourceForm {
    source: Source,
    last: Option<Visit>,
}

/// Returns the page of all sources.
///
/// # Errors
/// As [`Sources::sources`].
pub async fn sources_page(store: &dyn Sources) -> Result<Page, StoreError> {
    let mut page = Page::default();
    for source in store.sources().await? {
        let form = SourceForm { last: source.last.clone(), source };
        page.rows.push(&form.source.id.0.to_be_bytes(), &to_json(&form)?);
    }
    Ok(page)
}

/// Reads a source, with its last visit.
///
/// # Errors
/// As [`AccountRecord::decode`].
pub fn decode_source(mut key: &[u8], value: &[u8]) -> Result<Source, StoreError> {
    let id = SourceId(number(&mut key, "sources")?);
    let SourceForm { source, last } = json(value, "sources")?;
    Ok(Source { id, last, ..source })
}

/// A message that was collected or imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collecting {
    /// The mailbox elsewhere.
    pub source: SourceId,
    /// The unique-id there.
    pub unique_id: Vec<u8>,
    /// When it was accepted.
    pub time: Timestamp,
}

impl Collecting {
    /// Adds the record to rows.
    pub fn push(&self, rows: &mut Rows) {
        let key = [&self.source.0.to_be_bytes()[..], &self.unique_id].concat();
        rows.push(&key, &self.time.as_microsecond().to_be_bytes());
    }

    /// Reads a row.
    ///
    /// # Errors
    /// As [`AccountRecord::decode`].
    pub fn decode(mut key: &[u8], mut value: &[u8]) -> Result<Self, StoreError> {
        let source = SourceId(number(&mut key, "collected")?);
        let time = time(micros(take(&mut value, "collected")?), "collected")?;
        Ok(Self { source, unique_id: key.to_vec(), time })
    }
}

/// Adds that there is a secret.
pub fn push_secret(rows: &mut Rows, of: SecretOf) {
    let (kind, id) = match of {
        SecretOf::Source(id) => (b's', id.0),
        SecretOf::Apop(account) => (b'a', account.0),
        SecretOf::Key(id) => (b'k', id.0),
    };
    rows.push(&[&[kind][..], &id.to_be_bytes()].concat(), &[]);
}

/// Reads whose secret there is.
///
/// # Errors
/// As [`AccountRecord::decode`].
pub fn decode_secret(mut key: &[u8]) -> Result<SecretOf, StoreError> {
    let [kind] = take(&mut key, "secrets")?;
    let id = number(&mut key, "secrets")?;
    match kind {
        b's' => Ok(SecretOf::Source(SourceId(id))),
        b'a' => Ok(SecretOf::Apop(AccountId(id))),
        b'k' => Ok(SecretOf::Key(KeyId(id))),
        _ => Err(wrong("secrets")),
    }
}
