//! Small records of the server's own, as they are read.

use super::{key_and_value, schema::Schema};
use crate::error::{damaged, failed};
use posta_store::StoreError;

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
