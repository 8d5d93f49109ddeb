//! Batches: changes to the tables that are applied together.

use super::{
    lanes::Effect,
    schema::{self, AccountFolder, Schema},
    table::Table,
};
use crate::{
    error::damaged,
    log::{Place, Position},
};
use fjall::{OwnedWriteBatch, UserKey, UserValue};
use posta_store::{AccountId, Event, StoreError, Subject, is_of_directory};
use std::{collections::BTreeSet, mem::take};

/// The length, in the log, of the value of a key that is removed.
const REMOVED: u32 = u32::MAX;

/// Changes in two forms: records for the log, and a batch for the tables.
pub(crate) struct Batch {
    records: Vec<u8>,
    tables: OwnedWriteBatch,
    /// The chunks that the changes add, and those that they drop.
    pub(crate) shown: Vec<Place>,
    pub(crate) hidden: Vec<Place>,
    /// The effects on the queue's lanes.
    pub(crate) effects: Vec<Effect>,
    /// The events, for those who follow the history.
    pub(crate) told: Vec<Event>,
    /// The folders that messages arrive in, and those that messages leave, with the ranges of UIDs of these
    /// messages ([`posta_store::Block`]).
    pub(crate) arrived: Vec<AccountFolder>,
    pub(crate) left: BTreeSet<(AccountFolder, u32)>,
    numbers: Numbers,
    /// Whether the directory changes.
    directory: bool,
    /// The accounts whose messages change, some of them several times.
    mailboxes: Vec<AccountId>,
}

/// The numbers of the tables whose changes are watched.
#[derive(Clone, Copy)]
struct Numbers {
    directory: [u8; 3],
    entry: u8,
    changed: u8,
    kept: u8,
}

impl Batch {
    pub(crate) fn new(schema: &Schema) -> Self {
        let tables = schema.database.batch();
        Self {
            records: Vec::new(),
            tables,
            shown: Vec::new(),
            hidden: Vec::new(),
            effects: Vec::new(),
            told: Vec::new(),
            arrived: Vec::new(),
            left: BTreeSet::new(),
            numbers: Numbers {
                directory: [&schema.account, &schema.alias, &schema.domain].map(|it| it.number),
                entry: schema.entry.number,
                changed: schema.changed.number,
                kept: schema.kept.number,
            },
            directory: false,
            mailboxes: Vec::new(),
        }
    }

    /// Returns the subjects that change, for their watchers.
    pub(crate) fn subjects(&mut self) -> BTreeSet<Subject> {
        let mailboxes = take(&mut self.mailboxes).into_iter().map(Subject::Mailbox);
        let is_due = self.effects.iter().any(|effect| matches!(effect, Effect::Waits(..)));
        let queue = is_due.then_some(Subject::Queue);
        let directory = self.directory.then_some(Subject::Directory);
        mailboxes.chain(queue).chain(directory).collect()
    }

    /// Records the subject that a change of a key belongs to.
    fn note(&mut self, table: u8, key: &[u8], is_removal: bool) {
        let Numbers { directory, entry, changed, kept } = self.numbers;
        if table == entry || (table == changed && !is_removal) {
            // The keys of both begin with the account.
            let account = key.first_chunk().map(|id| AccountId(u64::from_be_bytes(*id)));
            if self.mailboxes.last() != account.as_ref() {
                self.mailboxes.extend(account);
            }
        } else if directory.contains(&table) || (table == kept && is_record_of_directory(key)) {
            self.directory = true;
        }
    }

    pub(crate) fn insert(
        &mut self,
        table: &Table,
        key: impl Into<UserKey>,
        value: impl Into<UserValue>,
    ) {
        let (key, value) = (key.into(), value.into());
        self.record(table, &key, value.len() as u32);
        self.records.extend_from_slice(&value);
        self.tables.insert(table, key, value);
    }

    pub(crate) fn remove(&mut self, table: &Table, key: impl Into<UserKey>) {
        let key = key.into();
        self.record(table, &key, REMOVED);
        self.tables.remove(table, key);
    }

    /// Sets a key to a value that is derived from other tables, which the log need not have.
    pub(crate) fn derive(
        &mut self,
        table: &Table,
        key: impl Into<UserKey>,
        value: impl Into<UserValue>,
    ) {
        self.tables.insert(table, key, value);
    }

    fn record(&mut self, table: &Table, key: &[u8], value: u32) {
        self.note(table.number, key, value == REMOVED);
        self.records.push(table.number);
        self.records.extend_from_slice(&(key.len() as u16).to_be_bytes());
        self.records.extend_from_slice(&value.to_be_bytes());
        self.records.extend_from_slice(key);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Returns the records for the log.
    pub(crate) fn records(&self) -> &[u8] {
        &self.records
    }

    /// Adds the position of the changes' end in the log, in the tables only.
    pub(crate) fn ends_at(&mut self, schema: &Schema, position: Position) {
        self.tables.insert(&schema.meta, schema::APPLIED, schema::encode_position(position));
    }

    /// Applies the changes to the tables. The log is what makes them durable.
    pub(crate) fn apply(self) -> Result<(), fjall::Error> {
        self.tables.commit()
    }

    /// Returns whether records of the log have a value for which `is_it` returns true; it gets the number of the
    /// table and the value. Records that cannot be read count as having one.
    pub(crate) fn any(mut records: &[u8], is_it: impl Fn(u8, &[u8]) -> bool) -> bool {
        while !records.is_empty() {
            match Record::take(&mut records) {
                Some(Record { table, value: Some(value), .. }) if is_it(table, value) => {
                    return true;
                }
                Some(_) => {}
                None => return true,
            }
        }
        false
    }

    /// Returns the batch of records from the log.
    pub(crate) fn replay(schema: &Schema, records: &[u8]) -> Result<Self, StoreError> {
        Self::replay_some(schema, records, |_| true)
    }

    /// Returns the batch of those records from the log that are of wanted tables, which are named by their numbers.
    pub(crate) fn replay_some(
        schema: &Schema,
        mut records: &[u8],
        is_wanted: impl Fn(u8) -> bool,
    ) -> Result<Self, StoreError> {
        let mut batch = Self::new(schema);
        while !records.is_empty() {
            let replayed = batch.replay_one(schema, &mut records, &is_wanted);
            replayed.ok_or_else(|| damaged("a record of the log"))?;
        }
        Ok(batch)
    }

    fn replay_one(
        &mut self,
        schema: &Schema,
        records: &mut &[u8],
        is_wanted: impl Fn(u8) -> bool,
    ) -> Option<()> {
        let Record { table: number, key, value } = Record::take(records)?;
        if !is_wanted(number) {
            return Some(());
        }
        let table = schema.table(number)?;
        match value {
            None => self.tables.remove(table, key),
            Some(value) => self.tables.insert(table, key, value),
        }
        Some(())
    }
}

/// Returns whether a record of the table `kept` is of a kind that is part of the directory.
fn is_record_of_directory(key: &[u8]) -> bool {
    let kind = key.split(|&octet| octet == 0).next().and_then(|kind| str::from_utf8(kind).ok());
    kind.is_some_and(is_of_directory)
}

/// A record in the log: the change of one key.
struct Record<'r> {
    /// The table's number.
    table: u8,
    key: &'r [u8],
    /// None if the key is removed.
    value: Option<&'r [u8]>,
}

impl<'r> Record<'r> {
    /// Takes a record off the front.
    fn take(records: &mut &'r [u8]) -> Option<Self> {
        let [table] = *records.split_off(..1)? else { return None };
        let key = u16::from_be_bytes(records.split_off(..2)?.try_into().ok()?);
        let value = u32::from_be_bytes(records.split_off(..4)?.try_into().ok()?);
        let key = records.split_off(..usize::from(key))?;
        let value = match value {
            REMOVED => None,
            length => Some(records.split_off(..length as usize)?),
        };
        Some(Self { table, key, value })
    }
}
