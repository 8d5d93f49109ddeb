//! Sources as they are read.

use super::{
    key_and_value,
    schema::{self, Schema},
};
use crate::error::failed;
use posta_mail::Timestamp;
use posta_store::{Source, SourceId, StoreError, check_name};
use std::collections::BTreeMap;

impl Schema {
    pub(crate) fn has_source(&self, id: SourceId) -> Result<bool, StoreError> {
        self.source.contains_key(id.0.to_be_bytes()).map_err(failed)
    }

    pub(crate) fn sources(&self) -> Result<Vec<Source>, StoreError> {
        let mut sources = Vec::new();
        for guard in self.source.iter() {
            let (key, value) = key_and_value(guard)?;
            sources.push(self.decode_source(&key, &value)?);
        }
        Ok(sources)
    }

    pub(crate) fn source(&self, id: SourceId) -> Result<Option<Source>, StoreError> {
        let key = id.0.to_be_bytes();
        let value = self.source.get(key).map_err(failed)?;
        value.map(|value| self.decode_source(&key, &value)).transpose()
    }

    fn decode_source(&self, key: &[u8], value: &[u8]) -> Result<Source, StoreError> {
        let mut source: Source = schema::decode_json(value, "a source")?;
        let visit = self.visit.get(key).map_err(failed)?;
        source.last = visit.map(|visit| schema::decode_json(&visit, "a visit")).transpose()?;
        Ok(source)
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

    pub(crate) fn has_collected(
        &self,
        id: SourceId,
        unique_ids: &[String],
    ) -> Result<Vec<bool>, StoreError> {
        let has = |unique_id: &String| {
            if check_name(unique_id).is_err() {
                return Ok(false);
            }
            self.collected.contains_key(schema::collected_key(id, unique_id)).map_err(failed)
        };
        unique_ids.iter().map(has).collect()
    }
}
