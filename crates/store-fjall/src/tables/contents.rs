//! Reading the places of contents; checkpoints, up to which the tables have the log's changes.

use super::{
    schema::{self, Schema},
    table::Table,
};
use crate::{
    error::failed,
    log::{ContentKey, Place, Position},
};
use fjall::PersistMode;
use posta_mail::MailId;
use posta_store::StoreError;
use std::{collections::BTreeMap, thread, time::Duration};

/// How long to wait before checking again whether the tables are written, and how many times: an engine that died
/// does not report it.
const FLUSH_WAIT: Duration = Duration::from_millis(2);
const FLUSH_WAITS: usize = 5_000;

impl Schema {
    pub(crate) fn place(&self, key: ContentKey) -> Result<Option<Place>, StoreError> {
        let value = self.place.get(key).map_err(failed)?;
        value.map(|value| schema::decode_place(&value)).transpose()
    }

    /// Makes the tables durable, in their files, and records the log's position: later changes are in the log, and
    /// none is in the engine's journal alone. Earlier segments can be given back then, and a damaged journal loses
    /// nothing.
    pub(crate) fn checkpoint(&self, at: Position) -> Result<(), StoreError> {
        self.flush()?;
        let value = schema::encode_position(at);
        self.meta.insert(schema::CHECKPOINT, value).map_err(failed)?;
        // Nor may the position itself be in the journal alone: a start that goes back to an earlier one would put
        // changes into the tables again whose later ones were in segments that have been given back.
        self.write_out(&[&self.meta])?;
        self.database.persist(PersistMode::SyncAll).map_err(failed)
    }

    /// Returns the number of entries and items with a content that several have.
    pub(crate) fn shown(&self, content: MailId) -> Result<u64, StoreError> {
        match self.shown.get(content.to_bytes()).map_err(failed)? {
            Some(value) => schema::Reader(&value).u64(),
            None => Ok(1),
        }
    }

    /// Returns the segments that an earlier start found damaged inside, each with the position up to which it is
    /// whole.
    pub(crate) fn damaged_segments(&self) -> Result<BTreeMap<u64, u64>, StoreError> {
        let noted = self.meta.get(schema::DAMAGED).map_err(failed)?.unwrap_or_default();
        let mut reader = schema::Reader(&noted);
        let mut segments = BTreeMap::new();
        while !reader.0.is_empty() {
            segments.insert(reader.u64()?, reader.u64()?);
        }
        Ok(segments)
    }

    /// Records damaged segments for the next start, in the tables only.
    pub(crate) fn note_damaged_segments(
        &self,
        segments: &BTreeMap<u64, u64>,
    ) -> Result<(), StoreError> {
        let numbers = segments.iter().flat_map(|(&segment, &whole)| [segment, whole]);
        let value: Vec<u8> = numbers.flat_map(u64::to_be_bytes).collect();
        match segments.is_empty() {
            true => self.meta.remove(schema::DAMAGED).map_err(failed),
            false => self.meta.insert(schema::DAMAGED, value).map_err(failed),
        }
    }

    /// Writes all memory of the tables to their files.
    ///
    /// # Errors
    /// When the files cannot be written, or not in time.
    pub(crate) fn flush(&self) -> Result<(), StoreError> {
        self.write_out(&self.tables())
    }

    fn write_out(&self, tables: &[&Table]) -> Result<(), StoreError> {
        for table in tables {
            table.rotate_memtable().map_err(failed)?;
        }
        for _ in 0..FLUSH_WAITS {
            if tables.iter().all(|table| table.sealed_memtable_count() == 0) {
                return Ok(());
            }
            thread::sleep(FLUSH_WAIT);
        }
        Err(StoreError::Failed("the tables are not written in time".to_owned()))
    }
}
