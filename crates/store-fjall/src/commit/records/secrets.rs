//! The changes of sealed secrets. `key_file.rs` seals them. The steps of a change have an order in which a crash
//! neither loses a secret nor leaves a key behind:
//!
//! | step | a crash behind it leaves |
//! |------|--------------------------|
//! | the new key is in the key file, durable | an unneeded key, which the next start overwrites |
//! | the sealed secret is committed, or its removal | the old key, which the next start overwrites |
//! | the old key is overwritten | nothing |

use crate::{
    commit::Committer,
    key_file::{KeyFileError, Sealed},
    tables::{
        batch::Batch,
        key_and_value, schema,
        secrets::{decode, encode, key, name},
    },
};
use posta_mail::Secret;
use posta_store::{SecretOf, StoreError};
use std::collections::BTreeSet;

impl Committer {
    /// Seals a secret, and puts it into a batch. Returns the secret that it replaces, which must be given to
    /// [`Committer::wipe`] once the batch is committed.
    pub(crate) fn put_secret(
        &mut self,
        of: SecretOf,
        secret: &Secret,
        batch: &mut Batch,
    ) -> Result<Option<Sealed>, StoreError> {
        let old = self.schema.sealed(of)?;
        self.claim_key_file()?;
        let sealed = self.keys.seal(&key(of), secret).map_err(|error| cannot_seal(&error))?;
        batch.insert(&self.schema.secret, key(of), encode(&sealed));
        Ok(old)
    }

    /// Removes a secret in a batch, and returns it for [`Committer::wipe`].
    pub(crate) fn drop_secret(
        &self,
        of: SecretOf,
        batch: &mut Batch,
    ) -> Result<Option<Sealed>, StoreError> {
        let old = self.schema.sealed(of)?;
        if old.is_some() {
            batch.remove(&self.schema.secret, key(of));
        }
        Ok(old)
    }

    /// Overwrites the key of a secret that is no longer in the store.
    pub(crate) fn wipe(&self, of: SecretOf, old: Option<Sealed>) {
        let Some(old) = old else { return };
        match self.keys.wipe(&key(of), &old) {
            Ok(()) => {}
            // Without a key there is nothing to overwrite.
            Err(KeyFileError::Missing(_) | KeyFileError::Foreign(_)) => {}
            Err(error) => tracing::error!(
                "{} is removed, but its key could not be overwritten: {error}; the next start does it",
                name(of)
            ),
        }
    }

    /// Makes the key file if there is none, and checks that it belongs to this store.
    fn claim_key_file(&mut self) -> Result<(), StoreError> {
        let known = self.schema.key_file()?;
        let id = self.keys.claim(known).map_err(|error| cannot_seal(&error))?;
        if known == Some(id) {
            return Ok(());
        }
        let mut batch = Batch::new(&self.schema);
        batch.insert(&self.schema.meta, schema::KEY_FILE, id);
        self.commit(batch)
    }

    /// Overwrites the keys that a crash left behind.
    pub(crate) fn sweep_keys(&self) -> Result<(), StoreError> {
        let Some(id) = self.schema.key_file()? else { return Ok(()) };
        let mut used = BTreeSet::new();
        for guard in self.schema.secret.iter() {
            let (_, value) = key_and_value(guard)?;
            let sealed = decode(&value)?;
            used.extend((sealed.file == id).then_some(sealed.slot));
        }
        match self.keys.sweep(id, &used) {
            Ok(0) => {}
            Ok(count) => tracing::info!("{count} keys that a crash left behind are overwritten"),
            Err(error) => tracing::error!("secrets cannot be opened: {error}"),
        }
        Ok(())
    }
}

fn cannot_seal(error: &KeyFileError) -> StoreError {
    StoreError::Sealed(format!("a secret cannot be sealed: {error}"))
}
