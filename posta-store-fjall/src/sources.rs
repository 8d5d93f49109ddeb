//! Mailboxes elsewhere, and what was collected from them.

use crate::{
    batch::Batch,
    commit::Committer,
    failed, key_and_value,
    schema::{self, Schema},
};
use posta_mail::Timestamp;
use posta_store::{Source, SourceId, StoreError, Visit};
use std::collections::BTreeMap;

impl Committer {
    pub(crate) fn add_source(&mut self, source: Source) -> Result<SourceId, StoreError> {
        if !self.accounts.contains(&source.account) {
            return Err(StoreError::NoSuchAccount);
        }
        let last = self.schema.number(schema::LAST_SOURCE)?.unwrap_or_default();
        let id = SourceId(last + 1);
        let mut batch = Batch::new(&self.schema);
        batch.insert(&self.schema.meta, schema::LAST_SOURCE, id.0.to_be_bytes());
        self.put_source(&Source { id, ..source }, &mut batch)?;
        self.commit(batch)?;
        Ok(id)
    }

    fn put_source(&self, source: &Source, batch: &mut Batch) -> Result<(), StoreError> {
        let value = schema::encode_json(source)?;
        batch.insert(&self.schema.source, source.id.0.to_be_bytes(), value);
        Ok(())
    }

    pub(crate) fn visited(&mut self, id: SourceId, visit: Visit) -> Result<bool, StoreError> {
        let Some(source) = self.schema.source(id)? else { return Ok(false) };
        let mut batch = Batch::new(&self.schema);
        self.put_source(&Source { last: Some(visit), ..source }, &mut batch)?;
        self.commit(batch)?;
        Ok(true)
    }

    pub(crate) fn remove_source(&mut self, id: SourceId) -> Result<bool, StoreError> {
        let was_there = self.schema.source(id)?.is_some();
        let mut batch = Batch::new(&self.schema);
        batch.remove(&self.schema.source, id.0.to_be_bytes());
        for guard in self.schema.collected.prefix(id.0.to_be_bytes()) {
            batch.remove(&self.schema.collected, guard.key().map_err(failed)?);
        }
        self.commit(batch)?;
        Ok(was_there)
    }

    pub(crate) fn forget_collected(
        &mut self,
        id: SourceId,
        unique_ids: &[String],
    ) -> Result<(), StoreError> {
        let mut batch = Batch::new(&self.schema);
        for unique_id in unique_ids {
            batch.remove(&self.schema.collected, schema::collected_key(id, unique_id));
        }
        self.commit(batch)
    }
}

impl Schema {
    fn source(&self, id: SourceId) -> Result<Option<Source>, StoreError> {
        let value = self.source.get(id.0.to_be_bytes()).map_err(failed)?;
        value.map(|value| schema::decode_json(&value, "a source")).transpose()
    }

    pub(crate) fn sources(&self) -> Result<Vec<Source>, StoreError> {
        let mut sources = Vec::new();
        for guard in self.source.iter() {
            let (_, value) = key_and_value(guard)?;
            sources.push(schema::decode_json(&value, "a source")?);
        }
        Ok(sources)
    }

    pub(crate) fn collected(
        &self,
        id: SourceId,
    ) -> Result<BTreeMap<String, Timestamp>, StoreError> {
        let mut collected = BTreeMap::new();
        for guard in self.collected.prefix(id.0.to_be_bytes()) {
            let (key, value) = key_and_value(guard)?;
            let unique_id = key.get(8..).unwrap_or_default();
            let unique_id = String::from_utf8_lossy(unique_id).into_owned();
            collected.insert(unique_id, schema::decode_time(&value)?);
        }
        Ok(collected)
    }
}
