//! Mailboxes elsewhere, and what was collected from them.

use super::Committer;
use crate::{
    error::failed,
    tables::{batch::Batch, schema},
};
use posta_mail::Secret;
use posta_store::{SecretOf, Source, SourceId, StoreError, Visit};

impl Committer {
    pub(crate) fn add_source(
        &mut self,
        source: Source,
        password: &Secret,
    ) -> Result<SourceId, StoreError> {
        if !self.accounts.contains(&source.account) {
            return Err(StoreError::NoSuchAccount);
        }
        let last = self.schema.number(schema::LAST_SOURCE)?.unwrap_or_default();
        let id = SourceId(last + 1);
        let mut batch = Batch::new(&self.schema);
        batch.insert(&self.schema.meta, schema::LAST_SOURCE, id.0.to_be_bytes());
        self.put_source(&Source { id, ..source }, &mut batch)?;
        self.put_secret(SecretOf::Source(id), password, &mut batch)?;
        self.commit(batch)?;
        Ok(id)
    }

    pub(crate) fn change_source(
        &mut self,
        source: &Source,
        password: &Secret,
    ) -> Result<bool, StoreError> {
        if !self.schema.has_source(source.id)? {
            return Ok(false);
        }
        let (mut batch, of) = (Batch::new(&self.schema), SecretOf::Source(source.id));
        self.put_source(source, &mut batch)?;
        let old = self.put_secret(of, password, &mut batch)?;
        self.commit(batch)?;
        self.wipe(of, old);
        Ok(true)
    }

    pub(crate) fn put_source(&self, source: &Source, batch: &mut Batch) -> Result<(), StoreError> {
        let value = schema::encode_json(source)?;
        batch.insert(&self.schema.source, source.id.0.to_be_bytes(), value);
        Ok(())
    }

    pub(crate) fn visited(&mut self, id: SourceId, visit: Visit) -> Result<bool, StoreError> {
        if !self.schema.has_source(id)? {
            return Ok(false);
        }
        let mut batch = Batch::new(&self.schema);
        batch.insert(&self.schema.visit, id.0.to_be_bytes(), schema::encode_json(&visit)?);
        self.commit(batch)?;
        Ok(true)
    }

    pub(crate) fn remove_source(&mut self, id: SourceId) -> Result<bool, StoreError> {
        let (was_there, of) = (self.schema.has_source(id)?, SecretOf::Source(id));
        let mut batch = Batch::new(&self.schema);
        batch.remove(&self.schema.source, id.0.to_be_bytes());
        batch.remove(&self.schema.visit, id.0.to_be_bytes());
        let password = self.drop_secret(of, &mut batch)?;
        for guard in self.schema.collected.prefix(id.0.to_be_bytes()) {
            batch.remove(&self.schema.collected, guard.key().map_err(failed)?);
        }
        self.commit(batch)?;
        self.wipe(of, password);
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
