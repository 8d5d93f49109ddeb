//! The values of the store as columns of tables, and back.

use crate::fault::damaged;
use posta_mail::{Address, MailId, Timestamp};
use posta_store::{Destination, Entry, FolderId, Keyword, ModSeq, StoreError, Uid, UniqueId};
use tokio_postgres::Row;

/// Returns a time in nanoseconds since 1970. Times after 2262 become the last that the column can hold.
pub(crate) fn nanos(time: Timestamp) -> i64 {
    let nanos = time.as_nanosecond();
    i64::try_from(nanos).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX })
}

/// Returns the time of a column.
pub(crate) fn time(nanos: i64) -> Timestamp {
    // Every such number of nanoseconds is a time.
    Timestamp::from_nanosecond(i128::from(nanos)).unwrap_or_default()
}

pub(crate) fn mail_id(octets: &[u8]) -> Result<MailId, StoreError> {
    octets.try_into().map(MailId::from_bytes).map_err(|_| damaged("the id of a message"))
}

/// Returns the octets of an id.
pub(crate) fn id(id: MailId) -> Vec<u8> {
    id.to_bytes().to_vec()
}

pub(crate) fn address(text: &str) -> Result<Address, StoreError> {
    text.parse().map_err(|_| damaged("an address"))
}

pub(crate) fn addresses(texts: &[String]) -> Result<Vec<Address>, StoreError> {
    texts.iter().map(|text| address(text)).collect()
}

pub(crate) fn json<T: for<'a> serde::Deserialize<'a>>(
    text: &str,
    what: &str,
) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|_| damaged(what))
}

pub(crate) fn to_json(value: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value)
        .map_err(|error| StoreError::Failed(format!("a record cannot be written: {error}")))
}

/// Returns the name of a lane of the queue; that of this server's own mailboxes is empty.
pub(crate) fn lane(destination: &Destination) -> &str {
    match destination {
        Destination::Local => "",
        Destination::Domain(domain) => domain,
    }
}

pub(crate) fn uids(uids: &[Uid]) -> Vec<i64> {
    uids.iter().map(|uid| i64::from(uid.0)).collect()
}

pub(crate) fn uid(number: i64) -> Uid {
    Uid(number as u32)
}

pub(crate) const fn folder(number: i32) -> FolderId {
    FolderId(number as u32)
}

pub(crate) fn keywords(words: &[Keyword]) -> String {
    words.iter().map(Keyword::as_str).collect::<Vec<_>>().join(" ")
}

pub(crate) fn read_keywords(text: &str) -> Result<Vec<Keyword>, StoreError> {
    text.split(' ')
        .filter(|word| !word.is_empty())
        .map(|word| word.parse().map_err(|_| damaged("a keyword")))
        .collect()
}

/// The columns of [`entry`], in its order; the table is `e`.
macro_rules! entry_columns {
    () => {
        "e.folder, e.uid, e.content, e.thread, e.octets, e.added, e.head, e.time, e.flags, e.keywords, e.created, \
         e.modseq, e.number, e.imported, e.shared, e.prefix"
    };
}
pub(crate) use entry_columns;

/// Reads an entry from columns that begin at `at`.
pub(crate) fn entry(row: &Row, at: usize) -> Result<Entry, StoreError> {
    let number = |column: usize| row.get::<_, i64>(at + column) as u64;
    let imported: Option<&str> = row.get(at + 13);
    Ok(Entry {
        folder: folder(row.get(at)),
        uid: uid(row.get(at + 1)),
        content: mail_id(row.get(at + 2))?,
        thread: posta_mail::ThreadId(number(3)),
        octets: number(4),
        added: number(5),
        head: row.get::<_, i32>(at + 6) as u32,
        time: time(row.get(at + 7)),
        flags: posta_store::Flags(row.get::<_, i32>(at + 8) as u32),
        keywords: read_keywords(row.get(at + 9))?,
        created: ModSeq(number(10)),
        mod_seq: ModSeq(number(11)),
        unique_id: UniqueId { number: number(12), imported: imported.map(Into::into) },
        shared: row.get(at + 14),
        prefix: row.get(at + 15),
    })
}
