//! Secrets that have to be read again: the passwords of sources and for APOP, and private keys.
//!
//! They are in the database only sealed, with AES-256-GCM, and the key is in a file of each node, so a dump of the
//! database shows none. All nodes have the same file. The first node makes it with the first secret, and leaves a mark in
//! the database by which every other node knows whether its file is the right one.

use crate::{connection::Connection, fault::DatabaseFault};
use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    rand,
};
use posta_mail::Secret;
use posta_store::{SecretOf, StoreError};
use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown},
    path::{Path, PathBuf},
    sync::Arc,
};
use zeroize::Zeroizing;

/// The first line of a key file.
const MAGIC: &str = "posta cluster key 1";

/// Octets of the key.
const KEY: usize = 32;

/// What the mark in the database seals.
const MARK: &[u8] = b"posta";

const READ_MARK: &str = "SELECT key_check FROM meta";
const SET_MARK: &str = "UPDATE meta SET key_check = $1 WHERE key_check IS NULL";
const KEEP: &str = "INSERT INTO secret (kind, id, sealed) VALUES ($1, $2, $3) \
     ON CONFLICT (kind, id) DO UPDATE SET sealed = excluded.sealed";
const REMOVE: &str = "DELETE FROM secret WHERE kind = $1 AND id = $2";
const READ: &str = "SELECT sealed FROM secret WHERE kind = $1 AND id = $2";

/// The secrets.
#[derive(Debug, Clone)]
pub(crate) struct Seals {
    path: PathBuf,
}

impl Seals {
    pub(crate) const fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Replaces a secret, or removes it.
    pub(crate) async fn keep(
        &self,
        connection: &Arc<Connection>,
        of: SecretOf,
        secret: Option<&Secret>,
    ) -> Result<(), DatabaseFault> {
        let (kind, id) = name(of);
        let Some(secret) = secret else {
            connection.execute(REMOVE, &[&kind, &id]).await?;
            return Ok(());
        };
        let key = self.key(connection, true).await?;
        let sealed = seal(&key, &aad(of), secret.expose())?;
        connection.execute(KEEP, &[&kind, &id, &sealed]).await?;
        Ok(())
    }

    pub(crate) async fn read(
        &self,
        connection: &Arc<Connection>,
        of: SecretOf,
    ) -> Result<Option<Secret>, DatabaseFault> {
        let (kind, id) = name(of);
        let Some(row) = connection.row(READ, &[&kind, &id]).await? else { return Ok(None) };
        let key = self.key(connection, false).await?;
        let opened = open(&key, &aad(of), row.get(0));
        let opened = opened.ok_or_else(|| {
            sealed("a secret in the database is damaged: give it again".to_owned())
        })?;
        Ok(Some(Secret::new(&opened)))
    }

    /// Checks that what is sealed can be opened.
    pub(crate) async fn check(&self, connection: &Arc<Connection>) -> Result<(), DatabaseFault> {
        if mark(connection).await?.is_some() {
            self.key(connection, false).await?;
        }
        Ok(())
    }

    /// Returns the key, which is made if there is none and nothing was ever sealed.
    async fn key(
        &self,
        connection: &Arc<Connection>,
        may_make: bool,
    ) -> Result<RandomizedNonceKey, DatabaseFault> {
        let known = mark(connection).await?;
        if known.is_none() && may_make {
            make(&self.path).map_err(|error| {
                sealed(format!("the key file {} cannot be made: {error}", self.path.display()))
            })?;
        }
        let key = load(&self.path)?;
        let known = match known {
            Some(known) => known,
            None => {
                let made = seal(&key, b"", MARK)?;
                connection.execute(SET_MARK, &[&made]).await?;
                // Another node may have been first.
                mark(connection).await?.unwrap_or(made)
            }
        };
        if open(&key, b"", &known).is_some_and(|mark| *mark == MARK) {
            return Ok(key);
        }
        let path = self.path.display();
        Err(sealed(format!(
            "the key file {path} is not the one with which the secrets in the database were sealed: copy the file of \
             another node there"
        ))
        .into())
    }
}

async fn mark(connection: &Arc<Connection>) -> Result<Option<Vec<u8>>, DatabaseFault> {
    Ok(connection.row(READ_MARK, &[]).await?.and_then(|row| row.get(0)))
}

const fn sealed(words: String) -> StoreError {
    StoreError::Sealed(words)
}

/// Returns the kind of a secret and its number.
const fn name(of: SecretOf) -> (i32, i64) {
    match of {
        SecretOf::Source(id) => (1, id.0 as i64),
        SecretOf::Apop(id) => (2, id.0 as i64),
        SecretOf::Key(id) => (3, id.0 as i64),
    }
}

/// Returns what is sealed along, so that nobody puts one secret in another's place.
fn aad(of: SecretOf) -> Vec<u8> {
    let (kind, id) = name(of);
    [&kind.to_be_bytes()[..], &id.to_be_bytes()].concat()
}

fn seal(key: &RandomizedNonceKey, aad: &[u8], secret: &[u8]) -> Result<Vec<u8>, StoreError> {
    let mut octets = secret.to_vec();
    let nonce = key
        .seal_in_place_append_tag(Aad::from(aad), &mut octets)
        .map_err(|_| sealed("a secret cannot be sealed".to_owned()))?;
    Ok([&nonce.as_ref()[..], &octets].concat())
}

fn open(key: &RandomizedNonceKey, aad: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, octets) = sealed.split_first_chunk::<NONCE_LEN>()?;
    let mut octets = Zeroizing::new(octets.to_vec());
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let length = key.open_in_place(nonce, Aad::from(aad), &mut octets).ok()?.len();
    octets.truncate(length);
    Some(octets)
}

/// Makes a key file, unless there is one.
fn make(path: &Path) -> io::Result<()> {
    let mut key = Zeroizing::new([0; KEY]);
    rand::fill(&mut *key).map_err(|_| io::Error::other("the system has no randomness"))?;
    let hex: Zeroizing<String> =
        Zeroizing::new(key.iter().map(|octet| format!("{octet:02x}")).collect());
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match made {
        Ok(mut file) => {
            // Made by root, as by a command, the file is for the server's user, whose directory it is in.
            let directory = fs::metadata(path.parent().unwrap_or(Path::new("/")))?;
            if directory.uid() != file.metadata()?.uid() {
                fchown(&file, Some(directory.uid()), Some(directory.gid()))?;
            }
            file.write_all(format!("{MAGIC}\n{}\n", &*hex).as_bytes())?;
            file.sync_all()
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Reads a key file.
fn load(path: &Path) -> Result<RandomizedNonceKey, StoreError> {
    let shown = path.display();
    let text =
        fs::read_to_string(path).map(Zeroizing::new).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => sealed(format!(
                "the key file {shown} is missing: copy the file of another node there"
            )),
            _ => sealed(format!("the key file {shown} cannot be read: {error}")),
        })?;
    let is_exposed = fs::metadata(path).is_ok_and(|it| it.permissions().mode() & 0o077 != 0);
    if is_exposed {
        return Err(sealed(format!(
            "other users of this machine can read the key file {shown}: `chmod 600 {shown}` keeps them out"
        )));
    }
    let key = text.strip_prefix(MAGIC).and_then(|rest| octets(rest.trim()));
    let key = key.and_then(|key| RandomizedNonceKey::new(&AES_256_GCM, &key).ok());
    key.ok_or_else(|| {
        sealed(format!("{shown} is no key file: copy the file of another node there"))
    })
}

fn octets(hex: &str) -> Option<Zeroizing<Vec<u8>>> {
    let octet = |at: usize| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
    (hex.len() == 2 * KEY)
        .then(|| (0..KEY).map(|at| octet(2 * at)).collect::<Option<Vec<_>>>())?
        .map(Zeroizing::new)
}
