//! How records lie in fjall: keyspaces, keys and values. Numbers are big-endian, so that keys sort
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
//! | `changed`  | account, mod-sequence        | folder, UID: an entry that was changed after it came, or that is gone |
//! | `moved`    | account, folder, UID         | mod-sequence, folder, UID: the name that the message has since then |
//! | `expunged` | account, folder, UID         | version, times, mod-sequence, entry: a removed message |
//! | `expiring` | time, account, folder, UID   | nothing; messages that were retrieved, where they expire |
//! | `purging`  | purge time, account, folder, UID | nothing; what is due in `expunged` and `moved` |
//! | `listing`  | account, UID >> 12           | version, what maildrops list of these UIDs of the inbox: `listing.rs` |
//! | `removing` | mod-sequence, part           | version, a large removal and how far it is; in the other parts its UIDs |
//! | `mailbox`, `imported`, `removed`, `retrieved`, `purge` | | formats 1 to 7: `schema/earlier.rs` |
//! | `place`    | mail id, chunk index         | where the chunk lies in the log |
//! | `segment`  | number of a segment of the log | octets of it that are shown, if any |
//! | `shown`    | mail id                      | how many entries show it; only where several do |
//! | `queue`    | mail id, index               | an item, as JSON |
//! | `due`      | destination, hashed, priority, time, mail id, index | nothing; items that are not held |
//! | `leased`   |                              | formats 2 and 3: items that somebody worked on |
//! | `history`  | mail id, time, number        | an event, as JSON |
//! | `source`   | id                           | a mailbox elsewhere, as JSON |
//! | `visit`    | source                       | how the last visit ended, as JSON |
//! | `secret`   | kind, id                     | version, key file, slot, nonce, ciphertext and tag |
//! | `collected` | source, unique-id there     | when it was accepted |
//! | `kept`     | kind, NUL, name              | a record of the server's own; accounts that were removed; accounts by id and domain |
//! | `arriving` | mail id                      | nothing; messages with chunks, not accepted yet |
//!
//! **Folders without a record.** An inbox and a folder for junk are there without a record, and a record is
//! written only after so many arrivals, or with a change: its UIDNEXT and its counts are those of the time when
//! it was written, and what came since then is read from the entries behind that UIDNEXT. So a message that
//! arrives costs one record of a mailbox. A name that leaves a folder writes the folder's record with it, which
//! is why a UID is never given twice.
//!
//! **Changes.** An entry that nobody changed is found by the mod-sequence with which it came, which increases
//! with the UID; so only what was changed later, or is gone, is written to `changed`, once for each name.

mod directory;
pub(crate) mod earlier;
mod entries;
mod removals;

pub(crate) use directory::{
    ADDED_BY_ITSELF, USED, decode_domain, encode_account, encode_domain_alias,
    encode_removed_account, encode_targets, index_keys, removed_account_key,
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
/// 1: mailboxes and the directory. 2: the queue and the history beside them; nothing else changed,
/// so a store of format 1 becomes one of format 2 by saying so. 3: contents lie in the log, not in a
/// keyspace `content`; `upgrade.rs` moves them. 4: the keys of `due` begin with the destination. 5: an
/// entry counts its octets as lines; `upgrade.rs` counts those of earlier formats. 6: secrets are sealed in
/// `secret`, and visits stand apart from their sources; `unsealed.rs` seals those of earlier formats. 7: an account
/// says whether it forwards, and whether nobody may log in; one of format 6 does neither. Removed accounts
/// stand in `kept`, and a domain may stand for another. 8: mailboxes have folders, and messages
/// have heads apart from their contents; `commit/upgrade/folders.rs` brings earlier mailboxes there. 9: `listing`
/// is there, from which a program of before would not drop what it removes, and large removals are carried out after
/// they were decided: such a program would show again what is not carried out.
const FORMAT: u64 = 9;

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

/// Is there while mailboxes are given folders.
pub(crate) const WITHOUT_FOLDERS: &str = "without-folders";

/// A name in `meta` under which there is never anything.
pub(crate) const NOTHING: &str = "nothing";

/// Names in `meta`.
const FORMAT_KEY: &str = "format";
/// No unique-id above this has been given out.
pub(crate) const UID_CEILING: &str = "uid-ceiling";
/// Up to where the log need not be replayed.
pub(crate) const CHECKPOINT: &str = "checkpoint";

/// Up to where the tables have what is in the log, at least. Written with each group, into the tables only:
/// so a log that was cut since is not taken for the newer of the two.
pub(crate) const APPLIED: &str = "applied";
/// Segments that a start found damaged inside, and up to where each is whole: so the next start looks again.
pub(crate) const DAMAGED: &str = "damaged";
/// The last source id given out.
pub(crate) const LAST_SOURCE: &str = "last-source";
/// The id of the key file.
pub(crate) const KEY_FILE: &str = "key-file";
/// Is there while files may hold secrets in plain that an earlier format wrote.
pub(crate) const UNSEALED: &str = "unsealed";
/// Is there once accounts are indexed by id and domain.
pub(crate) const INDEXED: &str = "accounts-indexed";
/// The last account id given out.
pub(crate) const LAST_ACCOUNT: &str = "last-account";

/// First octet of each record that may grow fields.
pub(crate) const RECORD_VERSION: u8 = 1;

/// Octets in memory before a keyspace is written to a table.
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
    /// What is removed by now, though its entries are there.
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
        // Their order numbers them in the log: a new one goes to the end.
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

    /// All tables, by their numbers in the log.
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

    /// The keyspace of a number in the log.
    pub(crate) fn table(&self, number: u8) -> Option<&Table> {
        self.tables().into_iter().find(|table| table.number == number)
    }

    /// Says that everything is as this program writes it.
    pub(crate) fn is_current(&self) -> Result<(), StoreError> {
        if self.number(FORMAT_KEY)? != Some(FORMAT) {
            self.meta.insert(FORMAT_KEY, FORMAT.to_be_bytes()).map_err(failed)?;
            self.database.persist(PersistMode::SyncAll).map_err(failed)?;
        }
        Ok(())
    }

    /// The format that the store has; none if it is new.
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

/// A key that is due at a time, with the key of an entry behind that.
pub(crate) fn timed_key(time: Timestamp, entry_key: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(8 + entry_key.len());
    key.extend_from_slice(&sortable(time));
    key.extend_from_slice(entry_key);
    key
}

/// Returns the greatest key that may be due at a time.
pub(crate) fn last_timed_key(time: Timestamp) -> Vec<u8> {
    timed_key(time, &EntryKey::from([u8::MAX; size_of::<EntryKey>()]))
}

/// Returns the key of an entry behind a time.
pub(crate) fn timed(timed_key: &[u8]) -> Option<EntryKey> {
    let (_, key) = timed_key.split_first_chunk::<8>()?;
    key.try_into().ok()
}

pub(crate) fn item_key(id: ItemId) -> [u8; 16] {
    content_key(id.content, id.index)
}

/// A destination's lane. Two whose names have the same hash share one, and nothing is wrong then.
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

/// The first key that an item of a lane and a priority may have that is due then or later.
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

/// Of a key of `due`: its lane, its priority, its time and its item.
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

/// An event: its message and its time are in the key.
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

/// Microseconds before 1970 sort first.
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

/// Returns a chunk's key, as it was read.
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

/// Takes fields off the front of a record.
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

    /// A text, and before it an octet that tells how long it is.
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
