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

    /// Keeps or forgets a record if what is there is as expected; returns what is kept then.
    pub(crate) fn keep_if(
        &mut self,
        key: String,
        expected: Option<&[u8]>,
        record: Option<Vec<u8>>,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let there = self.schema.kept_one(&key)?;
        if there.as_deref() != expected {
            return Ok(there);
        }
        self.keep(key, record.clone())?;
        Ok(record)
    }
}
