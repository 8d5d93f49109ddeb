//! The records of sealed secrets, and reading secrets. `key_file.rs` seals them.

use super::schema::{self, Reader, Schema};
use crate::{
    error::{damaged, failed},
    key_file::{FileId, KeyFile, KeyFileError, Sealed},
};
use posta_mail::Secret;
use posta_store::{AccountId, KeyId, SecretOf, SourceId, StoreError};

/// The most tries to read a secret that changes meanwhile.
const READS: usize = 8;

/// The first octet of a sealed secret's record.
const SEALED_VERSION: u8 = 1;

impl Schema {
    pub(crate) fn sealed(&self, of: SecretOf) -> Result<Option<Sealed>, StoreError> {
        let value = self.secret.get(key(of)).map_err(failed)?;
        value.map(|value| decode(&value)).transpose()
    }

    /// Returns the id of the store's key file, if it has one.
    pub(crate) fn key_file(&self) -> Result<Option<FileId>, StoreError> {
        let value = self.meta.get(schema::KEY_FILE).map_err(failed)?;
        let id = value.map(|value| value.as_ref().try_into());
        id.transpose().map_err(|_| damaged("the key file's id"))
    }

    /// Checks that the key file that belongs to the store is there, if there is any.
    pub(crate) fn check_seals(&self, keys: &KeyFile) -> Result<(), StoreError> {
        let Some(id) = self.key_file()? else { return Ok(()) };
        keys.check(id).map_err(|error| StoreError::Sealed(error.to_string()))
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

/// Returns the key of a secret in the table, to which its seal is bound, too.
pub(crate) fn key(of: SecretOf) -> [u8; 9] {
    let (kind, id) = match of {
        SecretOf::Source(id) => (b's', id.0),
        SecretOf::Apop(account) => (b'a', account.0),
        SecretOf::Key(id) => (b'k', id.0),
    };
    let mut key = [kind; 9];
    key[1..].copy_from_slice(&id.to_be_bytes());
    key
}

pub(crate) fn encode(sealed: &Sealed) -> Vec<u8> {
    let slot = sealed.slot.to_be_bytes();
    [&[SEALED_VERSION][..], &sealed.file, &slot, &sealed.nonce, &sealed.octets].concat()
}

pub(crate) fn decode(value: &[u8]) -> Result<Sealed, StoreError> {
    let mut reader = Reader(value);
    let [version] = reader.take()?;
    if version != SEALED_VERSION {
        return Err(damaged("a secret of unknown version"));
    }
    let (file, slot, nonce) = (reader.take()?, u32::from_be_bytes(reader.take()?), reader.take()?);
    Ok(Sealed { file, slot, nonce, octets: reader.0.to_vec() })
}

pub(crate) fn name(of: SecretOf) -> String {
    match of {
        SecretOf::Source(id) => format!("the password of source {id}"),
        SecretOf::Apop(account) => format!("the password for APOP of account {}", account.0),
        SecretOf::Key(id) => format!("the private key {:016x}", id.0),
    }
}

/// Returns whose secret it is, by its key in the table.
pub(crate) fn of_key(key: &[u8]) -> Option<SecretOf> {
    let (kind, id) = key.split_first()?;
    let id = u64::from_be_bytes(id.try_into().ok()?);
    match kind {
        b's' => Some(SecretOf::Source(SourceId(id))),
        b'a' => Some(SecretOf::Apop(AccountId(id))),
        b'k' => Some(SecretOf::Key(KeyId(id))),
        _ => None,
    }
}

/// Returns what a secret is, by its key in the table.
pub(crate) fn name_of_key(key: &[u8]) -> String {
    of_key(key).map_or_else(|| "a secret of an unknown kind".to_owned(), name)
}

fn cannot_open(of: SecretOf, error: &KeyFileError) -> StoreError {
    let again = match of {
        SecretOf::Source(_) => "`posta collect add` with the same account, --server and --user",
        SecretOf::Apop(_) => "`posta account password ADDRESS --apop`",
        SecretOf::Key(_) => {
            let cure = "put the key file back; or make other keys that sign mail: `posta domain keys rotate DOMAIN`";
            return StoreError::Sealed(format!("{} cannot be read: {error}; {cure}", name(of)));
        }
    };
    StoreError::Sealed(match error {
        KeyFileError::Missing(_) | KeyFileError::Kind(_) | KeyFileError::Foreign(_) => {
            format!("{} cannot be read: {error}; or give it again: {again}", name(of))
        }
        KeyFileError::Gone(_) => format!("{} is lost: {error}; give it again: {again}", name(of)),
        _ => format!("{} cannot be read: {error}", name(of)),
    })
}
