//! The layout of the records in fjall: keyspaces, keys and values. Numbers are big-endian, so that keys sort
//! as their records do.
//!
//! | keyspace   | key                          | value |
//! |------------|------------------------------|-------|
//! | `meta`     | a name                       | a number, or a place in the log |
//! | `account`  | address, folded              | version, id, credentials |
//! | `alias`    | address, folded, or `@domain` | version, addresses, a line each |
//! | `domain`   | name                         | 1 if added by itself, 0 if not; 2 and the name of the domain that it stands for |
//! | `folder`   | account, folder              | version, role, UIDVALIDITY, counts, name; with 2^32 - 1 in place of the folder: what the account's folders have in common |
//! | `entry`    | account, folder, UID         | version, entry |
//! | `changed`  | account, mod-sequence        | folder, UID: an entry that changed after it arrived, or that is gone |
//! | `moved`    | account, folder, UID         | mod-sequence, folder, UID: the name that the message has since then |
//! | `expunged` | account, folder, UID         | version, times, mod-sequence, entry: a removed message |
//! | `expiring` | time, account, folder, UID   | nothing; messages that were retrieved, where they expire |
//! | `purging`  | purge time, account, folder, UID | nothing; what is due in `expunged` and `moved` |
//! | `listing`  | account, UID >> 12           | version, the lines of maildrops for these UIDs of the inbox: `listing.rs` |
//! | `removing` | mod-sequence, part           | version, a large removal and its progress; in the other parts its UIDs |
//! | `mailbox`, `imported`, `removed`, `retrieved`, `purge` | | formats 1 to 7: `schema/earlier.rs` |
//! | `place`    | mail id, chunk index         | the chunk's place in the log |
//! | `segment`  | number of a segment of the log | octets of it that are in use, if any |
//! | `shown`    | mail id                      | the number of entries and items with this content, if there are several |
//! | `queue`    | mail id, index               | an item, as JSON |
//! | `due`      | destination, hashed, priority, time, mail id, index | nothing; items that are not held |
//! | `leased`   |                              | formats 2 and 3: leased items |
//! | `history`  | mail id, time, number        | an event, as JSON |
//! | `source`   | id                           | a mailbox elsewhere, as JSON |
//! | `visit`    | source                       | the outcome of the last visit, as JSON |
//! | `secret`   | kind, id                     | version, key file, slot, nonce, ciphertext and tag |
//! | `collected` | source, unique-id there     | the time at which it was accepted |
//! | `kept`     | kind, NUL, name              | a record of the server's own; accounts that were removed; accounts by id and domain |
//! | `arriving` | mail id                      | nothing; messages with chunks, not accepted yet |
//!
//! **Folders without a record.** Each account has an inbox and a folder for junk, even without their records. A
//! folder's record is written only after many arrivals or with another change. Its UIDNEXT and counts are those of
//! that time, and later arrivals are read from the entries behind that UIDNEXT. So an arriving message costs one
//! record of a mailbox. A transaction that removes an entry from a folder also writes the folder's record, which is
//! why no UID is given twice.
//!
//! **Changes.** An unchanged entry is found by the mod-sequence with which it arrived, which increases with the
//! UID. So only entries that changed later or are gone are written to `changed`, once for each name.

mod directory;
pub(crate) mod earlier;
mod entries;
mod removals;

pub(crate) use directory::{
    ADDED_BY_ITSELF, USED, decode_domain, decode_targets, domain_alias_in, encode_account,
    encode_domain_alias, encode_removed_account, encode_targets, index_keys, is_of_accounts,
    listed_account, removed_account_key,
};

pub(crate) use entries::*;
pub(crate) use removals::*;

use super::{removals::Removals, table::Table};
use crate::{
    error::{damaged, failed, tables_failed},
    log::{ContentKey, Place, Position},
};
use fjall::{Database, KeyspaceCreateOptions, PersistMode};
use posta_mail::{MailId, Timestamp};
use posta_store::{Destination, Event, Item, ItemId, SourceId, StoreError};
use serde::{Serialize, de::DeserializeOwned};
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// The format that this program writes. A store with a greater one is refused.
///
/// 1. Mailboxes and the directory.
/// 2. The queue and the history. Nothing else changed, so upgrading a store of format 1 only changes the number.
/// 3. Contents are in the log, not in a keyspace `content`; `upgrade.rs` moves them.
/// 4. The keys of `due` begin with the destination.
/// 5. An entry counts its octets as lines; `upgrade.rs` counts those of earlier formats.
/// 6. Secrets are sealed in `secret`, and visits are apart from their sources; `upgrade/unsealed.rs` seals earlier secrets.
/// 7. An account records whether it forwards, and whether it is disabled; without the fields it is neither. Removed
///    accounts are in `kept`, and a domain may be an alias of another.
/// 8. Mailboxes have folders, and messages have heads apart from their contents; `commit/upgrade/folders.rs` converts
///    earlier mailboxes.
/// 9. `listing` exists, and large removals are carried out after they were decided. An earlier program would not drop the
///    blocks of messages that it removes, and would show messages whose removal is not carried out.
pub(crate) const FORMAT: u64 = 9;

/// The first format whose queue has a lane for each destination.
pub(crate) const LANES: u64 = 4;

/// The first format whose entries count their octets as lines.
pub(crate) const LINES: u64 = 5;

/// The first format that keeps secrets sealed.
pub(crate) const SEALED: u64 = 6;

/// The first format whose mailboxes have folders.
pub(crate) const FOLDERS: u64 = 8;

/// The keyspace of formats 1 and 2 that held the contents.
pub(crate) const OLD_CONTENT: &str = "content";

/// A name in `meta` that exists while mailboxes are being given folders.
pub(crate) const WITHOUT_FOLDERS: &str = "without-folders";

/// A name in `meta` that never exists: removing it changes nothing.
pub(crate) const NOTHING: &str = "nothing";

/// The format, under this name in `meta`, as the others that follow.
const FORMAT_KEY: &str = "format";
/// The mod-sequence above which none has been given out.
pub(crate) const UID_CEILING: &str = "uid-ceiling";
/// The position up to which the log need not be replayed.
pub(crate) const CHECKPOINT: &str = "checkpoint";

/// The position up to which the tables have the log's changes, at least. Written with each group, into the tables
/// only, so that a start notices a log that was cut.
pub(crate) const APPLIED: &str = "applied";
/// The segments that a start found damaged inside, each with the position up to which it is whole, for the next
/// start.
pub(crate) const DAMAGED: &str = "damaged";
/// The last id that a source was given.
pub(crate) const LAST_SOURCE: &str = "last-source";
/// The id of the key file.
pub(crate) const KEY_FILE: &str = "key-file";
/// Exists while files may hold plaintext secrets of an earlier format.
pub(crate) const UNSEALED: &str = "unsealed";
/// Exists once accounts are indexed by id and domain.
pub(crate) const INDEXED: &str = "accounts-indexed";
/// Exists while the table `due` is being rebuilt from `queue`.
pub(crate) const REBUILDING_DUE: &str = "rebuilding-due";
/// The name of the store that is being copied into this one, and the place behind the last page.
pub(crate) const COPY_OF: &str = "copy-of";
pub(crate) const COPY_PLACE: &str = "copy-place";
/// The last id that an account was given.
pub(crate) const LAST_ACCOUNT: &str = "last-account";

/// Returns whether a record of the table `meta` is about the log and the files of this store, so that it means nothing
/// in another that is made of its rows.
pub(crate) fn is_of_files(key: &[u8]) -> bool {
    [CHECKPOINT, APPLIED, DAMAGED, REBUILDING_DUE].iter().any(|name| name.as_bytes() == key)
}

/// The first octet of each record that may gain fields.
pub(crate) const RECORD_VERSION: u8 = 1;

/// Octets of a keyspace in memory after which they are written to a file.
const MEMTABLE: u64 = 4 * 1024 * 1024;
const HISTORY_MEMTABLE: u64 = 8 * 1024 * 1024;

/// The database and its keyspaces: cheap handles.
#[derive(Clone)]
pub(crate) struct Schema {
    pub(crate) database: Database,
    pub(crate) meta: Table,
    pub(crate) account: Table,
    pub(crate) alias: Table,
    pub(crate) domain: Table,
    pub(crate) mailbox: Table,
    pub(crate) removed: Table,
    pub(crate) purge: Table,
    pub(crate) place: Table,
    pub(crate) segment: Table,
    pub(crate) shown: Table,
    pub(crate) arriving: Table,
    pub(crate) queue: Table,
    pub(crate) due: Table,
    pub(crate) leased: Table,
    pub(crate) history: Table,
    pub(crate) imported: Table,
    pub(crate) source: Table,
    pub(crate) collected: Table,
    pub(crate) retrieved: Table,
    pub(crate) kept: Table,
    pub(crate) visit: Table,
    pub(crate) secret: Table,
    pub(crate) folder: Table,
    pub(crate) entry: Table,
    pub(crate) changed: Table,
    pub(crate) moved: Table,
    pub(crate) expunged: Table,
    pub(crate) expiring: Table,
    pub(crate) purging: Table,
    pub(crate) listing: Table,
    pub(crate) removing: Table,
    /// The large removals that are decided and not carried out.
    pub(crate) gone: Arc<Removals>,
}

impl std::fmt::Debug for Schema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Schema")
    }
}

impl Schema {
    pub(crate) fn open(database: Database) -> Result<Self, StoreError> {
        let mut number = 0;
        let mut table = |name: &str, memtable: u64| {
            number += 1;
            let options = || KeyspaceCreateOptions::default().max_memtable_size(memtable);
            let keyspace = database.keyspace(name, options).map_err(tables_failed)?;
            Ok(Table { number, keyspace })
        };
        // The order gives each its number in the log: a new one goes to the end.
        let schema = Self {
            meta: table("meta", MEMTABLE)?,
            account: table("account", MEMTABLE)?,
            alias: table("alias", MEMTABLE)?,
            domain: table("domain", MEMTABLE)?,
            mailbox: table("mailbox", MEMTABLE)?,
            removed: table("removed", MEMTABLE)?,
            purge: table("purge", MEMTABLE)?,
            place: table("place", MEMTABLE)?,
            segment: table("segment", MEMTABLE)?,
            shown: table("shown", MEMTABLE)?,
            arriving: table("arriving", MEMTABLE)?,
            queue: table("queue", MEMTABLE)?,
            due: table("due", MEMTABLE)?,
            leased: table("leased", MEMTABLE)?,
            history: table("history", HISTORY_MEMTABLE)?,
            imported: table("imported", MEMTABLE)?,
            source: table("source", MEMTABLE)?,
            collected: table("collected", MEMTABLE)?,
            retrieved: table("retrieved", MEMTABLE)?,
            kept: table("kept", MEMTABLE)?,
            visit: table("visit", MEMTABLE)?,
            secret: table("secret", MEMTABLE)?,
            folder: table("folder", MEMTABLE)?,
            entry: table("entry", MEMTABLE)?,
            changed: table("changed", MEMTABLE)?,
            moved: table("moved", MEMTABLE)?,
            expunged: table("expunged", MEMTABLE)?,
            expiring: table("expiring", MEMTABLE)?,
            purging: table("purging", MEMTABLE)?,
            listing: table("listing", MEMTABLE)?,
            removing: table("removing", MEMTABLE)?,
            gone: Arc::default(),
            database,
        };
        match schema.number(FORMAT_KEY)? {
            Some(found) if found > FORMAT => {
                let number = |format| u32::try_from(format).unwrap_or(u32::MAX);
                Err(StoreError::TooNew { found: number(found), known: number(FORMAT) })
            }
            _ => Ok(schema),
        }
    }

    /// Returns all tables, in the order of their numbers in the log.
    pub(crate) fn tables(&self) -> [&Table; 31] {
        [
            &self.meta,
            &self.account,
            &self.alias,
            &self.domain,
            &self.mailbox,
            &self.removed,
            &self.purge,
            &self.place,
            &self.segment,
            &self.shown,
            &self.arriving,
            &self.queue,
            &self.due,
            &self.leased,
            &self.history,
            &self.imported,
            &self.source,
            &self.collected,
            &self.retrieved,
            &self.kept,
            &self.visit,
            &self.secret,
            &self.folder,
            &self.entry,
            &self.changed,
            &self.moved,
            &self.expunged,
            &self.expiring,
            &self.purging,
            &self.listing,
            &self.removing,
        ]
    }

    /// Returns the tables of which a store can be made. The others say where contents lie in the log, or follow from
    /// these.
    pub(crate) fn backed_up(&self) -> impl Iterator<Item = &Table> {
        let others =
            [&self.place, &self.segment, &self.arriving, &self.due, &self.leased, &self.listing];
        let others = others.map(|table| table.number);
        self.tables().into_iter().filter(move |table| !others.contains(&table.number))
    }

    /// Returns the table with a number in the log.
    pub(crate) fn table(&self, number: u8) -> Option<&Table> {
        self.tables().into_iter().find(|table| table.number == number)
    }

    /// Records that the store has this program's format.
    pub(crate) fn is_current(&self) -> Result<(), StoreError> {
        if self.number(FORMAT_KEY)? != Some(FORMAT) {
            self.meta.insert(FORMAT_KEY, FORMAT.to_be_bytes()).map_err(failed)?;
            self.database.persist(PersistMode::SyncAll).map_err(failed)?;
        }
        Ok(())
    }

    /// Returns the store's format; none if the store is new.
    pub(crate) fn format(&self) -> Result<Option<u64>, StoreError> {
        self.number(FORMAT_KEY)
    }

    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, StoreError> {
        match self.meta.get(name).map_err(failed)? {
            Some(value) => Reader(&value).u64().map(Some),
            None => Ok(None),
        }
    }
}

pub(crate) fn content_key(content: MailId, index: u32) -> ContentKey {
    let mut key = [0; 16];
    key[..12].copy_from_slice(&content.to_bytes());
    key[12..].copy_from_slice(&index.to_be_bytes());
    key
}

/// Returns the key of a time and an entry, for the tables that are ordered by time.
pub(crate) fn timed_key(time: Timestamp, entry_key: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(8 + entry_key.len());
    key.extend_from_slice(&sortable(time));
    key.extend_from_slice(entry_key);
    key
}

/// Returns the greatest key with a time, of which all keys up to it are due at that time.
pub(crate) fn last_timed_key(time: Timestamp) -> Vec<u8> {
    timed_key(time, &EntryKey::from([u8::MAX; size_of::<EntryKey>()]))
}

/// Returns the entry's key from a key of a time and an entry.
pub(crate) fn timed(timed_key: &[u8]) -> Option<EntryKey> {
    let (_, key) = timed_key.split_first_chunk::<8>()?;
    key.try_into().ok()
}

pub(crate) fn item_key(id: ItemId) -> [u8; 16] {
    content_key(id.content, id.index)
}

/// The key of a destination's lane. Destinations whose names have the same hash share a lane, which does no harm.
pub(crate) type LaneKey = u64;

pub(crate) fn lane_key(destination: &Destination) -> LaneKey {
    match destination {
        Destination::Local => 0,
        Destination::Domain(domain) => xxh3_64(domain.as_bytes()),
    }
}

pub(crate) const DUE_KEY: usize = 8 + 1 + 8 + 16;

pub(crate) fn due_key(item: &Item) -> [u8; DUE_KEY] {
    let lane = lane_key(&item.destination);
    let mut key = first_due(lane, item.envelope.priority, item.due);
    key[17..].copy_from_slice(&item_key(item.id));
    key
}

/// Returns the least key of `due` for a lane, a priority and a time.
pub(crate) fn first_due(lane: LaneKey, priority: i8, due: Timestamp) -> [u8; DUE_KEY] {
    let mut key = [0; DUE_KEY];
    key[..8].copy_from_slice(&lane.to_be_bytes());
    key[8] = sortable_priority(priority);
    key[9..17].copy_from_slice(&sortable(due));
    key
}

/// The last one.
pub(crate) fn last_due(lane: LaneKey, priority: i8) -> [u8; DUE_KEY] {
    let mut key = [0xff; DUE_KEY];
    key[..8].copy_from_slice(&lane.to_be_bytes());
    key[8] = sortable_priority(priority);
    key
}

const fn sortable_priority(priority: i8) -> u8 {
    priority as u8 ^ 0x80
}

/// Decodes a key of `due` into its lane, priority, time and item.
pub(crate) fn decode_due(key: &[u8]) -> Result<(LaneKey, i8, Timestamp, ItemId), StoreError> {
    let mut reader = Reader(key);
    let lane = reader.u64()?;
    let [priority] = reader.take()?;
    let due = unsortable(reader.take()?).ok_or_else(|| damaged("when an item is due"))?;
    let content = MailId::from_bytes(reader.take()?);
    let id = ItemId { content, index: u32::from_be_bytes(reader.take()?) };
    Ok((lane, (priority ^ 0x80) as i8, due, id))
}

pub(crate) fn event_key(event: &Event, number: u32) -> [u8; 24] {
    let mut key = [0; 24];
    key[..12].copy_from_slice(&event.id.to_bytes());
    key[12..20].copy_from_slice(&sortable(event.time));
    key[20..].copy_from_slice(&number.to_be_bytes());
    key
}

/// Decodes an event, whose message and time are in the key.
pub(crate) fn decode_event(key: &[u8], value: &[u8]) -> Result<Event, StoreError> {
    let mut reader = Reader(key);
    let id = MailId::from_bytes(reader.take()?);
    let time = unsortable(reader.take()?).ok_or_else(|| damaged("an event's time"))?;
    Ok(Event { id, time, what: decode_json(value, "an event")? })
}

pub(crate) fn encode_json(record: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(record).map_err(|error| StoreError::Failed(error.to_string()))
}

pub(crate) fn decode_json<T: DeserializeOwned>(value: &[u8], what: &str) -> Result<T, StoreError> {
    serde_json::from_slice(value).map_err(|_| damaged(what))
}

/// Returns the microseconds of a time in an order-preserving form: those before 1970 sort first.
fn sortable(time: Timestamp) -> [u8; 8] {
    (time.as_microsecond() as u64 ^ 1 << 63).to_be_bytes()
}

fn unsortable(octets: [u8; 8]) -> Option<Timestamp> {
    let micros = (u64::from_be_bytes(octets) ^ 1 << 63) as i64;
    Timestamp::from_microsecond(micros).ok()
}

pub(crate) fn collected_key(source: SourceId, unique_id: &str) -> Vec<u8> {
    [&source.0.to_be_bytes()[..], unique_id.as_bytes()].concat()
}

pub(crate) fn encode_time(time: Timestamp) -> [u8; 8] {
    sortable(time)
}

pub(crate) fn decode_time(value: &[u8]) -> Result<Timestamp, StoreError> {
    let octets = value.try_into().ok();
    octets.and_then(unsortable).ok_or_else(|| damaged("a time"))
}

/// Decodes a chunk's key.
pub(crate) fn chunk_of(content_key: &[u8]) -> Result<ContentKey, StoreError> {
    content_key.try_into().map_err(|_| damaged("a chunk's key"))
}

/// Returns the content of a chunk's key.
pub(crate) fn content_of(content_key: &[u8]) -> Result<MailId, StoreError> {
    Reader(content_key).take().map(MailId::from_bytes)
}

pub(crate) fn encode_place(place: Place) -> [u8; 16] {
    let mut value = [0; 16];
    value[..8].copy_from_slice(&place.segment.to_be_bytes());
    value[8..12].copy_from_slice(&place.offset.to_be_bytes());
    value[12..].copy_from_slice(&place.length.to_be_bytes());
    value
}

pub(crate) fn decode_place(value: &[u8]) -> Result<Place, StoreError> {
    let mut reader = Reader(value);
    let segment = reader.u64()?;
    let offset = u32::from_be_bytes(reader.take()?);
    Ok(Place { segment, offset, length: u32::from_be_bytes(reader.take()?) })
}

pub(crate) fn encode_position(at: Position) -> Vec<u8> {
    [at.segment, at.offset, at.previous].into_iter().flat_map(u64::to_be_bytes).collect()
}

pub(crate) fn decode_position(value: &[u8]) -> Result<Position, StoreError> {
    let mut reader = Reader(value);
    Ok(Position { segment: reader.u64()?, offset: reader.u64()?, previous: reader.u64()? })
}

/// A reader that takes fields off the front of a record.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl Reader<'_> {
    pub(crate) fn take<const N: usize>(&mut self) -> Result<[u8; N], StoreError> {
        let (field, rest) =
            self.0.split_first_chunk().ok_or_else(|| damaged("a record that is too short"))?;
        self.0 = rest;
        Ok(*field)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, StoreError> {
        self.take().map(u64::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, StoreError> {
        self.take().map(u32::from_be_bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, StoreError> {
        self.take().map(u16::from_be_bytes)
    }

    /// Takes a text, preceded by an octet with its length.
    pub(crate) fn short_text(&mut self) -> Result<&str, StoreError> {
        let [length] = self.take()?;
        let text = self.0.split_off(..usize::from(length));
        let text = text.and_then(|text| str::from_utf8(text).ok());
        text.ok_or_else(|| damaged("a text"))
    }

    fn time(&mut self) -> Result<Timestamp, StoreError> {
        let micros = i64::from_be_bytes(self.take()?);
        Timestamp::from_microsecond(micros).map_err(|_| damaged("a time"))
    }

    pub(crate) fn version(&mut self) -> Result<(), StoreError> {
        match self.take::<1>()? {
            [RECORD_VERSION] => Ok(()),
            _ => Err(damaged("a record of unknown version")),
        }
    }
}
