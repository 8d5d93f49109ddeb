//! The secrets that the store keeps sealed. What seals them is in `key_file.rs`; here is what of a
//! change goes first, so that a crash in between neither loses a secret nor leaves a key behind:
//!
//! | step | a crash behind it leaves |
//! |------|--------------------------|
//! | the new key is in the key file, durable | a key that nothing needs; the next start overwrites it |
//! | the sealed secret is committed, or its removal | the old key; the next start overwrites it |
//! | the old key is overwritten | nothing |

use crate::{
    batch::Batch,
    commit::Committer,
    damaged, failed, key_and_value,
    key_file::{FileId, KeyFile, KeyFileError, Sealed},
    schema::{self, Reader, Schema},
};
use posta_mail::Secret;
use posta_store::{SecretOf, StoreError};
use std::collections::BTreeSet;

/// How often a secret is looked for that was changed while it was read.
const READS: usize = 8;

/// First octet of a sealed secret.
const SEALED_VERSION: u8 = 1;

impl Committer {
    /// Seals a secret, and puts it into a batch in place of what was there, which is returned: once
    /// the batch is committed, [`Committer::wipe`] makes an end of it.
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

    /// Takes a secret away, in the same way.
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

    /// Overwrites the key of a secret that is not in the store any more.
    pub(crate) fn wipe(&self, of: SecretOf, old: Option<Sealed>) {
        let Some(old) = old else { return };
        match self.keys.wipe(&key(of), &old) {
            Ok(()) => {}
            // Where there is no key, there is nothing to overwrite.
            Err(KeyFileError::Missing(_) | KeyFileError::Foreign(_)) => {}
            Err(error) => tracing::error!(
                "{} is removed, but its key could not be overwritten: {error}; the next start does it",
                name(of)
            ),
        }
    }

    /// Makes sure that there is a key file, and that it is this store's.
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

impl Schema {
    fn sealed(&self, of: SecretOf) -> Result<Option<Sealed>, StoreError> {
        let value = self.secret.get(key(of)).map_err(failed)?;
        value.map(|value| decode(&value)).transpose()
    }

    /// The id of the key file that belongs to the store.
    fn key_file(&self) -> Result<Option<FileId>, StoreError> {
        let value = self.meta.get(schema::KEY_FILE).map_err(failed)?;
        let id = value.map(|value| value.as_ref().try_into());
        id.transpose().map_err(|_| damaged("the key file's id"))
    }

    /// Opens a secret.
    pub(crate) fn secret(
        &self,
        keys: &KeyFile,
        of: SecretOf,
    ) -> Result<Option<Secret>, StoreError> {
        let mut sealed = self.sealed(of)?;
        for _ in 0..READS {
            let Some(there) = sealed else { break };
            let error = match keys.unseal(&key(of), &there) {
                Ok(secret) => return Ok(Some(secret)),
                Err(error) => error,
            };
            sealed = self.sealed(of)?;
            if sealed.as_ref() == Some(&there) {
                return Err(cannot_open(of, &error));
            }
        }
        Ok(None)
    }
}

/// What a secret belongs to: its key in the table, and what it is bound to.
fn key(of: SecretOf) -> [u8; 9] {
    let (kind, id) = match of {
        SecretOf::Source(id) => (b's', id.0),
        SecretOf::Apop(account) => (b'a', account.0),
    };
    let mut key = [kind; 9];
    key[1..].copy_from_slice(&id.to_be_bytes());
    key
}

fn encode(sealed: &Sealed) -> Vec<u8> {
    let slot = sealed.slot.to_be_bytes();
    [&[SEALED_VERSION][..], &sealed.file, &slot, &sealed.nonce, &sealed.octets].concat()
}

fn decode(value: &[u8]) -> Result<Sealed, StoreError> {
    let mut reader = Reader(value);
    let [version] = reader.take()?;
    if version != SEALED_VERSION {
        return Err(damaged("a secret of unknown version"));
    }
    let (file, slot, nonce) = (reader.take()?, u32::from_be_bytes(reader.take()?), reader.take()?);
    Ok(Sealed { file, slot, nonce, octets: reader.0.to_vec() })
}

fn name(of: SecretOf) -> String {
    match of {
        SecretOf::Source(id) => format!("the password of source {id}"),
        SecretOf::Apop(account) => format!("the password for APOP of account {}", account.0),
    }
}

fn cannot_seal(error: &KeyFileError) -> StoreError {
    StoreError::Sealed(format!("a password cannot be sealed: {error}"))
}

fn cannot_open(of: SecretOf, error: &KeyFileError) -> StoreError {
    let again = match of {
        SecretOf::Source(_) => "`posta collect add` with the same account, --server and --user",
        SecretOf::Apop(_) => "`posta account password ADDRESS --apop`",
    };
    StoreError::Sealed(match error {
        KeyFileError::Missing(_) | KeyFileError::Kind(_) | KeyFileError::Foreign(_) => {
            format!("{} cannot be read: {error}; or give it again: {again}", name(of))
        }
        KeyFileError::Gone(_) => format!("{} is lost: {error}; give it again: {again}", name(of)),
        _ => format!("{} cannot be read: {error}", name(of)),
    })
}
