//! Small records of the server's own.

use crate::{batch::Batch, commit::Committer, damaged, key_and_value, schema::Schema};
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
}

impl Schema {
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
