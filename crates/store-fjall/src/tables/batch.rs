//! Changes to the tables that happen together.

use super::{
    lanes::Effect,
    schema::{self, Schema},
    table::Table,
};
use crate::{
    error::damaged,
    log::{Place, Position},
};
use fjall::{OwnedWriteBatch, UserKey, UserValue};
use posta_store::{AccountId, StoreError, Subject};
use std::{collections::BTreeSet, mem::take};

/// Stands in the log in place of a value's length where a key is removed.
const REMOVED: u32 = u32::MAX;

/// Changes, in two forms: as the log keeps them, and as the tables take them.
pub(crate) struct Batch {
    records: Vec<u8>,
    tables: OwnedWriteBatch,
    /// Contents that are shown with this change, and those that are not any more.
    pub(crate) shown: Vec<Place>,
    pub(crate) hidden: Vec<Place>,
    /// What it means for the queue.
    pub(crate) effects: Vec<Effect>,
    /// The inboxes that messages come into, and those that messages leave, with the ranges of UIDs that these
    /// were in ([`posta_store::Block`]).
    pub(crate) arrived: Vec<AccountId>,
    pub(crate) left: BTreeSet<(AccountId, u32)>,
    numbers: Numbers,
    /// Whether the directory changes.
    directory: bool,
    /// The accounts whose messages come, go or change, some of them several times.
    mailboxes: Vec<AccountId>,
}

/// The numbers of the tables whose changes others watch.
#[derive(Clone, Copy)]
struct Numbers {
    directory: [u8; 3],
    entry: u8,
    changed: u8,
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
            arrived: Vec::new(),
            left: BTreeSet::new(),
            numbers: Numbers {
                directory: [&schema.account, &schema.alias, &schema.domain].map(|it| it.number),
                entry: schema.entry.number,
                changed: schema.changed.number,
            },
            directory: false,
            mailboxes: Vec::new(),
        }
    }

    /// Returns what changes, for those who watch it.
    pub(crate) fn subjects(&mut self) -> BTreeSet<Subject> {
        let mailboxes = take(&mut self.mailboxes).into_iter().map(Subject::Mailbox);
        let is_due = self.effects.iter().any(|effect| matches!(effect, Effect::Waits(..)));
        let queue = is_due.then_some(Subject::Queue);
        let directory = self.directory.then_some(Subject::Directory);
        mailboxes.chain(queue).chain(directory).collect()
    }

    /// Notes what a change of a key means for those who watch.
    fn note(&mut self, table: u8, key: &[u8], is_removal: bool) {
        let Numbers { directory, entry, changed } = self.numbers;
        if table == entry || (table == changed && !is_removal) {
            // The keys of both begin with the account.
            let account = key.first_chunk().map(|id| AccountId(u64::from_be_bytes(*id)));
            if self.mailboxes.last() != account.as_ref() {
                self.mailboxes.extend(account);
            }
        } else if directory.contains(&table) {
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

    /// Writes to a table what is derived from others, of which the log need not know.
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

    /// As the log keeps it.
    pub(crate) fn records(&self) -> &[u8] {
        &self.records
    }

    /// Notes, with the changes and in the tables only, where they end in the log.
    pub(crate) fn ends_at(&mut self, schema: &Schema, position: Position) {
        self.tables.insert(&schema.meta, schema::APPLIED, schema::encode_position(position));
    }

    /// Puts the changes into the tables. What makes them durable is the log.
    pub(crate) fn apply(self) -> Result<(), fjall::Error> {
        self.tables.commit()
    }

    /// Returns whether what the log kept has a value that is looked for: it is asked about each, with
    /// the number of its table. What cannot be read counts as having it.
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

    /// Reads what the log kept.
    pub(crate) fn replay(schema: &Schema, mut records: &[u8]) -> Result<Self, StoreError> {
        let mut batch = Self::new(schema);
        while !records.is_empty() {
            batch.replay_one(schema, &mut records).ok_or_else(|| damaged("a record of the log"))?;
        }
        Ok(batch)
    }

    fn replay_one(&mut self, schema: &Schema, records: &mut &[u8]) -> Option<()> {
        let Record { table: number, key, value } = Record::take(records)?;
        let table = schema.table(number)?;
        match value {
            None => self.tables.remove(table, key),
            Some(value) => self.tables.insert(table, key, value),
        }
        Some(())
    }
}

/// A change of one key, as the log keeps it.
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
