//! The tables of a store, gathered in a directory of their own from its files and its log.

use super::{blocks::merged, engine, records};
use crate::{
    error::{failed, tables_failed},
    log::Segments,
    tables::schema::{self, Schema},
};
use fjall::{Database, KeyspaceCreateOptions};
use posta_store::StoreError;
use std::{collections::BTreeSet, path::Path, thread, time::Duration};

/// Rows that are put into the tables at a time.
const ROWS: usize = 1_000;

/// Octets that the tables may hold in memory, and how long to wait, and how often, for them to be written.
const MEMORY: u64 = 32 * 1024 * 1024;
const WAIT: Duration = Duration::from_millis(2);
const WAITS: usize = 5_000;

/// The names of tables of this directory alone: the references to contents, and what cannot be kept.
const REFERENCES: &str = "salvage-references";
const DROPPED: &str = "salvage-dropped";

/// Tables that were gathered.
pub(super) struct Gathered {
    pub(super) schema: Schema,
    /// A content, and a record that refers to it: the number of its table, and its key.
    pub(super) references: fjall::Keyspace,
    /// Records that cannot be kept: the number of the table, and the key.
    pub(super) dropped: fjall::Keyspace,
    /// What is wrong with the files, in words.
    pub(super) damage: Vec<String>,
    /// The numbers of the tables whose rows may be missing.
    pub(super) damaged: BTreeSet<u8>,
}

/// Gathers the tables of a store in `scratch`.
pub(super) fn tables(
    directory: &Path,
    segments: &Segments,
    scratch: &Path,
) -> Result<Gathered, StoreError> {
    let database = Database::builder(scratch).manual_journal_persist(true).open();
    let database = database.map_err(tables_failed)?;
    let schema = Schema::open(database)?;
    let make = |name: &str| {
        schema.database.keyspace(name, KeyspaceCreateOptions::default).map_err(tables_failed)
    };
    let (references, dropped) = (make(REFERENCES)?, make(DROPPED)?);
    let order: Vec<_> = schema.tables().into_iter().map(|table| table.name()).collect();
    let (keyspaces, mut damage) = engine::keyspaces(directory, &order)?;
    let number = |name: &str| schema.tables().into_iter().find(|it| it.name() == name).cloned();
    let is_damaged = keyspaces.iter().filter(|keyspace| keyspace.is_damaged);
    let damaged: BTreeSet<u8> =
        is_damaged.filter_map(|it| number(&it.name).map(|table| table.number)).collect();
    if !damaged.is_empty() {
        records::apply_all(segments, &schema, &|number| damaged.contains(&number))?;
    }
    for keyspace in &keyspaces {
        let Some(table) = number(&keyspace.name) else { continue };
        let (mut batch, mut rows) = (schema.database.batch(), 0);
        for row in merged(&keyspace.files)? {
            let row = row?;
            match row.value {
                Some(value) => batch.insert(&table.keyspace, row.key, value),
                None if keyspace.is_damaged => batch.remove(&table.keyspace, row.key),
                None => continue,
            }
            rows += 1;
            if rows == ROWS {
                std::mem::replace(&mut batch, schema.database.batch()).commit().map_err(failed)?;
                wait_for_memory(&schema);
                rows = 0;
            }
        }
        batch.commit().map_err(failed)?;
    }
    damage.extend(records::apply_since_checkpoint(segments, &schema)?);
    expect_format(&schema, &damaged)?;
    Ok(Gathered { schema, references, dropped, damage, damaged })
}

/// Checks that the store is of this program's format, as far as that is known.
fn expect_format(schema: &Schema, damaged: &BTreeSet<u8>) -> Result<(), StoreError> {
    let found = schema.format()?;
    match found {
        Some(schema::FORMAT) => Ok(()),
        None if damaged.contains(&schema.meta.number) => Ok(()),
        Some(found) if found > schema::FORMAT => {
            let number = |format| u32::try_from(format).unwrap_or(u32::MAX);
            Err(StoreError::TooNew { found: number(found), known: number(schema::FORMAT) })
        }
        _ => Err(StoreError::Failed(
            "the store has an earlier format: start the server once, which converts it".to_owned(),
        )),
    }
}

/// Waits while the tables are written more slowly than rows come.
pub(super) fn wait_for_memory(schema: &Schema) {
    for _ in 0..WAITS {
        if schema.database.write_buffer_size() < MEMORY {
            return;
        }
        thread::sleep(WAIT);
    }
}
