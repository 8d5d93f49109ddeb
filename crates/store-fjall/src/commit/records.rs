//! Small records of the server's own.

use super::Committer;
use crate::tables::batch::Batch;
use posta_store::StoreError;

impl Committer {
    pub(crate) fn keep(&mut self, key: String, record: Option<Vec<u8>>) -> Result<(), StoreError> {
        let mut batch = Batch::new(&self.schema);
        match record {
            Some(record) => batch.insert(&self.schema.kept, key, record),
            None => batch.remove(&self.schema.kept, key),
        }
        self.commit(batch)
    }

    /// Keeps a record unless there is one of its name; returns the one that is kept then.
    pub(crate) fn keep_first(
        &mut self,
        key: String,
        record: Vec<u8>,
    ) -> Result<Vec<u8>, StoreError> {
        if let Some(kept) = self.schema.kept_one(&key)? {
            return Ok(kept);
        }
        self.keep(key, Some(record.clone()))?;
        Ok(record)
    }
}
