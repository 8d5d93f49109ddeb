//! Public keys that were read before. Parsing a record and preparing an RSA key for arithmetic takes a third as long as
//! verifying a signature with it, and most mail comes from domains whose mail came before.

use super::{DkimKey, KeyError};
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc};

/// The maximal number of keys that are kept: 3 MB, if strangers have them as long as allowed.
const KEYS: usize = 256;

/// The keys of recent messages, by the text of their records, so a changed record is read anew.
#[derive(Debug, Default)]
pub struct KnownKeys(Mutex<HashMap<String, Arc<DkimKey>>>);

impl KnownKeys {
    /// Returns the key of a record.
    ///
    /// # Errors
    /// As [`DkimKey::parse`].
    pub(super) fn read(&self, record: &str) -> Result<Arc<DkimKey>, KeyError> {
        if let Some(known) = self.0.lock().get(record) {
            return Ok(known.clone());
        }
        let key = Arc::new(DkimKey::parse(record)?);
        let mut known = self.0.lock();
        if known.len() >= KEYS {
            known.clear();
        }
        known.insert(record.to_owned(), key.clone());
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_once() {
        let known = KnownKeys::default();
        let first = known.read("p=YQ==").unwrap();
        assert!(Arc::ptr_eq(&first, &known.read("p=YQ==").unwrap()));
        assert!(known.read("p=YQ==; t=y").unwrap().is_testing);
        assert_eq!(known.read("p="), Err(KeyError::Revoked));
    }

    #[test]
    fn keys_are_bounded() {
        let known = KnownKeys::default();
        for number in 0..10 * KEYS {
            known.read(&format!("p=YQ==; n={number}")).unwrap();
            assert!(known.0.lock().len() <= KEYS);
        }
    }
}
