//! Small records of the server's own, as they are read.

use super::{key_and_value, schema::Schema};
use crate::error::{damaged, failed};
use posta_store::{NAME, StoreError, check_name};

impl Schema {
    pub(crate) fn kept_one(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.kept.get(key).map_err(failed)?.map(|value| value.to_vec()))
    }

    pub(crate) fn kept(&self, kind: &str) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.kept_page(kind, "", None, usize::MAX)
    }

    pub(crate) fn kept_page(
        &self,
        kind: &str,
        prefix: &str,
        after: Option<&str>,
        most: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        // No name is longer, so none is between what is cut off and what is left, and none begins with a longer prefix.
        let after = after.map(|after| &after[..after.floor_char_boundary(NAME)]);
        if check_name(prefix).is_err() {
            return Ok(Vec::new());
        }
        let of_kind = format!("{kind}\0");
        let begin = format!("{of_kind}{prefix}");
        // No name contains NUL, so nothing is between a name and this.
        let first = match after {
            Some(after) if after >= prefix => format!("{of_kind}{after}\0"),
            _ => begin.clone(),
        };
        let mut kept = Vec::new();
        for guard in self.kept.range(first.as_bytes()..).take(most) {
            let (key, value) = key_and_value(guard)?;
            if !key.starts_with(begin.as_bytes()) {
                break;
            }
            let name = key.get(of_kind.len()..).unwrap_or_default().to_vec();
            let name = String::from_utf8(name).map_err(|_| damaged("a record's name"))?;
            kept.push((name, value.to_vec()));
        }
        Ok(kept)
    }
}
