//! Small records of the server's own.

use crate::{batch::Batch, commit::Committer, damaged, failed, key_and_value, schema::Schema};
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

impl Schema {
    pub(crate) fn kept_one(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.kept.get(key).map_err(failed)?.map(|value| value.to_vec()))
    }

    pub(crate) fn kept(&self, kind: &str) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let prefix = format!("{kind}\0");
        let mut kept = Vec::new();
        for guard in self.kept.prefix(&prefix) {
            let (key, value) = key_and_value(guard)?;
            let name = key.get(prefix.len()..).unwrap_or_default().to_vec();
            let name = String::from_utf8(name).map_err(|_| damaged("a record's name"))?;
            kept.push((name, value.to_vec()));
        }
        Ok(kept)
    }
}
