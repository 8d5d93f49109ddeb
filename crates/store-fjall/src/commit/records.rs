//! Small records of the server's own, and secrets (`records/secrets.rs`) that change with them.

mod secrets;

use super::Committer;
use crate::tables::batch::Batch;
use posta_mail::Secret;
use posta_store::{SecretOf, StoreError};

impl Committer {
    pub(crate) fn keep(&mut self, key: String, record: Option<Vec<u8>>) -> Result<(), StoreError> {
        let mut batch = Batch::new(&self.schema);
        match record {
            Some(record) => batch.insert(&self.schema.kept, key, record),
            None => batch.remove(&self.schema.kept, key),
        }
        self.commit(batch)
    }

    /// Stores or removes a record, and with it secrets, if the present record is as expected. Returns the record that
    /// is stored afterwards.
    pub(crate) fn keep_if(
        &mut self,
        key: String,
        expected: Option<&[u8]>,
        record: Option<Vec<u8>>,
        secrets: Vec<(SecretOf, Option<Secret>)>,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let there = self.schema.kept_one(&key)?;
        if there.as_deref() != expected {
            return Ok(there);
        }
        let (mut batch, mut old) = (Batch::new(&self.schema), Vec::new());
        for (of, secret) in secrets {
            let sealed = match secret {
                Some(secret) => self.put_secret(of, &secret, &mut batch)?,
                None => self.drop_secret(of, &mut batch)?,
            };
            old.push((of, sealed));
        }
        match record.clone() {
            Some(record) => batch.insert(&self.schema.kept, key, record),
            None => batch.remove(&self.schema.kept, key),
        }
        self.commit(batch)?;
        old.into_iter().for_each(|(of, sealed)| self.wipe(of, sealed));
        Ok(record)
    }
}
